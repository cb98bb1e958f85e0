//! A client that hangs up in the middle of a call: the call goes on, and its record says so.
//!
//! Not here: how the listener notices (`src/listen/tests/calls.rs`).

use std::time::Duration;

use http::Method;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tunnelwarden::emulator::Fault;
use tunnelwarden::json::Json;
use tunnelwarden::operation::Operation;

use crate::harness::{PATIENCE, Stored, World, collection, tunnel_body};

/// Long enough for the proxy to see that nobody is there any more.
const SLOW: Duration = Duration::from_secs(2);

/// Sends a request and hangs up when the upstream has the call. Its outcome.
async fn hang_up(world: &World, role: &str, operation: Operation, line: &str, body: Option<&str>) -> Stored {
    world.emulator.fault(Fault::Latency(SLOW), operation, 1);
    let (calls, entries) = (world.emulator.calls().len(), world.entries().await.len());
    let body = body.unwrap_or_default();
    let request = format!(
        "{line} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        world.token(role),
        body.len()
    );
    let mut stream = TcpStream::connect(world.proxy().api).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let until = tokio::time::Instant::now() + PATIENCE;
    while !world.emulator.calls().iter().skip(calls).any(|call| call.operation == Some(operation)) {
        assert!(tokio::time::Instant::now() < until, "the call never arrives");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(stream);
    let ended = |entry: &&Stored| entry.text("/kind") == "outcome";
    let all = world.wait_for("its outcome", |all| all.iter().skip(entries).any(|e| ended(&e))).await;
    all.iter().skip(entries).find(ended).unwrap().clone()
}

#[track_caller]
fn check(outcome: &Stored) {
    assert_eq!(outcome.json.get("client_gone"), Some(&Json::Bool(true)), "{}", outcome.raw);
    assert_eq!((outcome.text("/sent").as_str(), outcome.number("/status")), ("yes", Some(200)));
}

#[tokio::test]
async fn a_client_that_hangs_up_during_a_write_is_told_of() {
    let world = World::start().await;
    let line = format!("POST {}", collection());
    let body = tunnel_body("a", 1);
    check(&hang_up(&world, "operator", Operation::Create, &line, Some(&body)).await);
    assert_eq!(world.emulator.effects()[&Operation::Create], 1);
}

#[tokio::test]
async fn a_client_that_hangs_up_during_a_read_is_told_of() {
    let world = World::start().await;
    let made = world.call("operator", Method::POST, "", Some(&tunnel_body("a", 1))).await;
    let line = format!("GET {}/{}", collection(), made.text_at("/result/id"));
    check(&hang_up(&world, "viewer", Operation::Get, &line, None).await);
}
