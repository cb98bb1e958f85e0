//! Answers: Cloudflare's envelope, its headers and its junk, and the bytes that go out.
//!
//! Not here: what an answer says (`operations`, `gate`, `logs`).

use std::io::Write as _;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use super::fault::{Fault, Plan};
use super::feed::{Feed, Step};
use super::operations::random;
use crate::json::{Json, MAX_DEPTH, Object, read};
use crate::secret::ExposeSecret as _;

/// One entry of `errors`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) code: u32,
    pub(super) message: String,
    /// RFC 6901 pointer into the request's body.
    pub(super) pointer: Option<String>,
}

impl Problem {
    pub(super) fn new(code: u32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), pointer: None }
    }

    pub(super) fn at(code: u32, pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), pointer: Some(pointer.into()) }
    }

    fn json(self) -> Json {
        let mut shown = Object::from_iter([("code", Json::from(self.code))]);
        shown.set("message", self.message);
        if let Some(pointer) = self.pointer {
            shown.set("source", object([("pointer", Json::from(pointer))]));
        }
        shown.into()
    }
}

/// A refusal: the status and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) problems: Vec<Problem>,
}

impl Refused {
    pub(super) fn new(status: StatusCode, problem: Problem) -> Self {
        Self { status, problems: vec![problem] }
    }
}

/// An object from its members.
pub(super) fn object<const N: usize>(members: [(&'static str, Json); N]) -> Json {
    Object::from_iter(members).into()
}

/// An answer before it is put on the wire.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=UTF-8");

impl Answer {
    fn new(status: StatusCode, kind: HeaderValue, body: String) -> Self {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]);
        Self { status, headers, body: body.into() }
    }

    /// 200 with `result`.
    pub(super) fn good(result: Json) -> Self {
        Self::envelope(StatusCode::OK, true, Vec::new(), Vec::new(), Some(result))
    }

    /// The whole envelope. `result` is left out of no answer: it is `null` where there is none.
    pub(super) fn envelope(
        status: StatusCode,
        success: bool,
        errors: Vec<Json>,
        messages: Vec<Json>,
        result: Option<Json>,
    ) -> Self {
        let body = object([
            ("success", Json::from(success)),
            ("errors", Json::Array(errors)),
            ("messages", Json::Array(messages)),
            ("result", result.unwrap_or(Json::Null)),
        ]);
        Self::new(status, JSON, body.to_string())
    }

    /// Any JSON, without the envelope.
    pub(super) fn plain(status: StatusCode, body: &Json) -> Self {
        Self::new(status, JSON, body.to_string())
    }

    /// A refusal in the envelope.
    pub(super) fn refused(refused: Refused) -> Self {
        let errors = refused.problems.into_iter().map(Problem::json).collect();
        Self::envelope(refused.status, false, errors, Vec::new(), None)
    }

    /// A JSON error of the given status, as a failing backend gives it.
    pub(super) fn failed(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let reason = status.canonical_reason().unwrap_or("failure").to_lowercase();
        Self::refused(Refused::new(status, Problem::new(1000, format!("upstream failure: {reason}"))))
    }

    /// The same with a member that no document tells of in the envelope, in the result and in each tunnel: what an
    /// upstream of tomorrow may answer. Its text looks like a key.
    pub(super) fn with_unknown_members(mut self) -> Self {
        if let Ok(mut envelope) = read(&self.body, MAX_DEPTH) {
            add_unknown(&mut envelope);
            if let Json::Object(envelope) = &mut envelope
                && let Some(mut result) = envelope.get("result").cloned()
            {
                add_unknown(&mut result);
                tunnels(&mut result);
                envelope.set("result", result);
            }
            self.body = envelope.to_string().into();
        }
        self
    }

    /// The page that the edge puts in place of an answer.
    pub(super) fn page(status: StatusCode, ray: &str) -> Self {
        let reason = status.canonical_reason().unwrap_or_default();
        let code = status.as_u16();
        let page = format!(
            "<!DOCTYPE html>\n<html><head><title>{code}: {reason}</title></head>\n<body><center>\
             <h1>{code} {reason}</h1></center><hr><center>cloudflare</center>\
             <p>Ray ID: {ray}</p></body></html>\n"
        );
        Self::new(status, HTML, page)
    }

    pub(super) fn header(&mut self, name: &'static str, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.append(HeaderName::from_static(name), value);
        }
    }

    /// What the real edge adds to every answer, wanted or not. A proxy must pass on `cf-ray` and the limits and
    /// keep the rest to itself, the cookie above all.
    pub(super) fn dress(&mut self, ray: &str) {
        self.header("cf-ray", ray);
        self.header("cf-cache-status", "DYNAMIC");
        self.header("server", "cloudflare");
        self.header("api-version", "2026-01-01");
        self.header("alt-svc", "h3=\":443\"; ma=86400");
        self.header("strict-transport-security", "max-age=31536000");
        self.header("x-content-type-options", "nosniff");
        self.header("x-frame-options", "SAMEORIGIN");
        self.header("vary", "Accept-Encoding");
        self.header("set-cookie", &format!("__cf_bm={ray}; path=/; HttpOnly; Secure; SameSite=None"));
        self.header("set-cookie", &format!("__cfruid={ray}; path=/; HttpOnly; Secure; SameSite=None"));
    }

    /// The answer as it goes out, with the faults that strike it on the way.
    pub(super) fn send(mut self, plan: &Plan, accepts_gzip: bool) -> Response<Feed> {
        let mut padding = 0;
        match plan.main {
            Some(Fault::Malformed) => {
                let kept = self.body.len() * 2 / 3;
                self.body.truncate(kept);
            }
            Some(Fault::HugeBody(bytes)) if self.body.starts_with(b"{") => padding = bytes,
            _ => {}
        }
        let gzip = plan.gzip || (accepts_gzip && padding == 0);
        let feed = if gzip {
            self.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            self.body = gzipped(steps(&self.body, padding)).unwrap_or_default();
            feed(&self.body, plan, &mut self.headers)
        } else if padding > 0 {
            Feed::steps(steps(&self.body, padding), None)
        } else {
            feed(&self.body, plan, &mut self.headers)
        };
        let mut response = Response::new(feed);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// The member that [`Fault::UnknownField`] adds.
const UNKNOWN: &str = "ike_secret";

fn add_unknown(to: &mut Json) {
    if let (Json::Object(object), Some(text)) = (to, random(32)) {
        object.set(UNKNOWN, text.expose_secret());
    }
}

/// Adds it to the tunnels in a result, which are those objects that have a name.
fn tunnels(within: &mut Json) {
    match within {
        Json::Array(items) => items.iter_mut().for_each(tunnels),
        Json::Object(object) => {
            for (name, value) in std::mem::take(object) {
                let mut value = value;
                tunnels(&mut value);
                object.set(name, value);
            }
            if object.get("name").is_some() && object.get(UNKNOWN).is_none() {
                add_unknown(within);
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

fn feed(body: &Bytes, plan: &Plan, headers: &mut HeaderMap) -> Feed {
    let length = body.len() as u64;
    match plan.main {
        Some(Fault::ResetBody) => {
            let half = body.slice(..body.len() / 2);
            // The wait lets the half leave the buffers before the connection breaks.
            let pause = Step::Wait(std::time::Duration::from_millis(20));
            Feed::steps([Step::Data(half), pause, Step::Fail], Some(length))
        }
        Some(Fault::SlowBody(apart)) => {
            let pieces = (0..body.len()).step_by(16).flat_map(|from| {
                let piece = body.slice(from..body.len().min(from + 16));
                [Step::Wait(apart), Step::Data(piece)]
            });
            Feed::steps(pieces, Some(length))
        }
        Some(Fault::WrongLength) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length + 10));
            Feed::steps([Step::Data(body.clone())], None)
        }
        _ => Feed::whole(body.clone()),
    }
}

/// 64 KiB: one write to a socket.
const PIECE: usize = 64 << 10;

/// The steps that send `body`, an object, with `padding` bytes as its first member: still valid JSON.
fn steps(body: &Bytes, padding: usize) -> Vec<Step> {
    if padding == 0 {
        return vec![Step::Data(body.clone())];
    }
    vec![
        Step::Data(Bytes::from_static(b"{\"padding\":\"")),
        Step::Repeat(Bytes::from_static(&[b'x'; PIECE]), padding / PIECE),
        Step::Data(Bytes::from(vec![b'x'; padding % PIECE])),
        Step::Data(Bytes::from_static(b"\",")),
        Step::Data(body.slice(1..)),
    ]
}

fn gzipped(steps: Vec<Step>) -> std::io::Result<Bytes> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for step in steps {
        match step {
            Step::Data(bytes) => encoder.write_all(&bytes)?,
            Step::Repeat(bytes, times) => {
                for _ in 0..times {
                    encoder.write_all(&bytes)?;
                }
            }
            Step::Wait(_) | Step::Fail => {}
        }
    }
    Ok(encoder.finish()?.into())
}
