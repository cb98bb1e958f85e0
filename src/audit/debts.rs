//! Entries that are owed: outcomes that the store could not take when they happened.
//!
//! The upstream has acted and the client has its answer, so the record must follow as soon as it can, and until
//! then nothing new may happen. If the process dies first, the intent stands open in the store and is resolved
//! at the next start. Not here: writing (`store`), and who asks before it acts (`Auditor::admits`).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::store::{Store, StoreError};

/// The entries that are owed, oldest first.
#[derive(Debug, Default)]
pub(super) struct Debts {
    owed: Mutex<VecDeque<String>>,
    more: Notify,
    paid: Notify,
}

/// How long to wait after the store refused again. It probes itself several times a second, so asking more
/// often gains nothing.
const AGAIN: Duration = Duration::from_millis(250);

impl Debts {
    /// Adds a finished entry.
    pub(super) fn owe(&self, entry: String) {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner).push_back(entry);
        self.more.notify_one();
    }

    /// How many entries are owed.
    #[must_use]
    pub(super) fn count(&self) -> usize {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Writes what is owed whenever the store takes it, for as long as the process lives.
    pub(super) async fn pay(self: Arc<Self>, store: Arc<Store>) {
        loop {
            let Some(entry) = self.oldest() else {
                self.paid.notify_waiters();
                self.more.notified().await;
                continue;
            };
            match store.append(vec![entry]).await {
                Ok(()) => self.strike_off(),
                // The first try ran out of time and came true all the same, so its id is known. Were it anything
                // else, waiting would not mend it, and the intent is resolved at the next start.
                Err(StoreError::Invalid) => {
                    tracing::warn!("the store has an owed outcome already");
                    self.strike_off();
                }
                Err(error) => {
                    tracing::warn!(
                        audit.owed = self.count(),
                        audit.error = error.why(),
                        "an outcome is still owed"
                    );
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Waits until nothing is owed, at most `patience`. Answers whether that came about.
    pub(super) async fn settled(&self, patience: Duration) -> bool {
        let until = tokio::time::Instant::now() + patience;
        while self.count() > 0 {
            let paid = self.paid.notified();
            if self.count() > 0 && tokio::time::timeout_at(until, paid).await.is_err() {
                return false;
            }
        }
        true
    }

    fn strike_off(&self) {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    }

    fn oldest(&self) -> Option<String> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner).front().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::seal::{Signer, generate_key};
    use crate::secret::ExposeSecret as _;
    use crate::store::Settings;

    const ENTRY: &str = r#"{"kind":"outcome","id":"01900000-0000-7000-8000-000000000001","time":"2026-01-01T00:00:00.000000Z","request_id":"01900000-0000-7000-8000-000000000002"}"#;

    #[tokio::test]
    async fn an_outcome_that_was_stored_after_all_is_no_longer_owed() {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings {
            database: directory.path().join("log.db"),
            checkpoint_file: None,
            append_timeout: Duration::from_secs(10),
        };
        let signer = Signer::new(generate_key("tunnelwarden/test").unwrap().0.expose_secret()).unwrap();
        let store = Arc::new(Store::open(settings, Arc::new(signer), SystemClock::new()).await.unwrap());
        store.append(vec![ENTRY.to_owned()]).await.unwrap();
        let debts = Arc::new(Debts::default());
        tokio::spawn(Arc::clone(&debts).pay(Arc::clone(&store)));
        debts.owe(ENTRY.replacen('}', r#","recorded_late":true}"#, 1));
        assert!(debts.settled(Duration::from_secs(5)).await, "owed for ever");
        store.close().await;
    }
}
