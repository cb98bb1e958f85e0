//! A record that can't be written: full, locked, moved, replaced or read-only. Nothing happens meanwhile, and
//! service resumes by itself.
//!
//! Some of it needs a file system of its own, or a file that nobody may change, which takes the rights of root.
//! Without them these tests say that they were skipped; where `CI` is set they fail. Not here: every fault at every
//! step of an append (`store::faults`).

mod owed;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use http::Method;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tunnelwarden::operation::Operation;

use crate::harness::{PATIENCE, Wishes, World, tunnel_body};

/// The error code that names the record.
const AUDIT_UNAVAILABLE: i64 = 99500;

fn wishes(database: Option<PathBuf>) -> Wishes {
    let config = vec![("audit.append_timeout", "\"500ms\"".to_owned())];
    Wishes { database: database.map(Into::into), config, unlimited: true, ..Wishes::default() }
}

/// Calls that change something, as the upstream saw them.
fn writes(world: &World) -> usize {
    let calls = world.emulator.calls();
    calls.iter().filter(|call| call.operation.is_some_and(Operation::is_write)).count()
}

async fn create(world: &World, n: u8) -> crate::harness::Answer {
    world.call("operator", Method::POST, "", Some(&tunnel_body(&format!("t{n}"), n))).await
}

/// Holds the write lock until it is dropped.
pub(crate) struct Held(SqliteConnection);

impl Held {
    pub(crate) async fn take(database: &Path) -> Self {
        let options = SqliteConnectOptions::new().filename(database).busy_timeout(PATIENCE);
        let mut connection = options.connect().await.unwrap();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
        Self(connection)
    }

    pub(crate) async fn release(mut self) {
        sqlx::query("ROLLBACK").execute(&mut self.0).await.unwrap();
        self.0.close().await.unwrap();
    }
}

/// What must hold while the store does not work: `why` stands in every answer.
async fn check_refused(world: &World, why: &str) {
    // What was under way may still have been taken; from the first refusal on nothing is.
    let until = tokio::time::Instant::now() + PATIENCE;
    let mut n = 100;
    while create(world, n).await.status == 200 {
        assert!(tokio::time::Instant::now() < until, "the store takes it all the same");
        n += 1;
    }
    let sent = world.emulator.calls().len();
    let token = world.token("admin");
    let body = tunnel_body("refused", 99);
    let calls: [(Method, &str, Option<&str>); 3] =
        [(Method::POST, "", Some(&body)), (Method::GET, "", None), (Method::POST, "/0f/psk_generate", None)];
    for (method, path, body) in calls {
        let answer = world.try_call(&token, method.clone(), path, body, &[]).await.unwrap();
        let told = format!("{method} {path}: {}", answer.text());
        assert_eq!((answer.status, answer.error_code()), (503, AUDIT_UNAVAILABLE), "{told}");
        assert!(answer.text_at("/errors/0/message").contains(why), "{told}");
        assert_eq!(answer.header("x-should-retry"), "true", "{told}");
        assert!(
            !answer.header("retry-after").is_empty() && !answer.header("x-request-id").is_empty(),
            "{told}"
        );
    }
    let anonymous = world.try_call("no-token", Method::GET, "", None, &[]).await.unwrap();
    assert_eq!(anonymous.status, 503, "{}", anonymous.text());
    assert_eq!(world.emulator.calls().len(), sent, "nothing reaches the upstream, and no read either");
    let ready = world.admin("/readyz").await;
    assert_eq!(ready.status, 503, "{}", ready.text());
    assert!(ready.text_at("/problems/0").contains(why), "{}", ready.text());
    assert_eq!(world.admin("/livez").await.status, 200);
    let metrics = world.admin("/metrics").await.text();
    assert!(metrics.contains("\ntunnelwarden_audit_writable 0\n"), "{metrics}");
}

/// Service resumes without a restart, and the record tells of what was done since.
async fn check_resumes(world: &World, n: u8) {
    let until = tokio::time::Instant::now() + PATIENCE;
    while world.admin("/readyz").await.status != 200 {
        assert!(tokio::time::Instant::now() < until, "never ready again:\n{}", world.stderr());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let made = create(world, n).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let kinds: Vec<String> = world
        .entries_of(&made.header("x-request-id"))
        .await
        .iter()
        .map(|entry| entry.text("/kind"))
        .collect();
    assert_eq!(kinds, ["intent", "outcome"]);
}

#[tokio::test]
async fn while_another_holds_the_lock_nothing_happens() {
    let world = World::with(wishes(None)).await;
    assert_eq!(create(&world, 1).await.status, 200);
    let held = Held::take(world.database()).await;
    check_refused(&world, "another process holds the audit database's lock").await;
    held.release().await;
    check_resumes(&world, 200).await;
}

#[tokio::test]
async fn a_read_that_is_the_first_to_find_the_record_broken_has_no_answer() {
    let world = World::with(wishes(None)).await;
    let token = world.token("operator");
    assert_eq!(world.try_call(&token, Method::GET, "", None, &[]).await.unwrap().status, 200);
    let before = world.emulator.calls().len();
    let held = Held::take(world.database()).await;
    let answer = world.try_call(&token, Method::GET, "", None, &[]).await.unwrap();
    assert_eq!((answer.status, answer.error_code()), (503, AUDIT_UNAVAILABLE), "{}", answer.text());
    assert_eq!(world.emulator.calls().len(), before + 1, "it was asked upstream, as nobody knew yet");
    held.release().await;
    check_resumes(&world, 200).await;
}

#[tokio::test]
async fn a_file_that_is_gone_or_replaced_takes_no_calls_until_it_is_back() {
    let world = World::with(wishes(None)).await;
    assert_eq!(create(&world, 1).await.status, 200);
    let (here, away) = (world.database().to_owned(), world.dir.path().join("away.db"));
    std::fs::rename(&here, &away).unwrap();
    check_refused(&world, "the audit database's file was moved or replaced").await;
    std::fs::rename(&away, &here).unwrap();
    check_resumes(&world, 200).await;

    std::fs::rename(&here, &away).unwrap();
    std::fs::copy(&away, &here).unwrap();
    check_refused(&world, "the audit database's file was moved or replaced").await;
    std::fs::rename(&away, &here).unwrap();
    check_resumes(&world, 201).await;
}

/// A small file system of its own, gone with this.
struct Mount(tempfile::TempDir);

impl Mount {
    /// `None` where nobody may mount one.
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let mounted = run("mount", &["-t", "tmpfs", "-o", "size=4m", "tunnelwarden-test", path]);
        if !mounted {
            skipped("no leave to mount a file system");
        }
        mounted.then_some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn remount(&self, how: &str) -> bool {
        run("mount", &["-o", &format!("remount,{how}"), self.path().to_str().unwrap()])
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a process of a failed test may still have files open there.
        run("umount", &["-l", self.path().to_str().unwrap()]);
    }
}

/// Says that a test could not be made. Where all of them are to be made that is a failure.
fn skipped(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "not tried, and CI is set: {why}");
    eprintln!("SKIPPED: {why}, so this was not tried");
}

/// Files that nobody may change, not even those who have them open for writing, until this is dropped.
struct Sealed(Vec<PathBuf>);

impl Sealed {
    /// `None` where they can't be sealed: it takes the rights of root, and a file system that knows of it.
    fn new(paths: Vec<PathBuf>) -> Option<Self> {
        let sealed = Self(paths);
        let all = sealed.0.iter().all(|path| run("chattr", &["+i", path.to_str().unwrap()]));
        all.then_some(sealed)
    }

    /// A folder on whose file system sealing holds.
    fn folder() -> Option<tempfile::TempDir> {
        use std::io::Write as _;
        // Beside what is built, because the folder for temporary files may be one in memory.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = dir.path().join("tried");
        let mut open = std::fs::File::create(&path).unwrap();
        let holds = Self::new(vec![path]).is_some_and(|_sealed| open.write_all(b"x").is_err());
        if !holds {
            skipped("no leave to seal a file, or a file system on which that does not hold");
        }
        holds.then_some(dir)
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        for path in &self.0 {
            run("chattr", &["-i", path.to_str().unwrap()]);
        }
    }
}

fn run(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
}

/// Takes all the room that is left.
fn fill(path: &Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path).unwrap();
    for size in [64 << 10, 4 << 10, 1] {
        let chunk = vec![b'x'; size];
        while file.write_all(&chunk).is_ok() {}
    }
}

#[tokio::test]
async fn on_a_full_disk_nothing_happens_until_there_is_room_again() {
    let Some(mount) = Mount::new() else { return };
    let world = World::with(wishes(Some(mount.path().join("audit.db")))).await;
    assert_eq!(create(&world, 1).await.status, 200);
    let ballast = mount.path().join("ballast");
    fill(&ballast);
    check_refused(&world, "the audit database's disk is full").await;
    std::fs::remove_file(&ballast).unwrap();
    check_resumes(&world, 200).await;
}

#[tokio::test]
async fn a_read_only_record_is_told_at_the_start() {
    let Some(mount) = Mount::new() else { return };
    let mut world = World::prepared(wishes(Some(mount.path().join("audit.db")))).await;
    world.launch().await;
    assert_eq!(create(&world, 1).await.status, 200);
    world.stop().await;
    assert!(mount.remount("ro"));
    let refused = world.program(&["serve", "--config", &world.config()]);
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(told.contains("audit.db") && told.to_lowercase().contains("read-only"), "{told}");
    assert!(mount.remount("rw"));
    world.launch().await;
    check_resumes(&world, 200).await;
}

#[tokio::test]
async fn a_running_proxy_that_may_not_write_any_more_does_nothing_until_it_may_again() {
    let Some(folder) = Sealed::folder() else { return };
    let database = folder.path().join("audit.db");
    let world = World::with(wishes(Some(database.clone()))).await;
    assert_eq!(create(&world, 1).await.status, 200);
    let wal = folder.path().join("audit.db-wal");
    let sealed = Sealed::new(vec![database, wal]).unwrap();
    // What is under way meets an error of the disk; whoever opens the file anew finds that it is read-only.
    let until = tokio::time::Instant::now() + PATIENCE;
    let mut n = 10;
    while !world.admin("/readyz").await.text().contains("read-only") {
        assert!(tokio::time::Instant::now() < until, "it is never noticed:\n{}", world.stderr());
        let answer = create(&world, n).await;
        assert_eq!((answer.status, answer.error_code()), (503, AUDIT_UNAVAILABLE), "{}", answer.text());
        n = n.wrapping_add(1).max(10);
    }
    assert_eq!(writes(&world), 1, "nothing was sent from the first moment on");
    check_refused(&world, "the audit database is read-only").await;
    drop(sealed);
    check_resumes(&world, 200).await;
}
