//! What came of a write, as members of its outcome: what the upstream made of what was asked, what changed, and
//! the result of each tunnel.
//!
//! Not here: what the upstream said (`outcome`), which values may be stored (`redact`).

use crate::json::diff::diff;
use crate::json::{Json, Object};
use crate::operation::{Operation, Route};
use crate::tunnel::body::{Asked, Element};
use crate::tunnel::state;

use super::Plan;
use super::call::{Named, optional};
use super::redact::Redactor;

/// What a write was judged by and what came of it: the two diffs and the result of each tunnel.
///
/// `tunnels` are those that the call is about, one an element, with the ids that the answer gave them.
pub(super) fn members(
    members: &mut Object,
    redactor: &Redactor,
    route: &Route,
    plan: &Plan,
    tunnels: &[Named],
    answer: &Json,
) {
    let Route { operation, validate_only, .. } = *route;
    let Plan { asked, before, .. } = plan;
    let asked_of: Vec<_> = tunnels.iter().map(|named| (named.id, named.name.as_deref())).collect();
    let after = state::answered(&asked_of, &state::tunnels_in(operation, answer));
    let succeeded = answer.get("success").and_then(Json::as_bool) == Some(true);
    let mut made = Vec::new();
    let mut changes = Vec::new();
    for (at, (element, new)) in asked.elements().iter().zip(after.iter().copied()).enumerate() {
        let id = tunnels.get(at).and_then(|named| named.id).map(|id| id.to_string());
        let old = before.get(at);
        let key = key_of(operation, answer, element.psk(), id.as_deref(), succeeded);
        if let Some(new) = new.filter(|_| operation != Operation::Delete) {
            let nothing = Object::new();
            let mut wanted = state::after_put(old.unwrap_or(&nothing), &element.fields);
            // No answer holds the key, so its absence there is no difference.
            wanted.remove("psk");
            let patch = diff(&shown(redactor, &wanted), &shown(redactor, new));
            made.push(patch_of(id.clone(), patch));
        }
        if !succeeded || validate_only {
            continue;
        }
        let mut patch = match operation {
            Operation::Create => new.map(|new| added(redactor.state(new))),
            Operation::Delete => old.or(new).map(|old| removed(redactor.state(old))),
            Operation::Update | Operation::BulkUpdate => {
                old.zip(new).map(|(old, new)| diff(&shown(redactor, old), &shown(redactor, new)))
            }
            Operation::GeneratePsk | Operation::SetPsks | Operation::List | Operation::Get => None,
        };
        if let Some(key) = key {
            with_key(&mut patch, redactor.secret("psk", &key).into());
        }
        if let Some(patch) = patch.filter(|patch| patch.as_array().is_some_and(|ops| !ops.is_empty())) {
            changes.push(patch_of(id, patch));
        }
    }
    if !made.is_empty() {
        members.set("request_response_diff", Json::Array(made));
    }
    if succeeded && !validate_only {
        members.set("before_after_diff", Json::Array(changes));
    }
    let results = results(operation, redactor, asked, answer, &after);
    if !results.is_empty() {
        members.set("results", Json::Array(results));
    }
}

/// The key that a tunnel has after the call, if the call replaced it and we know it.
fn key_of(
    operation: Operation,
    answer: &Json,
    asked: Option<&str>,
    tunnel: Option<&str>,
    succeeded: bool,
) -> Option<String> {
    let key = match operation {
        Operation::GeneratePsk => answer.pointer("/result/psk")?.as_str()?,
        Operation::SetPsks => {
            answer.pointer("/result/successfully_applied_psks")?.get(tunnel?)?;
            asked?
        }
        Operation::Create | Operation::Update | Operation::BulkUpdate if succeeded => asked?,
        Operation::Create
        | Operation::Update
        | Operation::BulkUpdate
        | Operation::Delete
        | Operation::List
        | Operation::Get => return None,
    };
    Some(key.to_owned())
}

fn results(
    operation: Operation,
    redactor: &Redactor,
    asked: &Asked,
    answer: &Json,
    after: &[Option<&Object>],
) -> Vec<Json> {
    let applied_keys = answer.pointer("/result/successfully_applied_psks");
    let failed_keys = answer.pointer("/result/unapplied_psks");
    let result = |(element, new): (&Element, &Option<&Object>)| {
        let id = element.tunnel?;
        let tunnel = id.as_str();
        let mut result = Object::new();
        result.set("tunnel", tunnel);
        if operation == Operation::SetPsks {
            result.set("applied", applied_keys.is_some_and(|keys| keys.get(tunnel).is_some()));
            optional(&mut result, "reason", failed_keys.and_then(|keys| keys.get(tunnel)?.as_str()));
        } else {
            result.set("applied", new.is_some());
        }
        optional(&mut result, "psk", element.psk().map(|key| redactor.secret("psk", key)));
        Some(Json::Object(result))
    };
    match operation {
        Operation::BulkUpdate | Operation::SetPsks => {
            asked.elements().iter().zip(after).filter_map(result).collect()
        }
        Operation::List
        | Operation::Create
        | Operation::Get
        | Operation::Update
        | Operation::Delete
        | Operation::GeneratePsk => Vec::new(),
    }
}

/// A tunnel's configuration as the diffs compare it.
fn shown(redactor: &Redactor, tunnel: &Object) -> Json {
    redactor.state(&state::normalized(tunnel))
}

/// Adds the new key to what else of a tunnel has changed.
pub(super) fn with_key(patch: &mut Option<Json>, key: Json) {
    let mut replaced: Object = [("op", "add"), ("path", "/psk")].into_iter().collect();
    replaced.set("value", key);
    if let Json::Array(operations) = patch.get_or_insert_with(|| Json::Array(Vec::new())) {
        operations.push(Json::Object(replaced));
    }
}

pub(super) fn patch_of(tunnel: Option<String>, patch: Json) -> Json {
    let mut item = Object::new();
    optional(&mut item, "tunnel", tunnel);
    item.set("patch", patch);
    Json::Object(item)
}

pub(super) fn added(new: Json) -> Json {
    let mut add: Object = [("op", "add"), ("path", "")].into_iter().collect();
    add.set("value", new);
    Json::Array(vec![Json::Object(add)])
}

pub(super) fn removed(old: Json) -> Json {
    let mut remove: Object = [("op", "remove"), ("path", "")].into_iter().collect();
    remove.set("old", old);
    Json::Array(vec![Json::Object(remove)])
}
