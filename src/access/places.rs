//! How many questions one reader has at once, so that nobody keeps all others waiting.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::caller::Caller;

/// Questions of one reader that are answered or wait: what a browser and a script ask side by side.
const MOST: usize = 2;

type Counts = Arc<Mutex<HashMap<(String, String), usize>>>;

/// Who asks now.
#[derive(Debug, Default)]
pub(super) struct Places(Counts);

/// A reader's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    who: (String, String),
    counts: Counts,
}

impl Places {
    /// A place for this reader; none where they have as many as they may.
    pub(super) fn take(&self, caller: &Caller) -> Option<Place> {
        let who = (caller.issuer.clone(), caller.subject.clone());
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(who.clone()).or_default();
        if *count >= MOST {
            return None;
        }
        *count += 1;
        Some(Place { who, counts: Arc::clone(&self.0) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.who) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn one_reader_has_two_places_and_leaves_the_rest_to_others() {
        let caller = |subject: &str| Caller {
            subject: subject.to_owned(),
            teams: Vec::new(),
            roles: Vec::new(),
            issuer: "https://idp".to_owned(),
            jti: None,
            key_id: None,
            expires: Timestamp::UNIX_EPOCH,
        };
        let places = Places::default();
        let (ann, bob) = (caller("ann"), caller("bob"));
        let first = places.take(&ann).unwrap();
        let _second = places.take(&ann).unwrap();
        assert!(places.take(&ann).is_none());
        assert!(places.take(&bob).is_some());
        drop(first);
        assert!(places.take(&ann).is_some());
    }
}
