//! Reads the record, while it is written or from a copy; cannot write.
//!
//! A file is opened with `mode=ro`; of a server this asks nothing but questions. Not here: what an analyst sees of it
//! (`inspect`), the way to write (`store::writer`), what a start asks (`reader::lost`), counts (`reader::counts`).

mod archived;
mod calls;
mod counts;
mod dead;
mod follow;
mod logs;
mod lost;

use std::path::Path;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};

use super::database::{Database, Server};
use super::fault::classify;
use super::filter::Bounds;
use super::sql::{Cells, Dialect, Found, Pool, Sql, Statement};
use super::sqlite::{narrow, options, unsigned};
use super::{Filter, Row, StoreError, postgres};
use crate::atomic_file;
use crate::clock::rfc3339;

pub use follow::Position;
pub use logs::LogId;

#[cfg(test)]
pub(super) use archived::LAST_ARCHIVED;
#[cfg(test)]
pub(super) use calls::{ACCOUNTS_FROM, CALLS_FROM, LAST_RECONCILED, RECONCILED_FROM};
#[cfg(test)]
pub(super) use lost::{AMBIGUOUS, INTENTS_FROM, LAST_STARTED, MARK, ONE_SHOT_SINCE, WITHOUT_OUTCOME};

/// Connections for reading: two for a console's searches, two for the process itself.
const CONNECTIONS: u32 = 4;

/// How long a locked database, or one that is away, is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Entries that are fetched at once by their `seq`.
const PAGE: usize = 64;

/// Bytes of entries after which a page of them ends.
const PAGE_BYTES: usize = 2 << 20;

/// Entries of one call that are read: a call has two or three, and an id can't be made up by a client.
const MAX_OF_CALL: i64 = 1000;

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
pub(super) const WITHIN: Sql = Sql {
    sqlite: "SELECT min(seq), max(seq), count(*) FROM entries INDEXED BY entries_time WHERE time >= ?1 AND time < ?2",
    postgres: "SELECT min(seq), max(seq), count(*) FROM tunnelwarden.entries WHERE time >= $1 AND time < $2",
};
pub(super) const SINCE: Sql = Sql {
    sqlite: "SELECT CASE WHEN count(*) < 100000 THEN min(seq) END, NULL, count(*)
             FROM (SELECT seq FROM entries INDEXED BY entries_time WHERE time >= ?1 LIMIT 100000)",
    postgres: "SELECT CASE WHEN count(*) < 100000 THEN min(seq) END, NULL::bigint, count(*)
               FROM (SELECT seq FROM tunnelwarden.entries WHERE time >= $1 LIMIT 100000) AS page
               WHERE $2::text IS NULL",
};
pub(super) const UNTIL: Sql = Sql {
    sqlite: "SELECT NULL, max(seq), count(*) FROM entries INDEXED BY entries_time WHERE time < ?2",
    postgres: "SELECT NULL::bigint, max(seq), count(*) FROM tunnelwarden.entries WHERE time < $2 AND $1::text IS NULL",
};
pub(super) const NAMED: Sql = Sql {
    sqlite: "
    SELECT tunnel FROM entries INDEXED BY entries_tunnel_name WHERE tunnel_name = ?1 AND tunnel IS NOT NULL
    UNION
    SELECT one.value ->> '$.id' FROM entries INDEXED BY entries_bulk, json_each(entry, '$.tunnels') AS one
    WHERE tunnel_count > 1 AND one.value ->> '$.name' = ?1 AND one.value ->> '$.id' IS NOT NULL",
    postgres: "
    SELECT tunnel FROM tunnelwarden.entries WHERE tunnel_name = $1 AND tunnel IS NOT NULL
    UNION
    SELECT one ->> 'id' FROM tunnelwarden.entries,
        tunnelwarden.items(tunnelwarden.document(entry) -> 'tunnels') AS one
    WHERE tunnel_count > 1 AND one ->> 'name' = $1 AND one ->> 'id' IS NOT NULL",
};
const AT: Sql = Sql {
    sqlite: "SELECT seq, entry FROM entries WHERE seq = ?1",
    postgres: "SELECT seq, entry FROM tunnelwarden.entries WHERE seq = $1",
};
const FIRST_SINCE: Sql = Sql {
    sqlite: "SELECT min(seq) FROM entries INDEXED BY entries_time WHERE time >= ?1",
    postgres: "SELECT min(seq) FROM tunnelwarden.entries WHERE time >= $1",
};
const LAST: Sql =
    Sql { sqlite: "SELECT max(seq) FROM entries", postgres: "SELECT max(seq) FROM tunnelwarden.entries" };
const CHECKPOINTS: Sql = Sql {
    sqlite: "SELECT note FROM (SELECT 1 AS old, 0 AS n, note FROM head
             UNION ALL SELECT 2, -n, note FROM (SELECT n, note FROM checkpoints ORDER BY n DESC LIMIT ?1))
             ORDER BY old, n",
    postgres:
        "SELECT note FROM (SELECT 1 AS old, 0 AS n, log, note FROM tunnelwarden.logs WHERE note IS NOT NULL
               UNION ALL SELECT 2, -n, log, note FROM (
                   SELECT row_number() OVER (PARTITION BY log ORDER BY n DESC) AS back, n, log, note
                   FROM tunnelwarden.checkpoints) AS stored WHERE back <= $1) AS notes
               ORDER BY old, n, log",
};
const CALL: Sql = Sql {
    sqlite: "SELECT seq, entry FROM entries WHERE request_id IN
                 (SELECT request_id FROM entries WHERE id = ?1 UNION SELECT ?1)
             ORDER BY seq LIMIT ?2",
    postgres: "SELECT seq, entry FROM tunnelwarden.entries WHERE request_id = ANY (ARRAY(
                   SELECT request_id FROM tunnelwarden.entries WHERE id = $1 UNION SELECT $1))
               ORDER BY seq LIMIT $2",
};
const HAS: Sql = Sql {
    sqlite: "SELECT EXISTS (SELECT 1 FROM entries NOT INDEXED WHERE instr(entry, ?1) > 0 AND instr(entry, ?2) = 0)",
    postgres: "SELECT EXISTS (SELECT FROM tunnelwarden.entries WHERE strpos(entry, $1) > 0 AND strpos(entry, $2) = 0)",
};

/// Read access to a database.
#[derive(Clone, Debug)]
pub struct Reader {
    database: Database,
    /// How the file was opened.
    file: Option<SqliteConnectOptions>,
    pool: Pool,
}

impl Reader {
    /// Opens a database for reading; it must exist.
    ///
    /// # Errors
    /// It can't be opened, or is no database.
    pub async fn open(database: impl Into<Database>) -> Result<Self, ReadError> {
        let database = &database.into();
        match database {
            Database::Sqlite(path) => Self::open_file(database, path).await,
            Database::Postgres(server) => Self::open_server(database, server).await,
        }
    }

    async fn open_file(database: &Database, path: &Path) -> Result<Self, ReadError> {
        let options = options(path).create_if_missing(false).read_only(true).busy_timeout(PATIENCE);
        // A copy in a place that can't be written has no WAL, and none can be made there: then nothing is to be
        // waited for or shared either.
        let options = match reachable(&options).await {
            Ok(()) => options,
            Err(e) => {
                let alone =
                    std::fs::metadata(atomic_file::beside(path, "-wal")).map_or(true, |wal| wal.len() == 0);
                let frozen = options.immutable(true);
                match reachable(&frozen).await {
                    Ok(()) if alone && classify(&e) != StoreError::Locked => frozen,
                    _ => return Err(failed("open", database, e)),
                }
            }
        };
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(PATIENCE);
        let pool = Pool::Sqlite(pool.connect_lazy_with(options.clone()));
        Ok(Self { database: database.clone(), file: Some(options), pool })
    }

    async fn open_server(database: &Database, server: &Server) -> Result<Self, ReadError> {
        tables_at(server).await.map_err(|e| failed("open", database, e))?;
        let pool = server.pool(CONNECTIONS, PATIENCE).map_err(|e| failed("open", database, e))?;
        Ok(Self { database: database.clone(), file: None, pool: Pool::Postgres(pool) })
    }

    /// Where it is.
    #[must_use]
    pub const fn database(&self) -> &Database {
        &self.database
    }

    pub(super) const fn dialect(&self) -> Dialect {
        self.pool.dialect()
    }

    /// A question with its words; what they need is still to be bound.
    pub(super) fn ask(&self, sql: Sql) -> Statement {
        Statement::of(self.dialect(), sql)
    }

    pub(super) async fn fetch(&self, statement: Statement) -> Result<Found, ReadError> {
        let found = self.pool.fetch(statement.clone()).await;
        match (found, &self.pool, &self.database) {
            // The password may have been replaced since.
            (Err(e), Pool::Postgres(pool), Database::Postgres(server)) if is_login(&e) => {
                pool.set_connect_options(server.options().map_err(|e| self.failed(e))?);
                self.pool.fetch(statement).await.map_err(|e| self.failed(e))
            }
            (found, ..) => found.map_err(|e| self.failed(e)),
        }
    }

    /// The rows of an answer, each read the same way.
    pub(super) async fn read<T>(
        &self,
        statement: Statement,
        read: impl Fn(&mut Cells) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, ReadError> {
        let found = self.fetch(statement).await?;
        found.rows.into_iter().map(|mut row| read(&mut row).map_err(|e| self.failed(e))).collect()
    }

    /// The rows of a question for `seq` and text.
    pub(super) async fn rows(&self, statement: Statement) -> Result<Vec<Row>, ReadError> {
        self.read(statement, |row| Ok(Row { seq: row.number(0)?, entry: row.text(1)? })).await
    }

    /// A number that the database can hold.
    pub(super) fn place(&self, n: u64) -> Result<i64, ReadError> {
        narrow(n).map_err(|e| self.failed(e))
    }

    /// The `seq`s of the entries that fit: the newest first, or the oldest after [`Filter::after`].
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn find(&self, filter: &Filter) -> Result<Vec<u64>, ReadError> {
        let Some(bounds) = self.bounds(filter).await? else { return Ok(Vec::new()) };
        self.read(filter.query(self.dialect(), bounds), |row| row.number(0)).await
    }

    /// Where the entries of the filter's time are; none where there is no entry of that time.
    pub(super) async fn bounds(&self, filter: &Filter) -> Result<Option<Bounds>, ReadError> {
        let (sql, until) = match (filter.since, filter.until) {
            (None, None) => return Ok(Some(Bounds::default())),
            (Some(_), Some(until)) => (WITHIN, Some(until)),
            (Some(_), None) => (SINCE, None),
            (None, Some(until)) => (UNTIL, Some(until)),
        };
        let query = self.ask(sql).bind(filter.since.map(rfc3339)).bind(until.map(rfc3339));
        let places = |row: &mut Cells| Ok((row.optional_number(0)?, row.optional_number(1)?, row.number(2)?));
        let found = self.read(query, places).await?.pop();
        let (first, last, many) = found.unwrap_or((None, None, 0));
        let none = many == 0 && first.is_none() && last.is_none();
        Ok((!none).then_some(Bounds { first, last }))
    }

    /// The entries with these `seq`s, in that order.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn entries(&self, seqs: &[u64]) -> Result<Vec<Row>, ReadError> {
        let mut found = Vec::with_capacity(seqs.len());
        for seq in seqs {
            found.extend(self.rows(self.ask(AT).bind(self.place(*seq)?)).await?);
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
        let statement = filter.rows(self.dialect(), PAGE_BYTES);
        match &self.pool {
            Pool::Sqlite(pool) => page(pool, statement).await.map_err(|e| self.failed(e)),
            Pool::Postgres(_) => self.rows(statement).await,
        }
    }

    /// The first `seq` of an entry that is not older than this.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn first_since(&self, since: Timestamp) -> Result<Option<u64>, ReadError> {
        let query = self.ask(FIRST_SINCE).bind(rfc3339(since));
        Ok(self.read(query, |row| row.optional_number(0)).await?.pop().flatten())
    }

    /// The `seq` of the last entry.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn last(&self) -> Result<Option<u64>, ReadError> {
        Ok(self.read(self.ask(LAST), |row| row.optional_number(0)).await?.pop().flatten())
    }

    /// The signed heads, and the newest checkpoints of each log that are stored, newest first.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn checkpoints(&self, most: u32) -> Result<Vec<String>, ReadError> {
        self.read(self.ask(CHECKPOINTS).bind(i64::from(most)), |row| row.text(0)).await
    }

    /// The entries of one call, oldest first: by its request id or by the id of any of them.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn get(&self, id: &str) -> Result<Vec<Row>, ReadError> {
        self.rows(self.ask(CALL).bind(id).bind(MAX_OF_CALL)).await
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
        let after = after.map_or(Ok(-1), |after| self.place(after))?;
        let mut query = self.ask(Sql {
            sqlite: "SELECT seq, entry FROM entries NOT INDEXED WHERE seq > ",
            postgres: "SELECT seq, entry FROM tunnelwarden.entries WHERE seq > ",
        });
        query.push_bind(after).push(" AND seq <= ").push_bind(self.place(up_to)?).push(" AND (1 = 0");
        for words in words {
            query.push_sql(Sql { sqlite: " OR instr(entry, ", postgres: " OR strpos(entry, " });
            query.push_bind(*words).push(") > 0");
        }
        query.push(") ORDER BY seq LIMIT ").push_bind(i64::from(limit));
        self.rows(query).await
    }

    /// The ids of all tunnels that some entry knows by this name.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn tunnels_named(&self, name: &str) -> Result<Vec<String>, ReadError> {
        self.read(self.ask(NAMED).bind(name), |row| row.text(0)).await
    }

    /// Whether an entry's text holds these words and not those.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn has(&self, these: &str, not_those: &str) -> Result<bool, ReadError> {
        let found = self.read(self.ask(HAS).bind(these).bind(not_those), |row| row.flag(0)).await?;
        Ok(found.first().is_some_and(|has| *has))
    }

    /// Lets go of the database.
    pub async fn close(&self) {
        match &self.pool {
            Pool::Sqlite(pool) => pool.close().await,
            Pool::Postgres(pool) => pool.close().await,
        }
    }

    pub(super) fn failed(&self, source: sqlx::Error) -> ReadError {
        failed("read", &self.database, source)
    }
}

/// The entries of a question, up to a few MiB: the rest is not read.
async fn page(pool: &SqlitePool, statement: Statement) -> Result<Vec<Row>, sqlx::Error> {
    let (text, arguments) = statement.for_sqlite();
    let mut rows = sqlx::query_with(AssertSqlSafe(text), arguments?).fetch(pool);
    let (mut page, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await? {
        let row = Row { seq: unsigned(row.try_get(0)?)?, entry: row.try_get(1)? };
        bytes += row.entry.len();
        page.push(row);
        if bytes >= PAGE_BYTES {
            break;
        }
    }
    Ok(page)
}

async fn reachable(options: &SqliteConnectOptions) -> Result<(), sqlx::Error> {
    let mut connection = options.connect().await?;
    sqlx::query("SELECT count(*) FROM sqlite_schema").execute(&mut connection).await?;
    connection.close().await
}

/// Looks for the record's tables by a connection of its own. A pool tries again and again where nobody listens, and says
/// then only that it took long.
async fn tables_at(server: &Server) -> Result<(), sqlx::Error> {
    let asked = async {
        let mut connection = postgres::connect(server).await?;
        sqlx::query("SELECT FROM tunnelwarden.logs LIMIT 1").execute(&mut connection).await?;
        connection.close().await
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Whether the server did not take the password.
fn is_login(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code.starts_with("28"))
}

fn failed(doing: &'static str, database: &Database, source: sqlx::Error) -> ReadError {
    ReadError { doing, path: database.to_string(), fault: classify(&source), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_nobody_listens_at_is_away_and_not_slow() {
        let database = Database::parse("postgres://u@127.0.0.1:1/d", Path::new("")).unwrap();
        let opened = tokio::time::timeout(PATIENCE, Reader::open(&database)).await;
        assert_eq!(opened.expect("said at once").unwrap_err().fault, StoreError::Away);
    }
}
