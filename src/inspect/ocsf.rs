//! An entry as an OCSF event: API Activity, class 6003 of <https://schema.ocsf.io/1.8.0>.
//!
//! What the class has a place for stands there; all else of the entry stands whole in `unmapped`, so nothing is lost. Times
//! are milliseconds since 1970. Not here: which entries are exported (`cli::audit`).

use jiff::Timestamp;

use crate::json::{Compose, Members, Text, compose};

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

/// The event that an entry is, behind what `event` holds.
pub fn ocsf(event: &mut String, seq: u64, entry: Text<'_>) {
    let entry = entry.members().unwrap_or_default();
    compose(event, |event| {
        mapped(event, seq, &entry);
        event.object("unmapped", |rest| {
            let is_mapped = |name: Text<'_>| name.string().is_some_and(|name| MAPPED.contains(&&*name));
            for (name, value) in entry.iter().filter(|(name, _)| !is_mapped(*name)) {
                rest.copy(name, value);
            }
        });
    });
}

/// What the class has a place for.
fn mapped(event: &mut Compose<'_>, seq: u64, entry: &Members<'_>) {
    let status_code = entry.get("status").and_then(Text::as_i64);
    let (kind, operation) = (entry.string("kind"), entry.string("operation"));
    let (kind, operation) = (kind.as_deref().unwrap_or("unknown"), operation.as_deref());
    let refusal = entry.get("refusal").and_then(Text::members).unwrap_or_default();
    let (activity, activity_name) = activity(operation);
    let (severity, severity_name) = severity(entry, kind, operation);
    let (status, status_name) = outcome(kind, status_code);
    event.set("category_uid", CLASS / 1000);
    event.set("category_name", "Application Activity");
    event.set("class_uid", CLASS);
    event.set("class_name", "API Activity");
    event.set("activity_id", activity);
    event.set("activity_name", if activity == OTHER { operation.unwrap_or(kind) } else { activity_name });
    event.set("type_uid", CLASS * 100 + activity);
    event.set("type_name", &*format!("API Activity: {activity_name}"));
    event.set("severity_id", severity);
    event.set("severity", severity_name);
    event.set("time", entry.string("time").map_or(0, |time| millis(&time)));
    event.set("message", &*message(entry, kind, operation));
    event.object("metadata", |to| metadata(to, seq, entry, kind));
    event.object("actor", |to| actor(to, entry));
    event.object("api", |to| api(to, entry, &refusal, operation.unwrap_or(kind), status_code));
    event.object("src_endpoint", |to| match text(entry, "client_address") {
        Some(address) => to.set("ip", address),
        None => to.set("svc_name", "tunnelwarden"),
    });
    event.set("status_id", status);
    event.set("status", status_name);
    if let Some(code) = status_code {
        event.set("status_code", &*code.to_string());
        event.object("http_response", |to| to.set("code", code));
    }
    event.set_some("status_detail", text(&refusal, "message"));
    let micros = entry.get("duration_us").and_then(Text::as_i64);
    event.set_some("duration", micros.map(|micros| micros / 1000));
    http_request(event, entry);
    resources(event, entry);
}

/// A member that is a string.
fn text<'a>(of: &Members<'a>, name: &str) -> Option<Text<'a>> {
    of.get(name).filter(|text| text.is_string())
}

/// The items of a member that is a list.
fn items<'a>(of: &Members<'a>, name: &str) -> Vec<Text<'a>> {
    of.get(name).and_then(Text::items).unwrap_or_default()
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
fn severity(entry: &Members<'_>, kind: &str, operation: Option<&str>) -> (i64, &'static str) {
    let unknown = || entry.get("ambiguous").is_some_and(|ambiguous| ambiguous.as_str() == "true");
    if !items(entry, "findings").is_empty() {
        (4, "High")
    } else if !items(entry, "weakened").is_empty() || unknown() {
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

fn message(entry: &Members<'_>, kind: &str, operation: Option<&str>) -> String {
    let what = operation.unwrap_or("a request");
    let subject = entry.string("subject");
    let who = subject.as_deref().unwrap_or("somebody unknown");
    let status =
        || entry.get("status").map_or_else(String::new, |status| format!(" with {}", status.as_str()));
    match kind {
        "intent" => format!("{who} is about to {what}"),
        "outcome" => format!("{who}: {what} ended{}", status()),
        "refusal" => format!("{who}: {what} was refused{}", status()),
        "resolved" => {
            let resolution = entry.string("resolution");
            format!("a lost {what} was found to be {}", resolution.as_deref().unwrap_or("unknown"))
        }
        "reconciled" => {
            let found = items(entry, "findings").len();
            format!("tunnelwarden compared its record with the upstream's audit logs: {found} new findings")
        }
        "reload_refused" => {
            let problems = items(entry, "problems").len();
            format!("tunnelwarden did not take a change of its files, for {problems} reasons")
        }
        other => format!("tunnelwarden: {other}"),
    }
}

fn metadata(to: &mut Compose<'_>, seq: u64, entry: &Members<'_>, kind: &str) {
    to.set("version", VERSION);
    to.object("product", |product| {
        product.set("name", "tunnelwarden");
        product.set("vendor_name", "tunnelwarden");
        product.set("version", env!("CARGO_PKG_VERSION"));
    });
    to.set("log_name", "audit");
    to.set("event_code", kind);
    to.set("sequence", seq);
    for (name, from) in [("uid", "id"), ("correlation_uid", "request_id"), ("original_time", "time")] {
        to.set_some(name, text(entry, from));
    }
}

fn actor(to: &mut Compose<'_>, entry: &Members<'_>) {
    match (text(entry, "subject"), text(entry, "client_address")) {
        (Some(subject), _) => to.object("user", |user| {
            user.set("name", subject);
            user.set("uid", subject);
            user.list("groups", |groups| {
                for team in items(entry, "teams").into_iter().filter(|team| team.is_string()) {
                    groups.item(|group| group.set("name", team));
                }
            });
            user.set_some("credential_uid", text(entry, "jti"));
        }),
        // Somebody called whom no token named.
        (None, Some(_)) => to.set("invoked_by", "unidentified"),
        (None, None) => to.set("app_name", "tunnelwarden"),
    }
    if let Some(issuer) = text(entry, "issuer") {
        to.object("idp", |idp| {
            idp.set("name", issuer);
            idp.set("issuer", issuer);
        });
    }
    let Some(decision) = text(entry, "decision") else { return };
    let policies = items(entry, "policies").into_iter().filter(|policy| policy.is_string());
    let policies = policies.collect::<Vec<_>>();
    to.list("authorizations", |all| {
        for policy in &policies {
            all.item(|by| {
                by.set("decision", decision);
                by.object("policy", |to| to.set("uid", *policy));
            });
        }
        if policies.is_empty() {
            all.item(|by| by.set("decision", decision));
        }
    });
}

fn api(to: &mut Compose<'_>, entry: &Members<'_>, refusal: &Members<'_>, operation: &str, code: Option<i64>) {
    to.set("operation", operation);
    to.object("service", |service| service.set("name", "Cloudflare Magic IPsec tunnels"));
    to.set("version", "v4");
    if let Some(id) = text(entry, "request_id") {
        to.object("request", |request| request.set("uid", id));
    }
    let (error, message) = (text(refusal, "name"), text(refusal, "message"));
    if code.is_some() || error.is_some() || message.is_some() {
        to.object("response", |response| {
            response.set_some("code", code);
            response.set_some("error", error);
            response.set_some("error_message", message);
        });
    }
}

fn http_request(event: &mut Compose<'_>, entry: &Members<'_>) {
    let [method, user_agent, path] = ["method", "user_agent", "path"].map(|name| text(entry, name));
    if method.is_some() || user_agent.is_some() || path.is_some() {
        event.object("http_request", |request| {
            request.set_some("http_method", method);
            request.set_some("user_agent", user_agent);
            if let Some(path) = path {
                request.object("url", |url| url.set("path", path));
            }
        });
    }
}

fn resources(event: &mut Compose<'_>, entry: &Members<'_>) {
    let tunnels = items(entry, "tunnels").into_iter().filter_map(Text::members);
    let named = tunnels.map(|tunnel| (text(&tunnel, "id"), text(&tunnel, "name")));
    // A tunnel that has neither yet is no resource.
    let named = named.filter(|(id, name)| id.is_some() || name.is_some()).collect::<Vec<_>>();
    if named.is_empty() {
        return;
    }
    event.list("resources", |all| {
        for (id, name) in named {
            all.item(|resource| {
                resource.set("type", "Magic IPsec tunnel");
                resource.set_some("uid", id);
                resource.set_some("name", name);
                resource.set_some("namespace", text(entry, "account"));
            });
        }
    });
}

fn millis(time: &str) -> i64 {
    time.parse::<Timestamp>().map_or(0, Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::{read_entry, written_entry};
    use crate::json::Json;

    fn event(entry: &str) -> Json {
        let mut event = String::new();
        ocsf(&mut event, 7, Text::of(&written_entry(entry.as_bytes()).unwrap()));
        read_entry(event.as_bytes()).unwrap()
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
