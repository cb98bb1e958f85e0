//! What became of one tunnel, entry by entry: who did what, how it ended, and which fields have which value since.
//!
//! Not here: which entries those are (`store::Filter`), a call's whole story (`story`).

use super::story::change;
use super::{plain, seconds};
use crate::json::Json;

/// One entry's part in a tunnel's history: what happened, then a line for each change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// When, who, what and how it ended, and the request's id.
    pub what: String,
    /// What changed of this tunnel.
    pub changes: Vec<String>,
}

/// Tells of an entry what concerns the tunnel with this id.
#[must_use]
pub fn moment(entry: &Json, tunnel: &str) -> Moment {
    let text = |name: &str| entry.get(name).and_then(Json::as_str).unwrap_or("-");
    let time = seconds(text("time"));
    let dry = if entry.get("validate_only") == Some(&Json::Bool(true)) { " (checked only)" } else { "" };
    let what = format!(
        "{time}  {}  {}{dry}  {}  {}",
        text("subject"),
        text("operation"),
        ended(entry),
        text("request_id")
    );
    let items = entry.get("before_after_diff").and_then(Json::as_array).unwrap_or_default();
    let own = items.iter().filter(|item| item.get("tunnel").and_then(Json::as_str) == Some(tunnel));
    let operations = own.flat_map(|item| item.get("patch").and_then(Json::as_array).unwrap_or_default());
    Moment { what: plain(&what), changes: operations.map(|one| plain(&change(one))).collect() }
}

fn ended(entry: &Json) -> String {
    let text = |pointer: &str| entry.pointer(pointer).and_then(Json::as_str);
    if let Some(resolution) = text("/resolution") {
        return format!("lost, then found: {resolution}");
    }
    let status = entry.get("status").map_or_else(|| "-".to_owned(), Json::to_string);
    match text("/refusal/name") {
        Some(name) => format!("{status} {name}"),
        None => status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::read_entry;

    #[track_caller]
    fn check(entry: &str, what: &str, changes: &[&str]) {
        let found = moment(&read_entry(entry.as_bytes()).unwrap(), "t1");
        assert_eq!(
            (found.what.as_str(), found.changes),
            (what, changes.iter().map(ToString::to_string).collect())
        );
    }

    #[test]
    fn a_moment_says_who_did_what_and_what_changed_of_this_tunnel_alone() {
        check(
            r#"{"time":"2026-01-01T10:20:30.123456Z","subject":"a\u001bb","operation":"bulk_update","status":200,
                "request_id":"r","before_after_diff":[
                {"tunnel":"t2","patch":[{"op":"replace","path":"/name","old":"x","value":"y"}]},
                {"tunnel":"t1","patch":[{"op":"replace","path":"/name","old":"p","value":"q"},
                                        {"op":"add","path":"/psk","value":"redacted:psk:k:f"}]}]}"#,
            "2026-01-01T10:20:30Z  a\\u{1b}b  bulk_update  200  r",
            &["name: \"p\" → \"q\"", "+ psk: \"redacted:psk:k:f\""],
        );
        check(
            r#"{"time":"x","operation":"delete","status":403,"refusal":{"name":"forbidden"},"request_id":"r"}"#,
            "x  -  delete  403 forbidden  r",
            &[],
        );
        check(
            r#"{"time":"x","operation":"update","resolution":"applied","request_id":"r","validate_only":true}"#,
            "x  -  update (checked only)  lost, then found: applied  r",
            &[],
        );
    }
}
