//! Redaction by allow-list: what the record may hold of a body, an answer or a state.
//!
//! A field that the field table names keeps its value if that has the table's type; a secret becomes its keyed
//! fingerprint; anything else becomes its type and length, and a name that is not known becomes `?1`, `?2`, …
//! in the order of the object, since a client may put a secret into a name as well as into a value.
//! Not here: secrets that the upstream quotes in a plain text (`audit::guard`).

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use crate::json::{Json, Object};
use crate::operation::{Operation, TunnelId};
use crate::secret::{Fingerprinter, SecretString};
use crate::tunnel::body::Asked;
use crate::tunnel::fields::{ENVELOPE, Field, Kind, PSK_ENTRY, RESULT, TUNNEL, is_name, row};

/// Turns what may hold secrets into what may be stored.
#[derive(Clone, Debug)]
pub struct Redactor {
    fingerprinter: Fingerprinter,
}

impl Redactor {
    /// A redactor whose fingerprints are made with this key.
    #[must_use]
    pub const fn new(fingerprinter: Fingerprinter) -> Self {
        Self { fingerprinter }
    }

    /// The body of a request, in the shape in which it came; `None` where there is none.
    #[must_use]
    pub fn asked(&self, asked: &Asked) -> Option<Json> {
        let table = if asked.operation() == Operation::SetPsks { PSK_ENTRY } else { TUNNEL };
        asked.shaped(|element| Json::Object(self.members(&element.fields, table)))
    }

    /// The body of an answer: the whole envelope.
    #[must_use]
    pub fn answer(&self, operation: Operation, answer: &Json) -> Json {
        let Json::Object(envelope) = answer else { return unknown(answer) };
        let mut names = Unknown::default();
        let redacted = envelope.iter().map(|(name, value)| match (name, row(ENVELOPE, name)) {
            ("result", _) => (name.to_owned(), self.result(operation, value)),
            (_, Some(field)) => (name.to_owned(), self.value(&field.kind, value)),
            (_, None) => (names.next(), unknown(value)),
        });
        Json::Object(redacted.collect())
    }

    /// The state of one tunnel, as read or as worked out.
    #[must_use]
    pub fn state(&self, state: &Object) -> Json {
        Json::Object(self.members(state, TUNNEL))
    }

    /// One secret that stands alone: a PSK in a list of results.
    #[must_use]
    pub fn secret(&self, what: &str, secret: &str) -> String {
        self.fingerprinter.redacted(what, secret)
    }

    fn result(&self, operation: Operation, result: &Json) -> Json {
        let Json::Object(members) = result else {
            return if *result == Json::Null { Json::Null } else { unknown(result) };
        };
        // `create` answers the tunnel itself, to legacy clients a wrapper.
        let wrapped = ["ipsec_tunnels", "ipsec_tunnel"].iter().any(|name| members.get(name).is_some());
        let table = if operation == Operation::Create && !wrapped { TUNNEL } else { RESULT };
        Json::Object(self.members(members, table))
    }

    fn members(&self, members: &Object, table: &'static [Field]) -> Object {
        let mut names = Unknown::default();
        let redacted = members.iter().map(|(name, value)| match row(table, name) {
            Some(field) => (name.to_owned(), self.value(&field.kind, value)),
            None => (names.next(), unknown(value)),
        });
        redacted.collect()
    }

    fn value(&self, kind: &'static Kind, value: &Json) -> Json {
        match (kind, value) {
            (_, Json::Null)
            | (Kind::Text | Kind::Prose | Kind::TextOr(_), Json::String(_))
            | (Kind::Flag, Json::Bool(_)) => value.clone(),
            (Kind::Integer, Json::Number(number)) if number.as_i64().is_some() => value.clone(),
            (Kind::Pointer, Json::String(pointer)) => record_pointer(pointer).into(),
            (Kind::Secret(what), Json::String(secret)) => self.secret(what, secret).into(),
            (Kind::Group(table) | Kind::TextOr(table), Json::Object(members)) => {
                Json::Object(self.members(members, table))
            }
            (Kind::List(kind), Json::Array(items)) => {
                Json::Array(items.iter().map(|item| self.value(kind, item)).collect())
            }
            (Kind::ById(kind), Json::Object(members)) => {
                let mut names = Unknown::default();
                let redacted = members.iter().map(|(name, value)| {
                    let id = TunnelId::parse(name).map(|id| id.to_string());
                    (id.unwrap_or_else(|| names.next()), self.value(kind, value))
                });
                Json::Object(redacted.collect())
            }
            (
                Kind::Text
                | Kind::Prose
                | Kind::Pointer
                | Kind::Secret(_)
                | Kind::Flag
                | Kind::Integer
                | Kind::Group(_)
                | Kind::TextOr(_)
                | Kind::List(_)
                | Kind::ById(_),
                _,
            ) => unknown(value),
        }
    }
}

/// Names in place of those that are not known.
#[derive(Default)]
struct Unknown(usize);

impl Unknown {
    fn next(&mut self) -> String {
        self.0 += 1;
        format!("?{}", self.0)
    }
}

/// Type and length: bytes of a string, digits of a number, items of an array, members of an object.
#[must_use]
pub fn unknown(value: &Json) -> Json {
    let length = match value {
        Json::Null | Json::Bool(_) => None,
        Json::Number(number) => Some(number.as_str().len()),
        Json::String(text) => Some(text.len()),
        Json::Array(items) => Some(items.len()),
        Json::Object(members) => Some(members.len()),
    };
    let mut shape = Object::from_iter([("unknown", value.type_name())]);
    if let Some(length) = length {
        shape.set("length", length);
    }
    Json::Object(shape)
}

/// Digits of an array index that a stored pointer keeps: enough for `body::MAX_ELEMENTS`, too few for a secret.
const INDEX_DIGITS: usize = 4;

/// An RFC 6901 pointer as it may be stored: every name that is no field's becomes `?`, and what is no pointer
/// is `?` altogether.
#[must_use]
pub fn record_pointer(pointer: &str) -> String {
    let Some(tokens) = pointer.strip_prefix('/') else {
        return if pointer.is_empty() { String::new() } else { "?".to_owned() };
    };
    let index = |token: &str| {
        !token.is_empty() && token.len() <= INDEX_DIGITS && token.bytes().all(|byte| byte.is_ascii_digit())
    };
    tokens.split('/').fold(String::new(), |mut kept, token| {
        kept.push('/');
        kept.push_str(if index(token) || is_name(token) { token } else { "?" });
        kept
    })
}

/// Every secret in a request, an answer or a state: the texts of all members called `psk` or `md5_key`, in any
/// case and at any depth, in places that the field table knows and in others; whatever lies below such a member
/// counts as well.
#[must_use]
pub fn collect_secrets(value: &Json) -> Vec<SecretString> {
    let mut found = Vec::new();
    collect(value, false, &mut found);
    found
}

fn collect(value: &Json, secret: bool, found: &mut Vec<SecretString>) {
    match value {
        Json::String(text) if secret => found.push(text.as_str().into()),
        Json::Number(number) if secret => found.push(number.as_str().into()),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        Json::Array(items) => items.iter().for_each(|item| collect(item, secret, found)),
        Json::Object(members) => {
            for (name, value) in members.iter() {
                let named = ["psk", "md5_key"].iter().any(|known| name.eq_ignore_ascii_case(known));
                collect(value, secret || named, found);
            }
        }
    }
}
