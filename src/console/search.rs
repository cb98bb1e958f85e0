//! Search: a form, its answer as a table, and an address that can be passed on.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;

use super::cells::{self, Table};
use super::frame::{Frame, failed, message, shown};
use super::{Console, Reader, query};
use crate::access::{Asked, Reading, Told};
use crate::entry::Kind;
use crate::operation::Operation;
use crate::refusal::Refusal;
use crate::store::{Filter, View};

/// What can be looked for.
const KINDS: [(&str, &str); 7] = [
    ("requests", "calls"),
    ("changes", "changed fields"),
    ("psk_events", "keys"),
    ("refusals", "refusals"),
    ("tunnel_history", "writes on tunnels"),
    ("findings", "past the proxy"),
    ("entries", "entries"),
];

/// The form as it was sent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Form {
    what: String,
    since: String,
    until: String,
    subject: String,
    team: String,
    tunnel: String,
    operation: String,
    field: String,
    kind: String,
    before: Option<u64>,
    after: Option<u64>,
}

#[derive(Template)]
#[template(path = "search.html")]
struct Search {
    frame: Frame,
    problem: String,
    kinds: [(&'static str, &'static str); 7],
    operations: Vec<&'static str>,
    entry_kinds: Vec<&'static str>,
    what: &'static str,
    asked: Form,
    rows: Table,
    next: String,
    live: String,
}

#[derive(Template)]
#[template(path = "rows.html")]
struct Fragment {
    rows: Table,
}

/// An answer.
struct Found {
    rows: Table,
    next: Option<u64>,
    newest: Option<u64>,
}

/// Why there is none.
enum No {
    /// The form can't be asked.
    Form(String),
    Refused(Refusal),
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The page.
pub(super) async fn page(
    State(console): State<Console>,
    Reader(reading): Reader,
    uri: http::Uri,
) -> Response {
    let form: Form = match query(&uri) {
        Ok(form) => form,
        Err(what) => {
            return message(Some(&reading), StatusCode::BAD_REQUEST, "This can't be looked for", &what);
        }
    };
    let known = |(name, _): &&(&str, &str)| *name == form.what || form.what.is_empty();
    let Some(&(what, _)) = KINDS.iter().find(known) else {
        let kinds = KINDS.map(|(name, _)| name).join(", ");
        let detail = format!("`what` is one of {kinds}");
        return message(Some(&reading), StatusCode::BAD_REQUEST, "This can't be looked for", &detail);
    };
    let operations = Operation::ALL.map(Operation::name).to_vec();
    let blank = Search {
        frame: Frame::of(&reading, "/console/search", uuid::Uuid::nil()),
        problem: String::new(),
        kinds: KINDS,
        operations,
        entry_kinds: Kind::ALL.map(Kind::name).to_vec(),
        what,
        asked: form.clone(),
        rows: Table::default(),
        next: String::new(),
        live: String::new(),
    };
    match find(&console, &reading, what, &form).await {
        Ok(told) => {
            let Found { rows, next, newest } = told.what;
            let next = next.map(|before| address("/console/search", what, &form, ("before", before)));
            let live = (what == "entries" && form.before.is_none())
                .then(|| address("/console/rows", what, &form, ("after", newest.unwrap_or(0))));
            let frame = Frame::of(&reading, "/console/search", told.request_id);
            let (next, live) = (next.unwrap_or_default(), live.unwrap_or_default());
            shown(&Search { frame, rows, next, live, ..blank })
        }
        Err(No::Form(problem)) => {
            let mut page = shown(&Search { problem, ..blank });
            *page.status_mut() = StatusCode::BAD_REQUEST;
            page
        }
        Err(No::Refused(refusal)) => failed(Some(&reading), &refusal),
    }
}

/// Entries that came after the ones that a page shows, for its script: rows, newest first, and the newest one's place.
pub(super) async fn rows(
    State(console): State<Console>,
    Reader(reading): Reader,
    uri: http::Uri,
) -> Response {
    let form = query::<Form>(&uri).ok().filter(|form| form.after.is_some() && form.what == "entries");
    let Some(form) = form else {
        return message(
            Some(&reading),
            StatusCode::BAD_REQUEST,
            "This can't be looked for",
            "see the search page",
        );
    };
    match find(&console, &reading, "entries", &form).await {
        Ok(told) => {
            let newest = told.what.newest.or(form.after).unwrap_or(0);
            let mut rows = told.what.rows;
            rows.rows.reverse();
            let mut page = shown(&Fragment { rows });
            if let Ok(newest) = newest.to_string().try_into() {
                page.headers_mut().insert("x-newest", newest);
            }
            page
        }
        Err(No::Form(what)) => {
            message(Some(&reading), StatusCode::BAD_REQUEST, "This can't be looked for", &what)
        }
        Err(No::Refused(refusal)) => failed(Some(&reading), &refusal),
    }
}

async fn find(console: &Console, reading: &Reading, what: &str, form: &Form) -> Result<Told<Found>, No> {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    let asked = Asked {
        since: some(&form.since),
        until: some(&form.until),
        subject: some(&form.subject),
        team: some(&form.team),
        tunnel: some(&form.tunnel),
        operation: some(&form.operation),
        field: some(&form.field),
        kind: some(&form.kind),
        before: form.before,
        after: form.after,
        ..Asked::default()
    };
    let desk = &console.desk;
    let names = desk.names(reading);
    let wrong = |(name, what): (&str, String)| No::Form(format!("{name}: {what}"));
    let filter = asked.filter(desk.now()).map_err(wrong)?;
    let taken: &[&str] = match what {
        "changes" => &["field"],
        "entries" => &["kind", "after"],
        _ => &[],
    };
    asked.only(taken).map_err(wrong)?;
    let of_calls = filter.subject.is_some() || filter.team.is_some() || filter.operation.is_some();
    if what == View::Findings.name() && of_calls {
        let what = "what went past the proxy is found by time and tunnel; leave the other fields empty";
        return Err(No::Form(what.to_owned()));
    }
    let Some(view) = View::ALL.into_iter().find(|view| view.name() == what) else {
        let filter = Filter { no_heartbeats: true, ..filter };
        let told = desk.entries(reading, &asked, &filter).await?;
        let next = told.what.next;
        let newest = told.what.entries.iter().map(|shown| shown.seq).max();
        let rows = cells::entries(&told.what.entries, &names);
        return Ok(Told { request_id: told.request_id, what: Found { rows, next, newest } });
    };
    let mut filter = filter;
    if let Some(named) = filter.tunnel.take() {
        filter.tunnel = Some(match desk.tunnels(reading, &named).await?.what.as_slice() {
            [one] => one.clone(),
            [] => named,
            several => {
                let ids = several.join(", ");
                return Err(No::Form(format!("tunnel: several had this name; give one's id: {ids}")));
            }
        });
    }
    let told = desk.rows(reading, view, &asked, &filter, asked.limit() as usize).await?;
    let found =
        Found { rows: cells::table(view, &told.what.rows, &names), next: told.what.next, newest: None };
    Ok(Told { request_id: told.request_id, what: found })
}

/// The address of the same search from another place on.
fn address(path: &str, what: &str, form: &Form, from: (&str, u64)) -> String {
    let texts = [
        ("what", what),
        ("since", &form.since),
        ("until", &form.until),
        ("subject", &form.subject),
        ("team", &form.team),
        ("tunnel", &form.tunnel),
        ("operation", &form.operation),
        ("field", &form.field),
        ("kind", &form.kind),
    ];
    let place = from.1.to_string();
    let pairs = texts.into_iter().filter(|(_, text)| !text.is_empty()).chain([(from.0, place.as_str())]);
    let query = serde_urlencoded::to_string(pairs.collect::<Vec<_>>()).unwrap_or_default();
    format!("{path}?{query}")
}
