//! The auditor's part in keeping a one-shot call from being made twice: how such a call is recognized, and what
//! the record tells of those of an earlier run.
//!
//! Not here: the book of them (`one_shot`).

use std::time::Duration;

use crate::json::Json;
use crate::refusal::{Refusal, Retry};
use crate::secret::Fingerprinter;
use crate::tunnel::body::Asked;

use super::call::Call;
use super::one_shot::Fate;
use super::{Auditor, outcome};

impl Auditor {
    /// Takes over a one-shot call of an earlier run from the record: its intent, and what ended it if anything
    /// did.
    pub fn remember(&self, intent: &Json, ending: Option<&Json>, now: jiff::Timestamp) {
        let text = |entry: &Json, name: &str| entry.get(name).and_then(Json::as_str).map(str::to_owned);
        let fate = ending.map_or(Fate::Open, outcome::recorded_fate);
        let id = text(intent, "request_id").and_then(|id| id.parse().ok());
        // What was looked into for long is known for less long.
        let known = ending.filter(|_| fate != Fate::Open).unwrap_or(intent);
        let made = text(known, "time").and_then(|time| time.parse().ok());
        if let (Some(key), Some(id), Some(made)) = (text(intent, "request_key"), id, made) {
            let age = Duration::try_from(now.duration_since(made)).unwrap_or_default();
            self.one_shots.remember(&key, id, fate, age);
        }
    }

    /// Takes note that a call was refused before it was claimed: if it is no retry and may be retried, that retry
    /// is not one of an equal call before it.
    pub fn unsent(&self, call: &Call, asked: &Asked, refusal: &Refusal) {
        let may_come_again = matches!(refusal.terms().retry, Retry::After(_));
        if let Some(key) = request_key(&self.fingerprinter, call, asked)
            && may_come_again
            && call.origin.retry_count == 0
        {
            self.one_shots.unsent(&key);
        }
    }

    /// Claims a one-shot call that is about to be made; its key, if it is one.
    ///
    /// # Errors
    /// [`Refusal::Repeat`], [`Refusal::Overloaded`]
    pub(super) fn claim(&self, call: &Call, asked: &Asked) -> Result<Option<String>, Refusal> {
        let key = request_key(&self.fingerprinter, call, asked);
        if let Some(key) = &key {
            self.one_shots.claim(key, call.request_id, call.origin.retry_count, call.began())?;
        }
        Ok(key)
    }
}

/// By what a repeated one-shot call is recognized; `None` for a call that is none.
fn request_key(fingerprinter: &Fingerprinter, call: &Call, asked: &Asked) -> Option<String> {
    let (route, caller) = (call.route.as_ref()?, call.caller.as_ref()?);
    if !route.operation.is_one_shot() || route.validate_only {
        return None;
    }
    let parts = [
        caller.issuer.as_str(),
        caller.subject.as_str(),
        &route.upstream_path(),
        &asked.upstream_body().unwrap_or_default(),
    ];
    Some(fingerprinter.digest(Json::from(parts.to_vec()).to_string().as_bytes()))
}
