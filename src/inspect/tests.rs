//! Damage of every kind, done to copies of a log as somebody would who knows this source and lacks only the key.
//! Each must be found, and the first bad entry named.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};

mod damages;
mod indexed;
mod keys;
mod pages;
mod readable;
mod rotation;
mod server;
mod trusted;

use super::*;
use crate::clock::ManualClock;
use crate::seal::{Signer, generate_key, hash_from, leaf_hash, perfect_root};
use crate::secret::ExposeSecret as _;
use crate::store::{Filter, Reader, Settings, Store};
use damages::{KINDS, Shows, damage};

/// One full tile of 256 and an unfinished one.
const ENTRIES: u64 = 300;

/// Entries when the older copy was made.
const OLDER: u64 = 290;

/// Random damages of each kind.
const ROUNDS: u64 = 20;

/// Changed with each run that is to be another one.
const SEED: u64 = 0x7477_6172;

/// A closed log, as it is and as it was a little earlier.
struct Log {
    directory: tempfile::TempDir,
    verifier: crate::seal::Verifier,
    checkpoint: Vec<u8>,
    rows: Vec<(String, Vec<u8>)>,
}

fn entry(n: u64) -> String {
    let id = uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(n));
    format!(
        r#"{{"kind":"refusal","id":"{id}","time":"2026-01-01T00:00:00.{n:06}Z","request_id":"{id}","subject":"s{n}"}}"#
    )
}

impl Log {
    async fn make() -> Arc<Self> {
        let directory = tempfile::tempdir().unwrap();
        let key = generate_key("tunnelwarden/test").unwrap().0;
        let signer = Arc::new(Signer::new(key.expose_secret()).unwrap());
        let clock = ManualClock::at(jiff::Timestamp::from_second(1_790_000_000).unwrap());
        let (database, file) = (directory.path().join("log.db"), directory.path().join("checkpoint.txt"));
        for end in [OLDER, ENTRIES] {
            let settings = Settings {
                database: database.clone().into(),
                checkpoint_files: vec![file.clone()],
                append_timeout: Duration::from_secs(10),
            };
            let store = Store::open(settings, Arc::clone(&signer), clock.clone()).await.unwrap();
            let from = if end == OLDER { 0 } else { OLDER };
            for n in from..end {
                // Ten entries between two checkpoints.
                clock.advance(Duration::from_millis(100));
                store.append(vec![entry(n)]).await.unwrap();
            }
            store.close().await;
            if end == OLDER {
                std::fs::copy(&database, directory.path().join("older.db")).unwrap();
            }
        }
        let verifier = signer.verifier().unwrap();
        let rows = (0..ENTRIES).map(|n| (entry(n), leaf_hash(entry(n).as_bytes()).0.to_vec())).collect();
        let checkpoint = std::fs::read(file).unwrap();
        Arc::new(Self { directory, verifier, checkpoint, rows })
    }

    fn copy(&self, name: &str) -> PathBuf {
        let to = self.directory.path().join(format!("{name}.db"));
        std::fs::copy(self.directory.path().join("log.db"), &to).unwrap();
        to
    }

    async fn verify(&self, path: &Path, checkpoint: bool) -> Report {
        self.find(path, checkpoint, false).await
    }

    async fn find(&self, path: &Path, checkpoint: bool, entries_only: bool) -> Report {
        let checkpoints =
            if checkpoint { vec![kept("the checkpoint file", &self.checkpoint)] } else { Vec::new() };
        let evidence = Evidence { checkpoints, entries_only, ..Evidence::of(self.verifier.clone()) };
        verified(path, &evidence).await
    }
}

/// What a verification of the record at `database` finds.
async fn verified(database: &Path, evidence: &Evidence) -> Report {
    let reader = Reader::open(database).await.unwrap();
    let report = verify(&reader, evidence, &mut |_| {}).await.unwrap();
    reader.close().await;
    report
}

/// A closed log of these entries, and the key that signed it.
async fn sealed(entries: Vec<String>) -> (tempfile::TempDir, PathBuf, crate::seal::Verifier) {
    let directory = tempfile::tempdir().unwrap();
    let signer = Arc::new(Signer::new(generate_key("tunnelwarden/test").unwrap().0.expose_secret()).unwrap());
    let clock = ManualClock::at(jiff::Timestamp::from_second(1_790_000_000).unwrap());
    let database = directory.path().join("log.db");
    let settings = Settings {
        database: database.clone().into(),
        checkpoint_files: Vec::new(),
        append_timeout: Duration::from_secs(10),
    };
    let store = Store::open(settings, Arc::clone(&signer), clock).await.unwrap();
    store.append(entries).await.unwrap();
    store.close().await;
    (directory, database, signer.verifier().unwrap())
}

fn kept(name: &str, note: &[u8]) -> Kept {
    Kept { name: name.to_owned(), note: note.to_vec() }
}

/// Numbers that are the same in each run (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % end
    }

    fn flip(&mut self, bytes: &mut [u8]) -> usize {
        let at = usize::try_from(self.below(bytes.len() as u64)).unwrap();
        bytes[at] ^= 1 << self.below(8);
        at
    }
}

fn hex(bytes: &[u8]) -> String {
    format!("x'{}'", data_encoding::HEXLOWER.encode(bytes))
}

async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

/// Runs SQL with triggers and checks out of the way, and puts the triggers back.
async fn tamper(path: &Path, sql: &str) {
    let mut connection = connect(path).await;
    let triggers = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'";
    let rows = sqlx::query(triggers).fetch_all(&mut connection).await.unwrap();
    let mut script = String::from("PRAGMA ignore_check_constraints = ON;");
    rows.iter().for_each(|row| script += &format!("DROP TRIGGER {};", row.get::<String, _>(0)));
    script += &format!("{sql};");
    rows.iter().for_each(|row| script += &format!("{};", row.get::<String, _>(1)));
    sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn blob(path: &Path, sql: &'static str) -> Vec<u8> {
    let mut connection = connect(path).await;
    let bytes = sqlx::query(sql).fetch_one(&mut connection).await.unwrap().get(0);
    connection.close().await.unwrap();
    bytes
}

/// How many entries the checkpoint before this one covers.
async fn covered_before(path: &Path, checkpoint: u64) -> u64 {
    let mut connection = connect(path).await;
    let query = sqlx::query_scalar::<_, i64>("SELECT coalesce(max(size), 0) FROM checkpoints WHERE n < ?");
    let query = query.bind(i64::try_from(checkpoint).unwrap());
    let size = query.fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    u64::try_from(size).unwrap()
}

/// Shifts all entries from `from` on by `by`, by way of numbers that are free.
fn shift(from: u64, by: i64) -> String {
    format!(
        "UPDATE entries SET seq = -1 - seq WHERE seq >= {from};
         UPDATE entries SET seq = -1 - seq + {by} WHERE seq < 0"
    )
}

/// Every second round of all.
async fn rounds(log: &Log, worker: u64) -> u64 {
    let mut done = 0;
    for round in (0..ROUNDS * KINDS).filter(|round| round % 2 == worker) {
        let mut random = Random(SEED + round * 7919 + 1);
        let path = log.copy(&format!("damaged-{worker}"));
        let Some((what, shows)) = damage(log, round % KINDS, &mut random, &path).await else { continue };
        let report = log.verify(&path, true).await;
        let told = format!("seed {SEED:#x}, round {round}, {what}: {shows:?}, found {report:?}");
        assert!(!report.is_sound(), "{told}");
        let bad = report.first_bad.as_ref();
        // Without the indexes it is found as well.
        let walked = log.find(&path, true, true).await;
        assert!(!walked.is_sound() && walked.first_bad == report.first_bad, "{told}\n{walked:?}");
        match shows {
            Shows::Entry(n) => {
                assert_eq!(bad.map(|bad| bad.seq), Some(n), "{told}");
                assert_eq!(report.good, n, "{told}");
            }
            Shows::AtMost(n) => {
                assert!(bad.is_some_and(|bad| bad.seq <= n && n < bad.seq + 10), "{told}");
            }
            Shows::Doubt(word, n) => {
                assert!(report.problems.iter().any(|line| line.contains(word)), "{told}");
                assert_eq!(bad, None, "{told}");
                assert_eq!(report.first_in_doubt.as_ref().map(|doubt| doubt.seq), Some(n), "{told}");
                let named = report.first_in_doubt.as_ref().and_then(|doubt| doubt.id.clone());
                assert_eq!(named.is_some(), n < ENTRIES, "{told}");
            }
        }
        for file in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{file}", path.display()));
        }
        done += 1;
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_damage_is_found_and_the_first_bad_entry_named() {
    let log = Log::make().await;
    let untouched = log.copy("untouched");
    let report = log.verify(&untouched, true).await;
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.good, ENTRIES);
    assert!(report.checkpoints > 25, "{report:?}");

    let mut runs = tokio::task::JoinSet::new();
    for worker in 0..2 {
        let (log, runtime) = (Arc::clone(&log), tokio::runtime::Handle::current());
        runs.spawn_blocking(move || runtime.block_on(rounds(&log, worker)));
    }
    let done: u64 = runs.join_all().await.into_iter().sum();
    assert!(done > 400, "{done} damages");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_schema_is_found() {
    let log = Log::make().await;
    for (what, sql) in [
        ("trigger entries_no_update", "DROP TRIGGER entries_no_update"),
        ("view refusals", "DROP VIEW refusals; CREATE VIEW refusals AS SELECT 1"),
        ("view extra", "CREATE VIEW extra AS SELECT 1"),
        ("index entries_time", "DROP INDEX entries_time"),
        (
            "table entries",
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, '$.subject', '$.xubject')
             WHERE name = 'entries'",
        ),
    ] {
        let path = log.copy("schema");
        let mut connection = connect(&path).await;
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let report = log.verify(&path, true).await;
        assert!(report.problems.iter().any(|line| line.contains(what)), "{what}: {report:?}");
        assert!(report.first_bad.is_none(), "{what}: {report:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_end_shows_by_the_checkpoint_only_and_a_wrong_key_shows_always() {
    let log = Log::make().await;
    let older = log.directory.path().join("older.db");
    assert!(log.verify(&older, false).await.is_sound());
    assert_eq!(log.verify(&older, true).await.first_bad.unwrap().seq, OLDER);

    let key = generate_key("tunnelwarden/test").unwrap().1;
    let evidence = Evidence::of(crate::seal::Verifier::new(&key).unwrap());
    assert!(!verified(&older, &evidence).await.is_sound());
}

/// Any byte of the file: what changed what is stored must be found; what did not (a free byte) may pass.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_byte_of_the_file_changes_no_changed_entry_passes() {
    let log = Log::make().await;
    let original = std::fs::read(log.copy("raw")).unwrap();
    let mut random = Random(SEED);
    let (mut found, path) = (0, log.directory.path().join("raw.db"));
    for round in 0..120 {
        let mut file = original.clone();
        let at = random.flip(&mut file);
        std::fs::write(&path, &file).unwrap();
        for file in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{file}", path.display()));
        }
        let checkpoints = vec![kept("the checkpoint file", &log.checkpoint)];
        let evidence = Evidence { checkpoints, ..Evidence::of(log.verifier.clone()) };
        let Ok(reader) = Reader::open(&path).await else {
            found += 1;
            continue;
        };
        let sound = verify(&reader, &evidence, &mut |_| {}).await.is_ok_and(|report| report.is_sound());
        if sound {
            let filter = Filter { after: Some(0), ..Filter::default() };
            let rows = reader.list(&filter).await.unwrap();
            let stored: Vec<_> = rows.into_iter().map(|row| row.entry).collect();
            assert_eq!(stored, (1..ENTRIES).map(entry).collect::<Vec<_>>(), "round {round}, byte {at}");
        } else {
            found += 1;
        }
        reader.close().await;
    }
    assert!(found > 40, "{found}");
}

#[tokio::test]
async fn each_entry_is_proven_in_the_full_tile_and_behind_it() {
    let log = Log::make().await;
    let reader = Reader::open(&log.directory.path().join("log.db")).await.unwrap();
    let covered = crate::seal::Checkpoint::open(&log.checkpoint, &log.verifier).unwrap().size;
    for seq in 0..ENTRIES {
        let proof = prove(&reader, &log.verifier, seq, None).await.unwrap();
        assert_eq!((proof.index, proof.entry.as_str()), (seq, entry(seq).as_str()));
        let read = crate::seal::EntryProof::read(&proof.to_text()).unwrap();
        let checkpoint = read.verify(&log.verifier).unwrap();
        assert!(checkpoint.size > seq && checkpoint.size <= covered, "{seq}: {}", checkpoint.size);
        // At its own place only.
        let moved = crate::seal::EntryProof { index: seq ^ 1, ..read };
        assert!(moved.verify(&log.verifier).is_err(), "{seq}");
    }
    assert!(matches!(prove(&reader, &log.verifier, ENTRIES, None).await, Err(ProveError::Missing(ENTRIES))));
    reader.close().await;
}
