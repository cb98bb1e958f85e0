//! Files that are replaced whole: a reader, and whoever looks after a crash, finds the old one or the new one.
//!
//! The new one is written beside its place. Others may be able to write to that folder, too, so what lies there is taken away and
//! neither written to nor waited for.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Replaces the file at `path`, or makes it, and brings its text to the disk; its name with [`sync_folder`]. It has this mode, less
/// the process's mask.
///
/// # Errors
/// It can't be written, or its folder can't be.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let new = beside(path, ".new");
    let mut file = make(&new, mode)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

/// Makes a file of its own in the place of whatever has this name: what an earlier process left that was killed, a link, which would
/// lead to another file, a pipe, which would be waited for.
///
/// # Errors
/// What is there can't be taken away, or a file can't be made.
pub fn make(path: &Path, mode: u32) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        Ok(()) | Err(_) => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

/// Brings what was done with a file's name to the disk.
///
/// # Errors
/// Its folder can't be read or written.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// The path of a file that belongs to another one.
#[must_use]
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::process::Command;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_lies_beside_a_file_is_neither_written_to_nor_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("kept"), "of value").unwrap();
        symlink(path("kept"), path("link.new")).unwrap();
        assert!(Command::new("mkfifo").arg(path("pipe.new")).status().unwrap().success());
        std::fs::write(path("rest.new"), "of a run that was killed").unwrap();
        for name in ["link", "pipe", "rest", "none"] {
            let file = path(name);
            // Whoever opens a pipe waits for who reads it: in a thread that this test does not wait for.
            let (said, says) = std::sync::mpsc::channel();
            std::thread::spawn(move || said.send(replace(&file, b"new", 0o640)));
            says.recv_timeout(Duration::from_secs(20)).unwrap().unwrap();
            let about = std::fs::symlink_metadata(path(name)).unwrap();
            assert!(about.is_file() && about.permissions().mode() & 0o7137 == 0, "{name}: {about:?}");
            assert_eq!(std::fs::read(path(name)).unwrap(), b"new", "{name}");
            assert!(!path(&format!("{name}.new")).exists());
        }
        assert_eq!(std::fs::read(path("kept")).unwrap(), b"of value");
    }

    #[test]
    fn what_cannot_be_replaced_stays() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        replace(&file, b"old", 0o600).unwrap();
        std::fs::create_dir(beside(&file, ".new")).unwrap();
        replace(&file, b"new", 0o600).unwrap_err();
        assert_eq!(std::fs::read(&file).unwrap(), b"old");
        replace(&directory.path().join("gone/file"), b"new", 0o600).unwrap_err();
    }
}
