//! The key files on the way from one key to the next.

use std::time::Duration;

use super::*;
use crate::clock::SystemClock;
use crate::config::{Bodies, Reconcile};
use crate::inspect::{self, Evidence, Report};
use crate::seal::{Checkpoint, Hash};
use crate::service::keys::read_signer;
use crate::service::{copy, make_keys};
use crate::store::{Database, Reader, Store, record};

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
    let rotated = rotate_key(audit, SystemClock::new(), Object::new()).await?;
    Ok(rotated.logs.iter().map(|(_, size)| size).sum())
}

#[tokio::test]
async fn where_there_is_no_key_it_says_how_to_make_one() {
    let folder = tempfile::tempdir().unwrap();
    let audit = audit(folder.path());
    std::fs::remove_file(&audit.signing_key_file).unwrap();
    let told = rotate(&audit).await.unwrap_err();
    assert!(told.contains("/key` can't be read: ") && told.contains("keys generate"), "{told}");
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
        put(&next, known, 0o600).unwrap();
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
    put(&audit.signing_key_file, &old, 0o600).unwrap();
    assert!(open(&audit).await.unwrap_err().contains("signing key was replaced"));
    let missing = rotate(&audit).await.unwrap_err();
    assert!(missing.contains("it is not there; put it back there"), "{missing}");
    let next = next_file(&audit.signing_key_file);
    put(&next, generate_key("tunnelwarden/other").unwrap().0.expose_secret(), 0o600).unwrap();
    assert!(rotate(&audit).await.unwrap_err().contains("another one does"));
    put(&next, &new, 0o600).unwrap();
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

/// A replica's configuration beside others of the same record and key.
fn replica(like: &Audit, name: &str) -> Audit {
    let Database::Postgres(server) = like.database.clone() else { unreachable!() };
    let folder = like.signing_key_file.parent().unwrap();
    Audit {
        database: Database::Postgres(server.for_replica(name).unwrap()),
        checkpoint_files: vec![folder.join(format!("checkpoint-{name}"))],
        ..like.clone()
    }
}

async fn open_replica(audit: &Audit) -> Result<Store, String> {
    let signer = crate::service::keys::signer(audit)?;
    Store::open(settings(audit), signer, SystemClock::new()).await.map_err(|e| why(&e))
}

fn refused() -> String {
    let id = Ids::new(SystemClock::new()).next();
    let time = SystemClock::new().now();
    Entry { kind: Kind::Heartbeat, id, time, request_id: id, members: Object::new() }.into_json().to_string()
}

async fn verified(audit: &Audit) -> Report {
    let key = read_signer(&audit.signing_key_file).unwrap().verifier().unwrap();
    let reader = Reader::open(&audit.database).await.unwrap();
    let report = inspect::verify(&reader, &Evidence::of(key), &mut |_| {}).await.unwrap();
    reader.close().await;
    report
}

#[tokio::test]
async fn the_key_of_every_log_of_a_record_is_replaced_and_a_replica_starts_by_the_new_one_only() {
    let folder = tempfile::tempdir().unwrap();
    let file = audit(folder.path());
    open(&file).await.unwrap().close().await;
    let Some(database) = record::postgres("a").await else { return };
    let (a, name) = (Audit { database: database.clone(), ..file.clone() }, database.to_string());
    let (a, b) = (replica(&a, "a"), replica(&a, "b"));
    // Public is the key itself, not a replica's.
    make_keys(&a).unwrap();
    let public = std::fs::read_to_string(public_file(&a.signing_key_file)).unwrap();
    assert_eq!(public.trim(), read_signer(&a.signing_key_file).unwrap().public_key());
    // One that was moved here is of the record, too.
    let Database::Postgres(to) = replica(&a, "before").database else { unreachable!() };
    let key = read_signer(&a.signing_key_file).unwrap().verifier().unwrap();
    copy(&folder.path().join("audit.db"), &to, (key, Vec::new()), &mut |_| {}).await.unwrap();
    for one in [&a, &b] {
        let store = open_replica(one).await.unwrap();
        store.append((0..300).map(|_| refused()).collect()).await.unwrap();
        store.close().await;
    }

    let living = open_replica(&b).await.unwrap();
    let lived = rotate(&a).await.unwrap_err();
    assert!(lived.contains("`b`") && lived.contains("stop every replica"), "{lived}");
    assert!(!next_file(&a.signing_key_file).exists());
    living.close().await;

    // One whose end is not as it was signed keeps the others from being changed.
    let old = std::fs::read_to_string(&a.signing_key_file).unwrap();
    let database = name.rsplit('/').next().and_then(|name| name.split('?').next()).unwrap();
    let owner = record::server().unwrap();
    let rewrite = |from: &str, to: &str| {
        let note =
            format!("UPDATE tunnelwarden.logs SET note = replace(note, '{from}', '{to}') WHERE name = 'b'");
        owner.sql(database, &format!("SET session_replication_role = replica; {note}"));
    };
    rewrite("300", "301");
    let told = rotate(&a).await.unwrap_err();
    assert!(told.contains("the log `b`"), "{told}");
    open_replica(&a).await.unwrap().close().await;
    rewrite("301", "300");

    // Cut short between two logs: those that are behind don't go on by the old key, and the same call ends it.
    owner.sql(
        database,
        "CREATE FUNCTION public.fails() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END';
         CREATE TRIGGER fails BEFORE INSERT ON tunnelwarden.log_entries FOR EACH ROW
             WHEN (NEW.log = (2)) EXECUTE FUNCTION public.fails()",
    );
    rotate(&a).await.unwrap_err();
    assert_eq!(std::fs::read_to_string(&a.signing_key_file).unwrap(), old);
    for one in [&a, &b, &replica(&a, "c")] {
        let told = open_replica(one).await.err().unwrap();
        assert!(told.contains("signing key was replaced"), "{told}");
    }
    owner.sql(database, "DROP TRIGGER fails ON tunnelwarden.log_entries");
    let rotated = rotate_key(&a, SystemClock::new(), Object::new()).await.unwrap();
    let names: Vec<_> = rotated.logs.iter().map(|(name, _)| name.as_deref().unwrap()).collect();
    assert_eq!(names, ["a", "b", "before", "c"]);
    assert_eq!(rotated.logs.iter().map(|(_, size)| *size).collect::<Vec<_>>(), [301, 301, 1, 1]);

    // The other's file is of the key before, and what it proves is still looked for.
    for one in [&a, &b, &replica(&a, "c")] {
        let store = open_replica(one).await.unwrap();
        store.append(vec![refused()]).await.unwrap();
        store.close().await;
    }
    let report = verified(&a).await;
    assert!(report.is_sound() && report.logs.len() == 4, "{report:?}");
    // Once more: another key for all of them.
    rotate(&b).await.unwrap();
    let cut_off = Checkpoint { size: 900, root: Hash([1; 32]), chain: None };
    let stolen = Signer::of_replica(&old, "a").unwrap();
    std::fs::write(&a.checkpoint_files[0], cut_off.sign(&stolen).unwrap()).unwrap();
    assert!(
        open_replica(&a).await.err().unwrap().contains("900"),
        "what an old key signed is still looked for"
    );
    std::fs::remove_file(&a.checkpoint_files[0]).unwrap();
    open_replica(&a).await.unwrap().close().await;
    let report = verified(&b).await;
    assert!(report.is_sound() && report.keys.len() == 12, "{report:?}");
    // A copy of an old key signs nothing more, not even a log of a new name.
    std::fs::write(&a.signing_key_file, old).unwrap();
    for name in ["a", "d"] {
        let told = open_replica(&replica(&a, name)).await.err().unwrap();
        assert!(told.contains("signing key was replaced"), "{name}: {told}");
    }
}
