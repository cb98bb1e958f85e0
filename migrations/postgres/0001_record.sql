-- The record in PostgreSQL: one append-only log of entries for each replica, and views to read them all as one.
--
-- What is proven:
--   log_entries  one row an entry: `entry` is the JSON text whose hash `leaf` is, `leaf_index` its place in its replica's
--                log, from 0 without gaps. `told` is computed from that text by the database, so it can't disagree with it.
--   tiles        full tiles of each log's Merkle tree: 256 hashes each, and the root over them
--   checkpoints  signed checkpoints of each log, one a second at most, as C2SP signed notes
--   logs         one row a replica: the signed checkpoint over all its entries and checkpoints, replaced with each append;
--                and, proving nothing, which process writes it
--
-- What is read: `entries`, with the columns that the tables of SQLite have, and the same views with the same columns.
-- `seq` orders the entries of all replicas: the eighth of a millisecond in which an entry was made (if its log was behind
-- that by then, else the next one of its log), times 128, and the number of the log. It is below 2^53 until the year 2248.
--
-- Rights: the owner makes all this. Who writes may only call `take` and `append`, and read. Who reads may only read.

CREATE SCHEMA IF NOT EXISTS tunnelwarden;

CREATE TABLE tunnelwarden.logs (
    log         smallint PRIMARY KEY CHECK (log BETWEEN 0 AND 127),
    name        text COLLATE "C" NOT NULL UNIQUE CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$'),
    -- Whose log it is, where that is not this replica: one that was moved here.
    origin      text CHECK (length(origin) <= 512),
    note        text CHECK (length(note) <= 4096),
    size        bigint NOT NULL DEFAULT 0 CHECK (size >= 0),
    last_seq    bigint NOT NULL DEFAULT -1,
    holder      text NOT NULL CHECK (length(holder) <= 200),
    epoch       bigint NOT NULL,
    lease_until timestamptz NOT NULL
);

-- JSON text as the database reads it: it has no word for the character U+0000, which is a sign for an unknown one here. Only
-- what is told of an entry has that sign, never the entry.
CREATE FUNCTION tunnelwarden.document(entry text) RETURNS json LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT replace(entry, '\u0000', '\ufffd')::json
$$;

-- The elements of an array; of anything else none.
CREATE FUNCTION tunnelwarden.items(list json) RETURNS SETOF json LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT json_array_elements(CASE WHEN json_typeof(list) = 'array' THEN list END)
$$;

-- The same as texts.
CREATE FUNCTION tunnelwarden.words(list json) RETURNS SETOF text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT json_array_elements_text(CASE WHEN json_typeof(list) = 'array' THEN list END)
$$;

-- What is looked for by itself.
CREATE TYPE tunnelwarden.told AS (
    kind         text COLLATE "C",
    id           text COLLATE "C",
    time         text COLLATE "C",
    request_id   text COLLATE "C",
    subject      text COLLATE "C",
    operation    text COLLATE "C",
    tunnel       text COLLATE "C",
    refusal      text COLLATE "C",
    tunnel_name  text COLLATE "C",
    tunnel_count integer,
    intent_id    text COLLATE "C",
    request_key  text COLLATE "C",
    ambiguous    boolean
);

-- One look at the text for all of it.
CREATE FUNCTION tunnelwarden.tells(entry text) RETURNS tunnelwarden.told LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    e jsonb := replace(entry, '\u0000', '\ufffd')::jsonb;
    tunnels jsonb := e -> 'tunnels';
    told tunnelwarden.told;
BEGIN
    told.kind := e ->> 'kind';
    told.id := e ->> 'id';
    told.time := e ->> 'time';
    told.request_id := e ->> 'request_id';
    told.subject := e ->> 'subject';
    told.operation := e ->> 'operation';
    told.tunnel := tunnels -> 0 ->> 'id';
    told.refusal := e -> 'refusal' ->> 'name';
    told.tunnel_name := tunnels -> 0 ->> 'name';
    told.tunnel_count := CASE WHEN jsonb_typeof(tunnels) = 'array' THEN jsonb_array_length(tunnels) END;
    told.intent_id := e ->> 'intent_id';
    told.request_key := CASE WHEN e ->> 'kind' = 'intent' THEN e ->> 'request_key' END;
    told.ambiguous := CASE WHEN e ->> 'intent_id' IS NOT NULL THEN (e ->> 'ambiguous')::boolean END;
    RETURN told;
END $$;

CREATE TABLE tunnelwarden.log_entries (
    seq        bigint NOT NULL,
    log        smallint NOT NULL,
    leaf_index bigint NOT NULL CHECK (leaf_index >= 0),
    leaf       bytea NOT NULL CHECK (length(leaf) = 32),
    entry      text NOT NULL CHECK (octet_length(entry) <= 16777216),
    told       tunnelwarden.told NOT NULL GENERATED ALWAYS AS (tunnelwarden.tells(entry)) STORED,
    PRIMARY KEY (seq),
    CHECK (seq >= 0 AND seq % 128 = log),
    CHECK (coalesce((told).kind IN
        ('intent', 'outcome', 'refusal', 'resolved', 'audit_read', 'started', 'stopped', 'reloaded',
        'reload_refused', 'heartbeat', 'reconciled', 'key_rotated', 'archived'), false)),
    CHECK (coalesce(length((told).id) = 36 AND length((told).request_id) = 36, false)),
    CHECK (coalesce((told).time ~ '^\d{4}-\d{2}-\d{2}T.*Z$' AND length((told).time) = 27, false))
) PARTITION BY RANGE (seq);

-- Months are made ahead by `migrate`; what comes later goes here, so that no append fails for a month that nobody made.
CREATE TABLE tunnelwarden.log_entries_rest PARTITION OF tunnelwarden.log_entries DEFAULT;

CREATE INDEX log_entries_leaf_index ON tunnelwarden.log_entries (log, leaf_index);
CREATE INDEX log_entries_id ON tunnelwarden.log_entries (((told).id));
CREATE INDEX log_entries_request_id ON tunnelwarden.log_entries (((told).request_id));
CREATE INDEX log_entries_time ON tunnelwarden.log_entries (((told).time));
CREATE INDEX log_entries_subject ON tunnelwarden.log_entries (((told).subject), seq) WHERE (told).subject IS NOT NULL;
CREATE INDEX log_entries_tunnel ON tunnelwarden.log_entries (((told).tunnel)) WHERE (told).tunnel IS NOT NULL;
CREATE INDEX log_entries_tunnel_name ON tunnelwarden.log_entries (((told).tunnel_name), ((told).tunnel))
    WHERE (told).tunnel_name IS NOT NULL;
CREATE INDEX log_entries_refusal ON tunnelwarden.log_entries (seq) WHERE (told).refusal IS NOT NULL;
CREATE INDEX log_entries_bulk ON tunnelwarden.log_entries (((told).tunnel_count)) WHERE (told).tunnel_count > 1;
CREATE INDEX log_entries_intent_id ON tunnelwarden.log_entries (((told).intent_id)) WHERE (told).intent_id IS NOT NULL;
CREATE INDEX log_entries_kind ON tunnelwarden.log_entries (((told).kind), seq) WHERE (told).kind <> 'outcome';
CREATE INDEX log_entries_marks ON tunnelwarden.log_entries (log, seq) WHERE (told).kind IN ('heartbeat', 'started');
CREATE INDEX log_entries_intents ON tunnelwarden.log_entries (log, leaf_index) WHERE (told).kind = 'intent';
CREATE INDEX log_entries_ambiguous ON tunnelwarden.log_entries (((told).intent_id)) WHERE (told).ambiguous;
CREATE INDEX log_entries_one_shot ON tunnelwarden.log_entries (((told).time)) WHERE (told).request_key IS NOT NULL;

CREATE TABLE tunnelwarden.tiles (
    log    smallint NOT NULL,
    level  integer NOT NULL CHECK (level BETWEEN 0 AND 7),
    n      bigint NOT NULL CHECK (n >= 0),
    root   bytea NOT NULL CHECK (length(root) = 32),
    hashes bytea NOT NULL CHECK (length(hashes) = 8192),
    PRIMARY KEY (log, level, n)
);

CREATE TABLE tunnelwarden.checkpoints (
    log  smallint NOT NULL,
    n    bigint NOT NULL CHECK (n >= 0),
    size bigint NOT NULL CHECK (size > 0),
    note text NOT NULL CHECK (length(note) <= 4096),
    PRIMARY KEY (log, n),
    UNIQUE (log, size)
);

-- Which lost calls were resolved: each once, whichever replica looked into it.
CREATE TABLE tunnelwarden.resolved (
    intent_id text COLLATE "C" PRIMARY KEY
);

-- Against the owner's own mistakes: nobody else may do any of it.
CREATE FUNCTION tunnelwarden.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%: what is stored is never changed or deleted', TG_TABLE_NAME;
END $$;
CREATE TRIGGER log_entries_stay BEFORE UPDATE OR DELETE ON tunnelwarden.log_entries
    FOR EACH ROW EXECUTE FUNCTION tunnelwarden.refuse();
CREATE TRIGGER log_entries_no_truncate BEFORE TRUNCATE ON tunnelwarden.log_entries
    FOR EACH STATEMENT EXECUTE FUNCTION tunnelwarden.refuse();
CREATE TRIGGER tiles_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON tunnelwarden.tiles
    FOR EACH STATEMENT EXECUTE FUNCTION tunnelwarden.refuse();
CREATE TRIGGER checkpoints_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON tunnelwarden.checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION tunnelwarden.refuse();
CREATE TRIGGER resolved_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON tunnelwarden.resolved
    FOR EACH STATEMENT EXECUTE FUNCTION tunnelwarden.refuse();
CREATE TRIGGER logs_stay BEFORE DELETE OR TRUNCATE ON tunnelwarden.logs
    FOR EACH STATEMENT EXECUTE FUNCTION tunnelwarden.refuse();

-- Takes a log for a process that will write it, for so many seconds from each append or renewal on; a name that is new gets
-- a log. From here on no append of whoever had it before comes true, also none that is still on its way. Where another
-- process has it now, its row comes with `taken` false, and who that is; `instead_of` names one of whom it is known that it
-- is no more.
CREATE FUNCTION tunnelwarden.take(of_name text, by_holder text, instead_of text, of_origin text, seconds integer)
RETURNS TABLE (log smallint, epoch bigint, last_seq bigint, taken boolean, holder text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    free smallint;
    lease interval := make_interval(secs => least(greatest(seconds, 1), 300));
BEGIN
    PERFORM set_config('lock_timeout', '10s', true);
    IF NOT EXISTS (SELECT FROM tunnelwarden.logs AS l WHERE l.name = of_name) THEN
        SELECT min(n)::smallint INTO free FROM generate_series(0, 127) AS n
            WHERE NOT EXISTS (SELECT FROM tunnelwarden.logs AS l WHERE l.log = n);
        IF free IS NULL THEN
            RAISE EXCEPTION 'there are 128 logs, which is all there can be' USING ERRCODE = 'program_limit_exceeded';
        END IF;
        -- Two at once get an error, one of them, and try again.
        INSERT INTO tunnelwarden.logs (log, name, origin, holder, epoch, lease_until)
            VALUES (free, of_name, of_origin, by_holder, 0, clock_timestamp());
    END IF;
    UPDATE tunnelwarden.logs AS l SET holder = by_holder, epoch = l.epoch + 1, lease_until = clock_timestamp() + lease
        WHERE l.name = of_name AND l.origin IS NOT DISTINCT FROM of_origin AND (l.holder IN (by_holder, instead_of) OR l.lease_until <= clock_timestamp());
    RETURN QUERY SELECT l.log, l.epoch, l.last_seq, l.holder = by_holder, l.holder
        FROM tunnelwarden.logs AS l WHERE l.name = of_name;
END $$;

-- Keeps a log, or lets go of it (0 seconds); false where another process has taken it.
CREATE FUNCTION tunnelwarden.keep(of_log smallint, by_holder text, seconds integer) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE tunnelwarden.logs AS l
        SET lease_until = clock_timestamp() + make_interval(secs => least(greatest(seconds, 0), 300))
        WHERE l.log = of_log AND l.holder = by_holder;
    RETURN FOUND;
END $$;

-- Adds entries to a log, all of them or none: only for the process that has taken it last, and only behind the head for which
-- they were made. False where either is another.
CREATE FUNCTION tunnelwarden.append(
    of_log smallint, in_epoch bigint, before text, head text, first bigint,
    seqs bigint[], leaves bytea[], entries text[],
    tile_levels integer[], tile_ns bigint[], tile_roots bytea[], tile_hashes bytea[],
    checkpoint_ns bigint[], checkpoint_sizes bigint[], checkpoint_notes text[], seconds integer
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ids text[];
    lowest bigint;
    again bigint;
BEGIN
    -- A role or a database for which an answer may come before the disk has it is none for this.
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    UPDATE tunnelwarden.logs AS l
        SET note = head, size = first + cardinality(entries),
            last_seq = coalesce(seqs[cardinality(seqs)], l.last_seq),
            lease_until = clock_timestamp() + make_interval(secs => least(greatest(seconds, 1), 300))
        WHERE l.log = of_log AND l.epoch = in_epoch AND l.size = first AND l.note IS NOT DISTINCT FROM before
            AND coalesce(l.last_seq < seqs[1], true);
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    WITH added AS (
        INSERT INTO tunnelwarden.log_entries (seq, log, leaf_index, leaf, entry)
            SELECT one.seq, of_log, append.first + one.n - 1, one.leaf, one.entry
            FROM unnest(seqs, leaves, entries) WITH ORDINALITY AS one (seq, leaf, entry, n)
            RETURNING (told).id, (told).kind, (told).intent_id, (told).time
    ), resolved AS (
        SELECT added.intent_id FROM added WHERE added.kind = 'resolved' AND added.intent_id IS NOT NULL
    ), ended AS (
        INSERT INTO tunnelwarden.resolved (intent_id)
            SELECT resolved.intent_id FROM resolved
            WHERE head = 'under way' OR NOT EXISTS (
                SELECT FROM tunnelwarden.log_entries AS e
                WHERE (e.told).intent_id = resolved.intent_id AND (e.told).kind = 'outcome'
                    AND (e.told).ambiguous IS NOT TRUE)
            ON CONFLICT (intent_id) DO NOTHING
            RETURNING 1
    )
    SELECT array_agg(added.id), min(floor(extract(epoch FROM added.time::timestamptz) * 8000)::bigint * 128),
            (SELECT count(*) FROM resolved) - (SELECT count(*) FROM ended)
        INTO ids, lowest, again FROM added;
    -- What is moved here has what it has.
    IF again > 0 AND head <> 'under way' THEN
        RAISE EXCEPTION 'a call has its end already' USING ERRCODE = 'unique_violation';
    END IF;
    -- What a process offers a second time, as it does not know whether the first came true. An index over all months can't
    -- tell; no entry of these times is before the lowest place that they can have.
    IF EXISTS (SELECT FROM tunnelwarden.log_entries AS e WHERE (e.told).id = ANY (ids) AND e.seq >= lowest
               GROUP BY (e.told).id HAVING count(*) > 1) THEN
        RAISE EXCEPTION 'an entry has an id that is known already' USING ERRCODE = 'unique_violation';
    END IF;
    INSERT INTO tunnelwarden.tiles (log, level, n, root, hashes)
        SELECT of_log, tile.level, tile.n, tile.root, tile.hashes
        FROM unnest(tile_levels, tile_ns, tile_roots, tile_hashes) AS tile (level, n, root, hashes);
    INSERT INTO tunnelwarden.checkpoints (log, n, size, note)
        SELECT of_log, checkpoint.n, checkpoint.size, checkpoint.note
        FROM unnest(checkpoint_ns, checkpoint_sizes, checkpoint_notes) AS checkpoint (n, size, note);
    RETURN true;
END $$;

CREATE VIEW tunnelwarden.entries AS
SELECT
    seq, log, leaf_index, leaf, entry,
    (told).kind, (told).id, (told).time, (told).request_id, (told).subject, (told).operation, (told).tunnel,
    (told).refusal, (told).tunnel_name, (told).tunnel_count, (told).intent_id, (told).request_key, (told).ambiguous
FROM tunnelwarden.log_entries;

CREATE VIEW tunnelwarden.requests AS
SELECT
    first.seq,
    first.time,
    first.request_id,
    first.subject,
    first.e ->> 'teams' AS teams,
    first.e ->> 'roles' AS roles,
    first.e ->> 'issuer' AS issuer,
    first.e ->> 'jti' AS jti,
    first.e ->> 'client_address' AS client_address,
    first.e ->> 'user_agent' AS user_agent,
    first.operation,
    first.e ->> 'account' AS account,
    coalesce(first.tunnel, last.tunnel) AS tunnel,
    coalesce(last.e ->> 'tunnels', first.e ->> 'tunnels') AS tunnels,
    (first.e ->> 'validate_only')::boolean AS validate_only,
    first.e ->> 'decision' AS decision,
    first.e ->> 'policies' AS policies,
    first.e ->> 'policy_digest' AS policy_digest,
    CASE WHEN last.seq IS NOT NULL THEN last.kind WHEN first.kind = 'intent' THEN 'open' ELSE first.kind END AS ended,
    (coalesce(last.e, first.e) ->> 'status')::bigint AS status,
    coalesce(last.e, first.e) #>> '{refusal,name}' AS refusal,
    coalesce(last.e, first.e) ->> 'sent' AS sent,
    (coalesce(last.e, first.e) #>> '{upstream,status}')::bigint AS upstream_status,
    coalesce(last.e, first.e) #>> '{upstream,cf_ray}' AS cf_ray,
    (coalesce(last.e, first.e) ->> 'duration_us')::bigint AS duration_us,
    last.e ->> 'resolution' AS resolution,
    last.seq AS last_seq
FROM (SELECT *, tunnelwarden.document(entry) AS e FROM tunnelwarden.entries) AS first
LEFT JOIN LATERAL (
    SELECT one.seq, one.kind, one.tunnel, tunnelwarden.document(one.entry) AS e
    FROM tunnelwarden.entries AS one WHERE one.intent_id = first.id
    -- An outcome that came late, of a replica that was away, says more than what was concluded meanwhile, and that more
    -- than that nobody knows. By what they are and not only by when: clocks differ.
    ORDER BY (one.kind = 'outcome' AND one.ambiguous IS NOT TRUE) DESC, one.kind = 'resolved' DESC, one.seq DESC
    LIMIT 1
) AS last ON true
WHERE first.kind IN ('intent', 'refusal') OR (first.kind = 'outcome' AND first.intent_id IS NULL);

CREATE VIEW tunnelwarden.changes AS
SELECT
    entries.seq,
    entries.time,
    entries.request_id,
    entries.subject,
    entries.e ->> 'teams' AS teams,
    entries.operation,
    entries.e ->> 'account' AS account,
    coalesce(item #>> '{tunnel,id}', item ->> 'tunnel') AS tunnel,
    change ->> 'op' AS op,
    change ->> 'path' AS field,
    (change -> 'old')::text AS before,
    (change -> 'value')::text AS after,
    entries.e ->> 'policies' AS policies
FROM (SELECT *, tunnelwarden.document(entry) AS e FROM tunnelwarden.entries) AS entries,
    tunnelwarden.items(entries.e -> 'before_after_diff') AS item, tunnelwarden.items(item -> 'patch') AS change
WHERE entries.kind IN ('outcome', 'resolved');

-- Where fingerprints stand: see the view of SQLite.
CREATE VIEW tunnelwarden.psk_events AS
SELECT
    requests.seq,
    requests.time,
    requests.request_id,
    requests.subject,
    requests.teams,
    requests.roles,
    requests.operation,
    requests.account,
    requests.tunnel,
    requests.validate_only,
    requests.ended,
    requests.status,
    requests.sent,
    requests.resolution,
    requests.policies,
    found.psk
FROM tunnelwarden.requests
LEFT JOIN LATERAL (
    SELECT DISTINCT place #>> '{}' AS psk
    FROM tunnelwarden.entries,
        LATERAL (SELECT tunnelwarden.document(entries.entry)::jsonb AS e OFFSET 0) AS read,
        LATERAL (
            SELECT jsonb_path_query(read.e, '$.**.psk') UNION ALL
            SELECT jsonb_path_query(read.e, '$.**.value') UNION ALL
            SELECT jsonb_path_query(read.e, '$.**.old')
        ) AS places (place)
    WHERE entries.request_id = requests.request_id
        AND strpos(entries.entry, 'redacted:psk:') > 0
        AND jsonb_typeof(place) = 'string' AND starts_with(place #>> '{}', 'redacted:psk:')
) AS found ON true
WHERE requests.operation IN ('generate_psk', 'set_psks') OR found.psk IS NOT NULL;

-- Whose token it was: see the view of SQLite.
CREATE VIEW tunnelwarden.refusals AS
SELECT
    seq,
    time,
    request_id,
    kind,
    subject,
    e ->> 'teams' AS teams,
    e ->> 'roles' AS roles,
    e ->> 'issuer' AS issuer,
    e #>> '{refused_token,subject}' AS token_subject,
    e #>> '{refused_token,issuer}' AS token_issuer,
    e #>> '{refused_token,jti}' AS token_jti,
    e ->> 'client_address' AS client_address,
    operation,
    e ->> 'account' AS account,
    tunnel,
    refusal,
    (e #>> '{refusal,code}')::bigint AS code,
    (e ->> 'status')::bigint AS status,
    e #>> '{refusal,message}' AS message,
    e #>> '{refusal,pointer}' AS pointer,
    e ->> 'method' AS method,
    e ->> 'path' AS path,
    e ->> 'decision' AS decision,
    e ->> 'policies' AS policies
FROM (SELECT *, tunnelwarden.document(entry) AS e FROM tunnelwarden.entries) AS entries
WHERE refusal IS NOT NULL;

CREATE VIEW tunnelwarden.tunnel_history AS
SELECT
    ended.seq,
    ended.time,
    ended.request_id,
    ended.kind,
    ended.subject,
    ended.e ->> 'teams' AS teams,
    ended.operation,
    ended.e ->> 'account' AS account,
    ended.tunnel,
    ended.name,
    (ended.e ->> 'validate_only')::boolean AS validate_only,
    (ended.e ->> 'status')::bigint AS status,
    ended.e #>> '{refusal,name}' AS refusal,
    ended.e ->> 'sent' AS sent,
    ended.e ->> 'resolution' AS resolution,
    coalesce((SELECT json_agg(change -> 'path')
        FROM tunnelwarden.items(ended.e -> 'before_after_diff') AS item, tunnelwarden.items(item -> 'patch') AS change
        WHERE item ->> 'tunnel' = ended.tunnel)::text, '[]') AS fields,
    (SELECT change ->> 'value'
        FROM tunnelwarden.items(ended.e -> 'before_after_diff') AS item, tunnelwarden.items(item -> 'patch') AS change
        WHERE item ->> 'tunnel' = ended.tunnel AND change ->> 'path' = '/psk' LIMIT 1) AS psk,
    ended.e ->> 'policies' AS policies
FROM (
    SELECT seq, time, request_id, kind, subject, operation, tunnelwarden.document(entry) AS e, tunnel, tunnel_name AS name
    FROM tunnelwarden.entries
    WHERE tunnel IS NOT NULL AND tunnel_count = 1
    UNION ALL
    SELECT seq, time, request_id, kind, subject, operation, tunnelwarden.document(entry), one ->> 'id', one ->> 'name'
    FROM tunnelwarden.entries, tunnelwarden.items(tunnelwarden.document(entry) -> 'tunnels') AS one
    WHERE tunnel_count > 1
) AS ended
WHERE ended.kind IN ('outcome', 'resolved', 'refusal') AND ended.operation NOT IN ('list', 'get');

CREATE VIEW tunnelwarden.findings AS
SELECT
    entries.seq,
    entries.time,
    found ->> 'what' AS what,
    found ->> 'key' AS key,
    found ->> 'time' AS happened,
    found ->> 'account' AS account,
    found ->> 'operation' AS operation,
    (found -> 'tunnels')::text AS tunnels,
    found ->> 'request_id' AS request_id,
    found ->> 'subject' AS subject,
    (found -> 'actor')::text AS actor,
    found ->> 'user_agent' AS user_agent,
    found ->> 'cf_ray' AS cf_ray,
    EXISTS (SELECT FROM tunnelwarden.entries AS later,
                tunnelwarden.words(tunnelwarden.document(later.entry) -> 'settled') AS gone
            WHERE later.kind <> 'outcome' AND later.kind = 'reconciled' AND later.seq > entries.seq
                AND gone = found ->> 'key') AS settled
FROM tunnelwarden.entries, tunnelwarden.items(tunnelwarden.document(entry) -> 'findings') AS found
WHERE entries.kind <> 'outcome' AND entries.kind = 'reconciled';
