//! How long a new append would wait: from how long commits take, and from what stands before it.
//!
//! Whoever asks before any work is begun can say no at once, instead of having everybody wait until time runs out.
//! Not here: what is said then (`audit::shed`), a store that is at fault (`Health`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::writer::{MAX_BATCH, MAX_BATCH_BYTES};

/// The writer's pace, in microseconds of its clock.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the present commit began, plus one; 0 where there is none.
    began: AtomicU64,
    /// How long the last one took.
    took: AtomicU64,
}

impl Pace {
    /// A commit begins.
    pub(super) fn begins(&self, now: Duration) {
        self.began.store(micros(now).saturating_add(1), Ordering::Relaxed);
    }

    /// It has ended, however it went.
    pub(super) fn ends(&self, now: Duration) {
        let began = self.began.swap(0, Ordering::Relaxed).saturating_sub(1);
        self.took.store(micros(now).saturating_sub(began), Ordering::Relaxed);
    }

    /// How long an append that is made soon may wait, behind so many others with so many bytes: for a commit that has
    /// just begun, and for its own. Nothing while no commit is under way and nobody waits, however slow the last one
    /// was: how slow the next one is, only it can tell.
    pub(super) fn expected(&self, now: Duration, appends: usize, bytes: usize) -> Duration {
        let began = self.began.load(Ordering::Relaxed);
        if began == 0 && appends == 0 {
            return Duration::ZERO;
        }
        let so_far = if began == 0 { 0 } else { micros(now).saturating_sub(began - 1) };
        let commit = so_far.max(self.took.load(Ordering::Relaxed));
        let before = (appends / MAX_BATCH).max(bytes / MAX_BATCH_BYTES) as u64;
        Duration::from_micros(commit.saturating_mul(before.saturating_add(2)))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// A commit that took so long, and then one that is under way for so long.
    fn pace(last: u64, so_far: Option<u64>) -> (Pace, Duration) {
        let pace = Pace::default();
        pace.begins(ms(0));
        pace.ends(ms(last));
        let began = ms(10_000);
        if let Some(so_far) = so_far {
            pace.begins(began);
            return (pace, began + ms(so_far));
        }
        (pace, began)
    }

    #[test]
    fn an_append_may_wait_for_a_commit_that_has_just_begun_and_for_its_own() {
        for (last, so_far, appends, bytes, expected) in [
            // Nobody is before it.
            (1500, None, 0, 0, 0),
            (10, Some(4), 0, 0, 20),
            (10, Some(4), 1, 1000, 20),
            (10, None, 1, 1000, 20),
            // More than one transaction takes.
            (10, Some(4), MAX_BATCH, 1000, 30),
            (10, Some(4), 2, 3 * MAX_BATCH_BYTES, 50),
            // Slower than the last one.
            (10, Some(400), 0, 0, 800),
        ] {
            let (pace, now) = pace(last, so_far);
            let told = format!("{last}, {so_far:?}, {appends}, {bytes}");
            assert_eq!(pace.expected(now, appends, bytes), ms(expected), "{told}");
        }
    }
}
