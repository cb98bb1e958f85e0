//! What all calls to one emulator share, and what a call is when it arrives.
//!
//! Not here: what is done with either (`call`, `control`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::fault::Queue;
use super::gate::Gate;
use super::journal::Journal;
use super::logs::Logs;
use super::tunnels::Tunnels;
use crate::clock::{Clock, Ids};
use crate::operation::AccountId;

/// Everything that the emulator remembers.
pub(super) struct Shared {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<Ids>,
    pub(super) gate: Mutex<Gate>,
    pub(super) accounts: Mutex<BTreeMap<AccountId, Tunnels>>,
    pub(super) journal: Mutex<Journal>,
    pub(super) logs: Mutex<Logs>,
    pub(super) faults: Mutex<Queue>,
    pub(super) latency: Duration,
}

/// Shows nothing: tunnels and bodies hold keys.
impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// A lock whose holder can't leave it broken: each change is one assignment or push.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request, read to its end.
pub(super) struct Arrived {
    pub(super) head: http::request::Parts,
    /// Empty where it did not come whole.
    pub(super) body: Bytes,
    pub(super) whole: bool,
    pub(super) peer: SocketAddr,
}
