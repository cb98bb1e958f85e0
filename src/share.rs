//! What replicas have to know of each other while they work: in the database of the record, beside it.
//!
//! One process alone needs none of this: everything here is for a record on a PostgreSQL server. Whatever can't be asked
//! there in time is refused to whoever wants to write. Not here: the record (`store`), what is decided with this (`limit`,
//! `state`, `audit`).

mod budget;
pub mod claims;
mod quotas;
mod reach;
mod resolving;
pub mod revocations;
mod sweep;
pub mod turns;
mod used;

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgPool;

use crate::refusal::Refusal;
use crate::store::{Database, Server};

pub use budget::{News, Started, Wanted};
pub use quotas::{Ask, Granted, KEY_BYTES};
use reach::Reach;

/// Connections of a replica for this.
const CONNECTIONS: u32 = 8;

/// How long the database is waited for.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// The database that replicas share.
#[derive(Clone, Debug)]
pub struct Shared {
    server: Server,
    pool: PgPool,
    reach: Arc<Reach>,
}

/// The shared database can't be asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the database that replicas share does not answer")]
pub struct Away;

impl From<Away> for Refusal {
    /// It is the database of the record, only that the record's own connection may work.
    fn from(_: Away) -> Self {
        Self::AuditUnavailable { why: "the database that replicas share does not answer" }
    }
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
                let (server, pool) = (server.clone(), server.pool(CONNECTIONS, PATIENCE)?);
                Ok(Some(Self { server, pool, reach: Arc::default() }))
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

    /// Waits for an answer, and takes none for the whole of the database's being away.
    async fn hear<T>(
        &self,
        doing: &'static str,
        answer: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, Away> {
        let error = match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(heard)) => return Ok(heard),
            Ok(Err(error)) => error,
            Err(_) => sqlx::Error::PoolTimedOut,
        };
        tracing::warn!(shared.doing = doing, error = %error, "the database that replicas share can't be used");
        self.renew_password();
        Err(Away)
    }

    /// The same for what each call asks, so that only one call a second waits for a database that is away.
    async fn ask<T>(&self, work: impl Future<Output = Result<T, sqlx::Error>> + Send) -> Result<T, Away>
    where
        T: Send,
    {
        let asked = async {
            let answer = work.await;
            if answer.is_err() {
                self.renew_password();
            }
            answer
        };
        self.reach.ask(asked).await
    }

    /// The password may have been replaced since it was read.
    fn renew_password(&self) {
        if let Ok(options) = self.server.options() {
            self.pool.set_connect_options(options);
        }
    }
}
