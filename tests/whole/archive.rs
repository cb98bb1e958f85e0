//! Old bodies moved out of a record by the program itself, also when it is killed on the way: every question has the answer
//! that it had before.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use http::Method;

use crate::harness::{Wishes, World, tunnel_body};

const KILLS: u64 = 25;

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

fn find_secret(world: &World, secret: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tunnelwarden"))
        .args(["audit", "find-secret", "--json", "--config", &world.config()])
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

fn answers(world: &World, keys: &[String]) -> Vec<String> {
    let asked = QUESTIONS.iter().map(|args| {
        let (exit, told) = audit(world, args);
        assert_eq!(exit, 0, "{args:?}: {told}");
        // What came since, such as the archive's own entry, is not asked for.
        told.lines().filter(|line| !line.contains("archived  ")).collect::<Vec<_>>().join("\n")
    });
    asked.chain(keys.iter().map(|key| find_secret(world, key))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_question_has_the_answer_that_it_had_before_the_archive() {
    let mut world = World::with(Wishes { unlimited: true, ..Wishes::default() }).await;
    let (id, mut keys) = play(&world, 1).await;
    keys.push("a key that was never handled".to_owned());
    fill(&world).await;
    let file = world.dir.path().join("old.archive.gz").display().to_string();
    let (exit, told) = audit(&world, &["archive", "--before", "0s", "--to", &file]);
    assert!(exit == 1 && told.contains("another process writes"), "{told}");
    world.stop().await;
    let before = answers(&world, &keys);
    assert!(before.iter().any(|told| told.contains(&id)));
    let created =
        world.entries().await.into_iter().find(|e| e.raw.contains("\"customer_endpoint\"")).unwrap();
    let entry_id = created.text("/id");
    let old = audit(&world, &["prove", &entry_id]).1;

    let (exit, told) = audit(&world, &["archive", "--before", "0s", "--to", &file]);
    assert!(exit == 0 && told.starts_with("archived: entries 0 to "), "{told}");
    let after = answers(&world, &keys);
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
    let before = answers(&world, &keys);
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
        assert_eq!(answers(&world, &keys), before, "{round}");
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
