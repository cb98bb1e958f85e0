//! A one-shot call whose client hangs up: its answer, which may hold the only copy of a key, reaches nobody.
//!
//! Not here: how the listener notices (`src/listen/tests/calls.rs`).

use std::time::Duration;

use http::Method;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tunnelwarden::emulator::Fault;
use tunnelwarden::operation::Operation;

use crate::harness::{PATIENCE, Stored, World, collection, tunnel_body};

/// Long enough for the proxy to see that nobody is there any more.
const SLOW: Duration = Duration::from_secs(1);

/// Sends a request, and hangs up while the upstream takes its time with `operation`.
pub(crate) async fn hang_up(world: &World, operation: Operation, request: &[u8]) {
    world.emulator.fault(Fault::Latency(SLOW), operation, 1);
    let calls = world.emulator.calls().len();
    let mut stream = TcpStream::connect(world.proxy().api).await.unwrap();
    stream.write_all(request).await.unwrap();
    let until = tokio::time::Instant::now() + PATIENCE;
    while !world.emulator.calls().iter().skip(calls).any(|call| call.operation == Some(operation)) {
        assert!(tokio::time::Instant::now() < until, "the call never arrives:\n{}", world.stderr());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_key_that_reached_nobody_is_not_replaced_by_a_call_that_looks_new() {
    let mut world = World::start().await;
    let made = world.call("admin", Method::POST, "", Some(&tunnel_body("a", 1))).await;
    let path = format!("/{}/psk_generate", made.text_at("/result/id"));
    let request = format!(
        "POST {}{path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-length: 0\r\n\r\n",
        collection(),
        world.token("admin")
    );
    hang_up(&world, Operation::GeneratePsk, request.as_bytes()).await;
    let is_outcome =
        |entry: &Stored| entry.text("/kind") == "outcome" && entry.json.get("client_gone").is_some();
    let entries = world.wait_for("its outcome", |all| all.iter().any(is_outcome)).await;
    let first = entries.iter().find(|entry| is_outcome(entry)).unwrap().text("/request_id");
    for _ in 0..2 {
        let again = world.call("admin", Method::POST, &path, None).await;
        assert_eq!(again.status, 409, "{}", again.text());
        assert!(again.text().contains(&first), "{}", again.text());
        world.stop().await;
        world.launch().await;
    }
    assert_eq!(world.emulator.effects()[&Operation::GeneratePsk], 1);
}
