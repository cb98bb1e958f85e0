//! Keeps a one-shot call from being made twice by accident.
//!
//! The official SDKs repeat a `POST` by themselves, up to ten times, with no idempotency key. A second *generate
//! PSK* replaces the key that the first one answered: the tunnel goes down. So each one-shot call is remembered
//! under a key made of caller, operation, tunnel and body, together with what became of it, and a call that
//! looks like its repetition is refused with the first one's request id.
//!
//! Not here: what became of a call (`pipeline` and `resolve` tell), and the record itself.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use crate::clock::Clock;
use crate::refusal::Refusal;

/// What became of a one-shot call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is under way, or nobody knows yet.
    Open,
    /// It was looked into, and nobody will ever know.
    Unknown,
    /// It had its effect.
    Happened,
    /// It had its effect, and its client had hung up: the answer, which may hold the only copy of a key, reached
    /// nobody.
    Unheard,
    /// It certainly had none.
    Nothing,
}

/// The one-shot calls of the last while.
#[derive(Debug)]
pub struct OneShots {
    clock: Arc<dyn Clock>,
    window: Duration,
    max: usize,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_key: HashMap<String, First>,
    next_sweep: Duration,
}

#[derive(Debug)]
struct First {
    request_id: Uuid,
    fate: Fate,
    /// It was claimed here, so what becomes of it is heard here first.
    own: bool,
    /// When it was known what became of it; not yet where it is open, and then it is not forgotten.
    settled: Option<Duration>,
    expires: Duration,
    /// An equal call, no retry, came later and was refused with nothing sent: the next retry is of that one.
    newer_unsent: bool,
    /// An equal call that happened before it: should this one come to nothing, that is the one not to be repeated.
    before: Option<Box<First>>,
}

/// A call as another replica's part of the record tells of it.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// Which.
    pub request_id: Uuid,
    /// What became of it.
    pub fate: Fate,
    /// How long this is known at least.
    pub age: Duration,
}

/// How often what has expired is thrown out.
const SWEEP: Duration = Duration::from_secs(10);

/// Calls that are remembered: about 300 bytes each, so 15 MiB. The upstream takes 1,200 calls in 5 minutes, so a
/// window of 10 minutes holds a twentieth of it.
const MAX: usize = 50_000;

/// When there may be room again.
const COME_BACK: Duration = SWEEP;

impl Fate {
    /// The same, where the client had hung up.
    #[must_use]
    pub fn if_gone(self, client_gone: bool) -> Self {
        if client_gone && self == Self::Happened { Self::Unheard } else { self }
    }
}

impl First {
    fn is_kept(&self, now: Duration) -> bool {
        self.fate == Fate::Open || self.expires > now
    }

    /// This call, or the one before it, if it is the one that is asked for and certain.
    fn certain(&self, request_id: Uuid) -> Option<Self> {
        let alone = |first: &Self| Self { before: None, ..*first };
        std::iter::successors(Some(self), |first| first.before.as_deref())
            .find(|first| first.request_id == request_id && (first.own || first.fate != Fate::Open))
            .map(alone)
    }
}

impl Known {
    /// Puts a call in the place of an equal one that came before it.
    fn replace(&mut self, key: &str, mut first: First, now: Duration) {
        first.before = match self.by_key.remove(key) {
            // The same, told of again.
            Some(old) if old.request_id == first.request_id => old.before,
            Some(old) if old.fate == Fate::Happened && old.is_kept(now) => {
                Some(Box::new(First { before: None, ..old }))
            }
            _ => None,
        };
        self.by_key.insert(key.to_owned(), first);
    }
}

impl OneShots {
    /// Remembers calls until it is known what became of them, and for `window` from then on.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, window: Duration) -> Self {
        Self { clock, window, max: MAX, known: Mutex::default() }
    }

    /// Takes note of a call that is about to be made. `retry_count` is what the client says of itself, `arrived`
    /// when it came, on the monotonic clock.
    ///
    /// # Errors
    /// [`Refusal::Repeat`] where it looks like the repetition of one that happened or may have: an equal call
    /// that is still open, or was when this call arrived (it may have waited for its turn), or whose answer reached
    /// nobody, or one that happened when the client says that this is a retry. [`Refusal::Overloaded`] where one
    /// more can't be remembered.
    pub fn claim(
        &self,
        key: &str,
        request_id: Uuid,
        retry_count: u32,
        arrived: Duration,
    ) -> Result<(), Refusal> {
        let now = self.clock.monotonic();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= known.next_sweep {
            known.by_key.retain(|_, first| first.is_kept(now));
            known.next_sweep = now + SWEEP;
        }
        if let Some(first) = known.by_key.get(key).filter(|first| first.is_kept(now)) {
            let refused = match first.fate {
                Fate::Open | Fate::Unknown | Fate::Unheard => true,
                Fate::Happened => {
                    let is_retry = retry_count > 0 && !first.newer_unsent;
                    is_retry || first.settled.is_none_or(|settled| arrived < settled)
                }
                Fate::Nothing => false,
            };
            if refused {
                return Err(Refusal::Repeat { first: first.request_id });
            }
        } else if known.by_key.len() >= self.max {
            return Err(Refusal::Overloaded { retry_after: COME_BACK });
        }
        let first = First {
            request_id,
            fate: Fate::Open,
            own: true,
            settled: None,
            expires: Duration::MAX,
            newer_unsent: false,
            before: None,
        };
        known.replace(key, first, now);
        Ok(())
    }

    /// Says what became of a call. A call that another one with the same key has replaced is left alone.
    pub fn settle(&self, key: &str, request_id: Uuid, fate: Fate) {
        let now = self.clock.monotonic();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let first = known.by_key.get_mut(key).filter(|first| first.request_id == request_id);
        let Some(first) = first else { return };
        match fate {
            Fate::Open => {}
            Fate::Unknown | Fate::Happened | Fate::Unheard => first.before = None,
            Fate::Nothing => {
                if let Some(before) = first.before.take() {
                    *first = *before;
                    return;
                }
            }
        }
        (first.fate, first.settled, first.expires) = (fate, Some(now), now + self.window);
    }

    /// Says that an equal call, which is no retry, was refused with nothing sent and may be retried.
    pub fn unsent(&self, key: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = known.by_key.get_mut(key) {
            first.newer_unsent = true;
        }
    }

    /// Takes over a call from the record, of which this is known since `age`.
    pub fn remember(&self, key: &str, request_id: Uuid, fate: Fate, age: Duration) {
        let left = self.window.saturating_sub(age);
        if fate != Fate::Open && left.is_zero() {
            return;
        }
        let now = self.clock.monotonic();
        let first = First {
            request_id,
            fate,
            own: false,
            settled: Some(Duration::ZERO),
            expires: now + left,
            newer_unsent: false,
            before: None,
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if fate != Fate::Nothing || !known.by_key.contains_key(key) {
            known.replace(key, first, now);
        }
    }

    /// Whether nothing that the record tells of this call is news: it was claimed here, or its fate is final.
    #[must_use]
    pub fn is_certain(&self, key: &str, request_id: Uuid) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.by_key.get(key).is_some_and(|first| first.certain(request_id).is_some())
    }

    /// The call that this key waits for, if it was claimed elsewhere.
    #[must_use]
    pub fn open_elsewhere(&self, key: &str) -> Option<Uuid> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let first = known.by_key.get(key).filter(|first| first.fate == Fate::Open && !first.own)?;
        Some(first.request_id)
    }

    /// The call before the one with this key that happened.
    #[must_use]
    pub fn before(&self, key: &str) -> Option<Uuid> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Some(known.by_key.get(key)?.before.as_ref()?.request_id)
    }

    /// Takes over that `newest` claimed this key last of all, and `before` is the one before it that happened. What is
    /// certain here already stands. A call that is under way here stands, too: it waits for the same word.
    pub fn adopt(&self, key: &str, newest: Told, before: Option<Told>) {
        let now = self.clock.monotonic();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let old = known.by_key.get(key);
        let is_under_way = old.is_some_and(|old| old.own && old.fate == Fate::Open);
        // A claim of a key that is not known is refused where there is no room.
        if is_under_way || (old.is_none() && known.by_key.len() >= self.max) {
            return;
        }
        let first = |told: Told| match old.and_then(|old| old.certain(told.request_id)) {
            Some(certain) => certain,
            None => First {
                request_id: told.request_id,
                fate: told.fate,
                own: false,
                settled: Some(now.saturating_sub(told.age)),
                expires: now + self.window.saturating_sub(told.age),
                newer_unsent: false,
                before: None,
            },
        };
        let mut newest = first(newest);
        let before = before.map(first).filter(|before| before.fate == Fate::Happened && before.is_kept(now));
        match before {
            Some(before) if newest.fate == Fate::Nothing => newest = before,
            before => newest.before = before.map(Box::new),
        }
        known.by_key.insert(key.to_owned(), newest);
    }
}
