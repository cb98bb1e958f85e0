//! A turn that one of all replicas has at some places, with a time at which it is over by itself.
//!
//! Who waits asks again and again; nothing holds a connection meanwhile. A process that dies gives nothing back, and its
//! turn is over when its time is. Not here: the order within a process, and what the places are (`state::turns`), the rows
//! (`migrations/postgres`).

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use sqlx::Row as _;
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::time::Instant;
use uuid::Uuid;

use super::{Away, Shared};
use crate::clock::{Clock, Ids};

/// A SHA-256 of what a turn is had at.
pub type Place = [u8; 32];

/// Gives out turns.
#[derive(Clone, Debug)]
pub struct Leases {
    shared: Shared,
    clock: Arc<dyn Clock>,
    /// Names who asks: who came earlier has the smaller one.
    ids: Arc<Ids>,
    /// For how long a turn is had.
    lease: Duration,
    /// How many are being given back.
    leaving: Arc<watch::Sender<usize>>,
}

/// Why there is no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoLease {
    /// Others had it until the time was over.
    Late,
    /// Nobody can tell who has it.
    Away,
}

impl From<Away> for NoLease {
    fn from(_: Away) -> Self {
        Self::Away
    }
}

/// A turn; it is given back when this is dropped.
#[derive(Debug)]
pub struct Lease {
    from: Leases,
    places: Vec<Vec<u8>>,
    holder: Uuid,
    /// Whether the database may think that it is had.
    is_asked: bool,
    /// Until when it is had for sure, on the monotonic clock.
    until: Duration,
    /// Let go of behind it.
    behind: Vec<OwnedMutexGuard<()>>,
}

/// The first and the longest pause between two questions.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));

const TAKE: &str = "SELECT tunnelwarden_shared.take_turns($1, $2::uuid, $3, $4)";
const KEEP: &str = "SELECT tunnelwarden_shared.keep_turns($1, $2::uuid, $3, $4)";

/// How often it is tried to give a turn back.
const TRIES: usize = 3;

impl Leases {
    /// Turns that are over after `lease`.
    #[must_use]
    pub fn new(shared: &Shared, clock: Arc<dyn Clock>, lease: Duration) -> Self {
        let leaving = Arc::new(watch::Sender::new(0));
        let ids = Arc::new(Ids::new(Arc::clone(&clock)));
        Self { shared: shared.clone(), clock, ids, lease, leaving }
    }

    /// Waits until `until` for the turn at all of these places.
    ///
    /// # Errors
    /// [`NoLease`]
    pub async fn take(
        &self,
        places: impl IntoIterator<Item = Place>,
        until: Instant,
    ) -> Result<Lease, NoLease> {
        let places = places.into_iter().map(Vec::from).collect();
        let mut lease = Lease {
            from: self.clone(),
            places,
            holder: self.ids.next(),
            is_asked: false,
            until: Duration::ZERO,
            behind: Vec::new(),
        };
        let mut pause = PAUSES.0;
        while !lease.ask(TAKE, "taking a turn").await? {
            let now = Instant::now();
            if now >= until {
                return Err(NoLease::Late);
            }
            tokio::time::sleep_until(until.min(now + jittered(pause))).await;
            pause = (pause * 3 / 2).min(PAUSES.1);
        }
        Ok(lease)
    }

    /// Waits until all that was dropped is given back, at most `patience`.
    pub async fn settled(&self, patience: Duration) {
        let mut leaving = self.leaving.subscribe();
        let _ = tokio::time::timeout(patience, leaving.wait_for(|leaving| *leaving == 0)).await;
    }

    /// Gives back what an earlier process of this replica had, which is no more: to be told once the log is taken.
    ///
    /// # Errors
    /// [`Away`]
    pub async fn begin(&self) -> Result<(), Away> {
        let query = sqlx::query("DELETE FROM tunnelwarden_shared.turns WHERE replica = $1");
        let query = query.bind(self.shared.replica()).execute(self.shared.pool());
        self.shared.hear("giving back the turns of an earlier process", query).await.map(|_| ())
    }

    async fn leave(&self, places: &[Vec<u8>], holder: Uuid) {
        for _ in 0..TRIES {
            let query = sqlx::query("SELECT tunnelwarden_shared.leave_turns($1, $2::uuid)");
            let query = query.bind(places).bind(holder.to_string()).execute(self.shared.pool());
            if self.shared.hear("giving a turn back", query).await.is_ok() {
                return;
            }
            tokio::time::sleep(PAUSES.1).await;
        }
    }
}

impl Lease {
    /// Makes sure that the turn is had for `need` from now on, and longer if it must be.
    ///
    /// # Errors
    /// [`NoLease::Late`] where it was over meanwhile, so that another may have had it; [`NoLease::Away`].
    pub async fn lasts(&mut self, need: Duration) -> Result<(), NoLease> {
        let lasts = |lease: &Self| lease.from.clock.monotonic() + need < lease.until;
        if lasts(self) || (self.ask(KEEP, "keeping a turn").await? && lasts(self)) {
            Ok(())
        } else {
            Err(NoLease::Late)
        }
    }

    /// What is let go of only once this is given back.
    #[must_use]
    pub fn before(mut self, behind: Vec<OwnedMutexGuard<()>>) -> Self {
        self.behind = behind;
        self
    }

    async fn ask(&mut self, question: &'static str, doing: &'static str) -> Result<bool, Away> {
        // The database counts from a moment that is not before this one.
        let until = self.from.clock.monotonic() + self.from.lease;
        let query = sqlx::query(question).bind(&self.places).bind(self.holder.to_string());
        let query = query.bind(self.from.lease.as_secs_f64()).bind(self.from.shared.replica());
        let query = query.fetch_one(self.from.shared.pool());
        self.is_asked = true;
        let row = self.from.shared.hear(doing, query).await?;
        let had = row.try_get(0).map_err(|_| Away)?;
        if had {
            self.until = until;
        }
        self.is_asked = had;
        Ok(had)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.is_asked {
            return;
        }
        // Without a runtime the process is at its end, and the turn is over with its time.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (from, holder) = (self.from.clone(), self.holder);
        let (places, behind) = (std::mem::take(&mut self.places), std::mem::take(&mut self.behind));
        from.leaving.send_modify(|leaving| *leaving += 1);
        runtime.spawn(async move {
            from.leave(&places, holder).await;
            drop(behind);
            from.leaving.send_modify(|leaving| *leaving -= 1);
        });
    }
}

/// Between half of it and the whole, so that those who wait don't ask at the same moments.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0];
    // Without random bytes all wait the shortest time.
    let _ = aws_lc_rs::rand::fill(&mut random);
    let [byte] = random;
    pause / 2 + pause / 512 * u32::from(byte)
}
