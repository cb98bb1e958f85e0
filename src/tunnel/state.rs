//! States of tunnels: found in an upstream's answer, put into one form in which equal states are equal, and
//! worked out for a `PUT` before it is sent.
//!
//! Not here: which differences matter (`tunnel::change`), how a state is stored (`audit::redact`).

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use crate::json::{Json, Object};
use crate::operation::{Operation, TunnelId};

use super::fields::{Absent, Field, Kind, Sent, TUNNEL, row};

/// Tunnels that are taken of one answer: ten times as many as a body may name. Each element of a body is looked
/// for among all of them.
pub const MAX_TUNNELS: usize = 10_000;

/// The tunnels in an upstream's answer (the whole envelope), in its order. Answers of the legacy shape are
/// understood; what is no object is passed over, and so is what comes after [`MAX_TUNNELS`].
#[must_use]
pub fn tunnels_in(operation: Operation, answer: &Json) -> Vec<&Object> {
    let Some(result) = answer.get("result") else { return Vec::new() };
    let places: &[&str] = match operation {
        Operation::List | Operation::Create | Operation::Get => &["ipsec_tunnels", "ipsec_tunnel"],
        Operation::BulkUpdate | Operation::Update => {
            &["modified_ipsec_tunnels", "modified_ipsec_tunnel", "ipsec_tunnels", "ipsec_tunnel"]
        }
        Operation::Delete => &["deleted_ipsec_tunnel", "ipsec_tunnel"],
        Operation::GeneratePsk | Operation::SetPsks => &[],
    };
    match places.iter().find_map(|place| result.get(place)) {
        Some(Json::Array(items)) => items.iter().filter_map(Json::as_object).take(MAX_TUNNELS).collect(),
        Some(found) => found.as_object().into_iter().collect(),
        None if operation == Operation::Create => {
            result.as_object().filter(|tunnel| tunnel.get("id").is_some()).into_iter().collect()
        }
        None => Vec::new(),
    }
}

/// The state of this very tunnel in an answer. An answer about another tunnel is none.
#[must_use]
pub fn state_of(operation: Operation, answer: &Json, tunnel: TunnelId) -> Option<&Object> {
    tunnels_in(operation, answer).into_iter().find(|state| tunnel_id(state) == Some(tunnel))
}

/// Which of the tunnels in an answer is each of those that a call was about: `asked` has the id of each, or, where
/// it was to be created, its name alone. A created one is known by its name; one whose name is nobody's by its
/// place, if as many were answered as asked for.
#[must_use]
pub fn answered<'a>(
    asked: &[(Option<TunnelId>, Option<&str>)],
    tunnels: &[&'a Object],
) -> Vec<Option<&'a Object>> {
    let by_id: HashMap<TunnelId, &Object> =
        tunnels.iter().filter_map(|tunnel| Some((tunnel_id(tunnel)?, *tunnel))).collect();
    let by_name: HashMap<&str, &Object> =
        tunnels.iter().filter_map(|tunnel| Some((text(tunnel, "name")?, *tunnel))).collect();
    let names: HashSet<&str> = asked.iter().filter_map(|(_, name)| *name).collect();
    let whole = asked.len() == tunnels.len();
    let each = asked.iter().enumerate().map(|(at, (id, name))| {
        if let Some(id) = id {
            return by_id.get(id).copied();
        }
        let nameless = |tunnel: &&Object| text(tunnel, "name").is_none_or(|name| !names.contains(name));
        let there = || tunnels.get(at).copied().filter(|_| whole).filter(nameless);
        name.and_then(|name| by_name.get(name).copied()).or_else(there)
    });
    each.collect()
}

/// The tunnel's id.
#[must_use]
pub fn tunnel_id(state: &Object) -> Option<TunnelId> {
    TunnelId::parse(state.get("id")?.as_str()?)
}

/// The configuration alone, in one form: volatile fields left out, and with them everything that says no more
/// than its absence (`null`, a default, an empty text, list or object); both forms of `health_check.target` as
/// one text; known fields in the table's order, then unknown ones by name. Equal states are equal values.
#[must_use]
pub fn normalized(state: &Object) -> Object {
    normalized_members(state, TUNNEL)
}

/// When the key was last replaced, by anyone: `psk_metadata.last_generated_on`. None unless it is a time as RFC
/// 3339 section 5.6 writes it and nothing beside: it is the upstream's text, and it stands in the record where
/// no secret is looked for.
#[must_use]
pub fn key_generated_on(state: &Object) -> Option<&str> {
    plain_time(state.get("psk_metadata")?.get("last_generated_on")?)
}

/// A member that tells a time, such as `created_on`, by the same rule.
#[must_use]
pub fn time_of<'a>(state: &'a Object, name: &str) -> Option<&'a str> {
    plain_time(state.get(name)?)
}

fn plain_time(value: &Json) -> Option<&str> {
    let text = value.as_str()?;
    // The parser takes more: annotations in brackets, fractions with a comma.
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"-+:.TZ".contains(&byte));
    (plain && text.parse::<Timestamp>().is_ok()).then_some(text)
}

/// Whether the state says that no key was ever set, by an explicit `null`. One that tells nothing, or tells it in
/// a form that is not understood, does not say so.
#[must_use]
pub fn never_had_key(state: &Object) -> bool {
    state.get("psk_metadata").and_then(|metadata| metadata.get("last_generated_on")) == Some(&Json::Null)
}

/// A text that is the same for equal states only: what an `ETag` is made from. It holds `bgp.md5_key`, so it
/// must be keyed before anybody sees it.
#[must_use]
pub fn etag_text(state: &Object) -> String {
    Json::Object(normalized(state)).to_text()
}

/// A text that is the same for equal settings only: for what of a state a request can ask for. Unlike the rest,
/// all of it can be foretold of a `PUT`: the upstream adds nothing. It holds `bgp.md5_key`, so it must be keyed
/// before anybody sees it, and never a `psk`, as no state that is read does.
#[must_use]
pub fn settings_text(state: &Object) -> String {
    let mut settings = settings(state, TUNNEL);
    settings.remove("psk");
    Json::Object(normalized(&settings)).to_string()
}

fn settings(state: &Object, table: &'static [Field]) -> Object {
    let asked = table.iter().filter(|field| field.sent != Sent::ReadOnly);
    let value = |field: &'static Field| match (field.kind, state.get(field.name)?) {
        // What is effective follows from other settings where nothing is saved.
        (Kind::Group(inner) | Kind::TextOr(inner), Json::Object(parts)) => {
            Some((field.name, Json::Object(settings(parts, inner))))
        }
        (_, value) => Some((field.name, value.clone())),
    };
    asked.filter_map(value).collect()
}

/// The state that a full replace asks for: a field left out falls back to its default, what is the upstream's
/// own stays as it was. `psk` is there only where it is asked for. With an empty `before`, the state that a
/// *create* asks for.
#[must_use]
pub fn after_put(before: &Object, asked: &Object) -> Object {
    replaced(before, asked, TUNNEL)
}

fn replaced(before: &Object, asked: &Object, table: &'static [Field]) -> Object {
    let mut after = Object::new();
    for field in table {
        let old = before.get(field.name).filter(|value| **value != Json::Null);
        let new = asked.get(field.name).filter(|value| **value != Json::Null);
        let value = match (field.sent, field.kind, new) {
            (Sent::ReadOnly, _, _) | (Sent::Tolerated, _, None) => old.cloned(),
            (Sent::Asked, Kind::TextOr(_), new) => replaced_target(old, new),
            (Sent::Asked, Kind::Group(inner), None) => worked_out(old, inner),
            (Sent::Asked, _, None) => None,
            (_, Kind::Group(inner), Some(Json::Object(new))) => {
                let none = Object::new();
                let old = old.and_then(Json::as_object).unwrap_or(&none);
                Some(Json::Object(replaced(old, new, inner)))
            }
            (_, _, Some(new)) => Some(new.clone()),
        };
        if let Some(value) = value {
            after.set(field.name, value);
        }
    }
    // No request can carry a field that the table does not know, so none can be said to change it.
    let unknown = before.iter().filter(|(name, _)| row(table, name).is_none());
    after.extend(unknown.map(|(name, value)| (name.to_owned(), value.clone())));
    after
}

/// What stays of a group that is left out: what the upstream works out where nobody asks for it.
fn worked_out(old: Option<&Json>, inner: &'static [Field]) -> Option<Json> {
    let old = old?.as_object()?;
    let targets = inner.iter().filter(|part| matches!(part.kind, Kind::TextOr(_)));
    let kept: Object =
        targets.filter_map(|part| Some((part.name, replaced_target(old.get(part.name), None)?))).collect();
    (!kept.is_empty()).then_some(Json::Object(kept))
}

/// Only what is *saved* can be asked for. Nothing saved, before and after, leaves the effective one as it is.
fn replaced_target(old: Option<&Json>, new: Option<&Json>) -> Option<Json> {
    let saved = match new {
        Some(Json::Object(parts)) => parts.get("saved").and_then(Json::as_str),
        Some(other) => other.as_str(),
        None => None,
    };
    match saved.filter(|saved| !saved.is_empty()) {
        Some(saved) => Some(saved.into()),
        None => {
            old.filter(|old| matches!(old, Json::Object(parts) if text(parts, "saved").is_none())).cloned()
        }
    }
}

fn text<'a>(parts: &'a Object, name: &str) -> Option<&'a str> {
    parts.get(name).and_then(Json::as_str).filter(|text| !text.is_empty())
}

fn normalized_members(object: &Object, table: &'static [Field]) -> Object {
    let mut out = Object::new();
    for field in table.iter().filter(|field| !field.volatile) {
        if let Some(value) = object.get(field.name).and_then(|value| normalized_value(value, field)) {
            out.set(field.name, value);
        }
    }
    let mut unknown: Vec<_> = object.iter().filter(|(name, _)| row(table, name).is_none()).collect();
    unknown.sort_unstable_by_key(|(name, _)| *name);
    let told = unknown.into_iter().filter(|(_, value)| **value != Json::Null);
    out.extend(told.map(|(name, value)| (name.to_owned(), sorted(value))));
    out
}

fn normalized_value(value: &Json, field: &Field) -> Option<Json> {
    let value = match (field.kind, value) {
        (Kind::Group(inner), Json::Object(members)) => Json::Object(normalized_members(members, inner)),
        // What is saved is also what is effective; where nothing is saved, the upstream worked one out. The
        // string form answers the effective one.
        (Kind::TextOr(_), Json::Object(parts)) => {
            text(parts, "saved").or_else(|| text(parts, "effective")).into()
        }
        (_, other) => sorted(other),
    };
    let nothing = match (&value, field.absent) {
        (Json::Null, _) => true,
        (Json::Bool(flag), Absent::Flag(default)) => *flag == default,
        (Json::String(text), Absent::Text(default)) => text == default || text.is_empty(),
        (Json::String(text), _) => text.is_empty(),
        (Json::Array(items), _) => items.is_empty(),
        (Json::Object(members), _) => members.is_empty(),
        (Json::Bool(_) | Json::Number(_), _) => false,
    };
    (!nothing).then_some(value)
}

/// The same value with the members of all objects by name.
fn sorted(value: &Json) -> Json {
    match value {
        Json::Object(object) => {
            let mut members: Vec<_> = object.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            Json::Object(members.into_iter().map(|(name, value)| (name.to_owned(), sorted(value))).collect())
        }
        Json::Array(items) => Json::Array(items.iter().map(sorted).collect()),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => value.clone(),
    }
}
