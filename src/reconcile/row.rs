//! A row of the upstream's audit logs, as far as it tells of a write on IPsec tunnels.
//!
//! Everything in a row is outside text: who goes past the proxy chooses its words. What decides is parsed strictly, and
//! where that fails the row counts as a change, so that no odd spelling hides one. What is kept for people is bounded and
//! passes the guard. Request and answer are not kept. Source: Cloudflare API, "Get account audit logs (Version 2)". Not
//! here: whose call it was (`judge`).

use http::Method;
use jiff::Timestamp;
use uuid::Uuid;

use crate::audit::call::Line;
use crate::audit::guard::Guard;
use crate::json::{Json, Object};
use crate::operation::{AccountId, Operation, TunnelId, route};

/// Characters of an outside text that are kept, and those that the guard looks at before: a secret that is cut in two
/// would not be found.
const KEPT: usize = 256;
const SEARCHED: usize = 4 * KEPT;

/// What is kept of who it was: names that the upstream gives, none of which opens anything.
const ACTOR: [&str; 7] = ["type", "context", "id", "email", "token_id", "token_name", "ip_address"];

/// One write, as the upstream's logs tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The same for each time that the row is shown.
    pub(super) key: String,
    pub(super) time: Option<Timestamp>,
    /// The operation, where method and path are one.
    pub(super) operation: Option<Operation>,
    /// The tunnel that the path names.
    pub(super) asked: Option<TunnelId>,
    /// Those that the row tells of.
    pub(super) tunnels: Vec<TunnelId>,
    pub(super) ray: Option<String>,
    /// Whether it says with what the call was made.
    pub(super) has_agent: bool,
    /// The call of a proxy that its user agent names.
    pub(super) request_id: Option<Uuid>,
    /// Whether anything may have changed: it went well, and was not only checked.
    pub(super) changes: bool,
    /// What is told of it to people, and recorded.
    pub(super) told: Object,
}

impl Row {
    /// Reads a row; `None` where it tells of no write on IPsec tunnels.
    pub(super) fn read(row: &Json, account: AccountId, guard: &Guard<'_>) -> Option<Self> {
        let text =
            |pointer: &str| row.pointer(pointer).and_then(Json::as_str).filter(|text| !text.is_empty());
        let uri = text("/raw/uri").unwrap_or_default();
        let kind = text("/resource/type").unwrap_or_default();
        if !is_of_tunnels(uri) && !kind.to_ascii_lowercase().contains("ipsec") {
            return None;
        }
        let method = text("/raw/method").and_then(|method| Method::from_bytes(method.as_bytes()).ok());
        let is_read = match &method {
            Some(method) => [Method::GET, Method::HEAD, Method::OPTIONS].contains(method),
            None => text("/action/type") == Some("view"),
        };
        if is_read {
            return None;
        }
        let (path, query) = path_and_query(uri);
        let asked = method.as_ref().and_then(|method| route(method, &path, None).ok());
        // Only as we would write it ourselves: any other query may be read in another way there.
        let checked = method.as_ref().and_then(|method| route(method, &path, query).ok());
        let checked = checked.is_some_and(|route| route.validate_only);
        let status = row.pointer("/raw/status_code").and_then(Json::as_i64);
        let failed = status.map_or(text("/action/result") == Some("failure"), |status| status >= 400);
        let of_path = asked.and_then(|route| route.tunnel);
        // Not documented: in some products it is the account.
        let named = text("/resource/id").filter(|id| *id != account.as_str()).and_then(TunnelId::parse);
        let ray = text("/raw/cf_ray_id").and_then(ray);
        let agent = text("/raw/user_agent");
        let operation = asked.map(|route| route.operation);
        let mut told = Object::new();
        match (operation, &method) {
            (Some(operation), _) => told.set("operation", operation.name()),
            (None, Some(method)) => {
                let line = Line::new(method, &path);
                told.set("method", line.method);
                told.set("path", line.path);
            }
            (None, None) => {}
        }
        if let Some(status) = status {
            told.set("status", status);
        }
        if let Some(ray) = &ray {
            told.set("cf_ray", ray.as_str());
        }
        let member = |name: &str| Some((name.to_owned(), outside(text(&format!("/actor/{name}"))?, guard)));
        let actor: Object = ACTOR.into_iter().filter_map(member).collect();
        if !actor.is_empty() {
            told.set("actor", actor);
        }
        if let Some(agent) = agent {
            told.set("user_agent", outside(agent, guard));
        }
        let key = match (&ray, text("/id")) {
            // A ray can meet again, so what was asked belongs to it.
            (Some(ray), _) => format!("ray:{ray}:{}", digest(&[method_text(method.as_ref()), &path])),
            (None, Some(id)) => format!("log:{}", digest(&[id])),
            (None, None) => format!("row:{}", digest(&[&row.to_text()])),
        };
        Some(Self {
            key: format!("{account}:{key}"),
            time: text("/action/time").and_then(|time| time.parse().ok()),
            operation,
            asked: of_path,
            tunnels: of_path.or(named).into_iter().collect(),
            ray,
            has_agent: agent.is_some(),
            request_id: agent.and_then(request_id),
            changes: !failed && !checked,
            told,
        })
    }

    /// Takes in another row of the same call: a change of several tunnels may have one for each.
    pub(super) fn join(&mut self, other: &Self) {
        self.changes |= other.changes;
        let new = other.tunnels.iter().filter(|tunnel| !self.tunnels.contains(tunnel));
        let new: Vec<TunnelId> = new.copied().collect();
        self.tunnels.extend(new);
    }
}

fn method_text(method: Option<&Method>) -> &str {
    method.map_or("", Method::as_str)
}

/// A text of others, made fit for the record.
pub(super) fn outside(text: &str, guard: &Guard<'_>) -> Json {
    let mut value = Json::from(text.chars().take(SEARCHED).collect::<String>());
    guard.mask(&mut value);
    value.as_str().unwrap_or_default().chars().take(KEPT).collect::<String>().into()
}

/// 64 bits of SHA-256 in hex: enough to tell rows of some weeks apart.
fn digest(parts: &[&str]) -> String {
    let whole = parts.join("\n");
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, whole.as_bytes());
    data_encoding::HEXLOWER.encode(hash.as_ref().get(..8).unwrap_or_default())
}

/// Whether a URI, in any spelling that a server may take for it, names IPsec tunnels.
fn is_of_tunnels(uri: &str) -> bool {
    let mut text = uri.to_ascii_lowercase().into_bytes();
    // Encoded twice is decoded by some who pass it on.
    for _ in 0..3 {
        if memchr::memmem::find(&text, b"ipsec_tunnels").is_some() {
            return true;
        }
        text = decoded(&text);
    }
    false
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let pair = tail.get(..2).filter(|_| *first == b'%');
        let byte = pair.and_then(|pair| data_encoding::HEXLOWER_PERMISSIVE.decode(pair).ok());
        match byte.as_deref() {
            Some([byte]) => {
                out.push(byte.to_ascii_lowercase());
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

/// The path from `/client/v4` on, and the query; the upstream may leave out what comes before either.
fn path_and_query(uri: &str) -> (String, Option<&str>) {
    let rest =
        uri.split_once("://").map_or(uri, |(_, rest)| rest.find('/').map_or("", |at| rest.split_at(at).1));
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    let path = if path.starts_with("/accounts/") { format!("/client/v4{path}") } else { path.to_owned() };
    (path, query)
}

/// The part of a ray that names the exchange; the airport behind it is left out in some places.
pub(super) fn ray(text: &str) -> Option<String> {
    let name = text.split('-').next().unwrap_or_default();
    let plain = (8..=32).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| name.to_ascii_lowercase())
}

/// The call that a user agent of ours names at its end.
fn request_id(agent: &str) -> Option<Uuid> {
    let (before, id) = agent.strip_suffix(')')?.rsplit_once(" (")?;
    let (_, version) = before.rsplit_once("tunnelwarden/")?;
    let ours = !version.is_empty() && !version.contains(' ');
    id.parse().ok().filter(|_| ours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{MAX_DEPTH, read};

    const ACCOUNT: &str = "0a";

    fn row(text: &str) -> Option<Row> {
        let row = read(text.as_bytes(), MAX_DEPTH).unwrap();
        Row::read(&row, AccountId::parse(ACCOUNT).unwrap(), &Guard::new(["a secret text"]))
    }

    fn raw(method: &str, uri: &str, more: &str) -> Option<Row> {
        row(&format!(r#"{{"id":"1","raw":{{"method":"{method}","uri":"{uri}"{more}}}}}"#))
    }

    #[test]
    fn writes_on_tunnels_are_told_from_all_else_in_whatever_spelling() {
        const BASE: &str = "/client/v4/accounts/0a/magic/ipsec_tunnels";
        let operation = |method: &str, uri: &str| raw(method, uri, "").map(|row| row.operation);
        assert_eq!(operation("POST", BASE), Some(Some(Operation::Create)));
        assert_eq!(operation("PUT", &BASE[10..]), Some(Some(Operation::BulkUpdate)));
        assert_eq!(
            operation("DELETE", &format!("https://api.cloudflare.com{BASE}/0f")),
            Some(Some(Operation::Delete))
        );
        assert_eq!(operation("GET", BASE), None);
        assert_eq!(operation("POST", "/client/v4/accounts/0a/magic/gre_tunnels"), None);
        for odd in [
            "//magic/ipsec_tunnels/",
            "/Magic/IPSEC_Tunnels",
            "/magic/ipsec%5Ftunnels",
            "/magic/ipsec%255ftunnels",
        ] {
            assert_eq!(operation("POST", odd), Some(None), "{odd}");
        }
        let by_kind = row(
            r#"{"id":"1","resource":{"type":"magic_ipsec_tunnel","id":"0f"},"action":{"type":"update"}}"#,
        );
        assert_eq!(by_kind.unwrap().tunnels, [TunnelId::parse("0f").unwrap()]);
        assert!(row(r#"{"resource":{"type":"ipsec_tunnels"},"action":{"type":"view"}}"#).is_none());
        for not_one in ["{}", "[]", "7", r#"{"raw":"x","resource":[1]}"#] {
            assert!(row(not_one).is_none(), "{not_one}");
        }
    }

    #[test]
    fn only_what_went_well_and_was_not_just_checked_is_a_change() {
        const BASE: &str = "/client/v4/accounts/0a/magic/ipsec_tunnels";
        let changes = |query: &str, more: &str| raw("POST", &format!("{BASE}{query}"), more).unwrap().changes;
        assert!(changes("", ""));
        assert!(changes("", r#","status_code":200"#));
        assert!(!changes("", r#","status_code":403"#));
        assert!(!changes("?validate_only=true", ""));
        for sly in
            ["?validate_only=true&validate_only=false", "?validate_only=True", "?validate_only=tru%65", "?x"]
        {
            assert!(changes(sly, ""), "{sly}");
        }
    }

    #[test]
    fn a_row_has_one_key_however_often_it_is_shown_and_tells_no_secret() {
        const URI: &str = "/client/v4/accounts/0a/magic/ipsec_tunnels/0f";
        let of = |ray: &str| raw("PUT", URI, &format!(r#","cf_ray_id":"{ray}""#)).unwrap();
        assert_eq!(of("8E9b1c60ef9e1c9a-FRA").key, of("8e9b1c60ef9e1c9a").key);
        assert_ne!(of("8e9b1c60ef9e1c9a").key, of("8e9b1c60ef9e1c9b").key);
        assert_eq!(of("not a ray").ray, None);
        let agent = format!("\\u001b[2J redacted:psk:a:b a secret text {}", "x".repeat(5000));
        let told = raw("PUT", URI, &format!(r#","user_agent":"{agent}""#)).unwrap().told;
        let shown = told.get("user_agent").and_then(Json::as_str).unwrap();
        assert!(shown.chars().count() <= KEPT && shown.contains("(redacted):psk"), "{shown}");
        assert!(!shown.contains("secret text"), "{shown}");
    }

    #[test]
    fn a_call_of_ours_is_named_at_the_end_of_its_user_agent_and_nowhere_else() {
        let id = "01990b1c-7c6e-7d2b-8f5e-0c8a5d6b7e10";
        let named = |agent: &str| request_id(agent).map(|id| id.to_string());
        assert_eq!(named(&format!("terraform/1 (x) tunnelwarden/0.1.0 ({id})")).as_deref(), Some(id));
        assert_eq!(named(&format!("tunnelwarden/0.1.0 ({id})")).as_deref(), Some(id));
        for other in
            [&format!("tunnelwarden/0.1.0 ({id}) more"), &format!("curl ({id})"), "tunnelwarden/1 (x)", ""]
        {
            assert_eq!(named(other), None, "{other}");
        }
    }
}
