//! Replaces the key that signs the record, with the log's consent: the old key signs an entry that names the new one.
//!
//! The next key lies beside the old one until the log is signed by it, and then takes its place. The store takes the old
//! one no more once the log names the next, and the same command goes on from wherever it stopped. Not here: what is signed when (`store::rotate`), the other key files
//! (`service::keys`).

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::keys::{next_file, public_file, put, read_key, unread};
use super::{settings, why};
use crate::atomic_file::{self, beside};
use crate::clock::{Clock, Ids};
use crate::config::Audit;
use crate::entry::{Entry, Kind};
use crate::json::Object;
use crate::seal::{Signer, Verifier, generate_key};
use crate::secret::{ExposeSecret as _, SecretString};
use crate::store::Rotation;

/// What came of it.
#[derive(Debug)]
pub struct Rotated {
    /// How many entries the old key signs of each log; a replica's has its name.
    pub logs: Vec<(Option<String>, u64)>,
    /// The new key's public half.
    pub public: PathBuf,
    /// The old key's public half, which proofs from before are still checked with.
    pub old_public: PathBuf,
}

/// Replaces the signing key. `operator` is who does it, for the record.
///
/// # Errors
/// What stands in the way. Nothing is lost, and the same call goes on from there.
pub async fn rotate_key(audit: &Audit, clock: Arc<dyn Clock>, operator: Object) -> Result<Rotated, String> {
    let file = &audit.signing_key_file;
    check_file(file)?;
    let (old_key, old) = read_key(file)?;
    let rotation = Rotation::begin(settings(audit)).await.map_err(|e| why(&e))?;
    let next = next_file(file);
    let (new_key, new) = match named(&next, rotation.named(), &old)? {
        Some(new) => new,
        None => make_next(&next, &old)?,
    };
    let entry = |old: &Signer, new: &Signer| entry(old, new, Arc::clone(&clock), operator.clone());
    let logs = rotation.hand_over(&old_key, &new_key, &entry).await.map_err(|e| why(&e))?;
    let public = public_file(file);
    let old_public = old_public_file(file, &old)?;
    put(&old_public, old.public_key(), 0o644)?;
    put(&public, new.public_key(), 0o644)?;
    std::fs::rename(&next, file).map_err(|e| format!("`{}` can't be put in place: {e}", next.display()))?;
    sync_folder(file)?;
    Ok(Rotated { logs: logs.into_iter().map(|(log, size)| (log.name, size)).collect(), public, old_public })
}

/// The next key, if a log names it: an earlier call got as far as that. One that no log names may be known to
/// whoever saw it lie there, and is not taken.
fn named<'a>(
    next: &Path,
    mut named: impl Iterator<Item = &'a str>,
    old: &Signer,
) -> Result<Option<(SecretString, Signer)>, String> {
    let old = old.verifier().map_err(|e| e.to_string())?;
    let is = |key: &Verifier, named: &str| Verifier::new(named).is_ok_and(|named| named.is_same_key(key));
    let Some(named) = named.find(|named| !is(&old, named)) else { return Ok(None) };
    let missing = |why: &str| {
        format!(
            "the log names another key, which should lie in `{}`: {why}; put it back there",
            next.display()
        )
    };
    if std::fs::symlink_metadata(next).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        return Err(missing("it is not there"));
    }
    let key = read_key(next).map_err(|e| missing(&e))?;
    let public = key.1.verifier().map_err(|e| e.to_string())?;
    if is(&public, named) { Ok(Some(key)) } else { Err(missing("another one does")) }
}

/// Makes the next key, whole on the disk before anything is signed with it.
fn make_next(next: &Path, old: &Signer) -> Result<(SecretString, Signer), String> {
    let (secret, _) = generate_key(old.origin()).map_err(|e| e.to_string())?;
    put(next, secret.expose_secret(), 0o600)?;
    read_key(next)
}

fn entry(old: &Signer, new: &Signer, clock: Arc<dyn Clock>, operator: Object) -> String {
    let mut members = Object::new();
    members.set("old_key", old.public_key());
    members.set("new_key", new.public_key());
    members.set("operator", operator);
    let time = clock.now();
    let id = Ids::new(clock).next();
    Entry { kind: Kind::KeyRotated, id, time, request_id: id, members }.into_json().to_string()
}

/// A key that another user makes is one that the service can't read, and where a link lies the old key would stay.
fn check_file(file: &Path) -> Result<(), String> {
    let shown = file.display();
    let about = std::fs::symlink_metadata(file).map_err(|e| unread(file, &e))?;
    if about.is_symlink() {
        return Err(format!("`{shown}` is a link: name the file itself in `audit.signing_key_file`"));
    }
    let (owner, me) = (about.uid(), rustix::process::geteuid().as_raw());
    if owner == me {
        return Ok(());
    }
    Err(format!("`{shown}` belongs to user {owner} and this is user {me}; run it as its owner"))
}

/// The old public key's place: named by its id, so that those of several changes stand side by side.
fn old_public_file(file: &Path, old: &Signer) -> Result<PathBuf, String> {
    let id = old.verifier().map_err(|e| e.to_string())?.id();
    Ok(beside(file, &format!(".{id}.pub")))
}

/// Brings what was done with a file's name to the disk.
pub(super) fn sync_folder(file: &Path) -> Result<(), String> {
    atomic_file::sync_folder(file).map_err(|e| format!("the folder of `{}`: {e}", file.display()))
}

#[cfg(test)]
mod tests;
