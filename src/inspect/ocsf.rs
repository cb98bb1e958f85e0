//! An entry as an OCSF event: API Activity, class 6003 of <https://schema.ocsf.io/1.8.0>.
//!
//! What the class has a place for stands there; all else of the entry stands whole in `unmapped`, so nothing is lost. Times
//! are milliseconds since 1970. Not here: which entries are exported (`cli::audit`).

use jiff::Timestamp;

use crate::json::{Json, Object};

/// The version of the schema.
const VERSION: &str = "1.8.0";

/// The class: API Activity, of the category Application Activity.
const CLASS: i64 = 6003;

/// Members of an entry that stand in a place of the class, and not in `unmapped`.
const MAPPED: [&str; 18] = [
    "kind",
    "id",
    "time",
    "request_id",
    "subject",
    "teams",
    "issuer",
    "jti",
    "client_address",
    "user_agent",
    "operation",
    "tunnels",
    "decision",
    "policies",
    "method",
    "path",
    "status",
    "duration_us",
];

/// The event that an entry is.
#[must_use]
pub fn ocsf(seq: u64, entry: Json) -> Json {
    let mut event = mapped(seq, &entry);
    let rest = if let Json::Object(members) = entry { members } else { Object::new() };
    let rest = rest.into_iter().filter(|(name, _)| !MAPPED.contains(&&**name));
    event.set("unmapped", rest.collect::<Object>());
    event.into()
}

/// What the class has a place for.
fn mapped(seq: u64, entry: &Json) -> Object {
    let text = |pointer: &str| entry.pointer(pointer).and_then(Json::as_str);
    let number = |pointer: &str| entry.pointer(pointer).and_then(Json::as_i64);
    let kind = text("/kind").unwrap_or("unknown");
    let operation = text("/operation");
    let (activity, activity_name) = activity(operation);
    let (severity, severity_name) = severity(entry, kind, operation);
    let (status, status_name) = outcome(kind, number("/status"));
    let mut event = Object::with_capacity(24);
    event.set("category_uid", CLASS / 1000);
    event.set("category_name", "Application Activity");
    event.set("class_uid", CLASS);
    event.set("class_name", "API Activity");
    event.set("activity_id", activity);
    event.set("activity_name", if activity == OTHER { operation.unwrap_or(kind) } else { activity_name });
    event.set("type_uid", CLASS * 100 + activity);
    event.set("type_name", format!("API Activity: {activity_name}"));
    event.set("severity_id", severity);
    event.set("severity", severity_name);
    event.set("time", text("/time").map_or(0, millis));
    event.set("message", message(entry, kind, operation));
    event.set("metadata", metadata(seq, entry, kind));
    event.set("actor", actor(entry));
    event.set("api", api(entry, kind, operation));
    event.set(
        "src_endpoint",
        match text("/client_address") {
            Some(address) => one("ip", address),
            None => one("svc_name", "tunnelwarden"),
        },
    );
    event.set("status_id", status);
    event.set("status", status_name);
    if let Some(code) = number("/status") {
        event.set("status_code", code.to_string());
        event.set("http_response", one("code", code));
    }
    if let Some(detail) = text("/refusal/message") {
        event.set("status_detail", detail);
    }
    if let Some(micros) = number("/duration_us") {
        event.set("duration", micros / 1000);
    }
    let request = http_request(entry);
    if !request.is_empty() {
        event.set("http_request", request);
    }
    let resources = resources(entry);
    if !resources.is_empty() {
        event.set("resources", Json::Array(resources));
    }
    event
}

const OTHER: i64 = 99;

fn activity(operation: Option<&str>) -> (i64, &'static str) {
    match operation {
        Some("create") => (1, "Create"),
        Some("get" | "list") => (2, "Read"),
        Some("update" | "bulk_update" | "generate_psk" | "set_psks") => (3, "Update"),
        Some("delete") => (4, "Delete"),
        _ => (OTHER, "Other"),
    }
}

/// What went past the proxy is high; what nobody knows the end of, or what weakens a tunnel, is medium; what is refused, or touches a key, is low.
fn severity(entry: &Json, kind: &str, operation: Option<&str>) -> (i64, &'static str) {
    let weakens = entry.get("weakened").and_then(Json::as_array).is_some_and(|all| !all.is_empty());
    let unknown = entry.get("ambiguous") == Some(&Json::Bool(true));
    if entry.get("findings").and_then(Json::as_array).is_some_and(|all| !all.is_empty()) {
        (4, "High")
    } else if weakens || unknown {
        (3, "Medium")
    } else if kind == "refusal" || matches!(operation, Some("generate_psk" | "set_psks" | "delete")) {
        (2, "Low")
    } else {
        (1, "Informational")
    }
}

fn outcome(kind: &str, status: Option<i64>) -> (i64, &'static str) {
    match (kind, status) {
        ("outcome" | "refusal" | "audit_read", Some(status)) if status < 400 => (1, "Success"),
        ("outcome" | "refusal" | "audit_read", Some(_)) => (2, "Failure"),
        _ => (0, "Unknown"),
    }
}

fn message(entry: &Json, kind: &str, operation: Option<&str>) -> String {
    let text = |name: &str| entry.get(name).and_then(Json::as_str);
    let what = operation.unwrap_or("a request");
    let who = text("subject").unwrap_or("somebody unknown");
    let status = entry.get("status").map_or_else(String::new, |status| format!(" with {status}"));
    match kind {
        "intent" => format!("{who} is about to {what}"),
        "outcome" => format!("{who}: {what} ended{status}"),
        "refusal" => format!("{who}: {what} was refused{status}"),
        "resolved" => format!("a lost {what} was found to be {}", text("resolution").unwrap_or("unknown")),
        "reconciled" => {
            let found = entry.get("findings").and_then(Json::as_array).map_or(0, <[Json]>::len);
            format!("tunnelwarden compared its record with the upstream's audit logs: {found} new findings")
        }
        other => format!("tunnelwarden: {other}"),
    }
}

fn metadata(seq: u64, entry: &Json, kind: &str) -> Object {
    let mut product = Object::new();
    product.set("name", "tunnelwarden");
    product.set("vendor_name", "tunnelwarden");
    product.set("version", env!("CARGO_PKG_VERSION"));
    let mut metadata = Object::new();
    metadata.set("version", VERSION);
    metadata.set("product", product);
    metadata.set("log_name", "audit");
    metadata.set("event_code", kind);
    metadata.set("sequence", seq);
    for (to, from) in [("uid", "id"), ("correlation_uid", "request_id"), ("original_time", "time")] {
        if let Some(text) = entry.get(from).and_then(Json::as_str) {
            metadata.set(to, text);
        }
    }
    metadata
}

fn actor(entry: &Json) -> Object {
    let text = |name: &str| entry.get(name).and_then(Json::as_str);
    let mut actor = Object::new();
    match (text("subject"), text("client_address")) {
        (Some(subject), _) => {
            let mut user: Object = [("name", subject), ("uid", subject)].into_iter().collect();
            let teams = entry.get("teams").and_then(Json::as_array).unwrap_or_default();
            let teams = teams.iter().filter_map(Json::as_str).map(|team| one("name", team).into());
            user.set("groups", Json::Array(teams.collect()));
            if let Some(token) = text("jti") {
                user.set("credential_uid", token);
            }
            actor.set("user", user);
        }
        // Somebody called whom no token named.
        (None, Some(_)) => actor.set("invoked_by", "unidentified"),
        (None, None) => actor.set("app_name", "tunnelwarden"),
    }
    if let Some(issuer) = text("issuer") {
        actor.set("idp", [("name", issuer), ("issuer", issuer)].into_iter().collect::<Object>());
    }
    if let Some(decision) = text("decision") {
        let policies = entry.get("policies").and_then(Json::as_array).unwrap_or_default();
        let by = |policy: &str| {
            let mut by = one("decision", decision);
            by.set("policy", one("uid", policy));
            Json::from(by)
        };
        let mut all: Vec<Json> = policies.iter().filter_map(Json::as_str).map(by).collect();
        if all.is_empty() {
            all.push(one("decision", decision).into());
        }
        actor.set("authorizations", Json::Array(all));
    }
    actor
}

fn api(entry: &Json, kind: &str, operation: Option<&str>) -> Object {
    let text = |pointer: &str| entry.pointer(pointer).and_then(Json::as_str);
    let mut api = one("operation", operation.unwrap_or(kind));
    api.set("service", one("name", "Cloudflare Magic IPsec tunnels"));
    api.set("version", "v4");
    if let Some(id) = text("/request_id") {
        api.set("request", one("uid", id));
    }
    let mut response = Object::new();
    if let Some(code) = entry.get("status").and_then(Json::as_i64) {
        response.set("code", code);
    }
    if let Some(name) = text("/refusal/name") {
        response.set("error", name);
    }
    if let Some(message) = text("/refusal/message") {
        response.set("error_message", message);
    }
    if !response.is_empty() {
        api.set("response", response);
    }
    api
}

fn http_request(entry: &Json) -> Object {
    let mut request = Object::new();
    for (to, from) in [("http_method", "method"), ("user_agent", "user_agent")] {
        if let Some(text) = entry.get(from).and_then(Json::as_str) {
            request.set(to, text);
        }
    }
    if let Some(path) = entry.get("path").and_then(Json::as_str) {
        request.set("url", one("path", path));
    }
    request
}

fn resources(entry: &Json) -> Vec<Json> {
    let account = entry.get("account").and_then(Json::as_str);
    let tunnels = entry.get("tunnels").and_then(Json::as_array).unwrap_or_default();
    let resource = |tunnel: &Json| {
        let mut resource = one("type", "Magic IPsec tunnel");
        for (to, from) in [("uid", "id"), ("name", "name")] {
            if let Some(text) = tunnel.get(from).and_then(Json::as_str) {
                resource.set(to, text);
            }
        }
        // A tunnel that has neither yet is no resource.
        if resource.len() == 1 {
            return None;
        }
        if let Some(account) = account {
            resource.set("namespace", account);
        }
        Some(resource.into())
    };
    tunnels.iter().filter_map(resource).collect()
}

fn one(name: &'static str, value: impl Into<Json>) -> Object {
    let mut object = Object::with_capacity(4);
    object.set(name, value);
    object
}

fn millis(time: &str) -> i64 {
    time.parse::<Timestamp>().map_or(0, Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::read_entry;

    fn event(entry: &str) -> Json {
        ocsf(7, read_entry(entry.as_bytes()).unwrap())
    }

    #[test]
    fn a_call_stands_in_the_places_of_the_class_and_the_rest_in_unmapped() {
        let event = event(
            r#"{"kind":"refusal","id":"i","time":"2026-01-01T10:20:30.123456Z","request_id":"r","subject":"ann",
                "teams":["net"],"roles":["viewer"],"issuer":"https://idp.example","jti":"j","client_address":"192.0.2.1",
                "user_agent":"curl","operation":"delete","account":"a1","tunnels":[{"id":"t1","name":"berlin"}],
                "decision":"deny","policies":["deletes-need-admin"],"status":403,
                "refusal":{"name":"forbidden","code":99403,"message":"no"},"duration_us":2500}"#,
        );
        for (pointer, expected) in [
            ("/class_uid", "6003"),
            ("/type_uid", "600304"),
            ("/activity_name", "\"Delete\""),
            ("/severity", "\"Low\""),
            ("/time", "1767262830123"),
            ("/status_id", "2"),
            ("/status_code", "\"403\""),
            ("/duration", "2"),
            ("/metadata/uid", "\"i\""),
            ("/metadata/sequence", "7"),
            ("/actor/user/name", "\"ann\""),
            ("/actor/user/groups/0/name", "\"net\""),
            ("/actor/authorizations/0/policy/uid", "\"deletes-need-admin\""),
            ("/api/operation", "\"delete\""),
            ("/api/response/error", "\"forbidden\""),
            ("/src_endpoint/ip", "\"192.0.2.1\""),
            ("/resources/0/namespace", "\"a1\""),
            ("/unmapped/roles/0", "\"viewer\""),
            ("/unmapped/refusal/code", "99403"),
        ] {
            assert_eq!(
                event.pointer(pointer).map(ToString::to_string).as_deref(),
                Some(expected),
                "{pointer}"
            );
        }
        assert_eq!(event.pointer("/unmapped/subject"), None);
    }

    #[test]
    fn what_no_caller_did_is_an_event_of_the_program() {
        let event = event(r#"{"kind":"heartbeat","id":"i","time":"x","request_id":"i","ended_before":3}"#);
        for (pointer, expected) in [
            ("/activity_id", "99"),
            ("/activity_name", "\"heartbeat\""),
            ("/actor/app_name", "\"tunnelwarden\""),
            ("/src_endpoint/svc_name", "\"tunnelwarden\""),
            ("/status_id", "0"),
            ("/unmapped/ended_before", "3"),
        ] {
            assert_eq!(
                event.pointer(pointer).map(ToString::to_string).as_deref(),
                Some(expected),
                "{pointer}"
            );
        }
    }
}
