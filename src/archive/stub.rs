//! What stays of an entry in the record once its text is in an archive.
//!
//! Bodies, states as they were read, and what was worked out from bodies alone go; they are most of an entry's size. All
//! that tells who did what to which tunnel and how it ended stays as it was written: so do `before_after_diff`, which the
//! view `changes` reads, and `expected` and `evidence`, by which lost calls, keys' ages and calls past the proxy are told.
//!
//! Of a part that goes there stays what tells of keys, in its place: fingerprints, when a key was made, and of which
//! tunnel. So whether a key was ever handled, and how old a tunnel's is, has the same answer however old the call. A stub
//! ends in `"archived":{"parts":[...]}`, the parts of which something is gone. Not here: whether that is the stub of the
//! entry whose leaf hash stands beside it; the archive tells, and the entry in the record that tells of the archive.

use std::borrow::Cow;

use super::MAX_ENTRY;
use crate::entry::{self, FormError};
use crate::json::{Json, Object};

/// The member by which a stub is known.
const ARCHIVED: &str = "archived";

/// What goes, in the order in which it is named: the member, and the member of it where the rest of it stays.
const PARTS: [(&str, Option<&str>, &str); 4] = [
    ("request", Some("body"), "request.body"),
    ("response", Some("body"), "response.body"),
    ("state_before", None, "state_before"),
    ("request_response_diff", None, "request_response_diff"),
];

/// Why a text has no stub.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StubError {
    /// Not UTF-8.
    #[error("it is not UTF-8")]
    Utf8,
    /// No entry.
    #[error(transparent)]
    Form(#[from] FormError),
    /// It has a member `archived` and is no stub.
    #[error("it has a member `archived` but is not what stays of an entry")]
    Archived,
}

/// What an entry's text is, and what stays of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stays {
    /// It has nothing that goes: all of it stays.
    All,
    /// It is what stayed of an entry.
    Stub,
    /// This stays.
    Less(String),
}

/// Tells what stays of an entry.
///
/// # Errors
/// It is no entry and no stub.
pub fn stays(text: &str) -> Result<Stays, StubError> {
    let Json::Object(mut entry) = entry::parse(text.as_bytes())? else { return Ok(Stays::All) };
    let mut gone = Vec::new();
    for (member, inner, name) in PARTS {
        let lost = match inner {
            Some(inner) => {
                entry.get_mut(member).and_then(Json::as_object_mut).is_some_and(|outer| strip(outer, inner))
            }
            None => strip(&mut entry, member),
        };
        gone.extend(lost.then(|| Json::from(name)));
    }
    match (entry.get(ARCHIVED), gone.is_empty()) {
        (None, true) => Ok(Stays::All),
        (None, false) => {
            entry.set(ARCHIVED, Object::from_iter([("parts", Json::Array(gone))]));
            let stub = Json::Object(entry).to_text();
            // That something is gone can take more room than it took.
            Ok(if stub.len() > MAX_ENTRY { Stays::All } else { Stays::Less(stub) })
        }
        (Some(said), true) if is_archived(said) => Ok(Stays::Stub),
        (Some(_), _) => Err(StubError::Archived),
    }
}

/// The text that stays of an entry. One that has nothing that goes is its own stub, and so is a stub.
///
/// # Errors
/// It is no entry and no stub.
pub fn stub(text: &str) -> Result<Cow<'_, str>, StubError> {
    Ok(match stays(text)? {
        Stays::All | Stays::Stub => Cow::Borrowed(text),
        Stays::Less(stub) => Cow::Owned(stub),
    })
}

/// Whether a text is what stayed of an entry of which something is gone.
#[must_use]
pub fn is_stub(text: &str) -> bool {
    stays(text) == Ok(Stays::Stub)
}

/// Whether a member `archived` is written as here.
fn is_archived(said: &Json) -> bool {
    let Some(parts) = said.get("parts").and_then(Json::as_array) else { return false };
    let known = PARTS.iter().map(|(_, _, name)| Json::from(*name)).filter(|name| parts.contains(name));
    let named: Vec<Json> = known.collect();
    !named.is_empty() && *said == Json::Object(Object::from_iter([("parts", Json::Array(named))]))
}

/// Leaves of a member what tells of keys, or nothing; whether anything of it is gone.
fn strip(within: &mut Object, member: &str) -> bool {
    let Some(part) = within.get_mut(member) else { return false };
    match of_keys(None, part) {
        Some(left) if left == *part => false,
        Some(left) => {
            *part = left;
            true
        }
        None => {
            within.remove(member);
            true
        }
    }
}

/// What of a value tells of keys, in its place; `name` is the member that it is.
fn of_keys(name: Option<&str>, value: &Json) -> Option<Json> {
    match value {
        Json::String(text) => tells(name, text).then(|| value.clone()),
        Json::Array(items) => {
            let left: Vec<Json> = items.iter().filter_map(|item| of_keys(None, item)).collect();
            (!left.is_empty()).then_some(Json::Array(left))
        }
        Json::Object(members) => {
            let of_member =
                |(name, value): (&str, &Json)| Some((name.to_owned(), of_keys(Some(name), value)?));
            let left: Object = members.iter().filter_map(of_member).collect();
            (!left.is_empty()).then_some(Json::Object(left))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => None,
    }
}

/// Whether a text is a fingerprint, when a key was made, or of which tunnel.
fn tells(name: Option<&str>, text: &str) -> bool {
    let is_hex = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    match name {
        Some("id") => text.len() == 32 && is_hex(text),
        Some("name") => true,
        Some("last_generated_on") => text.parse::<jiff::Timestamp>().is_ok(),
        Some(_) | None => is_fingerprint(text, is_hex),
    }
}

/// Whether a text is what stands in the record in place of a secret: `redacted:<what>:<key id>:<fingerprint>`, both in
/// hex, of 8 and 32 digits (`secret::Fingerprinter`).
fn is_fingerprint(text: &str, is_hex: impl Fn(&str) -> bool) -> bool {
    let word = |part: &str| part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let mut parts = text.splitn(4, ':');
    parts.next() == Some("redacted")
        && parts.next().is_some_and(|what| !what.is_empty() && word(what))
        && parts.next().is_some_and(|key| key.len() == 8 && is_hex(key))
        && parts.next().is_some_and(|print| print.len() == 32 && is_hex(print))
}
