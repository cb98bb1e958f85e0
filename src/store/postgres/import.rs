//! A log that is moved here from elsewhere, byte for byte, piece by piece.
//!
//! Its entries come first, then its tiles, its checkpoints and its head: until that is there, the log does not verify, and what
//! is there is where it goes on. Not here: where it comes from and whether it arrived (`service::copy`).

use std::time::Duration;

use sqlx::Row as _;

use super::{Addition, Postgres, add};
use crate::seal::{Hash, Tile};
use crate::store::backend::{Backend as _, CommitError};
use crate::store::database::Server;
use crate::store::{Database, OpenError, StoreError};

/// What stands for a head until all is there.
const UNDER_WAY: &str = "under way";

/// How long the server may take for a piece.
const PATIENCE: Duration = Duration::from_secs(60);

/// A log under way.
#[derive(Debug)]
pub struct Import {
    backend: Postgres,
    place: String,
    head: Option<String>,
    entries: u64,
}

impl Import {
    /// Begins, or goes on: the log of this origin, under the name that the server's address has for a replica.
    ///
    /// # Errors
    /// The server can't be reached, its tables are others, or the name is another log's.
    pub async fn begin(server: Server, origin: &str) -> Result<Self, OpenError> {
        let place = Database::Postgres(server.clone()).to_string();
        let mut backend = Postgres::of_log(server, PATIENCE, Some(origin.to_owned()));
        backend.prepare().await?;
        let stored = backend.load().await.map_err(|fault| failed(&place, fault))?;
        Ok(Self { backend, place, head: stored.head.map(|head| head.note), entries: stored.size })
    }

    /// How many entries are there.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// Whether all is there: from here on the log is one like any other, and nothing can be added this way.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.head.as_deref().is_some_and(|head| head != UNDER_WAY)
    }

    /// How many tiles of a level are there, and how many checkpoints.
    ///
    /// # Errors
    /// The server can't be asked.
    pub async fn has(&mut self, level: u32) -> Result<(u64, u64), OpenError> {
        let place = self.place.clone();
        let unreadable = |e: sqlx::Error| failed(&place, super::classify(&e));
        let open = self.backend.open.as_mut().ok_or_else(|| failed(&place, StoreError::Away))?;
        let query = "SELECT (SELECT count(*) FROM tunnelwarden.tiles WHERE log = $1 AND level = $2),
                            (SELECT count(*) FROM tunnelwarden.checkpoints WHERE log = $1)";
        let query = sqlx::query(query).bind(open.log).bind(level.cast_signed());
        let row = query.fetch_one(&mut open.connection).await.map_err(unreadable)?;
        let count = |at| row.try_get::<i64, _>(at).map(i64::cast_unsigned).map_err(unreadable);
        Ok((count(0)?, count(1)?))
    }

    /// Adds entries, each with its hash.
    ///
    /// # Errors
    /// The server takes them not.
    pub async fn add_entries(&mut self, rows: &[(Hash, String)]) -> Result<(), OpenError> {
        let rows = rows.iter().map(|(leaf, entry)| (leaf.0.as_slice(), entry.as_str())).collect();
        self.add(Addition { rows, head: UNDER_WAY, ..Addition::default() }).await
    }

    /// Adds tiles.
    ///
    /// # Errors
    /// As above.
    pub async fn add_tiles(&mut self, tiles: Vec<Tile>) -> Result<(), OpenError> {
        self.add(Addition { tiles, head: UNDER_WAY, ..Addition::default() }).await
    }

    /// Adds checkpoints, each with its number and size.
    ///
    /// # Errors
    /// As above.
    pub async fn add_checkpoints(&mut self, checkpoints: &[(u64, u64, String)]) -> Result<(), OpenError> {
        let checkpoints = checkpoints.iter().map(|(n, size, note)| (*n, *size, note.as_str())).collect();
        self.add(Addition { checkpoints, head: UNDER_WAY, ..Addition::default() }).await
    }

    /// Puts the head there, and lets go of the log.
    ///
    /// # Errors
    /// As above.
    pub async fn finish(mut self, head: &str) -> Result<(), OpenError> {
        self.add(Addition { head, ..Addition::default() }).await?;
        self.backend.close().await;
        Ok(())
    }

    async fn add(&mut self, addition: Addition<'_>) -> Result<(), OpenError> {
        let (count, head) = (addition.rows.len() as u64, addition.head.to_owned());
        let addition = Addition { before: self.head.as_deref(), first: self.entries, ..addition };
        let open = self.backend.open.as_mut().ok_or_else(|| failed(&self.place, StoreError::Away))?;
        let added = tokio::time::timeout(PATIENCE, add(open, addition)).await;
        match added.unwrap_or(Err(CommitError::Unknown(StoreError::Timeout))) {
            Ok(_) => {
                self.entries += count;
                self.head = Some(head);
                Ok(())
            }
            Err(CommitError::Nothing(fault) | CommitError::Unknown(fault)) => Err(failed(&self.place, fault)),
        }
    }
}

fn failed(place: &str, fault: StoreError) -> OpenError {
    if fault == StoreError::Taken {
        return OpenError::InUse(place.to_owned());
    }
    OpenError::Unusable { path: place.to_owned(), fault }
}
