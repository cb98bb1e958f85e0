//! Whether the files are still where they were opened.
//!
//! A file that is deleted or replaced under a running process takes every write without an error, and all of it
//! is lost. So device and inode behind the paths are looked at around every commit: on the runtime's own thread, as the
//! kernel has them at hand while the files are open, and a hand-over costs more. Not here: what then happens
//! (`store::writer`).

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::StoreError;
use crate::atomic_file;

/// Device and inode.
pub(super) type Identity = (u64, u64);

/// The files behind an open database.
#[derive(Debug)]
pub(super) struct Place {
    database: PathBuf,
    wal: PathBuf,
    seen: (Identity, Identity),
}

impl Place {
    /// Notes which files there are now. The WAL must exist, as it does after any transaction.
    pub(super) fn note(database: &Path) -> Result<Self, StoreError> {
        let (database, wal) = (database.to_owned(), atomic_file::beside(database, "-wal"));
        let seen = identities(&database, &wal)?;
        Ok(Self { database, wal, seen })
    }

    /// Checks that they are still the same.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let now = identities(&self.database, &self.wal)?;
        if now == self.seen { Ok(()) } else { Err(StoreError::Moved) }
    }

    /// The database's file itself.
    pub(super) const fn home(&self) -> Identity {
        self.seen.0
    }
}

/// Checks that the file at `database` is the one that was there, before it is opened again: `SQLite` would
/// replay the WAL that still lies there into whatever file has come in its place.
pub(super) fn check_home(database: &Path, home: Identity) -> Result<(), StoreError> {
    if identity(database)? == home { Ok(()) } else { Err(StoreError::Moved) }
}

fn identities(database: &Path, wal: &Path) -> Result<(Identity, Identity), StoreError> {
    Ok((identity(database)?, identity(wal)?))
}

fn identity(path: &Path) -> Result<Identity, StoreError> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok((metadata.dev(), metadata.ino())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(StoreError::Moved),
        Err(_) => Err(StoreError::Io),
    }
}
