//! Stores for tests: one in memory, and one that fails at a chosen step of any other; and what the log says of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::backend::{Backend, Batch, CommitError, Head, Row, Stored};
use super::sqlite::Sqlite;
use super::start::{begin, start};
use super::{Settings, Store, StoreError, lock};
use crate::clock::Clock;
use crate::seal::{Hash, Signer, Tile, Tree};

/// What a store holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    pub(crate) rows: Vec<Row>,
    pub(crate) tiles: Vec<Tile>,
    pub(crate) checkpoints: Vec<(u64, u64, String)>,
    pub(crate) head: Option<Head>,
}

/// A store in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(pub(crate) Arc<Mutex<Contents>>);

impl Backend for Memory {
    async fn load(&mut self) -> Result<Stored, StoreError> {
        let held = self.0.lock().unwrap();
        let size = held.rows.len() as u64;
        let tail = held.rows.iter().skip(held.rows.len() / 256 * 256).cloned().collect();
        let roots = (1..Tree::levels(size) as u32).map(|level| {
            let to = size >> (8 * level);
            let wanted = |tile: &&Tile| tile.level == level - 1 && (to - to % 256..to).contains(&tile.index);
            held.tiles.iter().filter(wanted).map(|tile| tile.root).collect::<Vec<Hash>>()
        });
        let last = held.checkpoints.last().map_or(0, |checkpoint| checkpoint.1);
        let checkpoints = (held.checkpoints.len() as u64, last);
        let roots = roots.collect();
        Ok(Stored { head: held.head.clone(), size, checkpoints, tail, roots, ..Stored::default() })
    }

    async fn commit(&mut self, batch: &Batch) -> Result<(), CommitError> {
        let mut held = self.0.lock().unwrap();
        if held.head.as_ref().map(|head| &head.note) != batch.before.as_ref() {
            return Err(CommitError::Nothing(StoreError::Foreign));
        }
        if batch.rows.iter().any(|row| !row.entry.starts_with('{')) {
            return Err(CommitError::Nothing(StoreError::Invalid));
        }
        assert_eq!(batch.first, held.rows.len() as u64);
        held.rows.extend(batch.rows.iter().cloned());
        held.tiles.extend(batch.tiles.iter().cloned());
        held.checkpoints.extend(batch.checkpoint.clone());
        held.head = Some(batch.head.clone());
        Ok(())
    }

    async fn probe(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn tile(&mut self, level: u32, n: u64) -> Result<Option<Vec<Hash>>, StoreError> {
        let held = self.0.lock().unwrap();
        Ok(held
            .tiles
            .iter()
            .find(|tile| tile.level == level && tile.index == n)
            .map(|tile| tile.hashes.to_vec()))
    }

    async fn close(&mut self) {}
}

/// What goes wrong next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// This one works.
    Works,
    /// Nothing happens, and that is known.
    Before(StoreError),
    /// A commit does not happen, and that is not known.
    Lost(StoreError),
    /// A commit happens, and that is not known. Anything else happens and fails all the same.
    After(StoreError),
    /// It works, but only when [`Double::release`] is called.
    Hangs,
}

/// Fails as it is told, step by step; when it was told nothing, it works.
#[derive(Clone, Debug)]
pub(crate) struct Double<B> {
    inner: B,
    pub(crate) plan: Plan,
}

/// The steps to come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) commits: Arc<Mutex<VecDeque<Step>>>,
    pub(crate) loads: Arc<Mutex<VecDeque<Step>>>,
    pub(crate) probes: Arc<Mutex<VecDeque<Step>>>,
    pub(crate) gate: Arc<tokio::sync::Notify>,
}

impl<B> Double<B> {
    pub(crate) fn new(inner: B) -> Self {
        Self { inner, plan: Plan::default() }
    }
}

/// An open store over `SQLite`, and what is to go wrong with it.
pub(crate) async fn failing(settings: Settings, signer: Arc<Signer>, clock: Arc<dyn Clock>) -> (Store, Plan) {
    let path = settings.database.file().unwrap();
    lock::make_private(path).unwrap();
    let backend = Sqlite::new(path.to_owned(), settings.append_timeout);
    backend.prepare().await.unwrap();
    let verifier = signer.verifier().unwrap();
    let mut double = Double::new(backend);
    let plan = double.plan.clone();
    let stored = double.load().await.unwrap();
    let state = begin(&mut double, stored, &signer, &verifier).await.unwrap();
    (start(double, state, settings, signer, verifier, clock, None), plan)
}

fn take(steps: &Mutex<VecDeque<Step>>) -> Step {
    steps.lock().unwrap().pop_front().unwrap_or(Step::Works)
}

impl<B: Backend> Backend for Double<B> {
    async fn load(&mut self) -> Result<Stored, StoreError> {
        match take(&self.plan.loads) {
            Step::Works => self.inner.load().await,
            Step::Hangs => {
                self.plan.gate.notified().await;
                self.inner.load().await
            }
            Step::Before(fault) | Step::Lost(fault) | Step::After(fault) => Err(fault),
        }
    }

    async fn commit(&mut self, batch: &Batch) -> Result<(), CommitError> {
        match take(&self.plan.commits) {
            Step::Works => self.inner.commit(batch).await,
            Step::Hangs => {
                self.plan.gate.notified().await;
                self.inner.commit(batch).await
            }
            Step::Before(fault) => Err(CommitError::Nothing(fault)),
            Step::Lost(fault) => Err(CommitError::Unknown(fault)),
            Step::After(fault) => {
                self.inner.commit(batch).await?;
                Err(CommitError::Unknown(fault))
            }
        }
    }

    async fn probe(&mut self) -> Result<(), StoreError> {
        match take(&self.plan.probes) {
            Step::Works => self.inner.probe().await,
            Step::Hangs => {
                self.plan.gate.notified().await;
                self.inner.probe().await
            }
            Step::Before(fault) | Step::Lost(fault) => Err(fault),
            Step::After(fault) => {
                self.inner.probe().await?;
                Err(fault)
            }
        }
    }

    async fn keep(&mut self) -> Result<(), StoreError> {
        self.inner.keep().await
    }

    async fn tile(&mut self, level: u32, n: u64) -> Result<Option<Vec<Hash>>, StoreError> {
        self.inner.tile(level, n).await
    }

    async fn close(&mut self) {
        self.inner.close().await;
    }
}

/// The lines that this thread writes to the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// From now on, until what comes with them is dropped.
    pub(crate) fn told() -> (Self, tracing::subscriber::DefaultGuard) {
        let lines = Self::default();
        let to = lines.clone();
        let layer = tracing_subscriber::fmt().with_ansi(false).with_writer(move || to.clone());
        let guard = tracing::subscriber::set_default(layer.finish());
        (lines, guard)
    }

    pub(crate) fn all(&self) -> Vec<String> {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
    }
}

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
