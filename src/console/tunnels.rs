//! The tunnels with the ages of their keys, and one tunnel's history as a timeline.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;

use super::cells::{self, Cell, Change, Row, Table, cut};
use super::frame::{Frame, failed, message, shown};
use super::{Console, Reader, query};
use crate::access::{Asked, Shown};
use crate::inspect::{KeyAge, read_entry, seconds};
use crate::json::Json;
use crate::store::Filter;

#[derive(Template)]
#[template(path = "tunnels.html")]
struct Tunnels {
    frame: Frame,
    rows: Table,
}

#[derive(Template)]
#[template(path = "tunnel.html")]
struct Tunnel {
    frame: Frame,
    name: String,
    id: String,
    key: String,
    moments: Vec<Moment>,
    paged: bool,
    next: String,
}

struct Moment {
    time: String,
    who: String,
    who_link: String,
    operation: String,
    result: String,
    link: String,
    failed: bool,
    changes: Vec<Change>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Page {
    before: Option<u64>,
}

/// All tunnels that are left.
pub(super) async fn list(State(console): State<Console>, Reader(reading): Reader) -> Response {
    let told = match console.desk.key_ages(&reading, None).await {
        Ok(told) => told,
        Err(refusal) => return failed(Some(&reading), &refusal),
    };
    let mut ages = told.what;
    ages.sort_by_key(|(_, age)| age.changed());
    let now = console.desk.now();
    let row = |(id, age): &(String, KeyAge)| {
        let hex: String = id.chars().filter(char::is_ascii_hexdigit).collect();
        let name = age.name.as_deref().unwrap_or(id);
        let days = age.changed().map(|changed| (now.duration_since(changed).as_hours() / 24).to_string());
        let when = age.changed().map_or_else(|| "-".to_owned(), |time| seconds(&time.to_string()));
        let cells = vec![
            Cell::linked(name, format!("/console/tunnels/{hex}")),
            Cell::of(id),
            Cell::of(&days.unwrap_or_else(|| "-".to_owned())),
            Cell::of(&when),
            Cell::of(&by(age)),
        ];
        Row { cells, failed: age.bypassed() }
    };
    let titles = &["Tunnel", "Id", "Key's age in days", "Replaced", "By"];
    let rows = Table { titles, rows: ages.iter().map(row).collect() };
    shown(&Tunnels { frame: Frame::of(&reading, "/console/tunnels", told.request_id), rows })
}

/// Who replaced a key last.
fn by(age: &KeyAge) -> String {
    match (age.bypassed(), age.ours.as_ref().and_then(|ours| ours.subject.clone())) {
        (true, _) => "somebody, NOT THROUGH THIS PROXY".to_owned(),
        (false, Some(who)) => who,
        (false, None) if age.changed().is_some() => "a call whose end is not known".to_owned(),
        (false, None) => "-".to_owned(),
    }
}

/// One tunnel.
pub(super) async fn one(
    State(console): State<Console>,
    Reader(reading): Reader,
    Path(named): Path<String>,
    uri: http::Uri,
) -> Response {
    let desk = &console.desk;
    let wrong = |status, what: &str| message(Some(&reading), status, "No such tunnel", what);
    let Ok(Page { before }) = query(&uri) else {
        return wrong(StatusCode::BAD_REQUEST, "this address is none of ours");
    };
    let ids = match desk.tunnels(&reading, &named).await {
        Ok(told) => told.what,
        Err(refusal) => return failed(Some(&reading), &refusal),
    };
    let id = match ids.as_slice() {
        [id] => id.clone(),
        [] => return wrong(StatusCode::NOT_FOUND, "No entry tells of a tunnel with this id or name."),
        several => {
            let what = format!("Several tunnels had this name; open one by its id: {}", several.join(", "));
            return wrong(StatusCode::NOT_FOUND, &what);
        }
    };
    let asked = Asked { tunnel: Some(id.clone()), before, ..Asked::default() };
    let filter = Filter {
        tunnel: Some(id.clone()),
        writes: true,
        before,
        limit: Some(asked.limit()),
        ..Filter::default()
    };
    let found = async {
        let age = desk.key_ages(&reading, Some(&id)).await?;
        Ok((age, desk.entries(&reading, &asked, &filter).await?))
    };
    let (age, told) = match found.await {
        Ok(found) => found,
        Err(refusal) => return failed(Some(&reading), &refusal),
    };
    let age = age.what.first().map(|(_, age)| age.clone());
    let next = told.what.next.map(|last| format!("/console/tunnels/{id}?before={last}"));
    let moments: Vec<Moment> = told.what.entries.iter().filter_map(|shown| moment(shown, &id)).collect();
    let name = age.as_ref().and_then(|age| age.name.clone()).or_else(|| name(&told.what.entries, &id));
    shown(&Tunnel {
        frame: Frame::of(&reading, "", told.request_id),
        name: cut(&name.unwrap_or_else(|| id.clone()), 100),
        id: cut(&id, 64),
        key: age.map_or_else(
            || "nothing is known of its key, or the tunnel was deleted".to_owned(),
            |age| key(&age),
        ),
        moments,
        paged: before.is_some(),
        next: next.unwrap_or_default(),
    })
}

fn key(age: &KeyAge) -> String {
    match age.changed() {
        Some(changed) => cut(&format!("replaced {} by {}", seconds(&changed.to_string()), by(age)), 400),
        None => "when it was replaced is not known".to_owned(),
    }
}

/// The newest name that these entries know it by.
fn name(entries: &[Shown], id: &str) -> Option<String> {
    entries.iter().find_map(|shown| {
        let entry = read_entry(shown.text.as_bytes()).ok()?;
        let tunnels = entry.get("tunnels")?.as_array()?;
        let own = tunnels.iter().find(|tunnel| tunnel.get("id").and_then(Json::as_str) == Some(id))?;
        own.get("name")?.as_str().map(str::to_owned)
    })
}

fn moment(shown: &Shown, id: &str) -> Option<Moment> {
    let entry = read_entry(shown.text.as_bytes()).ok()?;
    let text = |pointer: &str| entry.pointer(pointer).and_then(Json::as_str);
    let items = entry.get("before_after_diff").and_then(Json::as_array).unwrap_or_default();
    let own = items.iter().filter(|item| item.get("tunnel").and_then(Json::as_str) == Some(id));
    let changes = own.filter_map(|item| item.get("patch")).flat_map(cells::changes).collect();
    let status = entry.get("status").map(Json::to_string).unwrap_or_default();
    let result = match (text("/resolution"), text("/refusal/name")) {
        (Some(resolution), _) => format!("lost, then found: {resolution}"),
        (None, Some(name)) => format!("{status} {name}"),
        (None, None) => status,
    };
    let dry = if entry.get("validate_only") == Some(&Json::Bool(true)) { " (checked only)" } else { "" };
    let subject = text("/subject").unwrap_or("-");
    let request: String =
        text("/request_id")?.chars().filter(|c| c.is_ascii_hexdigit() || *c == '-').collect();
    Some(Moment {
        time: seconds(text("/time").unwrap_or("?")),
        who: cut(subject, 200),
        who_link: cells::search(&[("what", "requests"), ("subject", subject)]),
        operation: format!("{}{dry}", cut(text("/operation").unwrap_or("-"), 40)),
        result: cut(&result, 200),
        link: format!("/console/calls/{request}"),
        failed: text("/refusal/name").is_some(),
        changes,
    })
}
