//! Which tokens are not taken any more, though their signature is good: the revocation file.
//!
//! One revocation a line: `jti <id>`, or `sub <issuer> <subject>` for all of a subject's tokens; `#` starts a
//! comment line. A new revocation counts as soon as it is seen. One that is gone counts until the file was seen
//! twice without it: a file that is being rewritten in place is empty for a moment, and that moment must not
//! let anyone in. Not here: who writes the file.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::cache::Generation;
use super::watch::{Look, Watched};
use crate::caller::Caller;

/// Bytes of a revocation file: about 80,000 revocations of a UUID each.
pub(super) const FILE_MAX: usize = 4 << 20;

/// The revocations of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct List {
    ids: HashSet<Box<str>>,
    /// Subjects by issuer.
    subjects: HashMap<Box<str>, HashSet<Box<str>>>,
}

impl List {
    /// Reads a whole file, or refuses the whole of it: what a mistyped line was to revoke, nobody knows.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
        let mut list = Self::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            list.add(line).ok_or_else(|| {
                format!("line {} is neither `jti <id>` nor `sub <issuer> <subject>`", number + 1)
            })?;
        }
        Ok(list)
    }

    fn add(&mut self, line: &str) -> Option<()> {
        let (kind, rest) = word(line)?;
        match kind {
            "jti" => {
                self.ids.insert(rest.into());
            }
            "sub" => {
                let (issuer, subject) = word(rest)?;
                self.subjects.entry(issuer.into()).or_default().insert(subject.into());
            }
            _ => return None,
        }
        Some(())
    }

    /// Whether this caller's token is revoked.
    pub(super) fn names(&self, caller: &Caller) -> bool {
        caller.jti.as_deref().is_some_and(|id| self.ids.contains(id))
            || self
                .subjects
                .get(caller.issuer.as_str())
                .is_some_and(|subjects| subjects.contains(caller.subject.as_str()))
    }

    /// Takes in all of `other`.
    fn join(&mut self, other: &Self) {
        self.ids.extend(other.ids.iter().cloned());
        for (issuer, subjects) in &other.subjects {
            self.subjects.entry(issuer.clone()).or_default().extend(subjects.iter().cloned());
        }
    }
}

/// A word, and what follows it after blanks; `None` if nothing follows.
fn word(text: &str) -> Option<(&str, &str)> {
    let (first, rest) = text.split_once([' ', '\t'])?;
    let rest = rest.trim_start();
    (!rest.is_empty()).then_some((first, rest))
}

/// The revocations in force.
#[derive(Debug)]
pub(super) struct Revoked {
    list: RwLock<Arc<List>>,
    trouble: Mutex<Option<String>>,
    generation: Arc<Generation>,
}

impl Revoked {
    pub(super) fn new(generation: Arc<Generation>) -> Self {
        Self { list: RwLock::default(), trouble: Mutex::default(), generation }
    }

    /// Whether this caller's token is revoked.
    pub(super) fn names(&self, caller: &Caller) -> bool {
        let list = Arc::clone(&self.list.read().unwrap_or_else(PoisonError::into_inner));
        list.names(caller)
    }

    /// What is wrong with the file.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, list: List) {
        let mut present = self.list.write().unwrap_or_else(PoisonError::into_inner);
        if **present == list {
            return;
        }
        *present = Arc::new(list);
        drop(present);
        self.generation.advance();
    }

    fn complain(&self, trouble: Option<String>) {
        if let Some(why) = &trouble {
            tracing::warn!(error = %why, "the revocation file is not used; the last good one stays in force");
        }
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

/// Follows the revocation file.
#[derive(Debug)]
pub(super) struct Follower {
    watched: Watched,
    revoked: Arc<Revoked>,
    /// What the file said at the last look, if that is not in force as it stands.
    unconfirmed: Option<List>,
}

impl Follower {
    pub(super) fn new(path: &Path, revoked: Arc<Revoked>) -> Self {
        Self { watched: Watched::new(path, FILE_MAX), revoked, unconfirmed: None }
    }

    /// The first look, which must succeed: without a last good list nobody knows who is revoked.
    pub(super) async fn begin(&mut self) -> Result<(), String> {
        let list = match self.watched.look().await {
            Look::New(bytes) => List::read(&bytes)?,
            Look::Missing | Look::Same => List::default(),
            Look::Unreadable(why) => return Err(why),
        };
        self.revoked.put(list);
        Ok(())
    }

    /// Looks at the file once more.
    pub(super) async fn step(&mut self) {
        let list = match self.watched.look().await {
            Look::Same => {
                if let Some(list) = self.unconfirmed.take() {
                    self.revoked.put(list);
                }
                return;
            }
            Look::Missing => Ok(List::default()),
            Look::New(bytes) => List::read(&bytes),
            Look::Unreadable(why) => Err(why),
        };
        match list {
            Ok(list) => {
                let mut both = List::clone(&self.revoked.list.read().unwrap_or_else(PoisonError::into_inner));
                both.join(&list);
                self.revoked.put(both);
                self.unconfirmed = Some(list);
                self.revoked.complain(None);
            }
            Err(why) => {
                self.unconfirmed = None;
                self.revoked.complain(Some(why));
            }
        }
    }

    /// Looks at the file for ever.
    pub(super) async fn follow(mut self) {
        loop {
            tokio::time::sleep(super::watch::EVERY).await;
            self.step().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(subject: &str, jti: Option<&str>) -> Caller {
        Caller {
            subject: subject.to_owned(),
            teams: vec![],
            roles: vec![],
            issuer: "https://idp.example".to_owned(),
            jti: jti.map(ToOwned::to_owned),
            key_id: None,
            expires: jiff::Timestamp::MAX,
        }
    }

    #[test]
    fn a_line_revokes_one_token_or_one_subject() {
        let list =
            List::read(b"# leavers\n\njti 7\r\n  sub https://idp.example \t bob the builder  \n").unwrap();
        assert!(list.names(&caller("alice", Some("7"))));
        assert!(list.names(&caller("bob the builder", None)));
        for (subject, jti) in [("alice", Some("8")), ("alice", None), ("bob", None), ("7", None)] {
            assert!(!list.names(&caller(subject, jti)), "{subject} {jti:?}");
        }
        let elsewhere = Caller { issuer: "https://other.example".into(), ..caller("bob the builder", None) };
        assert!(!list.names(&elsewhere));
    }

    #[test]
    fn one_malformed_line_refuses_the_whole_file() {
        for text in ["jti", "jti ", "sub https://idp.example", "subject a b", "jti 1\nJTI 2", "7"] {
            assert!(List::read(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(List::read(b"jti \xff").is_err());
    }

    #[tokio::test]
    async fn revoking_counts_at_once_and_taking_back_at_the_second_look() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("revoked");
        let revoked = Arc::new(Revoked::new(Arc::default()));
        let mut follower = Follower::new(&path, Arc::clone(&revoked));
        follower.begin().await.unwrap();
        let (one, two) = (caller("a", Some("1")), caller("a", Some("2")));
        let state = || (revoked.names(&one), revoked.names(&two));
        assert_eq!(state(), (false, false));

        std::fs::write(&path, "jti 1\n").unwrap();
        follower.step().await;
        assert_eq!(state(), (true, false));
        // Cut to nothing, and filled again: what a rewrite in place looks like.
        std::fs::write(&path, "").unwrap();
        follower.step().await;
        assert_eq!(state(), (true, false));
        std::fs::write(&path, "jti 2\n").unwrap();
        follower.step().await;
        assert_eq!(state(), (true, true));
        follower.step().await;
        assert_eq!(state(), (false, true));
        std::fs::write(&path, "jti 1\nnonsense\n").unwrap();
        follower.step().await;
        assert_eq!(state(), (false, true), "a malformed file changes nothing");
        assert!(revoked.trouble().unwrap().contains("line 2"));
        std::fs::remove_file(&path).unwrap();
        follower.step().await;
        follower.step().await;
        assert_eq!((state(), revoked.trouble()), ((false, false), None));
    }
}
