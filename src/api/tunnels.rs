//! `/api/v1/tunnels`: what became of each, and how old its key is.

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::calls::{Page, page};
use super::{Problem, Query, Raw, Reader, Shared, answer, raw, with};
use crate::access::Asked;
use crate::store::View;

/// What is known of a tunnel's key.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `inspect` makes")]
pub(super) struct Key {
    /// The tunnel's id.
    tunnel: String,
    name: Option<String>,
    /// When the key was replaced last, by anybody.
    changed: Option<String>,
    /// By whom, where it was by a call through here.
    by: Option<String>,
    request_id: Option<String>,
    /// When the upstream last said that it was replaced.
    upstream_says: Option<String>,
    /// Whether somebody replaced it without this proxy.
    bypassed: bool,
}

/// The tunnels that are left.
#[derive(Serialize, ToSchema)]
pub(super) struct Tunnels {
    /// By id.
    #[schema(value_type = Vec<Key>)]
    tunnels: Vec<Raw>,
}

/// A tunnel's part in a write that ended.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of rows that the database makes")]
pub(super) struct Part {
    seq: u64,
    time: String,
    request_id: String,
    /// `outcome`, `refusal` or `resolved`.
    kind: String,
    subject: Option<String>,
    teams: Option<Vec<String>>,
    operation: Option<String>,
    account: Option<String>,
    tunnel: Option<String>,
    name: Option<String>,
    validate_only: Option<bool>,
    status: Option<u16>,
    refusal: Option<String>,
    sent: Option<String>,
    resolution: Option<String>,
    /// RFC 6901 pointers of the fields that changed.
    fields: Option<Vec<String>>,
    /// The fingerprint of the key that it has since, where this call gave it one.
    psk: Option<String>,
    policies: Option<Vec<String>>,
}

/// All tunnels that are known and not deleted, with the ages of their keys.
#[utoipa::path(
    get,
    path = "/api/v1/tunnels",
    operation_id = "listTunnels",
    responses((status = 200, body = Tunnels), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
pub(super) async fn list(State(desk): Shared, Reader(reading): Reader) -> Result<Response, Problem> {
    let mut told = desk.key_ages(&reading, None).await?;
    let key = |(id, age): (String, crate::inspect::KeyAge)| raw(age.to_json(&id).to_string());
    let tunnels = told.what.drain(..).map(key).collect::<Result<_, _>>()?;
    answer(with(told, Tunnels { tunnels }))
}

/// One tunnel's key.
#[utoipa::path(
    get,
    path = "/api/v1/tunnels/{tunnel}",
    operation_id = "getTunnel",
    params(("tunnel" = String, Path, description = "The tunnel's id, or its name.")),
    responses((status = 200, body = Key), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
pub(super) async fn one(
    State(desk): Shared,
    Reader(reading): Reader,
    Path(named): Path<String>,
) -> Result<Response, Problem> {
    let ids = desk.tunnels(&reading, &named).await?.what;
    let [id] = ids.as_slice() else { return Err(unknown(&ids)) };
    let told = desk.key_ages(&reading, Some(id)).await?;
    let (_, age) = told.what.first().ok_or_else(|| unknown(&[]))?;
    let text = raw(age.to_json(id).to_string())?;
    answer(with(told, text))
}

/// Every write on one tunnel, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/tunnels/{tunnel}/history",
    operation_id = "getTunnelHistory",
    params(("tunnel" = String, Path, description = "The tunnel's id, or a name that it has or had."), Asked),
    responses((status = 200, body = Page<Part>), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
pub(super) async fn history(
    State(desk): Shared,
    Reader(reading): Reader,
    Path(named): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    if asked.tunnel.is_some() {
        return Err(Problem::bad_query("the path names the tunnel; remove `tunnel`"));
    }
    let asked = Asked { tunnel: Some(named), ..asked };
    page::<Part>(&desk, &reading, View::TunnelHistory, &asked).await
}

fn unknown(ids: &[String]) -> Problem {
    if ids.is_empty() {
        Problem::not_found("no entry tells of a tunnel with this id or name that is left")
    } else {
        Problem::not_found(&format!("several tunnels had this name; give one's id: {}", ids.join(", ")))
    }
}
