//! Old bodies moved out of a record by the program itself, also when it is killed on the way: every question has the answer
//! that it had before.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use http::Method;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use crate::harness::{Wishes, World, tunnel_body};

const KILLS: u64 = 25;

const NOT_LOOKED_AT: &str = r#","archived_not_looked_at":"#;

/// What is asked before and after.
const QUESTIONS: [&[&str]; 8] = [
    &["list", "--view", "requests", "--limit", "0", "--json"],
    &["list", "--view", "changes", "--limit", "0", "--json"],
    &["list", "--view", "psk_events", "--limit", "0", "--json"],
    &["list", "--view", "refusals", "--limit", "0", "--json"],
    &["list", "--view", "tunnel_history", "--limit", "0", "--json"],
    &["list", "--limit", "0"],
    &["stats", "--json"],
    &["psk-age", "--json"],
];

fn audit(world: &World, args: &[&str]) -> (i32, String) {
    let config = world.config();
    let output = world.program(&[&["audit"], args, &["--config", &config]].concat());
    let told = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8_lossy(&told).into_owned())
}

fn find_secret(world: &World, secret: &str, flags: &[&str]) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tunnelwarden"))
        .args(["audit", "find-secret", "--json", "--config", &world.config()])
        .args(flags)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(secret.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// A day of writes, with keys that were minted and set, one of them by hand; the tunnel's id and the keys.
async fn play(world: &World, round: u8) -> (String, Vec<String>) {
    let name = format!("site-{round}");
    let made = world.call("operator", Method::POST, "", Some(&tunnel_body(&name, round))).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let id = made.text_at("/result/id");
    let minted = world.call("admin", Method::POST, &format!("/{id}/psk_generate"), None).await;
    assert_eq!(minted.status, 200, "{}", minted.text());
    let changed = tunnel_body(&name, round + 1);
    let put = world.call("operator", Method::PUT, &format!("/{id}"), Some(&changed)).await;
    assert_eq!(put.status, 200, "{}", put.text());
    assert_eq!(world.call("viewer", Method::DELETE, &format!("/{id}"), None).await.status, 403);
    (id, vec![minted.text_at("/result/psk")])
}

/// Heartbeats of other calls, until the day is no longer at the end of the record.
async fn fill(world: &World) {
    for _ in 0..300 {
        assert_eq!(world.call("viewer", Method::GET, "", None).await.status, 200);
    }
}

fn answers(world: &World, keys: &[String], archive: &[&str]) -> Vec<String> {
    let asked = QUESTIONS.iter().map(|args| {
        let (exit, told) = audit(world, args);
        assert_eq!(exit, 0, "{args:?}: {told}");
        // What came since, such as the archive's own entry, is not asked for.
        told.lines().filter(|line| !line.contains("archived  ")).collect::<Vec<_>>().join("\n")
    });
    // How many bodies can't be looked at for a key is another question.
    let of_key =
        |key: &String| find_secret(world, key, archive).split(NOT_LOOKED_AT).next().unwrap().to_owned();
    asked.chain(keys.iter().map(of_key)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_question_has_the_answer_that_it_had_before_the_archive() {
    let mut world = World::with(Wishes { unlimited: true, ..Wishes::default() }).await;
    let (id, mut keys) = play(&world, 1).await;
    keys.push("a key that was never handled".to_owned());
    // It stands in the bodies of this tunnel, and nowhere as a key.
    keys.push("198.51.100.1".to_owned());
    fill(&world).await;
    let file = world.dir.path().join("old.archive.gz").display().to_string();
    let (exit, told) = audit(&world, &["archive", "--before", "0s", "--to", &file]);
    assert!(exit == 1 && told.contains("another process writes"), "{told}");
    world.stop().await;
    let before = answers(&world, &keys, &[]);
    assert!(before.iter().any(|told| told.contains(&id)));
    let created =
        world.entries().await.into_iter().find(|e| e.raw.contains("\"customer_endpoint\"")).unwrap();
    let entry_id = created.text("/id");
    let old = audit(&world, &["prove", &entry_id]).1;

    let (exit, told) = audit(&world, &["archive", "--before", "0s", "--to", &file]);
    assert!(exit == 0 && told.starts_with("archived: entries 0 to "), "{told}");
    let told = find_secret(&world, &keys[2], &[]);
    assert!(told.contains(NOT_LOOKED_AT) && !told.contains(&format!("{NOT_LOOKED_AT}0}}")), "{told}");
    let after = answers(&world, &keys, &["--archive", &file]);
    assert!(after.last().unwrap().contains("/request/body/customer_endpoint"), "{after:?}");
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after);
    }
    let stub = world.entries().await.into_iter().find(|e| e.text("/id") == entry_id).unwrap();
    assert!(stub.raw.len() < created.raw.len() && stub.json.get("archived").is_some());

    let (exit, told) = audit(&world, &["verify"]);
    assert!(exit == 0 && told.contains("the bodies were archived at"), "{told}");
    let key = world.dir.path().join("audit-signing.key.pub").display().to_string();
    let verify = |file: &str| world.program(&["audit", "verify", file, "--public-key", &key]);
    assert!(verify(&file).status.success());
    let proof = world.dir.path().join("proof").display().to_string();
    std::fs::write(&proof, &old).unwrap();
    assert!(verify(&proof).status.success());
    let (exit, told) = audit(&world, &["prove", &entry_id]);
    assert!(exit == 2 && told.contains("--archive"), "{told}");
    assert_eq!(audit(&world, &["prove", &entry_id, "--archive", &file]).1, old);
    let (exit, told) = audit(&world, &["show", &entry_id]);
    assert!(exit == 0 && told.contains("archive"), "{told}");
    // A byte of the archive, changed.
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&proof, bytes).unwrap();
    assert_eq!(verify(&proof).status.code(), Some(3));

    world.launch().await;
    play(&world, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_killed_anywhere_loses_nothing() {
    let mut world = World::with(Wishes { unlimited: true, ..Wishes::default() }).await;
    let (_, keys) = play(&world, 1).await;
    fill(&world).await;
    world.stop().await;
    let before = answers(&world, &keys, &[]);
    let copy = world.dir.path().join("whole.db");
    std::fs::copy(world.database(), &copy).unwrap();
    let mut archived = 0;
    for round in 0..KILLS {
        std::fs::copy(&copy, world.database()).unwrap();
        let file = world.dir.path().join(format!("{round}.gz")).display().to_string();
        let mut child = Command::new(env!("CARGO_BIN_EXE_tunnelwarden"))
            .args(["audit", "archive", "--before", "0s", "--to", &file, "--config", &world.config()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .env_clear()
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(round * 7)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let (exit, told) = audit(&world, &["verify"]);
        assert_eq!(exit, 0, "{round}: {told}");
        assert_eq!(answers(&world, &keys, &[]), before, "{round}");
        // If an entry tells of an archive, the archive is there, whole.
        if world.entries().await.iter().any(|entry| entry.text("/kind") == "archived") {
            archived += 1;
            let key = world.dir.path().join("audit-signing.key.pub").display().to_string();
            assert!(world.program(&["audit", "verify", &file, "--public-key", &key]).status.success());
        }
        // The same file, if one was cut short; else another name.
        let again = world.dir.path().join(format!("{round}.again.gz")).display().to_string();
        let (exit, told) = audit(&world, &["archive", "--before", "0s", "--to", &again]);
        assert!(exit == 0 || told.contains("was cut short"), "{round}: {told}");
        if exit != 0 {
            let (exit, told) = audit(&world, &["archive", "--before", "0s", "--to", &file]);
            assert!(exit == 0 && told.contains("ended"), "{round}: {told}");
        }
        assert!(
            world.entries().await[..200]
                .iter()
                .all(|entry| entry.json.pointer("/request/body/customer_endpoint").is_none())
        );
        // The checkpoint file is of the copy that goes.
        std::fs::remove_file(world.dir.path().join("checkpoint.txt")).ok();
    }
    eprintln!("{archived} of {KILLS} were killed behind the entry");
}

/// The files of all public keys that the record had, oldest first: by when each was made.
fn public_keys(world: &World) -> Vec<String> {
    let names = std::fs::read_dir(world.dir.path()).unwrap().map(|file| file.unwrap().path());
    let mut keys: Vec<_> = names
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("audit-signing.key."))
        .map(|path| (std::fs::metadata(&path).unwrap().modified().unwrap(), path.display().to_string()))
        .filter(|(_, path)| path.ends_with(".pub"))
        .collect();
    keys.sort();
    keys.into_iter().map(|(_, path)| path).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_key_and_archives_in_between_change_nothing_in_what_verifies() {
    let mut world = World::with(Wishes { unlimited: true, ..Wishes::default() }).await;
    let path = |world: &World, name: &str| world.dir.path().join(name).display().to_string();
    let (mut proofs, mut archives, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..2u8 {
        play(&world, 1 + 4 * round).await;
        fill(&world).await;
        world.stop().await;
        let written = world.entries().await;
        let made = written.iter().rfind(|entry| {
            entry.json.pointer("/request/body/customer_endpoint").is_some()
                && entry.text("/operation") == "create"
        });
        ids.push(made.unwrap().text("/id"));
        let proof = path(&world, &format!("{round}.proof"));
        let (exit, told) = audit(&world, &["prove", ids.last().unwrap(), "--to", &proof]);
        assert_eq!(exit, 0, "{told}");
        proofs.push(proof);
        // Between the proof and the archive, and so that the archive ends in the time of the key before.
        let rotated = world.program(&["keys", "rotate", "--config", &world.config()]);
        assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
        let archive = path(&world, &format!("{round}.gz"));
        let (exit, told) = audit(&world, &["archive", "--before", "0s", "--to", &archive]);
        assert!(exit == 0 && told.starts_with("archived"), "{told}");
        archives.push(archive);
        world.launch().await;
    }
    world.stop().await;
    let keys = public_keys(&world);
    assert_eq!(keys.len(), 3, "{keys:?}");
    let database = world.database().display().to_string();
    let verify = |args: &[&str]| world.program(&[&["audit", "verify"], args].concat()).status.code();
    for key in &keys {
        assert_eq!(verify(&["--database", &database, "--public-key", key]), Some(0), "{key}");
    }
    assert_eq!(verify(&["--config", &world.config()]), Some(0));
    for (round, key) in keys.iter().take(2).enumerate() {
        assert_eq!(verify(&[&proofs[round], "--public-key", key]), Some(0), "{round}");
        assert_eq!(verify(&[&archives[round], "--public-key", key]), Some(0), "{round}");
        // And anew, by the newest key, out of the archive.
        let anew = path(&world, "anew.proof");
        let with = ["--public-key", &keys[2], "--public-key", key, "--archive", &archives[round]];
        let asked = ["audit", "prove", &ids[round], "--database", &database, "--to", &anew];
        let proven = world.program(&[&asked[..], &with[..]].concat());
        assert!(proven.status.success(), "{round}: {}", String::from_utf8_lossy(&proven.stderr));
        assert_eq!(verify(&[&anew, "--public-key", &keys[2]]), Some(0), "{round}");
        assert_eq!(verify(&[&anew, "--public-key", key]), Some(3), "{round}");
    }
    // An entry is changed in a copy: one of which parts are archived, and one that is whole.
    let copy = path(&world, "copy.db");
    let whole = world.entries().await.into_iter().rfind(|entry| entry.text("/operation") == "list").unwrap();
    for id in [&ids[0], &whole.text("/id")] {
        std::fs::copy(&database, &copy).unwrap();
        let change = format!(
            "DROP TRIGGER entries_no_update;
             UPDATE entries SET entry = replace(entry, 'operator', 'somebody') WHERE id = '{id}';
             UPDATE entries SET entry = replace(entry, 'viewer', 'somebody') WHERE id = '{id}'"
        );
        let mut connection = SqliteConnectOptions::new().filename(&copy).connect().await.unwrap();
        let guard = "SELECT sql FROM sqlite_schema WHERE name = 'entries_no_update'";
        let guard: String = sqlx::query_scalar(guard).fetch_one(&mut connection).await.unwrap();
        let change = format!("{change}; {guard}");
        sqlx::raw_sql(AssertSqlSafe(change)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        for key in &keys {
            assert_eq!(verify(&["--database", &copy, "--public-key", key]), Some(3), "{id} {key}");
        }
    }
    let prove = ["audit", "prove", &whole.text("/id"), "--database", &copy, "--public-key", &keys[2]];
    assert_eq!(world.program(&prove).status.code(), Some(3));
    let changed = std::fs::read_to_string(&proofs[0]).unwrap().replacen("extra ", "extra A", 1);
    std::fs::write(&proofs[0], changed).unwrap();
    assert_eq!(verify(&[&proofs[0], "--public-key", &keys[0]]), Some(3));
}
