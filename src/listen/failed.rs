//! Connections that end before anything can be asked on them: there is no call of which the record could tell, so they are
//! counted, and the log tells why. Who only connects and goes, as health checks do, has not failed.
//!
//! Not here: what is wrong with a request (`request`, `framing`).

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// In what a connection fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The header that a balancer must send first.
    ProxyProtocol,
    /// The TLS handshake, a client's certificate included.
    Tls,
}

/// Between two lines of the log about the same: strangers can make any number of them. The others are told at the level
/// of debugging.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// How often each happened.
#[derive(Debug, Default)]
pub(super) struct Failures {
    proxy_protocol: Count,
    tls: Count,
}

#[derive(Debug, Default)]
struct Count {
    all: AtomicU64,
    told: Mutex<Option<Instant>>,
}

impl Failed {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::ProxyProtocol, Self::Tls];

    /// The name in metrics and log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProxyProtocol => "proxy_protocol",
            Self::Tls => "tls",
        }
    }
}

impl Failures {
    const fn of(&self, failed: Failed) -> &Count {
        match failed {
            Failed::ProxyProtocol => &self.proxy_protocol,
            Failed::Tls => &self.tls,
        }
    }

    /// How often this happened.
    pub(super) fn count(&self, failed: Failed) -> u64 {
        self.of(failed).all.load(Ordering::Relaxed)
    }

    /// Takes note of a connection that ended so.
    pub(super) fn note(&self, failed: Failed, peer: IpAddr, why: &str) {
        let count = self.of(failed);
        let all = count.all.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_to_be_told(Instant::now()) {
            tracing::warn!(
                peer = %peer, failed = failed.name(), why, since_the_start = all,
                "a connection was closed before anything was asked on it; others of the kind are told at the level of debugging"
            );
        } else {
            tracing::debug!(peer = %peer, failed = failed.name(), why, "a connection was closed before anything was asked on it");
        }
    }
}

impl Count {
    fn is_to_be_told(&self, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = told.is_none_or(|told| now.duration_since(told) >= TELL_EVERY);
        if is_due {
            *told = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_alike_the_log_tells_one_each_while_and_all_are_counted() {
        let failures = Failures::default();
        for _ in 0..3 {
            failures.note(Failed::Tls, IpAddr::from([192, 0, 2, 1]), "no");
        }
        assert_eq!(Failed::ALL.map(|failed| failures.count(failed)), [0, 3]);
        let (count, now) = (Count::default(), Instant::now());
        let due = [0, 1, 9, 10, 11, 20].map(|second| count.is_to_be_told(now + Duration::from_secs(second)));
        assert_eq!(due, [true, false, false, true, false, true]);
    }
}
