//! Whether the database that replicas share can be asked: one that is away is tried once a second by one call, and all
//! others are told at once that it is.
//!
//! Not here: what is decided without it (`limit`).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgDatabaseError;
use tokio::time::{Instant, timeout};

use super::{Away, PATIENCE};

/// How long nobody asks after it was away.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Reach {
    patience: Duration,
    /// When it is asked next, where it was away.
    again: Mutex<Option<Instant>>,
}

impl Default for Reach {
    fn default() -> Self {
        Self { patience: PATIENCE, again: Mutex::default() }
    }
}

impl Reach {
    /// Asks, and waits no longer than [`PATIENCE`].
    pub(super) async fn ask<T>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>> + Send,
    ) -> Result<T, Away> {
        if !self.may_ask() {
            return Err(Away);
        }
        match timeout(self.patience, work).await {
            Ok(Ok(told)) => {
                self.is_here();
                Ok(told)
            }
            Ok(Err(error)) if is_of_one_call(&error) => {
                self.is_here();
                Err(Away)
            }
            Ok(Err(error)) => {
                self.is_away(&error);
                Err(Away)
            }
            Err(_) => {
                self.is_away(&"it did not answer in time");
                Err(Away)
            }
        }
    }

    fn may_ask(&self) -> bool {
        let mut again = self.lock();
        let now = Instant::now();
        match *again {
            None => true,
            Some(at) if now >= at => {
                *again = Some(now + self.patience + PAUSE);
                true
            }
            Some(_) => false,
        }
    }

    fn is_here(&self) {
        if self.lock().take().is_some() {
            tracing::info!("what replicas share is there again");
        }
    }

    fn is_away(&self, why: &dyn std::fmt::Display) {
        if self.lock().replace(Instant::now() + PAUSE).is_none() {
            tracing::warn!(%why, "what replicas share can't be asked: writes are refused, reads are limited here alone");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.again.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the server refused this one statement: it waited too long for another, or was chosen to give way.
fn is_of_one_call(error: &sqlx::Error) -> bool {
    let server = error.as_database_error().and_then(|e| e.try_downcast_ref::<PgDatabaseError>());
    server.is_some_and(|error| matches!(error.code(), "55P03" | "40P01" | "40001"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_away_is_asked_by_one_at_a_time() {
        let reach = Reach { patience: Duration::from_millis(50), ..Reach::default() };
        let due = || reach.lock().replace(Instant::now()).is_some();
        let fails = || async { Err::<(), _>(sqlx::Error::PoolClosed) };
        let works = || async { Ok::<_, sqlx::Error>(()) };
        assert_eq!(reach.ask(fails()).await, Err(Away));
        assert_eq!(reach.ask(works()).await, Err(Away), "nobody asks for a while");
        assert!(due());
        let hangs = reach.ask(std::future::pending::<Result<(), sqlx::Error>>());
        let (slow, other) = tokio::join!(hangs, reach.ask(works()));
        assert_eq!((slow, other), (Err(Away), Err(Away)), "one tries, and the others do not wait for it");
        assert!(due());
        assert_eq!(reach.ask(works()).await, Ok(()));
        assert_eq!(reach.ask(works()).await, Ok(()));
        assert!(!due());
    }
}
