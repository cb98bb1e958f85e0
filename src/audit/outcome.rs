//! The end of a call as members of its entry: whether it was sent, and what the upstream said.
//!
//! Not here: the call's own members (`call`), what a write changed (`effects`), which values may be stored
//! (`redact`).

use crate::json::{Json, Object};
use crate::operation::Operation;
use crate::refusal::Refusal;

use super::call::optional;
use super::one_shot::Fate;
use super::redact::Redactor;

/// Whether a call may have reached the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sent {
    /// No byte of it went out: certain.
    No,
    /// Some of it may have gone out, and no answer tells how far it got.
    Unknown,
    /// The upstream answered it.
    Yes,
}

impl Sent {
    /// The value of the member `sent`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Yes => "yes",
            Self::Unknown => "unknown",
        }
    }
}

/// How a call that was sent ended.
pub enum End<'a> {
    /// With an answer of the upstream's.
    Answered(Heard<'a>),
    /// Without one.
    Failed {
        /// What the client is told.
        refusal: &'a Refusal,
        /// Whether the upstream may have acted.
        sent: Sent,
        /// The upstream's status, where it got so far.
        status: Option<u16>,
        /// The upstream's name for the call, where it got so far.
        cf_ray: Option<&'a str>,
    },
}

/// An answer of the upstream's.
pub struct Heard<'a> {
    /// Its status.
    pub status: u16,
    /// Its `cf-ray`.
    pub cf_ray: Option<&'a str>,
    /// Its `content-type`.
    pub content_type: Option<&'a str>,
    /// Its body as the client gets it.
    pub body: &'a [u8],
    /// The keyed digest of that.
    pub digest: String,
    /// The body as JSON, if it is JSON and somebody needs it.
    pub json: Option<&'a Json>,
}

impl std::fmt::Debug for End<'_> {
    /// Without the answer's body, which may hold the only copy of a PSK.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("End")
            .field("status", &self.status())
            .field("fate", &self.fate())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Heard<'_> {
    /// Without the body, which may hold the only copy of a PSK.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heard")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl End<'_> {
    /// The status that the client gets.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Answered(heard) => heard.status,
            Self::Failed { refusal, .. } => refusal.terms().status.as_u16(),
        }
    }

    /// Whether the upstream may have acted without our knowing.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        self.fate() == Fate::Open
    }

    /// What became of the call, as far as the upstream's answer tells.
    #[must_use]
    pub fn fate(&self) -> Fate {
        match self {
            Self::Answered(heard) => answered_fate(heard.status.into()),
            Self::Failed { sent: Sent::No, .. } => Fate::Nothing,
            Self::Failed { .. } => Fate::Open,
        }
    }
}

/// What became of a call by the entry that ended it: an outcome or a resolution.
pub(super) fn recorded_fate(ending: &Json) -> Fate {
    let text = |name: &str| ending.get(name).and_then(Json::as_str);
    if let Some(resolution) = text("resolution") {
        return match resolution {
            "applied" => Fate::Happened,
            "not applied" => Fate::Nothing,
            _ => Fate::Unknown,
        };
    }
    let status = ending.pointer("/upstream/status").and_then(Json::as_i64);
    match (text("sent"), status) {
        (Some("no"), _) => Fate::Nothing,
        (Some("yes"), Some(status)) if ending.get("refusal").is_none() => {
            answered_fate(status).if_gone(ending.get("client_gone") == Some(&Json::Bool(true)))
        }
        _ => Fate::Open,
    }
}

/// A 2xx had its effect; a 4xx had none, but for 408, which says nothing of it.
fn answered_fate(status: i64) -> Fate {
    match status {
        200..=299 => Fate::Happened,
        400..=407 | 409..=499 => Fate::Nothing,
        _ => Fate::Open,
    }
}

/// The members that tell of the upstream's answer.
pub(super) fn members(
    members: &mut Object,
    redactor: &Redactor,
    operation: Operation,
    end: &End<'_>,
    body: bool,
) {
    members.set("status", end.status());
    match end {
        End::Answered(heard) => {
            members.set("sent", Sent::Yes.name());
            let mut upstream = Object::new();
            upstream.set("status", heard.status);
            optional(&mut upstream, "cf_ray", heard.cf_ray);
            let codes = heard.json.map(error_codes).unwrap_or_default();
            if !codes.is_empty() {
                upstream.set("error_codes", Json::Array(codes));
            }
            members.set("upstream", upstream);
            let mut response = Object::new();
            response.set("size", heard.body.len());
            response.set("digest", heard.digest.as_str());
            optional(&mut response, "content_type", heard.content_type.map(media_type));
            if let (true, Some(json)) = (body, heard.json) {
                response.set("body", redactor.answer(operation, json));
            }
            members.set("response", response);
        }
        End::Failed { refusal, sent, status, cf_ray } => {
            members.set("sent", sent.name());
            if status.is_some() || cf_ray.is_some() {
                let mut upstream = Object::new();
                optional(&mut upstream, "status", *status);
                optional(&mut upstream, "cf_ray", *cf_ray);
                members.set("upstream", upstream);
            }
            members.set("refusal", refusal.record());
        }
    }
}

fn error_codes(answer: &Json) -> Vec<Json> {
    // One call has a few.
    const MAX: usize = 100;
    let errors = answer.get("errors").and_then(Json::as_array).unwrap_or_default();
    errors.iter().filter_map(|error| error.get("code")?.as_i64()).map(Json::from).take(MAX).collect()
}

/// The media type without parameters, bounded: outside text.
fn media_type(content_type: &str) -> String {
    const MAX: usize = 100;
    content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .chars()
        .filter(char::is_ascii_graphic)
        .take(MAX)
        .collect()
}
