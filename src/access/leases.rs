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

    /// Until when an entry that is made now tells of the same question.
    pub(super) fn until(&self) -> Timestamp {
        let now = self.clock.now();
        SignedDuration::try_from(LEASE).ok().and_then(|lease| now.checked_add(lease).ok()).unwrap_or(now)
    }

    /// The request whose entry tells of this question.
    pub(super) fn held(&self, digest: &Digest) -> Option<Uuid> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(digest).filter(|(ends, _)| self.clock.monotonic() < *ends).map(|(_, id)| *id)
    }

    /// Notes that this request's entry, which is stored, tells of it.
    pub(super) fn take(&self, digest: Digest, request_id: Uuid) {
        let now = self.clock.monotonic();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= MOST {
            held.retain(|_, (ends, _)| now < *ends);
        }
        if held.len() < MOST {
            held.insert(digest, (now + LEASE, request_id));
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
        leases.take([1; 32], id);
        assert_eq!((leases.held(&[1; 32]), leases.held(&[2; 32])), (Some(id), None));
        clock.advance(Duration::from_secs(299));
        assert_eq!(leases.held(&[1; 32]), Some(id));
        clock.advance(Duration::from_secs(1));
        assert_eq!(leases.held(&[1; 32]), None);
    }
}
