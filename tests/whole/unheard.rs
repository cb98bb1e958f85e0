//! A one-shot call whose client hangs up.
//!
//! Not here: how the listener notices (`src/listen/tests/calls.rs`).

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tunnelwarden::emulator::Fault;
use tunnelwarden::operation::Operation;

use crate::harness::{PATIENCE, World};

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
