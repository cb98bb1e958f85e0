//! The `SQLite` backend: one connection, one transaction a batch.
//!
//! After any fault a new connection takes the place of the old one, so that no half transaction or stale file
//! handle outlives it. Not here: when to commit or try again (`store::writer`), the tables (`migrations/`,
//! `store::sqlite::schema`), reading (`store::reader`).

pub(super) mod index;
pub(super) mod schema;
pub(super) mod snapshot;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};

use super::StoreError;
use super::backend::{Backend, Batch, CommitError, Head, Row, Stored};
use super::fault::classify;
use super::place::{Identity, Place, check_home};
use crate::seal::{self, Hash, Tree};

/// Rows that go over in one piece, at most. Each number of rows is a statement of its own, prepared when it is first
/// needed and kept; the connection keeps a hundred.
const PIECE: usize = 32;

/// Bytes of WAL that are kept after it was copied into the database: 64 MiB.
const WAL_KEPT: &str = "67108864";

/// Bytes that a probe writes: more than a usual batch needs, so that a disk with room for a probe has room for
/// the next append.
const PROBE_BYTES: i64 = 256 << 10;

/// A database file.
#[derive(Debug)]
pub(crate) struct Sqlite {
    path: PathBuf,
    busy_timeout: Duration,
    home: Option<Identity>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    connection: SqliteConnection,
    place: Place,
}

impl Sqlite {
    /// A database that is opened by the first `load`. `busy_timeout` is how long another writer is waited for.
    pub(crate) const fn new(path: PathBuf, busy_timeout: Duration) -> Self {
        Self { path, busy_timeout, home: None, open: None }
    }

    fn options(&self) -> SqliteConnectOptions {
        options(&self.path)
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(self.busy_timeout)
            .pragma("journal_size_limit", WAL_KEPT)
    }

    /// Makes or checks the tables: once, before the first `load`.
    pub(crate) async fn prepare(&self) -> Result<(), super::OpenError> {
        let path = self.path.display().to_string();
        let connected = self.options().connect().await;
        let mut connection =
            connected.map_err(|e| super::OpenError::Unusable { path: path.clone(), fault: classify(&e) })?;
        schema::migrate(&mut connection, &path).await?;
        schema::check(&mut connection).await?;
        let _ = connection.close().await;
        Ok(())
    }

    async fn connect(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        if let Some(home) = self.home {
            check_home(&self.path, home)?;
        }
        let mut connection = self.options().connect().await.map_err(|e| classify(&e))?;
        // A read makes the WAL, whose place is to be known.
        sqlx::query("SELECT count(*) FROM head").execute(&mut connection).await.map_err(|e| classify(&e))?;
        let place = Place::note(&self.path)?;
        self.home.get_or_insert(place.home());
        // The old connection goes only now: the last one that closes takes the WAL with it, and on a full disk
        // there may be no room for a new one.
        if let Some(old) = self.open.take() {
            let _ = old.connection.close().await;
        }
        Ok(&mut self.open.insert(Open { connection, place }).connection)
    }
}

/// What every connection of this product has in common.
pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        // The pages that a failing statement would put back: in memory, as they hold entries, and a process that may
        // write to its own folder only has no other place.
        .pragma("temp_store", "MEMORY")
        // What a stranger wrote into a view or a trigger runs nothing but harmless functions.
        .pragma("trusted_schema", "OFF")
        .disable_statement_logging()
}

impl Backend for Sqlite {
    async fn load(&mut self) -> Result<Stored, StoreError> {
        let connection = self.connect().await?;
        read_end(connection).await.map_err(|e| classify(&e))
    }

    async fn commit(&mut self, batch: &Batch) -> Result<(), CommitError> {
        let Some(open) = self.open.as_mut() else { return Err(CommitError::Nothing(StoreError::Closed)) };
        open.place.check().map_err(CommitError::Nothing)?;
        if let Err(fault) = write(&mut open.connection, batch).await {
            // If this fails too, the transaction ends with its connection.
            let _ = sqlx::query("ROLLBACK").execute(&mut open.connection).await;
            return Err(CommitError::Nothing(fault));
        }
        let committed = sqlx::query("COMMIT").execute(&mut open.connection).await;
        committed.map_err(|e| CommitError::Unknown(classify(&e)))?;
        // A file that was taken away meanwhile took the batch with it.
        open.place.check().map_err(CommitError::Unknown)
    }

    async fn probe(&mut self) -> Result<(), StoreError> {
        let open = self.open.as_mut().ok_or(StoreError::Closed)?;
        // Random, because SQLite does not write what is there already.
        let probe = "INSERT INTO probe (one, room) VALUES (1, randomblob(?1))
                     ON CONFLICT (one) DO UPDATE SET room = excluded.room";
        let query = sqlx::query(probe).bind(PROBE_BYTES);
        query.execute(&mut open.connection).await.map_err(|e| classify(&e))?;
        open.place.check()
    }

    async fn tile(&mut self, level: u32, n: u64) -> Result<Option<Vec<Hash>>, StoreError> {
        let open = self.open.as_mut().ok_or(StoreError::Closed)?;
        let query =
            sqlx::query("SELECT hashes FROM tiles WHERE level = ? AND n = ?").bind(level).bind(signed(n)?);
        let row = query.fetch_optional(&mut open.connection).await.map_err(|e| classify(&e))?;
        let bytes = row.map(|row| row.try_get::<Vec<u8>, _>(0)).transpose().map_err(|e| classify(&e))?;
        bytes.map(|bytes| seal::hashes_from(&bytes).ok_or(StoreError::Corrupt)).transpose()
    }

    async fn close(&mut self) {
        if let Some(open) = self.open.take() {
            let _ = open.connection.close().await;
        }
    }
}

/// Writes a batch within a transaction that is left open. Each statement costs a hand-over to the thread that
/// `sqlx` keeps for a connection and back, so they go in few pieces, the head with the first rows.
async fn write(connection: &mut SqliteConnection, batch: &Batch) -> Result<(), StoreError> {
    let failed = |e: sqlx::Error| classify(&e);
    // First of all the head: it tells whether the log is still the one that the batch was made for.
    let head = if batch.before.is_some() { REPLACE_HEAD } else { FIRST_HEAD };
    let mut begin = Some(head);
    let (mut rest, mut seq) = (batch.rows.as_slice(), signed(batch.first)?);
    // A batch without rows begins as well.
    while !rest.is_empty() || begin.is_some() {
        let (chunk, after) = rest.split_at(rest.len().min(PIECE));
        let mut query = piece(begin.take(), batch, chunk.len());
        for row in chunk {
            query = query.bind(seq).bind(row.leaf.0.to_vec()).bind(Arc::clone(&row.entry));
            seq += 1;
        }
        query.execute(&mut *connection).await.map_err(failed)?;
        rest = after;
    }
    for tile in &batch.tiles {
        let query = sqlx::query("INSERT INTO tiles (level, n, root, hashes) VALUES (?, ?, ?, ?)")
            .bind(tile.level)
            .bind(signed(tile.index)?)
            .bind(tile.root.0.as_slice())
            .bind(seal::hashes_to_bytes(&tile.hashes));
        query.execute(&mut *connection).await.map_err(failed)?;
    }
    if let Some((n, size, note)) = &batch.checkpoint {
        let query = sqlx::query("INSERT INTO checkpoints (n, size, note) VALUES (?, ?, ?)")
            .bind(signed(*n)?)
            .bind(signed(*size)?)
            .bind(note);
        query.execute(&mut *connection).await.map_err(failed)?;
    }
    Ok(())
}

/// Fails (`edge` may not be NULL) unless the stored head is the one that the batch was made for.
const REPLACE_HEAD: &str =
    "INSERT INTO head (one, note, edge) VALUES (1, ?, (SELECT ? FROM head WHERE note = ?))
     ON CONFLICT (one) DO UPDATE SET note = excluded.note, edge = excluded.edge";

/// Fails if there is a head.
const FIRST_HEAD: &str = "INSERT INTO head (one, note, edge) VALUES (1, ?, ?)";

/// One statement for all rows of a piece: each statement's end wakes the task that waits for it, and on a busy core
/// that costs more than the row.
fn insert(rows: usize) -> String {
    let values = vec!["(?, ?, ?)"; rows].join(", ");
    // A fault undoes the transaction anyway, so nothing is kept to undo a statement with.
    format!("INSERT OR FAIL INTO entries (seq, leaf, entry) VALUES {values}")
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

/// Statements for so many rows, whose values are still to be bound. The first piece of a batch begins the
/// transaction and replaces the head.
fn piece<'q>(head: Option<&str>, batch: &'q Batch, rows: usize) -> Query<'q> {
    let begin = head.into_iter().flat_map(|head| ["BEGIN IMMEDIATE".to_owned(), head.to_owned()]);
    let text = begin.chain((rows > 0).then(|| insert(rows))).collect::<Vec<_>>().join(";");
    let query = sqlx::query(AssertSqlSafe(text));
    match (head, &batch.before) {
        (None, _) => query,
        (Some(_), None) => query.bind(&batch.head.note).bind(&batch.head.edge),
        (Some(_), Some(before)) => query.bind(&batch.head.note).bind(&batch.head.edge).bind(before),
    }
}

/// The entries that name another signing key, oldest first.
pub(super) const ROTATIONS: &str = "
    SELECT entry ->> '$.old_key', entry ->> '$.new_key' FROM entries INDEXED BY entries_kind
    WHERE kind <> 'outcome' AND kind = 'key_rotated' ORDER BY seq";

/// What is at the end of the log.
pub(super) async fn read_end(connection: &mut SqliteConnection) -> Result<Stored, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let head = sqlx::query("SELECT note, edge FROM head").fetch_optional(&mut *transaction).await?;
    let head = head
        .map(|row| Ok::<_, sqlx::Error>(Head { note: row.try_get(0)?, edge: row.try_get(1)? }))
        .transpose()?;
    let ends = "SELECT (SELECT coalesce(max(seq) + 1, 0) FROM entries),
                       (SELECT coalesce(max(n) + 1, 0) FROM checkpoints),
                       (SELECT coalesce(max(size), 0) FROM checkpoints)";
    let row = sqlx::query(ends).fetch_one(&mut *transaction).await?;
    let size = unsigned(row.try_get(0)?)?;
    let checkpoints = (unsigned(row.try_get(1)?)?, unsigned(row.try_get(2)?)?);

    let first = size - size % 256;
    let query =
        sqlx::query("SELECT leaf, entry FROM entries WHERE seq >= ? ORDER BY seq").bind(narrow(first)?);
    let rows = query.fetch_all(&mut *transaction).await?;
    let tail =
        rows.iter().map(|row| Ok(Row { leaf: hash(row, 0)?, entry: row.try_get::<String, _>(1)?.into() }));
    let tail = tail.collect::<Result<_, sqlx::Error>>()?;

    let mut roots = Vec::new();
    for level in (1u32..).take(Tree::levels(size).saturating_sub(1)) {
        let to = size.checked_shr(8 * level).unwrap_or(0);
        let from = to - to % 256;
        let query = sqlx::query("SELECT root FROM tiles WHERE level = ? AND n >= ? AND n < ? ORDER BY n")
            .bind(level - 1)
            .bind(narrow(from)?)
            .bind(narrow(to)?);
        let rows = query.fetch_all(&mut *transaction).await?;
        roots.push(rows.iter().map(|row| hash(row, 0)).collect::<Result<_, sqlx::Error>>()?);
    }
    let (mut rotated_from, mut rotated_to) = (Vec::new(), None);
    for row in sqlx::query(ROTATIONS).fetch_all(&mut *transaction).await? {
        rotated_from.extend(row.try_get::<Option<String>, _>(0)?);
        // One that names no key names none that anybody has.
        rotated_to = Some(row.try_get::<Option<String>, _>(1)?.unwrap_or_default());
    }
    transaction.commit().await?;
    Ok(Stored { head, size, checkpoints, tail, rotated_to, rotated_from, replaced: Vec::new(), roots })
}

fn hash(row: &sqlx::sqlite::SqliteRow, column: usize) -> Result<Hash, sqlx::Error> {
    let bytes: Vec<u8> = row.try_get(column)?;
    seal::hash_from(&bytes).ok_or_else(|| sqlx::Error::Decode("a hash has 32 bytes".into()))
}

fn signed(n: u64) -> Result<i64, StoreError> {
    i64::try_from(n).map_err(|_| StoreError::Full)
}

pub(super) fn narrow(n: u64) -> Result<i64, sqlx::Error> {
    i64::try_from(n).map_err(|e| sqlx::Error::Encode(e.into()))
}

pub(super) fn unsigned(n: i64) -> Result<u64, sqlx::Error> {
    u64::try_from(n).map_err(|e| sqlx::Error::Decode(e.into()))
}
