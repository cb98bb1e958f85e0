//! What stays of an entry in the record once its text is in an archive.
//!
//! Bodies, states as they were read, and what was worked out from bodies alone go; they are most of an entry's size. All
//! that tells who did what to which tunnel and how it ended stays as it was written: so do `before_after_diff`, which the
//! view `changes` reads, and `expected` and `evidence`, which hold tags and times and by which lost calls, keys' ages and
//! calls past the proxy are told.
//!
//! Fingerprints stay too: whether a key was ever handled must be told however old the call is. A stub ends in
//! `"archived":{"parts":[...],"psk":[{"psk":"redacted:psk:..."}],"fingerprints":["redacted:md5_key:..."]}`, the last two
//! where there is any. The view `psk_events` looks at what stands under certain names, hence the name in each item.
//! Not here: whether that is the stub of the entry whose leaf hash stands beside it; only the archive tells.

use std::borrow::Cow;
use std::collections::BTreeSet;

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

/// Under these names the view `psk_events` looks for keys.
const PSK_NAMES: [&str; 3] = ["psk", "value", "old"];

/// How the fingerprint of a pre-shared key begins.
const PSK: &str = "redacted:psk:";

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

/// What stays of an entry. One that has none of the parts that go is its own stub, and so is a stub.
///
/// # Errors
/// It is no entry and no stub.
pub fn stub(text: &str) -> Result<Cow<'_, str>, StubError> {
    let Json::Object(mut entry) = entry::parse(text.as_bytes())? else { return Ok(Cow::Borrowed(text)) };
    let mut parts = Vec::new();
    let mut kept = Kept::default();
    for (member, inner, name) in PARTS {
        let part = match inner {
            Some(inner) => {
                entry.get_mut(member).and_then(Json::as_object_mut).and_then(|outer| outer.remove(inner))
            }
            None => entry.remove(member),
        };
        if let Some(part) = part {
            parts.push(Json::from(name));
            kept.look_through(None, &part);
        }
    }
    match (entry.get(ARCHIVED), parts.is_empty()) {
        (None, true) => Ok(Cow::Borrowed(text)),
        (None, false) => {
            entry.set(ARCHIVED, kept.into_member(parts));
            Ok(Cow::Owned(Json::Object(entry).to_text()))
        }
        (Some(said), true) if is_archived(said) => Ok(Cow::Borrowed(text)),
        (Some(_), _) => Err(StubError::Archived),
    }
}

/// Whether a member `archived` is written as here.
fn is_archived(said: &Json) -> bool {
    let Some(parts) = said.get("parts").and_then(Json::as_array) else { return false };
    let known = PARTS.iter().map(|(_, _, name)| *name).filter(|name| parts.contains(&Json::from(*name)));
    let named: Vec<Json> = known.map(Json::from).collect();
    let mut kept = Kept::default();
    for name in ["psk", "fingerprints"] {
        said.get(name).into_iter().for_each(|texts| kept.look_through(None, texts));
    }
    !named.is_empty() && *said == Json::Object(kept.into_member(named))
}

/// Fingerprints that were found in what goes, sorted, each once.
#[derive(Default)]
struct Kept {
    psk: BTreeSet<String>,
    others: BTreeSet<String>,
}

impl Kept {
    fn look_through(&mut self, name: Option<&str>, value: &Json) {
        match value {
            Json::String(text) if text.starts_with(PSK) && name.is_some_and(|n| PSK_NAMES.contains(&n)) => {
                self.psk.insert(text.clone());
            }
            Json::String(text) if is_fingerprint(text) => {
                self.others.insert(text.clone());
            }
            Json::Array(items) => items.iter().for_each(|item| self.look_through(None, item)),
            Json::Object(members) => {
                members.iter().for_each(|(name, value)| self.look_through(Some(name), value));
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        }
    }

    fn into_member(self, parts: Vec<Json>) -> Object {
        let mut archived = Object::from_iter([("parts", Json::Array(parts))]);
        if !self.psk.is_empty() {
            let items = self.psk.iter().map(|text| Json::Object(Object::from_iter([("psk", text.as_str())])));
            archived.set("psk", Json::Array(items.collect()));
        }
        // What the view finds needs no second place.
        let others: Vec<String> = self.others.difference(&self.psk).cloned().collect();
        if !others.is_empty() {
            archived.set("fingerprints", others);
        }
        archived
    }
}

/// Whether a text is what stands in the record in place of a secret: `redacted:<what>:<key id>:<fingerprint>`, both in
/// hex, of 8 and 32 digits (`secret::Fingerprinter`).
fn is_fingerprint(text: &str) -> bool {
    let hex = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let word = |part: &str| part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let mut parts = text.splitn(4, ':');
    parts.next() == Some("redacted")
        && parts.next().is_some_and(|what| !what.is_empty() && word(what))
        && parts.next().is_some_and(|key| key.len() == 8 && hex(key))
        && parts.next().is_some_and(|print| print.len() == 32 && hex(print))
}
