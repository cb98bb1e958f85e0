//! Damage to copies of a real record, as its owner would look for it: through `audit verify`, with the public key
//! and a checkpoint that was kept elsewhere.
//!
//! Not here: a few hundred random damages of every kind (`inspect::tests`).

use std::path::{Path, PathBuf};

use http::Method;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use tunnelwarden::json::{self, Json};

use crate::harness::{World, tunnel_body};

/// A stopped proxy's record, its public key, and the checkpoint file of its end.
struct Record {
    world: World,
    entries: i64,
}

/// What a damage must show.
#[derive(Clone, Copy, Debug)]
enum Shows {
    /// This entry is the first bad one.
    Bad(i64),
    /// No entry is bad; this is the first that the damaged evidence was to prove.
    Doubt(i64),
    /// What is damaged is no evidence of any entry.
    Problem,
}

impl Record {
    /// Some calls of every kind; `older.db` is what was there when half of them were made.
    async fn make() -> Self {
        let mut world = World::start().await;
        for n in 1..=8 {
            let made =
                world.call("operator", Method::POST, "", Some(&tunnel_body(&format!("t{n}"), n))).await;
            assert_eq!(made.status, 200, "{}", made.text());
            let path = format!("/{}", made.text_at("/result/id"));
            world.call("viewer", Method::GET, &path, None).await;
            world.call("viewer", Method::DELETE, &path, None).await;
            world.call("admin", Method::POST, &format!("{path}/psk_generate"), None).await;
            if n == 4 {
                world.stop().await;
                let older = world.dir.path().join("older.db");
                std::fs::copy(world.database(), older).unwrap();
                world.launch().await;
            }
        }
        world.stop().await;
        let entries = i64::try_from(world.entries().await.len()).unwrap();
        Self { world, entries }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.world.dir.path().join(name)
    }

    fn copy(&self) -> PathBuf {
        let copy = self.file("copy.db");
        std::fs::copy(self.world.database(), &copy).unwrap();
        copy
    }

    /// Exit code and findings of a verification that has nothing but the copy, the key and the checkpoint.
    fn verify(&self, database: &Path, checkpoint: bool) -> (Option<i32>, Json) {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let (database, key) = (text(database.to_owned()), text(self.file("audit-signing.key.pub")));
        let mut args = vec!["audit", "verify", "--json", "--database", &database, "--public-key", &key];
        let file = text(self.file("checkpoint.txt"));
        if checkpoint {
            args.extend(["--checkpoint", &file]);
        }
        let output = self.world.program(&args);
        let said = json::read(output.stdout.trim_ascii(), json::MAX_DEPTH).unwrap_or(Json::Null);
        (output.status.code(), said)
    }

    /// Damages a copy by SQL, its guards out of the way.
    async fn check(&self, what: &str, sql: &str, shows: Shows) {
        let copy = self.copy();
        tamper(&copy, sql).await;
        self.check_found(what, &copy, shows);
    }

    #[track_caller]
    fn check_found(&self, what: &str, copy: &Path, shows: Shows) {
        let (code, said) = self.verify(copy, true);
        assert_eq!(code, Some(3), "{what}: {said}");
        let named = |name: &str| said.pointer(name).and_then(Json::as_i64);
        let (bad, doubt) = (named("/first_bad_entry/seq"), named("/first_entry_in_doubt/seq"));
        match shows {
            Shows::Bad(entry) => assert_eq!(bad, Some(entry), "{what}: {said}"),
            Shows::Doubt(entry) => assert_eq!((bad, doubt), (None, Some(entry)), "{what}: {said}"),
            Shows::Problem => {
                let problems = said.get("problems").and_then(Json::as_array).unwrap_or_default();
                assert!(!problems.is_empty(), "{what}: {said}");
            }
        }
    }
}

async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

/// All that is recorded, and the guards and views around it.
async fn content(connection: &mut SqliteConnection) -> Vec<String> {
    let mut rows = Vec::new();
    for select in [
        "SELECT quote(name) || quote(sql) FROM sqlite_schema ORDER BY name",
        "SELECT seq || quote(leaf) || quote(entry) FROM entries ORDER BY seq",
        "SELECT level || '/' || n || quote(root) || quote(hashes) FROM tiles ORDER BY level, n",
        "SELECT n || '/' || size || quote(note) FROM checkpoints ORDER BY n",
        "SELECT quote(note) || quote(edge) FROM head",
    ] {
        let found = sqlx::query_scalar::<_, String>(select).fetch_all(&mut *connection).await.unwrap();
        rows.push(format!("{} rows", found.len()));
        rows.extend(found);
    }
    rows
}

/// Changes a copy behind its guards' back. What changes nothing would be a test of nothing.
async fn tamper(path: &Path, sql: &str) {
    let mut connection = connect(path).await;
    let before = content(&mut connection).await;
    let guards = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'";
    let guards = sqlx::query(guards).fetch_all(&mut connection).await.unwrap();
    let mut script = "PRAGMA ignore_check_constraints = ON;".to_owned();
    guards.iter().for_each(|guard| script += &format!("DROP TRIGGER {};", guard.get::<String, _>(0)));
    script += &format!("{sql};");
    guards.iter().for_each(|guard| script += &format!("{};", guard.get::<String, _>(1)));
    sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut connection).await.unwrap();
    assert!(content(&mut connection).await != before, "this damages nothing: {sql}");
    connection.close().await.unwrap();
}

#[tokio::test]
async fn every_damage_to_a_copy_is_found_and_the_first_bad_entry_named() {
    let record = Record::make().await;
    let (code, said) = record.verify(&record.copy(), true);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.get("good_entries").and_then(Json::as_i64), Some(record.entries), "{said}");

    let last = record.entries - 1;
    for n in [0, 1, last / 3, last / 2, last - 1, last] {
        let rows: [(&str, String); 6] = [
            (
                "another subject",
                format!("UPDATE entries SET entry = json_set(entry, '$.subject', 'x') WHERE seq = {n}"),
            ),
            ("another byte", format!("UPDATE entries SET entry = entry || ' ' WHERE seq = {n}")),
            ("another hash", format!("UPDATE entries SET leaf = zeroblob(32) WHERE seq = {n}")),
            ("deleted", format!("DELETE FROM entries WHERE seq = {n}")),
            ("cut off", format!("DELETE FROM entries WHERE seq >= {n}")),
            (
                "deleted, gap closed",
                format!(
                    "DELETE FROM entries WHERE seq = {n}; UPDATE entries SET seq = -seq WHERE seq > {n}; UPDATE entries SET seq = -seq - 1 WHERE seq < 0"
                ),
            ),
        ];
        for (what, sql) in rows {
            record.check(what, &sql, Shows::Bad(n)).await;
        }
    }
    let pairs = [(0, 1), (3, last), (last - 1, last)];
    for (a, b) in pairs {
        let swap = format!(
            "UPDATE entries SET seq = -1 WHERE seq = {a}; UPDATE entries SET seq = {a} WHERE seq = {b}; UPDATE entries SET seq = {b} WHERE seq = -1"
        );
        record.check("swapped", &swap, Shows::Bad(a)).await;
    }
    let again = format!(
        "DROP INDEX entries_id; INSERT INTO entries (seq, leaf, entry) SELECT {}, leaf, entry FROM entries WHERE seq = {last};
         CREATE UNIQUE INDEX IF NOT EXISTS entries_id ON entries (id) WHERE 0",
        last + 1
    );
    record.check("duplicated", &again, Shows::Bad(last + 1)).await;
    // Without the head nothing says where the log ends. Of checkpoints that are gone nothing says which they were.
    for (table, doubt) in [("checkpoints", 0), ("head", last + 1)] {
        // A note ends with its signature's last letters, an `=` and a line feed.
        let flip = format!(
            "UPDATE {table} SET note = substr(note, 1, length(note) - 6)
                 || CASE substr(note, -6, 1) WHEN 'A' THEN 'B' ELSE 'A' END || substr(note, -5)"
        );
        record.check(table, &flip, Shows::Doubt(doubt)).await;
        record.check(table, &format!("DELETE FROM {table}"), Shows::Doubt(doubt)).await;
    }
    record.check("the head's edge", "UPDATE head SET edge = zeroblob(length(edge))", Shows::Bad(0)).await;
    record.check("a view taken away", "SELECT 1; DROP VIEW requests", Shows::Problem).await;
}

#[tokio::test]
async fn a_byte_flipped_in_the_file_itself_is_found() {
    let record = Record::make().await;
    for (n, entry) in record.world.entries().await.iter().enumerate().step_by(4) {
        let copy = record.copy();
        let mut bytes = std::fs::read(&copy).unwrap();
        // Long texts go on in other pages; their beginning is in one piece. Where pages were split, an old copy of
        // it may lie in free room, which nobody reads: so each is damaged.
        let text = &entry.raw.as_bytes()[..60];
        let found = memchr::memmem::find_iter(&bytes, text).collect::<Vec<_>>();
        assert!(!found.is_empty(), "an entry is stored as it is");
        found.iter().for_each(|at| bytes[at + n % text.len()] ^= 1 << (n % 7));
        std::fs::write(&copy, bytes).unwrap();
        record.check_found(&format!("a bit of entry {n}"), &copy, Shows::Bad(i64::try_from(n).unwrap()));
    }
}

#[tokio::test]
async fn an_older_copy_is_sound_by_itself_and_cut_off_by_the_checkpoint() {
    let record = Record::make().await;
    let older = record.file("older.db");
    let (code, said) = record.verify(&older, false);
    assert_eq!(code, Some(0), "{said}");
    let entries = said.get("good_entries").and_then(Json::as_i64);
    assert!(entries.is_some_and(|n| n > 0 && n < record.entries), "{said}");
    record.check_found("an older copy", &older, Shows::Bad(entries.unwrap()));
}

#[tokio::test]
async fn what_is_not_there_or_no_record_is_never_sound() {
    let record = Record::make().await;
    let missing = record.file("missing.db");
    let empty = record.file("empty.db");
    std::fs::write(&empty, "").unwrap();
    let text = record.file("text.db");
    std::fs::write(&text, "no database at all, but long enough to be looked at").unwrap();
    for file in [&missing, &empty, &text] {
        let (code, said) = record.verify(file, true);
        assert!(matches!(code, Some(1..=3)), "{}: {code:?} {said}", file.display());
    }
    assert!(!missing.exists(), "verifying makes no file");
    std::fs::remove_file(record.file("checkpoint.txt")).unwrap();
    let (code, said) = record.verify(&record.copy(), true);
    assert!(matches!(code, Some(1 | 2)), "no checkpoint file: {code:?} {said}");
}
