-- Turns at tunnels, claims of one-shot calls, used tokens and revocations, for all replicas: see the file of migration 2 for what holds
-- for all of these tables. The database's clock alone decides what is over.

-- Who is at a tunnel or a name. A place is a SHA-256, so no name stands here, however long it is. A turn that nobody gives
-- back is over when its time is, or when a new process of its replica has taken the log. Whoever has waited longest is next: the smallest id of those that still ask.
CREATE TABLE tunnelwarden_shared.turns (
    place      bytea PRIMARY KEY CHECK (length(place) = 32),
    holder     uuid NOT NULL,
    replica    text COLLATE "C" NOT NULL,
    until      timestamptz NOT NULL,
    next       uuid,
    next_until timestamptz,
    CHECK ((next IS NULL) = (next_until IS NULL))
);

-- Takes the turn at all of these places, or at none. Rows are locked in one order, and who only waits locks none that
-- another has.
CREATE FUNCTION tunnelwarden_shared.take_turns(
    places bytea[], who uuid, seconds double precision, of_replica text
) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    moment timestamptz := clock_timestamp();
    taken integer;
BEGIN
    PERFORM set_config('lock_timeout', '1s', true);
    IF EXISTS (SELECT FROM tunnelwarden_shared.turns AS t WHERE t.place = ANY (places)
               AND (t.until > moment OR (t.next < who AND t.next_until > moment))) THEN
        -- The oldest of those that wait is next everywhere it asks for, so of two that cross one is let through.
        WITH behind AS MATERIALIZED (
            SELECT t.place FROM tunnelwarden_shared.turns AS t WHERE t.place = ANY (places)
                AND (t.next IS NULL OR t.next > who OR t.next_until <= moment
                     OR (t.next = who AND t.next_until < moment + interval '500 ms'))
            FOR UPDATE SKIP LOCKED)
        UPDATE tunnelwarden_shared.turns AS t SET next = who, next_until = moment + interval '1 s'
            FROM behind WHERE t.place = behind.place;
        RETURN false;
    END IF;
    BEGIN
        INSERT INTO tunnelwarden_shared.turns AS t (place, holder, replica, until)
            SELECT one.place, who, of_replica, moment + make_interval(secs => seconds)
            FROM unnest(places) AS one (place) ORDER BY one.place
            ON CONFLICT (place) DO UPDATE SET holder = who, replica = of_replica, until = excluded.until,
                next = CASE WHEN t.next > who THEN t.next END,
                next_until = CASE WHEN t.next > who THEN t.next_until END
            WHERE t.until <= clock_timestamp() AND coalesce(t.next >= who OR t.next_until <= clock_timestamp(), true);
        GET DIAGNOSTICS taken = ROW_COUNT;
        IF taken < cardinality(places) THEN
            RAISE EXCEPTION 'another was faster' USING ERRCODE = 'lock_not_available';
        END IF;
    EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
        RETURN false;
    END;
    RETURN true;
END $$;

-- Makes the turn last longer; false where it is over at any of the places, whoever had it since.
CREATE FUNCTION tunnelwarden_shared.keep_turns(
    places bytea[], who uuid, seconds double precision, of_replica text
) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    kept integer;
BEGIN
    PERFORM set_config('lock_timeout', '1s', true);
    WITH mine AS MATERIALIZED (
        SELECT t.place FROM tunnelwarden_shared.turns AS t
        WHERE t.place = ANY (places) AND t.holder = who AND t.replica = of_replica AND t.until > clock_timestamp()
        ORDER BY t.place FOR UPDATE)
    UPDATE tunnelwarden_shared.turns AS t SET until = clock_timestamp() + make_interval(secs => seconds)
        FROM mine WHERE t.place = mine.place;
    GET DIAGNOSTICS kept = ROW_COUNT;
    RETURN kept = cardinality(places);
END $$;

-- Gives a turn back. Where somebody waits, the row stays and says who is next.
CREATE FUNCTION tunnelwarden_shared.leave_turns(places bytea[], who uuid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('lock_timeout', '1s', true);
    WITH mine AS MATERIALIZED (
        SELECT t.place, coalesce(t.next_until > clock_timestamp(), false) AS is_wanted
        FROM tunnelwarden_shared.turns AS t WHERE t.place = ANY (places) AND t.holder = who
        ORDER BY t.place FOR UPDATE),
    gone AS (
        DELETE FROM tunnelwarden_shared.turns AS t USING mine WHERE t.place = mine.place AND NOT mine.is_wanted)
    UPDATE tunnelwarden_shared.turns AS t SET until = '-infinity'
        FROM mine WHERE t.place = mine.place AND mine.is_wanted;
END $$;

-- The newest claimant of each one-shot call, by the key that its intent has in the record. What became of a claimant the
-- record tells; `before` is the one before it that happened, should this one come to nothing. `intent_by` is when its
-- intent stands in the record, or nothing of it was sent and nothing will be.
CREATE TABLE tunnelwarden_shared.claims (
    request_key text COLLATE "C" PRIMARY KEY CHECK (length(request_key) BETWEEN 1 AND 128),
    request_id  uuid NOT NULL,
    before      uuid,
    at          timestamptz NOT NULL,
    intent_by   timestamptz NOT NULL
);
CREATE INDEX claims_at ON tunnelwarden_shared.claims (at);

-- Tokens that are good for one secret and were used up, by the name that the intent has for it in the record. A row is of
-- no use once the token has ended.
CREATE TABLE tunnelwarden_shared.used_tokens (
    token      text COLLATE "C" PRIMARY KEY CHECK (length(token) BETWEEN 1 AND 128),
    request_id uuid NOT NULL,
    until      timestamptz NOT NULL
);
CREATE INDEX used_tokens_until ON tunnelwarden_shared.used_tokens (until);

-- Tokens and subjects that are revoked, each line as in a revocation file. What is taken back stays, as not in force, so
-- that everybody hears of it. `id` grows with each change: one row counts them, and who changes it makes the next one wait
-- until its own change is seen, so no reader goes past a smaller one that comes later.
CREATE TABLE tunnelwarden_shared.revocations (
    line     text COLLATE "C" PRIMARY KEY
        CHECK (octet_length(line) <= 2000 AND line ~ '^(jti [^[:space:]]|sub [^[:space:]]+ [^[:space:]])[^\r\n]*$'),
    id       bigint NOT NULL UNIQUE,
    in_force boolean NOT NULL
);
CREATE TABLE tunnelwarden_shared.revocations_count (
    one boolean PRIMARY KEY CHECK (one),
    n   bigint NOT NULL
);
INSERT INTO tunnelwarden_shared.revocations_count VALUES (true, 0);

-- Revokes, or takes back.
CREATE FUNCTION tunnelwarden_shared.revoke(of_line text, is_in_force boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    next bigint;
BEGIN
    UPDATE tunnelwarden_shared.revocations_count AS c SET n = c.n + 1 RETURNING c.n INTO STRICT next;
    INSERT INTO tunnelwarden_shared.revocations (line, id, in_force) VALUES (of_line, next, is_in_force)
        ON CONFLICT (line) DO UPDATE SET id = excluded.id, in_force = excluded.in_force;
END $$;
