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
    /// It is under way, or nobody knows.
    Open,
    /// It had its effect.
    Happened,
    /// It certainly had none.
    Nothing,
}

/// The one-shot calls of the last while.
#[derive(Debug)]
pub struct OneShots {
    clock: Arc<dyn Clock>,
    window: Duration,
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
    expires: Duration,
    /// When it was known what became of it.
    settled: Duration,
}

/// How often what has expired is thrown out.
const SWEEP: Duration = Duration::from_secs(10);

impl OneShots {
    /// Remembers calls for `window` after they were made.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, window: Duration) -> Self {
        Self { clock, window, known: Mutex::default() }
    }

    /// Takes note of a call that is about to be made. `retry_count` is what the client says of itself.
    ///
    /// # Errors
    /// [`Refusal::Repeat`] where it looks like the repetition of one that happened or may have: an equal call
    /// within the window that is still open, or was when this call arrived (it may have waited for its turn), or
    /// one that happened when the client says that this is a retry.
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
            known.by_key.retain(|_, first| first.expires > now);
            known.next_sweep = now + SWEEP;
        }
        if let Some(first) = known.by_key.get(key).filter(|first| first.expires > now) {
            let refused = match first.fate {
                Fate::Open => true,
                Fate::Happened => retry_count > 0 || arrived < first.settled,
                Fate::Nothing => false,
            };
            if refused {
                return Err(Refusal::Repeat { first: first.request_id });
            }
        }
        let first =
            First { request_id, fate: Fate::Open, expires: now + self.window, settled: Duration::MAX };
        known.by_key.insert(key.to_owned(), first);
        Ok(())
    }

    /// Says what became of a call. A call that another one with the same key has replaced is left alone.
    pub fn settle(&self, key: &str, request_id: Uuid, fate: Fate) {
        let settled = self.clock.monotonic();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = known.by_key.get_mut(key).filter(|first| first.request_id == request_id) {
            (first.fate, first.settled) = (fate, settled);
        }
    }

    /// Takes over a call from the record, made `age` ago.
    pub fn remember(&self, key: &str, request_id: Uuid, fate: Fate, age: Duration) {
        let Some(left) = self.window.checked_sub(age) else { return };
        let expires = self.clock.monotonic() + left;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.by_key.insert(key.to_owned(), First { request_id, fate, expires, settled: Duration::ZERO });
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
        check(Fate::Happened, 1, true);
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
        assert_eq!(shots.claim("key", Uuid::from_u128(4), 0, second), Ok(()), "there is nothing to repeat");
    }

    #[test]
    fn a_call_is_forgotten_after_the_window() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let shots = OneShots::new(clock.clone(), WINDOW);
        shots.claim("key", Uuid::from_u128(1), 0, NOW).unwrap();
        clock.advance(WINDOW - Duration::from_millis(1));
        assert!(shots.claim("key", Uuid::from_u128(2), 1, NOW).is_err());
        clock.advance(Duration::from_millis(1));
        assert!(shots.claim("key", Uuid::from_u128(3), 1, NOW).is_ok());
    }

    #[test]
    fn a_call_from_the_record_counts_with_its_age() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let shots = OneShots::new(clock.clone(), WINDOW);
        shots.remember("old", Uuid::from_u128(1), Fate::Open, WINDOW);
        shots.remember("young", Uuid::from_u128(2), Fate::Open, Duration::from_secs(1));
        assert!(shots.claim("old", Uuid::from_u128(3), 0, NOW).is_ok());
        assert!(shots.claim("young", Uuid::from_u128(4), 0, NOW).is_err());
        clock.advance(WINDOW);
        assert!(shots.claim("young", Uuid::from_u128(5), 0, NOW).is_ok());
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
