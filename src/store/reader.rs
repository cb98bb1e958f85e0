//! Reads the record, while it is written or from a copy; cannot write.
//!
//! Opened with `mode=ro`. Not here: what an analyst sees of it (`inspect`), the way to write (`store::writer`).

mod archived;
mod calls;

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, QueryBuilder, Row as _, Sqlite};

use super::fault::classify;
use super::filter::Bounds;
use super::lock::beside;
use super::sqlite::{narrow, options, unsigned};
use super::{Activity, By, Count, Filter, Row, Snapshot, StoreError};
use crate::clock::rfc3339;

#[cfg(test)]
pub(super) use archived::LAST_ARCHIVED;
#[cfg(test)]
pub(super) use calls::{ACCOUNTS_FROM, CALLS_FROM, LAST_RECONCILED, RECONCILED_FROM};

/// Connections for reading: two for a console's searches, two for the process itself.
const CONNECTIONS: u32 = 4;

/// How long a locked database is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Entries that are fetched at once by their `seq`.
const PAGE: usize = 64;

/// Bytes of entries after which a page of them ends.
const PAGE_BYTES: usize = 2 << 20;

/// Entries of one call that are read: a call has two or three, and an id can't be made up by a client.
const MAX_OF_CALL: i64 = 1000;

// What a start asks. Left to itself the database reads every entry for these, to have them in the order of `seq`; by
// these indexes it reads few.
pub(super) const MARK: &str = "
    SELECT seq, entry ->> '$.ended_before' FROM entries WHERE seq = (SELECT max(seq) FROM (
        SELECT max(seq) AS seq FROM entries WHERE kind <> 'outcome' AND kind = 'heartbeat'
        UNION ALL SELECT max(seq) FROM entries WHERE kind <> 'outcome' AND kind = 'started'))";
pub(super) const WITHOUT_OUTCOME: &str = "
    SELECT seq, entry FROM entries AS intent INDEXED BY entries_kind
    WHERE kind <> 'outcome' AND kind = 'intent' AND seq >= ? AND NOT EXISTS (
        SELECT 1 FROM entries AS later INDEXED BY entries_intent_id WHERE later.intent_id = intent.id)
    ORDER BY seq";
pub(super) const AMBIGUOUS: &str = "
    SELECT intent.seq, intent.entry
    FROM entries AS outcome INDEXED BY entries_ambiguous JOIN entries AS intent ON intent.id = outcome.intent_id
    WHERE outcome.ambiguous AND NOT EXISTS (
        SELECT 1 FROM entries AS later WHERE later.intent_id = outcome.intent_id AND later.kind = 'resolved')
    ORDER BY intent.seq";
pub(super) const INTENTS_FROM: &str = "
    SELECT seq, json_remove(entry, '$.request', '$.state_before') FROM entries INDEXED BY entries_kind
    WHERE kind <> 'outcome' AND kind = 'intent' AND seq >= ? ORDER BY seq";
pub(super) const ONE_SHOT_SINCE: &str = "
    SELECT intent.entry, (SELECT entry FROM entries WHERE intent_id = intent.id ORDER BY seq DESC LIMIT 1)
    FROM entries AS intent INDEXED BY entries_one_shot
    WHERE intent.request_key IS NOT NULL AND intent.time >= ? ORDER BY intent.seq";

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

/// Why the record could not be read.
#[derive(Debug, thiserror::Error)]
#[error("can't {doing} the audit database `{path}`: {fault}")]
pub struct ReadError {
    /// What was being done.
    pub doing: &'static str,
    /// The database.
    pub path: String,
    /// What is wrong with it.
    pub fault: StoreError,
    /// What the database said.
    pub source: sqlx::Error,
}

// Where the entries of a time are: first, last, and whether there are any. Exact, since an entry's time may lie before
// that of its neighbor; but where more than so many would have to be looked at, the log's own order does.
pub(super) const WITHIN: &str = "SELECT min(seq), max(seq), count(*) FROM entries INDEXED BY entries_time
    WHERE time >= ?1 AND time < ?2";
pub(super) const SINCE: &str = "SELECT CASE WHEN count(*) < 100000 THEN min(seq) END, NULL, count(*)
    FROM (SELECT seq FROM entries INDEXED BY entries_time WHERE time >= ?1 LIMIT 100000)";
pub(super) const UNTIL: &str =
    "SELECT NULL, max(seq), count(*) FROM entries INDEXED BY entries_time WHERE time < ?2";

pub(super) const NAMED: &str = "
    SELECT tunnel FROM entries INDEXED BY entries_tunnel_name WHERE tunnel_name = ?1 AND tunnel IS NOT NULL
    UNION
    SELECT one.value ->> '$.id' FROM entries INDEXED BY entries_bulk, json_each(entry, '$.tunnels') AS one
    WHERE tunnel_count > 1 AND one.value ->> '$.name' = ?1 AND one.value ->> '$.id' IS NOT NULL";

/// Read access to a database.
#[derive(Clone, Debug)]
pub struct Reader {
    path: PathBuf,
    options: SqliteConnectOptions,
    pool: SqlitePool,
}

impl Reader {
    /// Opens a database for reading; it must exist.
    ///
    /// # Errors
    /// It can't be opened, or is no database.
    pub async fn open(path: &Path) -> Result<Self, ReadError> {
        let options = options(path).create_if_missing(false).read_only(true).busy_timeout(PATIENCE);
        // A copy in a place that can't be written has no WAL, and none can be made there: then nothing is to be
        // waited for or shared either.
        let options = match reachable(&options).await {
            Ok(()) => options,
            Err(e) => {
                let alone = std::fs::metadata(beside(path, "-wal")).map_or(true, |wal| wal.len() == 0);
                let frozen = options.immutable(true);
                match reachable(&frozen).await {
                    Ok(()) if alone && classify(&e) != StoreError::Locked => frozen,
                    _ => return Err(failed("open", path, e)),
                }
            }
        };
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(PATIENCE);
        Ok(Self { path: path.to_owned(), pool: pool.connect_lazy_with(options.clone()), options })
    }

    /// From which `seq` on intents may be without an end: what the newest entry that can tell says, else 0.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn ended_before(&self) -> Result<u64, ReadError> {
        let row = sqlx::query(MARK).fetch_optional(&self.pool).await.map_err(|e| self.failed(e))?;
        let Some(row) = row else { return Ok(0) };
        let said = || Ok((unsigned(row.try_get(0)?)?, row.try_get::<Option<i64>, _>(1)?));
        let (seq, mark) = said().map_err(|e| self.failed(e))?;
        // None can tell of what comes after it.
        Ok(mark.and_then(|mark| u64::try_from(mark).ok()).filter(|mark| *mark <= seq).unwrap_or(0))
    }

    /// Intents from this `seq` on that neither an outcome nor a resolution followed, oldest first.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn intents_without_outcome(&self, from: u64) -> Result<Vec<Row>, ReadError> {
        self.rows(sqlx::query(WITHOUT_OUTCOME).bind(narrow(from).map_err(|e| self.failed(e))?)).await
    }

    /// The intents whose outcome says that nobody knows what became of the call, and which were not resolved since.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn intents_ambiguous(&self) -> Result<Vec<Row>, ReadError> {
        self.rows(sqlx::query(AMBIGUOUS)).await
    }

    /// The intents from this `seq` on, in their order, without the bodies and states that they hold.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn intents_from(&self, seq: u64) -> Result<Vec<Row>, ReadError> {
        self.rows(sqlx::query(INTENTS_FROM).bind(narrow(seq).map_err(|e| self.failed(e))?)).await
    }

    /// One-shot intents since a time, oldest first, each with the entry that ended it, if any.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn one_shot_since(&self, since: Timestamp) -> Result<Vec<(String, Option<String>)>, ReadError> {
        let query = sqlx::query(ONE_SHOT_SINCE).bind(rfc3339(since));
        let rows = query.fetch_all(&self.pool).await.map_err(|e| self.failed(e))?;
        let pair = |row: &sqlx::sqlite::SqliteRow| Ok((row.try_get(0)?, row.try_get(1)?));
        rows.iter().map(|row| pair(row).map_err(|e| self.failed(e))).collect()
    }

    /// The `seq`s of the entries that fit: the newest first, or the oldest after [`Filter::after`].
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn find(&self, filter: &Filter) -> Result<Vec<u64>, ReadError> {
        let Some(bounds) = self.bounds(filter).await? else { return Ok(Vec::new()) };
        let mut query = filter.query(bounds);
        let rows = query.build().fetch_all(&self.pool).await.map_err(|e| self.failed(e))?;
        let seq = |row: &sqlx::sqlite::SqliteRow| unsigned(row.try_get(0)?);
        rows.iter().map(|row| seq(row).map_err(|e| self.failed(e))).collect()
    }

    /// Where the entries of the filter's time are; none where there is no entry of that time.
    pub(super) async fn bounds(&self, filter: &Filter) -> Result<Option<Bounds>, ReadError> {
        let (query, until) = match (filter.since, filter.until) {
            (None, None) => return Ok(Some(Bounds::default())),
            (Some(_), Some(until)) => (WITHIN, Some(until)),
            (Some(_), None) => (SINCE, None),
            (None, Some(until)) => (UNTIL, Some(until)),
        };
        let query = sqlx::query(query).bind(filter.since.map(rfc3339)).bind(until.map(rfc3339));
        let row = query.fetch_one(&self.pool).await.map_err(|e| self.failed(e))?;
        let place = |at: usize| row.try_get::<Option<i64>, _>(at)?.map(unsigned).transpose();
        let bounds = || Ok((place(0)?, place(1)?, row.try_get::<i64, _>(2)?));
        let (first, last, many) = bounds().map_err(|e: sqlx::Error| self.failed(e))?;
        let none = many == 0 && first.is_none() && last.is_none();
        Ok((!none).then_some(Bounds { first, last }))
    }

    pub(super) const fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// The entries with these `seq`s, in that order.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn entries(&self, seqs: &[u64]) -> Result<Vec<Row>, ReadError> {
        let mut found = Vec::with_capacity(seqs.len());
        for seq in seqs {
            let query = sqlx::query("SELECT entry FROM entries WHERE seq = ?");
            let query = query.bind(narrow(*seq).map_err(|e| self.failed(e))?);
            let row = query.fetch_optional(&self.pool).await.map_err(|e| self.failed(e))?;
            if let Some(row) = row {
                let entry = row.try_get(0).map_err(|e| self.failed(e))?;
                found.push(Row { seq: *seq, entry });
            }
        }
        Ok(found)
    }

    /// The entries that fit, newest first, or oldest first after [`Filter::after`]. For few: all are held in
    /// memory.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<Row>, ReadError> {
        let seqs = self.find(filter).await?;
        let mut rows = Vec::with_capacity(seqs.len());
        for page in seqs.chunks(PAGE) {
            rows.extend(self.entries(page).await?);
        }
        Ok(rows)
    }

    /// The next entries that fit, oldest first, after [`Filter::after`]: as many as fit into a few MiB, and at least
    /// one if there is any.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn page(&self, filter: &Filter) -> Result<Vec<Row>, ReadError> {
        let mut query = filter.rows();
        let mut rows = query.build().fetch(&self.pool);
        let (mut page, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.try_next().await.map_err(|e| self.failed(e))? {
            let read = || Ok(Row { seq: unsigned(row.try_get(0)?)?, entry: row.try_get(1)? });
            let row: Row = read().map_err(|e| self.failed(e))?;
            bytes += row.entry.len();
            page.push(row);
            if bytes >= PAGE_BYTES {
                break;
            }
        }
        Ok(page)
    }

    /// The first `seq` of an entry that is not older than this.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn first_since(&self, since: Timestamp) -> Result<Option<u64>, ReadError> {
        let query = "SELECT min(seq) FROM entries INDEXED BY entries_time WHERE time >= ?";
        let row = sqlx::query(query).bind(rfc3339(since)).fetch_one(&self.pool).await;
        let first = row.and_then(|row| row.try_get::<Option<i64>, _>(0));
        first.and_then(|first| first.map(unsigned).transpose()).map_err(|e| self.failed(e))
    }

    /// The `seq` of the last entry.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn last(&self) -> Result<Option<u64>, ReadError> {
        let row = sqlx::query("SELECT max(seq) FROM entries").fetch_one(&self.pool).await;
        let last = row
            .and_then(|row| row.try_get::<Option<i64>, _>(0))
            .and_then(|last| last.map(unsigned).transpose());
        last.map_err(|e| self.failed(e))
    }

    /// Counts the calls that fit, the most first; the limit is one of names.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn counts(&self, filter: &Filter, by: By) -> Result<Vec<Count>, ReadError> {
        let Some(bounds) = self.bounds(filter).await? else { return Ok(Vec::new()) };
        let mut query = filter.counts(by, bounds);
        let rows = query.build().fetch_all(&self.pool).await.map_err(|e| self.failed(e))?;
        let read = |row: &sqlx::sqlite::SqliteRow| {
            let number = |at: usize| unsigned(row.try_get(at)?);
            Ok(Count { name: row.try_get(0)?, calls: number(1)?, refused: number(2)?, failed: number(3)? })
        };
        rows.iter().map(|row| read(row).map_err(|e| self.failed(e))).collect()
    }

    /// Counts the calls that fit by hour, oldest first.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn activity(&self, filter: &Filter, by: By) -> Result<Vec<Activity>, ReadError> {
        let Some(bounds) = self.bounds(filter).await? else { return Ok(Vec::new()) };
        let mut query = filter.activity(by, bounds);
        let rows = query.build().fetch_all(&self.pool).await.map_err(|e| self.failed(e))?;
        let read = |row: &sqlx::sqlite::SqliteRow| {
            let number = |at: usize| unsigned(row.try_get(at)?);
            Ok(Activity {
                hour: row.try_get(0)?,
                name: row.try_get(1)?,
                calls: number(2)?,
                refused: number(3)?,
            })
        };
        rows.iter().map(|row| read(row).map_err(|e| self.failed(e))).collect()
    }

    /// The signed head, and the newest checkpoints that are stored, newest first.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn checkpoints(&self, most: u32) -> Result<Vec<String>, ReadError> {
        let query = "SELECT note FROM (SELECT 1 AS old, 0 AS n, note FROM head
                     UNION ALL SELECT 2, -n, note FROM (SELECT n, note FROM checkpoints ORDER BY n DESC LIMIT ?))
                     ORDER BY old, n";
        let rows = sqlx::query(query).bind(most).fetch_all(&self.pool).await.map_err(|e| self.failed(e))?;
        rows.iter().map(|row| row.try_get(0).map_err(|e| self.failed(e))).collect()
    }

    /// The entries of one call, oldest first: by its request id or by the id of any of them.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn get(&self, id: &str) -> Result<Vec<Row>, ReadError> {
        let call = "SELECT seq, entry FROM entries WHERE request_id IN
                        (SELECT request_id FROM entries WHERE id = ?1 UNION SELECT ?1)
                    ORDER BY seq LIMIT ?2";
        self.rows(sqlx::query(call).bind(id).bind(MAX_OF_CALL)).await
    }

    /// The rows of a query for `seq` and text.
    async fn rows(&self, query: Query<'_>) -> Result<Vec<Row>, ReadError> {
        let rows = query.fetch_all(&self.pool).await.map_err(|e| self.failed(e))?;
        let read = |row: &sqlx::sqlite::SqliteRow| {
            Ok(Row { seq: unsigned(row.try_get(0)?)?, entry: row.try_get(1)? })
        };
        rows.iter().map(|row| read(row).map_err(|e| self.failed(e))).collect()
    }

    /// The next entries after a `seq` (from the first on, where there is none) and up to another one whose text holds any of
    /// these words, oldest first, and at most so many. Reads the text of each entry on the way.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn containing(
        &self,
        words: &[&str],
        after: Option<u64>,
        up_to: u64,
        limit: u32,
    ) -> Result<Vec<Row>, ReadError> {
        let after = after.map_or(Ok(-1), narrow).map_err(|e| self.failed(e))?;
        let up_to = narrow(up_to).map_err(|e| self.failed(e))?;
        let mut query =
            QueryBuilder::<Sqlite>::new("SELECT seq, entry FROM entries NOT INDEXED WHERE seq > ");
        query.push_bind(after).push(" AND seq <= ").push_bind(up_to).push(" AND (0");
        for words in words {
            query.push(" OR instr(entry, ").push_bind(*words).push(") > 0");
        }
        query.push(") ORDER BY seq LIMIT ").push_bind(limit);
        self.rows(query.build()).await
    }

    /// The ids of all tunnels that some entry knows by this name.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn tunnels_named(&self, name: &str) -> Result<Vec<String>, ReadError> {
        let rows = sqlx::query(NAMED).bind(name).fetch_all(&self.pool).await.map_err(|e| self.failed(e))?;
        rows.iter().map(|row| row.try_get(0).map_err(|e| self.failed(e))).collect()
    }

    /// Whether an entry's text holds these words and not those.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn has(&self, these: &str, not_those: &str) -> Result<bool, ReadError> {
        let query = "SELECT EXISTS (SELECT 1 FROM entries NOT INDEXED
                                    WHERE instr(entry, ?) > 0 AND instr(entry, ?) = 0)";
        let row = sqlx::query(query).bind(these).bind(not_those).fetch_one(&self.pool).await;
        row.and_then(|row| row.try_get(0)).map_err(|e| self.failed(e))
    }

    /// The whole database as it is now, to be checked.
    ///
    /// # Errors
    /// The database can't be opened.
    pub async fn snapshot(&self) -> Result<Snapshot, ReadError> {
        let connection: SqliteConnection =
            self.options.connect().await.map_err(|e| failed("open", &self.path, e))?;
        Snapshot::begin(connection).await.map_err(|e| self.failed(e))
    }

    /// Lets go of the database.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    pub(super) fn failed(&self, source: sqlx::Error) -> ReadError {
        failed("read", &self.path, source)
    }
}

async fn reachable(options: &SqliteConnectOptions) -> Result<(), sqlx::Error> {
    let mut connection = options.connect().await?;
    sqlx::query("SELECT count(*) FROM sqlite_schema").execute(&mut connection).await?;
    connection.close().await
}

fn failed(doing: &'static str, path: &Path, source: sqlx::Error) -> ReadError {
    ReadError { doing, path: path.display().to_string(), fault: classify(&source), source }
}
