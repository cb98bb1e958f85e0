//! Time and randomness, as values that come in through the door.
//!
//! Production uses [`SystemClock`] and [`Ids::new`]; tests own both. The globals behind them are banned by
//! clippy everywhere but here. Not here: timeouts, which are tokio's.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

/// Where the product takes the time from.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The time of day, UTC.
    fn now(&self) -> Timestamp;
    /// Time since some fixed moment, which never goes back, and goes on while the machine is suspended: for durations, for
    /// limits, and for what is had until a time.
    fn monotonic(&self) -> Duration;
}

/// The clock of the machine.
#[derive(Debug)]
pub struct SystemClock {
    began: Duration,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { began: since_boot() })
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        since_boot().saturating_sub(self.began)
    }
}

/// Linux's `CLOCK_MONOTONIC`, and with it [`std::time::Instant`], stands still while a machine is suspended (clock_gettime(2)):
/// what others take for given up by then would look like held.
fn since_boot() -> Duration {
    #[cfg(target_os = "linux")]
    let clock = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::Monotonic;
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

/// A clock that stands still until it is told to move: for tests.
#[derive(Debug)]
pub struct ManualClock {
    micros: AtomicI64,
    start: i64,
    /// How far the time of day jumped, in microseconds.
    jumped: AtomicI64,
}

impl ManualClock {
    /// A clock that stands at `start`.
    #[must_use]
    pub fn at(start: Timestamp) -> Arc<Self> {
        let start = start.as_microsecond();
        Arc::new(Self { micros: AtomicI64::new(start), start, jumped: AtomicI64::new(0) })
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        self.micros.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Sets the time of day forth, or back, as an administrator does; no time passes.
    pub fn jump(&self, by: SignedDuration) {
        self.jumped.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        let micros = self.micros.load(Ordering::SeqCst).saturating_add(self.jumped.load(Ordering::SeqCst));
        Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
    }

    fn monotonic(&self) -> Duration {
        let passed = self.micros.load(Ordering::SeqCst).saturating_sub(self.start);
        Duration::from_micros(u64::try_from(passed).unwrap_or(0))
    }
}

/// Writes a time as the record does: RFC 3339, UTC, always six digits of a second, so that text order is
/// time order.
#[must_use]
pub fn rfc3339(time: Timestamp) -> String {
    format!("{time:.6}")
}

/// Makes identifiers: `UUIDv7` (RFC 9562), strictly increasing within one process.
#[derive(Debug)]
pub struct Ids {
    clock: Arc<dyn Clock>,
    last: Mutex<u128>,
}

impl Ids {
    /// A source of identifiers whose time comes from `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, last: Mutex::new(0) }
    }

    /// The next identifier; greater than every one before it, also when the clock stands still or goes back.
    pub fn next(&self) -> Uuid {
        let mut random = [0u8; 10];
        // A failing random source leaves zeros: the identifier is still unique by the rule below.
        let _ = aws_lc_rs::rand::fill(&mut random);
        let millis = u64::try_from(self.clock.now().as_millisecond()).unwrap_or(0);
        let fresh = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().as_u128();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // Adding one to the last keeps version and variant, which stand above 62 random low bits.
        *last = if fresh > *last { fresh } else { *last + 1 };
        Uuid::from_u128(*last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_increase_while_the_clock_stands_still() {
        let clock = ManualClock::at(Timestamp::from_second(1_790_000_000).unwrap());
        let ids = Ids::new(clock);
        let mut last = ids.next();
        for _ in 0..1000 {
            let next = ids.next();
            assert!(next > last);
            assert_eq!(next.get_version_num(), 7);
            last = next;
        }
    }

    #[test]
    fn identifiers_increase_and_no_time_passes_while_the_time_of_day_jumps() {
        let clock = ManualClock::at(Timestamp::from_second(1_790_000_000).unwrap());
        let ids = Ids::new(clock.clone());
        let mut last = ids.next();
        for hours in [1, -1, 24 * 365 * 10, -24 * 365 * 20, 24 * 365 * 10] {
            let before = clock.now();
            clock.jump(SignedDuration::from_hours(hours));
            assert_eq!(clock.now().duration_since(before), SignedDuration::from_hours(hours));
            assert_eq!(clock.monotonic(), Duration::ZERO);
            let next = ids.next();
            assert!(next > last, "{hours}");
            last = next;
        }
    }

    #[test]
    fn times_have_six_digits() {
        assert_eq!(rfc3339(Timestamp::from_second(0).unwrap()), "1970-01-01T00:00:00.000000Z");
    }
}
