//! What a call changed whose outcome was lost: told from its intent, as the record has it, and from the tunnels as
//! they are now.
//!
//! The secrets of such a call are not known any more, so the guard can't look for them. Therefore a text or number
//! of a tunnel is stored only if it stands in the intent, which was guarded when they were known, or can't be a
//! caller's: an id or a time in its own field. Of any other its type and length are stored.
//! Not here: whether the call was carried out (`resolve`).

use std::collections::HashSet;

use jiff::Timestamp;

use crate::json::diff::diff;
use crate::json::{Json, Object};
use crate::operation::{Operation, TunnelId};
use crate::tunnel::fields::{Field, Kind, Sent, TUNNEL, row};
use crate::tunnel::state;

use super::effects::{added, patch_of, removed, with_key};
use super::redact::{Redactor, unknown};

/// What a lost call did to one tunnel.
#[derive(Debug)]
pub struct Done<'a> {
    /// Its place among the call's elements.
    pub at: usize,
    /// Its id.
    pub tunnel: Option<TunnelId>,
    /// How it is now; none where it was deleted.
    pub now: Option<&'a Object>,
    /// Whether its key was replaced.
    pub key: bool,
}

/// The member `before_after_diff` of a resolution.
#[must_use]
pub fn before_after_diff(
    redactor: &Redactor,
    operation: Operation,
    intent: &Json,
    done: &[Done<'_>],
) -> Vec<Json> {
    let empty: &[Json] = &[];
    let before = intent.get("state_before").and_then(Json::as_array).unwrap_or(empty);
    let body = intent.pointer("/request/body");
    let mut stored = HashSet::new();
    body.into_iter().chain(before).for_each(|value| leaves(value, &mut stored));
    let item = |done: &Done<'_>| {
        let old = before.get(done.at).and_then(Json::as_object);
        let now = || Some(redactor.state(done.now?).as_object()?.clone());
        let mut patch = match operation {
            Operation::Create => now().map(|new| added(Json::Object(shown(&new, TUNNEL, &stored)))),
            Operation::Delete => old.map(|old| removed(Json::Object(old.clone()))),
            Operation::Update | Operation::BulkUpdate => old.zip(now()).map(|(old, new)| {
                let new = shown(&state::normalized(&new), TUNNEL, &stored);
                diff(&Json::Object(state::normalized(old)), &Json::Object(new))
            }),
            Operation::GeneratePsk | Operation::SetPsks | Operation::List | Operation::Get => None,
        };
        if done.key {
            let asked = body.and_then(|body| key_asked(body, done.at)).cloned();
            // Of one that the upstream made nothing is known.
            let made = || Json::Object(Object::from_iter([("unknown", "string")]));
            with_key(&mut patch, asked.unwrap_or_else(made));
        }
        let patch = patch.filter(|patch| patch.as_array().is_some_and(|ops| !ops.is_empty()))?;
        Some(patch_of(done.tunnel.map(|id| id.to_string()), patch))
    };
    done.iter().filter_map(item).collect()
}

/// The fingerprint of the key that a stored body asks for in its element at this place, whatever shape it has.
fn key_asked(body: &Json, at: usize) -> Option<&Json> {
    let wrapped = ["psks", "ipsec_tunnels", "ipsec_tunnel"].iter().find_map(|name| body.get(name));
    let elements = wrapped.unwrap_or(body);
    let element = elements.as_array().map_or(Some(elements), |list| list.get(at));
    element?.get("psk").filter(|psk| psk.as_str().is_some())
}

/// Every text and number in a stored value.
fn leaves<'a>(value: &'a Json, found: &mut HashSet<&'a str>) {
    match value {
        Json::Null | Json::Bool(_) => {}
        Json::Number(number) => {
            found.insert(number.as_str());
        }
        Json::String(text) => {
            found.insert(text);
        }
        Json::Array(items) => items.iter().for_each(|item| leaves(item, found)),
        Json::Object(members) => members.iter().for_each(|(_, value)| leaves(value, found)),
    }
}

/// A redacted state with the values that may be stored; what the table does not name was redacted to its shape.
fn shown(state: &Object, table: &'static [Field], stored: &HashSet<&str>) -> Object {
    let member = |(name, value): (&str, &Json)| {
        let value = row(table, name).map_or_else(|| value.clone(), |field| shown_value(value, field, stored));
        (name.to_owned(), value)
    };
    state.iter().map(member).collect()
}

fn shown_value(value: &Json, field: &Field, stored: &HashSet<&str>) -> Json {
    match (field.kind, value) {
        (Kind::Secret(_), _) | (_, Json::Null | Json::Bool(_)) => value.clone(),
        (Kind::Group(table) | Kind::TextOr(table), Json::Object(members)) => {
            Json::Object(shown(members, table, stored))
        }
        (_, Json::Array(items)) => {
            Json::Array(items.iter().map(|item| shown_value(item, field, stored)).collect())
        }
        (_, Json::String(text)) if stored.contains(text.as_str()) || is_ours(field, text) => value.clone(),
        (_, Json::Number(number)) if stored.contains(number.as_str()) => value.clone(),
        (_, Json::String(_) | Json::Number(_)) => unknown(value),
        // The shape that stands for a value of another type than the table's.
        (_, Json::Object(_)) => value.clone(),
    }
}

/// Whether a text is an id or a time, which the upstream gave it.
fn is_ours(field: &Field, text: &str) -> bool {
    let is_time = || {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"-+:.TZ".contains(&byte));
        plain && text.parse::<Timestamp>().is_ok()
    };
    field.sent == Sent::ReadOnly
        && match field.name {
            "id" => TunnelId::parse(text).is_some(),
            "created_on" | "modified_on" | "last_generated_on" => is_time(),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::read;

    fn parse(text: &str) -> Json {
        read(text.as_bytes(), 8).unwrap()
    }

    #[test]
    fn a_key_is_found_in_every_shape_of_a_body() {
        for body in [
            r#"{"psks":[{"id":"a","psk":"x"},{"id":"b","psk":"y"}]}"#,
            r#"{"ipsec_tunnels":[{"name":"a"},{"name":"b","psk":"y"}]}"#,
            r#"[{"id":"a"},{"id":"b","psk":"y"}]"#,
        ] {
            assert_eq!(key_asked(&parse(body), 1), Some(&"y".into()), "{body}");
        }
        for body in [r#"{"psk":"y"}"#, r#"{"ipsec_tunnel":{"psk":"y"}}"#] {
            assert_eq!(key_asked(&parse(body), 0), Some(&"y".into()), "{body}");
        }
        assert_eq!(key_asked(&parse(r#"{"name":"a"}"#), 0), None);
    }

    #[test]
    fn only_what_stands_in_the_intent_or_is_an_id_or_a_time_is_shown() {
        let intent = parse(r#"{"name":"a","bgp":{"customer_asn":65001},"health_check":{"rate":"low"}}"#);
        let mut stored = HashSet::new();
        leaves(&intent, &mut stored);
        let state = r#"{"id":"0f","name":"a","description":"s3cret","created_on":"2026-01-01T00:00:00Z",
            "bgp":{"customer_asn":65001,"extra_prefixes":["s3cret"]},"modified_on":"s3cret","?1":{"unknown":"string"},
            "health_check":{"target":{"saved":"0f","effective":"0f"},"rate":"low"},"replay_protection":true}"#;
        let want = r#"{"id":"0f","name":"a","description":{"unknown":"string","length":6},
            "created_on":"2026-01-01T00:00:00Z","bgp":{"customer_asn":65001,"extra_prefixes":[{"unknown":"string","length":6}]},
            "modified_on":{"unknown":"string","length":6},"?1":{"unknown":"string"},"health_check":{"target":
            {"saved":{"unknown":"string","length":2},"effective":{"unknown":"string","length":2}},"rate":"low"},
            "replay_protection":true}"#;
        let shown = shown(parse(state).as_object().unwrap(), TUNNEL, &stored);
        assert_eq!(Json::Object(shown), parse(want));
    }
}
