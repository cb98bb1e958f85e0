//! What the parts of one connection know in common: which call is under way, and what went wrong in the bytes.
//!
//! The bytes' side (`gate`) and the calls' side (`answer`) meet only here, with hyper between them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::refusal::Refusal;

/// Where an HTTP/1 connection is between two requests. On HTTP/2, where calls overlap, it means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// No request is under way; whatever hyper writes now is its own.
    Idle = 0,
    /// hyper has a head and may refuse it by itself; whatever it writes now is its own.
    Head = 1,
    /// Our service was called: what hyper writes now is our answer, or `100 Continue`.
    Called = 2,
    /// hyper has the whole answer; once it is flushed the connection is idle.
    Answered = 3,
}

/// One connection's shared state.
#[derive(Debug)]
pub(super) struct Line {
    phase: AtomicU8,
    fault: Mutex<Option<Refusal>>,
    open: watch::Sender<usize>,
    /// Whether no more calls are taken.
    over: watch::Sender<bool>,
    /// Answers that were handed to hyper and that it could not pass on yet: since when, and a number to tell them
    /// apart by.
    waiting: watch::Sender<BTreeSet<(Instant, u64)>>,
}

impl Line {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            phase: AtomicU8::new(Phase::Idle as u8),
            fault: Mutex::new(None),
            open: watch::Sender::new(0),
            over: watch::Sender::new(false),
            waiting: watch::Sender::new(BTreeSet::new()),
        })
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Called,
            _ => Phase::Answered,
        }
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
    }

    /// What is wrong with the bytes that came, once something is.
    pub(super) fn fault(&self) -> Option<Refusal> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps the first fault.
    pub(super) fn set_fault(&self, refusal: Refusal) {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(refusal);
    }

    /// Notes that a call begins; it ends when the value is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Open {
        self.set_phase(Phase::Called);
        self.open.send_modify(|open| *open += 1);
        Open { line: Arc::clone(self), waits: None }
    }

    /// Ends when an answer has waited for so long to be taken.
    pub(super) async fn stuck(&self, patience: Duration) {
        let mut waiting = self.waiting.subscribe();
        loop {
            let oldest = waiting.borrow_and_update().first().copied();
            match oldest {
                Some(oldest) => {
                    tokio::time::sleep_until(oldest.0 + patience).await;
                    if waiting.borrow_and_update().contains(&oldest) {
                        return;
                    }
                }
                // The sender is in this very value, so it can't be gone.
                None => drop(waiting.changed().await),
            }
        }
    }

    /// Takes no more calls: whoever sent what deserves no answer gets no other try on the same connection.
    pub(super) fn end(&self) {
        self.over.send_replace(true);
    }

    /// Whether no more calls are taken.
    pub(super) fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Ends when no more calls are taken.
    pub(super) async fn over(&self) {
        // The sender is in this very value, so it can't be gone.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }

    /// How many calls are open, to watch.
    pub(super) fn open(&self) -> watch::Receiver<usize> {
        self.open.subscribe()
    }
}

/// A call whose answer hyper does not have in whole yet.
#[derive(Debug)]
pub(super) struct Open {
    line: Arc<Line>,
    waits: Option<(Instant, u64)>,
}

impl Open {
    /// Notes that the answer is hyper's now, to be passed on when the client takes it.
    pub(super) fn handed_over(&mut self) {
        let now = Instant::now();
        self.line.waiting.send_modify(|waiting| {
            // Above the last of this moment, so that no two are the same.
            let number = waiting.last().filter(|last| last.0 == now).map_or(0, |last| last.1 + 1);
            waiting.insert((now, number));
            self.waits = Some((now, number));
        });
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.line.set_phase(Phase::Answered);
        self.line.open.send_modify(|open| *open = open.saturating_sub(1));
        if let Some(waits) = self.waits {
            // Nobody need look up for one answer less.
            self.line.waiting.send_if_modified(|waiting| {
                waiting.remove(&waits);
                false
            });
        }
    }
}
