//! Keeps a one-shot call from being made twice by accident.
//!
//! The official SDKs repeat a `POST` by themselves, up to ten times, with no idempotency key. A second *generate
//! PSK* replaces the key that the first one answered: the tunnel goes down. So each one-shot call is remembered
//! under a key made of caller, operation, tunnel and body, together with what became of it, and a call that
//! looks like its repetition is refused with the first one's request id.
//!
//! Not here: what became of a call (`pipeline` and `resolve` tell), and the record itself.

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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::clock::ManualClock;

    const WINDOW: Duration = Duration::from_secs(600);

    /// When calls arrive that wait for nothing.
    const NOW: Duration = Duration::from_secs(1 << 20);

    #[track_caller]
    fn check(fate: Fate, retry_count: u32, refused: bool) {
        let shots = OneShots::new(ManualClock::at(Timestamp::UNIX_EPOCH), WINDOW);
        let first = Uuid::from_u128(1);
        shots.claim("key", first, 0, NOW).unwrap();
        shots.settle("key", first, fate);
        let got = shots.claim("key", Uuid::from_u128(2), retry_count, NOW);
        assert_eq!(got, if refused { Err(Refusal::Repeat { first }) } else { Ok(()) });
    }

    #[test]
    fn a_repetition_of_what_may_have_happened_is_refused() {
        check(Fate::Open, 0, true);
        check(Fate::Open, 1, true);
        check(Fate::Unknown, 0, true);
        check(Fate::Happened, 1, true);
    }

    #[test]
    fn what_reached_nobody_is_not_replaced_by_a_call_that_looks_new() {
        check(Fate::Unheard, 0, true);
        check(Fate::Unheard, 1, true);
    }

    #[test]
    fn a_call_that_came_to_nothing_does_not_make_an_earlier_one_forgotten() {
        for on_the_way in [None, Some(Fate::Open)] {
            let shots = OneShots::new(ManualClock::at(Timestamp::UNIX_EPOCH), WINDOW);
            let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
            shots.claim("key", first, 0, NOW).unwrap();
            shots.settle("key", first, Fate::Happened);
            shots.claim("key", second, 0, NOW).unwrap();
            on_the_way.into_iter().for_each(|fate| shots.settle("key", second, fate));
            shots.settle("key", second, Fate::Nothing);
            let again = shots.claim("key", Uuid::from_u128(3), 1, NOW);
            assert_eq!(
                again,
                Err(Refusal::Repeat { first }),
                "a retry, and of the first as far as anybody knows"
            );
            let new = Uuid::from_u128(4);
            assert_eq!(shots.claim("key", new, 0, NOW), Ok(()));
            shots.settle("key", new, Fate::Happened);
            let again = shots.claim("key", Uuid::from_u128(5), 1, NOW);
            assert_eq!(again, Err(Refusal::Repeat { first: new }));
        }
    }

    #[test]
    fn after_a_restart_a_call_that_came_to_nothing_does_not_make_an_earlier_one_forgotten() {
        let age = Duration::from_secs(1);
        let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
        for fate in [Fate::Happened, Fate::Unheard, Fate::Unknown, Fate::Open] {
            let shots = OneShots::new(ManualClock::at(Timestamp::UNIX_EPOCH), WINDOW);
            shots.remember("key", first, fate, age);
            shots.remember("key", second, Fate::Nothing, age);
            let again = shots.claim("key", Uuid::from_u128(3), 1, NOW);
            assert_eq!(again, Err(Refusal::Repeat { first }), "{fate:?}");
        }
        let shots = OneShots::new(ManualClock::at(Timestamp::UNIX_EPOCH), WINDOW);
        shots.remember("key", first, Fate::Happened, age);
        // What is still open is told of twice.
        shots.remember("key", second, Fate::Open, age);
        shots.remember("key", second, Fate::Open, age);
        shots.settle("key", second, Fate::Nothing);
        assert_eq!(shots.claim("key", Uuid::from_u128(3), 1, NOW), Err(Refusal::Repeat { first }));
    }

    #[test]
    fn a_new_call_and_a_retry_of_nothing_are_not() {
        check(Fate::Happened, 0, false);
        check(Fate::Nothing, 0, false);
        check(Fate::Nothing, 2, false);
    }

    #[test]
    fn a_call_that_waited_for_the_first_one_to_happen_is_its_repetition() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let shots = OneShots::new(clock.clone(), WINDOW);
        let second = Duration::from_secs(1);
        let first = Uuid::from_u128(1);
        shots.claim("key", first, 0, Duration::ZERO).unwrap();
        clock.advance(second * 2);
        shots.settle("key", first, Fate::Happened);
        assert_eq!(shots.claim("key", Uuid::from_u128(2), 0, second), Err(Refusal::Repeat { first }));
        assert_eq!(shots.claim("key", Uuid::from_u128(3), 0, second * 2), Ok(()));
        clock.advance(second);
        shots.settle("key", Uuid::from_u128(3), Fate::Nothing);
        let again = shots.claim("key", Uuid::from_u128(4), 0, second);
        assert_eq!(again, Err(Refusal::Repeat { first }), "whatever a newer one came to");
        shots.claim("other", Uuid::from_u128(5), 0, second).unwrap();
        shots.settle("other", Uuid::from_u128(5), Fate::Nothing);
        assert_eq!(shots.claim("other", Uuid::from_u128(6), 0, second), Ok(()), "there is nothing to repeat");
    }

    #[test]
    fn a_call_is_forgotten_a_window_after_its_fate_is_known() {
        for fate in [Fate::Happened, Fate::Unknown] {
            let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
            let shots = OneShots::new(clock.clone(), WINDOW);
            shots.claim("key", Uuid::from_u128(1), 0, NOW).unwrap();
            clock.advance(WINDOW);
            shots.settle("key", Uuid::from_u128(1), fate);
            clock.advance(WINDOW - Duration::from_millis(1));
            assert!(shots.claim("key", Uuid::from_u128(2), 1, NOW).is_err());
            clock.advance(Duration::from_millis(1));
            assert!(shots.claim("key", Uuid::from_u128(3), 1, NOW).is_ok());
        }
    }

    #[test]
    fn an_open_call_is_not_forgotten() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let shots = OneShots::new(clock.clone(), WINDOW);
        shots.claim("key", Uuid::from_u128(1), 0, NOW).unwrap();
        shots.claim("ambiguous", Uuid::from_u128(2), 0, NOW).unwrap();
        shots.settle("ambiguous", Uuid::from_u128(2), Fate::Open);
        clock.advance(WINDOW * 10);
        assert!(shots.claim("key", Uuid::from_u128(3), 0, NOW).is_err());
        assert!(shots.claim("ambiguous", Uuid::from_u128(4), 0, NOW).is_err());
    }

    #[test]
    fn what_cannot_be_remembered_is_refused_and_nothing_is_forgotten_for_it() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let mut shots = OneShots::new(clock.clone(), WINDOW);
        shots.max = 2;
        let claim = |key: &str, id| shots.claim(key, Uuid::from_u128(id), 0, NOW);
        claim("one", 1).unwrap();
        claim("two", 2).unwrap();
        assert!(matches!(claim("three", 3), Err(Refusal::Overloaded { .. })));
        assert!(matches!(claim("one", 4), Err(Refusal::Repeat { .. })));
        shots.settle("two", Uuid::from_u128(2), Fate::Happened);
        assert_eq!(claim("two", 5), Ok(()), "this one is known already");
        shots.settle("two", Uuid::from_u128(5), Fate::Nothing);
        clock.advance(WINDOW);
        assert_eq!(claim("three", 6), Ok(()));
    }

    #[test]
    fn a_retry_of_a_newer_call_that_was_not_sent_passes_once() {
        let shots = OneShots::new(ManualClock::at(Timestamp::UNIX_EPOCH), WINDOW);
        let settled = |id, fate| shots.settle("key", Uuid::from_u128(id), fate);
        shots.claim("key", Uuid::from_u128(1), 0, NOW).unwrap();
        shots.unsent("key");
        assert!(shots.claim("key", Uuid::from_u128(2), 1, NOW).is_err(), "while the first is open");
        settled(1, Fate::Happened);
        assert_eq!(shots.claim("key", Uuid::from_u128(3), 1, NOW), Ok(()));
        settled(3, Fate::Happened);
        assert!(shots.claim("key", Uuid::from_u128(4), 2, NOW).is_err());
        shots.unsent("other");
        assert_eq!(shots.claim("other", Uuid::from_u128(5), 1, NOW), Ok(()));
    }

    #[test]
    fn a_call_from_the_record_counts_with_its_age() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let shots = OneShots::new(clock.clone(), WINDOW);
        shots.remember("old", Uuid::from_u128(1), Fate::Happened, WINDOW);
        shots.remember("young", Uuid::from_u128(2), Fate::Unknown, Duration::from_secs(1));
        shots.remember("open", Uuid::from_u128(6), Fate::Open, WINDOW * 2);
        assert!(shots.claim("old", Uuid::from_u128(3), 1, NOW).is_ok());
        assert!(shots.claim("young", Uuid::from_u128(4), 0, NOW).is_err());
        clock.advance(WINDOW);
        assert!(shots.claim("young", Uuid::from_u128(5), 0, NOW).is_ok());
        assert!(shots.claim("open", Uuid::from_u128(7), 0, NOW).is_err());
    }

    #[test]
    fn a_late_word_on_a_replaced_call_changes_nothing() {
        let shots = OneShots::new(ManualClock::at(Timestamp::UNIX_EPOCH), WINDOW);
        shots.claim("key", Uuid::from_u128(1), 0, NOW).unwrap();
        shots.settle("key", Uuid::from_u128(1), Fate::Nothing);
        shots.claim("key", Uuid::from_u128(2), 1, NOW).unwrap();
        shots.settle("key", Uuid::from_u128(1), Fate::Nothing);
        assert!(shots.claim("key", Uuid::from_u128(3), 1, NOW).is_err());
    }
}
