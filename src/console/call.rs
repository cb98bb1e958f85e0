//! One call: its story, what changed, and the proofs of its entries.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use uuid::Uuid;

use super::cells::{self, Change, block, cut};
use super::frame::{Frame, failed, message, shown};
use super::{Console, Reader};
use crate::access::Reading;
use crate::authorize::Depth;
use crate::inspect::{pretty, read_entry, seconds, story_lines};
use crate::json::Json;

/// What has its own place on the page.
const APART: [&str; 5] = ["asked", "before", "answer", "changed", "entries"];

/// Tunnels of a call that are shown whole; `audit show` has all of them.
const ITEMS: usize = 20;

#[derive(Template)]
#[template(path = "call.html")]
struct Call {
    frame: Frame,
    story: Vec<(String, Vec<String>)>,
    diffs: Vec<(String, String, Vec<Change>)>,
    bodies: Vec<(&'static str, Vec<String>)>,
    entries: Vec<Entry>,
    proofs: bool,
}

struct Entry {
    seq: u64,
    id: String,
    kind: String,
    time: String,
}

/// The page.
pub(super) async fn page(
    State(console): State<Console>,
    Reader(reading): Reader,
    Path(id): Path<String>,
) -> Response {
    let Ok(id) = id.parse::<Uuid>() else { return unknown(&reading) };
    let told = match console.desk.call(&reading, id).await {
        Ok(told) => told,
        Err(refusal) => return failed(Some(&reading), &refusal),
    };
    let read = |shown: &crate::access::Shown| Some((shown.seq, read_entry(shown.text.as_bytes()).ok()?));
    let entries: Vec<(u64, Json)> = told.what.iter().filter_map(read).collect();
    if entries.is_empty() {
        return unknown(&reading);
    }
    let text = |entry: &Json, name: &str| entry.get(name).and_then(Json::as_str).unwrap_or("?").to_owned();
    let listed = |(seq, entry): &(u64, Json)| Entry {
        seq: *seq,
        id: text(entry, "id").chars().filter(|c| c.is_ascii_hexdigit() || *c == '-').collect(),
        kind: cut(&text(entry, "kind"), 20),
        time: seconds(&text(entry, "time")),
    };
    let story = story_lines(&entries).into_iter().filter(|(label, _)| !APART.contains(label));
    shown(&Call {
        frame: Frame::of(&reading, "", told.request_id),
        story: story
            .map(|(label, lines)| (label.to_owned(), lines.iter().map(|line| block(line)).collect()))
            .collect(),
        diffs: diffs(&entries),
        bodies: bodies(&entries),
        entries: entries.iter().map(listed).collect(),
        proofs: reading.depth() == Depth::Bodies,
    })
}

/// What changed of each tunnel: its name, the link to its page, and the fields.
fn diffs(entries: &[(u64, Json)]) -> Vec<(String, String, Vec<Change>)> {
    let items = entries.iter().rev().find_map(|(_, entry)| entry.get("before_after_diff")?.as_array());
    let mut diffs = Vec::new();
    for item in items.unwrap_or_default().iter().take(ITEMS) {
        let id = item.get("tunnel").and_then(Json::as_str).unwrap_or_default();
        let changes = item.get("patch").map(cells::changes).unwrap_or_default();
        if changes.is_empty() {
            continue;
        }
        let hex: String = id.chars().filter(char::is_ascii_hexdigit).collect();
        diffs.push((cut(&name_of(entries, id), 100), format!("/console/tunnels/{hex}"), changes));
    }
    diffs
}

fn name_of(entries: &[(u64, Json)], id: &str) -> String {
    let tunnels = entries.iter().rev().filter_map(|(_, entry)| entry.get("tunnels")?.as_array()).flatten();
    let text = |tunnel: &Json, name: &str| tunnel.get(name).and_then(Json::as_str).map(str::to_owned);
    let mut own = tunnels.filter(|tunnel| text(tunnel, "id").as_deref() == Some(id));
    own.find_map(|tunnel| text(tunnel, "name")).unwrap_or_else(|| id.to_owned())
}

fn bodies(entries: &[(u64, Json)]) -> Vec<(&'static str, Vec<String>)> {
    let parts = [
        ("What was asked", "/request/body"),
        ("The tunnels before", "/state_before"),
        ("The answer", "/response/body"),
    ];
    let find = |pointer: &str| entries.iter().rev().find_map(|(_, entry)| entry.pointer(pointer));
    let part = |(title, pointer): (&'static str, &str)| {
        let texts = match find(pointer)? {
            Json::Array(items) => items.iter().take(ITEMS).map(|item| block(&pretty(item))).collect(),
            one @ (Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Object(_)) => {
                vec![block(&pretty(one))]
            }
        };
        Some((title, texts))
    };
    parts.into_iter().filter_map(part).filter(|(_, texts): &(_, Vec<_>)| !texts.is_empty()).collect()
}

/// An entry's proof, to be kept as a file.
pub(super) async fn proof(
    State(console): State<Console>,
    Reader(reading): Reader,
    Path(id): Path<String>,
) -> Response {
    let Ok(id) = id.parse::<Uuid>() else { return unknown(&reading) };
    match console.desk.prove(&reading, id).await {
        Ok(told) => match told.what {
            Some(proof) => {
                let name = format!("attachment; filename=\"{id}.tlog-proof\"");
                (
                    [(CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()), (CONTENT_DISPOSITION, name)],
                    proof.to_text(),
                )
                    .into_response()
            }
            None => unknown(&reading),
        },
        Err(refusal) => failed(Some(&reading), &refusal),
    }
}

fn unknown(reading: &Reading) -> Response {
    message(Some(reading), StatusCode::NOT_FOUND, "Not found", "No call and no entry has this id.")
}
