//! What came of a write, as members of its outcome: what the upstream made of what was asked, what changed, and
//! the result of each tunnel.
//!
//! Not here: what the upstream said (`outcome`), which values may be stored (`redact`).

use crate::json::diff::diff;
use crate::json::{Json, Object};
use crate::operation::{Operation, Route};
use crate::tunnel::body::Asked;
use crate::tunnel::state;

use super::Plan;
use super::call::optional;
use super::redact::Redactor;

/// What a write was judged by and what came of it: the two diffs and the result of each tunnel.
pub(super) fn members(members: &mut Object, redactor: &Redactor, route: &Route, plan: &Plan, answer: &Json) {
    let Route { operation, validate_only, .. } = *route;
    let Plan { asked, before, .. } = plan;
    let after = state::tunnels_in(operation, answer);
    let succeeded = answer.get("success").and_then(Json::as_bool) == Some(true);
    let mut made = Vec::new();
    let mut changes = Vec::new();
    for element in asked.elements() {
        let id = element.tunnel.map(|id| id.to_string());
        let matching = |tunnel: &&Object| id.is_none() || text(tunnel, "id") == id;
        let old = before.iter().find(matching);
        let new = after.iter().copied().find(matching);
        let key = key_of(operation, answer, element.psk(), id.as_deref(), succeeded);
        if let Some(new) = new.filter(|_| operation != Operation::Delete) {
            let nothing = Object::new();
            let mut wanted = state::after_put(old.unwrap_or(&nothing), &element.fields);
            // No answer holds the key, so its absence there is no difference.
            wanted.remove("psk");
            let patch = diff(&shown(redactor, &wanted), &shown(redactor, new));
            made.push(patch_of(text(new, "id"), patch));
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
            let mut replaced: Object = [("op", "add"), ("path", "/psk")].into_iter().collect();
            replaced.set("value", redactor.secret("psk", &key));
            let Json::Array(operations) = patch.get_or_insert_with(|| Json::Array(Vec::new())) else {
                continue;
            };
            operations.push(Json::Object(replaced));
        }
        if let Some(patch) = patch.filter(|patch| patch.as_array().is_some_and(|ops| !ops.is_empty())) {
            changes.push(patch_of(id.clone().or_else(|| new.and_then(|new| text(new, "id"))), patch));
        }
    }
    if !made.is_empty() {
        members.set("request_response_diff", Json::Array(made));
    }
    if succeeded && !validate_only {
        members.set("before_after_diff", Json::Array(changes));
    }
    let results = results(operation, asked, answer, &after);
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

fn results(operation: Operation, asked: &Asked, answer: &Json, after: &[&Object]) -> Vec<Json> {
    let applied_keys = answer.pointer("/result/successfully_applied_psks");
    let failed_keys = answer.pointer("/result/unapplied_psks");
    let result = |tunnel: &str| {
        let mut result = Object::new();
        result.set("tunnel", tunnel);
        if operation == Operation::SetPsks {
            result.set("applied", applied_keys.is_some_and(|keys| keys.get(tunnel).is_some()));
            optional(&mut result, "reason", failed_keys.and_then(|keys| keys.get(tunnel)?.as_str()));
        } else {
            result.set("applied", after.iter().any(|new| text(new, "id").as_deref() == Some(tunnel)));
        }
        Json::Object(result)
    };
    match operation {
        Operation::BulkUpdate | Operation::SetPsks => {
            asked.elements().iter().filter_map(|element| Some(result(element.tunnel?.as_str()))).collect()
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

fn patch_of(tunnel: Option<String>, patch: Json) -> Json {
    let mut item = Object::new();
    optional(&mut item, "tunnel", tunnel);
    item.set("patch", patch);
    Json::Object(item)
}

fn added(new: Json) -> Json {
    let mut add: Object = [("op", "add"), ("path", "")].into_iter().collect();
    add.set("value", new);
    Json::Array(vec![Json::Object(add)])
}

fn removed(old: Json) -> Json {
    let mut remove: Object = [("op", "remove"), ("path", "")].into_iter().collect();
    remove.set("old", old);
    Json::Array(vec![Json::Object(remove)])
}

fn text(object: &Object, name: &str) -> Option<String> {
    object.get(name).and_then(Json::as_str).map(str::to_owned)
}
