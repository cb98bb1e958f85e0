//! Whether fingerprints from now on can be compared with those before.
//!
//! They can as long as the key is the same, and only its id is in the record. Not here: fingerprints (`secret`), the key's
//! file (`service::keys`).

use crate::inspect::read_entry;
use crate::json::{Json, Object};
use crate::secret::Fingerprinter;
use crate::store::{ReadError, Reader};

const MEMBER: &str = "fingerprint_key_id";

/// Says in a `started` entry by which key fingerprints are made from then on.
pub(super) fn tell(started: &mut Object, fingerprinter: &Fingerprinter) {
    started.set(MEMBER, fingerprinter.key_id());
}

/// A warning where the record's last `started` entry names another key. Entries of older versions name none.
///
/// # Errors
/// The record can't be read.
pub(super) async fn other_key(
    reader: &Reader,
    fingerprinter: &Fingerprinter,
) -> Result<Option<String>, ReadError> {
    let last = reader.last_started().await?;
    let started = last.and_then(|row| read_entry(row.entry.as_bytes()).ok());
    let (now, before) = (fingerprinter.key_id(), started.as_ref().and_then(|entry| entry.get(MEMBER)));
    let before = before.and_then(Json::as_str).filter(|before| *before != now);
    Ok(before.map(|before| {
        format!(
            "audit.fingerprint_key_file: another key ({now}) than at the last start, of this replica or another one ({before}): \
             fingerprints by the one can't be compared with those by the other, and repeats of calls are not recognized; give \
             every start the key that the record began with, unless it was replaced on purpose"
        )
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock, Ids, SystemClock};
    use crate::entry::{Entry, Kind};
    use crate::seal::{Signer, generate_key};
    use crate::secret::ExposeSecret as _;
    use crate::store::{Settings, Store};

    #[tokio::test]
    async fn another_key_than_at_the_last_start_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.db");
        let clock: Arc<dyn Clock> = SystemClock::new();
        let append_timeout = Duration::from_secs(10);
        let settings = Settings { database: (&path).into(), checkpoint_files: Vec::new(), append_timeout };
        let signer = Signer::new(generate_key("tunnelwarden/test").unwrap().0.expose_secret()).unwrap();
        let store = Store::open(settings, Arc::new(signer), Arc::clone(&clock)).await.unwrap();
        let reader = Reader::open(&path).await.unwrap();
        let start = async |members: Object| {
            let (id, time) = (Ids::new(Arc::clone(&clock)).next(), clock.now());
            let entry = Entry { kind: Kind::Started, id, time, request_id: id, members };
            store.append(vec![entry.into_json().to_string()]).await.unwrap();
        };
        let by = |key: &Fingerprinter| {
            let mut started = Object::new();
            tell(&mut started, key);
            started
        };
        let (one, other) = (Fingerprinter::new(&[1; 32]), Fingerprinter::new(&[2; 32]));
        assert_eq!(other_key(&reader, &one).await.unwrap(), None, "an empty record");
        start(Object::new()).await;
        assert_eq!(other_key(&reader, &one).await.unwrap(), None, "an entry of an older version");
        start(by(&one)).await;
        assert_eq!(other_key(&reader, &one).await.unwrap(), None);
        let told = other_key(&reader, &other).await.unwrap().unwrap();
        assert!(told.contains(one.key_id()) && told.contains(other.key_id()), "{told}");
        start(by(&other)).await;
        assert_eq!(other_key(&reader, &other).await.unwrap(), None, "told once");
        store.close().await;
    }
}
