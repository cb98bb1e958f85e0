//! `/api/v1/calls`, `/changes`, `/psk-events`, `/refusals`: the rows of the record's views.
//!
//! The shapes below are those of the views in `migrations/`, which a test holds.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::entries::Stored;
use super::{Id, Problem, Query, Raw, Reader, Shared, answer, raw_object, with};
use crate::access::{Asked, Desk, Reading};
use crate::store::View;

/// A call, or what is known of it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of rows that the database makes")]
pub(super) struct Call {
    seq: u64,
    /// When it came.
    time: String,
    request_id: String,
    subject: Option<String>,
    teams: Option<Vec<String>>,
    roles: Option<Vec<String>>,
    issuer: Option<String>,
    jti: Option<String>,
    client_address: Option<String>,
    user_agent: Option<String>,
    operation: Option<String>,
    account: Option<String>,
    /// The first tunnel's id.
    tunnel: Option<String>,
    /// All of them: `{id, name}`.
    #[schema(value_type = Option<Vec<Object>>)]
    tunnels: (),
    validate_only: Option<bool>,
    /// `allow` or `deny`.
    decision: Option<String>,
    policies: Option<Vec<String>>,
    policy_digest: Option<String>,
    /// `outcome`, `refusal`, `resolved`, or `open` where no end is known.
    ended: String,
    /// The status that was answered.
    status: Option<u16>,
    refusal: Option<String>,
    /// Whether it may have reached the upstream: `yes`, `no`, `unknown`.
    sent: Option<String>,
    upstream_status: Option<u16>,
    cf_ray: Option<String>,
    duration_us: Option<u64>,
    /// What a lost call turned out to be.
    resolution: Option<String>,
    last_seq: Option<u64>,
}

/// A changed field.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of rows that the database makes")]
pub(super) struct Change {
    seq: u64,
    time: String,
    request_id: String,
    subject: Option<String>,
    teams: Option<Vec<String>>,
    operation: Option<String>,
    account: Option<String>,
    /// The tunnel's id.
    tunnel: Option<String>,
    /// `add`, `remove` or `replace`.
    op: String,
    /// RFC 6901 pointer into the tunnel.
    field: String,
    /// The value before; null where there was none, or for a reader who may not see values.
    #[schema(value_type = Value)]
    before: (),
    /// The value since.
    #[schema(value_type = Value)]
    after: (),
    policies: Option<Vec<String>>,
}

/// A key that a call minted, set or carried, or a call for one.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of rows that the database makes")]
pub(super) struct PskEvent {
    seq: u64,
    time: String,
    request_id: String,
    subject: Option<String>,
    teams: Option<Vec<String>>,
    roles: Option<Vec<String>>,
    operation: Option<String>,
    account: Option<String>,
    tunnel: Option<String>,
    validate_only: Option<bool>,
    ended: String,
    status: Option<u16>,
    sent: Option<String>,
    resolution: Option<String>,
    policies: Option<Vec<String>>,
    /// The key's fingerprint, `redacted:psk:<key id>:<hmac>`.
    psk: Option<String>,
}

/// A call that was refused, or whose answer could not be given.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of rows that the database makes")]
pub(super) struct Refused {
    seq: u64,
    time: String,
    request_id: String,
    kind: String,
    subject: Option<String>,
    teams: Option<Vec<String>>,
    roles: Option<Vec<String>>,
    issuer: Option<String>,
    /// Whose token came, where it is good but revoked or not in its owner's hands. Who sent it may be anybody.
    token_subject: Option<String>,
    token_issuer: Option<String>,
    token_jti: Option<String>,
    client_address: Option<String>,
    operation: Option<String>,
    account: Option<String>,
    tunnel: Option<String>,
    /// The refusal's name.
    refusal: String,
    /// The refusal's number.
    code: u32,
    status: u16,
    message: String,
    pointer: Option<String>,
    method: Option<String>,
    path: Option<String>,
    decision: Option<String>,
    policies: Option<Vec<String>>,
}

/// What the upstream's own audit logs tell and the record does not, or the other way round.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of rows that the database makes")]
pub(super) struct Finding {
    seq: u64,
    /// When it was found.
    time: String,
    /// `bypass`: a change that did not come through here; `key`: a key that nobody says to have replaced; `unknown`: a call of
    /// ours that the upstream's logs lack.
    what: String,
    /// The same whenever it is found again.
    key: String,
    /// When it happened.
    happened: Option<String>,
    account: String,
    operation: Option<String>,
    /// `{id, name}` each.
    #[schema(value_type = Option<Vec<Object>>)]
    tunnels: (),
    request_id: Option<String>,
    subject: Option<String>,
    /// Who it was, as the upstream names them.
    #[schema(value_type = Option<Object>)]
    actor: (),
    user_agent: Option<String>,
    cf_ray: Option<String>,
    /// Whether it came to nothing since.
    settled: bool,
}

/// Some rows, newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct Page<T: ToSchema> {
    /// At least `limit` of them, where there are so many: the rows of one entry stay together.
    #[schema(value_type = Vec<T>)]
    rows: Vec<Raw>,
    /// What `before` must be for the next page; none where this is the last.
    next: Option<u64>,
    #[serde(skip)]
    of: std::marker::PhantomData<T>,
}

/// All entries of one call.
#[derive(Serialize, ToSchema)]
struct Whole {
    /// Oldest first.
    entries: Vec<Stored>,
}

pub(super) async fn page<T: ToSchema>(
    desk: &Desk,
    reading: &Reading,
    view: View,
    asked: &Asked,
) -> Result<Response, Problem> {
    let mut filter = asked.filter(desk.now()).map_err(Problem::bad_parameter)?;
    let taken: &[&str] = if view == View::Changes { &["field"] } else { &[] };
    asked.only(taken).map_err(Problem::bad_parameter)?;
    let of_calls = filter.subject.is_some() || filter.team.is_some() || filter.operation.is_some();
    if view == View::Findings && of_calls {
        return Err(Problem::bad_query("findings are found by time and tunnel; remove the other parameters"));
    }
    if let Some(named) = filter.tunnel.take() {
        filter.tunnel = Some(one_tunnel(desk.tunnels(reading, &named).await?.what, named)?);
    }
    let mut told = desk.rows(reading, view, asked, &filter, asked.limit() as usize).await?;
    let rows = std::mem::take(&mut told.what.rows).into_iter().map(raw_object).collect::<Result<_, _>>()?;
    let next = told.what.next;
    answer(with(told, Page::<T> { rows, next, of: std::marker::PhantomData }))
}

/// Rows are about one tunnel each, so a name must mean one. What nobody is called finds nothing, by itself.
fn one_tunnel(ids: Vec<String>, named: String) -> Result<String, Problem> {
    match ids.as_slice() {
        [one] => Ok(one.clone()),
        [] => Ok(named),
        several => {
            let ids = several.join(", ");
            Err(Problem::bad_parameter((
                "tunnel",
                format!("names several, of different times; give one's id: {ids}"),
            )))
        }
    }
}

/// Calls that fit, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/calls",
    operation_id = "listCalls",
    params(Asked),
    responses((status = 200, body = Page<Call>), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
pub(super) async fn list(
    State(desk): Shared,
    Reader(reading): Reader,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    page::<Call>(&desk, &reading, View::Requests, &asked).await
}

/// One call's entries, by its request id or the id of any of them.
#[utoipa::path(
    get,
    path = "/api/v1/calls/{id}",
    operation_id = "getCall",
    params(("id" = uuid::Uuid, Path, description = "The call's request id, or an entry's id.")),
    responses((status = 200, body = Whole), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
pub(super) async fn one(
    State(desk): Shared,
    Reader(reading): Reader,
    Id(id): Id,
) -> Result<Response, Problem> {
    let mut told = desk.call(&reading, id).await?;
    let entries: Vec<Stored> = told.what.drain(..).map(Stored::of).collect::<Result<_, _>>()?;
    if entries.is_empty() {
        return Err(Problem::not_found("no call or entry has this id"));
    }
    answer(with(told, Whole { entries }))
}

/// Changed fields, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/changes",
    operation_id = "listChanges",
    params(Asked),
    responses((status = 200, body = Page<Change>), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
pub(super) async fn changes(
    State(desk): Shared,
    Reader(reading): Reader,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    page::<Change>(&desk, &reading, View::Changes, &asked).await
}

/// Keys that calls minted, set or carried, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/psk-events",
    operation_id = "listPskEvents",
    params(Asked),
    responses((status = 200, body = Page<PskEvent>), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
pub(super) async fn keys(
    State(desk): Shared,
    Reader(reading): Reader,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    page::<PskEvent>(&desk, &reading, View::PskEvents, &asked).await
}

/// Calls that were refused, or failed, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/refusals",
    operation_id = "listRefusals",
    params(Asked),
    responses((status = 200, body = Page<Refused>), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
pub(super) async fn refusals(
    State(desk): Shared,
    Reader(reading): Reader,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    page::<Refused>(&desk, &reading, View::Refusals, &asked).await
}

/// What went past the proxy, or is missing at the upstream, newest first. By time and tunnel only.
#[utoipa::path(
    get,
    path = "/api/v1/findings",
    operation_id = "listFindings",
    params(Asked),
    responses((status = 200, body = Page<Finding>), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
pub(super) async fn findings(
    State(desk): Shared,
    Reader(reading): Reader,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    page::<Finding>(&desk, &reading, View::Findings, &asked).await
}
