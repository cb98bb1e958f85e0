//! Which tokens are not taken any more, though their signature is good: the revocation file.
//!
//! One revocation a line: `jti <id>`, or `sub <issuer> <subject>` for all of a subject's tokens; `#` starts a
//! comment line. Not here: who writes the file, when it is read again (`service::reload`).

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::Path;

use unicode_normalization::{UnicodeNormalization as _, is_nfc};

use super::claims::NAME_MAX;
use super::file;
use super::text::{is_name, is_plain};
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
    /// Reads a file, and says what is wrong with it; a missing one is an empty one.
    pub(super) fn of(path: &Path) -> Result<(Self, Option<String>), String> {
        let bytes = file::beginning(path, FILE_MAX)?;
        Ok(bytes.map_or_else(Default::default, |bytes| Self::read(&bytes)))
    }

    /// Reads the good lines, and says what is wrong with the first of the others, or with the file: a slip in one line must
    /// not keep those in whom the other lines name.
    pub(super) fn read(bytes: &[u8]) -> (Self, Option<String>) {
        let (mut list, mut wrong) = (Self::default(), None);
        let (lines, rest) = bytes.split_at_checked(FILE_MAX).unwrap_or((bytes, &[]));
        for (number, line) in lines.split(|byte| *byte == b'\n').enumerate() {
            let Ok(line) = std::str::from_utf8(line).map(str::trim) else {
                wrong.get_or_insert_with(|| format!("line {} is not UTF-8", number + 1));
                continue;
            };
            if !line.is_empty() && !line.starts_with('#') && list.add(line).is_none() {
                let what = "is neither `jti <id>` nor `sub <issuer> <subject>`";
                wrong.get_or_insert_with(|| format!("line {} {what}", number + 1));
            }
        }
        if !rest.is_empty() {
            wrong = Some(format!("it has more than {FILE_MAX} bytes; take out whose tokens have expired"));
        }
        (list, wrong)
    }

    /// Takes a line back.
    pub(super) fn remove(&mut self, line: &str) -> Option<()> {
        match named(line)? {
            (None, id) => {
                self.ids.remove(&*id);
            }
            (Some(issuer), subject) => {
                if let Some(subjects) = self.subjects.get_mut(issuer) {
                    subjects.remove(&*subject);
                }
            }
        }
        Some(())
    }

    /// Takes a line in.
    pub(super) fn add(&mut self, line: &str) -> Option<()> {
        match named(line)? {
            (None, id) => {
                self.ids.insert(id.into());
            }
            (Some(issuer), subject) => {
                self.subjects.entry(issuer.into()).or_default().insert(subject.into());
            }
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

/// The line that revokes the token of this id or, where there is an issuer, all tokens of its subject of this name; `None`
/// where no token is taken that has such a name, or no line can hold it.
#[must_use]
pub fn revoking_line(issuer: Option<&str>, name: &str) -> Option<String> {
    let name = composed(name);
    let line = issuer.map_or_else(|| format!("jti {name}"), |issuer| format!("sub {issuer} {name}"));
    let is_held = is_name(&name, NAME_MAX) && is_plain(&line) && named(&line) == Some((issuer, name));
    is_held.then_some(line)
}

/// A revocation file's text without the lines that say what this line does, however they are spelled; `None` where there are
/// none.
#[must_use]
pub fn without_line(text: &[u8], line: &str) -> Option<Vec<u8>> {
    let said = named(line);
    let says = |one: &&[u8]| {
        let one = std::str::from_utf8(one).ok();
        said.is_some() && one.and_then(|one| named(one.trim())) == said
    };
    let left =
        text.split_inclusive(|byte| *byte == b'\n').filter(|one| !says(one)).collect::<Vec<_>>().concat();
    (left.len() < text.len()).then_some(left)
}

/// What a line names: a token's id, or an issuer and its subject.
fn named(line: &str) -> Option<(Option<&str>, Cow<'_, str>)> {
    let (kind, rest) = word(line)?;
    match kind {
        "jti" => Some((None, composed(rest))),
        "sub" => {
            let (issuer, subject) = word(rest)?;
            Some((Some(issuer), composed(subject)))
        }
        _ => None,
    }
}

/// A name as the tokens that are taken spell it (`text.rs`), whatever the keyboard makes of its accents.
fn composed(name: &str) -> Cow<'_, str> {
    if is_nfc(name) { Cow::Borrowed(name) } else { Cow::Owned(name.nfc().collect()) }
}

/// A word, and what follows it after blanks; `None` if nothing follows.
fn word(text: &str) -> Option<(&str, &str)> {
    let (first, rest) = text.split_once([' ', '\t'])?;
    let rest = rest.trim_start();
    (!rest.is_empty()).then_some((first, rest))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::identify) fn caller(subject: &str, jti: Option<&str>) -> Caller {
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
        let text = b"# leavers\n\njti 7\r\n  sub https://idp.example \t bob the builder  \n";
        let (list, wrong) = List::read(text);
        assert_eq!(wrong, None);
        assert!(list.names(&caller("alice", Some("7"))));
        assert!(list.names(&caller("bob the builder", None)));
        for (subject, jti) in [("alice", Some("8")), ("alice", None), ("bob", None), ("7", None)] {
            assert!(!list.names(&caller(subject, jti)), "{subject} {jti:?}");
        }
        let elsewhere = Caller { issuer: "https://other.example".into(), ..caller("bob the builder", None) };
        assert!(!list.names(&elsewhere));
    }

    #[test]
    fn a_malformed_line_is_named_and_the_others_revoke() {
        for (text, line) in [
            ("jti", 1),
            ("jti ", 1),
            ("sub https://idp.example", 1),
            ("subject a b", 1),
            ("jti 1\nJTI 2\n7", 2),
            ("7", 1),
        ] {
            let (_, wrong) = List::read(text.as_bytes());
            assert!(wrong.as_ref().is_some_and(|why| why.contains(&format!("line {line} "))), "{wrong:?}");
        }
        let (list, wrong) = List::read(b"jti 1\nwhat\njti \xff\n\r\njti 2\r\nsub https://idp.example bob");
        assert!(wrong.is_some_and(|why| why.starts_with("line 2 ")));
        assert!(["1", "2"].iter().all(|id| list.names(&caller("alice", Some(id)))));
        assert!(list.names(&caller("bob", None)) && !list.names(&caller("alice", Some("\u{fffd}"))));
    }

    #[test]
    fn of_a_file_that_is_too_large_the_beginning_revokes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("revoked");
        let mut text = b"jti 1\n".to_vec();
        text.resize(FILE_MAX, b'#');
        assert!(List::read(&text).1.is_none());
        text.extend(b"\njti 2\n");
        std::fs::write(&path, text).unwrap();
        let (list, wrong) = List::of(&path).unwrap();
        assert!(wrong.is_some_and(|why| why.contains("more than 4194304 bytes; ")));
        assert!(list.names(&caller("alice", Some("1"))));
    }

    #[test]
    fn a_name_is_found_whichever_way_its_accents_were_typed() {
        let list = List::read("jti Zoe\u{308}\nsub https://idp.example Zoe\u{308}".as_bytes()).0;
        assert!(list.names(&caller("Zo\u{eb}", None)) && list.names(&caller("alice", Some("Zo\u{eb}"))));
        let mut none = list;
        none.remove("jti Zoe\u{308}").unwrap();
        none.remove("sub https://idp.example Zoe\u{308}").unwrap();
        assert!(!none.names(&caller("Zo\u{eb}", Some("Zo\u{eb}"))));
    }

    #[test]
    fn a_line_is_made_only_of_what_it_reads_back_to() {
        let issuer = "https://idp.example";
        assert_eq!(revoking_line(None, "a b").as_deref(), Some("jti a b"));
        assert_eq!(revoking_line(None, "Zoe\u{308}").as_deref(), Some("jti Zo\u{eb}"));
        assert_eq!(revoking_line(Some(issuer), "#one b").as_deref(), Some("sub https://idp.example #one b"));
        for name in ["", " ", " a", "a ", "a  b", "a\tb", "7\njti 9", "a\u{200b}b", &"x".repeat(257)] {
            assert_eq!(revoking_line(None, name), None, "{name:?}");
            assert_eq!(revoking_line(Some(issuer), name), None, "{name:?}");
        }
        for issuer in ["two words", "", "\u{3000}", "a\n"] {
            assert_eq!(revoking_line(Some(issuer), "a"), None, "{issuer:?}");
        }
    }

    #[test]
    fn lines_are_found_however_they_are_spelled_and_nothing_else_is_taken_out() {
        let text = "# jti 7\n  jti \t7 \r\njti 70\nsub a 7\njti Zoe\u{308}\nwhat\njti 7";
        let left = "# jti 7\njti 70\nsub a 7\njti Zoe\u{308}\nwhat\n";
        assert_eq!(without_line(text.as_bytes(), "jti 7").unwrap(), left.as_bytes());
        let left = text.replace("jti Zoe\u{308}\n", "");
        assert_eq!(without_line(text.as_bytes(), "jti Zo\u{eb}").unwrap(), left.as_bytes());
        assert_eq!(
            without_line(text.as_bytes(), "sub a 7").unwrap(),
            text.replace("sub a 7\n", "").as_bytes()
        );
        for none in ["jti 8", "sub b 7", "what", "# jti 7", ""] {
            assert_eq!(without_line(text.as_bytes(), none), None, "{none}");
        }
        assert_eq!(without_line(b"jti 7 \xff\n", "jti 7 \u{fffd}"), None);
    }

    #[test]
    fn a_list_joined_with_another_has_all_of_both() {
        let (one, two) = (List::read(b"jti 1").0, List::read(b"jti 2\nsub a b").0);
        let both = one.joined(&two);
        assert_eq!(both, List::read(b"jti 1\njti 2\nsub a b").0);
        assert_eq!(both.joined(&two), both);
    }
}
