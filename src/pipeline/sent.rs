//! What came of a call that was sent, as the record takes it.

use crate::audit::{End, Heard};
use crate::forward::{Answer, Failure};
use crate::json::{self, Json};
use crate::secret::Fingerprinter;

/// The answer's body as strict JSON, if it is that.
pub(super) fn json(sent: &Result<Answer, Failure>) -> Option<Json> {
    let answer = sent.as_ref().ok().filter(|answer| answer.is_json)?;
    json::read(&answer.body, json::MAX_DEPTH).ok()
}

/// The keyed digest of the answer's body, where there is an answer.
pub(super) fn digest(sent: &Result<Answer, Failure>, fingerprinter: &Fingerprinter) -> Option<String> {
    sent.as_ref().ok().map(|answer| fingerprinter.digest(&answer.body))
}

/// How the call ended; `digest` as [`digest`] gave it.
pub(super) fn end<'a>(
    sent: &'a Result<Answer, Failure>,
    json: Option<&'a Json>,
    digest: Option<String>,
) -> End<'a> {
    match sent {
        Ok(answer) => End::Answered(Heard {
            status: answer.status.as_u16(),
            cf_ray: answer.cf_ray(),
            content_type: answer.content_type(),
            body: &answer.body,
            digest: digest.unwrap_or_default(),
            json,
        }),
        Err(failure) => End::Failed {
            refusal: &failure.refusal,
            sent: failure.sent,
            status: failure.status.map(|status| status.as_u16()),
            cf_ray: failure.cf_ray.as_deref(),
        },
    }
}
