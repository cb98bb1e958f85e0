//! A file as it stands at one moment.
//!
//! Texts come as bytes and hashes as they are, since whoever damaged a file did not keep to its types. Not here: what each
//! method gives (`store::Snapshot`).

use bytes::Bytes;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection as _, Row as _};

use super::index::{Index, Sum, Sums};
use super::{narrow, schema};
use crate::seal::{Hash, hash_from};
use crate::store::MAX_ENTRY;
use crate::store::snapshot::{MARK, MAX_MARKS, RawCheckpoint, RawEntry, RawHead, RawTile};

/// Checkpoints that are read at once.
const PAGE: i64 = 32;

/// Entries that are read at once: together [`ENTRIES`] times [`SHORT`] bytes at most, 16 MiB, and as much of long ones.
const ENTRIES: i64 = 512;

/// Bytes of an entry that is read together with others; a longer one is read alone.
const SHORT: usize = 32 << 10;

/// Bytes of a hash.
const HASH: usize = 32;

pub(in crate::store) const MARKS: &str = "
    SELECT seq, CAST(leaf AS BLOB), CASE WHEN octet_length(entry) <= ?1 THEN CAST(entry AS BLOB) END
    FROM entries INDEXED BY entries_kind
    WHERE kind <> 'outcome' AND kind IN ('key_rotated', 'archived') ORDER BY seq LIMIT ?2";

/// The database's own check, of at most so many problems.
const CHECK: [&str; 1] = ["PRAGMA integrity_check(20)"];

/// The same without a look at the indexes of the entries, which takes two thirds of the time.
const CHECK_ROWS: [&str; 3] =
    ["PRAGMA quick_check(20)", "PRAGMA integrity_check(tiles)", "PRAGMA integrity_check(checkpoints)"];

/// A file at one moment.
#[derive(Debug)]
pub(in crate::store) struct Snapshot {
    connection: SqliteConnection,
}

impl Snapshot {
    pub(in crate::store) async fn begin(mut connection: SqliteConnection) -> Result<Self, sqlx::Error> {
        sqlx::query("BEGIN").execute(&mut connection).await?;
        // Only a read makes the snapshot.
        sqlx::query("SELECT count(*) FROM sqlite_schema").execute(&mut connection).await?;
        Ok(Self { connection })
    }

    /// The heads: one in a sound database.
    pub(in crate::store) async fn heads(&mut self) -> Result<Vec<RawHead>, sqlx::Error> {
        let heads = "SELECT CAST(note AS BLOB), CAST(edge AS BLOB) FROM head LIMIT 2";
        let rows = sqlx::query(heads).fetch_all(&mut self.connection).await?;
        rows.iter().map(|row| Ok(RawHead { note: row.try_get(0)?, edge: row.try_get(1)? })).collect()
    }

    /// A few entries, from `seq` on.
    pub(in crate::store) async fn entries(&mut self, from: i64) -> Result<Vec<RawEntry>, sqlx::Error> {
        // A page that can't be read may begin with entries that can.
        let mut page = self.together(from).await.unwrap_or_default();
        let mut bytes = 0;
        for at in 0..page.len() {
            let Some(RawEntry { seq, entry: None, .. }) = page.get(at) else { continue };
            let long = match self.alone(*seq).await {
                Err(e) if at == 0 => return Err(e),
                // It is what the next page begins with.
                Err(_) => {
                    page.truncate(at);
                    break;
                }
                Ok(mut long) => long.pop(),
            };
            let Some(long) = long else { continue };
            bytes += long.entry.as_ref().map_or(0, Bytes::len);
            if let Some(place) = page.get_mut(at) {
                *place = long;
            }
            if bytes > MAX_ENTRY {
                page.truncate(at + 1);
                break;
            }
        }
        if page.is_empty() { self.alone(from).await } else { Ok(page) }
    }

    /// The entry at `seq`, else the next.
    pub(in crate::store) async fn alone(&mut self, from: i64) -> Result<Vec<RawEntry>, sqlx::Error> {
        let one = "SELECT seq, CAST(leaf AS BLOB),
                          CASE WHEN length(CAST(entry AS BLOB)) <= ?2 THEN CAST(entry AS BLOB) END
                   FROM entries NOT INDEXED WHERE seq >= ?1 ORDER BY seq LIMIT 1";
        let most = i64::try_from(MAX_ENTRY).unwrap_or(i64::MAX);
        let query = sqlx::query(one).bind(from).bind(most);
        read_entries(&query.fetch_all(&mut self.connection).await?)
    }

    /// The entries from `seq` on, without the texts of long ones: as one row, since a row costs a hand-over from the
    /// connection's thread, which takes longer than to check an entry.
    async fn together(&mut self, from: i64) -> Result<Vec<RawEntry>, sqlx::Error> {
        // Of a long text nothing is read but its length.
        let page = "SELECT CAST(coalesce(group_concat(seq || ' ' || size, ' '), '') AS BLOB),
                           CAST(coalesce(group_concat(leaf, ''), '') AS BLOB),
                           CAST(coalesce(group_concat(entry, ''), '') AS BLOB)
                    FROM (SELECT seq, CASE WHEN octet_length(leaf) = 32 THEN CAST(leaf AS BLOB) ELSE zeroblob(32) END AS leaf,
                                 octet_length(entry) AS size,
                                 CASE WHEN octet_length(entry) <= ?2 THEN CAST(entry AS BLOB) ELSE x'' END AS entry
                          FROM entries NOT INDEXED WHERE seq >= ?1 ORDER BY seq LIMIT ?3)";
        let query = sqlx::query(page).bind(from).bind(narrow(SHORT as u64)?).bind(ENTRIES);
        let row = query.fetch_one(&mut self.connection).await?;
        let (places, leaves, texts): (&[u8], Vec<u8>, Vec<u8>) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        Ok(cut(places, leaves.into(), texts.into()))
    }

    /// The tiles with this level and number: one in a sound database.
    pub(in crate::store) async fn tile(&mut self, level: u32, n: i64) -> Result<Vec<RawTile>, sqlx::Error> {
        let tile = "SELECT CAST(root AS BLOB), CAST(hashes AS BLOB) FROM tiles
                    WHERE level = ? AND n = ? LIMIT 2";
        let rows = sqlx::query(tile).bind(level).bind(n).fetch_all(&mut self.connection).await?;
        rows.iter().map(|row| Ok(RawTile { root: row.try_get(0)?, hashes: row.try_get(1)? })).collect()
    }

    /// How many tiles there are.
    pub(in crate::store) async fn tile_count(&mut self) -> Result<i64, sqlx::Error> {
        let query = sqlx::query("SELECT count(*) FROM tiles NOT INDEXED");
        query.fetch_one(&mut self.connection).await?.try_get(0)
    }

    /// A few checkpoints, from number `n` on.
    pub(in crate::store) async fn checkpoints(
        &mut self,
        from: i64,
    ) -> Result<Vec<RawCheckpoint>, sqlx::Error> {
        let page = "SELECT n, size, CAST(substr(note, 1, 4097) AS BLOB) FROM checkpoints NOT INDEXED
                    WHERE n >= ? ORDER BY n LIMIT ?";
        let query = sqlx::query(page).bind(from).bind(PAGE);
        let rows = query.fetch_all(&mut self.connection).await?;
        let read = |row: &SqliteRow| {
            Ok(RawCheckpoint { n: row.try_get(0)?, size: row.try_get(1)?, note: row.try_get(2)? })
        };
        rows.iter().map(read).collect()
    }

    /// The entries that tell how others are to be checked, in order: those that name another signing key, and those that
    /// tell of an archive. By their index: a damaged one may hide some.
    pub(in crate::store) async fn marks(&mut self) -> Result<Vec<RawEntry>, sqlx::Error> {
        let query = sqlx::query(MARKS).bind(narrow(MARK)?).bind(MAX_MARKS);
        read_entries(&query.fetch_all(&mut self.connection).await?)
    }

    /// The oldest checkpoint that covers the entry at `seq`.
    pub(in crate::store) async fn checkpoint_over(
        &mut self,
        seq: i64,
    ) -> Result<Option<Vec<u8>>, sqlx::Error> {
        let over = "SELECT CAST(substr(note, 1, 4097) AS BLOB) FROM checkpoints
                    WHERE size > ? ORDER BY size LIMIT 1";
        let row = sqlx::query(over).bind(seq).fetch_optional(&mut self.connection).await?;
        row.map(|row| row.try_get(0)).transpose()
    }

    /// Hashes of a level of tiles, from number `from` on: of entries at level 0, of the tiles below at others.
    /// Fewer where there are no more, or some are no hashes.
    pub(in crate::store) async fn hashes(
        &mut self,
        level: u32,
        from: u64,
        count: u64,
    ) -> Result<Vec<Hash>, sqlx::Error> {
        let of_entries = "SELECT CAST(leaf AS BLOB) FROM entries NOT INDEXED
                          WHERE ?1 = -1 AND seq >= ?2 AND seq < ?3 ORDER BY seq";
        let of_tiles =
            "SELECT CAST(root AS BLOB) FROM tiles WHERE level = ?1 AND n >= ?2 AND n < ?3 ORDER BY n";
        let query = sqlx::query(if level == 0 { of_entries } else { of_tiles });
        let query = query.bind(i64::from(level) - 1).bind(narrow(from)?).bind(narrow(from + count)?);
        let rows = query.fetch_all(&mut self.connection).await?;
        let hashes: Vec<Vec<u8>> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        Ok(hashes.iter().filter_map(|bytes| hash_from(bytes)).collect())
    }

    /// Where the schema differs from this version's.
    pub(in crate::store) async fn schema_differences(&mut self) -> Result<Vec<String>, sqlx::Error> {
        schema::differences(&mut self.connection).await
    }

    /// What the database's own check finds: indexes and constraints that don't agree with the rows, and pages
    /// that are damaged.
    pub(in crate::store) async fn integrity(&mut self) -> Result<Vec<String>, sqlx::Error> {
        self.check(&CHECK).await
    }

    /// The same but for the indexes of the entries.
    pub(in crate::store) async fn integrity_of_rows(&mut self) -> Result<Vec<String>, sqlx::Error> {
        self.check(&CHECK_ROWS).await
    }

    async fn check(&mut self, queries: &[&'static str]) -> Result<Vec<String>, sqlx::Error> {
        let mut lines: Vec<String> = Vec::new();
        for query in queries {
            for row in sqlx::query(*query).fetch_all(&mut self.connection).await? {
                lines.push(row.try_get(0)?);
            }
        }
        lines.retain(|line| line != "ok");
        Ok(lines)
    }

    /// What an index of the entries holds; none if it is not in order.
    pub(in crate::store) async fn index(
        &mut self,
        index: &Index,
        sums: &Sums,
    ) -> Result<Option<Sum>, sqlx::Error> {
        index.sum(&mut self.connection, sums).await
    }

    /// Ends the transaction.
    pub(in crate::store) async fn end(self) {
        // Nothing was written, so nothing can be lost.
        let _ = self.connection.close().await;
    }
}

fn read_entries(rows: &[SqliteRow]) -> Result<Vec<RawEntry>, sqlx::Error> {
    let read = |row: &SqliteRow| {
        let (leaf, entry): (Vec<u8>, Option<Vec<u8>>) = (row.try_get(1)?, row.try_get(2)?);
        Ok(RawEntry { seq: row.try_get(0)?, leaf: leaf.into(), entry: entry.map(Bytes::from) })
    };
    rows.iter().map(read).collect()
}

/// Cuts a page into entries; a long one has no text yet. A hash that is none came as zeros, which no text has.
fn cut(places: &[u8], mut leaves: Bytes, mut texts: Bytes) -> Vec<RawEntry> {
    let numbers = std::str::from_utf8(places).unwrap_or_default().split(' ');
    let mut numbers = numbers.map_while(|number| number.parse::<i64>().ok());
    let mut entries = Vec::new();
    while let (Some(seq), Some(size)) = (numbers.next(), numbers.next()) {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let here = if size > SHORT { 0 } else { size };
        if leaves.len() < HASH || texts.len() < here {
            break;
        }
        let (leaf, text) = (leaves.split_to(HASH), texts.split_to(here));
        entries.push(RawEntry { seq, leaf, entry: (size <= SHORT).then_some(text) });
    }
    entries
}
