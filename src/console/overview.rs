//! The first page: what has happened lately, and how things stand.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::cells::{self, Table};
use super::chart::bars;
use super::frame::{Frame, failed, message, shown};
use super::{Console, Reader, query};
use crate::inspect::plain;
use crate::store::View;

/// Times that can be looked at, in hours.
const WINDOWS: [(u32, &str); 3] = [(24, "24 hours"), (72, "3 days"), (168, "7 days")];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    #[serde(default = "a_day")]
    hours: u32,
}

const fn a_day() -> u32 {
    24
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    windows: [(u32, &'static str); 3],
    hours: u32,
    calls: u64,
    refused: u64,
    entries: u64,
    budget_made: u32,
    budget_all: u32,
    problems: Vec<String>,
    warnings: Vec<String>,
    unresolved: Table,
    findings: Table,
    by_operation: String,
    by_team: String,
    by_refusal: String,
    changes: Table,
    keys: Table,
    subjects: Table,
    refusals: Table,
}

/// The page.
pub(super) async fn page(
    State(console): State<Console>,
    Reader(reading): Reader,
    uri: http::Uri,
) -> Response {
    let asked =
        query::<Query>(&uri).ok().filter(|query| WINDOWS.iter().any(|(hours, _)| *hours == query.hours));
    let Some(Query { hours }) = asked else {
        let windows = "there are ?hours=24, 72 and 168";
        return message(Some(&reading), StatusCode::BAD_REQUEST, "No such time", windows);
    };
    let told = match console.desk.overview(&reading, hours).await {
        Ok(told) => told,
        Err(refusal) => return failed(Some(&reading), &refusal),
    };
    let overview = told.what;
    let tunnels = console.desk.names(&reading);
    let names = hours_of(overview.since, console.desk.now());
    let chart = |title, activity, count| bars(title, activity, &names, count);
    let line = |lines: Vec<String>| lines.iter().map(|line| plain(line)).collect();
    let all = |count: fn(&crate::store::Activity) -> u64| overview.by_operation.iter().map(count).sum();
    shown(&Overview {
        frame: Frame::of(&reading, "/console", told.request_id),
        windows: WINDOWS,
        hours,
        calls: all(|one| one.calls),
        refused: all(|one| one.refused),
        entries: overview.entries,
        budget_made: overview.budget.0,
        budget_all: overview.budget.1,
        problems: line((console.health.problems)()),
        warnings: line((console.health.warnings)()),
        unresolved: cells::table(View::Requests, &overview.unresolved, &tunnels),
        findings: cells::table(View::Findings, &overview.findings, &tunnels),
        by_operation: chart("Calls by hour and operation", &overview.by_operation, |one| one.calls),
        by_team: chart("Calls by hour and team", &overview.by_team, |one| one.calls),
        by_refusal: chart("Refused calls by hour and operation", &overview.by_operation, |one| one.refused),
        changes: cells::table(View::Changes, &overview.changes, &tunnels),
        keys: cells::table(View::PskEvents, &overview.keys, &tunnels),
        subjects: cells::counts(&["Who", "Calls", "Refused", "Failed"], &overview.subjects, Some("subject")),
        refusals: cells::counts(&["Refusal", "Calls", "Refused", "Failed"], &overview.refusals, None),
    })
}

/// The hours from then until now, as `2026-01-31T12`.
fn hours_of(since: Timestamp, now: Timestamp) -> Vec<String> {
    let mut hours = Vec::new();
    let mut at = since;
    while at <= now && hours.len() < 24 * 8 {
        hours.push(at.strftime("%Y-%m-%dT%H").to_string());
        let Ok(next) = at.checked_add(SignedDuration::from_hours(1)) else { break };
        at = next;
    }
    let last = now.strftime("%Y-%m-%dT%H").to_string();
    if hours.last() != Some(&last) {
        hours.push(last);
    }
    hours
}
