-- What replicas may do together: the callers' quotas, and the budget of upstream calls.
--
--   quotas           one row a holder and class: when its quota is full again, in nanoseconds of this database's clock. GCRA keeps
--                    no more of a quota than that. A row whose quota is full tells nothing, and is deleted.
--   budget           one row: how many upstream calls were ever counted, and until when the upstream refuses all of them
--   budget_starts    how many of them started in each small part of the window, by that part's end
--   budget_told      what the upstream said last of each of its own limits
--   budget_replicas  how many calls of each replica are under way
--
-- Each function is one statement for who calls it, at this database's clock (`at` is for tests). None of them waits for the
-- disk: a server that loses its power forgets what was taken in its last 0.6 s (three times `wal_writer_delay`), no more.
-- None waits for another one for longer than a second.

CREATE TABLE tunnelwarden_shared.quotas (
    key      bytea PRIMARY KEY CHECK (length(key) = 16),
    arrival  bigint NOT NULL,
    -- For how long one call counts; calls that are spent stay spent in their number under another rate.
    interval bigint NOT NULL CHECK (interval > 0)
) WITH (fillfactor = 50);

CREATE FUNCTION tunnelwarden_shared.clock(at bigint) RETURNS bigint LANGUAGE sql VOLATILE
RETURN coalesce(at, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000);

-- Takes calls from several quotas, from all of them or from none: `wants` of each, or one where by that less than half of it
-- would be left. One row a quota, in their order: how many were taken (where one quota has no room: none, and of the others
-- how many there would have been), when it is full, and what the time is.
CREATE FUNCTION tunnelwarden_shared.take_quotas(
    keys bytea[], intervals bigint[], bursts bigint[], wants bigint[], at bigint DEFAULT NULL
) RETURNS TABLE (granted bigint, arrival bigint, now bigint)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    one record;
    found_at bigint;
    found_interval bigint;
    founds bigint[] := intervals;
    arrivals bigint[] := array_fill(0::bigint, ARRAY[cardinality(keys)]);
    grants bigint[] := arrivals;
    room bigint;
    has_room boolean := true;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true), set_config('lock_timeout', '1s', true);
    now := tunnelwarden_shared.clock(at);
    -- In the order of keys, so that no two wait for each other.
    FOR one IN SELECT k.key, k.n::integer AS n FROM unnest(keys) WITH ORDINALITY AS k (key, n) ORDER BY k.key LOOP
        SELECT q.arrival, q.interval INTO found_at, found_interval
            FROM tunnelwarden_shared.quotas AS q WHERE q.key = one.key FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            -- Nobody deletes a row as new as this one.
            INSERT INTO tunnelwarden_shared.quotas AS q (key, arrival, interval)
                VALUES (one.key, now, intervals[one.n]) ON CONFLICT DO NOTHING;
            SELECT q.arrival, q.interval INTO STRICT found_at, found_interval
                FROM tunnelwarden_shared.quotas AS q WHERE q.key = one.key FOR NO KEY UPDATE;
        END IF;
        arrivals[one.n] := found_at;
        founds[one.n] := found_interval;
    END LOOP;
    -- Anew, as it may have waited.
    now := tunnelwarden_shared.clock(at);
    FOR n IN 1 .. cardinality(keys) LOOP
        IF founds[n] <> intervals[n] AND arrivals[n] > now THEN
            arrivals[n] := now + least(ceil((arrivals[n] - now)::numeric * intervals[n] / founds[n]), bursts[n] * intervals[n]);
        END IF;
        -- A quota is never more than spent, also where it was larger, or the clock later, when it was taken from.
        arrivals[n] := least(greatest(arrivals[n], now), now + bursts[n] * intervals[n]);
        room := (now + bursts[n] * intervals[n] - arrivals[n]) / intervals[n];
        has_room := has_room AND room >= 1;
        grants[n] := CASE WHEN room - wants[n] >= bursts[n] / 2 THEN wants[n] WHEN room >= 1 THEN 1 ELSE 0 END;
    END LOOP;
    IF has_room THEN
        FOR n IN 1 .. cardinality(keys) LOOP
            arrivals[n] := arrivals[n] + grants[n] * intervals[n];
        END LOOP;
        UPDATE tunnelwarden_shared.quotas AS q SET arrival = k.arrival, interval = k.interval
            FROM unnest(keys, arrivals, intervals) AS k (key, arrival, interval) WHERE q.key = k.key;
    END IF;
    RETURN QUERY SELECT k.granted, k.arrival, take_quotas.now
        FROM unnest(grants, arrivals) WITH ORDINALITY AS k (granted, arrival, n) ORDER BY k.n;
END $$;

-- Deletes quotas that have been full for a minute, so many at most, and says how many.
CREATE FUNCTION tunnelwarden_shared.forget_quotas(most bigint, at bigint DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    gone bigint;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true), set_config('lock_timeout', '1s', true);
    DELETE FROM tunnelwarden_shared.quotas AS q USING (
        SELECT o.key FROM tunnelwarden_shared.quotas AS o
            WHERE o.arrival < tunnelwarden_shared.clock(at) - 60000000000
            LIMIT most FOR UPDATE SKIP LOCKED
    ) AS old WHERE q.key = old.key;
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;

CREATE TABLE tunnelwarden_shared.budget (
    single        boolean PRIMARY KEY DEFAULT true CHECK (single),
    made          bigint NOT NULL DEFAULT 0,
    blocked_until bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);
INSERT INTO tunnelwarden_shared.budget DEFAULT VALUES;

CREATE TABLE tunnelwarden_shared.budget_starts (
    part_end bigint PRIMARY KEY,
    made     bigint NOT NULL CHECK (made > 0)
) WITH (fillfactor = 50);

CREATE TABLE tunnelwarden_shared.budget_told (
    name       text COLLATE "C" PRIMARY KEY CHECK (length(name) <= 64),
    remaining  bigint NOT NULL CHECK (remaining >= 0),
    told_until bigint NOT NULL,
    size       bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE tunnelwarden_shared.budget_replicas (
    replica   text COLLATE "C" PRIMARY KEY CHECK (length(replica) <= 63),
    in_flight bigint NOT NULL,
    seen      bigint NOT NULL
) WITH (fillfactor = 50);

-- Counts one upstream call of a replica that then has `flying` under way, if no more than `requests` have started in the last
-- `lasts`, or, unless it may touch the reserve, that many less the reserve; and if the upstream's own limits have room. A call
-- counts until the part of the window that it started in has left it as a whole, a 256th later than it does itself.
-- The number of the call where `wait` is 0; how many there are in the window; and how many replicas make calls.
CREATE FUNCTION tunnelwarden_shared.take_budget(
    by_replica text, flying bigint, requests bigint, reserve bigint, lasts bigint, privileged boolean,
    at bigint DEFAULT NULL
) RETURNS TABLE (ticket bigint, wait bigint, used bigint, replicas bigint)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    now bigint;
    part bigint := greatest(lasts / 256, 1);
    room bigint := requests - CASE WHEN privileged THEN 0 ELSE reserve END;
    blocked bigint;
    leaves bigint;
    told bigint;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true), set_config('lock_timeout', '1s', true);
    -- Whoever has this row has all tables of the budget.
    SELECT b.made, b.blocked_until INTO STRICT ticket, blocked FROM tunnelwarden_shared.budget AS b FOR NO KEY UPDATE;
    now := tunnelwarden_shared.clock(at);
    -- What is a window ahead was counted before the clock was set back.
    DELETE FROM tunnelwarden_shared.budget_starts AS s WHERE s.part_end < now - lasts OR s.part_end > now + 2 * lasts;
    SELECT coalesce(sum(s.made), 0) INTO used FROM tunnelwarden_shared.budget_starts AS s;
    wait := greatest(blocked - now, 0);
    IF used >= room THEN
        -- When enough parts have left for one call to fit.
        SELECT min(s.part_end) INTO leaves FROM (
            SELECT p.part_end, sum(p.made) OVER (ORDER BY p.part_end) AS gone FROM tunnelwarden_shared.budget_starts AS p
        ) AS s WHERE s.gone > used - room;
        wait := greatest(wait, coalesce(leaves + lasts - now + 1, lasts));
    END IF;
    -- The same share of each of the upstream's own limits is kept; at most all but one call.
    SELECT max(t.told_until) - now INTO told FROM tunnelwarden_shared.budget_told AS t
        WHERE t.told_until > now AND t.remaining <= CASE
            WHEN privileged THEN 0
            ELSE least((t.size * reserve + requests - 1) / greatest(requests, 1), greatest(t.size - 1, 0)) END;
    wait := greatest(wait, coalesce(told, 0));
    IF wait <= 0 THEN
        ticket := ticket + 1;
        used := used + 1;
        INSERT INTO tunnelwarden_shared.budget_starts AS s (part_end, made) VALUES ((now + part - 1) / part * part, 1)
            ON CONFLICT (part_end) DO UPDATE SET made = s.made + 1;
        UPDATE tunnelwarden_shared.budget AS b SET made = ticket;
        UPDATE tunnelwarden_shared.budget_told AS t SET remaining = t.remaining - 1
            WHERE t.told_until > now AND t.remaining > 0;
        INSERT INTO tunnelwarden_shared.budget_replicas AS r (replica, in_flight, seen) VALUES (by_replica, flying, now)
            ON CONFLICT (replica) DO UPDATE SET in_flight = excluded.in_flight, seen = excluded.seen;
    END IF;
    SELECT count(*) INTO replicas FROM tunnelwarden_shared.budget_replicas AS r
        WHERE r.seen > now - greatest(lasts, 300000000000);
    RETURN NEXT;
END $$;

-- Believes what the upstream said to a replica: of limits by name, how many calls are left of each (`lefts`, as it was in the
-- answer to the call of that number, 0 for one that was not counted), for how long, and its size where it is known; and for how long it refuses everything.
-- Calls that were counted later, or are under way, may not be in the upstream's number yet: they are taken off.
CREATE FUNCTION tunnelwarden_shared.learn_budget(
    by_replica text, flying bigint, names text[], tickets bigint[], lefts bigint[], lasts bigint[], sizes bigint[],
    blocked_for bigint, at bigint DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    now bigint;
    made_now bigint;
    others bigint;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true), set_config('lock_timeout', '1s', true);
    SELECT b.made INTO STRICT made_now FROM tunnelwarden_shared.budget AS b FOR NO KEY UPDATE;
    now := tunnelwarden_shared.clock(at);
    UPDATE tunnelwarden_shared.budget AS b SET blocked_until = greatest(b.blocked_until, now + blocked_for)
        WHERE blocked_for > 0;
    DELETE FROM tunnelwarden_shared.budget_replicas AS r WHERE r.seen < now - 3600000000000;
    INSERT INTO tunnelwarden_shared.budget_replicas AS r (replica, in_flight, seen) VALUES (by_replica, flying, now)
        ON CONFLICT (replica) DO UPDATE SET in_flight = excluded.in_flight, seen = excluded.seen;
    -- A replica that was not heard of for five minutes has nothing under way any more.
    SELECT coalesce(sum(r.in_flight), 0) INTO others FROM tunnelwarden_shared.budget_replicas AS r
        WHERE r.seen > now - 300000000000;
    DELETE FROM tunnelwarden_shared.budget_told AS t WHERE t.told_until <= now;
    INSERT INTO tunnelwarden_shared.budget_told AS t (name, remaining, told_until, size)
        SELECT one.name, greatest(one.unused - greatest(made_now - coalesce(nullif(one.ticket, 0), made_now), 0) - others, 0), now + one.lasts,
            coalesce(one.size, one.unused + 1)
        FROM unnest(names, tickets, lefts, lasts, sizes) AS one (name, ticket, unused, lasts, size)
        WHERE one.lasts > 0
        ON CONFLICT (name) DO UPDATE SET remaining = excluded.remaining, told_until = excluded.told_until,
            size = greatest(excluded.size, t.size);
    -- The upstream has two or three; whatever is more ends soonest first.
    DELETE FROM tunnelwarden_shared.budget_told AS t
        WHERE t.name NOT IN (
            SELECT k.name FROM tunnelwarden_shared.budget_told AS k ORDER BY k.told_until DESC, k.name LIMIT 8);
END $$;
