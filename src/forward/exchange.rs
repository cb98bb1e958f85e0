//! One call and its answer, or what is known of the call that got none.
//!
//! A write is tried once. A read is tried a second time if the pooled connection that it was sent over turned
//! out dead, and for no other reason. The whole exchange, both tries, has one deadline.
//!
//! Not here: how connections are made (`forward::dial`), what of an answer is taken (`forward::answer`).

use std::error::Error as _;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use uuid::Uuid;

use super::Upstream;
use super::answer::{self, Answer};
use super::dial::Marks;
use super::token::{Slot, Token};
use crate::audit::{Cleared, Sent};
use crate::caller::Origin;
use crate::limit::Taken;
use crate::measure::Stage;
use crate::operation::{Operation, Route};
use crate::refusal::Refusal;
use crate::trace;
use crate::trace::parent::TRACEPARENT;

/// A call as it goes out.
pub struct Outgoing<'a> {
    /// What is asked for; method, URL and deadline follow from it.
    pub route: &'a Route,
    /// The body, written from the JSON that was authorized.
    pub body: Option<String>,
    /// `x-magic-new-hc-target`, where the client sent it. Not sent on the PSK operations, which don't know it.
    pub new_hc_target: Option<bool>,
    /// The client's user agent; ours follows it.
    pub user_agent: Option<&'a str>,
    /// The call's id, which goes into the user agent and so into the upstream's own audit log.
    pub request_id: Uuid,
    /// The stage that sends it, from whose span the call's trace goes on.
    pub stage: Stage,
}

impl std::fmt::Debug for Outgoing<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the body, which may hold a PSK.
        f.debug_struct("Outgoing")
            .field("route", self.route)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

/// A call without a usable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What to answer: one of the `Upstream…` refusals.
    pub refusal: Refusal,
    /// What is known of the call. Always [`Sent::No`] with `UpstreamUnreachable` and `UpstreamToken`, never with
    /// the other `Upstream…` refusals.
    pub sent: Sent,
    /// The status, where the head of an answer came.
    pub status: Option<StatusCode>,
    /// The `cf-ray`, where the head of an answer came.
    pub cf_ray: Option<String>,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        failure.refusal
    }
}

impl Failure {
    /// Of a call of which nothing was sent, for this reason.
    #[must_use]
    pub const fn unsent(refusal: Refusal) -> Self {
        Self { refusal, sent: Sent::No, status: None, cf_ray: None }
    }
}

const NEW_HC_TARGET: HeaderName = HeaderName::from_static("x-magic-new-hc-target");

/// A request of ours, ready to be made once or twice.
pub(super) struct Call<'a> {
    /// In logs and metrics.
    pub(super) name: &'static str,
    pub(super) method: Method,
    /// Below the base.
    pub(super) path: String,
    pub(super) body: Option<Bytes>,
    pub(super) new_hc_target: Option<bool>,
    pub(super) user_agent: Option<&'a str>,
    pub(super) request_id: Uuid,
    /// Where the trace goes on, if there is one.
    pub(super) traceparent: Option<HeaderValue>,
    /// It changes nothing, so it may be tried twice.
    pub(super) is_read: bool,
}

/// What is known of a call while it is under way; outlives the future that is dropped at the deadline.
#[derive(Default)]
struct Progress {
    connection: Option<CaptureConnection>,
    /// A first try may have gone out.
    tried: bool,
    status: Option<StatusCode>,
    cf_ray: Option<String>,
}

impl Progress {
    fn sent(&self) -> Sent {
        let dispatched = self.connection.as_ref().is_some_and(|c| c.connection_metadata().is_some());
        if self.status.is_some() {
            Sent::Yes
        } else if dispatched || self.tried {
            Sent::Unknown
        } else {
            Sent::No
        }
    }
}

/// Why one try got no head of an answer.
struct Broken {
    refusal: Refusal,
    sent: Sent,
    /// The connection had served before and was closed under the call.
    was_stale: bool,
    detail: String,
}

impl Upstream {
    /// Makes a call that the audit stage has cleared, and waits for all of its answer. The budget sees what the answer says of the upstream's
    /// limits.
    ///
    /// # Errors
    /// [`Failure`], which says whether the call may have had an effect.
    pub async fn send(
        &self,
        _cleared: &Cleared<'_>,
        taken: &Taken,
        outgoing: Outgoing<'_>,
    ) -> Result<Answer, Failure> {
        self.send_route(taken, outgoing).await
    }

    pub(super) async fn send_route(&self, taken: &Taken, outgoing: Outgoing<'_>) -> Result<Answer, Failure> {
        let tokens = self.tokens();
        let Some(slot) = tokens.of(Some(outgoing.route.account)) else {
            return Err(Failure::unsent(Refusal::UpstreamToken("none is configured for this account")));
        };
        let operation = outgoing.route.operation;
        let is_psk = matches!(operation, Operation::GeneratePsk | Operation::SetPsks);
        let call = Call {
            name: operation.name(),
            method: operation.method(),
            path: outgoing.route.upstream_path(),
            body: outgoing.body.map(Bytes::from),
            new_hc_target: outgoing.new_hc_target.filter(|_| !is_psk),
            user_agent: outgoing.user_agent,
            request_id: outgoing.request_id,
            traceparent: trace::current().and_then(|tag| tag.trace?.traceparent(outgoing.stage)),
            is_read: !operation.is_write(),
        };
        self.call(slot, taken, &call).await
    }

    /// Makes a call within its deadline, and tells log and metrics how it went.
    pub(super) async fn call(&self, slot: &Slot, taken: &Taken, call: &Call<'_>) -> Result<Answer, Failure> {
        let began = self.clock.monotonic();
        let mut progress = Progress::default();
        let deadline = if call.is_read { self.read_timeout } else { self.write_timeout };
        let token = slot.token();
        let work = self.exchange(token, taken, call, &mut progress, began);
        let done = tokio::time::timeout(deadline, work).await;
        let result = done.unwrap_or_else(|_| {
            let sent = progress.sent();
            // Without a connection nothing was asked, so there is nothing that may have happened.
            let refusal =
                if sent == Sent::No { Refusal::UpstreamUnreachable } else { Refusal::UpstreamTimeout };
            Err((refusal, sent, format!("no whole answer within {} ms", deadline.as_millis())))
        });
        if let Some(status) = progress.status {
            slot.note(status == StatusCode::UNAUTHORIZED);
        }
        let took = self.clock.monotonic().saturating_sub(began);
        let result = result.map_err(|(refusal, sent, detail)| {
            tracing::warn!(
                request.id = %call.request_id,
                upstream.operation = call.name,
                upstream.status = progress.status.map(|status| status.as_u16()),
                upstream.sent = sent.name(),
                refusal = refusal.name(),
                detail,
                "a call to the upstream got no usable answer"
            );
            Failure { refusal, sent, status: progress.status, cf_ray: progress.cf_ray.take() }
        });
        self.metrics.upstream(call.name, took);
        report(call, &result, took);
        result
    }

    async fn exchange(
        &self,
        token: &Token,
        taken: &Taken,
        call: &Call<'_>,
        progress: &mut Progress,
        began: Duration,
    ) -> Result<Answer, (Refusal, Sent, String)> {
        let failed = |refusal, sent, detail: &str| (refusal, sent, detail.to_owned());
        let response = loop {
            let Some(mut request) = self.request(token, call) else {
                return Err(failed(Refusal::Internal, Sent::No, "the request can't be put together"));
            };
            let connection = capture_connection(&mut request);
            progress.connection = Some(connection.clone());
            match self.client.request(request).await {
                Ok(response) => break response,
                Err(error) => {
                    let broken = Broken::new(&error, &connection);
                    // The second try is a call of its own to the upstream, so it is counted.
                    if call.is_read && !progress.tried && broken.was_stale && taken.again().await.is_ok() {
                        progress.tried = true;
                        continue;
                    }
                    // Not the progress: it knows of the connection, but not that the call came back unsent.
                    let sent = if progress.tried { broken.sent.max(Sent::Unknown) } else { broken.sent };
                    return Err((broken.refusal, sent, broken.detail));
                }
            }
        };
        let (head, body) = response.into_parts();
        if let Some(marks) = head.extensions.get::<Marks>() {
            marks.set_answered();
        }
        let headers = answer::kept(&head.headers);
        progress.status = Some(head.status);
        progress.cf_ray = answer::cf_ray(&headers).map(str::to_owned);
        taken.observe(head.status, &headers);
        if let Some(refusal) = answer::unusable(head.status) {
            return Err(failed(refusal, Sent::Yes, "an unusable status"));
        }
        let body = answer::collect(body, self.max_answer_bytes).await;
        let decoded = body.and_then(|body| answer::decode(&head.headers, body, self.max_answer_bytes));
        let (body, was_gzip) = decoded.map_err(|refusal| failed(refusal, Sent::Yes, "an unusable body"))?;
        let is_json = answer::is_json(&headers);
        let duration = self.clock.monotonic().saturating_sub(began);
        Ok(Answer { status: head.status, headers, body, was_gzip, is_json, duration })
    }

    /// The request, from parsed values alone. `None` can't be: every part of it is plain ASCII.
    fn request(&self, token: &Token, call: &Call<'_>) -> Option<Request<Full<Bytes>>> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{}{}", self.base, call.path))
            .body(Full::new(call.body.clone().unwrap_or_default()))
            .ok()?;
        let headers: &mut HeaderMap = request.headers_mut();
        headers.insert(AUTHORIZATION, token.header.clone());
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, user_agent(call.user_agent, call.request_id)?);
        if call.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(new) = call.new_hc_target {
            headers.insert(NEW_HC_TARGET, HeaderValue::from_static(if new { "true" } else { "false" }));
        }
        if let Some(traceparent) = &call.traceparent {
            headers.insert(TRACEPARENT, traceparent.clone());
        }
        Some(request)
    }
}

/// The client's user agent, cut and cleaned, and ours with the request id.
fn user_agent(client: Option<&str>, request_id: Uuid) -> Option<HeaderValue> {
    let mut text = String::new();
    if let Some(client) = client.map(str::trim).filter(|client| !client.is_empty()) {
        let plain = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
        text.extend(client.chars().take(Origin::USER_AGENT_MAX).map(plain));
        text.push(' ');
    }
    text.push_str(concat!("tunnelwarden/", env!("CARGO_PKG_VERSION")));
    text.push_str(&format!(" ({request_id})"));
    HeaderValue::try_from(text).ok()
}

impl Broken {
    fn new(error: &legacy::Error, connection: &CaptureConnection) -> Self {
        let metadata = connection.connection_metadata();
        // The client notes the connection before it hands the request over, so without one nothing was sent. On
        // one, "canceled" means that the request came back before a byte of it was written.
        let hyper = error.source().and_then(|source| source.downcast_ref::<hyper::Error>());
        let canceled = hyper.is_some_and(hyper::Error::is_canceled);
        let sent = if metadata.is_none() || canceled { Sent::No } else { Sent::Unknown };
        let refusal = match hyper {
            _ if sent == Sent::No => Refusal::UpstreamUnreachable,
            Some(e) if e.is_parse_too_large() => Refusal::UpstreamAnswer("its headers are too large"),
            Some(e) if e.is_parse() => Refusal::UpstreamAnswer("it is not well-formed HTTP"),
            _ => Refusal::UpstreamDropped,
        };
        let mut extensions = Extensions::new();
        if let Some(connected) = metadata.as_ref() {
            connected.get_extras(&mut extensions);
        }
        let served = extensions.get::<Marks>().is_some_and(Marks::answered);
        let closed = hyper.is_some_and(|e| {
            let by_io = e.source().is_some_and(<dyn std::error::Error>::is::<io::Error>);
            canceled || by_io || e.is_incomplete_message() || e.is_closed()
        });
        Self { refusal, sent, was_stale: served && closed, detail: chain(error) }
    }
}

/// An error with its sources. hyper's errors quote nothing of a request or an answer.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

fn report(call: &Call<'_>, result: &Result<Answer, Failure>, took: Duration) {
    if let Ok(answer) = result {
        tracing::debug!(
            request.id = %call.request_id,
            upstream.operation = call.name,
            upstream.status = answer.status.as_u16(),
            upstream.cf_ray = answer.cf_ray(),
            upstream.bytes = answer.body.len(),
            upstream.duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            "the upstream answered"
        );
    }
}
