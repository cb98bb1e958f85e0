//! Places for connections: so many in all, and for one address so few that it can't keep all others out.
//!
//! Whoever connects and then only idles holds a place for as long as a head may take, and comes again. So one address has
//! a share, and while places get scarce a smaller one: what is left is for those who hold little. Addresses are counted
//! as everywhere by [`Network`]; who commands many networks is not stopped by a bound on each. Not here: who is told what
//! (`server`).

use std::sync::{Arc, Mutex, PoisonError};

use crate::caller::{Network, Tally};

/// While more than half of all places are taken, an address's share is divided by this: by default it is an eighth of
/// all then, so that after one address has what it can, at least four more can have as much.
const SCARCE: usize = 4;

/// All places of a listener.
#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    each: usize,
    taken: Mutex<Tally>,
}

/// A place that is taken; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    network: Option<Network>,
}

impl Places {
    pub(super) fn new(max: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { max, each: each.max(1), taken: Mutex::default() })
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).all()
    }

    /// A place that counts for no address yet, if one is free.
    pub(super) fn take(self: &Arc<Self>) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.all() >= self.max {
            return None;
        }
        taken.take();
        Some(Place { places: Arc::clone(self), network: None })
    }
}

impl Place {
    /// Counts it for an address; `false` where that has its share already. To be asked once.
    pub(super) fn is_for(&mut self, network: Network) -> bool {
        let Places { max, each, taken } = &*self.places;
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        let share = if taken.all() > *max / 2 { (*each / SCARCE).max(1) } else { *each };
        if taken.of(network) >= share {
            return false;
        }
        taken.assign(network);
        self.network = Some(network);
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.give_back(self.network);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn network(last: u8) -> Network {
        Network::of(IpAddr::from([192, 0, 2, last]))
    }

    /// Takes as many as it gets.
    fn all_for(places: &Arc<Places>, network: Network) -> Vec<Place> {
        let next = || {
            let mut place = places.take()?;
            place.is_for(network).then_some(place)
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn an_address_has_its_share_and_less_while_places_are_scarce() {
        let places = Places::new(16, 8);
        let first = all_for(&places, network(1));
        assert_eq!(first.len(), 8);
        let second = all_for(&places, network(2));
        assert_eq!(second.len(), 2);
        let others: Vec<_> = (3..100).flat_map(|last| all_for(&places, network(last))).collect();
        assert_eq!(others.len(), 6, "until all are taken");
        assert_eq!(places.taken(), 16);
        drop((second, others));
        assert_eq!(all_for(&places, network(1)).len(), 0);
        drop(first);
        assert_eq!(places.taken(), 0);
        assert_eq!(places.taken.lock().unwrap().networks(), 0);
    }

    #[test]
    fn a_place_for_nobody_counts_among_all() {
        let places = Places::new(2, 1);
        let taken = (places.take(), places.take());
        assert!(places.take().is_none());
        drop(taken);
        assert_eq!(places.taken(), 0);
    }

    #[test]
    fn the_smallest_listener_has_a_place_for_somebody() {
        assert_eq!(all_for(&Places::new(1, 1), network(1)).len(), 1);
    }
}
