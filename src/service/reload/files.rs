//! The files that a configuration names, as they are at one time.
//!
//! By content, not by time of change: a file replaced twice within one tick of the file system's clock, or
//! through a symbolic link as orchestrators mount secrets, is seen all the same. Not here: what stands in them.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

use super::parts::Part;
use crate::config::{Config, KeySource, TokenSource};

/// Bytes of a file that are looked at: no reader takes as many.
const MAX_FILE: u64 = 8 << 20;

/// What is known of a file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// By its SHA-256.
    Bytes(Vec<u8>),
    Missing,
    /// Why not.
    Unreadable(String),
}

impl State {
    /// Looks at a file.
    pub(super) fn of(path: &Path) -> Self {
        match digest(path) {
            Ok(Some(digest)) => Self::Bytes(digest),
            Ok(None) => Self::Unreadable("it is no regular file".to_owned()),
            Err(e) if e.kind() == ErrorKind::NotFound => Self::Missing,
            Err(e) => Self::Unreadable(e.to_string()),
        }
    }
}

/// `None` if it is no regular file.
fn digest(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    // A pipe would hold the reader for ever; ask before opening.
    if !std::fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let mut file = std::fs::File::open(path)?.take(MAX_FILE);
    let (mut hash, mut chunk) = (Context::new(&SHA256), zeroize::Zeroizing::new([0; 16 << 10]));
    loop {
        let read = file.read(chunk.as_mut_slice())?;
        match chunk.get(..read) {
            Some([]) | None => return Ok(Some(hash.finish().as_ref().to_vec())),
            Some(bytes) => hash.update(bytes),
        }
    }
}

/// A named file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) path: PathBuf,
    pub(super) state: State,
}

/// All of them, by key path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::service) struct Files(pub(super) BTreeMap<String, Named>);

impl Files {
    /// Looks at every file that can be read again.
    pub(in crate::service) fn look(config: &Config) -> Self {
        let mut files = BTreeMap::new();
        let mut look = |key: String, path: &Path| {
            files.insert(key, Named { path: path.to_owned(), state: State::of(path) });
        };
        look("policy.file".to_owned(), &config.policy.file);
        for (at, issuer) in config.issuers.iter().enumerate() {
            match &issuer.keys {
                KeySource::File(path) => look(jwks_file(at), path),
                KeySource::Url { ca_file: Some(path), .. } => look(format!("issuer.{at}.jwks_ca_file"), path),
                KeySource::Url { ca_file: None, .. } => {}
            }
        }
        if let Some(path) = &config.revocation.file {
            look("revocation.file".to_owned(), path);
        }
        if let Some(tls) = &config.listen.tls {
            look("listen.certificate_file".to_owned(), &tls.certificate_file);
            look("listen.private_key_file".to_owned(), &tls.private_key_file);
            if let Some(clients) = &tls.clients {
                look("listen.client_ca_file".to_owned(), &clients.ca_file);
            }
        }
        if let Some(TokenSource::File(path)) = &config.upstream.token {
            look("upstream.token_file".to_owned(), path);
        }
        for (account, source) in &config.upstream.accounts {
            if let TokenSource::File(path) = source {
                look(format!("upstream.accounts.{account}.token_file"), path);
            }
        }
        Self(files)
    }

    /// The keys whose file is another one in `other`, or another text.
    pub(super) fn changed<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a str> {
        let keys = self.0.keys().chain(other.0.keys());
        keys.map(String::as_str).filter(|key| self.0.get(*key) != other.0.get(*key))
    }

    /// The keys of the same files with another text in `other`.
    pub(super) fn rewritten<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a str> {
        let same = |key: &&str| {
            let (own, other) = (self.0.get(*key), other.0.get(*key));
            own.zip(other).is_some_and(|(own, other)| own.path == other.path)
        };
        self.changed(other).filter(same)
    }

    /// What is known of a file, by whatever key.
    pub(super) fn state_of(&self, path: &Path) -> Option<&State> {
        self.0.values().find(|named| named.path == path).map(|named| &named.state)
    }

    /// Takes over what `other` knows of the files of some parts.
    pub(super) fn adopt(&mut self, other: &Self, parts: impl Fn(Part) -> bool) {
        let adopted = |key: &str| Part::of(key).is_some_and(&parts);
        self.0.retain(|key, _| other.0.contains_key(key) || !adopted(key));
        for (key, named) in other.0.iter().filter(|(key, _)| adopted(key)) {
            self.0.insert(key.clone(), named.clone());
        }
    }
}

/// The key of the key file of the issuer at that place.
pub(super) fn jwks_file(at: usize) -> String {
    format!("issuer.{at}.jwks_file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_by_content_also_behind_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("..1")).unwrap();
        std::fs::create_dir(path("..2")).unwrap();
        std::fs::write(path("..1/file"), "one").unwrap();
        std::fs::write(path("..2/file"), "two").unwrap();
        std::os::unix::fs::symlink("..1", path("..data")).unwrap();
        std::os::unix::fs::symlink("..data/file", path("file")).unwrap();
        let one = State::of(&path("file"));
        assert_eq!(one, State::of(&path("..1/file")));
        std::os::unix::fs::symlink("..2", path("..new")).unwrap();
        std::fs::rename(path("..new"), path("..data")).unwrap();
        assert_eq!(State::of(&path("file")), State::of(&path("..2/file")));
        assert_ne!(State::of(&path("file")), one);
        assert_eq!(State::of(&path("none")), State::Missing);
        assert!(matches!(State::of(folder.path()), State::Unreadable(_)), "only regular files are opened");
    }
}
