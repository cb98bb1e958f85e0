//! The auditor's part in keeping a one-shot call from being made twice: how such a call is recognized, and what
//! the record tells of those of an earlier run and of other replicas.
//!
//! Not here: the book of them (`one_shot`), who claimed last (`share::claims`).

#[cfg(test)]
pub(super) mod tests;

use std::time::Duration;

use uuid::Uuid;

use crate::entry::Kind;
use crate::json::Json;
use crate::refusal::{Refusal, Retry};
use crate::secret::Fingerprinter;
use crate::share::claims::{Claimant, Claims};
use crate::share::{self, Away, Shared};
use crate::tunnel::body::Asked;

use super::call::Call;
use super::one_shot::{Fate, Told};
use super::{Auditor, outcome};

/// What replicas know of each other's one-shot calls: who claimed last, and of the record what became of it.
#[derive(Debug)]
pub struct Elsewhere {
    /// The database that they share.
    pub(super) shared: Shared,
    claims: Claims,
    /// How long after its claim an intent is sent at most.
    send_within: Duration,
}

/// A one-shot call that is claimed.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) key: String,
    /// When it began, on the monotonic clock.
    at: Duration,
}

/// How far the clocks of two replicas may be apart. A call that comes to another replica so soon after an equal one ended is
/// taken for one that came before that.
const SKEW: Duration = Duration::from_secs(2);

/// What lies between the claim of a call and its being sent, beside the append of its intent; twice of it between the claim
/// and another replica's no longer waiting for the intent.
const MARGIN: Duration = Duration::from_secs(5);

/// How long a claim may take. INVARIANT: less than what a turn is longer for (`state::turns`).
const PATIENCE: Duration = share::PATIENCE.saturating_mul(2);

/// How often a claim is begun anew because another was faster.
const TRIES: usize = 4;

impl Elsewhere {
    /// For who records intents within `append_timeout`.
    #[must_use]
    pub fn new(shared: &Shared, append_timeout: Duration) -> Self {
        let send_within = append_timeout + MARGIN;
        Self { shared: shared.clone(), claims: Claims::new(shared, send_within + MARGIN), send_within }
    }

    /// What the record tells of a call: its fate and, where that is final, when it was told.
    async fn told(&self, request_id: Uuid, is_overdue: bool, now: jiff::Timestamp) -> Result<Told, Away> {
        let texts = self.claims.entries(request_id).await?;
        let read = |text: &String| crate::json::read(text.as_bytes(), crate::entry::DEPTH).ok();
        let Some(entries) = texts.iter().map(read).collect::<Option<Vec<Json>>>() else {
            tracing::error!(request.id = %request_id, "what the record has of a call can't be read; it stays open");
            return Ok(Told { request_id, fate: Fate::Open, age: Duration::ZERO });
        };
        let text = |entry: &Json, name: &str| entry.get(name).and_then(Json::as_str).map(str::to_owned);
        let intent = entries.iter().find(|entry| text(entry, "kind").as_deref() == Some(Kind::Intent.name()));
        let nothing = (Fate::Nothing, None);
        let (fate, at) = match intent {
            // Whatever else there is says that it was refused.
            None if !entries.is_empty() || is_overdue => nothing,
            None => (Fate::Open, None),
            Some(intent) => {
                let id = text(intent, "id");
                // By what they are and not by when: clocks differ. An outcome that was heard, if late, of a replica that
                // was away, says more than what was concluded meanwhile, and that more than that nobody knows.
                let weight = |ending: &&Json| match text(ending, "kind").as_deref() {
                    Some(kind) if kind == Kind::Resolved.name() => 1,
                    _ if ending.get("ambiguous").is_some() => 0,
                    _ => 2,
                };
                let endings = entries.iter().filter(|entry| text(entry, "intent_id") == id);
                endings.max_by_key(weight).map_or((Fate::Open, None), |ending| {
                    (outcome::recorded_fate(ending), text(ending, "time").and_then(|time| time.parse().ok()))
                })
            }
        };
        let age = at.map(|at| Duration::try_from(now.duration_since(at)).unwrap_or_default());
        Ok(Told { request_id, fate, age: age.unwrap_or_default().saturating_sub(SKEW) })
    }
}

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

    /// Claims a one-shot call that is about to be made, if it is one.
    ///
    /// # Errors
    /// [`Refusal::Repeat`], [`Refusal::Overloaded`]; where there are other replicas, [`Refusal::AuditUnavailable`] if nobody
    /// knows what they do, and [`Refusal::TunnelBusy`] if they claim the same again and again.
    pub(super) async fn claim(&self, call: &Call, asked: &Asked) -> Result<Option<Claim>, Refusal> {
        let Some(key) = request_key(&self.fingerprinter, call, asked) else { return Ok(None) };
        let at = self.clock.monotonic();
        match &self.elsewhere {
            None => self.one_shots.claim(&key, call.request_id, call.origin.retry_count, call.began())?,
            Some(elsewhere) => {
                let claimed = tokio::time::timeout(PATIENCE, self.claim_among(elsewhere, &key, call)).await;
                claimed.unwrap_or_else(|_| Err(Away.into())).inspect_err(|_| {
                    // Nothing was sent, whether the others have it as the claimant or not.
                    self.one_shots.settle(&key, call.request_id, Fate::Nothing);
                })?;
            }
        }
        Ok(Some(Claim { key, at }))
    }

    /// Whether another replica may think by now that nothing of it was sent and nothing will be.
    pub(super) fn is_overdue(&self, claim: &Claim) -> bool {
        let passed = || self.clock.monotonic().saturating_sub(claim.at);
        self.elsewhere.as_ref().is_some_and(|elsewhere| passed() > elsewhere.send_within)
    }

    async fn claim_among(&self, elsewhere: &Elsewhere, key: &str, call: &Call) -> Result<(), Refusal> {
        for _ in 0..TRIES {
            let seen = elsewhere.claims.newest(key).await?;
            let first = seen.or_else(|| {
                let request_id = self.one_shots.open_elsewhere(key)?;
                Some(Claimant { request_id, before: None, is_overdue: true })
            });
            if let Some(first) = first {
                self.learn(elsewhere, key, first).await?;
            }
            self.one_shots.claim(key, call.request_id, call.origin.retry_count, call.began())?;
            let (seen, before) = (seen.map(|first| first.request_id), self.one_shots.before(key));
            if elsewhere.claims.replace(key, seen, call.request_id, before).await? {
                return Ok(());
            }
            self.one_shots.settle(key, call.request_id, Fate::Nothing);
        }
        Err(Refusal::TunnelBusy { retry_after: Duration::from_secs(1) })
    }

    /// Takes over what became of the newest claimant, and of the one before it that happened.
    async fn learn(&self, elsewhere: &Elsewhere, key: &str, first: Claimant) -> Result<(), Refusal> {
        if self.one_shots.is_certain(key, first.request_id) {
            return Ok(());
        }
        let now = self.clock.now();
        let newest = elsewhere.told(first.request_id, first.is_overdue, now).await?;
        let before = match first.before {
            Some(before) => Some(elsewhere.told(before, true, now).await?),
            None => None,
        };
        self.one_shots.adopt(key, newest, before);
        Ok(())
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
