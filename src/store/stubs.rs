//! Puts into the record what stays of entries that were archived, in place of their texts.
//!
//! The one change of an entry that there is. Each text is held against its leaf hash before it goes, the leaf hash
//! stays, and the tables' own guard is out of the way for one transaction only. Not here: what stays (`archive::stub`), that an archive has the rest and an entry says so
//! (`service::archive`).

use std::ops::Range;
use std::path::Path;

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};

use super::fault::classify;
use super::lock::Lock;
use super::sqlite::{narrow, options, schema, unsigned};
use super::{Damage, OpenError, Settings, StoreError};
use crate::archive::{Stays, stays};
use crate::seal::leaf_hash;

/// Bytes of entries that are changed in one transaction, at least: with the largest entry it is a little more.
const PIECE: usize = 4 << 20;

/// The guard that is out of the way meanwhile.
const GUARD: &str = "SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name = 'entries_no_update'";

/// Puts stubs in place of these entries; those that are there already stay. `done` is told after each piece how many
/// entries it was. Cut short, it goes on where it stopped when it is called again.
///
/// # Errors
/// The log is in use or can't be written, or an entry is not the one that was recorded.
pub async fn put_stubs(
    settings: &Settings,
    range: Range<u64>,
    done: &mut (dyn FnMut(u64) + Send),
) -> Result<(), OpenError> {
    let path = file(settings)?;
    let _lock = Lock::take(path)?;
    let failed =
        |e: sqlx::Error| OpenError::Unusable { path: path.display().to_string(), fault: classify(&e) };
    let mut connection = connect(path, settings).await.map_err(failed)?;
    schema::check(&mut connection).await?;
    let mut next = range.start;
    while next < range.end {
        let piece = read(&mut connection, next..range.end).await.map_err(failed)?;
        let Some((last, ..)) = piece.last() else { break };
        let last = *last;
        let mut stubs = Vec::new();
        for (seq, leaf, text) in piece {
            let is_whole = leaf_hash(text.as_bytes()).0.as_slice() == leaf;
            match stays(&text) {
                Ok(Stays::Less(stub)) if is_whole => stubs.push((seq, stub)),
                Ok(Stays::All) if is_whole => {}
                // What stays of an entry has another hash; anything else that has was not recorded.
                Ok(Stays::Stub) if !is_whole => {}
                Ok(_) | Err(_) => return Err(OpenError::Disagrees(Damage::Entry(seq))),
            }
        }
        put(&mut connection, &stubs).await.map_err(failed)?;
        done(last + 1 - next);
        next = last + 1;
    }
    connection.close().await.map_err(failed)
}

/// The record's file.
fn file(settings: &Settings) -> Result<&Path, OpenError> {
    settings.database.file().ok_or(OpenError::OnlyFiles("archive"))
}

async fn connect(path: &Path, settings: &Settings) -> Result<SqliteConnection, sqlx::Error> {
    let options = options(path).create_if_missing(false);
    options.busy_timeout(settings.append_timeout).connect().await
}

/// Writes the database anew: the file gets smaller by what was replaced, and what was replaced is nowhere in it, as it is
/// before in the gaps of pages.
///
/// # Errors
/// The log is in use, somebody reads it, or there is no room for a second one beside it.
pub async fn compact(settings: &Settings) -> Result<(), OpenError> {
    let path = file(settings)?;
    let _lock = Lock::take(path)?;
    let fault = match rewrite(path, settings).await {
        Ok(true) => return Ok(()),
        Ok(false) => StoreError::Locked,
        Err(e) => classify(&e),
    };
    Err(OpenError::Unusable { path: path.display().to_string(), fault })
}

/// Whether the database's own log is gone, too, which has pages as they were before.
async fn rewrite(path: &Path, settings: &Settings) -> Result<bool, sqlx::Error> {
    let mut connection = connect(path, settings).await?;
    // Where the second one is put together: in memory it may not fit, and it stays in the folder of the first.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).display().to_string().replace('\'', "''");
    let place = format!("PRAGMA temp_store = FILE; PRAGMA temp_store_directory = '{folder}'");
    sqlx::raw_sql(AssertSqlSafe(place)).execute(&mut connection).await?;
    sqlx::query("VACUUM").execute(&mut connection).await?;
    let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut connection).await?;
    let is_busy: i64 = row.try_get(0)?;
    connection.close().await?;
    Ok(is_busy == 0)
}

type Stored = (u64, Vec<u8>, String);

/// The next few entries with their hashes.
async fn read(connection: &mut SqliteConnection, range: Range<u64>) -> Result<Vec<Stored>, sqlx::Error> {
    use futures_util::TryStreamExt as _;
    let query = "SELECT seq, leaf, entry FROM entries NOT INDEXED WHERE seq >= ? AND seq < ? ORDER BY seq";
    let query = sqlx::query(query).bind(narrow(range.start)?).bind(narrow(range.end)?);
    let mut rows = query.fetch(connection);
    let (mut piece, mut bytes) = (Vec::new(), 0);
    while bytes < PIECE {
        let Some(row) = rows.try_next().await? else { break };
        let stored: Stored = (unsigned(row.try_get(0)?)?, row.try_get(1)?, row.try_get(2)?);
        bytes += stored.2.len();
        piece.push(stored);
    }
    Ok(piece)
}

async fn put(connection: &mut SqliteConnection, stubs: &[(u64, String)]) -> Result<(), sqlx::Error> {
    if stubs.is_empty() {
        return Ok(());
    }
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let guard: String = sqlx::query(GUARD).fetch_one(&mut *transaction).await?.try_get(0)?;
    sqlx::query("DROP TRIGGER entries_no_update").execute(&mut *transaction).await?;
    for (seq, stub) in stubs {
        let query = sqlx::query("UPDATE entries SET entry = ? WHERE seq = ?");
        query.bind(stub).bind(narrow(*seq)?).execute(&mut *transaction).await?;
    }
    sqlx::query(AssertSqlSafe(guard)).execute(&mut *transaction).await?;
    transaction.commit().await
}
