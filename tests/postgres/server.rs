//! A PostgreSQL server for one test process, made when it is first asked for and gone with the process.
//!
//! Of the machine nothing is needed but PostgreSQL's programs, in `PATH` or where Debian puts them; nothing that runs there
//! already is touched. Where there are none, whoever needs one is left out, which is said, or fails if `CI` is set.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each of the test programs that include this uses a part of it"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

/// A running server.
#[derive(Debug)]
pub struct Server {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    /// Reads what to do, and cleans up when nobody is left to say.
    keeper: Mutex<(Child, BufReader<std::process::ChildStdout>)>,
    databases: AtomicU32,
}

/// What starts, kills and stops it, word by word, and takes all away when its input ends.
const KEEPER: &str = r#"
start() {
    $AS "$PROGRAMS/postgres" -D "$FOLDER/data" -p "$PORT" -k "$FOLDER" -h 127.0.0.1 \
        -c max_connections=200 -c shared_buffers=64MB -c autovacuum_naptime=5s >>"$FOLDER/log" 2>&1 &
    until "$PROGRAMS/pg_isready" -q -h 127.0.0.1 -p "$PORT"; do
        kill -0 $! || break
        sleep 0.05
    done
}
postmaster() { head -1 "$FOLDER/data/postmaster.pid"; }
$AS "$PROGRAMS/initdb" -D "$FOLDER/data" -U owner -A trust -E UTF8 --locale=C.UTF-8 --no-sync --no-instructions >"$FOLDER/log" 2>&1
start
echo done
while read -r word; do
    case $word in
        kill)
            # All its processes: one that went on would go on writing.
            all="$(postmaster) $(pgrep -P "$(postmaster)" | tr '\n' ' ')"
            kill -STOP $all
            kill -KILL $all $(pgrep -P "$(postmaster)")
            wait
            ;;
        stop) kill -INT "$(postmaster)"; wait ;;
        start) start ;;
    esac
    echo done
done
kill -INT "$(postmaster)"
wait
rm -rf "$FOLDER"
"#;

/// The server of this process, or none where there can't be one.
pub fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(Server::start).as_ref()
}

impl Drop for Server {
    fn drop(&mut self) {
        let (child, _) = self.keeper.get_mut().unwrap();
        drop(child.stdin.take());
        let _ = child.wait();
    }
}

impl Server {
    /// One of its own, which may be killed.
    pub fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(std::env::var_os("CI").is_none(), "PostgreSQL's programs are missing");
            // Past the test program's own capture of what tests print.
            let said = "\nLEFT OUT: whatever needs PostgreSQL, as its programs were not found; install `postgresql`\n";
            let _ = std::io::stderr().write_all(said.as_bytes());
            return None;
        };
        let port = free_port();
        let folder =
            std::env::temp_dir().join(format!("tunnelwarden-postgres-{}-{port}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        // The server refuses to run as root.
        let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        let mut as_other = "";
        if is_root {
            as_other = "setpriv --reuid=nobody --regid=nogroup --clear-groups --";
            let owned = Command::new("chown").arg("nobody:nogroup").arg(&folder).status();
            assert!(owned.unwrap().success());
        }
        let mut keeper = Command::new("bash")
            .args(["-c", KEEPER])
            .current_dir("/")
            .env("PROGRAMS", &programs)
            .env("FOLDER", &folder)
            .env("PORT", port.to_string())
            .env("AS", as_other)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(keeper.stdout.take().unwrap());
        heard(&mut said);
        let keeper = Mutex::new((keeper, said));
        let server = Self { programs, folder, port, keeper, databases: AtomicU32::new(0) };
        server.sql("postgres", "CREATE ROLE writer LOGIN; CREATE ROLE analyst LOGIN");
        Some(server)
    }

    /// Its address for this role and database.
    pub fn url(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// Where it listens.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// A new database, empty or like another one.
    pub fn database(&self, like: Option<&str>) -> String {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let like = like.map_or_else(String::new, |like| format!(" TEMPLATE {like}"));
        self.sql("postgres", &format!("CREATE DATABASE {name}{like}"));
        name
    }

    /// Runs statements as the owner; what they give, a line a row.
    #[track_caller]
    pub fn sql(&self, database: &str, text: &str) -> String {
        let run = Command::new(self.programs.join("psql"))
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                "127.0.0.1",
                "-U",
                "owner",
                "-d",
                database,
            ])
            .args(["-p", &self.port.to_string(), "-c", text])
            .output()
            .unwrap();
        assert!(run.status.success(), "{text}: {}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap()
    }

    /// Ends it at once, as a machine that loses its power.
    pub fn kill(&self) {
        self.tell("kill");
    }

    /// Ends it in order.
    pub fn stop(&self) {
        self.tell("stop");
    }

    /// Starts it again.
    pub fn start_again(&self) {
        self.tell("start");
    }

    fn tell(&self, word: &str) {
        let mut keeper = self.keeper.lock().unwrap();
        let (child, said) = &mut *keeper;
        writeln!(child.stdin.as_mut().unwrap(), "{word}").unwrap();
        heard(said);
    }

    /// A program of PostgreSQL's.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// The ids of its processes.
    pub fn processes(&self) -> Vec<u32> {
        let first = std::fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap();
        let first = first.lines().next().unwrap().to_owned();
        let children = Command::new("pgrep").args(["-P", &first]).output().unwrap();
        let children = String::from_utf8(children.stdout).unwrap();
        children.lines().chain([first.as_str()]).map(|id| id.parse().unwrap()).collect()
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

/// Below those that the system gives to who asks for any: what is free now stays so until the server has it.
fn free_port() -> u16 {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(17).wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(20_000 + number % 10_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn heard(said: &mut BufReader<std::process::ChildStdout>) {
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "done\n");
}

/// Where the programs are: the newest that Debian installed, else beside what `PATH` has.
fn programs() -> Option<PathBuf> {
    let has_all = |folder: &Path| {
        ["initdb", "postgres", "psql", "pg_isready"].iter().all(|name| folder.join(name).exists())
    };
    let version = |folder: &PathBuf| folder.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest =
        debian.map(|one| one.path().join("bin")).filter(|folder| has_all(folder)).max_by_key(version);
    let in_path = || std::env::split_paths(&std::env::var_os("PATH")?).find(|folder| has_all(folder));
    newest.or_else(in_path)
}
