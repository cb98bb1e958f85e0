//! A call's whole way, when all is well.

use http::Method;

use crate::harness::{World, tunnel_body};

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
    assert_eq!(world.emulator.effects()[&tunnelwarden::operation::Operation::Update], 1);
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
