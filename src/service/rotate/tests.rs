//! The key files on the way from one key to the next.

use std::time::Duration;

use super::*;
use crate::clock::SystemClock;
use crate::config::{Bodies, Reconcile};
use crate::service::make_keys;
use crate::store::Store;

fn audit(folder: &Path) -> Audit {
    let day = Duration::from_secs(86_400);
    let audit = Audit {
        database: folder.join("audit.db").into(),
        signing_key_file: folder.join("key"),
        fingerprint_key_file: folder.join("fingerprint"),
        checkpoint_files: vec![folder.join("checkpoint")],
        bodies: Bodies { read: true, write: true, secret: true },
        append_timeout: Duration::from_secs(5),
        one_shot_window: day,
        heartbeat: day,
        resolve_after: day,
        reconcile: Reconcile { every: None, grace: day, look_back: day, accounts: Vec::new() },
    };
    make_keys(&audit).unwrap();
    audit
}

async fn open(audit: &Audit) -> Result<Store, String> {
    let signer = Arc::new(read_signer(&audit.signing_key_file)?);
    Store::open(settings(audit), signer, SystemClock::new()).await.map_err(|e| why(&e))
}

async fn rotate(audit: &Audit) -> Result<u64, String> {
    rotate_key(audit, SystemClock::new(), Object::new()).await.map(|rotated| rotated.size)
}

#[tokio::test]
async fn a_key_that_lay_there_unused_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let audit = audit(folder.path());
    let store = open(&audit).await.unwrap();
    assert!(rotate(&audit).await.unwrap_err().contains("another process writes"));
    let next = next_file(&audit.signing_key_file);
    assert!(!next.exists());
    store.close().await;
    for known in ["", "PRIVATE+KEY+no+key", generate_key("tunnelwarden/other").unwrap().0.expose_secret()] {
        write(&next, known, 0o600, true).unwrap();
        let before = std::fs::read_to_string(&audit.signing_key_file).unwrap();
        rotate(&audit).await.unwrap();
        let now = std::fs::read_to_string(&audit.signing_key_file).unwrap();
        assert!(now != before && now.trim() != known && !next.exists());
        open(&audit).await.unwrap().close().await;
    }
}

#[tokio::test]
async fn a_key_that_the_log_names_is_asked_for_until_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let audit = audit(folder.path());
    open(&audit).await.unwrap().close().await;
    let old = std::fs::read_to_string(&audit.signing_key_file).unwrap();
    rotate(&audit).await.unwrap();
    let new = std::fs::read_to_string(&audit.signing_key_file).unwrap();
    // As after a crash before the new key was put in place, and somebody took it away.
    write(&audit.signing_key_file, &old, 0o600, true).unwrap();
    assert!(open(&audit).await.unwrap_err().contains("signing key was replaced"));
    assert!(rotate(&audit).await.unwrap_err().contains("put it back there"));
    let next = next_file(&audit.signing_key_file);
    write(&next, generate_key("tunnelwarden/other").unwrap().0.expose_secret(), 0o600, true).unwrap();
    assert!(rotate(&audit).await.unwrap_err().contains("another one does"));
    write(&next, &new, 0o600, true).unwrap();
    rotate(&audit).await.unwrap();
    assert_eq!(std::fs::read_to_string(&audit.signing_key_file).unwrap(), new);
    open(&audit).await.unwrap().close().await;
}

#[tokio::test]
async fn a_link_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let audit = audit(folder.path());
    open(&audit).await.unwrap().close().await;
    let secret = folder.path().join("secret");
    std::fs::rename(&audit.signing_key_file, &secret).unwrap();
    std::os::unix::fs::symlink(&secret, &audit.signing_key_file).unwrap();
    assert!(rotate(&audit).await.unwrap_err().contains("is a link"));
    open(&audit).await.unwrap().close().await;
}
