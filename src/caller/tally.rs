//! How much is held at once, in all and by each network: connections, calls of strangers.
//!
//! Not here: how much may be held (`listen::places`, `limit::address`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::Network;

/// What is held now.
#[derive(Debug, Default)]
pub struct Tally {
    all: usize,
    of: HashMap<Network, usize>,
}

impl Tally {
    /// How much in all.
    #[must_use]
    pub const fn all(&self) -> usize {
        self.all
    }

    /// How much by this network.
    #[must_use]
    pub fn of(&self, network: Network) -> usize {
        self.of.get(&network).copied().unwrap_or(0)
    }

    /// One more is held, by nobody who is known yet.
    pub const fn take(&mut self) {
        self.all = self.all.saturating_add(1);
    }

    /// One of those that are held is this network's.
    pub fn assign(&mut self, network: Network) {
        *self.of.entry(network).or_default() += 1;
    }

    /// One less is held; by this network, if it was assigned.
    pub fn give_back(&mut self, network: Option<Network>) {
        self.all = self.all.saturating_sub(1);
        if let Some(network) = network
            && let Entry::Occupied(mut of_this) = self.of.entry(network)
        {
            *of_this.get_mut() = of_this.get().saturating_sub(1);
            if *of_this.get() == 0 {
                of_this.remove();
            }
        }
    }

    /// How many networks hold anything: memory is kept for these.
    #[must_use]
    pub fn networks(&self) -> usize {
        self.of.len()
    }
}
