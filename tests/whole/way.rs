//! A call's whole way, when all is well.

use http::Method;
use tunnelwarden::emulator::Fault;
use tunnelwarden::operation::Operation;

use crate::harness::{Wishes, World, tunnel_body};

#[tokio::test]
async fn a_write_is_an_intent_and_an_outcome_and_a_read_is_one_entry() {
    let world = World::start().await;
    let made = world.call("operator", Method::POST, "", Some(&tunnel_body("a", 1))).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let id = made.text_at("/result/id");
    let got = world.call("viewer", Method::GET, &format!("/{id}"), None).await;
    assert_eq!(got.status, 200);
    let kinds: Vec<String> = world.entries().await.iter().map(|entry| entry.text("/kind")).collect();
    assert_eq!(kinds, ["started", "intent", "outcome", "outcome"]);
    assert_eq!(got.header("x-request-id"), world.entries().await[3].text("/request_id"));
}

#[tokio::test]
async fn what_changed_stands_in_the_record_with_the_old_value() {
    let world = World::start().await;
    let made = world.call("operator", Method::POST, "", Some(&tunnel_body("a", 1))).await;
    let id = made.text_at("/result/id");
    let moved = tunnel_body("a", 1).replace("198.51.100.1", "198.51.100.99");
    let put = world.call("operator", Method::PUT, &format!("/{id}"), Some(&moved)).await;
    assert_eq!(put.status, 200, "{}", put.text());
    let entries = world.entries().await;
    let patch = entries.last().unwrap().json.pointer("/before_after_diff/0/patch").unwrap().to_string();
    // The upstream's health check follows the endpoint, so both have changed.
    let want = concat!(
        r#"[{"op":"replace","path":"/customer_endpoint","value":"198.51.100.99","old":"198.51.100.1"},"#,
        r#"{"op":"replace","path":"/health_check/target","value":"198.51.100.99","old":"198.51.100.1"}]"#
    );
    assert_eq!(patch, want);
    for tunnel in ["a", &id] {
        let told = world.program(&["audit", "history", "--config", &world.config(), tunnel]);
        let told = String::from_utf8(told.stdout).unwrap();
        let lines: Vec<&str> = told.lines().collect();
        assert!(lines[0].contains("operator@test  create  200  "), "{told}");
        assert!(lines[1].starts_with("    + the whole tunnel: {"), "{told}");
        assert!(lines[2].contains("operator@test  update  200  "), "{told}");
        assert_eq!(lines[3], r#"    customer_endpoint: "198.51.100.1" → "198.51.100.99""#);
    }
    let none = world.program(&["audit", "history", "--config", &world.config(), "nobody"]);
    assert_eq!(none.status.code(), Some(1));
}

#[tokio::test]
async fn a_stale_etag_is_a_412_and_nothing_is_sent() {
    let world = World::start().await;
    let made = world.call("operator", Method::POST, "", Some(&tunnel_body("a", 1))).await;
    let path = format!("/{}", made.text_at("/result/id"));
    let etag = world.call("viewer", Method::GET, &path, None).await.header("etag");
    assert_eq!(etag, made.header("etag"));
    let moved = tunnel_body("a", 1).replace("198.51.100.1", "198.51.100.99");
    let with = [("if-match", etag.as_str())];
    let first = world.call_with("operator", Method::PUT, &path, Some(&moved), &with).await;
    assert_eq!(first.status, 200, "{}", first.text());
    assert_ne!(first.header("etag"), etag);
    let second = world.call_with("operator", Method::PUT, &path, Some(&tunnel_body("a", 1)), &with).await;
    assert_eq!(second.status, 412, "{}", second.text());
    assert_eq!(world.emulator.effects()[&Operation::Update], 1);
}

#[tokio::test]
async fn what_was_done_once_is_not_to_be_repeated_and_the_answer_says_so() {
    let world = World::start().await;
    let said = async |role: &str, method: Method, path: &str, body: Option<&str>| {
        let answer = world.call(role, method.clone(), path, body).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
        (answer.header("x-should-retry"), answer)
    };
    let (retry, made) = said("operator", Method::POST, "", Some(&tunnel_body("a", 1))).await;
    assert_eq!(retry, "false", "create");
    let id = made.text_at("/result/id");
    let keys = format!("{{\"psks\":[{{\"id\":\"{id}\",\"psk\":\"0123456789abcdefghij\"}}]}}");
    let (one, generate) = (format!("/{id}"), format!("/{id}/psk_generate"));
    let (second, moved) = (tunnel_body("b", 2), tunnel_body("c", 3));
    for (method, path, body, wanted) in [
        (Method::POST, generate.as_str(), None, "false"),
        (Method::POST, "/psk", Some(keys.as_str()), "false"),
        // These change nothing, or may be made twice.
        (Method::POST, "?validate_only=true", Some(&second), ""),
        (Method::POST, &format!("{generate}?validate_only=true"), None, ""),
        (Method::PUT, &one, Some(&moved), ""),
        (Method::GET, &one, None, ""),
        (Method::GET, "", None, ""),
        (Method::DELETE, &one, None, ""),
    ] {
        assert_eq!(said("admin", method.clone(), path, body).await.0, wanted, "{method} {path}");
    }
}

#[tokio::test]
async fn of_an_answer_that_is_no_json_the_record_has_size_and_digest_and_not_the_text() {
    let bodies = ("audit.bodies", "{ read = true, write = true, secret = true }".to_owned());
    let world = World::with(Wishes { config: vec![bodies], ..Wishes::default() }).await;
    let made = world.call("operator", Method::POST, "", Some(&tunnel_body("a", 1))).await;
    let path = format!("/{}", made.text_at("/result/id"));
    let moved = tunnel_body("a", 2);
    for (method, path, body, operation) in [
        (Method::GET, path.as_str(), None, Operation::Get),
        (Method::POST, "", Some(moved.as_str()), Operation::Create),
    ] {
        world.emulator.fault(Fault::Html, operation, 1);
        let answer = world.call("operator", method, path, body).await;
        assert_eq!(
            (answer.status, answer.header("content-type").as_str()),
            (502, "text/html; charset=UTF-8")
        );
        assert!(answer.text().starts_with("<!DOCTYPE html>"), "{}", answer.text());
        let entries = world.entries_of(&answer.header("x-request-id")).await;
        let outcome = entries.last().unwrap();
        assert_eq!(outcome.text("/kind"), "outcome");
        assert_eq!(outcome.number("/response/size"), i64::try_from(answer.body.len()).ok());
        let digest = outcome.text("/response/digest");
        assert!(digest.len() > 32, "{}", outcome.raw);
        assert_eq!(outcome.text("/response/content_type"), "text/html");
        assert!(outcome.json.pointer("/response/body").is_none(), "{}", outcome.raw);
        assert!(!outcome.raw.contains("DOCTYPE") && !outcome.raw.contains("<h1>"), "{}", outcome.raw);
        assert_eq!(outcome.number("/upstream/status"), Some(502), "{}", outcome.raw);
    }
}

#[tokio::test]
async fn each_exchange_with_the_upstream_is_measured() {
    let world = World::start().await;
    let made = world.call("operator", Method::POST, "", Some(&tunnel_body("a", 1))).await;
    let path = format!("/{}", made.text_at("/result/id"));
    world.call("viewer", Method::GET, &path, None).await;
    // Reads the state before.
    world.call("operator", Method::PUT, &path, Some(&tunnel_body("a", 1))).await;
    let metrics = world.admin("/metrics").await.text();
    for (operation, count) in [("create", 1), ("get", 2), ("update", 1)] {
        let line =
            format!("tunnelwarden_upstream_duration_seconds_count{{operation=\"{operation}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
}

#[tokio::test]
async fn an_etag_is_of_a_tunnel_that_is_there() {
    let world = World::start().await;
    let made = world.call("operator", Method::POST, "", Some(&tunnel_body("a", 1))).await;
    let path = format!("/{}", made.text_at("/result/id"));
    let moved = tunnel_body("a", 2);
    let tried = format!("{path}?validate_only=true");
    let tried = world.call("operator", Method::PUT, &tried, Some(&moved)).await;
    assert_eq!((tried.status, tried.header("etag").as_str()), (200, ""), "{}", tried.text());
    let put = world.call("operator", Method::PUT, &path, Some(&moved)).await;
    assert_eq!(put.header("etag"), world.call("viewer", Method::GET, &path, None).await.header("etag"));
    assert_ne!(put.header("etag"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_one_file_after_a_stop() {
    let mut world = World::start().await;
    let wal = format!("{}-wal", world.database().display());
    for round in 0..8 {
        let made = world.call("operator", Method::POST, "", Some(&tunnel_body("a", 1))).await;
        assert!(made.status == 200 || round > 0, "{}", made.text());
        // Connections that read, and idle then.
        let reads = (0..2).map(|_| world.read("security", "entries"));
        assert!(futures_util::future::join_all(reads).await.iter().all(|answer| answer.status == 200));
        world.stop().await;
        assert!(
            !std::path::Path::new(&wal).exists(),
            "round {round}: who copies the database lacks what is in its log"
        );
        world.launch().await;
    }
}
