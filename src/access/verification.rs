//! One verification of the whole record at a time, in the background.
//!
//! Not here: the verification itself (`inspect::verify`).

use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;
use crate::inspect::{self, Evidence, Report};
use crate::seal::Verifier;
use crate::store::Reader;

/// How long a report stands before the next verification may start, at least; else ten times what it took.
const LEAST_REST: SignedDuration = SignedDuration::from_mins(1);

/// How the last verification went, or goes.
#[derive(Clone, Debug, Default)]
pub enum State {
    /// None was asked for since the process started.
    #[default]
    Never,
    /// It goes on.
    Going {
        /// Since when.
        since: Timestamp,
        /// Entries that were found good so far.
        entries: u64,
    },
    /// It ended.
    Done {
        /// When it began.
        since: Timestamp,
        /// When it ended.
        at: Timestamp,
        /// What it found.
        report: Arc<Report>,
    },
    /// It could not be made.
    Failed {
        /// When.
        at: Timestamp,
        /// Why.
        why: String,
    },
}

/// The verification.
#[derive(Debug, Default)]
pub(super) struct Verification(Arc<Mutex<State>>);

impl Verification {
    pub(super) fn state(&self) -> State {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts one, unless one goes on or the last one is young.
    pub(super) fn start(&self, reader: Reader, verifier: Verifier, clock: &Arc<dyn Clock>) {
        let since = clock.now();
        {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let young = match &*state {
                State::Going { .. } => true,
                State::Done { since: begun, at, .. } => {
                    let rest = at.duration_since(*begun).saturating_mul(10).max(LEAST_REST);
                    since.duration_since(*at) < rest
                }
                State::Never | State::Failed { .. } => false,
            };
            if young {
                return;
            }
            *state = State::Going { since, entries: 0 };
        }
        let (state, clock) = (Arc::clone(&self.0), Arc::clone(clock));
        tokio::spawn(async move {
            let set = |new| *state.lock().unwrap_or_else(PoisonError::into_inner) = new;
            let mut progress = |entries| set(State::Going { since, entries });
            let evidence = Evidence::of(verifier);
            let found = inspect::verify(&reader, &evidence, &mut progress).await;
            let at = clock.now();
            set(match found {
                Ok(report) => State::Done { since, at, report: Arc::new(report) },
                Err(error) => State::Failed { at, why: error.to_string() },
            });
        });
    }
}
