//! The one task that writes.
//!
//! It takes whatever is queued, commits it in one transaction, and answers each caller. After a fault it answers
//! everybody at once and tries, until the store is proven to work. A batch whose commit may or may not have
//! happened is neither written again nor given up: the database is read back, and what is found there is the
//! answer. Not here: the transaction itself (`store::sqlite`), what is signed (`store::backend::State`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::backend::{Backend, CommitError, State};
use super::pace::Pace;
use super::postgres::KEEP_EVERY;
use super::{Did, Health, Observer, StoreError};
use crate::clock::Clock;
use crate::seal::{Hash, Signer, Verifier};

/// Between two tries while the store does not work: soon enough not to be noticed, seldom enough not to harm.
pub(super) const PROBE_EVERY: Duration = Duration::from_millis(250);

/// Between two stored checkpoints. The head covers every entry anyway.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

/// Entries in one transaction: enough to share an fsync, few enough that the first does not wait long.
pub(super) const MAX_BATCH: usize = 512;

/// Bytes of entries in one transaction.
pub(super) const MAX_BATCH_BYTES: usize = 4 << 20;

/// What comes through the queue.
#[derive(Debug)]
pub(super) enum Message {
    /// Store these.
    Append(Job),
    /// Store what is queued, then end.
    Close,
}

/// Entries that somebody waits for.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) entries: Vec<Arc<str>>,
    pub(super) reply: oneshot::Sender<Result<(), StoreError>>,
    pub(super) _room: OwnedSemaphorePermit,
}

impl Job {
    fn answer(self, result: Result<(), StoreError>) {
        // Nobody listens any more: the caller's wait was over.
        let _ = self.reply.send(result);
    }
}

/// The writer.
pub(super) struct Writer<B> {
    pub(super) backend: B,
    pub(super) state: State,
    /// Another state in which the database may be: that of a batch whose commit was not answered.
    pub(super) maybe: Option<State>,
    pub(super) signer: Arc<Signer>,
    pub(super) verifier: Verifier,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) pace: Arc<Pace>,
    pub(super) last_checkpoint: Option<Duration>,
    pub(super) queue: mpsc::Receiver<Message>,
    pub(super) closing: bool,
    pub(super) health: Arc<watch::Sender<Health>>,
    pub(super) newest: watch::Sender<(u64, Hash)>,
    pub(super) patience: Duration,
    pub(super) observer: Observer,
}

/// Lets all that is ready to run go first, as long as that brings more entries: whoever was answered by the last
/// commit may have the next one at hand. No clock is waited for, and where nothing else runs this takes a few
/// microseconds.
async fn wait_for_company(queue: &mpsc::Receiver<Message>) {
    let mut seen = None;
    while seen != Some(queue.len()) && queue.len() < MAX_BATCH {
        seen = Some(queue.len());
        tokio::task::yield_now().await;
    }
}

impl<B: Backend> Writer<B> {
    /// Writes until the store is closed or dropped.
    pub(super) async fn run(mut self) {
        while !self.closing {
            match timeout(KEEP_EVERY, self.queue.recv()).await {
                Ok(Some(message)) => self.turn(message).await,
                Ok(None) => break,
                Err(_) => self.keep().await,
            }
        }
        self.queue.close();
        while let Some(message) = self.queue.recv().await {
            self.turn(message).await;
        }
        if self.health.borrow().is_writable() && self.state.tree.size() > self.state.checkpointed {
            // Best effort: the head proves the same.
            let _ = self.commit(Vec::new(), true).await;
        }
        self.backend.close().await;
    }

    /// Keeps the log while nothing is written.
    async fn keep(&mut self) {
        if let Err(fault) = self.backend.keep().await {
            self.set_fault(Some(fault));
            self.recover().await;
        }
    }

    async fn turn(&mut self, message: Message) {
        wait_for_company(&self.queue).await;
        let jobs = self.gather(message);
        if let Some(fault) = self.health.borrow().fault {
            jobs.into_iter().for_each(|job| job.answer(Err(fault)));
        } else {
            self.store(jobs).await;
        }
    }

    /// The message's job and those queued behind it, up to a batch. Jobs that nobody waits for are dropped.
    fn gather(&mut self, message: Message) -> Vec<Job> {
        let (mut jobs, mut count, mut bytes) = (Vec::new(), 0, 0);
        let mut next = Some(message);
        while let Some(message) = next.take() {
            match message {
                Message::Close => self.closing = true,
                Message::Append(job) if job.reply.is_closed() => {}
                Message::Append(job) => {
                    count += job.entries.len();
                    bytes += job.entries.iter().map(|entry| entry.len()).sum::<usize>();
                    jobs.push(job);
                }
            }
            if count < MAX_BATCH && bytes < MAX_BATCH_BYTES {
                next = self.queue.try_recv().ok();
            }
        }
        jobs
    }

    async fn store(&mut self, jobs: Vec<Job>) {
        let mut batches = VecDeque::from([jobs]);
        while let Some(jobs) = batches.pop_front() {
            if jobs.is_empty() {
                continue;
            }
            let checkpoint = self.checkpoint_is_due();
            let many = jobs.len() > 1;
            let entries = jobs.iter().flat_map(|job| job.entries.iter().cloned()).collect();
            match self.commit(entries, checkpoint).await {
                // One entry that the tables refuse must not fail its neighbors: each goes alone.
                Err(StoreError::Invalid) if many => batches.extend(jobs.into_iter().map(|job| vec![job])),
                Err(StoreError::Invalid) => {
                    jobs.into_iter().for_each(|job| job.answer(Err(StoreError::Invalid)));
                }
                Ok(()) => jobs.into_iter().for_each(|job| job.answer(Ok(()))),
                Err(fault) => {
                    // Before anybody hears of it, so that nobody finds the store well after a failure.
                    self.set_fault(Some(fault));
                    let all = jobs.into_iter().chain(std::mem::take(&mut batches).into_iter().flatten());
                    all.for_each(|job| job.answer(Err(fault)));
                    self.recover().await;
                }
            }
        }
    }

    fn checkpoint_is_due(&self) -> bool {
        let now = self.clock.monotonic();
        self.last_checkpoint.is_none_or(|last| now.saturating_sub(last) >= CHECKPOINT_EVERY)
    }

    async fn commit(&mut self, entries: Vec<Arc<str>>, checkpoint: bool) -> Result<(), StoreError> {
        self.pace.begins(self.clock.monotonic());
        let result = self.commit_batch(entries, checkpoint).await;
        self.pace.ends(self.clock.monotonic());
        result
    }

    async fn commit_batch(&mut self, entries: Vec<Arc<str>>, checkpoint: bool) -> Result<(), StoreError> {
        let (began, count) = (self.clock.monotonic(), entries.len());
        let (batch, next) = self.state.next(entries, checkpoint, &self.signer)?;
        let result = {
            let commit = self.backend.commit(&batch);
            tokio::pin!(commit);
            match timeout(self.patience, &mut commit).await {
                Ok(result) => result,
                Err(_) => {
                    // Let nobody else wait for a disk that does not answer.
                    set_fault(&self.health, Some(StoreError::Timeout));
                    commit.await
                }
            }
        };
        let result = match result {
            Ok(()) => Ok(()),
            Err(CommitError::Nothing(StoreError::Invalid)) => {
                // The entry is at fault, not the store, even if it was slow to say so.
                self.set_fault(None);
                Err(StoreError::Invalid)
            }
            Err(CommitError::Nothing(fault)) => Err(fault),
            Err(CommitError::Unknown(fault)) => self.find_out(fault, &next).await,
        };
        if result.is_ok() {
            if checkpoint {
                self.last_checkpoint = Some(self.clock.monotonic());
            }
            self.adopt(next);
            self.set_fault(None);
            let took = self.clock.monotonic().saturating_sub(began);
            self.observer.tell(Did::Committed { entries: count, took, checkpoint });
        }
        result
    }

    /// Reads back whether a batch is there. As long as that can't be read its callers are left waiting, up to
    /// their own time limit: no answer would be true.
    async fn find_out(&mut self, fault: StoreError, next: &State) -> Result<(), StoreError> {
        let until = Instant::now() + self.patience;
        self.set_fault(Some(fault));
        loop {
            match self.backend.load().await {
                Ok(stored) => {
                    let note = stored.head.as_ref().map(|head| head.note.clone());
                    let sound = State::of(stored, &self.verifier).is_ok();
                    return match note {
                        _ if !sound => Err(StoreError::Foreign),
                        note if note == next.note => Ok(()),
                        note if note == self.state.note => Err(fault),
                        _ => Err(StoreError::Foreign),
                    };
                }
                Err(other) => self.set_fault(Some(other)),
            }
            if Instant::now() >= until || self.closing {
                self.maybe = Some(next.clone());
                return Err(StoreError::Timeout);
            }
            self.refuse_for(PROBE_EVERY).await;
        }
    }

    /// Refuses everything until the store works again, or is closed.
    async fn recover(&mut self) {
        while !self.closing {
            self.refuse_for(PROBE_EVERY).await;
            match self.try_again().await {
                Ok(()) => return self.set_fault(None),
                Err(fault) => self.set_fault(Some(fault)),
            }
        }
    }

    async fn try_again(&mut self) -> Result<(), StoreError> {
        let stored = self.backend.load().await?;
        let found = State::of(stored, &self.verifier).map_err(|_| StoreError::Foreign)?;
        let expected = [Some(&self.state), self.maybe.as_ref()];
        if !expected.into_iter().flatten().any(|state| state.note == found.note) {
            return Err(StoreError::Foreign);
        }
        self.backend.probe().await?;
        self.maybe = None;
        self.adopt(found);
        Ok(())
    }

    /// Answers whoever comes within this time with the present fault.
    async fn refuse_for(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while !self.closing {
            let Ok(message) = timeout_at(until, self.queue.recv()).await else { return };
            match message {
                Some(Message::Append(job)) => {
                    let fault = self.health.borrow().fault.unwrap_or(StoreError::Io);
                    job.answer(Err(fault));
                }
                Some(Message::Close) | None => self.closing = true,
            }
        }
    }

    fn adopt(&mut self, state: State) {
        self.newest.send_replace((state.tree.size(), state.tree.root()));
        self.state = state;
    }

    fn set_fault(&self, fault: Option<StoreError>) {
        set_fault(&self.health, fault);
    }
}

/// Says how the store is from here on, and tells the log where that is something else.
fn set_fault(health: &watch::Sender<Health>, fault: Option<StoreError>) {
    if !health.send_if_modified(|health| std::mem::replace(&mut health.fault, fault) != fault) {
        return;
    }
    match fault {
        Some(fault) => tracing::error!(
            audit.fault = fault.name(),
            audit.problem = fault.why(),
            "the record can't be written: calls are refused until it can be"
        ),
        None => tracing::info!("the record can be written again"),
    }
}
