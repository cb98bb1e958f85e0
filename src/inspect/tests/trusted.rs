//! Checkpoints that an auditor kept: several of them, and one to begin at.

use super::*;
use crate::seal::{Checkpoint, Hash};

/// A closed log whose signing key is at hand, as whoever stole it has it.
struct Signed {
    directory: tempfile::TempDir,
    signer: Arc<Signer>,
}

impl Signed {
    async fn make() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = generate_key("tunnelwarden/test").unwrap().0;
        let signer = Arc::new(Signer::new(key.expose_secret()).unwrap());
        let settings = Settings {
            database: directory.path().join("log.db").into(),
            checkpoint_files: Vec::new(),
            append_timeout: Duration::from_secs(10),
        };
        let clock = ManualClock::at(jiff::Timestamp::from_second(1_790_000_000).unwrap());
        let store = Store::open(settings, Arc::clone(&signer), clock).await.unwrap();
        store.append((0..700).map(entry).collect()).await.unwrap();
        store.close().await;
        Self { directory, signer }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("log.db")
    }

    /// A checkpoint over the first entries, as an auditor has it.
    fn over(&self, size: u64) -> Kept {
        let mut tree = crate::seal::Tree::new();
        (0..size).for_each(|n| drop(tree.push(leaf_hash(entry(n).as_bytes()))));
        self.sign(size, tree.root())
    }

    fn sign(&self, size: u64, root: Hash) -> Kept {
        let note = Checkpoint { size, root, chain: None }.sign(&self.signer).unwrap();
        kept(&format!("the file of {size}"), note.as_bytes())
    }

    async fn verify(&self, checkpoints: Vec<Kept>, from: Option<Kept>) -> Report {
        let entries_only = from.is_some();
        self.find(checkpoints, from, entries_only).await
    }

    async fn find(&self, checkpoints: Vec<Kept>, from: Option<Kept>, entries_only: bool) -> Report {
        let key = self.signer.verifier().unwrap();
        verified(&self.path(), &Evidence { checkpoints, entries_only, from, ..Evidence::of(key) }).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_several_checkpoints_must_be_of_the_log() {
    let log = Signed::make().await;
    let good = [1, 255, 256, 300, 700].map(|size| log.over(size)).to_vec();
    assert!(log.verify(good.clone(), None).await.is_sound());

    let other = Hash([7; 32]);
    let with = |one: Kept| good.iter().cloned().chain([one]).collect::<Vec<_>>();
    for (one, says) in [
        (log.sign(400, other), "the file of 400: the log's first 400 hashes"),
        (
            Kept { name: "another".to_owned(), ..log.sign(300, other) },
            "another and the file of 300: they prove",
        ),
        (kept("a letter", b"dear auditor"), "a letter: not a signed checkpoint"),
    ] {
        let report = log.verify(with(one), None).await;
        assert!(report.problems.iter().any(|line| line.starts_with(says)), "{says}: {report:?}");
    }
    let more = log.verify(with(log.sign(900, other)), None).await;
    let bad = more.first_bad.unwrap();
    assert_eq!(bad.seq, 700);
    assert!(bad.what.contains("the file of 900 proves 900 entries"), "{}", bad.what);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_verified_checkpoint_covers_is_not_read_again_and_all_else_is() {
    for from in [1u64, 255, 256, 300, 512, 700] {
        let log = Signed::make().await;
        let report = log.verify(Vec::new(), Some(log.over(from))).await;
        assert!(report.is_sound(), "{from}: {report:?}");
        assert_eq!((report.good, report.not_read, report.covered), (700, from, from));

        // Behind it nothing passes; before it the hash tells, and only that.
        for (n, named) in [(from, from < 700), (from - 1, false)] {
            let sql = format!(
                "UPDATE entries SET entry = replace(entry, '\"s{n}\"', '\"forged\"') WHERE seq = {n}"
            );
            tamper(&log.path(), &sql).await;
            let report = log.verify(Vec::new(), Some(log.over(from))).await;
            assert_eq!(
                report.first_bad.as_ref().map(|bad| bad.seq),
                named.then_some(n),
                "{from}: {report:?}"
            );
            assert_eq!(log.verify(Vec::new(), None).await.is_sound(), n == 700, "{from}");
            let back = format!(
                "UPDATE entries SET entry = replace(entry, '\"forged\"', '\"s{n}\"') WHERE seq = {n}"
            );
            tamper(&log.path(), &back).await;
        }
        let hash = hex(&[7; 32]);
        tamper(&log.path(), &format!("UPDATE entries SET leaf = {hash} WHERE seq = {}", from - 1)).await;
        // Within a full tile the tile stands for its entries.
        let report = log.verify(Vec::new(), Some(log.over(from))).await;
        assert_eq!(report.is_sound(), from % 256 == 0, "{from}: {report:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_the_stored_hashes_do_not_make_is_no_begin() {
    let log = Signed::make().await;
    let from = log.sign(300, Hash([7; 32]));
    let report = log.verify(Vec::new(), Some(from)).await;
    assert!(!report.is_sound());
    assert_eq!(report.not_read, 0);
    let from = log.sign(900, Hash([7; 32]));
    assert_eq!(log.verify(Vec::new(), Some(from)).await.first_bad.unwrap().seq, 700);
}

/// An index that leaves out most entries, under the definition of one that has all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_lies_is_found_unless_indexes_are_left_out() {
    let log = Signed::make().await;
    let known = "SELECT sql FROM sqlite_schema WHERE name = 'entries_subject'";
    let mut connection = connect(&log.path()).await;
    let sql: String = sqlx::query_scalar(known).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    for (sql, then) in [(format!("{sql} AND seq < 10"), "REINDEX entries_subject"), (sql, "SELECT 1")] {
        let mut connection = connect(&log.path()).await;
        let change = "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = ";
        let change = format!("{change}'{}' WHERE name = 'entries_subject'", sql.replace('\'', "''"));
        sqlx::raw_sql(AssertSqlSafe(change)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let mut connection = connect(&log.path()).await;
        sqlx::raw_sql(then).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
    let report = log.find(Vec::new(), None, false).await;
    assert!(report.indexes_checked && report.first_bad.is_none());
    let told =
        |line: &String| line.starts_with("the database's own check") && line.contains("entries_subject");
    assert!(report.problems.iter().any(told), "{report:?}");
    let report = log.find(Vec::new(), None, true).await;
    assert!(report.is_sound() && !report.indexes_checked, "{report:?}");
}
