//! A changed field as a line for a terminal, and as JSON.
//!
//! Not here: which changes those are (`store::changes`).

use super::story::change;
use super::{plain, read_entry, seconds};
use crate::json::{Json, Object};
use crate::store::Change;

/// A field as the record names it, by an RFC 6901 pointer: people leave out the slash. Nothing is a tunnel as a whole.
#[must_use]
pub fn pointer(field: &str) -> String {
    match field.trim_start_matches('/') {
        "" => String::new(),
        name => format!("/{name}"),
    }
}

/// `TIME  WHO  TUNNEL  FIELD: BEFORE → AFTER`
#[must_use]
pub fn change_line(changed: &Change, name: Option<&str>) -> String {
    let tunnel = name.or(changed.tunnel.as_deref()).unwrap_or("-");
    let mut operation = Object::new();
    let parts = [("op", &changed.op), ("path", &changed.field)];
    parts.into_iter().for_each(|(name, text)| operation.set(name, text.clone()));
    let values = [("old", &changed.before), ("value", &changed.after)];
    values.into_iter().for_each(|(name, text)| operation.set(name, value(text.as_deref())));
    plain(&format!(
        "{}  {}  {tunnel}  {}",
        seconds(&changed.time),
        changed.subject.as_deref().unwrap_or("-"),
        change(&operation.into())
    ))
}

/// The row of the view, column by column; what is JSON there is JSON here.
#[must_use]
pub fn change_json(changed: &Change) -> Json {
    let text = |text: &Option<String>| text.clone().map_or(Json::Null, Json::from);
    let json = |text: &Option<String>| value(text.as_deref());
    let mut row = Object::with_capacity(13);
    row.set("seq", changed.seq);
    row.set("time", changed.time.as_str());
    row.set("request_id", changed.request_id.as_str());
    row.set("subject", text(&changed.subject));
    row.set("teams", json(&changed.teams));
    row.set("operation", text(&changed.operation));
    row.set("account", text(&changed.account));
    row.set("tunnel", text(&changed.tunnel));
    row.set("op", text(&changed.op));
    row.set("field", text(&changed.field));
    row.set("before", json(&changed.before));
    row.set("after", json(&changed.after));
    row.set("policies", json(&changed.policies));
    row.into()
}

/// What a cell of JSON holds.
fn value(text: Option<&str>) -> Json {
    text.map_or(Json::Null, |text| read_entry(text.as_bytes()).unwrap_or_else(|_| Json::from(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_one_line_with_its_field_before_and_after() {
        let some = |text: &str| Some(text.to_owned());
        let changed = Change {
            seq: 7,
            time: "2026-01-01T10:20:30.123456Z".into(),
            request_id: "r".into(),
            subject: some("a\u{1b}b"),
            teams: some(r#"["net"]"#),
            operation: some("update"),
            account: some("0a"),
            tunnel: some("0f"),
            op: some("replace"),
            field: some("/bgp/customer_asn"),
            before: some("1.10"),
            after: some("\"x\\ny\""),
            policies: None,
        };
        let line = r#"2026-01-01T10:20:30Z  a\u{1b}b  berlin  bgp/customer_asn: 1.10 → "x\ny""#;
        assert_eq!(change_line(&changed, Some("berlin")), line);
        let whole = Change { op: some("remove"), field: some(""), before: some("{}"), ..changed.clone() };
        assert!(change_line(&whole, None).ends_with("0f  - the whole tunnel: {}"));
        let json = r#"{"seq":7,"time":"2026-01-01T10:20:30.123456Z","request_id":"r","subject":"a\u001bb","teams":["net"],"operation":"update","account":"0a","tunnel":"0f","op":"replace","field":"/bgp/customer_asn","before":1.10,"after":"x\ny","policies":null}"#;
        assert_eq!(change_json(&changed).to_text(), json);
    }
}
