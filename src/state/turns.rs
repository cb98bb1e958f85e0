//! One call at a time on each tunnel that is being changed, and on each name that is being created.
//!
//! The state before a change is true only if nobody changes the tunnel between the reading and the change. Of two
//! creations of one name that are lost together nobody could tell which made the tunnel. A call takes its turn
//! on all its tunnels at once, in one order, so two calls can't wait for each other. Where several replicas write one
//! record, a call takes its turn here first and then among the replicas, so one call of each waits there at most.
//! Not here: how replicas have turns (`share::turns`), changes that bypass this proxy; those show in the next state that is
//! read.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use tokio::sync::{Mutex as Gate, OwnedMutexGuard};
use tokio::time::{Instant, timeout_at};

use crate::clock::Clock;
use crate::config::Config;
use crate::operation::{AccountId, TunnelId};
use crate::refusal::Refusal;
use crate::share::turns::{Lease, Leases, NoLease, Place};
use crate::share::{Away, Shared};

/// What a turn is had at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum At {
    /// A tunnel.
    Tunnel(TunnelId),
    /// The name of a tunnel to be created.
    Name(String),
}

type Key = (AccountId, At);

/// Who is at a tunnel, and who waits.
#[derive(Debug, Default)]
pub struct Turns {
    gates: Mutex<HashMap<Key, Weak<Gate<()>>>>,
    among: Option<Among>,
}

/// The turns of all replicas.
#[derive(Debug)]
struct Among {
    leases: Leases,
    /// What recording an intent and sending it may take.
    send: Duration,
}

/// A turn at some tunnels; it ends when this is dropped.
#[derive(Debug, Default)]
#[must_use = "the turn ends when this is dropped"]
pub struct Turn {
    _guards: Vec<OwnedMutexGuard<()>>,
    /// Among the replicas, and what sending may take.
    lease: Option<(Lease, Duration)>,
}

/// Entries in the map beyond which those that nobody holds are thrown out.
const SWEEP_ABOVE: usize = 1024;

/// What a call may take beside what the configuration bounds, and twice of that what a lease is longer for.
const MARGIN: Duration = Duration::from_secs(5);

impl Turns {
    /// Turns among all replicas, where there are some. One that nobody gives back is over after the longest call: reading the
    /// state, recording the intent, sending it, recording the outcome.
    #[must_use]
    pub fn new(shared: Option<&Shared>, clock: &Arc<dyn Clock>, config: &Config) -> Self {
        let among = |shared| {
            let append = config.audit.append_timeout;
            let send = append + config.upstream.write_timeout + MARGIN;
            let lease = config.upstream.read_timeout + send + append + MARGIN;
            Among { leases: Leases::new(shared, Arc::clone(clock), lease), send }
        };
        Self { gates: Mutex::default(), among: shared.map(among) }
    }

    /// Waits, at most `patience`, until no other call is at any of these tunnels.
    ///
    /// # Errors
    /// [`Refusal::TunnelBusy`] when the time is over; [`Refusal::AuditUnavailable`] where the replicas' turns can't be asked
    /// for.
    pub async fn take(
        &self,
        account: AccountId,
        places: impl IntoIterator<Item = At>,
        patience: Duration,
    ) -> Result<Turn, Refusal> {
        let mut keys: Vec<Key> = places.into_iter().map(|at| (account, at)).collect();
        keys.sort_unstable();
        keys.dedup();
        let until = Instant::now() + patience;
        let mut guards = Vec::with_capacity(keys.len());
        for gate in self.gates(&keys) {
            let guard = timeout_at(until, gate.lock_owned()).await;
            guards.push(guard.map_err(|_| refusal(NoLease::Late))?);
        }
        let Some(among) = self.among.as_ref().filter(|_| !keys.is_empty()) else {
            return Ok(Turn { _guards: guards, lease: None });
        };
        let lease = among.leases.take(keys.iter().map(place), until).await.map_err(refusal)?;
        // The next call of this process finds the turn given back.
        Ok(Turn { _guards: Vec::new(), lease: Some((lease.before(guards), among.send)) })
    }

    /// Gives back what an earlier process of this replica had: to be told once the log is taken.
    pub async fn begin(&self) {
        if let Some(among) = &self.among
            && among.leases.begin().await.is_err()
        {
            tracing::warn!("the turns of an earlier process are not given back; they end by themselves");
        }
    }

    /// Waits until all turns that ended are given back, at most `patience`.
    pub async fn settled(&self, patience: Duration) {
        if let Some(among) = &self.among {
            among.leases.settled(patience).await;
        }
    }

    fn gates(&self, keys: &[Key]) -> Vec<Arc<Gate<()>>> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        if gates.len() > SWEEP_ABOVE {
            gates.retain(|_, gate| gate.strong_count() > 0);
        }
        keys.iter()
            .map(|key| {
                gates.get(key).and_then(Weak::upgrade).unwrap_or_else(|| {
                    let gate = Arc::new(Gate::new(()));
                    gates.insert(key.clone(), Arc::downgrade(&gate));
                    gate
                })
            })
            .collect()
    }
}

impl Turn {
    /// Makes sure, before anything is recorded and sent, that the turn lasts for it.
    ///
    /// # Errors
    /// [`Refusal::TunnelBusy`] where it was over meanwhile, so that the state that was read may be another by now;
    /// [`Refusal::AuditUnavailable`].
    pub async fn lasts(&mut self) -> Result<(), Refusal> {
        match &mut self.lease {
            Some((lease, send)) => lease.lasts(*send).await.map_err(refusal),
            None => Ok(()),
        }
    }
}

fn refusal(no: NoLease) -> Refusal {
    match no {
        NoLease::Late => Refusal::TunnelBusy { retry_after: Duration::from_secs(1) },
        NoLease::Away => Away.into(),
    }
}

/// What replicas know a place by. INVARIANT: two places differ, as ids hold no slash, and no name comes before one.
fn place((account, at): &Key) -> Place {
    let text = match at {
        At::Tunnel(tunnel) => format!("{account}/tunnel/{tunnel}"),
        At::Name(name) => format!("{account}/name/{name}"),
    };
    let mut place = [0; 32];
    place.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    place
}
