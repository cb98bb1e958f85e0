//! Hands a log over from one signing key to the next, while nobody else writes it.
//!
//! ```text
//! files: old key ──▶ entry and its checkpoint: old key ──▶ files: new key ──▶ head: new key
//! ```
//!
//! Wherever it stops, what is stored verifies, and the same call goes on from there. Not here: the key files
//! (`service::keys`), which key counts for what (`seal::Succession`).

use super::backend::{Backend, CommitError, State};
use super::lock::Lock;
use super::sqlite::Sqlite;
use super::start::{Begin, check_history, read_checkpoint};
use super::{Damage, OpenError, Settings, checkpoint_file};
use crate::seal::{Signer, Verifier};

/// A log that nobody else writes, whose key is to be replaced.
#[derive(Debug)]
pub struct Rotation {
    settings: Settings,
    backend: Sqlite,
    named: Option<String>,
    _lock: Lock,
}

impl Rotation {
    /// Takes the lock, and looks which key the log names.
    ///
    /// # Errors
    /// The log is in use, or can't be read.
    pub async fn begin(settings: Settings) -> Result<Self, OpenError> {
        let path = settings.database.file().ok_or(OpenError::OnlyFiles("replace the signing key of"))?;
        let lock = Lock::take(path)?;
        let mut backend = Sqlite::new(path.to_owned(), settings.append_timeout / 2);
        backend.prepare().await?;
        let stored = backend.load().await.map_err(|fault| Begin::Fault(fault).of(&settings.database))?;
        Ok(Self { settings, backend, named: stored.rotated_to, _lock: lock })
    }

    /// The public key that the log's last change of key names.
    #[must_use]
    pub fn named(&self) -> Option<&str> {
        self.named.as_deref()
    }

    /// Has the log signed by `new` from here on. `entry` is the text of the `key_rotated` entry, which is stored unless an
    /// earlier call got as far as that. Returns how many entries there are up to it.
    ///
    /// # Errors
    /// The log does not agree with its head, is signed by neither key, or can't be written.
    pub async fn hand_over(mut self, old: &Signer, new: &Signer, entry: String) -> Result<u64, OpenError> {
        let result = hand_over(&mut self.backend, &self.settings, old, new, entry).await;
        self.backend.close().await;
        result
    }
}

async fn hand_over(
    backend: &mut Sqlite,
    settings: &Settings,
    old: &Signer,
    new: &Signer,
    entry: String,
) -> Result<u64, OpenError> {
    let failed = |begin: Begin| begin.of(&settings.database);
    let key = |signer: &Signer| signer.verifier().map_err(|_| OpenError::Disagrees(Damage::Signature));
    let (old_key, new_key) = (key(old)?, key(new)?);
    let (mut state, begun) = find(backend, &old_key, &new_key).await.map_err(failed)?;
    for file in &settings.checkpoint_files {
        if let Some(known) = read_checkpoint(file, &[&old_key, &new_key])? {
            check_history(backend, &state, known).await.map_err(failed)?;
        }
    }
    if !begun {
        // What can't be written is found before anything is changed.
        write_files(settings, &state, old).await?;
        state = store(backend, &state, Some(entry), old).await.map_err(failed)?;
    }
    write_files(settings, &state, new).await?;
    store(backend, &state, None, new).await.map_err(failed)?;
    Ok(state.tree.size())
}

/// The end of the log, and whether it names the new key already.
async fn find(backend: &mut Sqlite, old: &Verifier, new: &Verifier) -> Result<(State, bool), Begin> {
    let mut stored = backend.load().await?;
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
async fn store(
    backend: &mut Sqlite,
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
