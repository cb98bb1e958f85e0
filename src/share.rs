//! What replicas have to know of each other while they work: in the database of the record, beside it.
//!
//! One process alone needs none of this: everything here is for a record on a PostgreSQL server. Whatever can't be asked
//! there in time is refused to whoever wants to write. Not here: the record (`store`), what is decided with this (`limit`,
//! `state`, `audit`).

mod resolving;

use std::time::Duration;

use sqlx::postgres::PgPool;

use crate::store::{Database, Server};

/// Connections of a replica for this.
const CONNECTIONS: u32 = 8;

/// How long the database is waited for.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// The database that replicas share.
#[derive(Clone, Debug)]
pub struct Shared {
    server: Server,
    pool: PgPool,
}

impl Shared {
    /// Nothing where the record is in a file, which one process writes.
    ///
    /// # Errors
    /// The server's password can't be read.
    pub fn open(database: &Database) -> Result<Option<Self>, sqlx::Error> {
        match database {
            Database::Sqlite(_) => Ok(None),
            Database::Postgres(server) => {
                Ok(Some(Self { server: server.clone(), pool: server.pool(CONNECTIONS, PATIENCE)? }))
            }
        }
    }

    /// This replica's name.
    #[must_use]
    pub fn replica(&self) -> &str {
        self.server.replica()
    }

    /// Connections to it.
    #[must_use]
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }
}
