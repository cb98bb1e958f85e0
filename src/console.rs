//! The console: pages for analysts, made on the server.
//!
//! No page needs a script; the one there is adds a live tail and keys. Nothing is loaded from anywhere else, and the content
//! security policy says so. Every text from the record is made plain (`inspect::plain`) and escaped (askama). Not here: who
//! may read, and that it is recorded (`access`), JSON for programs (`api`).

mod call;
mod cells;
mod chart;
mod frame;
mod overview;
mod people;
mod same_origin;
mod search;
mod session;
mod tunnels;
mod verify;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;

use crate::access::{Desk, Door, Reading};
use crate::ops::Health;
use crate::refusal::Refusal;

use frame::{failed, message, secured};

/// What pages are made of.
#[derive(Clone, Debug)]
pub struct Console {
    /// The record.
    pub desk: Arc<Desk>,
    /// How the proxy is.
    pub health: Health,
}

/// All pages, below `/console`.
pub fn router(console: Console) -> Router {
    Router::new()
        .route("/", get(async || Redirect::to("/console")))
        .route("/console", get(overview::page))
        .route("/console/search", get(search::page))
        .route("/console/rows", get(search::rows))
        .route("/console/calls/{id}", get(call::page))
        .route("/console/entries/{id}/proof", get(call::proof))
        .route("/console/tunnels", get(tunnels::list))
        .route("/console/tunnels/{id}", get(tunnels::one))
        .route("/console/people", get(people::page))
        .route("/console/verify", get(verify::page).post(verify::start))
        .route("/console/sign-in", get(session::page).post(session::sign_in))
        .route("/console/sign-out", post(session::sign_out))
        .route(
            "/console/assets/console.css",
            get(async || asset("text/css", include_str!("console/console.css"))),
        )
        .route(
            "/console/assets/console.js",
            get(async || asset("text/javascript", include_str!("console/console.js"))),
        )
        .route(
            "/console/assets/icon.svg",
            get(async || asset("image/svg+xml", include_str!("console/icon.svg"))),
        )
        .route("/console/{*rest}", get(nothing))
        .layer(axum::middleware::map_response(secured))
        .with_state(console)
}

async fn nothing() -> Response {
    message(None, StatusCode::NOT_FOUND, "Not found", "There is no such page.")
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "max-age=60")], text).into_response()
}

/// Whoever may read: taking it as an argument lets nobody else in. Who has no token yet is sent to sign in.
struct Reader(Reading);

impl FromRequestParts<Console> for Reader {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Response> {
        let address = ConnectInfo::<SocketAddr>::from_request_parts(parts, console).await;
        let Ok(ConnectInfo(address)) = address else { return Err(failed(None, &Refusal::Internal)) };
        let entered = console.desk.enter(Door::Console, address.ip().to_canonical(), &parts.headers).await;
        entered.map(Self).map_err(|refusal| {
            let nobody = matches!(refusal, Refusal::TokenMissing { .. });
            if nobody { session::to_sign_in(&parts.uri) } else { failed(None, &refusal) }
        })
    }
}

/// Reads a query; an unknown or repeated name is refused.
fn query<T: serde::de::DeserializeOwned>(uri: &http::Uri) -> Result<T, String> {
    serde_urlencoded::from_str(uri.query().unwrap_or_default()).map_err(|e| e.to_string())
}
