//! One call at a time on each tunnel that is being changed, and on each name that is being created.
//!
//! The state before a change is true only if nobody changes the tunnel between the reading and the change. Of two
//! creations of one name that are lost together nobody could tell which made the tunnel. A call takes its turn
//! on all its tunnels at once, in one order, so two calls can't wait for each other.
//! Not here: changes that bypass this proxy; those show in the next state that is read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Mutex as Gate, OwnedMutexGuard};
use tokio::time::{Instant, timeout_at};

use crate::operation::{AccountId, TunnelId};
use crate::refusal::Refusal;

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
}

/// A turn at some tunnels; it ends when this is dropped.
#[derive(Debug, Default)]
#[must_use = "the turn ends when this is dropped"]
pub struct Turn {
    _guards: Vec<OwnedMutexGuard<()>>,
}

/// Entries in the map beyond which those that nobody holds are thrown out.
const SWEEP_ABOVE: usize = 1024;

impl Turns {
    /// Waits, at most `patience`, until no other call is at any of these tunnels.
    ///
    /// # Errors
    /// [`Refusal::TunnelBusy`] when the time is over.
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
            guards.push(guard.map_err(|_| Refusal::TunnelBusy { retry_after: Duration::from_secs(1) })?);
        }
        Ok(Turn { _guards: guards })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> At {
        At::Tunnel(TunnelId::parse(text).unwrap())
    }

    #[tokio::test]
    async fn a_tunnel_is_had_by_one_at_a_time_and_others_wait_or_give_up() {
        let turns = Turns::default();
        let account = AccountId::parse("a").unwrap();
        let long = Duration::from_secs(5);
        let first = turns.take(account, [id("1"), id("2"), id("1")], long).await.unwrap();
        let busy = turns.take(account, [id("2"), id("3")], Duration::ZERO).await;
        assert!(matches!(busy, Err(Refusal::TunnelBusy { .. })));
        let other = turns.take(account, [id("3")], Duration::ZERO).await;
        assert!(other.is_ok(), "a call that gave up holds nothing");
        let named = turns.take(account, [At::Name("1".to_owned())], Duration::ZERO).await;
        assert!(named.is_ok(), "a name is no tunnel");
        drop(first);
        assert!(turns.take(account, [id("2"), id("1")], Duration::ZERO).await.is_ok());
    }

    #[tokio::test]
    async fn crossing_calls_do_not_wait_for_each_other() {
        let turns = Arc::new(Turns::default());
        let account = AccountId::parse("a").unwrap();
        let calls = (0..50).map(|i| {
            let turns = Arc::clone(&turns);
            let pair = if i % 2 == 0 { [id("1"), id("2")] } else { [id("2"), id("1")] };
            tokio::spawn(async move {
                let turn = turns.take(account, pair, Duration::from_secs(20)).await;
                tokio::task::yield_now().await;
                turn.is_ok()
            })
        });
        for call in calls.collect::<Vec<_>>() {
            assert!(call.await.unwrap());
        }
    }
}
