//! Opens the store: takes the lock, makes the tables, checks the end of the log, starts the tasks.
//!
//! A log is added to only if what is stored is what was signed. The whole log is not read for that: its unfinished
//! tiles, at most 255 entries and a few hundred hashes, decide. Not here: what each entry says
//! (`inspect::verify` reads them all).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::backend::{Backend, CommitError, State, Stored};
use super::checkpoint_file::{Follower, LAST_WRITES, Problems};
use super::database::Database;
use super::lock::{Lock, make_private};
use super::pace::Pace;
use super::postgres::Postgres;
use super::sqlite::Sqlite;
use super::writer::Writer;
use super::{
    Damage, Health, MAX_WAITING, MAX_WAITING_BYTES, Observer, OpenError, Settings, Store, StoreError,
};
use crate::clock::Clock;
use crate::seal::{self, Checkpoint, Hash, Signer, Verifier};

/// How long a start waits for a log that another process has: a little longer than one that died keeps it.
pub(super) const TAKE_OVER: Duration = Duration::from_secs(20);

/// Bytes of a checkpoint file that are read: with many cosignatures it has a few KiB.
const MAX_CHECKPOINT_FILE: u64 = 64 << 10;

pub(super) async fn open(
    settings: Settings,
    signer: Arc<Signer>,
    clock: Arc<dyn Clock>,
) -> Result<Store, OpenError> {
    match settings.database.clone() {
        Database::Sqlite(path) => {
            let lock = Lock::take(&path)?;
            make_private(&path)?;
            // Half of the time for another writer to finish, the other half for us.
            let backend = Sqlite::new(path, settings.append_timeout / 2);
            backend.prepare().await?;
            go_on(backend, settings, signer, clock, Some(lock)).await
        }
        Database::Postgres(server) => {
            let backend = Postgres::new(server, settings.append_timeout);
            backend.prepare().await?;
            go_on(backend, settings, signer, clock, None).await
        }
    }
}

/// Goes on with a log whose tables are as they should be.
async fn go_on<B: Backend>(
    mut backend: B,
    settings: Settings,
    signer: Arc<Signer>,
    clock: Arc<dyn Clock>,
    lock: Option<Lock>,
) -> Result<Store, OpenError> {
    let failed = |begin: Begin| begin.of(&settings.database);
    let verifier = signer.verifier().map_err(|_| OpenError::Disagrees(Damage::Signature))?;
    let stored = load_once_free(&mut backend, Instant::now() + TAKE_OVER).await;
    let stored = stored.map_err(|fault| failed(fault.into()))?;
    // Where the key was replaced elsewhere, this replica's file is still of the one before.
    let mut keys = stored.keys_before();
    let state = begin(&mut backend, stored, &signer, &verifier).await.map_err(failed)?;
    keys.push(verifier.clone());
    for file in &settings.checkpoint_files {
        if let Some(known) = read_checkpoint(file, &keys)? {
            check_history(&mut backend, &state, known).await.map_err(failed)?;
        }
    }
    Ok(start(backend, state, settings, signer, verifier, clock, lock))
}

/// Takes the log, and waits for one that another process has: who died has it for a while still.
pub(super) async fn load_once_free<B: Backend>(
    backend: &mut B,
    until: Instant,
) -> Result<Stored, StoreError> {
    loop {
        match backend.load().await {
            Err(StoreError::Taken) if Instant::now() < until => {
                tracing::warn!(
                    "another process has this replica's log, or had it a moment ago; waiting for it"
                );
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            stored => return stored,
        }
    }
}

/// Why a log can't be gone on with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Begin {
    Fault(StoreError),
    Damage(Damage),
}

impl From<StoreError> for Begin {
    fn from(fault: StoreError) -> Self {
        Self::Fault(fault)
    }
}

impl Begin {
    /// The same of the database at this path.
    pub(super) fn of(self, database: &Database) -> OpenError {
        match self {
            Self::Fault(fault) => OpenError::Unusable { path: database.to_string(), fault },
            Self::Damage(damage) => OpenError::Disagrees(damage),
        }
    }
}

/// Checks the end of the log as it was read; a new log gets its first head.
pub(super) async fn begin<B: Backend>(
    backend: &mut B,
    stored: Stored,
    signer: &Signer,
    verifier: &Verifier,
) -> Result<State, Begin> {
    let state = State::of(stored, verifier).map_err(Begin::Damage)?;
    if state.note.is_some() {
        return Ok(state);
    }
    let (batch, first) = state.next([], false, signer)?;
    match backend.commit(&batch).await {
        Ok(()) => Ok(first),
        Err(CommitError::Nothing(fault) | CommitError::Unknown(fault)) => Err(fault.into()),
    }
}

/// Starts the tasks over a database whose end was checked.
pub(super) fn start<B: Backend>(
    backend: B,
    state: State,
    settings: Settings,
    signer: Arc<Signer>,
    verifier: Verifier,
    clock: Arc<dyn Clock>,
    lock: Option<Lock>,
) -> Store {
    let (queue, messages) = mpsc::channel(MAX_WAITING);
    let (health, watched) = watch::channel(Health::default());
    let health = Arc::new(health);
    let (newest, checkpoints) = watch::channel((state.tree.size(), state.tree.root()));
    let stored = checkpoints.clone();
    let (end, done) = watch::channel(false);
    let mut followers = JoinSet::new();
    let problems = Arc::new(Problems::default());
    let observer = Observer::default();
    let pace = Arc::new(Pace::default());
    for (place, path) in settings.checkpoint_files.into_iter().enumerate() {
        let (signer, problems) = (Arc::clone(&signer), Arc::clone(&problems));
        let to = Follower { path, place, signer, problems, observer: observer.clone() };
        followers.spawn(to.follow(checkpoints.clone(), Arc::clone(&health)));
    }
    let writer = Writer {
        backend,
        state,
        maybe: None,
        signer,
        verifier,
        clock: Arc::clone(&clock),
        pace: Arc::clone(&pace),
        last_checkpoint: None,
        queue: messages,
        closing: false,
        health,
        newest,
        patience: settings.append_timeout,
        observer: observer.clone(),
    };
    tokio::spawn(async move {
        writer.run().await;
        let last_writes = async { while followers.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_WRITES, last_writes).await.is_err() {
            tracing::warn!("a checkpoint file was not written for the last time: writing it does not end");
        }
        drop(lock);
        end.send_replace(true);
    });
    Store {
        queue,
        room: Arc::new(Semaphore::new(MAX_WAITING_BYTES)),
        health: watched,
        newest: stored,
        append_timeout: settings.append_timeout,
        pace,
        clock,
        closed: AtomicBool::new(false),
        done,
        observer,
    }
}

/// What the checkpoint file, signed by one of these keys, proves so far; `None` where there is none, or an empty one.
pub(super) fn read_checkpoint(path: &Path, keys: &[Verifier]) -> Result<Option<Checkpoint>, OpenError> {
    let failed = |source| {
        let path = path.display().to_string();
        OpenError::File { doing: "read the checkpoint file", path, source }
    };
    let note = match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
        // A pipe would be waited for.
        Ok(metadata) if !metadata.is_file() => {
            return Err(failed(std::io::Error::other("it is no regular file")));
        }
        Ok(metadata) if metadata.len() > MAX_CHECKPOINT_FILE => {
            return Err(OpenError::Disagrees(Damage::CheckpointFile));
        }
        Ok(_) => std::fs::read(path).map_err(failed)?,
    };
    if note.is_empty() {
        return Ok(None);
    }
    let known = keys.iter().find_map(|key| Checkpoint::open_cosigned(&note, key).ok());
    known.map(Some).ok_or(OpenError::Disagrees(Damage::CheckpointFile))
}

/// Checks that the stored log begins with the one that `known` proves: it is about to be overwritten, and may be
/// the only trace of an end that was cut off.
pub(super) async fn check_history<B: Backend>(
    backend: &mut B,
    state: &State,
    known: Checkpoint,
) -> Result<(), Begin> {
    let stored = state.tree.size();
    if known.size > stored {
        return Err(Begin::Damage(Damage::CutOff { file: known.size, stored }));
    }
    let mut roots = Vec::new();
    for (level, n) in seal::subtrees(known.size) {
        roots.push(subtree(backend, state, level, n).await?);
    }
    if seal::join(&roots) == known.root { Ok(()) } else { Err(Begin::Damage(Damage::OtherHistory)) }
}

/// The root of the perfect subtree `n` of a level of the tree: made from one tile.
async fn subtree<B: Backend>(backend: &mut B, state: &State, level: u32, n: u64) -> Result<Hash, Begin> {
    let (tile_level, inner) = (level / 8, level % 8);
    let first = n << inner;
    let hashes = match backend.tile(tile_level, first >> 8).await? {
        Some(hashes) => hashes,
        None => {
            let partial = usize::try_from(tile_level).ok().and_then(|level| state.tree.partial().get(level));
            partial.cloned().unwrap_or_default()
        }
    };
    let from = usize::from(u8::try_from(first % 256).unwrap_or(0));
    let below = hashes.get(from..from + (1 << inner)).ok_or(Begin::Damage(Damage::Root))?;
    Ok(seal::perfect_root(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_whose_log_another_process_has_says_how_to_get_it() {
        let server = Database::parse("postgres://u@127.0.0.1/d", Path::new("")).unwrap();
        let told = Begin::Fault(StoreError::Taken).of(&server).to_string();
        for what in ["postgres://u@127.0.0.1/d", "15 seconds", "audit.replica"] {
            assert!(told.contains(what), "{told}");
        }
    }
}
