//! An entry without what bodies, states and fields held: what a reader sees who may not see these.
//!
//! By allow-list, so that a member that is new is hidden until somebody decides. Not here: who may see what (`access`).

use crate::json::{Json, Object};

/// Members that stay as they are.
const WHOLE: [&str; 60] = [
    "kind",
    "id",
    "time",
    "request_id",
    "subject",
    "teams",
    "roles",
    "issuer",
    "jti",
    "key_id",
    "refused_token",
    "client_address",
    "client_certificate",
    "user_agent",
    "retry_count",
    "operation",
    "account",
    "validate_only",
    "tunnels",
    "method",
    "path",
    "decision",
    "policies",
    "policy_digest",
    "changed",
    "weakened",
    "token_used",
    "intent_id",
    "sent",
    "status",
    "refusal",
    "upstream",
    "client_gone",
    "ambiguous",
    "recorded_late",
    "left_out",
    "duration_us",
    "stages_us",
    "resolution",
    "version",
    "config_digest",
    "fingerprint_key_id",
    "config_digest_before",
    "parts",
    "problems",
    "ended_before",
    "heartbeat_s",
    "policy_digest_before",
    "read",
    "findings",
    "settled",
    "accounts",
    "old_key",
    "new_key",
    "operator",
    "from",
    "to",
    "before",
    "file",
    "stubs",
];

/// Members of which only these members stay: a digest would let somebody try what the body was.
const PARTS: [(&str, &[&str]); 3] =
    [("request", &["size"]), ("response", &["size", "content_type"]), ("archived", &["parts"])];

/// The same for lists.
const LISTS: [(&str, &[&str]); 1] = [("results", &["tunnel", "applied"])];

/// The entry without values.
#[must_use]
pub fn metadata(entry: &Json) -> Json {
    let Some(entry) = entry.as_object() else { return Json::Null };
    let mut kept = Object::with_capacity(entry.len());
    for (name, value) in entry.iter() {
        let part = |table: &[(&str, &'static [&'static str])]| {
            table.iter().find(|(known, _)| *known == name).map(|(_, names)| *names)
        };
        if WHOLE.contains(&name) {
            kept.set(name.to_owned(), value.clone());
        } else if let Some(names) = part(&PARTS) {
            kept.set(name.to_owned(), only(value, names));
        } else if let Some(names) = part(&LISTS) {
            kept.set(name.to_owned(), each(value, &|item| only(item, names)));
        } else if name == "before_after_diff" {
            kept.set(name.to_owned(), each(value, &of_tunnel));
        } else if name == "request_response_diff" {
            kept.set(name.to_owned(), each(value, &of_patch_or_tunnel));
        }
    }
    Json::Object(kept)
}

fn only(value: &Json, names: &[&str]) -> Json {
    let members = value.as_object().map(Object::iter).into_iter().flatten();
    let kept = members.filter(|(name, _)| names.contains(name));
    Json::Object(kept.map(|(name, value)| (name.to_owned(), value.clone())).collect())
}

fn each(value: &Json, keep: &dyn Fn(&Json) -> Json) -> Json {
    Json::Array(value.as_array().unwrap_or_default().iter().map(keep).collect())
}

/// `{tunnel, patch}`, of the patch what was done to which field.
fn of_tunnel(item: &Json) -> Json {
    let mut kept = Object::new();
    if let Some(tunnel) = item.get("tunnel") {
        kept.set("tunnel", tunnel.clone());
    }
    if let Some(patch) = item.get("patch") {
        kept.set("patch", each(patch, &|operation| only(operation, &["op", "path"])));
    }
    Json::Object(kept)
}

fn of_patch_or_tunnel(item: &Json) -> Json {
    if item.get("patch").is_some() { of_tunnel(item) } else { only(item, &["op", "path"]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::read_entry;

    #[test]
    fn metadata_has_no_value_of_a_field_and_nothing_that_is_not_known() {
        let entry = br#"{"kind":"outcome","id":"i","status":200,"novel":"SECRET","request":{"size":1,"body":{"a":"SECRET"}},
            "response":{"size":2,"digest":"SECRET","body":"SECRET"},"state_before":[{"a":"SECRET"}],"expected":[{"a":"SECRET"}],
            "evidence":["SECRET"],"results":[{"tunnel":"t","applied":true,"reason":"SECRET","psk":"SECRET"}],
            "before_after_diff":[{"tunnel":"t","patch":[{"op":"replace","path":"/name","old":"SECRET","value":"SECRET"}]}],
            "request_response_diff":[{"op":"add","path":"/x","value":"SECRET"}],
            "archived":{"parts":["request.body"],"novel":"SECRET"}}"#;
        let shown = metadata(&read_entry(entry).unwrap()).to_string();
        assert_eq!(
            shown,
            concat!(
                r#"{"kind":"outcome","id":"i","status":200,"request":{"size":1},"response":{"size":2},"#,
                r#""results":[{"tunnel":"t","applied":true}],"#,
                r#""before_after_diff":[{"tunnel":"t","patch":[{"op":"replace","path":"/name"}]}],"#,
                r#""request_response_diff":[{"op":"add","path":"/x"}],"archived":{"parts":["request.body"]}}"#
            )
        );
    }
}
