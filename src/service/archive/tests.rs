//! A record before, within and after an archive: what verifies, what is found, and what is gone.

use std::ops::Range;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};

use super::*;
use crate::clock::ManualClock;
use crate::inspect::{self, Evidence, Kept, ProveError, Report};
use crate::seal::{Signer, generate_key, leaf_hash};
use crate::secret::ExposeSecret as _;

mod attacks;

/// Two full tiles and an unfinished one.
const ENTRIES: u64 = 700;

/// Texts of bodies begin with this.
const BODY: &str = "A TEXT OF BODY";

struct Bench {
    directory: tempfile::TempDir,
    signer: Arc<Signer>,
    clock: Arc<ManualClock>,
}

fn begin() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}

/// Entry `n`, a second after the one before it; every third has no body.
fn entry(n: u64) -> String {
    let id = uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(n));
    let time = rfc3339(begin() + Duration::from_secs(n));
    let body = if n.is_multiple_of(3) { String::new() } else { format!(r#","body":{{"a":"{BODY} {n}"}}"#) };
    format!(
        r#"{{"kind":"outcome","id":"{id}","time":"{time}","request_id":"{id}","subject":"s{n}","request":{{"size":1{body}}}}}"#
    )
}

impl Bench {
    async fn make() -> Self {
        let key = generate_key("tunnelwarden/test").unwrap().0;
        let signer = Arc::new(Signer::new(key.expose_secret()).unwrap());
        let bench = Self { directory: tempfile::tempdir().unwrap(), signer, clock: ManualClock::at(begin()) };
        bench.append(0..ENTRIES).await;
        bench
    }

    async fn append(&self, range: Range<u64>) {
        self.store(range.map(entry).collect()).await;
    }

    /// Stores entries, ten between two checkpoints.
    async fn store(&self, entries: Vec<String>) {
        let store = Store::open(self.settings(), Arc::clone(&self.signer), self.clock.clone()).await.unwrap();
        for entry in entries {
            self.clock.advance(Duration::from_millis(100));
            store.append(vec![entry]).await.unwrap();
        }
        store.close().await;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn settings(&self) -> Settings {
        Settings {
            database: self.path("log.db").into(),
            checkpoint_files: vec![self.path("checkpoint.txt")],
            append_timeout: Duration::from_secs(10),
        }
    }

    fn request(&self, before: u64, name: &str) -> ArchiveRequest {
        let operator = Object::from_iter([("uid", Json::from(7))]);
        ArchiveRequest { before: begin() + Duration::from_secs(before), file: self.path(name), operator }
    }

    async fn archive(&self, before: u64, name: &str) -> Result<ArchiveOutcome, String> {
        let request = self.request(before, name);
        archive_with(&self.settings(), Arc::clone(&self.signer), request, self.clock.clone(), &mut |_| {})
            .await
    }

    /// Archives all that can be, into `all.gz`.
    async fn archive_all(&self) -> Range<u64> {
        let proven = self.archive(100_000, "all.gz").await.unwrap().archived.unwrap();
        proven.header.from()..proven.header.to()
    }

    async fn find(&self, database: &str, from: Option<Kept>) -> Report {
        let entries_only = from.is_some();
        let evidence = Evidence { from, entries_only, ..Evidence::of(self.signer.verifier().unwrap()) };
        let reader = Reader::open(&self.path(database)).await.unwrap();
        let report = inspect::verify(&reader, &evidence, &mut |_| {}).await.unwrap();
        reader.close().await;
        report
    }

    async fn texts(&self) -> Vec<String> {
        let mut connection = connect(&self.path("log.db")).await;
        let rows =
            sqlx::query("SELECT entry FROM entries ORDER BY seq").fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// A copy, changed with the guards out of the way.
    async fn tampered(&self, sql: &str) -> &'static str {
        std::fs::copy(self.path("log.db"), self.path("copy.db")).unwrap();
        let mut connection = connect(&self.path("copy.db")).await;
        let triggers = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'";
        let rows = sqlx::query(triggers).fetch_all(&mut connection).await.unwrap();
        let mut script = String::new();
        rows.iter().for_each(|row| script += &format!("DROP TRIGGER {};", row.get::<String, _>(0)));
        script += &format!("{sql};");
        rows.iter().for_each(|row| script += &format!("{};", row.get::<String, _>(1)));
        sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        "copy.db"
    }

    /// Whether a text of a body is anywhere in the files of the database.
    fn has_bodies(&self) -> bool {
        ["log.db", "log.db-wal"].into_iter().any(|name| {
            let bytes = std::fs::read(self.path(name)).unwrap_or_default();
            memchr::memmem::find(&bytes, BODY.as_bytes()).is_some()
        })
    }
}

async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_verified_before_an_archive_verifies_after_it_and_the_bodies_are_gone() {
    let bench = Bench::make().await;
    let key = bench.signer.verifier().unwrap();
    let reader = Reader::open(&bench.path("log.db")).await.unwrap();
    let before = inspect::prove(&reader, &key, 5, None).await.unwrap();
    assert!(bench.has_bodies());
    let range = bench.archive_all().await;
    assert!(range.start == 0 && range.end > 400 && range.end <= 512, "{range:?}");
    bench.append(ENTRIES + 1..ENTRIES + 20).await;

    let report = bench.find("log.db", None).await;
    assert!(report.is_sound(), "{report:?}");
    let [archived] = report.archives.as_slice() else { panic!("{report:?}") };
    assert!(
        archived.checked && archived.entries == range && archived.told.pointer("/operator/uid").is_some()
    );
    before.verify(&key).unwrap();
    // The archive proves itself, and has the texts; the record has what stays of them.
    let proven = read_back(&bench.path("all.gz"), std::slice::from_ref(&key)).unwrap();
    assert_eq!(archived.told.pointer("/file/sha256").and_then(Json::as_str), Some(proven.sha256.as_str()));
    let input = File::open(bench.path("all.gz")).unwrap();
    let mut file = archive::Reader::open(BufReader::new(input), std::slice::from_ref(&key)).unwrap();
    let stored = bench.texts().await;
    while let Some((seq, text)) = file.next_entry().unwrap() {
        assert_eq!(text, entry(seq));
        let stays = &stored[usize::try_from(seq).unwrap()];
        assert_eq!(*stays, archive::stub(text).unwrap());
        assert!(!stays.contains(BODY) && stays.contains(&format!("\"s{seq}\"")));
    }
    for (seq, text) in (0..).zip(&stored).skip(usize::try_from(range.end).unwrap()).take(100) {
        assert_eq!(*text, entry(seq));
    }
    // Entries are proven by the archive's text alone.
    assert!(matches!(inspect::prove(&reader, &key, 5, None).await, Err(ProveError::Archived(5))));
    assert_eq!(inspect::prove(&reader, &key, 5, Some(entry(5))).await.unwrap(), before);
    assert!(inspect::prove(&reader, &key, 5, Some(entry(6))).await.is_err());
    // One without a body is whole.
    assert!(inspect::prove(&reader, &key, 6, None).await.is_ok());
    reader.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_moved_out_is_nowhere_in_the_database() {
    let bench = Bench::make().await;
    let range = bench.archive_all().await;
    // All of it, the unfinished tile as well, once that is full.
    bench.store((0..300).map(|n| entry(12_000 + 3 * n)).collect()).await;
    let next = bench.archive(100_000, "next.gz").await.unwrap().archived.unwrap();
    assert!(next.header.from() == range.end && next.header.to() > ENTRIES);
    assert!(!bench.has_bodies());
    let report = bench.find("log.db", None).await;
    assert!(report.is_sound() && report.archives.len() == 2, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_changed_in_what_stays_is_found() {
    let bench = Bench::make().await;
    let range = bench.archive_all().await;
    let told = ENTRIES;
    let change = |from: &str, to: &str, n: u64| {
        format!("UPDATE entries SET entry = replace(entry, '{from}', '{to}') WHERE seq = {n}")
    };
    let last = range.end - 2;
    for (sql, seq) in [
        // A stub: another subject; a body again; another kind; nothing archived; another entry's.
        (change("s10\"", "s11\"", 10), 0),
        (change("\"size\":1", "\"size\":1,\"body\":1", 10), 10),
        (change("outcome", "refusal", last), 0),
        (change(",\"archived\":{\"parts\":[\"request.body\"]}", "", 10), 10),
        (change("\"outcome\"", "\"key_rotated\"", 10), 10),
        ("UPDATE entries SET entry = replace(replace(entry, 's10\"', 's13\"'), '00000a', '10000a') WHERE seq = 10".to_owned(), 0),
        // Its leaf, with what the tree has.
        (format!("UPDATE entries SET leaf = zeroblob(32) WHERE seq = {last}"), last),
        // A whole entry that has no body among them, and one behind them, made a stub.
        (change("s12\"", "s13\"", 12), 12),
        (format!("UPDATE entries SET entry = '{}' WHERE seq = 599", archive::stub(&entry(599)).unwrap()), 599),
        // The entry that tells of it: where none does, the first that is not whole is named.
        (change("\"from\":0", "\"from\":1", told), 1),
        (change(&format!("\"to\":{}", range.end), "\"to\":9", told), 0),
        (change("\"uid\":7", "\"uid\":8", told), told),
        (change("\"archived\"", "\"heartbeat\"", told), 1),
        (format!("DELETE FROM entries WHERE seq = {told}"), 1),
    ] {
        let copy = bench.tampered(&sql).await;
        let report = bench.find(copy, None).await;
        let bad = report.first_bad.as_ref().unwrap_or_else(|| panic!("{sql}: {report:?}"));
        assert_eq!(bad.seq, seq, "{sql}: {report:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_was_cut_short_verifies_and_is_ended_by_the_next() {
    let bench = Bench::make().await;
    let settings = bench.settings();
    let key = bench.signer.verifier().unwrap();
    let store = Store::open(settings.clone(), Arc::clone(&bench.signer), bench.clock.clone()).await.unwrap();
    let clock: Arc<dyn Clock> = bench.clock.clone();
    let request = bench.request(100_000, "all.gz");
    let written = write(&store, &settings, &key, &request, &clock, &mut |_| {}).await.unwrap();
    store.close().await;
    let archived = written.archived.unwrap().of;
    let range = archived.header.from()..archived.header.to();
    // The entry stands, and no text was replaced; then some.
    assert!(bench.find("log.db", None).await.is_sound());
    assert_eq!(bench.texts().await[..ENTRIES as usize], (0..ENTRIES).map(entry).collect::<Vec<_>>());
    for end in [1, 2, 100, 300] {
        put_stubs(&settings, 0..end, &mut |_| {}).await.unwrap();
        let report = bench.find("log.db", None).await;
        assert!(report.is_sound(), "{end}: {report:?}");
        let copy = bench
            .tampered("UPDATE entries SET entry = replace(entry, 's400\"', 's401\"') WHERE seq = 400")
            .await;
        assert_eq!(bench.find(copy, None).await.first_bad.unwrap().seq, 400);
    }
    assert!(bench.find("log.db", None).await.archives[0].whole > 0);
    // Without its file nothing more goes; with it, only this.
    let told = bench.archive(100_000, "next.gz").await.unwrap_err();
    assert!(told.contains("was cut short") && told.contains("all.gz"), "{told}");
    std::fs::rename(bench.path("all.gz"), bench.path("away.gz")).unwrap();
    assert!(bench.archive(100_000, "all.gz").await.unwrap_err().contains("was cut short"));
    std::fs::write(bench.path("all.gz"), "a letter").unwrap();
    assert!(bench.archive(100_000, "all.gz").await.unwrap_err().contains("was cut short"));
    assert!(bench.has_bodies());
    let outcome = bench.archive(100_000, "away.gz").await.unwrap();
    assert!(outcome.archived.is_none() && outcome.ended == Some(archived));
    let stored = bench.texts().await;
    assert!(stored.iter().take(usize::try_from(range.end).unwrap()).all(|text| !text.contains(BODY)));
    let report = bench.find("log.db", None).await;
    assert!(report.is_sound() && report.archives[0].whole == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verification_that_begins_behind_within_or_before_an_archive_is_as_good() {
    let bench = Bench::make().await;
    let range = bench.archive_all().await;
    let mut tree = crate::seal::Tree::new();
    for n in 0..ENTRIES {
        let _ = tree.push(leaf_hash(entry(n).as_bytes()));
        let size = n + 1;
        if ![1, 255, 256, 300, range.end, range.end + 1, ENTRIES].contains(&size) {
            continue;
        }
        let checkpoint = crate::seal::Checkpoint { size, root: tree.root(), chain: None };
        let note = checkpoint.sign(&bench.signer).unwrap().into_bytes();
        let from = Kept { name: format!("file {size}"), note };
        let report = bench.find("log.db", Some(from.clone())).await;
        // Within it, all of what stays of its entries is read.
        let within = size < range.end;
        let not_read = if within { 0 } else { size };
        assert!(report.is_sound() && report.not_read == not_read, "{size}: {report:?}");
        assert_eq!(report.archives[0].checked, within, "{size}");
        for n in [10, 400, 600] {
            let change =
                format!("UPDATE entries SET entry = replace(entry, 's{n}\"', 'x\"') WHERE seq = {n}");
            let copy = bench.tampered(&change).await;
            let report = bench.find(copy, Some(from.clone())).await;
            assert_eq!(report.is_sound(), n < not_read, "{size} {n}: {report:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_newer_open_or_at_the_end_is_not_archived() {
    let bench = Bench::make().await;
    let outcome = bench.archive(100, "early.gz").await.unwrap();
    let to = outcome.archived.unwrap().header.to();
    assert!(to <= 100 && to > 85 && outcome.held_back.is_none(), "{to}");
    let outcome = bench.archive(100, "again.gz").await.unwrap();
    assert!(outcome.archived.is_none());
    let outcome = bench.archive(100_000, "more.gz").await.unwrap();
    let to = outcome.archived.unwrap().header.to();
    assert!(to <= 512 && outcome.held_back.is_some_and(|why| why.contains("256")), "{to}");
    // An intent without an end.
    let at = ENTRIES + 2 + 20;
    bench.append(1000..1020).await;
    bench.store(vec![entry(2000).replace("outcome", "intent")]).await;
    bench.append(3000..3600).await;
    let outcome = bench.archive(100_000, "open.gz").await.unwrap();
    let to = outcome.archived.unwrap().header.to();
    assert!(
        to <= at && to > at - 12 && outcome.held_back.is_some_and(|why| why.contains("call")),
        "{to} {at}"
    );
    assert!(bench.find("log.db", None).await.is_sound());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_file_cannot_be_or_the_record_is_damaged_nothing_is_moved() {
    let bench = Bench::make().await;
    std::fs::write(bench.path("there.gz"), "a letter").unwrap();
    assert!(bench.archive(100_000, "there.gz").await.unwrap_err().contains("is there already"));
    assert_eq!(std::fs::read(bench.path("there.gz")).unwrap(), b"a letter");
    assert!(bench.archive(100_000, "no/such/folder.gz").await.is_err());
    let store = Store::open(bench.settings(), Arc::clone(&bench.signer), bench.clock.clone()).await.unwrap();
    assert!(bench.archive(100_000, "all.gz").await.unwrap_err().contains("another process writes"));
    store.close().await;
    assert!(bench.texts().await.iter().all(|text| !text.contains("archived")));
    // Changed together with its hashes.
    let forged = entry(10).replace("s10", "forged");
    let leaf = data_encoding::HEXLOWER.encode(&leaf_hash(forged.as_bytes()).0);
    let copy = bench
        .tampered(&format!("UPDATE entries SET entry = '{forged}', leaf = x'{leaf}' WHERE seq = 10"))
        .await;
    std::fs::rename(bench.path(copy), bench.path("log.db")).unwrap();
    let told = bench.archive(100_000, "all.gz").await.unwrap_err();
    assert!(told.contains("is not as it was recorded"), "{told}");
    assert!(!bench.path("all.gz").exists());
    assert_eq!(bench.texts().await.len(), ENTRIES as usize);
    // Changed alone: it is not in the archive as it was recorded either.
    assert!(put_stubs(&bench.settings(), 0..20, &mut |_| {}).await.is_ok());
}
