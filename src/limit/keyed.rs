//! One quota held by many: `governor`'s GCRA by key, over our clock, in bounded memory, with two things that
//! `governor` does not offer: looking without taking, and giving back.
//!
//! Both work on the state store, where GCRA keeps one number a key, the "theoretical arrival time": a call moves
//! it on by one interval, so giving a call back moves it back by one.
//!
//! Not here: which quotas a call takes from (`limit`).

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::{DashMapStateStore, ShrinkableKeyedStateStore};
use governor::{Quota, RateLimiter};

use crate::clock::Clock;
use crate::config::Rate;

/// Names a holder: a hash, so that long names don't cost memory and no name can be made to look like another.
pub(super) type Key = [u8; 16];

/// The key of a name in several parts.
pub(super) fn key(parts: &[&str]) -> Key {
    let mut hash = Context::new(&SHA256);
    for part in parts {
        // The length goes first, so that ("ab", "c") and ("a", "bc") differ.
        hash.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut key = Key::default();
    key.iter_mut().zip(hash.finish().as_ref()).for_each(|(to, from)| *to = *from);
    key
}

/// Holders that one quota remembers: about 64 bytes each, so 4 MiB at most for each of the six quotas. Only
/// names out of verified tokens get here.
const MAX_KEYS: usize = 1 << 16;

/// How often full quotas are forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(60);

/// What a new holder is told to wait while the quota can't remember any more of them.
const CROWDED: Duration = Duration::from_secs(1);

/// What is left of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    /// Calls that would be taken now.
    pub(super) remaining: u32,
    /// Until the quota is full again.
    pub(super) full_in: Duration,
}

#[derive(Clone, Debug)]
struct Ticks(Arc<dyn Clock>);

impl GovernorClock for Ticks {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.monotonic()
    }
}

/// `governor`'s store, shared with the limiter that owns it.
#[derive(Clone, Debug, Default)]
struct Store(Arc<DashMapStateStore<Key>>);

impl StateStore for Store {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0.measure_and_replace(key, f)
    }
}

impl ShrinkableKeyedStateStore<Key> for Store {
    fn retain_recent(&self, drop_below: Nanos) {
        self.0.as_ref().retain_recent(drop_below);
    }

    fn len(&self) -> usize {
        self.0.as_ref().len()
    }

    fn is_empty(&self) -> bool {
        self.0.as_ref().is_empty()
    }
}

/// A rate that each key has for itself: `rate.requests` at once, refilled evenly over `rate.per`.
pub(super) struct Keyed {
    rate: Rate,
    interval: Duration,
    start: Duration,
    clock: Ticks,
    store: Store,
    limiter: RateLimiter<Key, Store, Ticks, NoOpMiddleware<Duration>>,
    /// Seconds of the clock at which full quotas are forgotten next.
    next_prune: AtomicU64,
    max_keys: usize,
}

impl std::fmt::Debug for Keyed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyed").field("rate", &self.rate).finish_non_exhaustive()
    }
}

impl Keyed {
    pub(super) fn new(rate: Rate, clock: Arc<dyn Clock>) -> Self {
        let interval = (rate.per / rate.requests.get()).max(Duration::from_nanos(1));
        // `None` only for a zero interval, which the line above excludes.
        let quota = Quota::with_period(interval)
            .unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN))
            .allow_burst(rate.requests);
        let (clock, store) = (Ticks(clock), Store::default());
        let start = clock.now();
        let limiter = RateLimiter::new(quota, store.clone(), clock.clone());
        let next_prune = AtomicU64::new((start + PRUNE_EVERY).as_secs());
        Self { rate, interval, start, clock, store, limiter, next_prune, max_keys: MAX_KEYS }
    }

    pub(super) const fn rate(&self) -> Rate {
        self.rate
    }

    /// The same holders under another rate: calls that were spent stay spent, as far as the new rate has so many. So
    /// a change gives nobody a second burst.
    pub(super) fn renewed(&self, rate: Rate) -> Self {
        let new = Self::new(rate, Arc::clone(&self.clock.0));
        let (from, to) = (self.interval.as_nanos().max(1), new.interval.as_nanos());
        let most = to.saturating_mul(rate.requests.get().into());
        let known: Vec<Key> = self.store.0.iter().map(|holder| *holder.key()).collect();
        for key in known {
            // The new limiter's time begins now, so what is left to wait is when the holder's calls have arrived.
            let arrival = (self.level(&key).full_in.as_nanos().saturating_mul(to) / from).min(most);
            if arrival > 0 {
                let arrival = Nanos::from(u64::try_from(arrival).unwrap_or(u64::MAX));
                let kept: Result<(), Infallible> = new.store.measure_and_replace(&key, |_| Ok(((), arrival)));
                let Ok(()) = kept;
            }
        }
        new
    }

    /// How long until there is room for one more call.
    pub(super) const fn interval(&self) -> Duration {
        self.interval
    }

    /// Takes one call, or says how long until one fits.
    pub(super) fn take(&self, key: &Key) -> Result<(), Duration> {
        self.make_room(key)?;
        self.limiter.check_key(key).map_err(|not_until| {
            // Never zero: zero would read as "at once", and the same call would be refused again.
            not_until.wait_time_from(self.clock.now()).max(Duration::from_nanos(1))
        })
    }

    /// Gives back a call that was taken.
    pub(super) fn give_back(&self, key: &Key) {
        let interval = Nanos::from(self.interval);
        let given: Result<(), Infallible> = self.store.measure_and_replace(key, |arrival| {
            Ok(((), arrival.unwrap_or_else(|| Nanos::from(0)).saturating_sub(interval)))
        });
        let Ok(()) = given;
    }

    /// What is left, taking nothing.
    pub(super) fn level(&self, key: &Key) -> Level {
        let arrival = if self.store.0.contains_key(key) {
            let seen: Result<(), Option<Nanos>> = self.store.measure_and_replace(key, Err);
            seen.err().flatten().map_or(Duration::ZERO, Duration::from)
        } else {
            Duration::ZERO
        };
        let now = self.clock.now().saturating_sub(self.start);
        let full_in = arrival.saturating_sub(now);
        // A part of an interval that has not passed yet is a whole call that can't be made yet.
        let used = full_in.as_nanos().div_ceil(self.interval.as_nanos().max(1));
        let remaining = self.rate.requests.get().saturating_sub(u32::try_from(used).unwrap_or(u32::MAX));
        Level { remaining, full_in }
    }

    /// Forgets quotas that are full again, now and then, and keeps the number of keys bounded. Where there are
    /// too many, new holders wait: forgetting a spent quota instead would fill it.
    fn make_room(&self, key: &Key) -> Result<(), Duration> {
        let now = self.clock.now();
        let due = self.next_prune.load(Ordering::Relaxed);
        if now.as_secs() >= due {
            let next = (now + PRUNE_EVERY).as_secs();
            // Only one of several callers that see it due does the work.
            if self.next_prune.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                self.limiter.retain_recent();
            }
        }
        if self.store.len() < self.max_keys || self.store.0.contains_key(key) {
            return Ok(());
        }
        Err(CROWDED)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::clock::ManualClock;

    fn keyed(requests: u32, per: Duration) -> (Keyed, Arc<ManualClock>) {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let rate = Rate { requests: NonZeroU32::new(requests).unwrap(), per };
        (Keyed::new(rate, clock.clone()), clock)
    }

    #[test]
    fn giving_back_restores_what_was_taken() {
        let (quota, clock) = keyed(3, Duration::from_secs(30));
        clock.advance(Duration::from_secs(7));
        let a = key(&["a"]);
        for _ in 0..50 {
            quota.take(&a).unwrap();
            quota.take(&a).unwrap();
            quota.give_back(&a);
            quota.give_back(&a);
        }
        assert_eq!(quota.level(&a).remaining, 3);
        (0..3).for_each(|_| quota.take(&a).unwrap());
        assert_eq!(quota.take(&a), Err(Duration::from_secs(10)));
        assert_eq!(quota.level(&a), Level { remaining: 0, full_in: Duration::from_secs(30) });
    }

    #[test]
    fn full_quotas_are_forgotten_and_spent_ones_are_not() {
        let (quota, clock) = keyed(1, Duration::from_secs(100));
        quota.take(&key(&["old"])).unwrap();
        clock.advance(Duration::from_secs(250));
        quota.take(&key(&["new"])).unwrap();
        clock.advance(Duration::from_secs(61));
        quota.take(&key(&["other"])).unwrap();
        assert!(!quota.store.0.contains_key(&key(&["old"])));
        assert!(quota.take(&key(&["new"])).is_err());
    }

    #[test]
    fn new_holders_wait_while_no_more_can_be_remembered() {
        let (mut quota, clock) = keyed(2, Duration::from_secs(10));
        quota.max_keys = 2;
        quota.take(&key(&["a"])).unwrap();
        quota.take(&key(&["b"])).unwrap();
        assert_eq!(quota.take(&key(&["c"])), Err(CROWDED));
        assert_eq!(quota.take(&key(&["a"])), Ok(()), "a known holder goes on");
        clock.advance(PRUNE_EVERY);
        assert_eq!(quota.take(&key(&["c"])), Ok(()));
    }

    #[test]
    fn what_is_spent_stays_spent_under_another_rate() {
        let (quota, clock) = keyed(4, Duration::from_secs(40));
        let (a, b) = (key(&["a"]), key(&["b"]));
        clock.advance(Duration::from_secs(7));
        (0..3).for_each(|_| quota.take(&a).unwrap());
        let rate =
            |requests| Rate { requests: NonZeroU32::new(requests).unwrap(), per: Duration::from_secs(60) };
        let wider = quota.renewed(rate(6));
        assert_eq!((wider.level(&a).remaining, wider.level(&b).remaining), (3, 6));
        (0..3).for_each(|_| wider.take(&a).unwrap());
        assert_eq!(wider.take(&a), Err(Duration::from_secs(10)));
        let narrower = quota.renewed(rate(2));
        assert_eq!(narrower.take(&a), Err(Duration::from_secs(30)), "not more than all of it is spent");
        assert_eq!(narrower.level(&b).remaining, 2);
        clock.advance(Duration::from_secs(5));
        let mut often = quota.renewed(rate(4));
        for _ in 0..100 {
            often = often.renewed(rate(8)).renewed(rate(4));
        }
        assert_eq!(often.level(&a).full_in, Duration::from_millis(37_500), "parts of a call are kept, too");
    }

    #[test]
    fn keys_of_several_parts_are_not_ambiguous() {
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_ne!(key(&["ab"]), key(&["a", "b"]));
        assert_eq!(key(&["a", "b"]), key(&["a", "b"]));
    }
}
