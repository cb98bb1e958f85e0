//! Signing in and out: the token is kept in a cookie that scripts can't read and other sites can't send.

use std::net::SocketAddr;
use std::time::Duration;

use askama::Template;
use axum::extract::{ConnectInfo, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue, ORIGIN, SET_COOKIE};
use http::{StatusCode, Uri};
use serde::Deserialize;

use super::frame::{Frame, message, shown};
use super::{Console, query, same_origin};
use crate::access::{COOKIE, Door};

/// Bytes that browsers keep of a cookie (RFC 6265 section 6.1).
const MAX_COOKIE: usize = 4096;

/// How long a form may take to arrive.
const FORM: Duration = Duration::from_secs(10);

/// Bytes of a form.
const MAX_FORM: usize = 64 * 1024;

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn {
    frame: Frame,
    problem: String,
    next: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Next {
    next: String,
}

#[derive(Deserialize)]
struct Form {
    token: String,
    #[serde(default)]
    next: String,
}

/// To the page that takes a token, and back here after.
pub(super) fn to_sign_in(uri: &Uri) -> Response {
    let here = uri.path_and_query().map_or("/console", http::uri::PathAndQuery::as_str);
    let query = serde_urlencoded::to_string([("next", here)]).unwrap_or_default();
    Redirect::to(&format!("/console/sign-in?{query}")).into_response()
}

/// The page that takes a token.
pub(super) async fn page(uri: http::Uri) -> Response {
    let Next { next } = query(&uri).unwrap_or_default();
    shown(&SignIn { frame: Frame::of_nobody(), problem: String::new(), next })
}

/// Takes a token.
pub(super) async fn sign_in(
    State(console): State<Console>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: axum::body::Body,
) -> Response {
    if !same_origin::is_same(&headers) {
        return foreign();
    }
    let bytes = match tokio::time::timeout(FORM, axum::body::to_bytes(body, MAX_FORM)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => {
            return again("That is too long for a token.", String::new(), StatusCode::PAYLOAD_TOO_LARGE);
        }
        Err(_) => return again("That took too long.", String::new(), StatusCode::REQUEST_TIMEOUT),
    };
    let Ok(form) = serde_urlencoded::from_bytes::<Form>(&bytes) else {
        return again("Give a token.", String::new(), StatusCode::BAD_REQUEST);
    };
    let token = form.token.trim();
    if token.len() + COOKIE.len() >= MAX_COOKIE {
        let what = "A browser keeps no cookie of that size. Ask for a token with fewer claims.";
        return again(what, form.next, StatusCode::BAD_REQUEST);
    }
    let Ok(mut bearer) = HeaderValue::try_from(format!("Bearer {token}")) else {
        return again("This is no token.", form.next, StatusCode::BAD_REQUEST);
    };
    bearer.set_sensitive(true);
    let bearer = HeaderMap::from_iter([(AUTHORIZATION, bearer)]);
    match console.desk.enter(Door::Console, address.ip().to_canonical(), &bearer).await {
        Err(refusal) => again(&refusal.message(), form.next, refusal.terms().status),
        Ok(reading) => {
            let left = reading.expires().duration_since(console.desk.now()).as_secs().max(0);
            let secure = if is_plain(&headers) { "" } else { "; Secure" };
            let cookie =
                format!("{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/console; Max-Age={left}{secure}");
            // INVARIANT: a token that was identified has no character that ends a cookie's value.
            let Ok(mut cookie) = HeaderValue::try_from(cookie) else {
                return again("This is no token.", form.next, StatusCode::BAD_REQUEST);
            };
            cookie.set_sensitive(true);
            ([(SET_COOKIE, cookie)], Redirect::to(ours(&form.next))).into_response()
        }
    }
}

/// Forgets the token.
pub(super) async fn sign_out(headers: HeaderMap) -> Response {
    if !same_origin::is_same(&headers) {
        return foreign();
    }
    let cookie = format!("{COOKIE}=; HttpOnly; SameSite=Strict; Path=/console; Max-Age=0");
    ([(SET_COOKIE, cookie)], Redirect::to("/console/sign-in")).into_response()
}

/// What another site's form gets.
pub(super) fn foreign() -> Response {
    let what = "This form was not sent by a page of this console. Open the console and try again there.";
    message(None, StatusCode::FORBIDDEN, "Refused", what)
}

fn again(problem: &str, next: String, status: StatusCode) -> Response {
    let page = SignIn { frame: Frame::of_nobody(), problem: crate::inspect::plain(problem), next };
    (status, shown(&page)).into_response()
}

/// Where to go on: a page of ours, whatever was asked for.
fn ours(next: &str) -> &str {
    let plain = next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let within = next == "/console" || next.starts_with("/console/") || next.starts_with("/console?");
    if plain && within && !next.contains("/..") { next } else { "/console" }
}

/// Whether the browser says that it came by plain HTTP and to this very machine. Everywhere else the cookie needs TLS, and a
/// browser without it keeps none.
fn is_plain(headers: &HeaderMap) -> bool {
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok()).unwrap_or_default();
    let Some(host) = origin.strip_prefix("http://") else { return false };
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    matches!(name.map_or(host, |(name, _)| name), "localhost" | "127.0.0.1" | "[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_signing_in_nobody_is_sent_elsewhere() {
        for good in ["/console", "/console/calls/x", "/console?hours=24", "/console/search?subject=a%20b"] {
            assert_eq!(ours(good), good);
        }
        for bad in [
            "",
            "//evil.example",
            "https://evil.example",
            "/consolation",
            "/console/../metrics",
            "/console\\@evil",
            "/console/\r\nset-cookie: a=b",
            "javascript:alert(1)",
            "/metrics",
        ] {
            assert_eq!(ours(bad), "/console", "{bad}");
        }
    }
}
