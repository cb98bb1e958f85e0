//! Reads a small file whole.
//!
//! Not here: what the bytes mean (`jwk`, `revoked`), noticing that they changed (`service::reload`).

use std::io::{ErrorKind, Read};
use std::path::Path;

/// Reads a whole file of at most `limit` bytes; `None` if there is none.
///
/// # Errors
/// In our words, without its path, why it can't be used.
pub(super) fn read(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, String> {
    match beginning(path, limit)? {
        Some(bytes) if bytes.len() > limit => Err(format!("it has more than {limit} bytes")),
        whole => Ok(whole),
    }
}

/// Reads a file, or where it is longer than `limit` bytes, one byte more than that; `None` if there is none.
///
/// # Errors
/// In our words, without its path, why it can't be used.
pub(super) fn beginning(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, String> {
    match bytes(path, limit) {
        Ok(Some(bytes)) => Ok(Some(bytes)),
        Ok(None) => Err("it is no regular file".to_owned()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(format!("it can't be read: {e}")),
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

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert_eq!(read(&path, 3), Ok(None));
        std::fs::write(&path, "one").unwrap();
        assert_eq!(read(&path, 3), Ok(Some(b"one".to_vec())));
        assert!(read(&path, 2).is_err());
        assert!(read(folder.path(), 3).is_err(), "only regular files are opened");
    }
}
