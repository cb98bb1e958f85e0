//! The lock file beside the database: two processes never write one log.
//!
//! `SQLite`'s own locks guard single transactions; two writers would still each build on a head that the other
//! replaces. The file stays when the process ends, the lock on it does not, not even after SIGKILL.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::OpenError;
use crate::atomic_file;

/// The mode of a new database: what is in it is for its owner.
const OWNER_ONLY: u32 = 0o600;

/// Holds the lock for as long as it lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a database.
    ///
    /// # Errors
    /// Another process has it, or the file can't be made.
    pub fn take(database: &Path) -> Result<Self, OpenError> {
        let path = atomic_file::beside(database, ".lock");
        let failed = |doing| {
            let path = path.display().to_string();
            move |source| OpenError::File { doing, path, source }
        };
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).write(true).mode(OWNER_ONLY);
        let file = options.open(&path).map_err(failed("open the lock file"))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse(database.display().to_string())),
            Err(TryLockError::Error(source)) => Err(failed("lock")(source)),
        }
    }
}

/// Makes the database's file with its mode, unless it is there: `SQLite` would make it for everyone to read, and
/// gives its WAL the same mode.
pub(super) fn make_private(database: &Path) -> Result<(), OpenError> {
    match OpenOptions::new().create_new(true).write(true).mode(OWNER_ONLY).open(database) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => {
            let path = database.display().to_string();
            Err(OpenError::File { doing: "create the audit database", path, source })
        }
    }
}
