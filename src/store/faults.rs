//! What happens to a real database file: locked, moved away, replaced, on a full or a read-only disk; and what is
//! found when a store is opened.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use super::conformance::{clock, entry, signer};
use super::*;

const LONG: Duration = Duration::from_secs(30);

fn settings(directory: &Path) -> Settings {
    Settings {
        database: directory.join("audit.db").into(),
        checkpoint_files: vec![directory.join("checkpoint.txt")],
        append_timeout: Duration::from_secs(2),
    }
}

async fn open(directory: &Path, signer: &Arc<Signer>) -> Result<Store, OpenError> {
    Store::open(settings(directory), Arc::clone(signer), clock()).await
}

async fn other_process(directory: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(directory.join("audit.db")).connect().await.unwrap()
}

async fn run(connection: &mut SqliteConnection, sql: &'static str) {
    sqlx::raw_sql(sql).execute(connection).await.unwrap();
}

async fn until_writable(store: &Store) {
    let mut health = store.health();
    tokio::time::timeout(LONG, health.wait_for(Health::is_writable)).await.unwrap().unwrap();
}

/// Closes the store, opens it again and looks at the entries.
async fn check_holds(store: Store, directory: &Path, signer: &Arc<Signer>, expected: &[usize]) {
    store.close().await;
    let again = open(directory, signer).await.unwrap();
    again.close().await;
    let reader = Reader::open(&directory.join("audit.db")).await.unwrap();
    let filter = Filter { after: None, ..Filter::default() };
    let mut rows = reader.list(&filter).await.unwrap();
    rows.reverse();
    let texts: Vec<_> = rows.into_iter().map(|row| row.entry).collect();
    assert_eq!(texts, expected.iter().map(|n| entry(*n)).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_database_refuses_and_service_resumes() {
    let (directory, signer) = (tempfile::tempdir().unwrap(), signer());
    let store = open(directory.path(), &signer).await.unwrap();
    let mut other = other_process(directory.path()).await;
    run(&mut other, "BEGIN IMMEDIATE").await;
    assert_eq!(store.append(vec![entry(0)]).await, Err(StoreError::Locked));
    assert_eq!(store.append(vec![entry(1)]).await, Err(StoreError::Locked));
    run(&mut other, "ROLLBACK").await;
    until_writable(&store).await;
    store.append(vec![entry(2)]).await.unwrap();
    other.close().await.unwrap();
    check_holds(store, directory.path(), &signer, &[2]).await;
}

/// Once for each change, however many calls meet it.
#[tokio::test]
async fn the_log_says_why_the_record_cant_be_written_and_when_it_can_again() {
    let (lines, _told) = double::Lines::told();
    let (directory, signer) = (tempfile::tempdir().unwrap(), signer());
    let store = open(directory.path(), &signer).await.unwrap();
    let (path, away) = (directory.path().join("audit.db"), directory.path().join("away.db"));
    std::fs::rename(&path, &away).unwrap();
    for n in 0..9 {
        assert_eq!(store.append(vec![entry(n)]).await, Err(StoreError::Moved));
    }
    std::fs::rename(&away, &path).unwrap();
    until_writable(&store).await;
    store.append(vec![entry(9)]).await.unwrap();
    let (cant, can) = ("the record can't be written", "the record can be written again");
    let all = lines.all();
    let told: Vec<&String> = all.iter().filter(|line| line.contains(cant) || line.contains(can)).collect();
    let [why, again] = told.as_slice() else { panic!("{all:#?}") };
    for what in ["ERROR", cant, "audit.fault=\"moved\"", StoreError::Moved.why()] {
        assert!(why.contains(what), "{why}");
    }
    assert!(again.contains("INFO") && again.contains(can), "{again}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_moved_away_refuses_and_service_resumes_when_it_is_back() {
    let (directory, signer) = (tempfile::tempdir().unwrap(), signer());
    let store = open(directory.path(), &signer).await.unwrap();
    store.append(vec![entry(0)]).await.unwrap();
    let (path, away) = (directory.path().join("audit.db"), directory.path().join("away.db"));
    std::fs::rename(&path, &away).unwrap();
    assert_eq!(store.append(vec![entry(1)]).await, Err(StoreError::Moved));
    // Another file in its place is not taken for it, and what lies in the WAL is not written into that.
    std::fs::write(&path, b"").unwrap();
    tokio::time::sleep(2 * writer::PROBE_EVERY).await;
    assert_eq!(store.append(vec![entry(2)]).await, Err(StoreError::Moved));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    std::fs::rename(&away, &path).unwrap();
    until_writable(&store).await;
    store.append(vec![entry(3)]).await.unwrap();
    check_holds(store, directory.path(), &signer, &[0, 3]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_somebody_else_wrote_to_is_not_written_to_again() {
    let (directory, signer) = (tempfile::tempdir().unwrap(), signer());
    let store = open(directory.path(), &signer).await.unwrap();
    store.append(vec![entry(0)]).await.unwrap();
    let mut other = other_process(directory.path()).await;
    run(&mut other, "UPDATE head SET note = note || ' '").await;
    assert_eq!(store.append(vec![entry(1)]).await, Err(StoreError::Foreign));
    run(&mut other, "UPDATE head SET note = rtrim(note, ' ')").await;
    until_writable(&store).await;
    let mut added = entry(7);
    added.insert_str(0, "INSERT INTO entries (seq, leaf, entry) VALUES (1, zeroblob(32), '");
    added.push_str("')");
    sqlx::raw_sql(sqlx::AssertSqlSafe(added)).execute(&mut other).await.unwrap();
    assert_eq!(store.append(vec![entry(2)]).await, Err(StoreError::Foreign));
    store.close().await;
    let error = open(directory.path(), &signer).await.unwrap_err();
    assert!(matches!(error, OpenError::Disagrees(Damage::Size { head: 1, stored: 2 })), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_went_on_elsewhere_under_the_same_key_is_not_written_to() {
    let (directory, elsewhere, signer) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), signer());
    let database = |folder: &tempfile::TempDir| folder.path().join("audit.db");
    let store = open(directory.path(), &signer).await.unwrap();
    store.append(vec![entry(0)]).await.unwrap();
    store.close().await;
    std::fs::copy(database(&directory), database(&elsewhere)).unwrap();
    let there = open(elsewhere.path(), &signer).await.unwrap();
    there.append(vec![entry(7)]).await.unwrap();
    there.close().await;
    let store = open(directory.path(), &signer).await.unwrap();
    let mut other = other_process(directory.path()).await;
    let attach = format!("ATTACH '{}' AS there", database(&elsewhere).display());
    sqlx::raw_sql(sqlx::AssertSqlSafe(attach)).execute(&mut other).await.unwrap();
    let take_over = "BEGIN IMMEDIATE;
        INSERT INTO main.entries (seq, leaf, entry) SELECT seq, leaf, entry FROM there.entries WHERE seq = 1;
        INSERT INTO main.checkpoints SELECT * FROM there.checkpoints
            WHERE size NOT IN (SELECT size FROM main.checkpoints);
        UPDATE main.head SET (note, edge) = (SELECT note, edge FROM there.head);
        COMMIT";
    run(&mut other, take_over).await;
    assert_eq!(store.append(vec![entry(1)]).await, Err(StoreError::Foreign));
    // All of it is sound and signed, and is not what this store has written: it stays closed.
    tokio::time::sleep(3 * writer::PROBE_EVERY).await;
    assert_eq!(store.append(vec![entry(2)]).await, Err(StoreError::Foreign));
    other.close().await.unwrap();
    check_holds(store, directory.path(), &signer, &[0, 7]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tables_guard_themselves() {
    let (directory, signer) = (tempfile::tempdir().unwrap(), signer());
    let store = open(directory.path(), &signer).await.unwrap();
    store.append((0..300).map(entry).collect()).await.unwrap();
    store.close().await;
    let mut other = other_process(directory.path()).await;
    for sql in [
        "UPDATE entries SET entry = '{}'",
        "DELETE FROM entries",
        "UPDATE tiles SET n = 1",
        "DELETE FROM tiles",
        "UPDATE checkpoints SET size = 1",
        "DELETE FROM checkpoints",
        "DELETE FROM head",
        "INSERT INTO entries (seq, leaf, entry) SELECT 301, leaf, entry FROM entries WHERE seq = 0",
        "INSERT INTO entries (seq, leaf, entry) SELECT 300, leaf, entry FROM entries WHERE seq = 0",
        "INSERT INTO entries (seq, leaf, entry) SELECT 300, zeroblob(31), '{}'",
        "INSERT OR REPLACE INTO entries (seq, leaf, entry) SELECT 0, leaf, entry FROM entries WHERE seq = 0",
    ] {
        assert!(sqlx::raw_sql(sql).execute(&mut other).await.is_err(), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_never_write_one_log() {
    let (directory, signer) = (tempfile::tempdir().unwrap(), signer());
    let store = open(directory.path(), &signer).await.unwrap();
    assert!(matches!(open(directory.path(), &signer).await, Err(OpenError::InUse(_))));
    store.close().await;
    open(directory.path(), &signer).await.unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_database_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let (directory, signer) = (tempfile::tempdir().unwrap(), signer());
    let store = open(directory.path(), &signer).await.unwrap();
    for file in ["audit.db", "audit.db-wal", "audit.db-shm", "audit.db.lock"] {
        let mode = std::fs::metadata(directory.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    store.close().await;
}

/// Damages a closed log in one way and checks what opening it says.
#[track_caller]
fn check_refused(error: Result<Store, OpenError>, says: &str) {
    let error = error.unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_does_not_agree_with_itself_is_not_opened() {
    for (sql, says) in [
        ("UPDATE entries SET entry = replace(entry, '\"n\":299', '\"n\":298') WHERE seq = 299", "entry 299"),
        ("UPDATE entries SET leaf = zeroblob(32) WHERE seq = 260", "entry 260"),
        ("DELETE FROM entries WHERE seq = 299", "covers 300 entries but 299"),
        ("UPDATE tiles SET root = zeroblob(32)", "signed root"),
        ("UPDATE head SET edge = zeroblob(44 * 32)", "signed root"),
        ("UPDATE head SET note = replace(note, '300', '301')", "not signed by this key"),
        ("DELETE FROM head", "head is missing"),
        ("DELETE FROM checkpoints", "knows 1 checkpoints but 0"),
        ("DROP VIEW changes", "view changes is missing"),
    ] {
        let (directory, signer) = (tempfile::tempdir().unwrap(), signer());
        let store = open(directory.path(), &signer).await.unwrap();
        store.append((0..300).map(entry).collect()).await.unwrap();
        store.close().await;
        let mut other = other_process(directory.path()).await;
        without_triggers(&mut other, sql).await;
        other.close().await.unwrap();
        check_refused(open(directory.path(), &signer).await, says);
    }
}

/// Runs SQL as somebody would who knows of the triggers: takes them away, and puts them back.
async fn without_triggers(connection: &mut SqliteConnection, sql: &'static str) {
    use sqlx::Row as _;
    let triggers = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'";
    let rows = sqlx::query(triggers).fetch_all(&mut *connection).await.unwrap();
    let mut script = String::from("PRAGMA ignore_check_constraints = ON;");
    rows.iter().for_each(|row| script += &format!("DROP TRIGGER {};", row.get::<String, _>(0)));
    script += &format!("{sql};");
    rows.iter().for_each(|row| script += &format!("{};", row.get::<String, _>(1)));
    sqlx::raw_sql(sqlx::AssertSqlSafe(script)).execute(connection).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_file_that_knows_more_or_otherwise_is_not_overwritten() {
    let (directory, ours) = (tempfile::tempdir().unwrap(), signer());
    let (path, file) = (directory.path().join("audit.db"), directory.path().join("checkpoint.txt"));
    for size in [1, 256, 300, 700] {
        let store = open(directory.path(), &ours).await.unwrap();
        let stored = store.health();
        drop(stored);
        let reader = Reader::open(&path).await.unwrap();
        let have = reader.find(&Filter::default()).await.unwrap().len();
        reader.close().await;
        store.append((have..size).map(entry).collect()).await.unwrap();
        store.close().await;
        std::fs::copy(&file, directory.path().join(format!("{size}.txt"))).unwrap();
    }
    // Any earlier checkpoint of this log is fine.
    for size in [1, 256, 300, 700] {
        std::fs::copy(directory.path().join(format!("{size}.txt")), &file).unwrap();
        open(directory.path(), &ours).await.unwrap().close().await;
    }
    let keep = std::fs::read(&file).unwrap();
    for (entries, says) in [(100usize..200, "proves 700 entries but 100"), (100..900, "proves other entries")]
    {
        for file in ["audit.db", "audit.db-wal", "audit.db-shm"] {
            let _ = std::fs::remove_file(directory.path().join(file));
        }
        let no_file = Settings { checkpoint_files: Vec::new(), ..settings(directory.path()) };
        let store = Store::open(no_file, Arc::clone(&ours), clock()).await.unwrap();
        store.append(entries.map(entry).collect()).await.unwrap();
        store.close().await;
        check_refused(open(directory.path(), &ours).await, says);
        assert_eq!(std::fs::read(&file).unwrap(), keep);
    }
    std::fs::write(&file, "something of value").unwrap();
    check_refused(open(directory.path(), &ours).await, "no checkpoint of this log");
    std::fs::write(&file, "").unwrap();
    open(directory.path(), &ours).await.unwrap().close().await;
    check_refused(open(directory.path(), &signer()).await, "not signed by this key");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_checkpoint_file_knows_more_keeps_the_store_closed() {
    let (directory, ours) = (tempfile::tempdir().unwrap(), signer());
    let path = |name: &str| directory.path().join(name);
    let settings =
        || Settings { checkpoint_files: ["a.txt", "b.txt"].map(path).to_vec(), ..settings(directory.path()) };
    let store = Store::open(settings(), Arc::clone(&ours), clock()).await.unwrap();
    store.append(vec![entry(0), entry(1)]).await.unwrap();
    store.close().await;
    for file in ["audit.db", "audit.db-wal", "audit.db-shm"] {
        let _ = std::fs::remove_file(path(file));
    }
    for (keep, gone) in [("a.txt", "b.txt"), ("b.txt", "a.txt")] {
        std::fs::copy(path(keep), path("kept")).unwrap();
        let _ = std::fs::remove_file(path(gone));
        check_refused(Store::open(settings(), Arc::clone(&ours), clock()).await, "proves 2 entries but 0");
        assert_eq!(std::fs::read(path(keep)).unwrap(), std::fs::read(path("kept")).unwrap());
        assert!(!path(gone).exists());
        std::fs::copy(path("kept"), path(gone)).unwrap();
    }
}

/// A file system of its own in memory; `None` where this process may not mount one, which fails where all is to be tried.
struct Disk(tempfile::TempDir);

impl Disk {
    fn small() -> Option<Self> {
        let at = tempfile::tempdir().unwrap();
        let mounted = mount(&["-t", "tmpfs", "-o", "size=2m", "tmpfs"], at.path());
        let all = std::env::var_os("CI").is_some();
        assert!(mounted || !all, "not tried, and CI is set: no leave to mount a file system");
        mounted.then_some(Self(at))
    }

    fn remount(&self, options: &str) {
        assert!(mount(&["-o", &format!("remount,{options}")], self.0.path()));
    }

    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn mount(arguments: &[&str], at: &Path) -> bool {
    let status = Command::new("mount").args(arguments).arg(at).stderr(std::process::Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_service_resumes_when_there_is_room() {
    let Some(disk) = Disk::small() else { return };
    let signer = signer();
    let store = open(&disk.path(), &signer).await.unwrap();
    let padding = "x".repeat(100_000);
    let big = |n: usize| entry(n).replace("\"n\"", &format!("\"padding\":\"{padding}\",\"n\""));
    let mut stored = vec![];
    let fault = loop {
        match store.append(vec![big(stored.len())]).await {
            Ok(()) => stored.push(stored.len()),
            Err(fault) => break fault,
        }
        assert!(stored.len() < 40, "2 MiB don't hold 4");
    };
    assert_eq!(fault, StoreError::Full);
    assert_eq!(store.append(vec![entry(900)]).await, Err(StoreError::Full));
    disk.remount("size=16m");
    until_writable(&store).await;
    store.append(vec![big(stored.len())]).await.unwrap();
    stored.push(stored.len());
    store.close().await;
    open(&disk.path(), &signer).await.unwrap().close().await;
    let reader = Reader::open(&disk.path().join("audit.db")).await.unwrap();
    let mut rows = reader.list(&Filter::default()).await.unwrap();
    rows.reverse();
    reader.close().await;
    assert_eq!(rows.len(), stored.len());
    assert!(rows.into_iter().zip(stored).all(|(row, n)| row.entry == big(n)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_before_the_first_append_refuses_too() {
    let Some(disk) = Disk::small() else { return };
    let signer = signer();
    let store = open(&disk.path(), &signer).await.unwrap();
    let fill = disk.path().join("fill");
    let _ = std::fs::write(&fill, vec![0u8; 4 << 20]);
    assert!(store.append((0..100).map(entry).collect()).await.is_err());
    assert!(!store.health().borrow().is_writable());
    std::fs::remove_file(&fill).unwrap();
    until_writable(&store).await;
    store.append(vec![entry(200)]).await.unwrap();
    check_holds(store, &disk.path(), &signer, &[200]).await;
}
