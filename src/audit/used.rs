//! Tokens that are good for one secret: which are used up.
//!
//! Who steals a token on its way to a call that mints a key gets nothing by it where its issuer asks for this: the call
//! that it was meant for uses it up, or the thief's does and the owner is told. A token is used up before its call is
//! sent, and is good again only where nothing was. Not here: whose tokens, and until when each could come again
//! (`identify`), the one-shot calls themselves (`one_shot`).
//!
//! Source: RFC 7519 section 4.1.7, by which `jti` tells a token that comes a second time.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use crate::json::Json;
use crate::refusal::{Refusal, TokenFault};

use super::Auditor;
use super::call::Call;

/// The tokens that were used up and did not end yet.
#[derive(Debug, Default)]
pub(super) struct UsedTokens {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_name: HashMap<String, Use>,
    next_sweep: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Use {
    request_id: Uuid,
    until: Timestamp,
}

/// A token that a call used up.
#[derive(Debug)]
pub(super) struct Used {
    /// Its name in the record: the member `token_used`.
    pub(super) name: String,
    request_id: Uuid,
}

/// Tokens that are remembered: some 200 bytes each. The upstream takes 1,200 calls in 5 minutes, all kinds together.
const MAX: usize = 50_000;

/// How often what has ended is thrown out.
const SWEEP: Duration = Duration::from_mins(1);

/// How far the clock may be put back without a token that had ended coming a second time.
const MARGIN: Duration = Duration::from_hours(1);

impl UsedTokens {
    /// Uses a token up that could come again until then.
    fn take(&self, name: &str, by: Use, now: Timestamp) -> Result<(), Refusal> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= known.next_sweep {
            known.by_name.retain(|_, used| later(used.until, MARGIN) > now);
            known.next_sweep = later(now, SWEEP);
        }
        if let Some(first) = known.by_name.get(name) {
            return Err(used(first.request_id));
        }
        if known.by_name.len() >= MAX {
            return Err(Refusal::Overloaded { retry_after: SWEEP });
        }
        known.by_name.insert(name.to_owned(), by);
        Ok(())
    }

    /// Makes it good again, if it was this call that used it up.
    fn give_back(&self, used: &Used) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.by_name.get(&used.name).is_some_and(|first| first.request_id == used.request_id) {
            known.by_name.remove(&used.name);
        }
    }
}

impl Auditor {
    /// Uses up the token of a call that wants one of its own, which could come again until then; nothing to do where there
    /// is no such time.
    ///
    /// # Errors
    /// [`TokenFault::Used`]; [`Refusal::Overloaded`] where one more can't be remembered; where there are other replicas,
    /// [`Refusal::AuditUnavailable`] if nobody knows what they do.
    pub(super) async fn use_up(
        &self,
        call: &Call,
        until: Option<Timestamp>,
    ) -> Result<Option<Used>, Refusal> {
        let Some(until) = until else { return Ok(None) };
        let caller = call.caller.as_ref().ok_or(Refusal::Internal)?;
        let jti = caller.jti.as_deref().ok_or(Refusal::Internal)?;
        let name =
            self.fingerprinter.digest(Json::from(vec!["token", &caller.issuer, jti]).to_string().as_bytes());
        let token = Used { name, request_id: call.request_id };
        let by = Use { request_id: call.request_id, until };
        self.used_tokens.take(&token.name, by, self.clock.now())?;
        let Some(elsewhere) = &self.elsewhere else { return Ok(Some(token)) };
        match elsewhere.shared.use_token(&token.name, call.request_id, later(until, MARGIN)).await {
            Ok(first) if first == call.request_id => Ok(Some(token)),
            Ok(first) => {
                // It may be given back there, so it is asked for again each time.
                self.used_tokens.give_back(&token);
                Err(used(first))
            }
            Err(away) => {
                self.give_back(&token).await;
                Err(away.into())
            }
        }
    }

    /// Makes a token good again of whose call nothing was sent.
    pub(super) async fn give_back(&self, token: &Used) {
        if let Some(elsewhere) = &self.elsewhere {
            // One that can't be given back stays used up: another is soon had.
            let _ = elsewhere.shared.give_token_back(&token.name, token.request_id).await;
        }
        self.used_tokens.give_back(token);
    }

    /// Takes over from the record that an earlier run used a token up, which can't come again after this long.
    pub fn remember_token(&self, intent: &Json, ending: Option<&Json>, lasts: Duration) {
        let text = |entry: &Json, name: &str| entry.get(name).and_then(Json::as_str).map(str::to_owned);
        let was_sent = ending.is_none_or(|ending| text(ending, "sent").as_deref() != Some("no"));
        let id = text(intent, "request_id").and_then(|id| id.parse().ok());
        let made: Option<Timestamp> = text(intent, "time").and_then(|time| time.parse().ok());
        if let (true, Some(name), Some(request_id), Some(made)) =
            (was_sent, text(intent, "token_used"), id, made)
        {
            let by = Use { request_id, until: later(made, lasts) };
            // Of two the first, and of more than can be kept the rest: the upstream takes no more in a day.
            let _ = self.used_tokens.take(&name, by, self.clock.now());
        }
    }
}

const fn used(first: Uuid) -> Refusal {
    Refusal::TokenInvalid(TokenFault::Used { first })
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}
