//! Rows of the record as tables of a page.
//!
//! Not here: what the rows mean (`store::View`), the tables' form (`templates/table.html`).

use crate::access::MAX_TEXT;
use crate::inspect::{in_parentheses, plain, read_entry, seconds};
use crate::json::{Json, Object};
use crate::store::{Count, View};

/// Characters of a cell: longer ones are cut, and whole on the call's own page.
const CELL: usize = 200;

/// Characters of a value that is shown whole, about what a person scrolls through.
const BLOCK: usize = 64 * 1024;

/// What a change of all fields is called.
const WHOLE: &str = "the whole tunnel";

/// What tunnels are called, by their ids: an entry may know only these.
pub(super) type Names = std::collections::BTreeMap<String, String>;

/// A table.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) titles: &'static [&'static str],
    pub(super) rows: Vec<Row>,
}

/// A row.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) cells: Vec<Cell>,
    /// Whether it tells of a call that was refused or failed.
    pub(super) failed: bool,
}

/// A cell, which may be a link.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) link: String,
}

/// A field's change.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) field: String,
    pub(super) before: String,
    pub(super) after: String,
}

impl Cell {
    pub(super) fn of(text: &str) -> Self {
        Self { text: cut(text, CELL), link: String::new() }
    }

    pub(super) fn linked(text: &str, link: String) -> Self {
        Self { link, ..Self::of(text) }
    }
}

/// Plain, and no longer than that.
pub(super) fn cut(text: &str, most: usize) -> String {
    let mut short: String = text.chars().take(most).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    plain(&short)
}

/// A text that is shown whole, as far as a page can.
pub(super) fn block(text: &str) -> String {
    let lines = text.split('\n').map(|line| cut(line, BLOCK));
    let mut whole = lines.collect::<Vec<_>>().join("\n");
    if whole.len() > BLOCK {
        let end = (0..=BLOCK).rev().find(|at| whole.is_char_boundary(*at)).unwrap_or(0);
        whole.truncate(end);
        whole.push_str("\n… cut here; `tunnelwarden audit show --json` has all of it");
    }
    whole
}

/// To the search for something; nowhere for a text that is longer than any that can be looked for.
pub(super) fn search(pairs: &[(&str, &str)]) -> String {
    if pairs.iter().any(|(_, text)| text.len() > MAX_TEXT) {
        return String::new();
    }
    format!("/console/search?{}", serde_urlencoded::to_string(pairs).unwrap_or_default())
}

fn text<'a>(row: &'a Object, name: &str) -> &'a str {
    row.get(name).and_then(Json::as_str).unwrap_or("-")
}

/// A text as it is, everything else as JSON.
pub(super) fn value(row: &Object, name: &str) -> String {
    match row.get(name) {
        None | Some(Json::Null) => "-".to_owned(),
        Some(Json::String(text)) => text.clone(),
        Some(Json::Array(items)) => {
            let one = |item: &Json| item.as_str().map_or_else(|| item.to_string(), str::to_owned);
            items.iter().map(one).collect::<Vec<_>>().join(", ")
        }
        Some(other) => other.to_string(),
    }
}

fn time(row: &Object) -> Cell {
    // A blank, at which a narrow column may break it.
    let time = seconds(text(row, "time")).replacen('T', " ", 1);
    Cell::linked(time.trim_end_matches('Z'), format!("/console/calls/{}", id(row)))
}

/// The request's id, of which nothing but an id's own characters goes into a link.
fn id(row: &Object) -> String {
    text(row, "request_id").chars().filter(|c| c.is_ascii_hexdigit() || *c == '-').collect()
}

fn who(row: &Object) -> Cell {
    match row.get("subject").and_then(Json::as_str) {
        Some(subject) => Cell::linked(subject, search(&[("what", "requests"), ("subject", subject)])),
        None => {
            let owner = row.get("token_subject").and_then(Json::as_str);
            Cell::of(&owner.map_or_else(|| "-".to_owned(), in_parentheses))
        }
    }
}

/// The tunnels by name, the first as a link.
fn tunnel(row: &Object, names: &Names) -> Cell {
    let tunnels = row.get("tunnels").and_then(Json::as_array).unwrap_or_default();
    let of = |tunnel: &Json, name: &str| tunnel.get(name).and_then(Json::as_str).map(str::to_owned);
    let first = tunnels.first();
    let known = row.get("tunnel").and_then(Json::as_str).map(str::to_owned);
    let known = known.or_else(|| of(first?, "id"));
    let name = row.get("name").and_then(Json::as_str).map(str::to_owned).or_else(|| of(first?, "name"));
    let name = name.or_else(|| names.get(known.as_deref()?).cloned());
    let Some(shown) = name.or_else(|| known.clone()) else { return Cell::of("-") };
    let more = if tunnels.len() > 1 { format!(" and {} more", tunnels.len() - 1) } else { String::new() };
    match known.filter(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        Some(id) => Cell::linked(&format!("{shown}{more}"), format!("/console/tunnels/{id}")),
        None => Cell::of(&format!("{shown}{more}")),
    }
}

/// How it ended: status and refusal, or what is known.
fn result(row: &Object) -> String {
    let status = value(row, "status");
    match (row.get("refusal").and_then(Json::as_str), row.get("resolution").and_then(Json::as_str)) {
        (_, Some(resolution)) => format!("lost, then found: {resolution}"),
        (Some(refusal), None) => format!("{status} {refusal}"),
        (None, None) if text(row, "ended") == "open" => "not known yet".to_owned(),
        (None, None) => status,
    }
}

fn failed(row: &Object) -> bool {
    row.get("refusal").is_some_and(|refusal| *refusal != Json::Null)
        || row.get("status").and_then(Json::as_i64).is_some_and(|status| status >= 400)
}

/// The rows of a view as a table.
pub(super) fn table(view: View, rows: &[Object], names: &Names) -> Table {
    let titles: &[&str] = match view {
        View::Requests => &["Time", "Who", "Operation", "Tunnel", "Result", "Policy"],
        View::Changes => &["Time", "Who", "Operation", "Tunnel", "Field", "Before", "After"],
        View::PskEvents => &["Time", "Who", "Operation", "Tunnel", "Result", "Policy", "Fingerprint"],
        View::Refusals => &["Time", "Who", "Operation", "Tunnel", "Result", "Why", "Address"],
        View::TunnelHistory => &["Time", "Who", "Operation", "Tunnel", "Result", "Fields"],
        View::Findings => &["Found", "What", "Operation", "Tunnel", "Happened", "By", "Settled"],
    };
    let cells = |row: &Object| {
        let of = |name: &str| Cell::of(&value(row, name));
        if view == View::Findings {
            let found = if row.get("request_id") == Some(&Json::Null) { of("time") } else { time(row) };
            let cells = vec![
                found,
                of("what"),
                of("operation"),
                tunnel(row, names),
                of("happened"),
                actor(row),
                of("settled"),
            ];
            return Row { cells, failed: row.get("settled") == Some(&Json::Bool(false)) };
        }
        let mut cells = vec![time(row), who(row), of("operation"), tunnel(row, names)];
        let result = Cell::of(&result(row));
        cells.extend(match view {
            View::Requests => vec![result, of("policies")],
            View::Changes => vec![field(row), json(row, "before"), json(row, "after")],
            View::PskEvents => vec![result, of("policies"), of("psk")],
            View::Refusals => vec![result, of("message"), of("client_address")],
            View::TunnelHistory | View::Findings => vec![result, of("fields")],
        });
        Row { cells, failed: failed(row) }
    };
    Table { titles, rows: rows.iter().map(cells).collect() }
}

/// Who it was, as the upstream names them; of a call of ours, who made it.
fn actor(row: &Object) -> Cell {
    let told = row.get("actor").and_then(Json::as_object).map(Object::iter).into_iter().flatten();
    let words = told.map(|(name, value)| {
        format!("{name}: {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    });
    let words = words.collect::<Vec<_>>().join(", ");
    if words.is_empty() { who(row) } else { Cell::of(&words) }
}

fn field(row: &Object) -> Cell {
    Cell::of(Some(text(row, "field")).filter(|field| !field.is_empty()).unwrap_or(WHOLE))
}

/// A value of a field, as JSON, so that a text and a number differ.
fn json(row: &Object, name: &str) -> Cell {
    Cell::of(
        &row.get(name).filter(|value| **value != Json::Null).map_or_else(|| "-".to_owned(), Json::to_string),
    )
}

/// Entries as a table.
pub(super) fn entries(entries: &[crate::access::Shown], names: &Names) -> Table {
    let row = |shown: &crate::access::Shown| {
        let entry = read_entry(shown.text.as_bytes()).ok();
        let entry = entry.as_ref().and_then(Json::as_object).cloned().unwrap_or_default();
        let mut flat = entry.clone();
        let refusal = entry.get("refusal").and_then(|refusal| refusal.get("name")).cloned();
        flat.set("refusal", refusal.unwrap_or(Json::Null));
        let of = |name: &str| Cell::of(&value(&flat, name));
        let cells = vec![
            time(&flat),
            of("kind"),
            who(&flat),
            of("operation"),
            tunnel(&flat, names),
            Cell::of(&result(&flat)),
        ];
        Row { cells, failed: failed(&flat) }
    };
    let titles = &["Time", "Kind", "Who", "Operation", "Tunnel", "Result"];
    Table { titles, rows: entries.iter().map(row).collect() }
}

/// Counts as a table; `named` is what a search calls them, where it can look for them.
pub(super) fn counts(title: &'static [&'static str], counts: &[Count], named: Option<&str>) -> Table {
    let row = |count: &Count| {
        let name = match named {
            Some(named) if count.name != "-" => {
                Cell::linked(&count.name, search(&[("what", "requests"), (named, &count.name)]))
            }
            Some(_) | None => Cell::of(&count.name),
        };
        let number = |number: u64| Cell::of(&number.to_string());
        Row {
            cells: vec![name, number(count.calls), number(count.refused), number(count.failed)],
            failed: false,
        }
    };
    Table { titles: title, rows: counts.iter().map(row).collect() }
}

/// The changes of one patch. A whole tunnel, as it is made or deleted, is told field by field.
pub(super) fn changes(patch: &Json) -> Vec<Change> {
    let mut changes = Vec::new();
    for operation in patch.as_array().unwrap_or_default() {
        let path = operation.get("path").and_then(Json::as_str).unwrap_or("?");
        let (old, new) = (operation.get("old"), operation.get("value"));
        let whole = if path.is_empty() { old.or(new).and_then(Json::as_object) } else { None };
        let Some(whole) = whole else {
            let field = if path.is_empty() { WHOLE } else { path.trim_start_matches('/') };
            changes.push(change(field, old, new));
            continue;
        };
        let within = |value: Option<&Json>, name: &str| value.and_then(|value| value.get(name)).cloned();
        let one =
            |(name, _): (&str, &Json)| change(name, within(old, name).as_ref(), within(new, name).as_ref());
        changes.extend(whole.iter().map(one));
    }
    changes
}

fn change(field: &str, old: Option<&Json>, new: Option<&Json>) -> Change {
    let shown = |value: Option<&Json>| block(&value.map_or_else(|| "-".to_owned(), Json::to_string));
    Change { field: cut(field, CELL), before: shown(old), after: shown(new) }
}
