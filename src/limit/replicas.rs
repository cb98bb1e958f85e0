//! Quotas over all replicas: each call is taken from the database's, but for a few that a busy replica takes ahead.
//!
//! A replica that takes from a quota often takes up to a 16th of it ahead, no more than it used in the last tenth of a second,
//! and only while more than half would be left. It spends them within a second or lets them go. So in any time `t` all
//! replicas together let through at most `burst + rate * t`, and a 16th of the burst for each replica: what was taken before
//! and spent in it. Of a quota below 32 calls nothing is taken ahead: one call would save no question that counts.
//!
//! Not here: the database's part (`share`), this replica's own count, which goes first (`limit::keyed`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Share;
use super::keyed::{Key, Level};
use crate::clock::Clock;
use crate::share::{Ask, Granted, PATIENCE, Shared};

/// The part of a quota that one replica may have taken ahead.
const PART: u32 = 16;

/// Where that part has fewer calls, nothing is taken ahead.
const LEAST: u32 = 2;

/// How long what was taken ahead may be spent, and how long a quota that was spent is not asked again at most.
const HOLD: Duration = Duration::from_secs(1);

/// Uses are counted by tenths of a second.
const PERIOD_MS: u128 = 100;

/// Quotas that are remembered, about 130 bytes each. If there are more, all of it is forgotten, which costs what was taken
/// ahead, and a question each.
const MAX_HELD: usize = 1 << 16;

/// How often the database's full quotas are deleted by each replica that is called.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// The quotas that replicas share.
#[derive(Debug)]
pub(super) struct Replicas {
    shared: Shared,
    clock: Arc<dyn Clock>,
    held: Mutex<HashMap<Key, Held>>,
    /// Seconds of the clock.
    next_forget: AtomicU64,
}

/// What this replica knows of a quota.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    /// Calls taken ahead, which may be spent until then.
    left: u32,
    until: Duration,
    /// Somebody asks for some ahead now, until then at most.
    asking_until: Duration,
    /// The tenth of a second of the last use; uses in it, and in the one before.
    period: u128,
    used: u32,
    used_before: u32,
    /// When it is full, if nobody takes from it.
    full_at: Duration,
    /// It has no room until then, and is not asked before.
    fits_at: Duration,
    ask_at: Duration,
}

/// Why a call does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// This one of the quotas has no room for so long.
    Spent { at: usize, wait: Duration },
    /// The database can't be asked.
    Away,
}

impl Replicas {
    pub(super) fn new(shared: Shared, clock: Arc<dyn Clock>) -> Self {
        let next_forget = AtomicU64::new((clock.monotonic() + FORGET_EVERY).as_secs());
        Self { shared, clock, held: Mutex::default(), next_forget }
    }

    /// Takes one call from all of these quotas or from none.
    pub(super) async fn take(&self, shares: &[Share<'_>]) -> Result<(), Unfit> {
        self.tidy();
        let began = self.clock.monotonic();
        let (asks, spent) = self.begin(shares, began)?;
        if asks.is_empty() {
            return Ok(());
        }
        let Ok(granted) = self.shared.take_quotas(&asks).await else {
            self.give_back(&spent);
            return Err(Unfit::Away);
        };
        let refused = self.end(&asks, &granted, began);
        let Some((key, wait)) = refused else { return Ok(()) };
        self.give_back(&spent);
        let at = shares.iter().position(|share| share.everywhere() == key).unwrap_or(0);
        Err(Unfit::Spent { at, wait })
    }

    /// What is left of a quota, as far as it is known here.
    pub(super) fn level(&self, share: &Share<'_>) -> Level {
        let now = self.clock.monotonic();
        let held = self.lock().get(&share.everywhere()).copied().unwrap_or_default();
        let full_in = held.full_at.saturating_sub(now);
        let (burst, interval) = (share.quota.rate().requests.get(), share.quota.interval());
        let used = u32::try_from(full_in.as_nanos().div_ceil(interval.as_nanos().max(1))).unwrap_or(u32::MAX);
        let ahead = if held.until > now { held.left } else { 0 };
        Level { remaining: burst.saturating_sub(used).saturating_add(ahead).min(burst), full_in }
    }

    /// Spends what is here, and says of what the database must be asked.
    fn begin(&self, shares: &[Share<'_>], now: Duration) -> Result<(Vec<Ask>, Vec<Key>), Unfit> {
        let (mut asks, mut spent): (Vec<Ask>, Vec<Key>) = (Vec::new(), Vec::new());
        let mut all = self.lock();
        for (at, share) in shares.iter().enumerate() {
            if let Some(held) = all.get(&share.everywhere())
                && held.ask_at > now
            {
                return Err(Unfit::Spent { at, wait: held.fits_at.saturating_sub(now) });
            }
        }
        for share in shares {
            let key = share.everywhere();
            if asks.iter().any(|ask| ask.key == key) || spent.contains(&key) {
                continue;
            }
            if all.len() >= MAX_HELD && !all.contains_key(&key) {
                all.clear();
            }
            let held = all.entry(key).or_default();
            held.used_now(now);
            if held.until <= now {
                held.left = 0;
            }
            if let Some(left) = held.left.checked_sub(1) {
                held.left = left;
                spent.push(key);
                continue;
            }
            let burst = share.quota.rate().requests.get();
            let may = held.asking_until <= now && burst / PART >= LEAST;
            let ahead = if may { held.busy().min(burst / PART) } else { 0 };
            if ahead > 0 {
                held.asking_until = now + PATIENCE;
            }
            asks.push(Ask { key, interval: share.quota.interval(), burst, want: ahead.saturating_add(1) });
        }
        Ok((asks, spent))
    }

    /// Notes what the database said; the first quota without room and for how long it has none.
    fn end(&self, asks: &[Ask], granted: &[Granted], began: Duration) -> Option<(Key, Duration)> {
        let now = self.clock.monotonic();
        let refused = granted.iter().any(|one| one.calls == 0);
        let mut first = None;
        let mut all = self.lock();
        for (ask, one) in asks.iter().zip(granted) {
            let held = all.entry(ask.key).or_default();
            held.full_at = now + one.full_in;
            if ask.want > 1 {
                held.asking_until = Duration::ZERO;
            }
            if one.calls == 0 {
                // GCRA: a call fits when one interval less than the whole is taken.
                let whole = ask.interval.saturating_mul(ask.burst);
                let wait = (one.full_in + ask.interval).saturating_sub(whole).max(Duration::from_nanos(1));
                held.fits_at = now + wait;
                held.ask_at = now + wait.min(HOLD);
                first = first.or(Some((ask.key, wait)));
            } else if !refused && one.calls > 1 {
                held.left = held.left.saturating_add(one.calls - 1).min(ask.burst / PART);
                // From before it was asked, so that an answer that came late is not held the longer for it.
                held.until = began + HOLD;
            }
        }
        first
    }

    fn give_back(&self, spent: &[Key]) {
        let mut all = self.lock();
        for key in spent {
            if let Some(held) = all.get_mut(key) {
                held.left = held.left.saturating_add(1);
            }
        }
    }

    /// Now and then forgets what tells nothing any more, here and in the database.
    fn tidy(&self) {
        let now = self.clock.monotonic();
        let due = self.next_forget.load(Ordering::Relaxed);
        let next = (now + FORGET_EVERY).as_secs();
        // Only one of several callers that see it due does the work.
        if now.as_secs() < due
            || self.next_forget.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return;
        }
        self.lock().retain(|_, held| held.until > now || held.full_at > now || held.ask_at > now);
        let shared = self.shared.clone();
        tokio::spawn(async move { shared.forget_quotas().await });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn used_now(&mut self, now: Duration) {
        let period = now.as_millis() / PERIOD_MS;
        if period != self.period {
            self.used_before = if period == self.period + 1 { self.used } else { 0 };
            (self.period, self.used) = (period, 0);
        }
        self.used = self.used.saturating_add(1);
    }

    /// Uses of about the last tenth of a second before this one.
    fn busy(&self) -> u32 {
        self.used_before.max(self.used.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests;
