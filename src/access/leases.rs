//! Which questions an entry of the last minutes tells of already.
//!
//! Not here: what makes two questions the same (`asked`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::clock::Clock;

/// How long one entry tells of the same question.
const LEASE: Duration = Duration::from_mins(5);

/// Questions that are remembered: beyond that each has an entry of its own.
const MOST: usize = 4096;

/// SHA-256 of a question and who asks it.
pub(super) type Digest = [u8; 32];

/// How long an entry tells of its question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    /// As the entry says it.
    pub(super) until: Timestamp,
    ends: Duration,
}

/// What was recorded lately.
#[derive(Debug)]
pub(super) struct Leases {
    held: Mutex<HashMap<Digest, (Duration, Uuid)>>,
    clock: Arc<dyn Clock>,
}

impl Leases {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { held: Mutex::default(), clock }
    }

    /// A lease that begins now, before its entry is stored: it must not outlast what the entry says.
    pub(super) fn begin(&self) -> Lease {
        let now = self.clock.now();
        let until = SignedDuration::try_from(LEASE).ok().and_then(|lease| now.checked_add(lease).ok());
        Lease { until: until.unwrap_or(now), ends: self.clock.monotonic() + LEASE }
    }

    /// Forgets a question, which is then told of anew.
    pub(super) fn end(&self, digest: &Digest) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }

    /// The request whose entry tells of this question.
    pub(super) fn held(&self, digest: &Digest) -> Option<Uuid> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(digest).filter(|(ends, _)| self.clock.monotonic() < *ends).map(|(_, id)| *id)
    }

    /// Notes that this request's entry, which is stored, tells of it.
    pub(super) fn take(&self, digest: Digest, lease: Lease, request_id: Uuid) {
        let now = self.clock.monotonic();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= MOST {
            held.retain(|_, (ends, _)| now < *ends);
        }
        if held.len() < MOST {
            held.insert(digest, (lease.ends, request_id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn an_entry_tells_of_a_question_for_five_minutes_and_of_no_other() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let leases = Leases::new(clock.clone());
        let id = Uuid::from_u128(7);
        assert_eq!(leases.held(&[1; 32]), None);
        let lease = leases.begin();
        assert_eq!(lease.until.to_string(), "1970-01-01T00:05:00Z");
        leases.take([1; 32], lease, id);
        assert_eq!((leases.held(&[1; 32]), leases.held(&[2; 32])), (Some(id), None));
        clock.advance(Duration::from_secs(299));
        assert_eq!(leases.held(&[1; 32]), Some(id));
        clock.advance(Duration::from_secs(1));
        assert_eq!(leases.held(&[1; 32]), None);
        leases.take([1; 32], leases.begin(), id);
        leases.end(&[1; 32]);
        assert_eq!(leases.held(&[1; 32]), None);
    }
}
