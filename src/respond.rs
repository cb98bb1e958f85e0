//! What a refused client gets: Cloudflare's envelope, and headers that its SDK acts on.
//!
//! Pure. Source: Cloudflare's API response envelope; RFC 9110 sections 10.2.1, 10.2.3 and 11.6.1; RFC 6750
//! section 3. Not here: what a refusal says (`refusal`), what the upstream answered (`forward`), rate-limit
//! fields (`pipeline`).

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use uuid::Uuid;

use crate::audit::Recorded;
use crate::forward::{Answer, Failure};
use crate::json::{Json, Object};
use crate::limit::Standing;
use crate::operation::Operation;
use crate::refusal::{Refusal, Retry, whole_seconds};

/// What the official SDKs ask before they retry.
pub const X_SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Names the call, in the answer and in the record.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The answer to a refused call. `operation` is `None` where it is not known.
#[must_use]
pub fn envelope(refusal: &Refusal, request_id: Uuid, operation: Option<Operation>) -> Response<Full<Bytes>> {
    let terms = refusal.terms();
    let body = body(refusal, terms.code).to_string();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = terms.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    set_request_id(headers, request_id);
    set_retry(headers, terms.retry, operation);
    if let Refusal::MethodNotAllowed { allow } = refusal {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    if terms.status == StatusCode::UNAUTHORIZED {
        // RFC 6750 section 3.1: no error code where no token was sent.
        let no_token = matches!(refusal, Refusal::TokenMissing { .. });
        let challenge = if no_token { "Bearer" } else { "Bearer error=\"invalid_token\"" };
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}

/// Sets `x-request-id`. INVARIANT: every answer has it; `listen` tells our answers from others' by it.
pub fn set_request_id(headers: &mut HeaderMap, request_id: Uuid) {
    let mut text = Uuid::encode_buffer();
    if let Ok(value) = HeaderValue::from_str(request_id.hyphenated().encode_lower(&mut text)) {
        headers.insert(X_REQUEST_ID, value);
    }
}

/// Says whether to retry, and when. Nothing is said where the client's own rule is as good as ours.
fn set_retry(headers: &mut HeaderMap, retry: Retry, operation: Option<Operation>) {
    let should = match retry {
        Retry::After(wait) => {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
            Some(true)
        }
        Retry::Useless => Some(false),
        // A call that is not known may have been a one-shot one.
        Retry::MayRepeat => operation.is_none_or(Operation::is_one_shot).then_some(false),
    };
    if let Some(should) = should {
        let value = HeaderValue::from_static(if should { "true" } else { "false" });
        headers.insert(X_SHOULD_RETRY, value);
    }
}

fn body(refusal: &Refusal, code: u32) -> Json {
    let mut error = Object::new();
    error.set("code", code);
    error.set("message", refusal.message());
    if let Some(pointer) = refusal.pointer() {
        let mut source = Object::new();
        source.set("pointer", pointer);
        error.set("source", source);
    }
    let mut envelope = Object::new();
    envelope.set("success", false);
    envelope.set("errors", vec![Json::Object(error)]);
    envelope.set("messages", Vec::<Json>::new());
    envelope.set("result", Json::Null);
    Json::Object(envelope)
}

/// What an answer carries besides: how the caller stands with its quotas, and the tunnel's `ETag`.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    /// For `RateLimit` and `RateLimit-Policy`.
    pub standing: Standing,
    /// For `ETag`, quotes included.
    pub etag: Option<String>,
}

impl Extras {
    /// Our rate limit items follow the upstream's in one list (RFC 9651 section 3.1).
    fn add(self, headers: &mut HeaderMap) {
        for (name, value) in self.standing.headers() {
            headers.append(name, value);
        }
        if let Some(etag) = self.etag.and_then(|etag| HeaderValue::try_from(etag).ok()) {
            headers.insert(ETAG, etag);
        }
    }
}

/// The answer to a call that is refused, now that the refusal stands in the record.
#[must_use]
pub fn refuse(
    recorded: &Recorded,
    refusal: &Refusal,
    operation: Option<Operation>,
    extras: Extras,
) -> Response<Full<Bytes>> {
    let mut response = envelope(refusal, recorded.request_id(), operation);
    extras.add(response.headers_mut());
    response
}

/// The answer to a call that was sent, now that its outcome stands in the record: the upstream's own, status and
/// body untouched, or what is known instead of it. `may_have_acted` tells that the upstream has acted or may have:
/// a one-shot call is then not to be repeated, whether its author takes it for failed or not.
#[must_use]
pub fn pass(
    recorded: &Recorded,
    answer: Result<Answer, Failure>,
    operation: Operation,
    may_have_acted: bool,
    extras: Extras,
) -> Response<Full<Bytes>> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) => return refuse(recorded, &failure.refusal, Some(operation), extras),
    };
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    set_request_id(headers, recorded.request_id());
    if may_have_acted {
        set_retry(headers, Retry::MayRepeat, Some(operation));
    }
    extras.add(headers);
    response
}

#[cfg(test)]
mod tests;
