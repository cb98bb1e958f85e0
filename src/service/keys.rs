//! The record's own keys: reads them, makes them, says what is wrong with them.
//!
//! The signing key is an Ed25519 key in the form of C2SP signed notes; the fingerprint key is 32 random bytes,
//! base64. Both are files that only their owner may read. Not here: what they are used for (`seal`, `secret`).

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::atomic_file::{self, beside};
use crate::config::Audit;
use crate::seal::{Signer, Verifier, generate_key};
use crate::secret::{ExposeSecret as _, Fingerprinter, SecretString};
use crate::store::Database;

/// Bytes of the fingerprint key: as many as its hash has, which RFC 2104 recommends.
const FINGERPRINT_KEY: usize = 32;

/// Bytes of a key file that are read: both kinds have about 100.
const MAX_FILE: u64 = 4096;

/// What became of a key file.
#[derive(Debug)]
pub enum Made {
    /// It was made.
    New(PathBuf),
    /// It was there.
    Kept(PathBuf),
    /// The public half of a signing key was written beside it.
    Public(PathBuf),
}

/// The key that signs checkpoints.
pub(super) fn signer(audit: &Audit) -> Result<Arc<Signer>, String> {
    let file = &audit.signing_key_file;
    match &audit.database {
        Database::Sqlite(_) => read_signer(file).map(Arc::new),
        Database::Postgres(server) => {
            let signer = Signer::of_replica(read(file)?.expose_secret(), server.replica());
            signer.map(Arc::new).map_err(|e| format!("`{}`: {e}", file.display()))
        }
    }
}

pub(super) fn read_signer(file: &Path) -> Result<Signer, String> {
    read_key(file).map(|(_, signer)| signer)
}

/// A signing key and its text.
pub(super) fn read_key(file: &Path) -> Result<(SecretString, Signer), String> {
    let text = read(file)?;
    let signer = Signer::new(text.expose_secret()).map_err(|e| format!("`{}`: {e}", file.display()))?;
    Ok((text, signer))
}

/// The key of fingerprints.
///
/// # Errors
/// The file can't be read, others than its owner may read it, or it holds no such key.
pub fn fingerprinter(file: &Path) -> Result<Fingerprinter, String> {
    let text = read(file)?;
    let bytes = BASE64.decode(text.expose_secret().trim().as_bytes()).map(Zeroizing::new).unwrap_or_default();
    if bytes.len() < FINGERPRINT_KEY {
        let path = file.display();
        return Err(format!(
            "`{path}` must hold {FINGERPRINT_KEY} bytes as base64; make it with `keys generate`"
        ));
    }
    Ok(Fingerprinter::new(&bytes))
}

/// What is wrong with the keys that a configuration names, by key path.
pub(super) fn check_keys(audit: &Audit) -> Vec<(String, String)> {
    let signing = signer(audit).err().map(|what| ("audit.signing_key_file".to_owned(), what));
    let fingerprint = fingerprinter(&audit.fingerprint_key_file)
        .err()
        .map(|what| ("audit.fingerprint_key_file".to_owned(), what));
    signing.into_iter().chain(fingerprint).collect()
}

/// Makes the keys that are not there yet, and writes the public half of the signing key beside it.
///
/// # Errors
/// What could not be read or written; nothing that was there is changed.
pub fn make_keys(audit: &Audit) -> Result<Vec<Made>, String> {
    let mut made = Vec::new();
    let signing = &audit.signing_key_file;
    let new_key = || {
        let mut tag = [0u8; 4];
        aws_lc_rs::rand::fill(&mut tag).map_err(|_| "no randomness".to_owned())?;
        let name = format!("tunnelwarden/{}", data_encoding::HEXLOWER.encode(&tag));
        generate_key(&name).map(|(secret, _)| secret).map_err(|e| e.to_string())
    };
    made.push(make(signing, new_key)?);
    let public = public_file(signing);
    // Under the key's own name, from which those of all replicas' logs follow.
    put(&public, read_signer(signing)?.public_key(), 0o644)?;
    made.push(Made::Public(public));
    made.push(make(&audit.fingerprint_key_file, || {
        let mut bytes = Zeroizing::new([0u8; FINGERPRINT_KEY]);
        aws_lc_rs::rand::fill(bytes.as_mut_slice()).map_err(|_| "no randomness".to_owned())?;
        Ok(SecretString::from(BASE64.encode(bytes.as_slice())))
    })?);
    fingerprinter(&audit.fingerprint_key_file)?;
    Ok(made)
}

/// Where the public half of a signing key lies.
#[must_use]
pub fn public_file(signing_key_file: &Path) -> PathBuf {
    beside(signing_key_file, ".pub")
}

/// Where the next signing key lies until the log is signed by it.
pub(super) fn next_file(signing_key_file: &Path) -> PathBuf {
    beside(signing_key_file, ".next")
}

fn exists(path: &Path) -> Result<bool, String> {
    path.try_exists().map_err(|e| format!("`{}`: {e}", path.display()))
}

fn make(path: &Path, new: impl FnOnce() -> Result<SecretString, String>) -> Result<Made, String> {
    if exists(path)? {
        return Ok(Made::Kept(path.to_owned()));
    }
    let text = line(new()?.expose_secret());
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|e| unwritten(path, &e))?;
    Ok(Made::New(path.to_owned()))
}

/// Puts a key, or its public half, in the place of a file.
pub(super) fn put(path: &Path, text: &str, mode: u32) -> Result<(), String> {
    let written = atomic_file::replace(path, line(text).as_bytes(), mode);
    written.and_then(|()| atomic_file::sync_folder(path)).map_err(|e| unwritten(path, &e))
}

fn line(text: &str) -> Zeroizing<String> {
    Zeroizing::new(format!("{}\n", text.trim_end()))
}

fn unwritten(path: &Path, error: &std::io::Error) -> String {
    format!("`{}` can't be written: {error}", path.display())
}

/// Whether others than its owner may use a key file. What is root's its group may read: so service managers hand a
/// key to a process that is not root, systemd by an access list (whose mask shows in the group's bits), Kubernetes
/// by `fsGroup`. `PostgreSQL` has the same rule for its own key (libpq, "Client Certificates").
const fn open_to_others(mode: u32, owner: u32) -> bool {
    let allowed = if owner == 0 { 0o740 } else { 0o700 };
    mode & 0o777 & !allowed != 0
}

fn read(path: &Path) -> Result<SecretString, String> {
    let shown = path.display();
    let file = std::fs::File::open(path).map_err(|e| unread(path, &e))?;
    let about = file.metadata().map_err(|e| unread(path, &e))?;
    // Room for all of it at once: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(MAX_FILE).unwrap_or(0) + 1));
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(|e| unread(path, &e))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| format!("`{shown}` is not text"))?;
    // Before who may read it: that half everybody may.
    if Verifier::new(text).is_ok() {
        return Err(format!(
            "`{shown}` is the public half of a signing key; name the file of the key itself"
        ));
    }
    if open_to_others(about.mode(), about.uid()) {
        return Err(format!("`{shown}` can be read by others than its owner; use `chmod 600`"));
    }
    Ok(SecretString::from(text))
}

/// Why a key file can't be read. Only one that is not there is to be made.
pub(super) fn unread(path: &Path, error: &std::io::Error) -> String {
    let is = |kind| error.kind() == kind;
    let remedy = if is(ErrorKind::NotFound) {
        "; make it with `keys generate`"
    } else if is(ErrorKind::PermissionDenied) {
        "; let this process read it"
    } else {
        ""
    };
    format!("`{}` can't be read: {error}{remedy}", path.display())
}

#[cfg(test)]
mod tests {
    use std::io::Error;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_a_key_that_is_not_there_is_to_be_made() {
        for (kind, remedy) in [
            (ErrorKind::NotFound, "make it with `keys generate`"),
            (ErrorKind::PermissionDenied, "let this process read it"),
            (ErrorKind::IsADirectory, ""),
        ] {
            let told = unread(Path::new("/keys/a"), &Error::from(kind));
            assert!(told.starts_with("`/keys/a` can't be read: ") && told.ends_with(remedy), "{told}");
            assert_eq!(told.contains("generate"), kind == ErrorKind::NotFound, "{told}");
        }
    }

    #[test]
    fn a_public_half_is_told_from_a_key_that_others_may_read() {
        let folder = tempfile::tempdir().unwrap();
        let (secret, public) = generate_key("tunnelwarden/test").unwrap();
        let told = |text: &str, mode| {
            let path = folder.path().join("key");
            put(&path, text, mode).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            read(&path).map(|_| ()).unwrap_err()
        };
        for mode in [0o644, 0o600] {
            assert!(told(&public, mode).contains("is the public half"), "{mode:o}");
        }
        assert!(told(secret.expose_secret(), 0o644).contains("chmod 600"));
    }

    #[test]
    fn a_key_is_its_owners_alone_and_of_roots_its_group_may_read() {
        const ROOT: u32 = 0;
        const SOMEBODY: u32 = 1000;
        for (mode, owner, open) in [
            (0o400, SOMEBODY, false),
            (0o600, SOMEBODY, false),
            (0o440, SOMEBODY, true),
            (0o604, SOMEBODY, true),
            (0o600, ROOT, false),
            (0o440, ROOT, false),
            (0o640, ROOT, false),
            (0o660, ROOT, true),
            (0o444, ROOT, true),
        ] {
            assert_eq!(open_to_others(mode, owner), open, "{mode:o} of {owner}");
            // What kind of file it is says nothing.
            assert_eq!(open_to_others(0o100_000 | mode, owner), open, "{mode:o} of {owner}");
        }
    }
}
