//! The difference of two values as an RFC 6902 patch whose operations also keep the old value.
//!
//! Applied in order to the first value, the operations give the second one. `replace` and `remove` have an extra
//! member `old`, which RFC 6902 (section 4) lets a reader ignore, so the patch can be read backward too.
//! Not here: what may be stored of it. Both values are to be redacted first (`audit::redact`).

use std::collections::HashMap;

use super::{Json, Object, escape_token};

/// The operations that lead from `before` to `after`, as an array; empty where they are equal.
#[must_use]
pub fn diff(before: &Json, after: &Json) -> Json {
    let mut operations = Vec::new();
    values(&mut operations, "", before, after);
    Json::Array(operations)
}

fn operation(op: &str, path: &str, value: Option<&Json>, old: Option<&Json>) -> Json {
    let mut members = Object::from_iter([("op", op), ("path", path)]);
    for (name, value) in [("value", value), ("old", old)] {
        if let Some(value) = value {
            members.set(name, value.clone());
        }
    }
    Json::Object(members)
}

fn values(out: &mut Vec<Json>, path: &str, before: &Json, after: &Json) {
    match (before, after) {
        (Json::Object(before), Json::Object(after)) => objects(out, path, before, after),
        (Json::Array(before), Json::Array(after)) => arrays(out, path, before, after),
        (before, after) if before == after => {}
        (before, after) => out.push(operation("replace", path, Some(after), Some(before))),
    }
}

fn objects(out: &mut Vec<Json>, path: &str, before: &Object, after: &Object) {
    let (had, has): (HashMap<_, _>, HashMap<_, _>) = (before.iter().collect(), after.iter().collect());
    let here = |name: &str| format!("{path}/{}", escape_token(name));
    for (name, old) in before.iter() {
        match has.get(name) {
            Some(new) => values(out, &here(name), old, new),
            None => out.push(operation("remove", &here(name), None, Some(old))),
        }
    }
    for (name, new) in after.iter().filter(|(name, _)| !had.contains_key(name)) {
        out.push(operation("add", &here(name), Some(new), None));
    }
}

/// What both ends have in common stays; what is left between is compared item by item, and the surplus is
/// added or removed behind it. One item put in or taken out is then one operation.
fn arrays(out: &mut Vec<Json>, path: &str, before: &[Json], after: &[Json]) {
    let start = before.iter().zip(after).take_while(|(old, new)| old == new).count();
    let (old, new) = (before.get(start..).unwrap_or_default(), after.get(start..).unwrap_or_default());
    let end = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
    let old = old.get(..old.len() - end).unwrap_or_default();
    let new = new.get(..new.len() - end).unwrap_or_default();

    for (at, (old, new)) in (start..).zip(old.iter().zip(new)) {
        values(out, &format!("{path}/{at}"), old, new);
    }
    let paired = old.len().min(new.len());
    // From the end, so that each index is still the item's own when its turn comes.
    for (at, old) in old.iter().enumerate().skip(paired).rev() {
        out.push(operation("remove", &format!("{path}/{}", start + at), None, Some(old)));
    }
    for (at, new) in new.iter().enumerate().skip(paired) {
        out.push(operation("add", &format!("{path}/{}", start + at), Some(new), None));
    }
}

#[cfg(test)]
mod tests;
