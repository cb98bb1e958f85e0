//! Ends that were recorded late: what a key's story is told by is the order and the time of the intents.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::ManualClock;
use crate::inspect::{KeyAges, find_secret};
use crate::seal::{Signer, generate_key};
use crate::secret::{ExposeSecret as _, Fingerprinter, SecretString};
use crate::store::{Reader, Settings, Store};

const TUNNEL: &str = "c4a7362d577a6c3019a474fd6f485821";

fn id(n: u32) -> String {
    uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(n)).to_string()
}

pub(super) fn entry(kind: &str, n: u32, call: u32, time: &str, members: &str) -> String {
    format!(
        r#"{{"kind":"{kind}","id":"{}","time":"{time}.000000Z","request_id":"{}","subject":"s{call}","operation":"set_psks","tunnels":[{{"id":"{TUNNEL}","name":"berlin"}}],{members}}}"#,
        id(n),
        id(call)
    )
}

pub(super) async fn record(entries: Vec<String>) -> (tempfile::TempDir, Reader) {
    let directory = tempfile::tempdir().unwrap();
    let (key, _) = generate_key("tunnelwarden/keys").unwrap();
    let settings = Settings {
        database: directory.path().join("audit.db").into(),
        checkpoint_files: Vec::new(),
        append_timeout: Duration::from_secs(10),
    };
    let clock = ManualClock::at("2026-03-01T00:00:00Z".parse().unwrap());
    let signer = Arc::new(Signer::new(key.expose_secret()).unwrap());
    let store = Store::open(settings.clone(), signer, clock).await.unwrap();
    store.append(entries).await.unwrap();
    store.close().await;
    (directory, Reader::open(&settings.database).await.unwrap())
}

#[tokio::test]
async fn the_key_of_the_later_turn_is_the_one_in_use_although_the_earlier_end_was_recorded_later() {
    let printer = Fingerprinter::new(b"a key of the tests, of 32 bytes.");
    let asks = |key: &str| {
        let key = printer.redacted("psk", key);
        format!(
            r#""request":{{"body":{{"psks":[{{"id":"{TUNNEL}","psk":"{key}"}}]}}}},"expected":[{{"tunnel":"{TUNNEL}","replaces_key":true}}]"#
        )
    };
    let gave = |intent: u32, key: &str| {
        let key = printer.redacted("psk", key);
        format!(
            r#""intent_id":"{}","sent":"yes","before_after_diff":[{{"tunnel":"{TUNNEL}","patch":[{{"op":"add","path":"/psk","value":"{key}"}}]}}]"#,
            id(intent)
        )
    };
    let time = "2026-01-01T10:00:00";
    let (_directory, reader) = record(vec![
        entry("intent", 1, 1, time, &asks("the first key")),
        entry("intent", 2, 2, time, &asks("the second key")),
        entry("outcome", 3, 2, time, &gave(2, "the second key")),
        entry("outcome", 4, 1, time, &gave(1, "the first key")),
    ])
    .await;
    for (key, lost_to) in [("the first key", Some("s2")), ("the second key", None)] {
        let known = find_secret(&reader, &printer, &SecretString::from(key), &mut |_| {}).await.unwrap();
        let holder = &known.holders[TUNNEL];
        assert_eq!(holder.lost.as_ref().map(|lost| lost.word("subject")), lost_to, "{key}");
        assert!(holder.sure && holder.name.as_deref() == Some("berlin"), "{holder:?}");
    }
    // By another key of fingerprints nothing is known, and that is said.
    let other = Fingerprinter::new(b"another key of the tests.");
    let known =
        find_secret(&reader, &other, &SecretString::from("the first key"), &mut |_| {}).await.unwrap();
    assert!(known.handled.is_empty() && known.other_keys);
}

#[tokio::test]
async fn a_key_that_a_lost_call_replaced_is_as_old_as_the_call() {
    let expected = format!(r#""expected":[{{"tunnel":"{TUNNEL}","replaces_key":true}}]"#);
    let found = format!(
        r#""intent_id":"{}","resolution":"applied","before_after_diff":[{{"tunnel":"{TUNNEL}","patch":[{{"op":"add","path":"/psk","value":"?"}}]}}]"#,
        id(1)
    );
    let (_directory, reader) = record(vec![
        entry("intent", 1, 1, "2026-01-01T10:00:00", &expected),
        entry("resolved", 2, 1, "2026-02-01T10:00:00", &found),
    ])
    .await;
    let mut known = KeyAges::default();
    known.follow(&reader).await.unwrap();
    let ages: std::collections::BTreeMap<_, _> = known.left().collect();
    assert_eq!(ages[TUNNEL].changed(), Some("2026-01-01T10:00:00Z".parse().unwrap()));
    assert!(!ages[TUNNEL].bypassed());
}
