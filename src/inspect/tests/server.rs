//! A record of several replicas on a server: what verifies, and each damage that its owner could do.

use std::sync::Arc;
use std::time::Duration;

use super::super::*;
use crate::clock::SystemClock;
use crate::seal::{Checkpoint, Hash, Signer, Verifier, generate_key};
use crate::secret::ExposeSecret as _;
use crate::store::record::{self, server};
use crate::store::{Database, Reader, Settings, Store};

struct Logs {
    database: Database,
    secret: String,
    key: Verifier,
    /// Checkpoints of the logs, kept elsewhere.
    kept: Vec<Kept>,
    _directory: tempfile::TempDir,
}

fn entry(n: u32, time: u32) -> String {
    let id = uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(n));
    format!(
        r#"{{"kind":"refusal","id":"{id}","time":"2026-01-20T00:00:{time:02}.000000Z","request_id":"{id}","subject":"s{n}","refusal":{{"name":"forbidden"}},"n":{n}}}"#
    )
}

/// Two logs with 300 entries each, made in turns.
async fn logs() -> Option<Logs> {
    let database = record::postgres("a").await?;
    let Database::Postgres(of_a) = database.clone() else { unreachable!() };
    let (key, public) = generate_key("tunnelwarden/test").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut kept = Vec::new();
    for (name, first) in [("a", 0), ("b", 1000)] {
        let file = directory.path().join(name);
        let settings = Settings {
            database: Database::Postgres(of_a.clone().for_replica(name).unwrap()),
            checkpoint_files: vec![file.clone()],
            append_timeout: Duration::from_secs(10),
        };
        let signer = Arc::new(Signer::of_replica(key.expose_secret(), name).unwrap());
        let store = Store::open(settings, signer, SystemClock::new()).await.unwrap();
        for n in 0..300 {
            store.append(vec![entry(first + n, n / 6)]).await.unwrap();
        }
        store.close().await;
        kept.push(Kept { name: format!("the file of {name}"), note: std::fs::read(file).unwrap() });
    }
    Some(Logs {
        database,
        secret: key.expose_secret().to_owned(),
        key: Verifier::new(&public).unwrap(),
        kept,
        _directory: directory,
    })
}

async fn verified(logs: &Logs) -> Report {
    let evidence = Evidence { checkpoints: logs.kept.clone(), ..Evidence::of(logs.key.clone()) };
    verified_by(logs, evidence).await
}

async fn verified_by(logs: &Logs, evidence: Evidence) -> Report {
    let reader = Reader::open(&logs.database).await.unwrap();
    let report = verify(&reader, &evidence, &mut |_| {}).await.unwrap();
    reader.close().await;
    report
}

#[tokio::test]
async fn the_logs_of_all_replicas_verify_by_one_key_and_are_one_record() {
    let Some(logs) = logs().await else { return };
    // As it is for a role that has the schema's name.
    let name = logs.database.to_string();
    let name = name.rsplit('/').next().and_then(|name| name.split('?').next()).unwrap();
    server()
        .unwrap()
        .sql("postgres", &format!("ALTER DATABASE {name} SET search_path = tunnelwarden, public"));
    let report = verified(&logs).await;
    assert!(report.is_sound() && report.views_checked, "{report:?}");
    assert_eq!((report.good, report.covered, report.logs.len()), (600, 600, 2));
    let reader = Reader::open(&logs.database).await.unwrap();
    let rows = reader.list(&crate::store::Filter { limit: Some(12), ..Default::default() }).await.unwrap();
    let last: Vec<_> = rows.iter().map(|row| row.entry.contains("00:00:49")).collect();
    assert_eq!(last, [true; 12], "the newest of both");
    for row in [&rows[0], &rows[7]] {
        let proof = prove(&reader, &logs.key, row.seq, None).await.unwrap();
        let origin = proof.checkpoint.lines().next().unwrap().to_owned();
        assert_eq!(proof.entry, row.entry);
        assert!(proof.verify(&logs.key.of_origin(&origin).unwrap()).is_ok(), "{origin}");
        assert!(proof.verify(&logs.key).is_err(), "under its own log's name only");
    }
    reader.close().await;
}

#[tokio::test]
async fn a_checkpoint_to_begin_at_is_of_one_of_the_logs() {
    let Some(logs) = logs().await else { return };
    let own = Evidence { from: logs.kept.first().cloned(), ..Evidence::of(logs.key.clone()) };
    let report = verified_by(&logs, own).await;
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.good, report.not_read, report.covered), (600, 300, 300));
    // Signed by the key, of a replica that never wrote here.
    let signer = Signer::of_replica(&logs.secret, "c").unwrap();
    let note = Checkpoint { size: 300, root: Hash([7; 32]), chain: None }.sign(&signer).unwrap();
    let foreign = Kept { name: "the file of c".to_owned(), note: note.into_bytes() };
    let report = verified_by(&logs, Evidence { from: Some(foreign), ..Evidence::of(logs.key.clone()) }).await;
    let said = ["the file of c: the record has no log of `tunnelwarden/test/c`: a whole log is missing"];
    assert_eq!(report.problems, said);
}

#[tokio::test]
async fn whatever_the_owner_changes_is_found() {
    // What is done, and what is said of it.
    let damages = [
        (
            "UPDATE log_entries SET entry = replace(entry, '\"n\":17}', '\"n\":18}') WHERE leaf_index = 17 AND log = 0",
            "hash",
        ),
        ("UPDATE log_entries SET seq = seq + 128 * 1000000 WHERE leaf_index = 299 AND log = 0", "seq"),
        ("DELETE FROM log_entries WHERE leaf_index = 20 AND log = 1", "missing"),
        ("DELETE FROM log_entries WHERE leaf_index >= 290 AND log = 1", "cut off"),
        ("UPDATE log_entries SET leaf_index = 299 - leaf_index WHERE log = 0", "hash"),
        ("DELETE FROM tiles WHERE log = 0", "tile"),
        ("DELETE FROM checkpoints WHERE log = 0 AND n = 0", "checkpoint"),
        ("UPDATE logs SET note = replace(note, '300', '301') WHERE log = 0", "the head"),
        ("DELETE FROM logs WHERE log = 1", "whole log is missing"),
        (
            "DROP VIEW refusals; CREATE VIEW refusals AS SELECT * FROM requests WHERE subject <> 'mallory'",
            "view refusals",
        ),
        (
            "CREATE OR REPLACE FUNCTION document(entry text) RETURNS json LANGUAGE sql IMMUTABLE AS 'SELECT null::json'",
            "function document",
        ),
        (
            "INSERT INTO log_entries (seq, log, leaf_index, leaf, entry)
             SELECT seq + 99, 99, 0, leaf, replace(entry, '01900000', '01910000') FROM log_entries WHERE log = 0 LIMIT 1",
            "number 99",
        ),
        (
            "INSERT INTO logs SELECT 5, 'again', 'tunnelwarden/test/a', note, size, last_seq + 5, holder, epoch, lease_until
                 FROM logs WHERE log = 0;
             INSERT INTO log_entries (seq, log, leaf_index, leaf, entry)
                 SELECT seq + 5, 5, leaf_index, leaf, entry FROM log_entries WHERE log = 0;
             INSERT INTO tiles SELECT 5, level, n, root, hashes FROM tiles WHERE log = 0;
             INSERT INTO checkpoints SELECT 5, n, size, note FROM checkpoints WHERE log = 0",
            "one origin",
        ),
        (
            "ALTER TABLE log_entries ENABLE ROW LEVEL SECURITY;
             CREATE POLICY hides ON log_entries USING (current_setting('transaction_isolation') = 'repeatable read')",
            "row security",
        ),
        ("ALTER FUNCTION tells(text) SET search_path = evil, pg_catalog", "function tells"),
        (
            "CREATE FUNCTION public.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
             DROP TRIGGER log_entries_stay ON log_entries;
             CREATE TRIGGER log_entries_stay BEFORE UPDATE OR DELETE ON log_entries
                 FOR EACH ROW EXECUTE FUNCTION public.nothing()",
            "trigger log_entries_stay",
        ),
        ("CREATE RULE hides AS ON INSERT TO checkpoints DO INSTEAD NOTHING", "rule hides"),
        ("ALTER TABLE log_entries DISABLE TRIGGER log_entries_no_truncate", "trigger"),
        ("ALTER TABLE log_entries ALTER COLUMN told DROP EXPRESSION", "column told"),
        (
            "ALTER TABLE log_entries ALTER COLUMN told DROP EXPRESSION;
             UPDATE log_entries SET told.subject = 'nobody' WHERE leaf_index = 5 AND log = 0",
            "what is told of it",
        ),
    ];
    let mut missed = Vec::new();
    for (damage, word) in damages {
        let Some(logs) = logs().await else { return };
        let (_, name) = logs
            .database
            .to_string()
            .split_once('?')
            .map_or(("", String::new()), |(url, _)| ("", url.rsplit('/').next().unwrap().to_owned()));
        let owned =
            format!("SET search_path = tunnelwarden; SET session_replication_role = replica; {damage}");
        server().unwrap().sql(&name, &owned);
        let report = verified(&logs).await;
        let said = format!("{:?} {:?}", report.first_bad, report.problems);
        if report.is_sound() || !said.contains(word) {
            missed.push(format!("{damage}: {said}"));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}
