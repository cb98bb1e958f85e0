//! What would keep a store from being opened, found without opening it.
//!
//! Makes a file in each folder that is to be written, and takes it away again; the database itself is not changed,
//! so a running store does not notice. Not here: whether the whole record is as it was (`inspect::verify`).

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions as _, Connection as _};

use super::backend::State;
use super::fault::classify;
use super::sqlite::{options, read_end, schema};
use super::{Database, OpenError, postgres};
use crate::atomic_file;
use crate::seal::Verifier;

/// What every `SQLite` file begins with.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// What is wrong, each with its key in `[audit]`.
#[must_use]
pub fn check(database: &Database, checkpoint_files: &[PathBuf]) -> Vec<(&'static str, String)> {
    let database = match database {
        Database::Sqlite(path) => folder(path).or_else(|| file(path)).map(|what| ("database", what)),
        Database::Postgres(server) => server.password_problem().map(|what| ("database_password_file", what)),
    };
    let checkpoints = checkpoint_files.iter().filter_map(|file| folder(file));
    let checkpoints = checkpoints.map(|what| ("checkpoint_file", what));
    database.into_iter().chain(checkpoints).collect()
}

/// Whether a record that is there already is one that this key can go on with: its tables, its signed head and its
/// newest entries, which is what a start looks at.
///
/// # Errors
/// What a start would say.
pub async fn check_record(database: &Database, verifier: &Verifier) -> Result<(), OpenError> {
    match database {
        Database::Sqlite(path) => check_file(path, verifier).await,
        // Its end is looked at by who takes the log, which may be written by another process now.
        Database::Postgres(server) => postgres::schema::check_at(server).await,
    }
}

async fn check_file(path: &Path, verifier: &Verifier) -> Result<(), OpenError> {
    // `serve` makes what is not there.
    if std::fs::metadata(path).map_or(true, |about| about.len() == 0) {
        return Ok(());
    }
    let unusable =
        |e: &sqlx::Error| OpenError::Unusable { path: path.display().to_string(), fault: classify(e) };
    let mut connection = options(path).read_only(true).connect().await.map_err(|e| unusable(&e))?;
    let checked = async {
        schema::check(&mut connection).await?;
        let stored = read_end(&mut connection).await.map_err(|e| unusable(&e))?;
        State::of(stored, verifier).map_err(OpenError::Disagrees).map(|_| ())
    };
    let result = checked.await;
    let _ = connection.close().await;
    result
}

/// Whether files can be made beside a path: the log of a database, the next checkpoint.
fn folder(path: &Path) -> Option<String> {
    let probe = atomic_file::beside(path, &format!(".check-{}", std::process::id()));
    let made = OpenOptions::new().write(true).create_new(true).open(&probe);
    let tried = made.and_then(|_| std::fs::remove_file(&probe));
    let why = tried.err()?;
    Some(format!(
        "no file can be made beside `{}`: {why}; make its folder, and let this process write there",
        path.display()
    ))
}

/// Whether what is there can be gone on with.
fn file(path: &Path) -> Option<String> {
    let shown = path.display();
    let opened = OpenOptions::new().read(true).write(true).open(path);
    let begin = opened.and_then(|file| begin(&file));
    match begin {
        // `serve` makes it.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => Some(format!("`{shown}` can't be written: {e}; let this process read and write it")),
        Ok(begin) if begin.is_empty() || begin == MAGIC => None,
        Ok(_) => Some(format!("`{shown}` is no database; give another path")),
    }
}

fn begin(file: &File) -> std::io::Result<Vec<u8>> {
    let mut begin = Vec::new();
    file.take(MAGIC.len() as u64).read_to_end(&mut begin)?;
    Ok(begin)
}
