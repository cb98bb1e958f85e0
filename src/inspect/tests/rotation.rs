//! Changes of the signing key: what verified before verifies after, and a key that was stolen later signs nothing.

use super::*;
use crate::seal::{Chain, Checkpoint, EntryProof, Tree, Verifier};
use crate::secret::SecretString;
use crate::store::{LogId, Rotation};

/// Entries that each key signs before the next one comes.
const EACH: u64 = 300;

/// A closed log that three keys signed, and what an auditor kept of each time.
struct Rotated {
    directory: tempfile::TempDir,
    signers: [Arc<Signer>; 3],
    /// The checkpoint file as it was at the end of each key's time.
    files: Vec<Vec<u8>>,
    /// A proof of entry 5, made while the first key signed.
    proof: Option<EntryProof>,
}

fn key() -> SecretString {
    generate_key("tunnelwarden/test").unwrap().0
}

fn signer_of(key: &SecretString) -> Arc<Signer> {
    Arc::new(Signer::new(key.expose_secret()).unwrap())
}

fn signer() -> Arc<Signer> {
    signer_of(&key())
}

fn rotation(n: u64, old: &Signer, new: &Signer) -> String {
    let names = format!(r#""old_key":"{}","new_key":"{}"}}"#, old.public_key(), new.public_key());
    entry(n).replace("\"refusal\"", "\"key_rotated\"").replace(&format!(r#""subject":"s{n}"}}"#), &names)
}

/// The `seq` of the entry that ends the time of a key.
const fn end(key: u64) -> u64 {
    key * (EACH + 1) + EACH
}

impl Rotated {
    async fn make() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keys = [key(), key(), key()];
        let signers = keys.each_ref().map(signer_of);
        let mut log = Self { directory, signers, files: Vec::new(), proof: None };
        for key in 0..3u64 {
            let signer = Arc::clone(&log.signers[usize::try_from(key).unwrap()]);
            log.append(&signer, key * (EACH + 1)).await;
            log.files.push(std::fs::read(log.path("checkpoint.txt")).unwrap());
            if key == 0 {
                let reader = Reader::open(&log.path("log.db")).await.unwrap();
                log.proof = prove(&reader, &signer.verifier().unwrap(), 5, None).await.ok();
                reader.close().await;
                std::fs::copy(log.path("log.db"), log.path("before.db")).unwrap();
            }
            let at = usize::try_from(key).unwrap();
            if let Some(next) = keys.get(at + 1) {
                let entry = |old: &Signer, new: &Signer| rotation(end(key), old, new);
                let handed = Rotation::begin(log.settings("log.db")).await.unwrap();
                let sizes = handed.hand_over(&keys[at], next, &entry).await.unwrap();
                assert_eq!(sizes, [(LogId::single(), end(key) + 1)]);
            }
        }
        log
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn settings(&self, database: &str) -> Settings {
        Settings {
            database: self.path(database).into(),
            checkpoint_files: vec![self.path("checkpoint.txt")],
            append_timeout: Duration::from_secs(10),
        }
    }

    async fn append(&self, signer: &Arc<Signer>, from: u64) {
        let clock = ManualClock::at(jiff::Timestamp::from_second(1_790_000_000).unwrap());
        let store = Store::open(self.settings("log.db"), Arc::clone(signer), clock.clone()).await.unwrap();
        for n in from..from + EACH {
            clock.advance(Duration::from_millis(100));
            store.append(vec![entry(n)]).await.unwrap();
        }
        store.close().await;
    }

    fn key(&self, n: usize) -> Verifier {
        self.signers[n].verifier().unwrap()
    }

    async fn find(&self, database: &str, keys: &[usize], files: &[usize], from: Option<usize>) -> Report {
        let file = |n: &usize| kept(&format!("file {n}"), &self.files[*n]);
        let evidence = Evidence {
            key: self.key(keys[0]),
            other_keys: keys[1..].iter().map(|n| self.key(*n)).collect(),
            checkpoints: files.iter().map(file).collect(),
            from: from.as_ref().map(file),
            log: LogId::single(),
            entries_only: from.is_some(),
        };
        verified(&self.path(database), &evidence).await
    }

    async fn is_sound(&self, database: &str, keys: &[usize]) -> bool {
        self.find(database, keys, &[], None).await.is_sound()
    }

    /// Signs the end of a log anew, as whoever has a key and the file can.
    async fn forge_head(&self, database: &str, signer: &Signer) {
        let path = self.path(database);
        let mut connection = connect(&path).await;
        let notes: Vec<Vec<u8>> = sqlx::query_scalar("SELECT CAST(note AS BLOB) FROM checkpoints ORDER BY n")
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let leaves: Vec<Vec<u8>> = sqlx::query_scalar("SELECT leaf FROM entries ORDER BY seq")
            .fetch_all(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        let mut chain = Chain::new();
        notes.iter().for_each(|note| chain.push(note));
        let mut tree = Tree::new();
        leaves.iter().for_each(|leaf| drop(tree.push(hash_from(leaf).unwrap())));
        let head = Checkpoint { size: tree.size(), root: tree.root(), chain: Some(chain) };
        let note = head.sign(signer).unwrap();
        tamper(&path, &format!("UPDATE head SET note = '{note}'")).await;
    }

    /// Puts a checkpoint over the first entries behind the last one.
    async fn add_checkpoint(&self, database: &str, size: u64, signer: &Signer) {
        let mut tree = Tree::new();
        let path = self.path(database);
        let mut connection = connect(&path).await;
        let leaves: Vec<Vec<u8>> = sqlx::query_scalar("SELECT leaf FROM entries WHERE seq < ? ORDER BY seq")
            .bind(i64::try_from(size).unwrap())
            .fetch_all(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        leaves.iter().for_each(|leaf| drop(tree.push(hash_from(leaf).unwrap())));
        let note = Checkpoint { size, root: tree.root(), chain: None }.sign(signer).unwrap();
        let add = format!(
            "DELETE FROM checkpoints WHERE size = {size};
             UPDATE checkpoints SET n = -1 - n WHERE size > {size};
             INSERT INTO checkpoints (n, size, note) SELECT count(*), {size}, '{note}' FROM checkpoints WHERE size < {size};
             UPDATE checkpoints SET n = (SELECT count(*) FROM checkpoints AS c WHERE c.size < checkpoints.size) WHERE n < 0"
        );
        tamper(&path, &add).await;
    }

    fn copy(&self, from: &str) -> &'static str {
        std::fs::copy(self.path(from), self.path("copy.db")).unwrap();
        "copy.db"
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_verified_before_a_change_of_key_verifies_after_it() {
    let log = Rotated::make().await;
    for keys in [&[0][..], &[1], &[2], &[2, 0], &[0, 1, 2]] {
        for from in [None, Some(0), Some(1), Some(2)] {
            let report = log.find("log.db", keys, &[0, 1, 2], from).await;
            assert!(report.is_sound(), "{keys:?} {from:?}: {report:?}");
            let key = |n: usize| log.key(n).public_key().to_owned();
            let spans = vec![(key(0), Some(end(0) + 1)), (key(1), Some(end(1) + 1)), (key(2), None)];
            assert_eq!(report.keys, spans);
        }
    }
    log.proof.as_ref().unwrap().verify(&log.key(0)).unwrap();
    let reader = Reader::open(&log.path("log.db")).await.unwrap();
    for (n, seqs) in [(0, [0, 5, end(0)]), (1, [5, end(0) + 1, end(1)]), (2, [5, end(1) + 1, end(2) - 1])] {
        for seq in seqs {
            let proof = prove(&reader, &log.key(n), seq, None).await.unwrap();
            proof.verify(&log.key(n)).unwrap();
            assert!(proof.verify(&log.key((n + 1) % 3)).is_err(), "{n} {seq}");
        }
    }
    // What an old key never covered, it does not prove.
    assert!(prove(&reader, &log.key(0), end(0) + 1, None).await.is_err());
    reader.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_another_log_or_of_nobody_verifies_nothing() {
    let mut log = Rotated::make().await;
    log.signers[0] = signer();
    for keys in [&[0][..], &[2, 0], &[0, 2]] {
        let report = log.find("log.db", keys, &[], None).await;
        let says = format!("the keys: nothing of this log is signed by the key {}", log.key(0).id());
        assert!(report.problems.contains(&says), "{keys:?}: {report:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_stolen_after_it_was_replaced_signs_nothing() {
    let log = Rotated::make().await;
    let stolen = Arc::clone(&log.signers[0]);
    let copy = log.copy("log.db");
    // The end signed anew.
    for stolen in &log.signers[..2] {
        log.forge_head(copy, stolen).await;
        for key in 0..3 {
            assert!(!log.is_sound(copy, &[key]).await, "{key}");
        }
    }
    // A checkpoint in the time of another key.
    let copy = log.copy("log.db");
    log.add_checkpoint(copy, end(0) + 10, &stolen).await;
    assert!(!log.is_sound(copy, &[2]).await);
    log.forge_head(copy, &log.signers[2]).await;
    let report = log.find(copy, &[2], &[], None).await;
    assert!(report.problems.iter().any(|line| line.contains("not signed by this key")), "{report:?}");
    // A checkpoint file of the old key over more than it signed.
    let size = end(0) + 10;
    let mut tree = Tree::new();
    let leaf = |n| {
        leaf_hash(
            if n == end(0) { rotation(n, &log.signers[0], &log.signers[1]) } else { entry(n) }.as_bytes(),
        )
    };
    (0..size).for_each(|n| drop(tree.push(leaf(n))));
    let note = Checkpoint { size, root: tree.root(), chain: None }.sign(&stolen).unwrap();
    let mut kept_later = Rotated { files: vec![note.into_bytes()], ..log };
    let report = kept_later.find("log.db", &[2], &[0], None).await;
    let says = format!("file 0: signed by a key that was not in use at {size} entries");
    assert!(report.problems.contains(&says), "{report:?}");
    kept_later.files.clear();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_a_stolen_key_goes_on_with_from_before_is_another_one() {
    let log = Rotated::make().await;
    // Cut back to before the change of key, and gone on with.
    let clock = ManualClock::at(jiff::Timestamp::from_second(1_790_000_000).unwrap());
    let settings = Settings { checkpoint_files: Vec::new(), ..log.settings("before.db") };
    let store = Store::open(settings, Arc::clone(&log.signers[0]), clock).await.unwrap();
    store.append((2000..2400).map(entry).collect()).await.unwrap();
    store.close().await;
    for keys in [&[1][..], &[2], &[0, 2], &[2, 0]] {
        assert!(!log.is_sound("before.db", keys).await, "{keys:?}");
    }
    // With the old key alone nothing tells, but a checkpoint that was kept.
    assert!(log.is_sound("before.db", &[0]).await);
    assert!(!log.find("before.db", &[0], &[1], None).await.is_sound());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_only_names_a_key_is_not_one_that_it_signed() {
    let log = Rotated::make().await;
    let clock = ManualClock::at(jiff::Timestamp::from_second(1_790_000_000).unwrap());
    let settings = Settings { checkpoint_files: Vec::new(), ..log.settings("forged.db") };
    // The first key's thief writes a log of their own, and has it end with the newest key's name.
    let store = Store::open(settings, Arc::clone(&log.signers[0]), clock).await.unwrap();
    store.append((5000..5100).map(entry).collect()).await.unwrap();
    store.append(vec![rotation(5100, &log.signers[0], &log.signers[2])]).await.unwrap();
    store.close().await;
    assert!(log.is_sound("forged.db", &[0]).await);
    for keys in [&[2][..], &[2, 0], &[0, 2]] {
        let report = log.find("forged.db", keys, &[], None).await;
        let says = format!("the keys: nothing of this log is signed by the key {}", log.key(2).id());
        assert_eq!(report.problems, [says], "{keys:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_brings_in_a_key_of_their_own() {
    let log = Rotated::make().await;
    let (last, own) = (Arc::clone(&log.signers[2]), signer());
    let size = end(2);
    let forged = |old: &Signer, kind: &str| {
        let text = rotation(size, old, &own).replace("key_rotated", kind);
        let leaf = hex(&leaf_hash(text.as_bytes()).0);
        format!(
            "INSERT INTO entries (seq, leaf, entry) VALUES ({size}, {leaf}, '{text}');
             UPDATE head SET edge = CAST(edge || {leaf} AS BLOB)"
        )
    };
    // An entry that names it, and all behind it signed by it; also with a checkpoint where the last key's should be.
    for with_checkpoint in [false, true] {
        let copy = log.copy("log.db");
        tamper(&log.path(copy), &forged(&last, "key_rotated")).await;
        if with_checkpoint {
            log.add_checkpoint(copy, size + 1, &own).await;
        }
        log.forge_head(copy, &own).await;
        for keys in [0, 1, 2] {
            let report = log.find(copy, &[keys], &[], None).await;
            let says = format!(
                "no checkpoint of the key that was replaced there is over the first {} entries",
                size + 1
            );
            assert!(report.problems.contains(&says), "{with_checkpoint} {keys}: {report:?}");
        }
    }
    // An entry that names a key which was not in use, names an old one again, or names none.
    for text in [forged(&log.signers[1], "key_rotated"), forged(&signer(), "key_rotated")] {
        let copy = log.copy("log.db");
        tamper(&log.path(copy), &text).await;
        log.forge_head(copy, &last).await;
        let report = log.find(copy, &[2], &[], None).await;
        let says = "it replaces a key that was not in use";
        assert!(report.problems.iter().any(|line| line.contains(says)), "{report:?}");
    }
}

/// Hides an entry from an index, under the definition of one that has all.
async fn hide(path: &Path, seq: u64) {
    let known = "SELECT sql FROM sqlite_schema WHERE name = 'entries_kind'";
    let mut connection = connect(path).await;
    let sql: String = sqlx::query_scalar(known).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    for (sql, then) in [(format!("{sql} AND seq <> {seq}"), "REINDEX entries_kind"), (sql, "SELECT 1")] {
        let mut connection = connect(path).await;
        let change = "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = ";
        let change = format!("{change}'{}' WHERE name = 'entries_kind'", sql.replace('\'', "''"));
        sqlx::raw_sql(AssertSqlSafe(change)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let mut connection = connect(path).await;
        sqlx::raw_sql(then).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_key_that_the_index_hides_is_found() {
    let log = Rotated::make().await;
    for hidden in [0, 1] {
        let copy = log.path(log.copy("log.db"));
        hide(&copy, end(hidden)).await;
        for key in 0..3 {
            let evidence = Evidence { entries_only: true, ..Evidence::of(log.key(key)) };
            let report = verified(&copy, &evidence).await;
            assert!(!report.is_sound(), "{hidden} {key}");
            let bad = report.first_bad.unwrap();
            assert!(bad.seq == end(hidden) && bad.what.contains("its index has another one"), "{bad:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_was_changed_is_found_in_the_time_of_each_key() {
    let log = Rotated::make().await;
    for seq in [10, end(0), end(0) + 10, end(1), end(1) + 10] {
        let copy = log.copy("log.db");
        tamper(
            &log.path(copy),
            &format!("UPDATE entries SET entry = replace(entry, '2026', '2025') WHERE seq = {seq}"),
        )
        .await;
        for key in 0..3 {
            let report = log.find(copy, &[key], &[], None).await;
            assert_eq!(report.first_bad.unwrap().seq, seq, "{key}");
        }
    }
    let reader = Reader::open(&log.path("copy.db")).await.unwrap();
    assert!(prove(&reader, &log.key(2), end(1) + 10, None).await.is_err());
    reader.close().await;
    let mut proof = log.proof.clone().unwrap();
    proof.entry = proof.entry.replace("s5", "s6");
    assert!(proof.verify(&log.key(0)).is_err());
}
