mod lost;
mod reading;
mod server;
mod tls;
mod tokens;
mod wire;

use std::collections::BTreeMap;
use std::path::Path;

use http::StatusCode;
use uuid::Uuid;

use super::*;
use crate::clock::SystemClock;
use crate::config::TokenSource;
use crate::limit::{Budget, Taken};
use crate::measure::{Metrics, Stage};
use crate::operation::{AccountId, Operation, Route, TunnelId};
use crate::refusal::Refusal;

/// A token of the right form that is nobody's.
fn token() -> SecretString {
    SecretString::from("test_token_that_opens_nothing_0001")
}

fn config(base: &str) -> config::Upstream {
    config::Upstream {
        base_url: format!("{base}/client/v4").parse().unwrap(),
        token: Some(TokenSource::Environment(token())),
        accounts: BTreeMap::new(),
        ca_file: None,
        connect_timeout: Duration::from_secs(20),
        read_timeout: Duration::from_secs(20),
        write_timeout: Duration::from_secs(20),
        turn_timeout: Duration::from_secs(20),
        idle_timeout: Duration::from_secs(20),
        max_answer_bytes: 64 * 1024,
    }
}

fn start(config: &config::Upstream) -> Result<Upstream, ForwardError> {
    Upstream::start(config, SystemClock::new(), Metrics::new())
}

fn upstream(config: &config::Upstream) -> Upstream {
    start(config).unwrap()
}

fn budget() -> Budget {
    let config = config::Budget {
        requests: 1000,
        window: Duration::from_secs(60),
        reserve: 0,
        reserve_roles: Vec::new(),
    };
    Budget::new(&config, SystemClock::new(), None)
}

async fn taken() -> Taken {
    budget().take_own().await.unwrap()
}

fn route(operation: Operation) -> Route {
    let tunnel = operation.names_tunnel().then(|| TunnelId::parse("0f").unwrap());
    Route { operation, account: AccountId::parse("a1").unwrap(), tunnel, validate_only: false }
}

fn outgoing(route: &Route) -> Outgoing<'_> {
    let body = route.operation.is_write().then(|| "{}".to_owned());
    let (new_hc_target, user_agent, stage) = (None, None, Stage::Forward);
    Outgoing { route, body, new_hc_target, user_agent, request_id: Uuid::from_u128(7), stage }
}

async fn send(upstream: &Upstream, operation: Operation) -> Result<Answer, Failure> {
    upstream.send_route(&taken().await, outgoing(&route(operation))).await
}

#[track_caller]
fn check_failure(got: Result<Answer, Failure>, refusal: Refusal, sent: Sent, status: Option<u16>) {
    let failure = got.expect_err("no usable answer");
    let status = status.map(|status| StatusCode::from_u16(status).unwrap());
    assert_eq!((failure.refusal, failure.sent, failure.status), (refusal, sent, status));
}

#[test]
fn the_base_is_https_or_loopback() {
    let check = |url: &str, want: Option<&str>| {
        assert_eq!(base(&url.parse().unwrap()).ok().as_deref(), want, "{url}");
    };
    check("https://api.example/client/v4", Some("https://api.example/client/v4"));
    check("https://api.example/client/v4/", Some("https://api.example/client/v4"));
    check("https://api.example", Some("https://api.example"));
    check("http://127.0.0.1:80/x", Some("http://127.0.0.1:80/x"));
    check("http://[::1]:80/x", Some("http://[::1]:80/x"));
    check("http://localhost/x", Some("http://localhost/x"));
    check("http://api.example/client/v4", None);
    check("http://127.0.0.1.example/x", None);
    check("ftp://api.example", None);
    check("/client/v4", None);
    check("https://user:pass@api.example/", None);
    check("https://api.example/?a=b", None);
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let mut config = config("http://api.example");
    config.ca_file = Some(Path::new("/does/not/exist.pem").into());
    config.token =
        Some(TokenSource::Environment(SecretString::from("cfk_0123456789012345678901234567890123")));
    let wrong: Vec<_> = check(&config).iter().map(ToString::to_string).collect();
    let starts =
        ["upstream.base_url: ", "upstream.ca_file: ", "CLOUDFLARE_API_TOKEN: this is a global API key"];
    assert_eq!(wrong.len(), starts.len(), "{wrong:?}");
    for (wrong, start) in wrong.iter().zip(starts) {
        assert!(wrong.starts_with(start), "{wrong}");
    }
}
