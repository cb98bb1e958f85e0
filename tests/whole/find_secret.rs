//! A key that turned up somewhere: was it ours, and which tunnels may still have it?

use std::io::Write as _;
use std::process::{Command, Stdio};

use http::Method;
use tunnelwarden::emulator::Fault;
use tunnelwarden::json::{self, Json};
use tunnelwarden::operation::Operation;

use crate::harness::{Wishes, World, tunnel_body};

/// What `audit find-secret` says of a secret, and how it exits.
fn find(world: &World, secret: &str, flags: &[&str]) -> (Option<i32>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tunnelwarden"))
        .args(["audit", "find-secret", "--config", &world.config()])
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env_clear()
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(secret.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8(done.stdout).unwrap() + &String::from_utf8(done.stderr).unwrap();
    assert!(
        secret.trim_end().is_empty() || !said.contains(secret.trim_end()),
        "it must not repeat the secret: {said}"
    );
    (done.status.code(), said)
}

fn found(world: &World, secret: &str) -> Json {
    let (exit, said) = find(world, secret, &["--json"]);
    assert_eq!(exit, Some(0), "{said}");
    json::read(said.as_bytes(), 16).unwrap()
}

#[tokio::test]
async fn a_key_is_found_where_it_was_handled_until_another_took_its_place() {
    let world = World::start().await;
    let mut ids = Vec::new();
    for n in 1..=2 {
        let made = world.call("admin", Method::POST, "", Some(&tunnel_body(&format!("t{n}"), n))).await;
        ids.push(made.text_at("/result/id"));
    }
    let chosen = "a-key-of-this-test-that-was-chosen";
    let pairs = ids.iter().map(|id| format!(r#"{{"id":"{id}","psk":"{chosen}"}}"#)).collect::<Vec<_>>();
    let body = format!(r#"{{"psks":[{}]}}"#, pairs.join(","));
    let set = world.call("admin", Method::POST, "/psk", Some(&body)).await;
    assert_eq!(set.status, 200, "{}", set.text());
    // Both tunnels have it, whether or not a line's end came with it.
    for secret in [chosen.to_owned(), format!("{chosen}\n"), format!("{chosen}\r\n")] {
        let known = found(&world, &secret);
        assert_eq!(known.get("handled"), Some(&Json::Bool(true)), "{known}");
        let tunnels = known.get("tunnels").and_then(Json::as_array).unwrap();
        assert_eq!(tunnels.len(), 2, "{known}");
        assert!(tunnels.iter().all(|one| one.get("lost") == Some(&Json::Null)), "{known}");
    }
    // One gets a minted key, the other is deleted.
    let minted = world.call("admin", Method::POST, &format!("/{}/psk_generate", ids[0]), None).await;
    let gone = world.call("admin", Method::DELETE, &format!("/{}", ids[1]), None).await;
    assert_eq!((minted.status, gone.status), (200, 200));
    let known = found(&world, chosen);
    let lost = |known: &Json, at: usize| {
        let pointer = format!("/tunnels/{at}/lost/operation");
        known.pointer(&pointer).and_then(Json::as_str).unwrap_or("-").to_owned()
    };
    let mut operations = [lost(&known, 0), lost(&known, 1)];
    operations.sort_unstable();
    assert_eq!(operations, ["delete", "generate_psk"], "{known}");
    // The minted one is known as well, and is the one in use.
    let (exit, said) = find(&world, &minted.text_at("/result/psk"), &[]);
    assert_eq!(exit, Some(0));
    for words in ["handled: ", "as psk: ", "admin@test generate_psk", "IT MAY BE IN USE", &ids[0]] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains("another key"), "{said}");
    // What was refused is handled, and no tunnel has it.
    let refused = format!(r#"{{"psks":[{{"id":"{}","psk":"a-key-of-this-test-that-was-tried"}}]}}"#, ids[0]);
    let tried = world.call("operator", Method::POST, "/psk", Some(&refused)).await;
    assert_eq!(tried.status, 403, "{}", tried.text());
    let known = found(&world, "a-key-of-this-test-that-was-tried");
    assert_eq!(known.pointer("/entries/0/kind").and_then(Json::as_str), Some("refusal"), "{known}");
    assert_eq!(known.get("tunnels").and_then(Json::as_array).map(<[Json]>::len), Some(0), "{known}");
}

/// Nobody knows how a call ended whose answer never came, until it is resolved: by then the tunnel may have the key.
#[tokio::test]
async fn a_key_of_a_call_that_was_lost_may_be_in_use() {
    let world = World::with(Wishes {
        config: vec![("audit.resolve_after", "\"1h\"".to_owned())],
        unchecked: true,
        ..Wishes::default()
    })
    .await;
    let mut ids = Vec::new();
    for n in 1..=3 {
        let made = world.call("admin", Method::POST, "", Some(&tunnel_body(&format!("t{n}"), n))).await;
        ids.push(made.text_at("/result/id"));
    }
    world.emulator.fault(Fault::DropAfter, Operation::SetPsks, 1);
    let pair = |at: usize, key: &str| format!(r#"{{"id":"{}","psk":"{key}"}}"#, ids[at]);
    let lost = "a-key-of-this-test-that-was-lost";
    let body = format!(r#"{{"psks":[{},{}]}}"#, pair(0, lost), pair(1, "a-key-of-this-test-for-the-other"));
    let answer = world.call("admin", Method::POST, "/psk", Some(&body)).await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    let known = found(&world, lost);
    let tunnels = known.get("tunnels").and_then(Json::as_array).unwrap();
    assert_eq!(tunnels.len(), 1, "{known}");
    assert_eq!(tunnels[0].get("tunnel").and_then(Json::as_str), Some(ids[0].as_str()), "{known}");
    assert_eq!(tunnels[0].get("sure"), Some(&Json::Bool(false)), "{known}");
    let (_, said) = find(&world, lost, &[]);
    assert!(said.contains("MAY HAVE GOT IT") && said.contains("IT MAY BE IN USE"), "{said}");
    // Another key takes its place.
    let minted = world.call("admin", Method::POST, &format!("/{}/psk_generate", ids[0]), None).await;
    assert_eq!(minted.status, 200, "{}", minted.text());
    let known = found(&world, lost);
    assert_eq!(
        known.pointer("/tunnels/0/lost/operation").and_then(Json::as_str),
        Some("generate_psk"),
        "{known}"
    );
}

/// Nobody knew that it was a key, so the record has it as it came.
#[tokio::test]
async fn a_key_that_somebody_put_into_a_text_is_said_to_stand_readable_there() {
    let world = World::start().await;
    let key = "a-key-of-this-test-in-a-text";
    let body = tunnel_body("t1", 1).replacen('{', &format!(r#"{{"description":"its key is {key}","#), 1);
    let made = world.call("admin", Method::POST, "", Some(&body)).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let agent = [("user-agent", key)];
    assert_eq!(world.call_with("viewer", Method::GET, "", None, &agent).await.status, 200);
    let (exit, said) = find(&world, key, &[]);
    for words in ["never handled as a key", "READABLE: ", "at /request/body/description", "/user_agent"] {
        assert!(exit == Some(0) && said.contains(words), "{words}: {said}");
    }
    let known = found(&world, key);
    let readable = known.get("readable").and_then(Json::as_array).unwrap();
    let holds = world.entries().await.iter().filter(|entry| entry.raw.contains(key)).count();
    assert!(holds >= 3 && readable.len() == holds, "{known}");
    let (_, said) = find(&world, "a-key-of-this-test-that-nobody-sent", &[]);
    assert!(said.contains("never handled: ") && said.contains("readable nowhere"), "{said}");
}

#[tokio::test]
async fn a_key_among_the_arguments_is_not_repeated() {
    let world = World::start().await;
    let key = "a-key-of-this-test-on-the-line";
    let done = world.program(&["audit", "find-secret", key, "--config", &world.config()]);
    let said = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
    assert!(
        done.status.code() == Some(2) && said.contains("standard input") && !said.contains(key),
        "{said}"
    );
}

#[tokio::test]
async fn a_key_that_was_never_handled_is_not_found_and_nothing_is_asked_of_nobody() {
    let world = World::start().await;
    let known = found(&world, "a-key-of-this-test-that-nobody-sent");
    assert_eq!(known.get("handled"), Some(&Json::Bool(false)), "{known}");
    let (exit, said) = find(&world, "\n", &[]);
    assert!(exit == Some(2) && said.contains("no secret was given"), "{said}");
    let other = world.dir.path().join("other.key");
    let lax = |text: &str| std::fs::write(&other, text).unwrap();
    lax("short");
    let (exit, said) = find(&world, "a-key-of-this-test", &["--fingerprint-key", other.to_str().unwrap()]);
    assert!(exit == Some(2) && said.contains("chmod 600"), "{said}");
}
