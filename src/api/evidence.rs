//! `/api/v1/entries/{id}/proof`, `/checkpoints`, `/verification`: that the record is whole.

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Id, Problem, Query, Raw, Reader, Shared, answer, raw, text_answer, with};
use crate::access::{Told, VerificationState};

/// Signed checkpoints.
#[derive(Serialize, ToSchema)]
pub(super) struct Checkpoints {
    /// C2SP signed notes: the head, then the stored ones, newest first.
    checkpoints: Vec<String>,
}

/// How many.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Most {
    /// How many, 1 to 500.
    #[param(minimum = 1, maximum = 500, default = 10)]
    limit: Option<u32>,
}

/// How the last verification went, or goes.
#[derive(Serialize, ToSchema)]
pub(super) struct Verification {
    /// `never`, `going`, `done` or `failed`.
    state: &'static str,
    /// When it began.
    since: Option<String>,
    /// When it ended.
    at: Option<String>,
    /// Entries that were found good so far.
    entries: Option<u64>,
    /// What it found: `sound`, `good_entries`, `root`, `first_bad_entry`, `problems` and more.
    #[schema(value_type = Option<Object>)]
    report: Option<Raw>,
    /// Why it could not be made.
    why: Option<String>,
}

/// An entry's proof: a C2SP tlog-proof, to be checked with `tunnelwarden audit verify FILE --public-key KEY`. The entry is
/// in it as it is, so this takes the right to see bodies.
#[utoipa::path(
    get,
    path = "/api/v1/entries/{id}/proof",
    operation_id = "getProof",
    params(("id" = uuid::Uuid, Path, description = "The entry's id.")),
    responses(
        (status = 200, body = String, content_type = "text/plain"),
        (status = "4XX", body = Problem),
        (status = "5XX", body = Problem)
    )
)]
pub(super) async fn proof(
    State(desk): Shared,
    Reader(reading): Reader,
    Id(id): Id,
) -> Result<Response, Problem> {
    let Told { request_id, what } = desk.prove(&reading, id).await?;
    let proof = what.ok_or_else(|| Problem::not_found("no entry has this id"))?;
    Ok(text_answer(request_id, "text/plain; charset=utf-8", proof.to_text()))
}

/// The head and the newest checkpoints.
#[utoipa::path(
    get,
    path = "/api/v1/checkpoints",
    operation_id = "listCheckpoints",
    params(Most),
    responses((status = 200, body = Checkpoints), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
pub(super) async fn checkpoints(
    State(desk): Shared,
    Reader(reading): Reader,
    Query(most): Query<Most>,
) -> Result<Response, Problem> {
    let most = most.limit.unwrap_or(10);
    if !(1..=500).contains(&most) {
        return Err(Problem::bad_parameter(("limit", "must be 1 to 500".to_owned())));
    }
    let mut told = desk.checkpoints(&reading, most).await?;
    let checkpoints = std::mem::take(&mut told.what);
    answer(with(told, Checkpoints { checkpoints }))
}

/// How the last verification of the whole record went, or goes.
#[utoipa::path(
    get,
    path = "/api/v1/verification",
    operation_id = "getVerification",
    responses((status = 200, body = Verification), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
pub(super) async fn verification(State(desk): Shared, Reader(reading): Reader) -> Result<Response, Problem> {
    let told = desk.verification(&reading, false).await?;
    let state = told.what.clone();
    answer(with(told, shape(state)?))
}

/// Verifies the whole record, unless that goes on already. The host that serves this checks itself: for evidence, take a
/// copy and `tunnelwarden audit verify` elsewhere.
#[utoipa::path(
    post,
    path = "/api/v1/verification",
    operation_id = "startVerification",
    responses((status = 200, body = Verification), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
pub(super) async fn verify(State(desk): Shared, Reader(reading): Reader) -> Result<Response, Problem> {
    let told = desk.verification(&reading, true).await?;
    let state = told.what.clone();
    answer(with(told, shape(state)?))
}

fn shape(state: VerificationState) -> Result<Verification, Problem> {
    let none = |state| Verification { state, since: None, at: None, entries: None, report: None, why: None };
    Ok(match state {
        VerificationState::Never => none("never"),
        VerificationState::Going { since, entries } => {
            Verification { since: Some(since.to_string()), entries: Some(entries), ..none("going") }
        }
        VerificationState::Done { since, at, report } => Verification {
            since: Some(since.to_string()),
            at: Some(at.to_string()),
            entries: Some(report.good),
            report: Some(raw(report.to_json().to_string())?),
            ..none("done")
        },
        VerificationState::Failed { at, why } => {
            Verification { at: Some(at.to_string()), why: Some(why), ..none("failed") }
        }
    })
}
