//! Looks at a small file again and again, and tells when its bytes are others.
//!
//! By content, not by time of change: a file replaced twice within one tick of the file system's clock, or
//! through a symbolic link as orchestrators mount secrets, is seen all the same. Not here: what the bytes mean.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

/// How often a file is looked at: a change takes effect in about this time.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// A file that is watched.
#[derive(Debug)]
pub(super) struct Watched {
    path: PathBuf,
    limit: usize,
    seen: Option<State>,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Bytes([u8; 32]),
    Missing,
    Unreadable(String),
}

/// What a look at a file showed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// The same as the last time.
    Same,
    /// Other bytes.
    New(Vec<u8>),
    /// It is gone.
    Missing,
    /// It can't be read; why.
    Unreadable(String),
}

impl Watched {
    /// Watches the file at `path`, of at most `limit` bytes.
    pub(super) fn new(path: &Path, limit: usize) -> Self {
        Self { path: path.to_owned(), limit, seen: None }
    }

    /// Looks at the file now; never [`Look::Same`] the first time.
    pub(super) async fn look(&mut self) -> Look {
        let (path, limit) = (self.path.clone(), self.limit);
        let look = tokio::task::spawn_blocking(move || read(&path, limit))
            .await
            .unwrap_or_else(|_| Look::Unreadable("reading it was broken off".into()));
        let state = match &look {
            Look::New(bytes) => {
                let mut hash = [0; 32];
                hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
                State::Bytes(hash)
            }
            Look::Missing => State::Missing,
            Look::Unreadable(why) => State::Unreadable(why.clone()),
            Look::Same => return Look::Same,
        };
        if self.seen.as_ref() == Some(&state) {
            return Look::Same;
        }
        self.seen = Some(state);
        look
    }
}

/// Reads a whole file of at most `limit` bytes; never [`Look::Same`].
pub(super) fn read(path: &Path, limit: usize) -> Look {
    match bytes(path, limit) {
        Ok(Some(bytes)) if bytes.len() > limit => Look::Unreadable(format!("it has more than {limit} bytes")),
        Ok(Some(bytes)) => Look::New(bytes),
        Ok(None) => Look::Unreadable("it is no regular file".to_owned()),
        Err(e) if e.kind() == ErrorKind::NotFound => Look::Missing,
        Err(e) => Look::Unreadable(format!("it can't be read: {e}")),
    }
}

/// At most one byte more than `limit`; `None` if it is no regular file.
fn bytes(path: &Path, limit: usize) -> std::io::Result<Option<Vec<u8>>> {
    // A pipe would hold the reader for ever; ask before opening.
    if !std::fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_seen_by_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut watched = Watched::new(&path, 3);
        assert_eq!(watched.look().await, Look::Missing);
        assert_eq!(watched.look().await, Look::Same);
        std::fs::write(&path, "one").unwrap();
        assert_eq!(watched.look().await, Look::New(b"one".to_vec()));
        std::fs::write(&path, "two").unwrap();
        assert_eq!(watched.look().await, Look::New(b"two".to_vec()));
        assert_eq!(watched.look().await, Look::Same);
        std::fs::write(&path, "four").unwrap();
        assert!(matches!(watched.look().await, Look::Unreadable(_)));
        std::fs::write(&path, "two").unwrap();
        assert_eq!(watched.look().await, Look::New(b"two".to_vec()));
    }

    #[tokio::test]
    async fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Watched::new(folder.path(), 3).look().await, Look::Unreadable(_)));
    }
}
