//! Entries that are owed: outcomes and resolutions that the store could not take when they happened, and intents that
//! it may or may not have taken.
//!
//! The client has its answer, and maybe the upstream has acted, so the record must follow as soon as it can, and
//! until then nothing new may happen. An intent without a sure place is owed together with the outcome that says
//! that nothing was sent: both are stored at once, or the outcome alone if the intent had come true. If the process
//! dies first, an intent that stands in the store is resolved at the next start. Not here: writing (`store`), and who asks before it acts (`Auditor::admits`).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use uuid::Uuid;

use super::unended::Unended;
use crate::json::Json;
use crate::store::{Database, Reader, Store, StoreError};

/// Entries of one call that are owed: all of them or, where some turn out to be stored, the rest.
#[derive(Clone, Debug)]
pub(super) struct Debt {
    entries: Vec<Owing>,
    /// What is written in their place if the store can never take them.
    short: Option<Box<Debt>>,
}

#[derive(Clone, Debug)]
struct Owing {
    id: String,
    text: String,
    /// The intent that it is the end of.
    ends: Option<Uuid>,
}

impl Debt {
    /// Finished entries in their order, marked as late; `short` stands in for those that are too large.
    pub(super) fn of(entries: impl IntoIterator<Item = Json>, short: Option<Json>) -> Self {
        let owing = |mut entry: Json| {
            if let Some(members) = entry.as_object_mut() {
                members.set("recorded_late", true);
            }
            let id = entry.get("id").and_then(Json::as_str).unwrap_or_default().to_owned();
            let ends = entry.get("intent_id").and_then(Json::as_str).and_then(|id| id.parse().ok());
            Owing { id, text: entry.to_string(), ends }
        };
        let entries = entries.into_iter().map(owing).collect();
        Self { entries, short: short.map(|short| Box::new(Self::of([short], None))) }
    }

    fn ends(&self) -> impl Iterator<Item = Uuid> + '_ {
        self.entries.iter().filter_map(|entry| entry.ends)
    }

    fn texts(&self) -> Vec<String> {
        self.entries.iter().map(|entry| entry.text.clone()).collect()
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

    /// Adds a finished entry to the newest debt, unless that is about to be paid, or has `most` entries: to be stored
    /// with it at once, or not at all if one of them is unfit. For entries that nobody waits for.
    pub(super) fn owe_with_others(&self, entry: Json, most: usize) {
        let debt = Debt::of([entry], None);
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_being_paid = owed.len() == 1;
        match owed.back_mut().filter(|last| !is_being_paid && last.entries.len() < most) {
            Some(last) => last.entries.extend(debt.entries),
            None => owed.push_back(debt),
        }
        self.more.notify_one();
    }

    /// How many debts there are.
    #[must_use]
    pub(super) fn count(&self) -> usize {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Writes what is owed whenever the store takes it, for as long as the process lives.
    pub(super) async fn pay(self: Arc<Self>, store: Arc<Store>, database: Database, unended: Arc<Unended>) {
        loop {
            let Some(debt) = self.oldest() else {
                self.paid.notify_waiters();
                self.more.notified().await;
                continue;
            };
            let error = match store.append(debt.texts()).await {
                Ok(()) => {
                    self.settle(None, &unended);
                    continue;
                }
                Err(error) => error,
            };
            // An append that ran out of time may have come true, and then it is refused as the second one of its id.
            let rest = not_stored(&database, &debt.entries).await;
            match rest {
                Some(rest) if rest.len() < debt.entries.len() => {
                    let rest = Debt { entries: rest, short: None };
                    self.settle(Some(rest).filter(|rest| !rest.entries.is_empty()), &unended);
                }
                Some(_) if error == StoreError::Invalid => {
                    let ids =
                        debt.entries.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>().join(", ");
                    tracing::error!(
                        entry.id = ids,
                        "the store can never take this; something short stands in"
                    );
                    self.settle(debt.short.map(|short| *short), &unended);
                }
                _ => {
                    tracing::warn!(
                        audit.owed = self.count(),
                        audit.error = error.why(),
                        "an entry is still owed"
                    );
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Takes the oldest debt off, and puts another in its place if there is one.
    fn settle(&self, instead: Option<Debt>, unended: &Unended) {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        let paid = owed.pop_front();
        let still = |intent: &Uuid| instead.iter().flat_map(Debt::ends).any(|ends| ends == *intent);
        paid.iter()
            .flat_map(Debt::ends)
            .filter(|intent| !still(intent))
            .for_each(|intent| unended.end(intent));
        if let Some(debt) = instead {
            owed.push_front(debt);
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

    fn oldest(&self) -> Option<Debt> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner).front().cloned()
    }
}

/// Those of these entries that don't stand in the record; `None` where that can't be told. The reader is let go of
/// at once: while one is open, the database can't be closed into one file.
async fn not_stored(database: &Database, entries: &[Owing]) -> Option<Vec<Owing>> {
    let reader = Reader::open(database).await.ok()?;
    let mut rest = Some(Vec::new());
    for entry in entries {
        match (reader.get(&entry.id).await, &mut rest) {
            (Ok(found), Some(rest)) if found.is_empty() => rest.push(entry.clone()),
            (Ok(_), _) => {}
            (Err(_), _) => rest = None,
        }
    }
    reader.close().await;
    rest
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
            database: folder.path().join("audit.db").into(),
            checkpoint_files: Vec::new(),
            append_timeout: Duration::from_secs(5),
        };
        let signer = Arc::new(Signer::new(key.expose_secret()).unwrap());
        let store = Arc::new(Store::open(settings.clone(), signer, SystemClock::new()).await.unwrap());
        let reader = Reader::open(&settings.database).await.unwrap();
        let debts = Arc::new(Debts::default());
        let unended = Arc::new(Unended::new(Arc::clone(&store)));
        tokio::spawn(Arc::clone(&debts).pay(Arc::clone(&store), settings.database.clone(), unended));
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
        record.debts.owe(Debt::of([entry.clone()], None));
        assert!(record.debts.settled(Duration::from_secs(20)).await);
        assert_eq!(record.reader.get(id(&entry)).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_short_outcome_stands_in_for_one_that_can_never_be_stored() {
        let record = record().await;
        let (long, short, next) = (outcome(&"x".repeat(MAX_ENTRY)), outcome("short"), outcome("next"));
        record.debts.owe(Debt::of([long.clone()], Some(short.clone())));
        record.debts.owe(Debt::of([next.clone()], None));
        assert!(record.debts.settled(Duration::from_secs(20)).await);
        for (entry, stored) in [(&long, 0), (&short, 1), (&next, 1)] {
            assert_eq!(record.reader.get(id(entry)).await.unwrap().len(), stored);
        }
    }

    #[tokio::test]
    async fn an_intent_and_its_outcome_are_stored_once_each_whether_or_not_the_intent_came_true() {
        for came_true in [false, true] {
            let record = record().await;
            let (intent, end) = (outcome("intent"), outcome("outcome"));
            if came_true {
                record.store.append(vec![intent.to_string()]).await.unwrap();
            }
            record.debts.owe(Debt::of([intent.clone(), end.clone()], Some(outcome("short"))));
            assert!(record.debts.settled(Duration::from_secs(20)).await);
            let [intent, end] = [&intent, &end].map(|entry| record.reader.get(id(entry)));
            let (intent, end) = (intent.await.unwrap(), end.await.unwrap());
            let [(intent, end)] = intent.iter().zip(&end).collect::<Vec<_>>()[..] else { panic!("one each") };
            assert!(intent.seq < end.seq);
            assert_eq!(intent.entry.contains("recorded_late"), !came_true);
        }
    }
}
