-- The record: an append-only log of entries, the hashes that prove it, and views to read it by.
--
-- Tables hold what is proven:
--   entries      one row an entry, `seq` from 0 without gaps; `entry` is the JSON text whose hash `leaf` is. All
--                other columns are computed from that text whenever they are read, so they can't disagree with it.
--   tiles        full tiles of the Merkle tree: 256 hashes each, and the root over them
--   checkpoints  signed checkpoints, one a second at most, as C2SP signed notes
--   head         one row: the signed checkpoint over all entries and all checkpoints, replaced with each append,
--                and the leaf hashes of the tile that is not full yet
--   probe        written after a fault to see whether the database works again; proves nothing
--
-- Views answer everyday questions. Their columns are stable; new ones may be added at the end:
--   requests     one row a call: who, what, when, by which policy, and how it ended
--   changes      one row a changed field: which tunnel, what it was before, what it is now
--   psk_events   one row a pre-shared key (by fingerprint) that a call minted, set or carried, and one row for
--                each call to mint or set keys of which no fingerprint is known
--   refusals     one row a call that got no, or whose answer could not be given
--   findings     one row for each thing that the upstream's own audit logs told and the record did not, or the other way
--   tunnel_history  one row for each tunnel of a write that ended: who, what, how it ended, which fields, which key

-- The letters `twar`.
PRAGMA application_id = 1953980786;

-- Every row computes every generated column once when it is inserted, whether it is indexed or not, so only what is
-- looked for by itself is one. The views take the rest out of the text when somebody asks.
CREATE TABLE entries (
    seq        INTEGER PRIMARY KEY CHECK (seq >= 0),
    leaf       BLOB NOT NULL CHECK (length(leaf) = 32),
    entry      TEXT NOT NULL CHECK (length(CAST(entry AS BLOB)) <= 16777216),
    kind       TEXT AS (json_extract(entry, '$.kind')) VIRTUAL NOT NULL CHECK (kind IN
                   ('intent', 'outcome', 'refusal', 'resolved', 'audit_read', 'started', 'stopped', 'reloaded',
                   'reload_refused', 'heartbeat', 'reconciled', 'key_rotated', 'archived')),
    id         TEXT AS (json_extract(entry, '$.id')) VIRTUAL NOT NULL CHECK (length(id) = 36),
    time       TEXT AS (json_extract(entry, '$.time')) VIRTUAL NOT NULL
                   CHECK (time GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T*Z' AND length(time) = 27),
    request_id TEXT AS (json_extract(entry, '$.request_id')) VIRTUAL NOT NULL CHECK (length(request_id) = 36),
    subject    TEXT AS (json_extract(entry, '$.subject')) VIRTUAL,
    operation  TEXT AS (json_extract(entry, '$.operation')) VIRTUAL,
    tunnel     TEXT AS (json_extract(entry, '$.tunnels[0].id')) VIRTUAL,
    refusal    TEXT AS (json_extract(entry, '$.refusal.name')) VIRTUAL,
    tunnel_name TEXT AS (json_extract(entry, '$.tunnels[0].name')) VIRTUAL,
    tunnel_count INTEGER AS (json_array_length(entry, '$.tunnels')) VIRTUAL,
    intent_id  TEXT AS (json_extract(entry, '$.intent_id')) VIRTUAL,
    request_key TEXT AS (CASE kind WHEN 'intent' THEN json_extract(entry, '$.request_key') END) VIRTUAL,
    ambiguous  INTEGER AS (CASE WHEN intent_id IS NOT NULL THEN json_extract(entry, '$.ambiguous') END) VIRTUAL
) STRICT;

-- Ids begin with their time (UUIDv7), as `time` does, so these three grow at their right edge, which is cheap.
CREATE UNIQUE INDEX entries_id ON entries (id);
CREATE INDEX entries_request_id ON entries (request_id);
CREATE INDEX entries_time ON entries (time);
-- These three grow at as many places as there are active subjects and tunnels.
CREATE INDEX entries_subject ON entries (subject) WHERE subject IS NOT NULL;
CREATE INDEX entries_tunnel ON entries (tunnel) WHERE tunnel IS NOT NULL;
CREATE INDEX entries_tunnel_name ON entries (tunnel_name, tunnel) WHERE tunnel_name IS NOT NULL;
-- Few rows each.
CREATE INDEX entries_refusal ON entries (subject) WHERE refusal IS NOT NULL;
CREATE INDEX entries_bulk ON entries (tunnel_count) WHERE tunnel_count > 1;
CREATE INDEX entries_intent_id ON entries (intent_id) WHERE intent_id IS NOT NULL;
CREATE INDEX entries_kind ON entries (kind) WHERE kind <> 'outcome';
CREATE INDEX entries_ambiguous ON entries (intent_id) WHERE ambiguous;
CREATE INDEX entries_one_shot ON entries (time) WHERE request_key IS NOT NULL;

-- Also against INSERT OR REPLACE, for which no row is updated and none deleted. FAIL, as nothing was written by then:
-- for ABORT each statement would keep the pages that it changes.
CREATE TRIGGER entries_follow BEFORE INSERT ON entries
WHEN NEW.seq IS NOT (SELECT coalesce(max(seq) + 1, 0) FROM entries)
BEGIN SELECT RAISE(FAIL, 'entries: the next entry follows the last one'); END;
CREATE TRIGGER entries_no_update BEFORE UPDATE ON entries
BEGIN SELECT RAISE(ABORT, 'entries: an entry is never changed'); END;
CREATE TRIGGER entries_no_delete BEFORE DELETE ON entries
BEGIN SELECT RAISE(ABORT, 'entries: an entry is never deleted'); END;

CREATE TABLE tiles (
    level  INTEGER NOT NULL CHECK (level BETWEEN 0 AND 7),
    n      INTEGER NOT NULL CHECK (n >= 0),
    root   BLOB NOT NULL CHECK (length(root) = 32),
    hashes BLOB NOT NULL CHECK (length(hashes) = 8192),
    PRIMARY KEY (level, n)
) STRICT;

CREATE TRIGGER tiles_no_update BEFORE UPDATE ON tiles
BEGIN SELECT RAISE(ABORT, 'tiles: a tile is never changed'); END;
CREATE TRIGGER tiles_no_delete BEFORE DELETE ON tiles
BEGIN SELECT RAISE(ABORT, 'tiles: a tile is never deleted'); END;

CREATE TABLE checkpoints (
    n    INTEGER PRIMARY KEY CHECK (n >= 0),
    size INTEGER NOT NULL UNIQUE CHECK (size > 0),
    note TEXT NOT NULL CHECK (length(note) <= 4096)
) STRICT;

CREATE TRIGGER checkpoints_follow BEFORE INSERT ON checkpoints
WHEN NEW.n IS NOT (SELECT coalesce(max(n) + 1, 0) FROM checkpoints)
BEGIN SELECT RAISE(ABORT, 'checkpoints: the next checkpoint follows the last one'); END;
CREATE TRIGGER checkpoints_no_update BEFORE UPDATE ON checkpoints
BEGIN SELECT RAISE(ABORT, 'checkpoints: a checkpoint is never changed'); END;
CREATE TRIGGER checkpoints_no_delete BEFORE DELETE ON checkpoints
BEGIN SELECT RAISE(ABORT, 'checkpoints: a checkpoint is never deleted'); END;

CREATE TABLE head (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    note TEXT NOT NULL CHECK (length(note) <= 4096),
    edge BLOB NOT NULL CHECK (length(edge) % 32 = 0 AND length(edge) < 8192)
) STRICT;

CREATE TRIGGER head_no_delete BEFORE DELETE ON head
BEGIN SELECT RAISE(ABORT, 'head: the head is only replaced'); END;

CREATE TABLE probe (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    room BLOB NOT NULL
) STRICT;

-- A write is the intent and what ended it; a read or a refusal is one entry. `ended` is `open` where an intent
-- has no end yet, else the kind of the entry that ended the call; `sent` says whether it may have reached the
-- upstream, and `resolution` what a crash's loss turned out to be.
CREATE VIEW requests AS
SELECT
    first.seq,
    first.time,
    first.request_id,
    first.subject,
    first.entry ->> '$.teams' AS teams,
    first.entry ->> '$.roles' AS roles,
    first.entry ->> '$.issuer' AS issuer,
    first.entry ->> '$.jti' AS jti,
    first.entry ->> '$.client_address' AS client_address,
    first.entry ->> '$.user_agent' AS user_agent,
    first.operation,
    first.entry ->> '$.account' AS account,
    coalesce(first.tunnel, last.tunnel) AS tunnel,
    coalesce(last.entry -> '$.tunnels', first.entry -> '$.tunnels') AS tunnels,
    first.entry ->> '$.validate_only' AS validate_only,
    first.entry ->> '$.decision' AS decision,
    first.entry ->> '$.policies' AS policies,
    first.entry ->> '$.policy_digest' AS policy_digest,
    CASE WHEN last.seq IS NOT NULL THEN last.kind WHEN first.kind = 'intent' THEN 'open' ELSE first.kind END
        AS ended,
    coalesce(last.entry, first.entry) ->> '$.status' AS status,
    coalesce(last.entry, first.entry) ->> '$.refusal.name' AS refusal,
    coalesce(last.entry, first.entry) ->> '$.sent' AS sent,
    coalesce(last.entry, first.entry) ->> '$.upstream.status' AS upstream_status,
    coalesce(last.entry, first.entry) ->> '$.upstream.cf_ray' AS cf_ray,
    coalesce(last.entry, first.entry) ->> '$.duration_us' AS duration_us,
    last.entry ->> '$.resolution' AS resolution,
    last.seq AS last_seq
FROM entries AS first
LEFT JOIN entries AS last ON last.seq = (SELECT max(seq) FROM entries WHERE intent_id = first.id)
WHERE first.kind IN ('intent', 'refusal') OR (first.kind = 'outcome' AND first.intent_id IS NULL);

-- `field` is an RFC 6901 pointer into the tunnel; `before` and `after` are JSON, NULL where there was nothing.
CREATE VIEW changes AS
SELECT
    entries.seq,
    entries.time,
    entries.request_id,
    entries.subject,
    entries.entry ->> '$.teams' AS teams,
    entries.operation,
    entries.entry ->> '$.account' AS account,
    coalesce(tunnel.value ->> '$.tunnel.id', tunnel.value ->> '$.tunnel') AS tunnel,
    change.value ->> '$.op' AS op,
    change.value ->> '$.path' AS field,
    change.value -> '$.old' AS before,
    change.value -> '$.value' AS after,
    entries.entry ->> '$.policies' AS policies
FROM entries, json_each(entries.entry, '$.before_after_diff') AS tunnel, json_each(tunnel.value, '$.patch') AS change
WHERE entries.kind IN ('outcome', 'resolved');

-- `psk` is `redacted:psk:<key id>:<fingerprint>`: equal keys have equal fingerprints. It is looked for where keys
-- stand and values of patches: a caller may have such a name. All outside text elsewhere says `(redacted):`.
CREATE VIEW psk_events AS
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
    found.value AS psk
FROM requests
LEFT JOIN json_each((
    SELECT json_group_array(DISTINCT place.atom)
    FROM entries, json_tree(entries.entry) AS place
    WHERE entries.request_id = requests.request_id
        AND instr(entries.entry, 'redacted:psk:') > 0
        AND place.type = 'text' AND place.atom GLOB 'redacted:psk:*' AND place.key IN ('psk', 'value', 'old')
)) AS found
WHERE requests.operation IN ('generate_psk', 'set_psks') OR found.value IS NOT NULL;

-- `token_subject` and what follows it: whose token came, where it is good but revoked or not in its owner's hands. Who sent it
-- may be anybody, so `subject` is NULL then.
CREATE VIEW refusals AS
SELECT
    seq,
    time,
    request_id,
    kind,
    subject,
    entry ->> '$.teams' AS teams,
    entry ->> '$.roles' AS roles,
    entry ->> '$.issuer' AS issuer,
    entry ->> '$.refused_token.subject' AS token_subject,
    entry ->> '$.refused_token.issuer' AS token_issuer,
    entry ->> '$.refused_token.jti' AS token_jti,
    entry ->> '$.client_address' AS client_address,
    operation,
    entry ->> '$.account' AS account,
    tunnel,
    refusal,
    entry ->> '$.refusal.code' AS code,
    entry ->> '$.status' AS status,
    entry ->> '$.refusal.message' AS message,
    entry ->> '$.refusal.pointer' AS pointer,
    entry ->> '$.method' AS method,
    entry ->> '$.path' AS path,
    entry ->> '$.decision' AS decision,
    entry ->> '$.policies' AS policies
FROM entries
WHERE refusal IS NOT NULL;

-- A tunnel's id finds its rows by index, also those of calls on several tunnels. `fields` is a JSON array of pointers;
-- `psk` the fingerprint of the key that the tunnel has since, where this call gave it one that is known.
CREATE VIEW tunnel_history AS
SELECT
    ended.seq,
    ended.time,
    ended.request_id,
    ended.kind,
    ended.subject,
    ended.entry ->> '$.teams' AS teams,
    ended.operation,
    ended.entry ->> '$.account' AS account,
    ended.tunnel,
    ended.name,
    ended.entry ->> '$.validate_only' AS validate_only,
    ended.entry ->> '$.status' AS status,
    ended.entry ->> '$.refusal.name' AS refusal,
    ended.entry ->> '$.sent' AS sent,
    ended.entry ->> '$.resolution' AS resolution,
    (SELECT json_group_array(change.value ->> '$.path')
     FROM json_each(ended.entry, '$.before_after_diff') AS item, json_each(item.value, '$.patch') AS change
     WHERE item.value ->> '$.tunnel' = ended.tunnel) AS fields,
    (SELECT change.value ->> '$.value'
     FROM json_each(ended.entry, '$.before_after_diff') AS item, json_each(item.value, '$.patch') AS change
     WHERE item.value ->> '$.tunnel' = ended.tunnel AND change.value ->> '$.path' = '/psk') AS psk,
    ended.entry ->> '$.policies' AS policies
FROM (
    SELECT seq, time, request_id, kind, subject, operation, entry, tunnel, entry ->> '$.tunnels[0].name' AS name
    FROM entries
    WHERE tunnel IS NOT NULL AND tunnel_count = 1
    UNION ALL
    SELECT seq, time, request_id, kind, subject, operation, entry, each.value ->> '$.id', each.value ->> '$.name'
    FROM entries, json_each(entry, '$.tunnels') AS each
    WHERE tunnel_count > 1
) AS ended
WHERE ended.kind IN ('outcome', 'resolved', 'refusal') AND ended.operation NOT IN ('list', 'get');

-- What comparing the record with the upstream's audit logs found: `what` is `bypass` (a change past this proxy), `unknown` (a
-- call of ours that the upstream does not know) or `key` (a key that nobody says to have changed). Each finding is one row,
-- however often it was seen; `settled` is 1 where it came to nothing later. `happened` is when, as the upstream says.
CREATE VIEW findings AS
SELECT
    entries.seq,
    entries.time,
    found.value ->> '$.what' AS what,
    found.value ->> '$.key' AS key,
    found.value ->> '$.time' AS happened,
    found.value ->> '$.account' AS account,
    found.value ->> '$.operation' AS operation,
    found.value -> '$.tunnels' AS tunnels,
    found.value ->> '$.request_id' AS request_id,
    found.value ->> '$.subject' AS subject,
    found.value -> '$.actor' AS actor,
    found.value ->> '$.user_agent' AS user_agent,
    found.value ->> '$.cf_ray' AS cf_ray,
    EXISTS (SELECT 1 FROM entries AS later, json_each(later.entry, '$.settled') AS gone
            WHERE later.kind <> 'outcome' AND later.kind = 'reconciled' AND later.seq > entries.seq
                AND gone.value = found.value ->> '$.key') AS settled
FROM entries, json_each(entries.entry, '$.findings') AS found
WHERE entries.kind <> 'outcome' AND entries.kind = 'reconciled';
