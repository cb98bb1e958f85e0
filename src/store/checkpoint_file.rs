//! Writes the newest checkpoint to files, for others to keep.
//!
//! Whoever keeps it can prove later that nothing of the log was cut off. It follows the log by a second at most,
//! and replaces the file whole, so that a reader sees the old checkpoint or the new one. Not here: the stored
//! checkpoints (`store::backend`).

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::{Did, Health, Observer};
use crate::atomic_file;
use crate::seal::{Checkpoint, Hash, Signer};

/// Between two writes, also after one failed.
const EVERY: Duration = Duration::from_secs(1);

/// How long a store that closes waits for the files: on a file system that hangs they are never written.
pub(super) const LAST_WRITES: Duration = Duration::from_secs(5);

/// A checkpoint is public.
const EVERYONE_READS: u32 = 0o644;

/// What keeps files from being written now, by their places in the settings.
pub(super) type Problems = Mutex<BTreeMap<usize, io::ErrorKind>>;

/// Keeps one file up to date. Each file has its own, so that one which hangs keeps no other from being written.
pub(super) struct Follower {
    pub(super) path: PathBuf,
    pub(super) place: usize,
    pub(super) observer: Observer,
    pub(super) signer: Arc<Signer>,
    pub(super) problems: Arc<Problems>,
}

impl Follower {
    /// Writes each newest checkpoint until the writer is gone, and then the last one.
    pub(super) async fn follow(
        self,
        mut newest: watch::Receiver<(u64, Hash)>,
        health: Arc<watch::Sender<Health>>,
    ) {
        let mut written = None;
        loop {
            let (size, root) = *newest.borrow_and_update();
            if written != Some(size) {
                let result = write(&self.path, &self.signer, size, root).await;
                written = result.is_ok().then_some(size);
                if written.is_some() {
                    self.observer.tell(Did::WroteCheckpointFile(self.place));
                }
                self.tell(result.err(), &health);
            }
            // The pause is at the same time the wait before a failed write is tried again. It ends early when the
            // writer is gone, and then one more write is owed at most.
            let over = tokio::time::timeout(EVERY, gone(newest.clone())).await.is_ok();
            let current = written == Some(newest.borrow().0);
            if over && (current || written.is_none()) {
                return;
            }
            if current {
                // An error says that the writer is gone: the next turn finds out.
                let _ = newest.changed().await;
            }
        }
    }

    fn tell(&self, error: Option<io::Error>, health: &watch::Sender<Health>) {
        let kind = error.as_ref().map(io::Error::kind);
        let before = {
            let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
            let before = match kind {
                Some(kind) => problems.insert(self.place, kind),
                None => problems.remove(&self.place),
            };
            let files: Vec<usize> = problems.keys().copied().collect();
            // Under the lock, so that what another file's follower says is not overtaken.
            health.send_if_modified(|health| {
                let changed = health.checkpoint_files != files;
                health.checkpoint_files = files;
                changed
            });
            before
        };
        if before == kind {
            return;
        }
        let path = self.path.display();
        match error {
            Some(error) => tracing::warn!(
                checkpoint_file.place = self.place,
                checkpoint_file.path = %path,
                error = %error,
                "a checkpoint file can't be written; it is tried again each second, and calls go on"
            ),
            None => tracing::info!(
                checkpoint_file.place = self.place,
                checkpoint_file.path = %path,
                "a checkpoint file can be written again"
            ),
        }
    }
}

async fn gone(mut newest: watch::Receiver<(u64, Hash)>) {
    while newest.changed().await.is_ok() {}
}

/// Replaces a file by the checkpoint over so many entries.
pub(super) async fn write(path: &Path, signer: &Signer, size: u64, root: Hash) -> io::Result<()> {
    let note = Checkpoint { size, root, chain: None }.sign(signer).map_err(io::Error::other)?;
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || {
        atomic_file::replace(&path, note.as_bytes(), EVERYONE_READS)?;
        atomic_file::sync_folder(&path)
    })
    .await
    .map_err(io::Error::other)?
}

#[cfg(test)]
mod tests;
