//! One-shot calls that come again: by accident they are made once, on purpose as often as they are meant.
//!
//! Not here: the book of such calls (`src/audit/one_shot.rs`), what is found out after a crash (`crash`).

use std::time::Duration;

use http::Method;
use tunnelwarden::emulator::Fault;
use tunnelwarden::operation::Operation;

use crate::harness::{Answer, Wishes, World, tunnel_body};

async fn generate(world: &World, path: &str, retry_count: &str) -> Answer {
    let with = [("x-stainless-retry-count", retry_count)];
    world.call_with("admin", Method::POST, &format!("{path}/psk_generate"), None, &with).await
}

async fn tunnel(world: &World) -> String {
    let made = world.call("operator", Method::POST, "", Some(&tunnel_body("a", 1))).await;
    format!("/{}", made.text_at("/result/id"))
}

/// A call of this operation is about to be sent, or was.
async fn begun(world: &World, operation: &str) {
    world
        .wait_for("an intent", |entries| {
            entries.iter().any(|e| e.text("/kind") == "intent" && e.text("/operation") == operation)
        })
        .await;
}

#[tokio::test]
async fn a_call_that_comes_while_an_equal_one_is_under_way_is_its_repetition() {
    let world = World::start().await;
    let path = tunnel(&world).await;
    world.emulator.fault(Fault::Latency(Duration::from_secs(2)), Operation::GeneratePsk, 1);
    let second = async {
        begun(&world, "generate_psk").await;
        generate(&world, &path, "0").await
    };
    let (first, second) = tokio::join!(generate(&world, &path, "0"), second);
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(second.error_code(), 99405, "{}", second.text());
    assert!(second.text().contains(&first.header("x-request-id")));
    assert_eq!(generate(&world, &path, "0").await.status, 200, "a new one is none");
    assert_eq!(world.emulator.effects()[&Operation::GeneratePsk], 2);
}

#[tokio::test]
async fn a_retry_of_a_call_that_was_refused_unsent_is_no_repetition_of_an_earlier_one() {
    let config = vec![("upstream.turn_timeout", "\"100ms\"".to_owned())];
    let world = World::with(Wishes { config, ..Wishes::default() }).await;
    let path = tunnel(&world).await;
    assert_eq!(generate(&world, &path, "0").await.status, 200);
    world.emulator.fault(Fault::Latency(Duration::from_secs(2)), Operation::Update, 1);
    let body = tunnel_body("a", 2);
    let put = world.call("operator", Method::PUT, &path, Some(&body));
    let busy = async {
        begun(&world, "update").await;
        generate(&world, &path, "0").await
    };
    let (put, busy) = tokio::join!(put, busy);
    assert_eq!(put.status, 200, "{}", put.text());
    assert_eq!((busy.error_code(), busy.header("x-should-retry").as_str()), (99404, "true"));
    assert_eq!(generate(&world, &path, "1").await.status, 200, "the retry of the one that was refused");
    assert_eq!(generate(&world, &path, "1").await.error_code(), 99405);
    assert_eq!(world.emulator.effects()[&Operation::GeneratePsk], 2);
}
