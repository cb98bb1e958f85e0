//! What all pages have in common: the frame, the headers, and how a no looks.

use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};

use crate::access::Reading;
use crate::authorize::Depth;
use crate::inspect::plain;
use crate::refusal::Refusal;

/// Nothing but our own style, script, pictures and forms.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What stands around a page.
pub(super) struct Frame {
    pub(super) subject: Option<String>,
    pub(super) at: &'static str,
    pub(super) metadata_only: bool,
    pub(super) request_id: String,
}

impl Frame {
    /// Around a page of somebody who may read.
    pub(super) fn of(reading: &Reading, at: &'static str, request_id: uuid::Uuid) -> Self {
        Self {
            subject: Some(plain(reading.subject())),
            at,
            metadata_only: reading.depth() == Depth::Metadata,
            request_id: request_id.to_string(),
        }
    }

    /// Around a page of nobody.
    pub(super) const fn of_nobody() -> Self {
        Self { subject: None, at: "", metadata_only: false, request_id: String::new() }
    }

    pub(super) const fn pages(&self) -> [(&'static str, &'static str); 5] {
        [
            ("/console", "Overview"),
            ("/console/search", "Search"),
            ("/console/tunnels", "Tunnels"),
            ("/console/people", "People"),
            ("/console/verify", "Verify"),
        ]
    }

    pub(super) fn is_at(&self, at: &str) -> bool {
        self.at == at
    }
}

#[derive(Template)]
#[template(path = "message.html")]
struct Message {
    frame: Frame,
    title: String,
    detail: String,
}

/// The page that says no.
pub(super) fn failed(reading: Option<&Reading>, refusal: &Refusal) -> Response {
    let title = match refusal.terms().status {
        StatusCode::FORBIDDEN => "You may not read this",
        StatusCode::UNAUTHORIZED => "This token does not count",
        StatusCode::TOO_MANY_REQUESTS => "Too often",
        _ => "This can't be shown now",
    };
    message(reading, refusal.terms().status, title, &refusal.message())
}

/// A page that says something.
pub(super) fn message(reading: Option<&Reading>, status: StatusCode, title: &str, detail: &str) -> Response {
    let frame = reading.map_or_else(Frame::of_nobody, |reading| Frame {
        request_id: String::new(),
        ..Frame::of(reading, "", uuid::Uuid::nil())
    });
    let page = Message { frame, title: title.to_owned(), detail: plain(detail) };
    (status, shown(&page)).into_response()
}

/// A template as a page.
pub(super) fn shown(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => {
            tracing::error!(error = %error, "a page of the console can't be made");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Sets the headers that every answer of the console has.
pub(super) async fn secured(mut response: Response) -> Response {
    const HEADERS: [(HeaderName, &str); 6] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not `no-referrer`, for which browsers send `Origin: null` with our own forms.
        (REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ];
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
