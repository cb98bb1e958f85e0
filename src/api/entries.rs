//! `/api/v1/entries`: entries as they are stored.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Id, Problem, Query, Raw, Reader, Shared, answer, raw, with};
use crate::access::{Asked, Shown};

/// Some entries.
#[derive(Serialize, ToSchema)]
pub(super) struct Entries {
    /// Newest first, or oldest first after `after`.
    entries: Vec<Stored>,
    /// What `before` (or `after`, where that was given) must be for the next page; none where this is the last.
    next: Option<u64>,
}

/// An entry and its place.
#[derive(Serialize, ToSchema)]
pub(super) struct Stored {
    /// Its place in the log, from 0.
    seq: u64,
    /// The entry: byte for byte, or without values for a reader who may not see them.
    #[schema(value_type = Object)]
    entry: Raw,
}

impl Stored {
    pub(super) fn of(shown: Shown) -> Result<Self, Problem> {
        Ok(Self { seq: shown.seq, entry: raw(shown.text)? })
    }
}

/// Entries that fit.
#[utoipa::path(
    get,
    path = "/api/v1/entries",
    operation_id = "listEntries",
    params(Asked),
    responses((status = 200, body = Entries), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
pub(super) async fn list(
    State(desk): Shared,
    Reader(reading): Reader,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let filter = asked.filter(desk.now()).map_err(Problem::bad_parameter)?;
    asked.only(&["kind", "after"]).map_err(Problem::bad_parameter)?;
    let mut told = desk.entries(&reading, &asked, &filter).await?;
    let next = told.what.next;
    let entries = told.what.entries.drain(..).map(Stored::of).collect::<Result<_, _>>()?;
    answer(with(told, Entries { entries, next }))
}

/// One entry, by its id.
#[utoipa::path(
    get,
    path = "/api/v1/entries/{id}",
    operation_id = "getEntry",
    params(("id" = uuid::Uuid, Path, description = "The entry's id.")),
    responses((status = 200, body = Stored), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
pub(super) async fn one(
    State(desk): Shared,
    Reader(reading): Reader,
    Id(id): Id,
) -> Result<Response, Problem> {
    let mut told = desk.call(&reading, id).await?;
    let wanted = format!("\"id\":\"{id}\"");
    let found = told.what.drain(..).find(|shown| shown.text.contains(&wanted));
    let shown = found.ok_or_else(|| Problem::not_found("no entry has this id"))?;
    answer(with(told, Stored::of(shown)?))
}
