//! Entries that are owed: outcomes and resolutions that the store could not take when they happened.
//!
//! The upstream has acted and the client has its answer, so the record must follow as soon as it can, and until
//! then nothing new may happen. If the process dies first, the intent stands open in the store and is resolved
//! at the next start. Not here: writing (`store`), and who asks before it acts (`Auditor::admits`).

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::json::Json;
use crate::store::{Reader, Store, StoreError};

/// An entry that is owed.
#[derive(Clone, Debug)]
pub(super) struct Debt {
    id: String,
    text: String,
    /// What is written in its place if the store can never take it.
    short: Option<Box<Debt>>,
}

impl Debt {
    /// A finished entry, marked as late; `short` stands in for one that is too large.
    pub(super) fn new(mut entry: Json, short: Option<Json>) -> Self {
        if let Some(members) = entry.as_object_mut() {
            members.set("recorded_late", true);
        }
        Self {
            id: entry.get("id").and_then(Json::as_str).unwrap_or_default().to_owned(),
            text: entry.to_string(),
            short: short.map(|short| Box::new(Self::new(short, None))),
        }
    }
}

/// The entries that are owed, oldest first.
#[derive(Debug, Default)]
pub(super) struct Debts {
    owed: Mutex<VecDeque<Debt>>,
    more: Notify,
    paid: Notify,
}

/// How long to wait after the store refused again. It probes itself several times a second, so asking more
/// often gains nothing.
const AGAIN: Duration = Duration::from_millis(250);

impl Debts {
    /// Adds a finished entry.
    pub(super) fn owe(&self, entry: Debt) {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner).push_back(entry);
        self.more.notify_one();
    }

    /// How many entries are owed.
    #[must_use]
    pub(super) fn count(&self) -> usize {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Writes what is owed whenever the store takes it, for as long as the process lives.
    pub(super) async fn pay(self: Arc<Self>, store: Arc<Store>, database: PathBuf) {
        loop {
            let Some(debt) = self.oldest() else {
                self.paid.notify_waiters();
                self.more.notified().await;
                continue;
            };
            let error = match store.append(vec![debt.text.clone()]).await {
                Ok(()) => {
                    self.settle(None);
                    continue;
                }
                Err(error) => error,
            };
            // An append that ran out of time may have come true, and then it is refused as the second one of its id.
            if is_stored(&database, &debt.id).await {
                self.settle(None);
            } else if error == StoreError::Invalid {
                tracing::error!(
                    entry.id = debt.id,
                    "the store can never take this outcome; a short one stands in"
                );
                self.settle(debt.short);
            } else {
                tracing::warn!(
                    audit.owed = self.count(),
                    audit.error = error.why(),
                    "an outcome is still owed"
                );
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    /// Takes the oldest debt off, and puts another in its place if there is one.
    fn settle(&self, instead: Option<Box<Debt>>) {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        owed.pop_front();
        owed.extend(instead.map(|debt| *debt));
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

    fn oldest(&self) -> Option<Debt> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner).front().cloned()
    }
}

/// Whether an entry stands in the record. The reader is let go of at once: while one is open, the database can't
/// be closed into one file.
async fn is_stored(database: &Path, id: &str) -> bool {
    let Ok(reader) = Reader::open(database).await else { return false };
    let found = reader.get(id).await;
    reader.close().await;
    found.is_ok_and(|found| !found.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, Ids, SystemClock};
    use crate::entry::{Entry, Kind};
    use crate::json::Object;
    use crate::seal::{Signer, generate_key};
    use crate::secret::ExposeSecret as _;
    use crate::store::{MAX_ENTRY, Settings};

    struct Record {
        store: Arc<Store>,
        reader: Reader,
        debts: Arc<Debts>,
        _folder: tempfile::TempDir,
    }

    async fn record() -> Record {
        let folder = tempfile::tempdir().unwrap();
        let (key, _) = generate_key("tunnelwarden/debts").unwrap();
        let settings = Settings {
            database: folder.path().join("audit.db"),
            checkpoint_file: None,
            append_timeout: Duration::from_secs(5),
        };
        let signer = Arc::new(Signer::new(key.expose_secret()).unwrap());
        let store = Arc::new(Store::open(settings.clone(), signer, SystemClock::new()).await.unwrap());
        let reader = Reader::open(&settings.database).await.unwrap();
        let debts = Arc::new(Debts::default());
        tokio::spawn(Arc::clone(&debts).pay(Arc::clone(&store), settings.database.clone()));
        Record { store, reader, debts, _folder: folder }
    }

    fn outcome(text: &str) -> Json {
        let clock = SystemClock::new();
        let id = Ids::new(clock.clone()).next();
        let members = Object::from_iter([("note", text)]);
        Entry { kind: Kind::Outcome, id, time: clock.now(), request_id: id, members }.into_json()
    }

    fn id(entry: &Json) -> &str {
        entry.get("id").and_then(Json::as_str).unwrap()
    }

    #[tokio::test]
    async fn an_outcome_that_came_true_after_all_is_not_owed_for_ever() {
        let record = record().await;
        let entry = outcome("");
        record.store.append(vec![entry.to_string()]).await.unwrap();
        record.debts.owe(Debt::new(entry.clone(), None));
        assert!(record.debts.settled(Duration::from_secs(20)).await);
        assert_eq!(record.reader.get(id(&entry)).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_short_outcome_stands_in_for_one_that_can_never_be_stored() {
        let record = record().await;
        let (long, short, next) = (outcome(&"x".repeat(MAX_ENTRY)), outcome("short"), outcome("next"));
        record.debts.owe(Debt::new(long.clone(), Some(short.clone())));
        record.debts.owe(Debt::new(next.clone(), None));
        assert!(record.debts.settled(Duration::from_secs(20)).await);
        for (entry, stored) in [(&long, 0), (&short, 1), (&next, 1)] {
            assert_eq!(record.reader.get(id(entry)).await.unwrap().len(), stored);
        }
    }
}
