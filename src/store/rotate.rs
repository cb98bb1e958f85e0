//! Hands each log of a record over from one signing key to the next, while nobody else writes it.
//!
//! ```text
//! files: old key ──▶ entry and its checkpoint: old key ──▶ files: new key ──▶ head: new key
//! ```
//!
//! Wherever it stops, what is stored verifies, and the same call goes on from there. Not here: the key files
//! (`service::keys`), which key counts for what (`seal::Succession`).

use tokio::time::Instant;

use super::backend::{Backend, CommitError, State, Stored};
use super::lock::Lock;
use super::postgres::Postgres;
use super::sqlite::Sqlite;
use super::start::{Begin, TAKE_OVER, check_history, load_once_free, read_checkpoint};
use super::{Damage, Database, LogId, OpenError, Reader, Server, Settings, StoreError, checkpoint_file};
use crate::seal::{Signer, Verifier};
use crate::secret::{ExposeSecret as _, SecretString};

/// A record that nobody writes, whose key is to be replaced.
#[derive(Debug)]
pub struct Rotation {
    settings: Settings,
    logs: Vec<Log>,
    _lock: Option<Lock>,
}

/// One of its logs, and what is at its end.
#[derive(Debug)]
struct Log {
    id: LogId,
    place: Place,
    stored: Stored,
}

#[derive(Debug)]
enum Place {
    File(Box<Sqlite>),
    Server(Box<Postgres>),
}

/// Makes the `key_rotated` entry of a log, by its old and new key.
pub type MakeEntry<'a> = &'a (dyn Fn(&Signer, &Signer) -> String + Sync);

impl Rotation {
    /// Takes each log of the record, and looks which key it names.
    ///
    /// # Errors
    /// One is in use, or can't be read.
    pub async fn begin(settings: Settings) -> Result<Self, OpenError> {
        let (logs, lock) = match &settings.database {
            Database::Sqlite(path) => {
                let lock = Lock::take(path)?;
                let mut backend = Sqlite::new(path.clone(), settings.append_timeout / 2);
                backend.prepare().await?;
                let stored = backend.load().await.map_err(|fault| unusable(&settings, fault))?;
                let place = Place::File(Box::new(backend));
                (vec![Log { id: LogId::single(), place, stored }], Some(lock))
            }
            Database::Postgres(server) => (take_all(server, &settings).await?, None),
        };
        Ok(Self { settings, logs, _lock: lock })
    }

    /// The public keys that the last changes of key name, one of each log that has one.
    pub fn named(&self) -> impl Iterator<Item = &str> {
        self.logs.iter().filter_map(|log| log.stored.rotated_to.as_deref())
    }

    /// Has each log signed by `new` from here on. Its entry is stored unless an earlier call got as far as that. Returns the
    /// logs, each with how many entries there are up to it.
    ///
    /// # Errors
    /// A log does not agree with its head, is signed by neither key, or can't be written. Those behind it are as they were.
    pub async fn hand_over(
        self,
        old: &SecretString,
        new: &SecretString,
        entry: MakeEntry<'_>,
    ) -> Result<Vec<(LogId, u64)>, OpenError> {
        // One that is not as it should be is found before another is changed.
        let mut changes = Vec::new();
        for Log { id, place, stored } in self.logs {
            let change = Change { old: signer(old, &id)?, new: signer(new, &id)?, entry };
            let end = change.end(stored).map_err(|begin| of_log(&id, begin.of(&self.settings.database)))?;
            changes.push((id, place, change, end));
        }
        let mut done = Vec::new();
        for (id, place, change, end) in changes {
            let settings = settings_of(&id, &self.settings);
            let made = match place {
                Place::File(backend) => change.made(*backend, end, &settings).await,
                Place::Server(backend) => change.made(*backend, end, &settings).await,
            };
            let size = made.map_err(|error| of_log(&id, error))?;
            done.push((id, size));
        }
        Ok(done)
    }
}

fn of_log(id: &LogId, error: OpenError) -> OpenError {
    match &id.name {
        Some(name) => OpenError::OfLog(name.clone(), Box::new(error)),
        None => error,
    }
}

/// Takes all logs of a server, and waits a while for those that another process has.
async fn take_all(server: &Server, settings: &Settings) -> Result<Vec<Log>, OpenError> {
    Postgres::new(server.clone(), settings.append_timeout).prepare().await?;
    let known = async {
        let reader = Reader::open(&settings.database).await?;
        let logs = reader.logs().await;
        reader.close().await;
        logs
    };
    let mut known = known.await.map_err(|error| unusable(settings, error.fault))?;
    // Its checkpoint files may be in the way, too: first, so that nothing is changed then.
    known.sort_by_key(|id| !is_own(id, server));
    let until = Instant::now() + TAKE_OVER;
    let mut logs = Vec::new();
    for id in known {
        let server = server.clone().for_replica(&name_of(&id));
        let server = server.map_err(|_| unusable(settings, StoreError::Corrupt))?;
        let mut backend = Postgres::of_log(server, settings.append_timeout, id.origin.clone());
        let stored = load_once_free(&mut backend, until).await.map_err(|fault| {
            if fault == StoreError::Taken {
                return OpenError::LogInUse(name_of(&id));
            }
            unusable(settings, fault)
        })?;
        logs.push(Log { id, place: Place::Server(Box::new(backend)), stored });
    }
    Ok(logs)
}

fn unusable(settings: &Settings, fault: StoreError) -> OpenError {
    Begin::Fault(fault).of(&settings.database)
}

fn name_of(id: &LogId) -> String {
    id.name.clone().unwrap_or_default()
}

/// Whether it is the log of the replica that is configured.
fn is_own(id: &LogId, server: &Server) -> bool {
    id.origin.is_none() && id.name.as_deref() == Some(server.replica())
}

/// The configured checkpoint files are those of the replica's own log. What others keep of theirs, they check by the key before
/// when they start.
fn settings_of(id: &LogId, settings: &Settings) -> Settings {
    let are_its = match &settings.database {
        Database::Postgres(server) => is_own(id, server),
        Database::Sqlite(_) => true,
    };
    let checkpoint_files = if are_its { settings.checkpoint_files.clone() } else { Vec::new() };
    Settings { checkpoint_files, ..settings.clone() }
}

/// The key as it signs this log.
fn signer(key: &SecretString, log: &LogId) -> Result<Signer, OpenError> {
    let text = key.expose_secret();
    let signer = Signer::new(text).and_then(|own| Signer::of_origin(text, &log.origin_under(own.origin())));
    signer.map_err(|_| OpenError::Disagrees(Damage::Signature))
}

/// Of one log.
struct Change<'a> {
    old: Signer,
    new: Signer,
    entry: MakeEntry<'a>,
}

/// The end of a log, checked.
struct End {
    state: State,
    /// It names the new key already.
    begun: bool,
    /// The keys that may have signed a checkpoint of it.
    keys: Vec<Verifier>,
}

impl Change<'_> {
    fn end(&self, stored: Stored) -> Result<End, Begin> {
        let key = |signer: &Signer| signer.verifier().map_err(|_| Begin::Damage(Damage::Signature));
        let (old, new) = (key(&self.old)?, key(&self.new)?);
        let keys = [stored.keys_before(), vec![old.clone(), new.clone()]].concat();
        let (state, begun) = find(stored, &old, &new)?;
        Ok(End { state, begun, keys })
    }

    async fn made<B: Backend>(self, mut backend: B, end: End, settings: &Settings) -> Result<u64, OpenError> {
        let result = self.make(&mut backend, end, settings).await;
        backend.close().await;
        result
    }

    async fn make<B: Backend>(
        &self,
        backend: &mut B,
        end: End,
        settings: &Settings,
    ) -> Result<u64, OpenError> {
        let Self { old, new, entry } = self;
        let End { mut state, begun, keys } = end;
        let failed = |begin: Begin| begin.of(&settings.database);
        for file in &settings.checkpoint_files {
            if let Some(known) = read_checkpoint(file, &keys)? {
                check_history(backend, &state, known).await.map_err(failed)?;
            }
        }
        if !begun {
            // What can't be written is found before anything is changed.
            write_files(settings, &state, old).await?;
            state = store(backend, &state, Some(entry(old, new)), old).await.map_err(failed)?;
        }
        write_files(settings, &state, new).await?;
        store(backend, &state, None, new).await.map_err(failed)?;
        Ok(state.tree.size())
    }
}

/// The end of the log, and whether it names the new key already.
fn find(mut stored: Stored, old: &Verifier, new: &Verifier) -> Result<(State, bool), Begin> {
    // Another log may be ahead of this one.
    stored.replaced.clear();
    let begun = stored.rotated_to.as_deref() == Some(new.public_key());
    if begun {
        stored.rotated_to = None;
    }
    let state = match State::of(stored.clone(), old) {
        Err(Damage::Signature) if begun => State::of(stored, new),
        state => state,
    };
    state.map(|state| (state, begun)).map_err(Begin::Damage)
}

/// Adds the entry and a checkpoint over it, or nothing, and signs the head.
async fn store<B: Backend>(
    backend: &mut B,
    state: &State,
    entry: Option<String>,
    signer: &Signer,
) -> Result<State, Begin> {
    let checkpoint = entry.is_some();
    let (batch, next) = state.next(entry.map(Into::into), checkpoint, signer)?;
    match backend.commit(&batch).await {
        Ok(()) => Ok(next),
        Err(CommitError::Nothing(fault) | CommitError::Unknown(fault)) => Err(fault.into()),
    }
}

async fn write_files(settings: &Settings, state: &State, signer: &Signer) -> Result<(), OpenError> {
    for path in &settings.checkpoint_files {
        let written = checkpoint_file::write(path, signer, state.tree.size(), state.tree.root()).await;
        written.map_err(|source| {
            let path = path.display().to_string();
            OpenError::File { doing: "write the checkpoint file", path, source }
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
