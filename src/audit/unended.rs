//! Which intents have no end in the record yet, and from where on there may be such.
//!
//! What an entry says of this bounds what the next start has to look through. It may name too early a place, which
//! costs time, and never one too late: a lost call would stay unresolved. Not here: the search at a start
//! (`store::Reader`), ends that the store could not take (`debts`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::store::Store;

/// The intents under way, each with a `seq` that its own is not less than.
#[derive(Debug)]
pub(super) struct Unended {
    store: Arc<Store>,
    places: Mutex<HashMap<Uuid, u64>>,
}

impl Unended {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store, places: Mutex::default() }
    }

    /// To be told before the intent is handed to the store.
    pub(super) fn begin(&self, intent: Uuid) {
        let mut places = self.lock();
        places.insert(intent, self.store.size());
    }

    /// An earlier run left this one at this place.
    pub(super) fn left(&self, intent: Uuid, seq: u64) {
        let mut places = self.lock();
        let place = places.entry(intent).or_insert(seq);
        *place = seq.min(*place);
    }

    /// To be told when its end is on disk, not before.
    pub(super) fn end(&self, intent: Uuid) {
        self.lock().remove(&intent);
    }

    /// Each intent before this `seq` has its end.
    pub(super) fn ended_before(&self) -> u64 {
        let places = self.lock();
        // Read under the lock: whatever begins later is behind it.
        let stored = self.store.size();
        places.values().copied().min().unwrap_or(stored)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, u64>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Ids, SystemClock};
    use crate::seal::{Signer, generate_key};
    use crate::secret::ExposeSecret as _;
    use crate::store::Settings;
    use std::time::Duration;

    #[tokio::test]
    async fn the_place_is_never_behind_an_intent_without_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let (key, _) = generate_key("tunnelwarden/unended").unwrap();
        let settings = Settings {
            database: folder.path().join("audit.db").into(),
            checkpoint_files: Vec::new(),
            append_timeout: Duration::from_secs(5),
        };
        let signer = Arc::new(Signer::new(key.expose_secret()).unwrap());
        let store = Arc::new(Store::open(settings, signer, SystemClock::new()).await.unwrap());
        let ids = Ids::new(SystemClock::new());
        let entry = || {
            let id = ids.next();
            format!(
                r#"{{"kind":"refusal","id":"{id}","time":"2026-01-01T00:00:00.000000Z","request_id":"{id}"}}"#
            )
        };
        let unended = Unended::new(Arc::clone(&store));
        let [first, second, old] = [1, 2, 3].map(Uuid::from_u128);
        assert_eq!(unended.ended_before(), 0);
        store.append(vec![entry(), entry()]).await.unwrap();
        unended.begin(first);
        store.append(vec![entry()]).await.unwrap();
        unended.begin(second);
        assert_eq!(unended.ended_before(), 2);
        unended.left(old, 1);
        assert_eq!(unended.ended_before(), 1);
        unended.end(old);
        unended.end(first);
        assert_eq!(unended.ended_before(), 3);
        unended.end(second);
        store.append(vec![entry()]).await.unwrap();
        assert_eq!(unended.ended_before(), 4);
    }
}
