//! A no as problem details (RFC 9457).
//!
//! Not here: the terms and words of refusals (`refusal`).

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::refusal::{Refusal, Retry, whole_seconds};

/// Why a question has no answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// The status, as in the answer's first line.
    status: u16,
    /// The refusal's name, such as `forbidden`.
    #[schema(example = "forbidden")]
    title: String,
    /// What is wrong, and what to do.
    detail: String,
    /// The refusal's number, as in the README's table; none where the question itself is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u32>,
    /// The query's parameter that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'static str>,
    #[serde(skip)]
    retry_after: Option<u64>,
}

impl Problem {
    fn new(status: StatusCode, title: &str, detail: impl Into<String>) -> Self {
        Self {
            status: status.as_u16(),
            title: title.to_owned(),
            detail: detail.into(),
            code: None,
            parameter: None,
            retry_after: None,
        }
    }

    pub(super) fn not_found(detail: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    pub(super) fn internal() -> Self {
        Refusal::Internal.into()
    }

    pub(super) fn bad_query(detail: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_query", detail)
    }

    pub(super) fn bad_parameter((parameter, detail): (&'static str, String)) -> Self {
        let problem = Self::bad_query(&format!("`{parameter}` {detail}"));
        Self { parameter: Some(parameter), ..problem }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let terms = refusal.terms();
        let retry_after = match terms.retry {
            Retry::After(wait) => Some(whole_seconds(wait)),
            Retry::MayRepeat | Retry::Useless => None,
        };
        let problem = Self::new(terms.status, refusal.name(), refusal.message());
        Self { code: Some(terms.code), retry_after, ..problem }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let text = serde_json::to_string(&self).unwrap_or_default();
        let mut response = (status, text).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
