//! Damage of every kind, done to copies of a log as somebody would who knows this source and lacks only the key.
//! Each must be found, and the first bad entry named.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};

use super::*;
use crate::clock::ManualClock;
use crate::seal::{Signer, generate_key, hash_from, leaf_hash, perfect_root};
use crate::secret::ExposeSecret as _;
use crate::store::{Filter, Reader, Settings, Store};

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
                database: database.clone(),
                checkpoint_file: Some(file.clone()),
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
        let checkpoint = checkpoint.then(|| self.checkpoint.clone());
        let evidence = Evidence { verifier: self.verifier.clone(), checkpoint };
        let reader = Reader::open(path).await.unwrap();
        let report = verify(&reader, &evidence, &mut |_| {}).await.unwrap();
        reader.close().await;
        report
    }
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

/// What a damage is expected to show.
#[derive(Clone, Copy, Debug)]
enum Shows {
    /// Exactly this entry is named.
    Entry(u64),
    /// An entry is named that no good signature covers, at or before this one.
    AtMost(u64),
    /// No entry is bad; a line says this, and the first entry is named that the damaged evidence was to prove.
    Doubt(&'static str, u64),
}

/// Does one damage to a copy; says what must be found.
#[expect(clippy::too_many_lines, reason = "a table of damages, one arm each")]
async fn damage(log: &Log, kind: u64, random: &mut Random, path: &Path) -> Option<(&'static str, Shows)> {
    let n = random.below(ENTRIES);
    let row = usize::try_from(n).unwrap();
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let forged = entry(5000 + n);
    let forged_leaf = leaf_hash(forged.as_bytes());
    Some(match kind {
        0 => {
            // In the file itself: the database would refuse a text that is no JSON.
            let mut file = std::fs::read(path).unwrap();
            let text = log.rows[row].0.as_bytes();
            let at = memchr::memmem::find(&file, text).unwrap();
            random.flip(&mut file[at..at + text.len()]);
            std::fs::write(path, file).unwrap();
            ("a byte of an entry", Shows::Entry(n))
        }
        1 => {
            let mut leaf = log.rows[row].1.clone();
            random.flip(&mut leaf);
            tamper(path, &format!("UPDATE entries SET leaf = {} WHERE seq = {n}", hex(&leaf))).await;
            ("a byte of a leaf hash", Shows::Entry(n))
        }
        2 => {
            let mut hashes = blob(path, "SELECT hashes FROM tiles").await;
            let at = random.flip(&mut hashes);
            tamper(path, &format!("UPDATE tiles SET hashes = {}", hex(&hashes))).await;
            ("a byte of a tile", Shows::Entry(at as u64 / 32))
        }
        3 => {
            let mut root = blob(path, "SELECT root FROM tiles").await;
            random.flip(&mut root);
            tamper(path, &format!("UPDATE tiles SET root = {}", hex(&root))).await;
            ("a byte of a tile's root", Shows::Entry(0))
        }
        4 => {
            let mut note = blob(path, "SELECT CAST(note AS BLOB) FROM head").await;
            random.flip(&mut note);
            tamper(path, &format!("UPDATE head SET note = CAST({} AS TEXT)", hex(&note))).await;
            ("a byte of the head", Shows::Doubt("the head", ENTRIES))
        }
        5 => {
            let mut edge = blob(path, "SELECT edge FROM head").await;
            let at = random.flip(&mut edge);
            tamper(path, &format!("UPDATE head SET edge = {}", hex(&edge))).await;
            ("a byte of the head's edge", Shows::Entry(256 + at as u64 / 32))
        }
        6 => {
            let checkpoint = random.below(25);
            let mut connection = connect(path).await;
            let query = sqlx::query("SELECT CAST(note AS BLOB) FROM checkpoints WHERE n = ?");
            let query = query.bind(i64::try_from(checkpoint).unwrap());
            let mut note: Vec<u8> = query.fetch_one(&mut connection).await.unwrap().get(0);
            connection.close().await.unwrap();
            random.flip(&mut note);
            let sql =
                format!("UPDATE checkpoints SET note = CAST({} AS TEXT) WHERE n = {checkpoint}", hex(&note));
            let first = covered_before(path, checkpoint).await;
            tamper(path, &sql).await;
            ("a byte of a checkpoint", Shows::Doubt("checkpoint ", first))
        }
        7 => {
            tamper(path, &format!("DELETE FROM entries WHERE seq = {n}")).await;
            ("an entry deleted", Shows::Entry(n))
        }
        8 => {
            tamper(path, &format!("DELETE FROM entries WHERE seq = {n}; {}", shift(n, -1))).await;
            ("an entry deleted and the gap closed", Shows::Entry(n))
        }
        9 => {
            let insert = format!(
                "INSERT INTO entries (seq, leaf, entry) VALUES ({n}, {}, {})",
                hex(&forged_leaf.0),
                quoted(&forged)
            );
            tamper(path, &format!("{}; {insert}", shift(n, 1))).await;
            ("an entry inserted", Shows::Entry(n))
        }
        10 => {
            let insert = format!(
                "DROP INDEX entries_id;
                 INSERT INTO entries (seq, leaf, entry) SELECT {n} + 1, leaf, entry FROM entries WHERE seq = {n}"
            );
            tamper(path, &format!("{}; {insert}", shift(n + 1, 1))).await;
            ("an entry duplicated", Shows::Entry(n + 1))
        }
        11 => {
            let other = random.below(ENTRIES);
            if other == n {
                return None;
            }
            let swap = format!(
                "UPDATE entries SET seq = -1 WHERE seq = {n}; UPDATE entries SET seq = {n} WHERE seq = {other};
                 UPDATE entries SET seq = {other} WHERE seq = -1"
            );
            tamper(path, &swap).await;
            ("two entries swapped", Shows::Entry(n.min(other)))
        }
        12 => {
            tamper(path, &format!("DELETE FROM entries WHERE seq >= {n}")).await;
            ("the end cut off", Shows::Entry(n))
        }
        13 => {
            let rewrite = format!(
                "UPDATE entries SET entry = {}, leaf = {} WHERE seq = {n}",
                quoted(&forged),
                hex(&forged_leaf.0)
            );
            tamper(path, &rewrite).await;
            ("an entry rewritten with its leaf", Shows::Entry(n))
        }
        14 => {
            // With everything that follows from it, but for the signatures.
            let mut leaves: Vec<_> = log.rows.iter().map(|row| hash_from(&row.1).unwrap()).collect();
            leaves[row] = forged_leaf;
            let bytes = crate::seal::hashes_to_bytes(&leaves);
            let rewrite = format!(
                "UPDATE entries SET entry = {}, leaf = {} WHERE seq = {n};
                 UPDATE tiles SET hashes = {}, root = {}; UPDATE head SET edge = {}",
                quoted(&forged),
                hex(&forged_leaf.0),
                hex(&bytes[..8192]),
                hex(&perfect_root(&leaves[..256]).0),
                hex(&bytes[8192..])
            );
            tamper(path, &rewrite).await;
            ("an entry rewritten with all hashes", Shows::AtMost(n))
        }
        15 => {
            std::fs::copy(log.directory.path().join("older.db"), path).unwrap();
            ("the end cut off with head and checkpoints", Shows::Entry(OLDER))
        }
        16 => {
            let checkpoint = random.below(25);
            let sql = format!(
                "DELETE FROM checkpoints WHERE n = {checkpoint};
                 UPDATE checkpoints SET n = n - 1 WHERE n > {checkpoint}"
            );
            tamper(path, &sql).await;
            // Which one it was, nothing tells any more.
            ("a checkpoint deleted", Shows::Doubt("checkpoints", 0))
        }
        17 => {
            let first = covered_before(path, 3).await;
            tamper(path, "UPDATE checkpoints SET size = size + 1000 WHERE n = 3").await;
            ("a checkpoint's size", Shows::Doubt("checkpoint 3", first))
        }
        18 => {
            let size = format!(
                "INSERT INTO entries (seq, leaf, entry) VALUES ({ENTRIES}, {}, {})",
                hex(&forged_leaf.0),
                quoted(&forged)
            );
            tamper(path, &size).await;
            ("an entry added behind the end", Shows::Entry(ENTRIES))
        }
        19 => {
            tamper(path, "DELETE FROM head").await;
            ("the head deleted", Shows::Doubt("the head", ENTRIES))
        }
        20 => {
            tamper(path, "DELETE FROM tiles").await;
            ("a tile deleted", Shows::Entry(0))
        }
        _ => return None,
    })
}

const KINDS: u64 = 21;

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
    let evidence = Evidence { verifier: crate::seal::Verifier::new(&key).unwrap(), checkpoint: None };
    let reader = Reader::open(&older).await.unwrap();
    assert!(!verify(&reader, &evidence, &mut |_| {}).await.unwrap().is_sound());
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
        let evidence = Evidence { verifier: log.verifier.clone(), checkpoint: Some(log.checkpoint.clone()) };
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
