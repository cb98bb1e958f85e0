//! The record on disk: an append-only log of entries in `SQLite`, sealed entry by entry.
//!
//! One task writes. [`Store::append`] queues entries and returns when they are committed and fsynced; whatever
//! queued up during one commit goes into the next, so durability costs a batch one fsync. The store fails closed:
//! after any fault every append fails at once, until a real write has worked again, which the store tries by
//! itself. Tables, views and their guards are in `migrations/`.
//!
//! ```text
//! append -> queue -> writer -> backend::State (hash, sign) -> sqlite (one transaction) -> append returns
//!                      `-> checkpoint_file (each of them, at most once a second)
//! ```
//!
//! Not here: what is in an entry (`entry`), what a root or a checkpoint is (`seal`), whether a whole log is
//! intact (`inspect::verify`).

mod backend;
mod changes;
mod check;
mod checkpoint_file;
#[cfg(test)]
mod conformance;
mod database;
#[cfg(test)]
pub(crate) mod double;
mod error;
mod fault;
#[cfg(test)]
mod faults;
mod filter;
mod lock;
mod order;
mod pace;
mod place;
#[cfg(test)]
mod plans;
mod postgres;
mod reader;
#[cfg(test)]
mod reading;
#[cfg(test)]
pub(crate) mod record;
mod rotate;
mod snapshot;
mod sql;
mod sqlite;
mod start;
mod stubs;
#[cfg(test)]
mod torn;
mod views;
mod writer;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot, watch};

pub use changes::{Change, Changes};
pub use check::{check, check_record};
pub use database::{AddressError, Database, Server};
pub use error::{Damage, OpenError, StoreError};
pub use filter::{Activity, By, Count, Filter, Row};
pub use lock::Lock;
pub use postgres::Import;
pub use postgres::schema::migrate;
pub use reader::{LogId, Position, ReadError, Reader};
pub use rotate::{MakeEntry, Rotation};
pub use snapshot::{RawCheckpoint, RawEntry, RawHead, RawTile, Snapshot};
pub use sqlite::index::{Column, INDEXES, Index, Sum, Sums};
pub use stubs::{compact, put_stubs};
pub use views::{Rows, View};

use crate::clock::Clock;
use crate::seal::{Hash, Signer};
use pace::Pace;
use writer::{Job, Message};

/// Characters of an entry that are taken: bodies of 1 MiB on both sides with every character escaped are 12 MiB.
pub const MAX_ENTRY: usize = 16 << 20;

/// Calls that may wait at once. Each holds a connection, of which there are fewer.
const MAX_WAITING: usize = 4096;

/// Bytes of entries that may wait at once: one entry of the largest size, or 16,000 of the usual 2 KiB.
const MAX_WAITING_BYTES: usize = 2 * MAX_ENTRY;

/// What the store needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the record is. A file is made if it is missing, with mode 0600.
    pub database: Database,
    /// Where the newest checkpoint is written.
    pub checkpoint_files: Vec<PathBuf>,
    /// How long an append may take.
    pub append_timeout: Duration,
}

/// How the store is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Why appends fail now.
    pub fault: Option<StoreError>,
    /// A warning: these checkpoint files, by their places in the settings, could not be written. Appends go on, and so
    /// do the other files.
    pub checkpoint_files: Vec<usize>,
}

impl Health {
    /// Whether appends are taken.
    #[must_use]
    pub const fn is_writable(&self) -> bool {
        self.fault.is_none()
    }
}

/// What the store has done, for whoever measures it.
#[derive(Clone, Copy, Debug)]
pub enum Did {
    /// Entries are on disk.
    Committed {
        /// How many.
        entries: usize,
        /// How long that took.
        took: Duration,
        /// Whether a checkpoint was stored with them.
        checkpoint: bool,
    },
    /// This one of the checkpoint files, by its place in the settings, is as new as the record.
    WroteCheckpointFile(usize),
}

/// Is told of what the store has done.
type Told = Box<dyn Fn(Did) + Send + Sync>;

/// Who is told of what the store has done, once there is somebody. Told in the writer's way, so it returns at once.
#[derive(Clone, Default)]
struct Observer(Arc<OnceLock<Told>>);

impl Observer {
    fn tell(&self, did: Did) {
        if let Some(told) = self.0.get() {
            told(did);
        }
    }
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observer")
    }
}

/// The open store. When it is dropped, what is queued is still written; [`Store::close`] waits for that.
#[derive(Debug)]
pub struct Store {
    queue: mpsc::Sender<Message>,
    room: Arc<Semaphore>,
    health: watch::Receiver<Health>,
    newest: watch::Receiver<(u64, Hash)>,
    append_timeout: Duration,
    pace: Arc<Pace>,
    clock: Arc<dyn Clock>,
    closed: AtomicBool,
    done: watch::Receiver<bool>,
    observer: Observer,
}

impl Store {
    /// Opens the database, makes or checks its tables, checks the end of the log against its signed head and the
    /// checkpoint files, and starts the writer. Takes milliseconds, however long the log is.
    ///
    /// # Errors
    /// Anything on which entries could not safely be added.
    pub async fn open(
        settings: Settings,
        signer: Arc<Signer>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        start::open(settings, signer, clock).await
    }

    /// Stores entries, all of them or none, and returns when they are committed and fsynced. Each is the whole
    /// text of an entry.
    ///
    /// If the caller stops waiting before the writer took them up, they are dropped.
    ///
    /// # Errors
    /// They are not stored; after [`StoreError::Timeout`] they may be, but treat them as not stored.
    pub async fn append(&self, entries: Vec<String>) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed);
        }
        if let Some(fault) = self.health.borrow().fault {
            return Err(fault);
        }
        if entries.iter().any(|entry| entry.len() > MAX_ENTRY) {
            return Err(StoreError::Invalid);
        }
        let queued = tokio::time::timeout(self.append_timeout, self.queue(entries)).await;
        queued.unwrap_or(Err(StoreError::Timeout))
    }

    async fn queue(&self, entries: Vec<String>) -> Result<(), StoreError> {
        let size = entries.iter().map(String::len).sum::<usize>().min(MAX_WAITING_BYTES);
        let size = u32::try_from(size).map_err(|_| StoreError::Busy)?;
        let room = Arc::clone(&self.room).acquire_many_owned(size).await.map_err(|_| StoreError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let entries = entries.into_iter().map(Arc::from).collect();
        let job = Job { entries, reply, _room: room };
        self.queue.send(Message::Append(job)).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Tells `told` from now on of what the store does. The first one that asks for it is the one that is told.
    pub fn observe(&self, told: impl Fn(Did) + Send + Sync + 'static) {
        let _ = self.observer.0.set(Box::new(told));
    }

    /// How many appends wait for the writer, and how many bytes of entries wait or are being written.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        let appends = self.queue.max_capacity().saturating_sub(self.queue.capacity());
        (appends, MAX_WAITING_BYTES.saturating_sub(self.room.available_permits()))
    }

    /// How long an append that is made soon may take, as far as can be told; its time limit is
    /// [`Settings::append_timeout`].
    #[must_use]
    pub fn expected_wait(&self) -> Duration {
        let (appends, bytes) = self.waiting();
        self.pace.expected(self.clock.monotonic(), appends, bytes)
    }

    /// How many entries are stored.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.newest.borrow().0
    }

    /// How many entries are stored and signed, and the root over them.
    #[must_use]
    pub fn newest(&self) -> (u64, Hash) {
        *self.newest.borrow()
    }

    /// How the store is, now and whenever that changes.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// Writes what is queued, a last checkpoint and the checkpoint file, and lets go of the database. Appends
    /// that come after it fail. May be called more than once.
    pub async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // A full queue means that the writer still gets to this message; a closed one that it has ended.
        let _ = self.queue.send(Message::Close).await;
        let mut done = self.done.clone();
        let _ = done.wait_for(|done| *done).await;
    }
}
