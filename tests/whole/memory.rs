//! What others get to see of the program's memory: no core file, nothing for a neighbor, and after a call nothing of its keys.
//!
//! Not here: what it writes and prints (`canary`), that its types don't print themselves (`structure`).

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http::Method;
use memchr::memmem;
use tunnelwarden::secret::ExposeSecret as _;

use crate::harness::{PATIENCE, Wishes, World, tunnel_body};

/// Leaves memory open.
const OPEN: (&str, &str) = ("TUNNELWARDEN_ALLOW_DUMPS", "1");

/// Anybody but root.
const NOBODY: u32 = 65534;

/// The user that runs this.
fn own_user() -> u32 {
    fs::metadata("/proc/self").unwrap().uid()
}

/// A folder of an ordinary user's with the program in it: what the kernel keeps from others, root may have.
struct Ordinary {
    folder: tempfile::TempDir,
    user: u32,
}

impl Ordinary {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(env!("CARGO_BIN_EXE_tunnelwarden"), folder.path().join("tunnelwarden")).unwrap();
        let user = if own_user() == 0 { NOBODY } else { own_user() };
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        if own_user() == 0 {
            std::os::unix::fs::chown(folder.path(), Some(user), None).unwrap();
        }
        Self { folder, user }
    }

    /// A command of that user's, in that folder.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).env_clear().env("PATH", "/usr/bin:/bin");
        if own_user() == 0 {
            command.uid(self.user).gid(self.user);
        }
        command
    }

    /// The program, with as large a core file as it may write, once it runs.
    async fn emulator(&self, env: &[(&str, &str)]) -> Running {
        let token = self.folder.path().join("token");
        let _ = fs::remove_file(&token);
        let child = self
            .command("/bin/sh")
            .args(["-c", "ulimit -c \"$(ulimit -H -c)\"; exec ./tunnelwarden \"$@\"", "sh"])
            .args(["emulator", "--address", "127.0.0.1:0", "--token-file", "token"])
            .envs(env.iter().copied())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let until = tokio::time::Instant::now() + PATIENCE;
        while !token.exists() {
            assert!(tokio::time::Instant::now() < until, "it never runs");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Running(child)
    }

    fn cores(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.folder.path()).unwrap().map(|file| file.unwrap().path());
        files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("core")).collect()
    }
}

struct Running(Child);

impl Running {
    fn proc(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.0.id().to_string()).join(name)
    }

    /// Ends it as a fault would.
    fn abort(mut self) -> std::process::ExitStatus {
        assert!(Command::new("kill").args(["-ABRT", &self.0.id().to_string()]).status().unwrap().success());
        self.0.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_neighbor_cannot_read_the_memory_and_a_fault_leaves_no_core_file() {
    let ordinary = Ordinary::new();
    let reads = |running: &Running| {
        let mut cat = ordinary.command("cat");
        cat.arg(running.proc("environ")).stdout(Stdio::null()).stderr(Stdio::null());
        cat.status().unwrap().success()
    };
    let closed = ordinary.emulator(&[]).await;
    assert_eq!(fs::metadata(closed.proc("mem")).unwrap().uid(), 0, "what is not dumpable is root's");
    assert!(!reads(&closed), "another process of the same user reads it");
    let limits = fs::read_to_string(closed.proc("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    let ended = closed.abort();
    assert_eq!((ended.signal(), ended.core_dumped()), (Some(6), false));
    assert_eq!(ordinary.cores(), Vec::<PathBuf>::new());

    // Whoever looks for a fault can have it otherwise; and so this test can fail.
    let open = ordinary.emulator(&[OPEN]).await;
    assert_eq!(fs::metadata(open.proc("mem")).unwrap().uid(), ordinary.user);
    assert!(reads(&open));
    let limits = fs::read_to_string(open.proc("limits")).unwrap();
    let allowed =
        limits.lines().any(|line| line.starts_with("Max core file size") && line.contains("unlimited"));
    let piped = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap().starts_with('|');
    assert!(open.abort().core_dumped() || piped || !allowed);
}

/// Every command does so, also those that read no configuration.
#[test]
fn a_panic_of_any_command_is_told_by_its_place_alone() {
    let ordinary = Ordinary::new();
    // The runtime panics where it gets no thread. It says why, with the error of the system.
    let ended = ordinary
        .command("prlimit")
        .args(["--nproc=1:1", "--", "./tunnelwarden", "completions", "bash"])
        .env("RUST_BACKTRACE", "full")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success(), "there was a panic: {told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.starts_with("error: a fault of the program itself, at "), "{told}");
    assert!(told.trim_end().ends_with("no memory or thread left for it"), "{told}");
    assert!(!told.contains("spawn") && !told.contains("os error"), "{told}");
}

/// What a command comes to that may have so many threads, with others of its user.
async fn with_threads(ordinary: &Ordinary, most: u32) -> std::process::ExitStatus {
    let limit = format!("--nproc={most}:{most}");
    let completions = [limit.as_str(), "--", "./tunnelwarden", "completions", "bash"];
    let mut command = ordinary.command("prlimit");
    let started = command.args(completions).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut running = Running(started);
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(ended) = running.0.try_wait().unwrap() {
            return ended;
        }
        assert!(tokio::time::Instant::now() < until, "with {most} threads it does nothing and does not end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The runtime waits forever for those that it has where it does not get the next.
#[tokio::test]
async fn with_too_few_threads_any_command_ends() {
    let ordinary = Ordinary::new();
    // How many are too few depends on the machine's cores, and on what else runs as this user.
    let mut codes = Vec::new();
    for most in 1..=16 {
        codes.push(with_threads(&ordinary, most).await.code());
    }
    assert!(codes.contains(&Some(1)), "{codes:?}: it never had too few");
}

/// What of a process's memory can be written to, where it can be read.
fn memory(id: u32) -> Vec<u8> {
    let mut memory = fs::File::open(format!("/proc/{id}/mem")).expect("it is open to its parent");
    let mut all = Vec::new();
    for line in fs::read_to_string(format!("/proc/{id}/maps")).unwrap().lines() {
        let mut fields = line.split_whitespace();
        let (range, rights) = (fields.next().unwrap(), fields.next().unwrap());
        if !rights.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|at| u64::from_str_radix(at, 16).unwrap());
        memory.seek(SeekFrom::Start(from)).unwrap();
        // A mapping may be gone by now, or none that can be read.
        let _ = (&mut memory).take(to - from).read_to_end(&mut all);
    }
    all
}

/// How often each of them stands in the memory of the proxy.
fn copies(world: &World, secrets: &[(&str, String)]) -> Vec<(String, usize)> {
    let all = memory(world.proxy().id());
    let count = |secret: &String| memmem::find_iter(&all, secret.as_bytes()).count();
    secrets.iter().map(|(what, secret)| ((*what).to_owned(), count(secret))).collect()
}

/// Copies of the upstream's token: the text, and the header that carries it.
const TOKEN_COPIES: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_calls_keys_stays_in_memory_when_it_is_over() {
    let config = vec![
        // A connection keeps its buffers as long as it is open.
        ("upstream.idle_timeout", "\"100ms\"".to_owned()),
        ("log.filter", "\"info\"".to_owned()),
    ];
    let env = vec![(OPEN.0.to_owned(), OPEN.1.to_owned())];
    let world = World::with(Wishes { config, env, ..Wishes::default() }).await;
    assert!(world.stderr().contains(OPEN.0), "the log says that memory is open:\n{}", world.stderr());
    let secret =
        |n: u8| format!("{}{n}-of-no-other-text", ["chosen-psk", "md5-key", "set-psk"][usize::from(n % 3)]);
    let (chosen, md5, set, refused) = (secret(0), secret(1), secret(2), secret(3));
    let token = world.token("admin");
    let close = [("connection", "close")];
    let call = async |method: Method, path: &str, body: &str| {
        let body = (!body.is_empty()).then_some(body);
        world.try_call(&token, method, path, body, &close).await.unwrap()
    };
    let with = |name: &str, n: u8, more: &str| {
        tunnel_body(name, n).replace("{\"name\"", &format!("{{{more},\"name\""))
    };
    let mut minted = String::new();
    for round in 1..=5_u8 {
        let more = format!("\"psk\":\"{chosen}\",\"bgp\":{{\"customer_asn\":65001,\"md5_key\":\"{md5}\"}}");
        let created = call(Method::POST, "", &with(&format!("t-{round}"), round, &more)).await;
        assert_eq!(created.status, 200, "{}", created.text());
        let id = created.text_at("/result/id");
        let answer = call(Method::POST, &format!("/{id}/psk_generate"), "").await;
        minted = answer.text_at("/result/psk");
        let body = format!("{{\"psks\":[{{\"id\":\"{id}\",\"psk\":\"{set}\"}}]}}");
        let answer = call(Method::POST, "/psk", &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let bad = with("bad", round, &format!("\"psk\":\"{refused}\",\"no_such_field\":1"));
        assert_eq!(call(Method::POST, "", &bad).await.status, 400);
    }
    let secrets = [
        ("a chosen PSK", chosen),
        ("an MD5 key", md5),
        ("a PSK that was set", set),
        ("a PSK of a refused call", refused),
        ("a PSK that was minted", minted),
        ("a caller's token", token.clone()),
        ("the upstream's token", world.upstream_token.expose_secret().to_owned()),
    ];
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let found = copies(&world, &secrets);
        let bound = |what: &str| if what == "the upstream's token" { TOKEN_COPIES } else { 0 };
        if found.iter().all(|(what, copies)| *copies <= bound(what)) {
            // What is in use is there: so the search can find something.
            assert!(found.last().unwrap().1 > 0, "{found:?}");
            break;
        }
        assert!(tokio::time::Instant::now() < until, "{found:?}");
        // What a thread's stack still holds of a call goes when the thread does something else.
        assert_eq!(world.admin("/readyz").await.status, 200);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
