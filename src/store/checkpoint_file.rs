//! Writes the newest checkpoint to a file, for others to keep.
//!
//! Whoever keeps it can prove later that nothing of the log was cut off. It follows the log by a second at most,
//! and replaces the file whole, so that a reader sees the old checkpoint or the new one. Not here: the stored
//! checkpoints (`store::backend`).

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Health;
use super::lock::beside;
use crate::seal::{Checkpoint, Hash, Signer};

/// Between two writes, also after one failed.
const EVERY: Duration = Duration::from_secs(1);

/// A checkpoint is public.
const EVERYONE_READS: u32 = 0o644;

/// Writes each newest checkpoint until the writer is gone, and then the last one.
pub(super) async fn follow(
    path: PathBuf,
    signer: Arc<Signer>,
    mut newest: watch::Receiver<(u64, Hash)>,
    health: Arc<watch::Sender<Health>>,
) {
    let mut written = None;
    loop {
        let (size, root) = *newest.borrow_and_update();
        if written != Some(size) {
            let result = write(&path, &signer, size, root).await;
            written = result.is_ok().then_some(size);
            let problem = result.err().map(|e| e.kind());
            health.send_if_modified(|health| {
                std::mem::replace(&mut health.checkpoint_file, problem) != problem
            });
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

async fn gone(mut newest: watch::Receiver<(u64, Hash)>) {
    while newest.changed().await.is_ok() {}
}

async fn write(path: &Path, signer: &Signer, size: u64, root: Hash) -> io::Result<()> {
    let note = Checkpoint { size, root, chain: None }.sign(signer).map_err(io::Error::other)?;
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || replace(&path, note.as_bytes())).await.map_err(io::Error::other)?
}

/// Replaces a file so that after a crash it is the old one or the new one, whole.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = beside(path, ".new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(EVERYONE_READS).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}
