//! The three commands over a small log: what they print and how they exit.

mod elsewhere;
mod hostile;
mod mistakes;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;

use super::*;
use crate::cli::Terminal;
use crate::clock::ManualClock;
use crate::seal::{Checkpoint, Signer, Tree, generate_key};
use crate::secret::ExposeSecret as _;
use crate::store::{Settings, Store};

#[derive(Parser, Debug)]
struct Line {
    #[command(flatten)]
    args: Args,
}

struct Bench {
    directory: tempfile::TempDir,
    env: Env,
    public_key: String,
}

fn entry(n: u32) -> String {
    let id = uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(n));
    let time = format!("2026-01-01T00:00:0{n}.000000Z");
    format!(
        r#"{{"kind":"refusal","id":"{id}","time":"{time}","request_id":"{id}","subject":"é\u001b","n":{n}.0}}"#
    )
}

impl Bench {
    async fn make() -> Self {
        Self::with((0..5).map(entry).collect()).await
    }

    async fn with(entries: Vec<String>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (secret, public_key) = generate_key("tunnelwarden/test").unwrap();
        let signer = Arc::new(Signer::new(secret.expose_secret()).unwrap());
        let clock = ManualClock::at("2026-01-02T00:00:00Z".parse().unwrap());
        let path = |name: &str| directory.path().join(name);
        let settings = Settings {
            database: path("audit.db").into(),
            checkpoint_files: vec![path("checkpoint.txt")],
            append_timeout: Duration::from_secs(10),
        };
        let store = Store::open(settings, signer, clock.clone()).await.unwrap();
        store.append(entries).await.unwrap();
        store.close().await;
        std::fs::write(path("key"), secret.expose_secret()).unwrap();
        std::fs::write(path("key.pub"), &public_key).unwrap();
        let config = "[audit]\ndatabase = \"sqlite:audit.db\"\nsigning_key_file = \"key\"\n\
                      checkpoint_file = \"checkpoint.txt\"\n";
        std::fs::write(path("config.toml"), config).unwrap();
        let vars = [("TZ".to_owned(), "UTC0".to_owned())].into();
        let env = Env { vars, clock, terminal: Terminal::default() };
        Self { env, directory, public_key }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs a command line, in which `@name` is a file of the bench and `@KEY` the public key's text.
    async fn run(&self, line: &str) -> (Exit, String) {
        let (exit, said, _) = self.run_and_tell(line).await;
        (exit, said)
    }

    /// The same, and what went to standard error meanwhile.
    async fn run_and_tell(&self, line: &str) -> (Exit, String, String) {
        let words = line.split(' ').map(|word| match word.strip_prefix('@') {
            Some("KEY") => self.public_key.clone(),
            Some(name) => self.path(name).display().to_string(),
            None => word.to_owned(),
        });
        let line = Line::try_parse_from(["audit".to_owned()].into_iter().chain(words)).unwrap();
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let done = run(&line.args, &self.env, &mut out, &mut errors).await;
        let (said, told) = (String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap());
        match done {
            Ok(exit) => (exit, said, told),
            Err(stop) => (stop.exit, said + &stop.what, told),
        }
    }
}

#[tokio::test]
async fn the_commands_say_what_they_find_and_exit_by_it() {
    let bench = Bench::make().await;
    let id = uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0003);
    std::fs::write(bench.path("not-a.db"), "x".repeat(5000)).unwrap();
    let signer = Signer::new(&std::fs::read_to_string(bench.path("key")).unwrap()).unwrap();
    let nothing = Checkpoint { size: 0, root: Tree::new().root(), chain: None };
    std::fs::write(bench.path("first"), nothing.sign(&signer).unwrap()).unwrap();
    let by_key = "verify --database @audit.db --public-key";
    for (line, exit, says) in [
        ("list --config @config.toml", Exit::Good, "2026-01-01T00:00:04Z"),
        ("list --database @audit.db --since 1h", Exit::Good, "no entry fits"),
        (&format!("list --database @audit.db --after {id} --json"), Exit::Good, "\"n\":4.0}"),
        ("list --database @audit.db --after nothing", Exit::Failed, "no entry has the id"),
        ("list --database @audit.db --since yesterday", Exit::Usage, "is no time"),
        ("list --database @missing.db", Exit::Failed, "can't open"),
        ("list --database @not-a.db", Exit::Usage, "is no SQLite database"),
        ("list --config @missing.toml", Exit::Usage, "can't read"),
        (&format!("show --database @audit.db {id} --full"), Exit::Good, "\"n\": 3.0"),
        (&format!("show --database @audit.db {id}"), Exit::Good, "request    "),
        ("show --database @audit.db nothing", Exit::Failed, "no entry has `nothing`"),
        ("verify --config @config.toml", Exit::Good, "good: 5 entries"),
        (&format!("{by_key} @KEY --checkpoint @first"), Exit::Good, "cover 0 of 5 entries"),
        (&format!("{by_key} @KEY --from @first"), Exit::Good, "cover 0 of 5 entries"),
        (&format!("{by_key} @key.pub"), Exit::Good, "can't be noticed"),
        (&format!("{by_key} @KEY --checkpoint @checkpoint.txt"), Exit::Good, "good: 5"),
        ("verify --config @config.toml --json", Exit::Good, "{\"sound\":true,\"good_entries\":5,"),
        (&format!("{by_key} @key"), Exit::Usage, "this is the signing key"),
        (&format!("{by_key} @missing"), Exit::Usage, "can't read the public key"),
        (&format!("{by_key} @KEY --checkpoint @missing"), Exit::Usage, "can't read the checkpoint"),
        (&format!("{by_key} @KEY --checkpoint @config.toml"), Exit::Tampered, "checkpoint file"),
        ("verify --database @missing.db --public-key @KEY", Exit::Failed, "can't open"),
        ("verify --database @not-a.db --public-key @KEY", Exit::Tampered, "damaged"),
    ] {
        let (found, said) = bench.run(line).await;
        assert!(found == exit && said.contains(says), "{line}: {found:?}, {said}");
    }
}

#[tokio::test]
async fn json_is_what_is_stored_byte_for_byte_and_tables_are_fit_for_a_terminal() {
    let bench = Bench::make().await;
    let (_, said) = bench.run("list --database @audit.db --json --limit 2").await;
    assert_eq!(said, format!("{}\n{}\n", entry(3), entry(4)));
    let (_, said) = bench.run("list --database @audit.db --json --limit 0").await;
    assert_eq!(said.lines().count(), 5);
    let (_, said) = bench.run("list --database @audit.db").await;
    assert!(said.contains("é\\u{1b}") && !said.contains('\u{1b}'), "{said}");
}

#[tokio::test]
async fn a_person_reads_times_and_says_days_in_their_zone_or_in_utc() {
    let mut bench = Bench::make().await;
    let id = uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0004);
    bench.env.vars.insert("TZ".to_owned(), "XST+3:30".to_owned());
    let show = format!("show --database @audit.db {id}");
    for (line, says) in [
        ("list --database @audit.db", "2025-12-31T20:30:04-03:30"),
        (show.as_str(), "2025-12-31T20:30:04.000000-03:30"),
        ("tail --database @audit.db", "2025-12-31T20:30:04-03:30"),
        ("list --database @audit.db --since 2026-01-01", "no entry fits"),
        ("list --database @audit.db --until 2026-01-01 --json", "00:00:04.000000Z"),
        ("list --database @audit.db --utc", "2026-01-01T00:00:04Z"),
        ("list --utc --database @audit.db --since 2026-01-01", "2026-01-01T00:00:04Z"),
        ("list --database @audit.db --json", "2026-01-01T00:00:04.000000Z"),
    ] {
        let (exit, said) = bench.run(line).await;
        assert!(exit == Exit::Good && said.contains(says), "{line}: {said}");
    }
    for unknown in ["", "Nowhere/Atall", ":", "\u{1b}"] {
        bench.env.vars.insert("TZ".to_owned(), unknown.to_owned());
        let (_, said) = bench.run("list --database @audit.db").await;
        assert!(said.contains("2026-01-01T00:00:04Z"), "{unknown}: {said}");
    }
}

#[tokio::test]
async fn tampering_exits_with_3_and_names_the_entry() {
    let bench = Bench::make().await;
    let mut file = std::fs::read(bench.path("audit.db")).unwrap();
    let at = memchr::memmem::find(&file, entry(2).as_bytes()).unwrap();
    file[at + entry(2).len() - 4] = b'7';
    std::fs::write(bench.path("audit.db"), file).unwrap();
    let (exit, said) = bench.run("verify --config @config.toml").await;
    assert_eq!(exit, Exit::Tampered);
    assert!(said.contains("first bad entry: 2 (id 01900000-0000-7000-8000-000000000002)"), "{said}");
    let (exit, said) = bench.run("verify --config @config.toml --json").await;
    assert_eq!(exit, Exit::Tampered);
    assert!(said.contains("\"first_bad_entry\":{\"seq\":2,"), "{said}");
}

/// A server's handler, which a verification is to run in one day, moves between threads.
#[tokio::test]
async fn a_verification_can_move_between_threads() {
    fn check<T: Send>(future: T) -> T {
        future
    }
    let bench = Bench::make().await;
    let verifier = crate::seal::Verifier::new(&bench.public_key).unwrap();
    let evidence = crate::inspect::Evidence::of(verifier);
    let reader = check(crate::store::Reader::open(&bench.path("audit.db"))).await.unwrap();
    let mut progress = |_: u64| {};
    assert!(check(crate::inspect::verify(&reader, &evidence, &mut progress)).await.unwrap().is_sound());
}

/// A text without its colors.
fn plain(text: &str) -> String {
    text.split('\u{1b}').enumerate().fold(String::new(), |plain, (at, part)| {
        plain + if at == 0 { part } else { part.split_once('m').unwrap().1 }
    })
}

#[tokio::test]
async fn lists_and_stories_are_colored_on_a_terminal_and_nowhere_else() {
    let mut bench = Bench::make().await;
    let id = uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0003);
    let commands = ["list --database @audit.db".to_owned(), format!("show --database @audit.db {id}")];
    for command in &commands {
        let (_, bare) = bench.run(command).await;
        assert!(!bare.contains('\u{1b}'), "{bare}");
        bench.env.terminal.out = true;
        let (_, colored) = bench.run(command).await;
        assert!(colored.contains("\u{1b}[1m"), "{colored}");
        assert_eq!(plain(&colored), bare, "colors change nothing else");
        for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            bench.env.vars.insert(name.to_owned(), value.to_owned());
            assert_eq!(bench.run(command).await.1, bare, "{name}");
            bench.env.vars.remove(name);
        }
        let (_, json) = bench.run(&format!("{command} --json")).await;
        assert!(!json.contains("\u{1b}["), "{json}");
        bench.env.terminal.out = false;
    }
}

#[tokio::test]
async fn a_verification_tells_a_terminal_how_far_it_is_and_tidies_up() {
    let mut bench = Bench::make().await;
    let verify = "verify --config @config.toml";
    let (exit, said, told) = bench.run_and_tell(verify).await;
    assert_eq!((exit, told.as_str()), (Exit::Good, ""));
    bench.env.terminal.errors = true;
    let (exit, again, told) = bench.run_and_tell(verify).await;
    assert_eq!((exit, again), (Exit::Good, said), "the answer is the same");
    assert!(told.contains("\r5 entries") && told.ends_with("\r\u{1b}[K"), "{told:?}");
}

#[tokio::test]
async fn an_export_into_a_file_tells_a_terminal_how_far_it_is_and_nobody_else() {
    let mut bench = Bench::make().await;
    for (terminal, line, told) in [
        (true, "export --database @audit.db --to @one", "\r5 entries\r\u{1b}[K"),
        (true, "export --database @audit.db", ""),
        (false, "export --database @audit.db --to @two", ""),
    ] {
        bench.env.terminal.errors = terminal;
        assert_eq!(bench.run_and_tell(line).await.2, told, "{line}");
    }
    assert_eq!(std::fs::read(bench.path("one")).unwrap(), std::fs::read(bench.path("two")).unwrap());
}

#[tokio::test]
async fn a_proof_convinces_with_the_public_key_alone_and_by_its_last_byte() {
    let bench = Bench::make().await;
    let id = uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0003);
    let (exit, said) = bench.run(&format!("prove --config @config.toml {id} --to @call.tlog-proof")).await;
    assert!(exit == Exit::Good && said.starts_with("entry 3 is proven by"), "{said}");
    let (_, printed) = bench.run(&format!("prove --database @audit.db --public-key @KEY {id}")).await;
    let proof = std::fs::read(bench.path("call.tlog-proof")).unwrap();
    assert_eq!(printed.as_bytes(), proof);
    std::fs::rename(bench.path("audit.db"), bench.path("elsewhere.db")).unwrap();
    for (line, exit, says) in [
        ("verify @call.tlog-proof --public-key @KEY", Exit::Good, "good: entry 3 stands in the log"),
        ("verify @call.tlog-proof --public-key @KEY", Exit::Good, r"\u001b"),
        ("verify @call.tlog-proof --config @config.toml", Exit::Good, "good: entry 3"),
        ("verify @call.tlog-proof --public-key @key.pub --json", Exit::Good, &entry(3)),
        ("verify @call.tlog-proof", Exit::Usage, "give --public-key or --config"),
        ("verify @missing --public-key @KEY", Exit::Usage, "can't read the proof"),
        ("verify @checkpoint.txt --public-key @KEY", Exit::Tampered, "it is no proof"),
        ("prove --database @elsewhere.db --public-key @KEY nothing", Exit::Failed, "no entry has `nothing`"),
        ("prove --database @elsewhere.db nothing", Exit::Usage, "give --public-key or --config"),
    ] {
        let (found, said) = bench.run(line).await;
        assert!(found == exit && said.contains(says), "{line}: {found:?}, {said}");
    }
    let (_, other_key) = generate_key("tunnelwarden/test").unwrap();
    std::fs::write(bench.path("other.pub"), other_key).unwrap();
    let (exit, said) = bench.run("verify @call.tlog-proof --public-key @other.pub").await;
    assert!(exit == Exit::Tampered && said.contains("not signed by this key"), "{said}");
    for at in 0..proof.len() {
        let mut changed = proof.clone();
        changed[at] ^= 1;
        std::fs::write(bench.path("changed"), &changed).unwrap();
        let (exit, said) = bench.run("verify @changed --public-key @KEY").await;
        assert!(exit == Exit::Tampered && said.contains("NOT PROVEN"), "byte {at}: {said}");
    }
}

#[tokio::test]
async fn what_was_changed_is_not_proven() {
    let bench = Bench::make().await;
    let path = bench.path("audit.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    let sql = "DROP TRIGGER entries_no_update; UPDATE entries SET entry = replace(entry, '3.0', '4.0') WHERE seq = 3";
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    sqlx::Connection::close(connection).await.unwrap();
    let id = uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0003);
    let (exit, said) = bench.run(&format!("prove --config @config.toml {id}")).await;
    assert!(exit == Exit::Tampered && said.contains("does not prove entry 3"), "{said}");
}

#[tokio::test]
async fn an_export_goes_on_where_its_cursor_stands() {
    let bench = Bench::make().await;
    for (format, lines, has) in
        [("jsonl", 5, entry(4)), ("csv", 6, "\"2026-01-01T00:00:04".into()), ("ocsf", 5, "6003".into())]
    {
        let (exit, said) = bench.run(&format!("export --database @audit.db --format {format}")).await;
        assert!(exit == Exit::Good && said.lines().count() == lines, "{format}: {said}");
        assert!(said.lines().last().unwrap().contains(&has), "{format}: {said}");
    }
    let (_, some) =
        bench.run("export --config @config.toml --since 2026-01-01T00:00:03Z --kind refusal").await;
    assert_eq!(some.lines().collect::<Vec<_>>(), [entry(3), entry(4)]);

    let export = "export --database @audit.db --cursor @cursor";
    std::fs::write(bench.path("elsewhere"), "of value").unwrap();
    std::os::unix::fs::symlink(bench.path("elsewhere"), bench.path("cursor.new")).unwrap();
    let (_, first) = bench.run(export).await;
    assert_eq!(first.lines().count(), 5);
    assert_eq!(std::fs::read_to_string(bench.path("elsewhere")).unwrap(), "of value");
    let (_, again) = bench.run(export).await;
    assert_eq!(again, "");
    // Into a file whose last line was begun when an export was killed.
    std::fs::write(bench.path("out"), format!("{}\n{}", entry(0), &entry(1)[..20])).unwrap();
    let cursor = std::fs::read_to_string(bench.path("cursor")).unwrap();
    let id = |n: u32| uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(n));
    std::fs::write(bench.path("cursor"), cursor.replace("4", "0")).unwrap();
    assert_eq!(
        std::fs::read_to_string(bench.path("cursor")).unwrap(),
        format!("{{\"seq\":0,\"id\":\"{}\"}}\n", id(0))
    );
    let (exit, said) = bench.run(&format!("{export} --to @out")).await;
    assert_eq!((exit, said.as_str()), (Exit::Good, ""));
    let out = std::fs::read_to_string(bench.path("out")).unwrap();
    assert_eq!(out.lines().collect::<Vec<_>>(), (0..5).map(entry).collect::<Vec<_>>());
    assert_eq!(std::fs::read_to_string(bench.path("cursor")).unwrap(), cursor);
    // Rows of a spreadsheet have one heading, however often nothing or something is added.
    let rows = "export --database @audit.db --format csv --cursor @rows.cursor --to @rows.csv";
    for line in [&format!("{rows} --kind started"), &format!("{rows} --kind started"), rows, rows] {
        assert_eq!(bench.run(line).await.0, Exit::Good, "{line}");
    }
    assert_eq!(std::fs::read_to_string(bench.path("rows.csv")).unwrap().lines().count(), 6);
    // What is no export is not cut, and what another export writes is left to it.
    std::fs::write(bench.path("notes"), "no export").unwrap();
    let to = "export --database @audit.db --to";
    let held = std::fs::File::create(bench.path("held")).unwrap();
    held.lock().unwrap();
    for (file, exit, says) in [
        ("@notes", Exit::Usage, "does not end with a line"),
        ("@audit.db", Exit::Usage, "is the record itself"),
        ("@held", Exit::Failed, "another export"),
    ] {
        let (found, said) = bench.run(&format!("{to} {file}")).await;
        assert!(found == exit && said.contains(says), "{file}: {said}");
    }
    assert_eq!(std::fs::read_to_string(bench.path("notes")).unwrap(), "no export");
    // A cursor that is none, and one of another record.
    for (text, says) in [("{}", "is no cursor"), (&cursor.replace("0004", "0003"), "is of another record")] {
        std::fs::write(bench.path("cursor"), text).unwrap();
        let (exit, said) = bench.run(export).await;
        assert!(exit == Exit::Usage && said.contains(says), "{said}");
    }
}
