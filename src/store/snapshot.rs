//! A record as it stands at one moment, raw: for checking, not for believing.
//!
//! One read transaction over everything, so that a log that grows meanwhile is checked as of its begin. Of a server it is one
//! replica's log. Texts come as bytes and hashes as they are. Not here: what should be there (`inspect::verify`), how each
//! database is asked (`store::sqlite::snapshot`, `store::postgres::snapshot`).

use bytes::Bytes;

use super::fault::classify;
use super::{Index, StoreError, Sum, Sums, postgres, sqlite};
use crate::seal::Hash;

/// Changes of key and archives that are read: one an hour for seven years.
pub(super) const MAX_MARKS: i64 = 65_536;

/// Bytes of an entry that tells of one: its longest are a file's name and a user's.
pub(super) const MARK: u64 = 8 << 10;

/// An entry as it is stored.
#[derive(Clone, Debug)]
pub struct RawEntry {
    /// Its place.
    pub seq: i64,
    /// Its hash.
    pub leaf: Bytes,
    /// Its text; `None` where it is longer than any that was written.
    pub entry: Option<Bytes>,
}

/// A tile as it is stored.
#[derive(Clone, Debug)]
pub struct RawTile {
    /// Its root.
    pub root: Vec<u8>,
    /// Its hashes.
    pub hashes: Vec<u8>,
}

/// A checkpoint as it is stored.
#[derive(Clone, Debug)]
pub struct RawCheckpoint {
    /// Its number.
    pub n: i64,
    /// How many entries it is said to cover.
    pub size: i64,
    /// The note.
    pub note: Vec<u8>,
}

/// The head as it is stored.
#[derive(Clone, Debug)]
pub struct RawHead {
    /// The note.
    pub note: Vec<u8>,
    /// The hashes of the unfinished tile.
    pub edge: Vec<u8>,
}

/// A database at one moment.
#[derive(Debug)]
pub struct Snapshot(Of);

#[derive(Debug)]
enum Of {
    Sqlite(sqlite::snapshot::Snapshot),
    Postgres(postgres::snapshot::Snapshot),
}

/// Asks whichever it is.
macro_rules! either {
    ($self:ident.$method:ident($($argument:expr),*)) => {
        match &mut $self.0 {
            Of::Sqlite(snapshot) => snapshot.$method($($argument),*).await,
            Of::Postgres(snapshot) => snapshot.$method($($argument),*).await,
        }
    };
}

impl From<sqlite::snapshot::Snapshot> for Snapshot {
    fn from(snapshot: sqlite::snapshot::Snapshot) -> Self {
        Self(Of::Sqlite(snapshot))
    }
}

impl From<postgres::snapshot::Snapshot> for Snapshot {
    fn from(snapshot: postgres::snapshot::Snapshot) -> Self {
        Self(Of::Postgres(snapshot))
    }
}

impl Snapshot {
    /// The heads: one in a sound database.
    ///
    /// # Errors
    /// The table can't be read.
    pub async fn heads(&mut self) -> Result<Vec<RawHead>, sqlx::Error> {
        either!(self.heads())
    }

    /// The entries from `seq` on, some of them: at least one, if there is any.
    ///
    /// # Errors
    /// The table can't be read.
    pub async fn entries(&mut self, from: i64) -> Result<Vec<RawEntry>, sqlx::Error> {
        either!(self.entries(from))
    }

    /// The entry at `seq`, else the next.
    ///
    /// # Errors
    /// The table can't be read.
    pub async fn alone(&mut self, from: i64) -> Result<Vec<RawEntry>, sqlx::Error> {
        either!(self.alone(from))
    }

    /// The tiles with this level and number: one in a sound database.
    ///
    /// # Errors
    /// The table can't be read.
    pub async fn tile(&mut self, level: u32, n: i64) -> Result<Vec<RawTile>, sqlx::Error> {
        either!(self.tile(level, n))
    }

    /// How many tiles there are.
    ///
    /// # Errors
    /// The table can't be read.
    pub async fn tile_count(&mut self) -> Result<i64, sqlx::Error> {
        either!(self.tile_count())
    }

    /// A few checkpoints, from number `n` on.
    ///
    /// # Errors
    /// The table can't be read.
    pub async fn checkpoints(&mut self, from: i64) -> Result<Vec<RawCheckpoint>, sqlx::Error> {
        either!(self.checkpoints(from))
    }

    /// The entries that tell how others are to be checked, in order: those that name another signing key, and those that
    /// tell of an archive. By their index: a damaged one may hide some.
    ///
    /// # Errors
    /// They can't be read.
    pub async fn marks(&mut self) -> Result<Vec<RawEntry>, sqlx::Error> {
        either!(self.marks())
    }

    /// The oldest checkpoint that covers the entry at `seq`.
    ///
    /// # Errors
    /// The table can't be read.
    pub async fn checkpoint_over(&mut self, seq: i64) -> Result<Option<Vec<u8>>, sqlx::Error> {
        either!(self.checkpoint_over(seq))
    }

    /// Hashes of a level of tiles, from number `from` on: of entries at level 0, of the tiles below at others.
    /// Fewer where there are no more, or some are no hashes.
    ///
    /// # Errors
    /// The table can't be read.
    pub async fn hashes(&mut self, level: u32, from: u64, count: u64) -> Result<Vec<Hash>, sqlx::Error> {
        either!(self.hashes(level, from, count))
    }

    /// Where the schema differs from this version's.
    ///
    /// # Errors
    /// The schema can't be read.
    pub async fn schema_differences(&mut self) -> Result<Vec<String>, sqlx::Error> {
        either!(self.schema_differences())
    }

    /// The same of the views, where it takes a right of its own to look; none where that is missing.
    pub async fn view_differences(&mut self) -> Option<Vec<String>> {
        match &mut self.0 {
            // Its schema has them.
            Of::Sqlite(_) => Some(Vec::new()),
            Of::Postgres(snapshot) => snapshot.view_differences().await,
        }
    }

    /// What the database's own check finds: indexes and constraints that don't agree with the rows, and pages
    /// that are damaged.
    ///
    /// # Errors
    /// The check can't be made.
    pub async fn integrity(&mut self) -> Result<Vec<String>, sqlx::Error> {
        either!(self.integrity())
    }

    /// The same but for the indexes of the entries.
    ///
    /// # Errors
    /// The check can't be made.
    pub async fn integrity_of_rows(&mut self) -> Result<Vec<String>, sqlx::Error> {
        either!(self.integrity_of_rows())
    }

    /// Whether the database tells what its indexes hold.
    #[must_use]
    pub const fn tells_indexes(&self) -> bool {
        matches!(self.0, Of::Sqlite(_))
    }

    /// What an index of the entries holds; none if it is not in order, or the database does not tell.
    ///
    /// # Errors
    /// The index can't be read.
    pub async fn index(&mut self, index: &Index, sums: &Sums) -> Result<Option<Sum>, sqlx::Error> {
        match &mut self.0 {
            Of::Sqlite(snapshot) => snapshot.index(index, sums).await,
            Of::Postgres(_) => Ok(None),
        }
    }

    /// Ends the transaction.
    pub async fn end(self) {
        match self.0 {
            Of::Sqlite(snapshot) => snapshot.end().await,
            Of::Postgres(snapshot) => snapshot.end().await,
        }
    }

    /// What a fault while reading means. Once a database was opened and had the right tables, only these say
    /// nothing of what is stored in it.
    #[must_use]
    pub fn is_unreadable(error: &sqlx::Error) -> Option<StoreError> {
        match classify(error) {
            fault @ (StoreError::Locked
            | StoreError::Io
            | StoreError::Away
            | StoreError::Taken
            | StoreError::Clock
            | StoreError::Unopenable
            | StoreError::Timeout
            | StoreError::Closed
            | StoreError::Full
            | StoreError::ReadOnly
            | StoreError::Moved
            | StoreError::Busy) => Some(fault),
            StoreError::Corrupt | StoreError::Foreign | StoreError::Invalid => None,
        }
    }
}
