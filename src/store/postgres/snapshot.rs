//! One replica's log on a server as it stands at one moment.
//!
//! The server is believed in what it says of its own tables' making, not in what stands in them. Not here: what each method
//! gives (`store::Snapshot`).

use bytes::Bytes;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection as _, Row as _};

use super::{schema, tables};
use crate::seal::{Hash, hash_from, hashes_to_bytes};
use crate::store::snapshot::{MARK, MAX_MARKS, RawCheckpoint, RawEntry, RawHead, RawTile};
use crate::store::sqlite::narrow;
use crate::store::{MAX_ENTRY, Server};

/// Checkpoints that are read at once.
const PAGE: i64 = 32;

/// Entries that are read at once, and bytes of them: the server sends all that it is asked for.
const ENTRIES: i64 = 1024;
const BYTES: i64 = 4 << 20;

/// A log at one moment.
#[derive(Debug)]
pub(in crate::store) struct Snapshot {
    connection: PgConnection,
    server: Server,
    log: i16,
}

impl Snapshot {
    pub(in crate::store) async fn begin(server: Server, log: i16) -> Result<Self, sqlx::Error> {
        let mut connection = super::connect(&server).await?;
        sqlx::query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").execute(&mut connection).await?;
        // The server leaves out a schema's name where the path has it, and a role of the schema's name has it by default.
        sqlx::query("SET LOCAL search_path = pg_catalog, pg_temp").execute(&mut connection).await?;
        // Only a read makes the snapshot.
        sqlx::query("SELECT FROM tunnelwarden.logs LIMIT 1").execute(&mut connection).await?;
        Ok(Self { connection, server, log })
    }

    pub(in crate::store) async fn heads(&mut self) -> Result<Vec<RawHead>, sqlx::Error> {
        let query = "SELECT note, size FROM tunnelwarden.logs WHERE log = $1 AND note IS NOT NULL LIMIT 2";
        let rows = sqlx::query(query).bind(self.log).fetch_all(&mut self.connection).await?;
        let query = "SELECT leaf FROM tunnelwarden.log_entries WHERE log = $1 AND leaf_index >= $2 ORDER BY leaf_index";
        let mut heads = Vec::new();
        for row in rows {
            let (note, size): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
            let query = sqlx::query(query).bind(self.log).bind(size - size.rem_euclid(256));
            let leaves = query.fetch_all(&mut self.connection).await?;
            let leaves =
                leaves.iter().map(|row| row.try_get::<Vec<u8>, _>(0)).collect::<Result<Vec<_>, _>>()?;
            let leaves: Vec<Hash> = leaves.iter().filter_map(|leaf| hash_from(leaf)).collect();
            heads.push(RawHead { note: note.into_bytes(), edge: hashes_to_bytes(&leaves) });
        }
        Ok(heads)
    }

    pub(in crate::store) async fn entries(&mut self, from: i64) -> Result<Vec<RawEntry>, sqlx::Error> {
        let page = "SELECT leaf_index, leaf, CASE WHEN size <= $4 THEN entry END FROM (
                        SELECT *, sum(size) OVER (ORDER BY leaf_index) - size AS before FROM (
                            SELECT leaf_index, leaf, entry, octet_length(entry) AS size FROM tunnelwarden.log_entries
                            WHERE log = $1 AND leaf_index >= $2 ORDER BY leaf_index LIMIT $3) AS next) AS page
                    WHERE before < $5 ORDER BY leaf_index";
        let query = sqlx::query(page).bind(self.log).bind(from).bind(ENTRIES).bind(most()).bind(BYTES);
        let rows = query.fetch_all(&mut self.connection).await?;
        rows.iter().map(entry).collect()
    }

    pub(in crate::store) async fn alone(&mut self, from: i64) -> Result<Vec<RawEntry>, sqlx::Error> {
        let one = "SELECT leaf_index, leaf, CASE WHEN octet_length(entry) <= $3 THEN entry END
                   FROM tunnelwarden.log_entries WHERE log = $1 AND leaf_index >= $2 ORDER BY leaf_index LIMIT 1";
        let query = sqlx::query(one).bind(self.log).bind(from).bind(most());
        let rows = query.fetch_all(&mut self.connection).await?;
        rows.iter().map(entry).collect()
    }

    pub(in crate::store) async fn tile(&mut self, level: u32, n: i64) -> Result<Vec<RawTile>, sqlx::Error> {
        let tile =
            "SELECT root, hashes FROM tunnelwarden.tiles WHERE log = $1 AND level = $2 AND n = $3 LIMIT 2";
        let query = sqlx::query(tile).bind(self.log).bind(level.cast_signed()).bind(n);
        let rows = query.fetch_all(&mut self.connection).await?;
        rows.iter().map(|row| Ok(RawTile { root: row.try_get(0)?, hashes: row.try_get(1)? })).collect()
    }

    pub(in crate::store) async fn tile_count(&mut self) -> Result<i64, sqlx::Error> {
        let query = sqlx::query("SELECT count(*) FROM tunnelwarden.tiles WHERE log = $1").bind(self.log);
        query.fetch_one(&mut self.connection).await?.try_get(0)
    }

    pub(in crate::store) async fn checkpoints(
        &mut self,
        from: i64,
    ) -> Result<Vec<RawCheckpoint>, sqlx::Error> {
        let page = "SELECT n, size, substr(note, 1, 4097) FROM tunnelwarden.checkpoints
                    WHERE log = $1 AND n >= $2 ORDER BY n LIMIT $3";
        let query = sqlx::query(page).bind(self.log).bind(from).bind(PAGE);
        let rows = query.fetch_all(&mut self.connection).await?;
        let read = |row: &PgRow| {
            let note = row.try_get::<String, _>(2)?.into_bytes();
            Ok(RawCheckpoint { n: row.try_get(0)?, size: row.try_get(1)?, note })
        };
        rows.iter().map(read).collect()
    }

    pub(in crate::store) async fn marks(&mut self) -> Result<Vec<RawEntry>, sqlx::Error> {
        let marks = "SELECT leaf_index, leaf, CASE WHEN octet_length(entry) <= $2 THEN entry END
                     FROM tunnelwarden.entries
                     WHERE log = $1 AND kind <> 'outcome' AND kind IN ('key_rotated', 'archived')
                     ORDER BY leaf_index LIMIT $3";
        let query = sqlx::query(marks).bind(self.log).bind(narrow(MARK)?).bind(MAX_MARKS);
        let rows = query.fetch_all(&mut self.connection).await?;
        rows.iter().map(entry).collect()
    }

    pub(in crate::store) async fn checkpoint_over(
        &mut self,
        seq: i64,
    ) -> Result<Option<Vec<u8>>, sqlx::Error> {
        let over = "SELECT substr(note, 1, 4097) FROM tunnelwarden.checkpoints
                    WHERE log = $1 AND size > $2 ORDER BY size LIMIT 1";
        let row = sqlx::query(over).bind(self.log).bind(seq).fetch_optional(&mut self.connection).await?;
        row.map(|row| row.try_get::<String, _>(0).map(String::into_bytes)).transpose()
    }

    pub(in crate::store) async fn hashes(
        &mut self,
        level: u32,
        from: u64,
        count: u64,
    ) -> Result<Vec<Hash>, sqlx::Error> {
        let of_entries = "SELECT leaf FROM tunnelwarden.log_entries
                          WHERE log = $1 AND $2 = -1 AND leaf_index >= $3 AND leaf_index < $4 ORDER BY leaf_index";
        let of_tiles = "SELECT root FROM tunnelwarden.tiles
                        WHERE log = $1 AND level = $2 AND n >= $3 AND n < $4 ORDER BY n";
        let query = sqlx::query(if level == 0 { of_entries } else { of_tiles });
        let query = query.bind(self.log).bind(level.cast_signed() - 1);
        let query = query.bind(narrow(from)?).bind(narrow(from + count)?);
        let rows = query.fetch_all(&mut self.connection).await?;
        let hashes: Vec<Vec<u8>> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        Ok(hashes.iter().filter_map(|bytes| hash_from(bytes)).collect())
    }

    pub(in crate::store) async fn schema_differences(&mut self) -> Result<Vec<String>, sqlx::Error> {
        let mut lines = schema::check(&mut self.connection).await?;
        lines.extend(tables::differences(&mut self.connection).await?);
        Ok(lines)
    }

    /// Of the views it is told on a connection of its own, as a snapshot may make none.
    pub(in crate::store) async fn view_differences(&mut self) -> Option<Vec<String>> {
        let mut connection = super::connect(&self.server).await.ok()?;
        let lines = tables::view_differences(&mut connection).await;
        let _ = connection.close().await;
        lines
    }

    /// What is told of each entry is computed once more, and the order of each follows from the one before.
    pub(in crate::store) async fn integrity(&mut self) -> Result<Vec<String>, sqlx::Error> {
        let told = "SELECT leaf_index FROM tunnelwarden.log_entries
                    WHERE log = $1 AND told IS DISTINCT FROM tunnelwarden.tells(entry) ORDER BY leaf_index LIMIT 20";
        let order = "SELECT leaf_index FROM (
                         SELECT leaf_index, seq, log, (told).time AS time,
                             lag(seq) OVER (ORDER BY leaf_index) AS last
                         FROM tunnelwarden.log_entries WHERE log = $1) AS one
                     WHERE seq <> greatest(
                         coalesce(last + 128, 0),
                         floor(extract(epoch FROM time::timestamptz) * 8000)::bigint * 128 + log)
                     ORDER BY leaf_index LIMIT 20";
        let mut lines = Vec::new();
        for (query, what) in [(told, "what is told of it is not what it says"), (order, "its seq is another")]
        {
            for row in sqlx::query(query).bind(self.log).fetch_all(&mut self.connection).await? {
                lines.push(format!("entry {}: {what}", row.try_get::<i64, _>(0)?));
            }
        }
        Ok(lines)
    }

    /// There is no part of it that could be left out.
    pub(in crate::store) async fn integrity_of_rows(&mut self) -> Result<Vec<String>, sqlx::Error> {
        Ok(Vec::new())
    }

    pub(in crate::store) async fn end(self) {
        // Nothing was written, so nothing can be lost.
        let _ = self.connection.close().await;
    }
}

fn most() -> i64 {
    i64::try_from(MAX_ENTRY).unwrap_or(i64::MAX)
}

fn entry(row: &PgRow) -> Result<RawEntry, sqlx::Error> {
    let (leaf, entry): (Vec<u8>, Option<String>) = (row.try_get(1)?, row.try_get(2)?);
    Ok(RawEntry { seq: row.try_get(0)?, leaf: leaf.into(), entry: entry.map(Bytes::from) })
}
