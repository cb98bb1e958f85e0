//! Which tokens are not taken any more, though their signature is good: the revocation file.
//!
//! One revocation a line: `jti <id>`, or `sub <issuer> <subject>` for all of a subject's tokens; `#` starts a
//! comment line. Not here: who writes the file, when it is read again (`service::reload`).

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::file;
use crate::caller::Caller;

/// Bytes of a revocation file: about 80,000 revocations of a UUID each.
const FILE_MAX: usize = 4 << 20;

/// The revocations of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct List {
    ids: HashSet<Box<str>>,
    /// Subjects by issuer.
    subjects: HashMap<Box<str>, HashSet<Box<str>>>,
}

impl List {
    /// Reads a file; a missing one is an empty one.
    pub(super) fn of(path: &Path) -> Result<Self, String> {
        let bytes = file::read(path, FILE_MAX)?;
        bytes.map_or_else(|| Ok(Self::default()), |bytes| Self::read(&bytes))
    }

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

    /// All of both.
    pub(super) fn joined(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.ids.extend(other.ids.iter().cloned());
        for (issuer, subjects) in &other.subjects {
            both.subjects.entry(issuer.clone()).or_default().extend(subjects.iter().cloned());
        }
        both
    }
}

/// A word, and what follows it after blanks; `None` if nothing follows.
fn word(text: &str) -> Option<(&str, &str)> {
    let (first, rest) = text.split_once([' ', '\t'])?;
    let rest = rest.trim_start();
    (!rest.is_empty()).then_some((first, rest))
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

    #[test]
    fn a_list_joined_with_another_has_all_of_both() {
        let (one, two) = (List::read(b"jti 1").unwrap(), List::read(b"jti 2\nsub a b").unwrap());
        let both = one.joined(&two);
        assert_eq!(both, List::read(b"jti 1\njti 2\nsub a b").unwrap());
        assert_eq!(both.joined(&two), both);
    }
}
