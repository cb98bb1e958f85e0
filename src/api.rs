//! The audit API, `/api/v1`: the record for programs, as JSON.
//!
//! The same questions and filters as at the terminal, pages by a cursor, and RFC 9457 problem details for each no. What is
//! served is described by the OpenAPI 3.1 document at `/api/v1/openapi.json`, which is made of this code. Not here: who may
//! read, and that it is recorded (`access`), pages for people (`console`).

mod calls;
mod entries;
mod evidence;
mod problem;
mod statistics;
#[cfg(test)]
mod tests;
mod tunnels;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, FromRef, FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::{Desk, Door, Reading, Told};
use crate::json::{Json, Object};

pub use problem::Problem;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The description, but for its paths.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "tunnelwarden audit API",
        description = "The record of all calls. Each question is itself recorded, as an `audit_read` entry.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    modifiers(&Bearer),
    security(("token" = []))
)]
struct Description;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
    }
}

/// The routes, all below `/api/v1`.
pub fn router(desk: Arc<Desk>) -> Router {
    let (router, description) = described();
    let text: Arc<str> = description.to_json().unwrap_or_default().into();
    let serve = move || {
        let text = Arc::clone(&text);
        async move { ([(CONTENT_TYPE, "application/json")], text.to_string()) }
    };
    router
        .route("/api/v1/openapi.json", axum::routing::get(serve))
        .route("/api/v1/{*rest}", axum::routing::any(async || Problem::not_found("see /api/v1/openapi.json")))
        .with_state(desk)
}

/// The routes and the description that is made of them.
fn described() -> (Router<Arc<Desk>>, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(entries::list))
        .routes(routes!(entries::one))
        .routes(routes!(evidence::proof))
        .routes(routes!(calls::list))
        .routes(routes!(calls::one))
        .routes(routes!(calls::changes))
        .routes(routes!(calls::keys))
        .routes(routes!(calls::refusals))
        .routes(routes!(calls::findings))
        .routes(routes!(tunnels::list))
        .routes(routes!(tunnels::one))
        .routes(routes!(tunnels::history))
        .routes(routes!(statistics::count))
        .routes(routes!(evidence::checkpoints))
        .routes(routes!(evidence::verification, evidence::verify))
        .split_for_parts()
}

/// Whoever may read: taking it as an argument lets nobody else in.
struct Reader(Reading);

impl<S: Send + Sync> FromRequestParts<S> for Reader
where
    Arc<Desk>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let desk = Arc::<Desk>::from_ref(state);
        let address = ConnectInfo::<SocketAddr>::from_request_parts(parts, state).await;
        let ConnectInfo(address) = address.map_err(|_| Problem::internal())?;
        Ok(Self(desk.enter(Door::Api, address.ip().to_canonical(), &parts.headers).await?))
    }
}

/// The query, strictly: each name known and given once.
struct Query<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        serde_urlencoded::from_str(query).map(Self).map_err(|e| Problem::bad_query(&e.to_string()))
    }
}

/// A path's segment that is an id of the record's.
struct Id(uuid::Uuid);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        let id = path.ok().and_then(|path| path.0.parse().ok());
        id.map(Self).ok_or_else(|| Problem::not_found("ids of entries and calls are UUIDs"))
    }
}

type Shared = State<Arc<Desk>>;

/// JSON that is passed on as it is.
type Raw = Box<RawValue>;

fn raw(text: String) -> Result<Raw, Problem> {
    RawValue::from_string(text).map_err(|_| Problem::internal())
}

fn raw_object(object: Object) -> Result<Raw, Problem> {
    raw(Json::Object(object).to_string())
}

/// An answer, with the id of the request that was recorded.
fn answer<T: Serialize>(told: Told<T>) -> Result<Response, Problem> {
    let text = serde_json::to_string(&told.what).map_err(|_| Problem::internal())?;
    Ok(text_answer(told.request_id, "application/json", text))
}

fn text_answer(request_id: uuid::Uuid, kind: &'static str, text: String) -> Response {
    let mut response = (StatusCode::OK, text).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    );
    headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::try_from(request_id.to_string()) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

/// Another value in the place of what was told.
fn with<T, U>(told: Told<T>, what: U) -> Told<U> {
    Told { request_id: told.request_id, what }
}
