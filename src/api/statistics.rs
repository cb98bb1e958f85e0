//! `/api/v1/statistics`: how many calls.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Problem, Query, Reader, Shared, answer, with};
use crate::access::Asked;
use crate::store::By;

/// How many calls ended how.
#[derive(Serialize, ToSchema)]
pub(super) struct Group {
    /// The operation, subject, team or refusal.
    name: String,
    /// All calls.
    calls: u64,
    /// Those of which nothing was sent.
    refused: u64,
    /// Those that were sent and failed.
    failed: u64,
}

/// Calls, counted.
#[derive(Serialize, ToSchema)]
pub(super) struct Counts {
    /// The most first.
    groups: Vec<Group>,
}

/// Counts calls by what was asked (`operation`, unless said), by whom (`subject`), of which team (`team`), or by why they
/// were refused or failed (`refusal`).
#[utoipa::path(
    get,
    path = "/api/v1/statistics",
    operation_id = "countCalls",
    params(Asked),
    responses((status = 200, body = Counts), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
pub(super) async fn count(
    State(desk): Shared,
    Reader(reading): Reader,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let by = match asked.by.as_deref().unwrap_or("operation") {
        "operation" => By::Operation,
        "subject" => By::Subject,
        "team" => By::Team,
        "refusal" => By::Refusal,
        _ => {
            let what = "must be `operation`, `subject`, `team` or `refusal`".to_owned();
            return Err(Problem::bad_parameter(("by", what)));
        }
    };
    asked.only(&["by"]).map_err(Problem::bad_parameter)?;
    let filter = asked.filter(desk.now()).map_err(Problem::bad_parameter)?;
    let mut told = desk.counts(&reading, &asked, &filter, by).await?;
    let group = |count: crate::store::Count| Group {
        name: count.name,
        calls: count.calls,
        refused: count.refused,
        failed: count.failed,
    };
    let groups = told.what.drain(..).map(group).collect();
    answer(with(told, Counts { groups }))
}
