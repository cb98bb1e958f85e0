//! A write whose intent stands in the record: what it is about, and its outcome, which is owed.
//!
//! Not here: the intent (`Auditor::open`), entries that the store could not take (`debts`).

#[cfg(test)]
pub(super) mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use crate::entry::{Entry, Kind};
use crate::json::{Json, Object};
use crate::measure::Stage;
use crate::operation::Route;
use crate::refusal::Refusal;
use crate::tunnel::body::Asked;

use super::call::Call;
use super::debts::Debt;
use super::effects;
use super::outcome::{self, End, Heard, Sent};
use super::used::Used;
use super::{Auditor, Cleared, Recorded, decision};

/// What a write is about: what is asked, of which state, and how to tell later whether it came about.
pub struct Plan {
    /// The body.
    pub asked: Asked,
    /// The tunnels as they were read, before the change; empty where nothing was read.
    pub before: Vec<Object>,
    /// The member `expected`: what the tunnels will look like if it happens.
    pub expected: Vec<Object>,
    /// Where the call uses up its token: until when that could come again.
    pub token_until: Option<Timestamp>,
}

impl std::fmt::Debug for Plan {
    /// Without the states, which may hold an `md5_key`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { asked, before, expected, token_until } = self;
        f.debug_struct("Plan")
            .field("asked", asked)
            .field("before", &before.len())
            .field("expected", &expected.len())
            .field("token_until", token_until)
            .finish()
    }
}

/// A write whose intent is on disk and whose outcome is not. Dropping it without an outcome records that the
/// call was abandoned.
#[derive(Debug)]
#[must_use = "its outcome must be recorded"]
pub struct Owed {
    pub(super) auditor: Arc<Auditor>,
    pub(super) plan: Plan,
    pub(super) route: Route,
    pub(super) intent_id: Uuid,
    pub(super) intent: Json,
    /// By which a repeated one-shot call is recognized.
    pub(super) key: Option<String>,
    /// The token that it used up.
    pub(super) used: Option<Used>,
    pub(super) closed: bool,
}

impl Owed {
    /// Leave to send this write.
    #[must_use]
    pub const fn cleared(&self) -> Cleared<'_> {
        Cleared::new()
    }

    /// What was planned.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The call as its path says it.
    #[must_use]
    pub const fn route(&self) -> &Route {
        &self.route
    }

    /// The intent as it stands in the record.
    #[must_use]
    pub const fn intent(&self) -> &Json {
        &self.intent
    }

    /// Records how it ended. If the store can't take it, the outcome is owed, and the answer may go all the
    /// same: it may hold the only copy of a key.
    pub async fn close(mut self, call: &mut Call, end: &End<'_>, client_gone: bool) -> Recorded {
        call.passed(Stage::Forward);
        let auditor = &self.auditor;
        let mut members = call.members();
        decision(&mut members, call, None);
        members.set("intent_id", self.intent_id.to_string());
        if let Some(request) = &call.request {
            members.set("request", request.clone());
        }
        outcome::members(
            &mut members,
            &auditor.redactor,
            self.route.operation,
            end,
            auditor.keeps(&self.route),
        );
        if let End::Answered(Heard { json: Some(json), .. }) = end {
            effects::members(&mut members, &auditor.redactor, &self.route, &self.plan, &call.tunnels, json);
        }
        if client_gone {
            members.set("client_gone", true);
        }
        if end.is_ambiguous() && !self.route.validate_only {
            members.set("ambiguous", true);
        }
        call.time_members(&mut members);
        let entry = auditor.finish(Kind::Outcome, call, members);
        auditor.end(entry, Some(self.intent_id)).await;
        // Not before: whatever fails while the outcome is made leaves it to the drop.
        self.closed = true;
        if let Some(key) = &self.key {
            auditor.one_shots.settle(key, call.request_id, end.fate().if_gone(client_gone));
        }
        if let (Some(used), End::Failed { sent: Sent::No, .. }) = (&self.used, end) {
            auditor.give_back(used).await;
        }
        Recorded { request_id: call.request_id }
    }
}

/// Members of an intent that its outcome does not repeat.
const INTENT_ONLY: [&str; 8] =
    ["kind", "id", "time", "request_id", "request", "request_key", "state_before", "expected"];

/// An outcome that tells of nothing but the intent and why there is no better one.
pub(super) fn bare_outcome(auditor: &Auditor, intent: &Json, refusal: &Refusal, sent: Sent) -> Entry {
    let mut outcome = bare(auditor, Kind::Outcome, intent, refusal);
    outcome.members.set("intent_id", intent.get("id").and_then(Json::as_str).unwrap_or_default());
    outcome.members.set("sent", sent.name());
    if sent != Sent::No {
        outcome.members.set("ambiguous", true);
    }
    outcome
}

/// A refusal that stands in for an intent which can never be stored.
pub(super) fn bare_refusal(auditor: &Auditor, intent: &Json, refusal: &Refusal) -> Entry {
    let mut entry = bare(auditor, Kind::Refusal, intent, refusal);
    entry.members.remove("decision");
    entry.members.remove("policies");
    entry
}

fn bare(auditor: &Auditor, kind: Kind, intent: &Json, refusal: &Refusal) -> Entry {
    let known = intent.as_object().into_iter().flat_map(Object::iter);
    let repeated = known.filter(|(name, _)| !INTENT_ONLY.contains(name));
    let mut members: Object = repeated.map(|(name, value)| (name.to_owned(), value.clone())).collect();
    members.set("status", refusal.terms().status.as_u16());
    members.set("refusal", refusal.record());
    let request_id = intent.get("request_id").and_then(Json::as_str);
    let request_id = request_id.and_then(|id| id.parse().ok()).unwrap_or_default();
    Entry { kind, id: auditor.ids.next(), time: auditor.clock.now(), request_id, members }
}

impl Drop for Owed {
    /// The call was cut off in the middle by a fault of ours: nobody knows how it ended.
    fn drop(&mut self) {
        if !self.closed {
            let entry = bare_outcome(&self.auditor, &self.intent, &Refusal::Internal, Sent::Unknown);
            self.auditor.debts.owe(Debt::of([entry.into_json()], None));
        }
    }
}
