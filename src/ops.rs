//! The admin listener, and its health and metrics: `/livez`, `/readyz`, `/metrics`.
//!
//! Nothing here asks who reads it, so nothing here names a subject, a tunnel or a file: only closed lists of
//! words, and counts. Not here: the proxy's own API (`listen`), what of the record is
//! served beside these (`api`, `console`).

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tower_service::Service as _;

use crate::json::{Json, Object};
use crate::measure::Metrics;

/// Connections at once: those of a few analysts, of health checks and of what scrapes metrics.
const CONNECTIONS: usize = 64;

/// Connections beyond those, for who asks whether we live and are ready and nothing else: where that has no answer, the
/// program is restarted. Of these the oldest makes way for the next, so that nobody keeps them by holding them.
const PROBES: usize = 64;

/// How long one of those lives: a probe sends at once.
const PROBE_LIFE: Duration = Duration::from_secs(5);

/// How long a request's head may take, and how long a connection may wait for the next one.
const HEADERS: Duration = Duration::from_secs(10);

/// How long a connection lives, whatever it does: a page takes a second, a browser opens another one.
const LIFE: Duration = Duration::from_mins(2);

/// What is wrong now, in our words: none is good.
pub type Findings = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// What the admin listener tells of.
#[derive(Clone)]
pub struct Health {
    /// Why calls can't be served; any of them makes `/readyz` a 503.
    pub problems: Findings,
    /// What somebody should look at while calls are served.
    pub warnings: Findings,
    /// For `/metrics`.
    pub metrics: Metrics,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Health").field("metrics", &self.metrics).finish_non_exhaustive()
    }
}

/// An admin listener at work.
#[derive(Debug)]
pub struct Serving {
    /// The address with the port that was given.
    pub address: SocketAddr,
    /// Ends after `stop`.
    pub served: JoinHandle<io::Result<()>>,
}

/// Binds `address` and serves there, beside health and metrics what `more` has, until `stop` is true (or its sender gone).
///
/// # Errors
/// An address that can't be had.
pub async fn serve(
    address: SocketAddr,
    health: Health,
    more: Router,
    stop: watch::Receiver<bool>,
) -> io::Result<Serving> {
    serve_router(address, router(health.clone()).merge(more), probes(health), stop).await
}

/// Binds `address` and serves `router` there, and where all places are taken `probes`.
///
/// # Errors
/// An address that can't be had.
async fn serve_router(
    address: SocketAddr,
    router: Router,
    probes: Router,
    stop: watch::Receiver<bool>,
) -> io::Result<Serving> {
    let socket = TcpListener::bind(address).await?;
    let address = socket.local_addr()?;
    Ok(Serving { address, served: tokio::spawn(accept(socket, router, probes, stop)) })
}

/// Takes connections until `stop`, of which each has a bounded life: whoever sends half a request, or reads no answer, holds
/// one of few places, and none of the proxy's own. While all are held, others are asked for a probe.
async fn accept(
    socket: TcpListener,
    router: Router,
    probes: Router,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut tasks = JoinSet::new();
    let mut beyond: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let (stream, peer) = tokio::select! {
            () = told(&mut stop) => break,
            accepted = socket.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(error = %error, "the admin listener can't accept a connection; trying again");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        while tasks.try_join_next().is_some() {}
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let connection = connection(stream, peer, router.clone(), true, stop.clone());
            tasks.spawn(async move {
                let _place = place;
                let _ = tokio::time::timeout(LIFE, connection).await;
            });
        } else {
            beyond.retain(|probe| !probe.is_finished());
            if beyond.len() >= PROBES
                && let Some(oldest) = beyond.pop_front()
            {
                oldest.abort();
            }
            let connection = connection(stream, peer, probes.clone(), false, stop.clone());
            beyond.push_back(tasks.spawn(async move {
                let _ = tokio::time::timeout(PROBE_LIFE, connection).await;
            }));
        }
    }
    drop(socket);
    while tasks.join_next().await.is_some() {}
    Ok(())
}

/// Serves one connection to its end, which is the client's business.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    stays: bool,
    mut stop: watch::Receiver<bool>,
) {
    let answer = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().call(request)
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_headers(64).keep_alive(stays);
    let connection = http.serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = told(&mut stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Waits until it is told to stop, or nobody is left to tell.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The three routes, and JSON for what is none of them.
pub fn router(health: Health) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .fallback(async || {
            let routes = "no such route; see /livez, /readyz, /metrics, /api/v1/openapi.json and /console";
            failed(StatusCode::NOT_FOUND, routes)
        })
        .method_not_allowed_fallback(async || {
            failed(StatusCode::METHOD_NOT_ALLOWED, "this route does not take this method")
        })
        .with_state(health)
}

/// What is answered while all places are taken.
fn probes(health: Health) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .fallback(async || {
            let full =
                failed(StatusCode::SERVICE_UNAVAILABLE, "too many connections at once; try again shortly");
            ([(RETRY_AFTER, "1")], full)
        })
        .with_state(health)
}

/// The process runs and answers. Says nothing of what it depends on: a restart would not mend that.
async fn livez() -> Response {
    json(StatusCode::OK, [("status", Json::from("ok"))].into_iter().collect())
}

async fn readyz(State(health): State<Health>) -> Response {
    let (problems, warnings) = ((health.problems)(), (health.warnings)());
    let (status, word) = if problems.is_empty() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    };
    let mut body = Object::new();
    body.set("status", word);
    body.set("problems", problems);
    body.set("warnings", warnings);
    json(status, body)
}

async fn scrape(State(health): State<Health>) -> Response {
    // The version is the one of Prometheus' text format.
    text(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", health.metrics.render())
}

fn failed(status: StatusCode, message: &str) -> Response {
    json(status, [("error", message)].into_iter().collect())
}

fn json(status: StatusCode, body: Object) -> Response {
    text(status, "application/json", Json::Object(body).to_string())
}

fn text(status: StatusCode, content_type: &'static str, body: String) -> Response {
    let headers: [(HeaderName, &'static str); 2] =
        [(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-store")];
    (status, headers, body).into_response()
}

#[cfg(test)]
mod tests;
