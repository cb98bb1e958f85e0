//! The short form of an entry that is larger than the store takes.
//!
//! Who, what, whether it was sent, what the upstream said and what came of each tunnel stand in every form, and so
//! do sizes and digests. What goes is long and can be missed, and `left_out` names it.
//! Not here: intents. What is about to happen is recorded whole, or it does not happen.

use crate::json::Json;
use crate::store::MAX_ENTRY;

/// Bytes that a finished entry may have: what the store takes, less room for `"recorded_late":true`.
pub(super) const LARGEST: usize = MAX_ENTRY - 64;

/// What can be left out, step by step until it is enough: bodies; what was worked out from them; words of others
/// that have no bound of their own. A dot leads into an object, `[]` into each item of an array.
const STEPS: [&[&str]; 3] = [
    &["request.body", "response.body"],
    &["request_response_diff", "before_after_diff"],
    &["results[].reason", "tunnels[].name"],
];

/// Leaves out of an entry as much as it takes to have at most `most` bytes. Never more than all of [`STEPS`]: what
/// is left then is bounded by the number of tunnels in a call.
pub(super) fn fit(entry: &mut Json, most: usize) {
    // Nearly every entry is far below, and needs no writing out to see that.
    if at_most(entry) <= most {
        return;
    }
    for step in STEPS {
        if size(entry) <= most {
            return;
        }
        let gone = step.iter().filter(|path| leave_out(entry, path));
        let gone: Vec<Json> = gone.map(|path| Json::from(*path)).collect();
        let Some(members) = entry.as_object_mut().filter(|_| !gone.is_empty()) else { continue };
        let before = members.get("left_out").and_then(Json::as_array).unwrap_or_default();
        let all: Vec<Json> = before.iter().cloned().chain(gone).collect();
        members.set("left_out", all);
    }
}

/// The shortest form of an entry.
pub(super) fn shortest(entry: &Json) -> Json {
    let mut short = entry.clone();
    fit(&mut short, 0);
    short
}

fn leave_out(value: &mut Json, path: &str) -> bool {
    let Some(members) = value.as_object_mut() else { return false };
    let Some((name, rest)) = path.split_once('.') else { return members.remove(path).is_some() };
    match members.get_mut(name.strip_suffix("[]").unwrap_or(name)) {
        // Each of them, not the first that has it.
        Some(Json::Array(items)) => {
            items.iter_mut().map(|item| leave_out(item, rest)).filter(|found| *found).count() > 0
        }
        Some(inner) => leave_out(inner, rest),
        None => false,
    }
}

fn size(entry: &Json) -> usize {
    entry.to_text().len()
}

/// Bytes that the text of a value has at most: six for each byte of a string, the longest escape (`\u001b`).
fn at_most(value: &Json) -> usize {
    let string = |text: &str| 6 * text.len() + 2;
    match value {
        Json::Null | Json::Bool(_) => 5,
        Json::Number(number) => number.as_str().len(),
        Json::String(text) => string(text),
        Json::Array(items) => items.iter().map(|item| at_most(item) + 1).sum::<usize>() + 2,
        Json::Object(members) => {
            members.iter().map(|(name, value)| string(name) + at_most(value) + 2).sum::<usize>() + 2
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::read;

    const ENTRY: &str = concat!(
        r#"{"kind":"outcome","tunnels":[{"id":"0f","name":"nnnnnnnnnn"},{"id":"0e"}],"#,
        r#""request":{"size":9,"digest":"d","body":"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"},"response":{"size":9},"#,
        r#""before_after_diff":[{"patch":[1111111111,2222222222,3333333333]}],"#,
        r#""results":[{"tunnel":"0f","applied":false,"reason":"rrrrrrrrrr"}],"status":200}"#,
    );

    #[track_caller]
    fn check(most: usize, want: &str) {
        let mut entry = read(ENTRY.as_bytes(), 8).unwrap();
        fit(&mut entry, most);
        assert_eq!(entry.to_string(), want);
        fit(&mut entry, most);
        assert_eq!(entry.to_string(), want, "and it stays like that");
    }

    #[test]
    fn no_text_is_longer_than_is_reckoned_with() {
        for text in [ENTRY, "[]", "{}", "[null,true,false,-1.5e3]", r#"["\u0000\u007f\u009f\"\\é"]"#] {
            let value = read(text.as_bytes(), 8).unwrap();
            assert!(size(&value) <= at_most(&value), "{text}");
        }
    }

    #[test]
    fn no_more_is_left_out_than_must_be() {
        check(ENTRY.len(), ENTRY);
        let no_bodies = ENTRY.replace(r#","body":"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb""#, "");
        let told = |text: &str, what: &str| text.replace("200}", &format!("200,\"left_out\":[{what}]}}"));
        let no_bodies = told(&no_bodies, r#""request.body""#);
        check(ENTRY.len() - 1, &no_bodies);
        let least = no_bodies
            .replace(r#""before_after_diff":[{"patch":[1111111111,2222222222,3333333333]}],"#, "")
            .replace(r#","name":"nnnnnnnnnn""#, "")
            .replace(r#","reason":"rrrrrrrrrr""#, "")
            .replace(
                r#"["request.body"]"#,
                r#"["request.body","before_after_diff","results[].reason","tunnels[].name"]"#,
            );
        check(0, &least);
    }
}
