//! The PostgreSQL backend: one connection, one statement a batch.
//!
//! A replica takes its log for a while and keeps it as long as it writes (`take`, `keep`, `append` in `migrations/postgres`).
//! After any fault a new connection takes the log anew, and with that whatever an older one has still under way comes to
//! nothing: what is read back then is the truth. Nothing here needs a session of the server beyond one statement, so a
//! pooler may stand between. Not here: when to commit or try again (`store::writer`), the tables
//! (`store::postgres::schema`), reading (`store::reader`).

mod holder;
mod import;
pub(super) mod schema;
pub(super) mod snapshot;
mod tables;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use holder::Holder;
pub use import::Import;

use super::StoreError;
use super::backend::{Backend, Batch, CommitError, Head, Row, Stored};
use super::database::Server;
use super::fault::{classify, is_settled};
use super::order;
use super::sqlite::{narrow, unsigned};
use crate::clock::{Clock, SystemClock};
use crate::json;
use crate::seal::{self, Hash, Tile, Tree};

/// How often a log is asked for that others make at the same moment; each time one of them is done.
const TRIES: usize = 16;

/// For how long a replica has its log from each append on. Until then nobody else may write it, however silent it is.
const LEASE_S: i32 = 15;

/// How often it is kept where nothing is appended.
pub(super) const KEEP_EVERY: Duration = Duration::from_secs(5);

/// How far this machine's clock and the server's may be apart, so that two replicas' are never twice of it: who came first is
/// judged by time (`resolve::elsewhere`, `audit::claim`).
const APART: SignedDuration = SignedDuration::from_secs(1);

/// Levels of nesting of an entry, which its time is read out of.
const DEPTH: usize = crate::entry::DEPTH;

/// A replica's log on a server.
#[derive(Debug)]
pub(crate) struct Postgres {
    server: Server,
    /// How long the server may take for anything.
    patience: Duration,
    /// Whose log it is, where it is one that is moved here.
    origin: Option<String>,
    /// This process.
    holder: Holder,
    clock: Arc<dyn Clock>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    connection: PgConnection,
    log: i16,
    /// How often the log was taken.
    epoch: i64,
    last_seq: Option<i64>,
}

impl Postgres {
    /// A log that is taken by the first `load`.
    pub(crate) fn new(server: Server, patience: Duration) -> Self {
        Self { server, patience, origin: None, holder: Holder::own(), clock: SystemClock::new(), open: None }
    }

    /// One of a record's logs, which has an origin of its own where it was moved here.
    pub(crate) fn of_log(server: Server, patience: Duration, origin: Option<String>) -> Self {
        Self { origin, ..Self::new(server, patience) }
    }

    /// Checks the tables and the server: once, before the first `load`.
    pub(crate) async fn prepare(&self) -> Result<(), super::OpenError> {
        let checked = tokio::time::timeout(self.patience, async {
            let mut connection = connect(&self.server).await?;
            let result = schema::check(&mut connection).await?;
            let _ = connection.close().await;
            Ok::<_, sqlx::Error>(result)
        });
        let unusable = |fault| super::OpenError::Unusable { path: self.place(), fault };
        match checked.await {
            Ok(Ok(problems)) if problems.is_empty() => Ok(()),
            Ok(Ok(problems)) => Err(super::OpenError::Schema(problems.join(", "))),
            Ok(Err(e)) => Err(unusable(classify(&e))),
            Err(_) => Err(unusable(StoreError::Timeout)),
        }
    }

    fn place(&self) -> String {
        super::Database::Postgres(self.server.clone()).to_string()
    }

    async fn take(&mut self) -> Result<Stored, StoreError> {
        // Whatever it had under way is looked for below; the server is told nothing more on it.
        self.open = None;
        let mut connection = connect(&self.server).await.map_err(|e| classify(&e))?;
        let asked = self.clock.now();
        let mut row = self.ask_for_a_free_one(&mut connection).await.map_err(|e| classify(&e))?;
        let other: String = row.try_get(4).map_err(|e| classify(&e))?;
        if other != self.holder.as_str() && holder::is_gone(&other) {
            row = self.ask_for(&mut connection, &other).await.map_err(|e| classify(&e))?;
        }
        let read = |row: PgRow| {
            Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(5)?))
        };
        let (log, epoch, last_seq, is_taken, time): (i16, i64, i64, bool, i64) =
            read(row).map_err(|e| classify(&e))?;
        if !is_taken {
            return Err(StoreError::Taken);
        }
        self.agrees(asked, time)?;
        let stored = read_end(&mut connection, log).await.map_err(|e| classify(&e))?;
        let last_seq = (last_seq >= 0).then_some(last_seq);
        self.open = Some(Open { connection, log, epoch, last_seq });
        Ok(stored)
    }

    /// Asks for the log. Whoever makes one at the same moment, be it what a process that was killed still had on its way, may be
    /// faster; then it is asked again.
    async fn ask_for_a_free_one(&self, connection: &mut PgConnection) -> Result<PgRow, sqlx::Error> {
        for _ in 1..TRIES {
            match self.ask_for(connection, "").await {
                Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {}
                asked => return asked,
            }
        }
        self.ask_for(connection, "").await
    }

    /// Asks for the log, also if this other process, which is no more, has it still.
    async fn ask_for(&self, connection: &mut PgConnection, instead_of: &str) -> Result<PgRow, sqlx::Error> {
        let query = "SELECT log, epoch, last_seq, taken, holder, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
            FROM tunnelwarden.take($1, $2, $3, $4, $5)";
        let query = sqlx::query(query).bind(self.server.replica()).bind(self.holder.as_str());
        query.bind(instead_of).bind(self.origin.as_deref()).bind(LEASE_S).fetch_one(connection).await
    }

    async fn keep_for(&mut self, seconds: i32) -> Result<(), StoreError> {
        let holder = self.holder.as_str();
        let open = self.open.as_mut().ok_or(StoreError::Away)?;
        let query =
            "SELECT tunnelwarden.keep($1, $2, $3), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
        let asked = self.clock.now();
        let query = sqlx::query(query).bind(open.log).bind(holder).bind(seconds);
        let row = query.fetch_one(&mut open.connection).await.map_err(|e| classify(&e))?;
        let read = |row: PgRow| Ok((row.try_get(0)?, row.try_get(1)?));
        let (is_kept, time) = read(row).map_err(|e| classify(&e))?;
        if is_kept { self.agrees(asked, time) } else { Err(StoreError::Taken) }
    }

    /// Whether the server told a time, in microseconds, that may be right by this machine's clock.
    fn agrees(&self, asked: Timestamp, told: i64) -> Result<(), StoreError> {
        let told = Timestamp::from_microsecond(told).map_err(|_| StoreError::Clock)?;
        let is_apart = asked.duration_since(told) > APART || told.duration_since(self.clock.now()) > APART;
        if is_apart { Err(StoreError::Clock) } else { Ok(()) }
    }
}

/// A new connection.
pub(super) async fn connect(server: &Server) -> Result<PgConnection, sqlx::Error> {
    server.options()?.connect().await
}

impl Backend for Postgres {
    async fn load(&mut self) -> Result<Stored, StoreError> {
        let patience = self.patience;
        let taken = tokio::time::timeout(patience, self.take()).await;
        taken.unwrap_or(Err(StoreError::Timeout))
    }

    async fn commit(&mut self, batch: &Batch) -> Result<(), CommitError> {
        let Some(mut open) = self.open.take() else { return Err(CommitError::Nothing(StoreError::Away)) };
        // From here on the connection is kept only if it answered: on one that did not nobody knows what is under way.
        let asked = self.clock.now();
        match tokio::time::timeout(self.patience, append(&mut open, batch)).await {
            Ok(Ok(time)) => {
                // These entries are stored. Where the clocks are apart there is no connection for the next ones.
                self.open = self.agrees(asked, time).is_ok().then_some(open);
                Ok(())
            }
            Ok(Err(CommitError::Nothing(StoreError::Invalid))) => {
                self.open = Some(open);
                Err(CommitError::Nothing(StoreError::Invalid))
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(CommitError::Unknown(StoreError::Timeout)),
        }
    }

    async fn probe(&mut self) -> Result<(), StoreError> {
        let patience = self.patience;
        tokio::time::timeout(patience, self.keep_for(LEASE_S)).await.unwrap_or(Err(StoreError::Timeout))
    }

    async fn keep(&mut self) -> Result<(), StoreError> {
        self.probe().await
    }

    async fn tile(&mut self, level: u32, n: u64) -> Result<Option<Vec<Hash>>, StoreError> {
        let open = self.open.as_mut().ok_or(StoreError::Away)?;
        let query = "SELECT hashes FROM tunnelwarden.tiles WHERE log = $1 AND level = $2 AND n = $3";
        let query = sqlx::query(query).bind(open.log).bind(level.cast_signed());
        let query = query.bind(narrow(n).map_err(|e| classify(&e))?);
        let row = query.fetch_optional(&mut open.connection).await.map_err(|e| classify(&e))?;
        let bytes = row.map(|row| row.try_get::<Vec<u8>, _>(0)).transpose().map_err(|e| classify(&e))?;
        bytes.map(|bytes| seal::hashes_from(&bytes).ok_or(StoreError::Corrupt)).transpose()
    }

    async fn close(&mut self) {
        let patience = self.patience;
        // Where this fails the log is free when its time is over.
        let _ = tokio::time::timeout(patience, self.keep_for(0)).await;
        if let Some(open) = self.open.take() {
            let _ = tokio::time::timeout(patience, open.connection.close()).await;
        }
    }
}

/// What is added to a log in one statement.
#[derive(Debug, Default)]
struct Addition<'a> {
    /// The head's note now, and from here on.
    before: Option<&'a str>,
    head: &'a str,
    first: u64,
    rows: Vec<(&'a [u8], &'a str)>,
    tiles: Vec<Tile>,
    /// Number, size and note of each.
    checkpoints: Vec<(u64, u64, &'a str)>,
}

const APPEND: &str = "
    SELECT tunnelwarden.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16),
        (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// Gives the server's time in microseconds.
async fn append(open: &mut Open, batch: &Batch) -> Result<i64, CommitError> {
    let checkpoints = batch.checkpoint.iter().map(|(n, size, note)| (*n, *size, note.as_str()));
    let addition = Addition {
        before: batch.before.as_deref(),
        head: &batch.head.note,
        first: batch.first,
        rows: batch.rows.iter().map(|row| (row.leaf.0.as_slice(), &*row.entry)).collect(),
        tiles: batch.tiles.clone(),
        checkpoints: checkpoints.collect(),
    };
    add(open, addition).await
}

async fn add(open: &mut Open, addition: Addition<'_>) -> Result<i64, CommitError> {
    let nothing = |e: sqlx::Error| CommitError::Nothing(classify(&e));
    let Addition { before, head, first, rows, tiles, checkpoints } = addition;
    let mut seqs = Vec::with_capacity(rows.len());
    let mut last = open.last_seq;
    for (_, entry) in &rows {
        let time = time_of(entry).ok_or(CommitError::Nothing(StoreError::Invalid))?;
        let seq = order::after(last, open.log, time).ok_or(CommitError::Nothing(StoreError::Invalid))?;
        seqs.push(seq);
        last = Some(seq);
    }
    let number = |n: u64| narrow(n).map_err(nothing);
    let all = |ns: &mut dyn Iterator<Item = u64>| ns.map(number).collect::<Result<Vec<i64>, _>>();
    let query = sqlx::query(APPEND)
        .bind(open.log)
        .bind(open.epoch)
        .bind(before)
        .bind(head)
        .bind(number(first)?)
        .bind(seqs)
        .bind(rows.iter().map(|(leaf, _)| *leaf).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, entry)| *entry).collect::<Vec<_>>())
        .bind(tiles.iter().map(|tile| tile.level.cast_signed()).collect::<Vec<_>>())
        .bind(all(&mut tiles.iter().map(|tile| tile.index))?)
        .bind(tiles.iter().map(|tile| tile.root.0.to_vec()).collect::<Vec<_>>())
        .bind(tiles.iter().map(|tile| seal::hashes_to_bytes(&tile.hashes)).collect::<Vec<_>>())
        .bind(all(&mut checkpoints.iter().map(|(n, ..)| *n))?)
        .bind(all(&mut checkpoints.iter().map(|(_, size, _)| *size))?)
        .bind(checkpoints.iter().map(|(.., note)| *note).collect::<Vec<_>>())
        .bind(LEASE_S);
    let row = query.fetch_one(&mut open.connection).await.map_err(|e| {
        // What the server itself refused did not happen; of all else nobody knows.
        let fault = classify(&e);
        if is_settled(&e) { CommitError::Nothing(fault) } else { CommitError::Unknown(fault) }
    })?;
    match row.try_get(0).and_then(|is_added| Ok((is_added, row.try_get(1)?))) {
        Ok((true, time)) => {
            open.last_seq = last;
            Ok(time)
        }
        Ok((false, _)) => Err(CommitError::Nothing(StoreError::Foreign)),
        Err(e) => Err(CommitError::Unknown(classify(&e))),
    }
}

fn time_of(entry: &str) -> Option<jiff::Timestamp> {
    let [time] = json::skim(entry.as_bytes(), DEPTH, &["time"])?;
    time?.string()?.parse().ok()
}

/// The entries that name another signing key, of all logs, oldest first; and whether each is of this log.
const ROTATIONS: &str = "
    SELECT log = $1, tunnelwarden.document(entry) ->> 'old_key', tunnelwarden.document(entry) ->> 'new_key'
    FROM tunnelwarden.entries WHERE kind <> 'outcome' AND kind = 'key_rotated' ORDER BY seq";

/// What is at the end of a log.
async fn read_end(connection: &mut PgConnection, log: i16) -> Result<Stored, sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let ends = "SELECT l.note,
                    (SELECT coalesce(max(leaf_index) + 1, 0) FROM tunnelwarden.entries WHERE log = $1),
                    (SELECT coalesce(max(n) + 1, 0) FROM tunnelwarden.checkpoints WHERE log = $1),
                    (SELECT coalesce(max(size), 0) FROM tunnelwarden.checkpoints WHERE log = $1)
                FROM tunnelwarden.logs AS l WHERE l.log = $1";
    let row = sqlx::query(ends).bind(log).fetch_one(&mut *transaction).await?;
    let note: Option<String> = row.try_get(0)?;
    let size = unsigned(row.try_get(1)?)?;
    let checkpoints = (unsigned(row.try_get(2)?)?, unsigned(row.try_get(3)?)?);

    let first = size - size % 256;
    let query = "SELECT leaf, entry FROM tunnelwarden.entries WHERE log = $1 AND leaf_index >= $2 ORDER BY leaf_index";
    let rows = sqlx::query(query).bind(log).bind(narrow(first)?).fetch_all(&mut *transaction).await?;
    let tail =
        rows.iter().map(|row| Ok(Row { leaf: hash(row, 0)?, entry: row.try_get::<String, _>(1)?.into() }));
    let tail = tail.collect::<Result<Vec<_>, sqlx::Error>>()?;

    let mut roots = Vec::new();
    for level in (1u32..).take(Tree::levels(size).saturating_sub(1)) {
        let to = size.checked_shr(8 * level).unwrap_or(0);
        let query = "SELECT root FROM tunnelwarden.tiles WHERE log = $1 AND level = $2 AND n >= $3 AND n < $4 ORDER BY n";
        let query = sqlx::query(query).bind(log).bind((level - 1).cast_signed());
        let query = query.bind(narrow(to - to % 256)?).bind(narrow(to)?);
        let rows = query.fetch_all(&mut *transaction).await?;
        roots.push(rows.iter().map(|row| hash(row, 0)).collect::<Result<_, sqlx::Error>>()?);
    }
    let (mut rotated_from, mut rotated_to, mut replaced) = (Vec::new(), None, Vec::new());
    for row in sqlx::query(ROTATIONS).bind(log).fetch_all(&mut *transaction).await? {
        let old: Option<String> = row.try_get(1)?;
        if row.try_get(0)? {
            rotated_from.extend(old);
            // One that names no key names none that anybody has.
            rotated_to = Some(row.try_get::<Option<String>, _>(2)?.unwrap_or_default());
        } else {
            replaced.extend(old);
        }
    }
    transaction.commit().await?;
    // The hashes of the unfinished tile stand with their entries only.
    let edge = seal::hashes_to_bytes(&tail.iter().map(|row| row.leaf).collect::<Vec<_>>());
    let head = note.map(|note| Head { note, edge });
    Ok(Stored { head, size, checkpoints, tail, rotated_to, rotated_from, replaced, roots })
}

fn hash(row: &PgRow, column: usize) -> Result<Hash, sqlx::Error> {
    let bytes: Vec<u8> = row.try_get(column)?;
    seal::hash_from(&bytes).ok_or_else(|| sqlx::Error::Decode("a hash has 32 bytes".into()))
}
