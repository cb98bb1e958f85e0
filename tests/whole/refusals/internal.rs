//! A fault of our own: a panic in the middle of a call.
//!
//! Nothing in the product panics on purpose, and no input is known that makes it. What can be made to panic is what
//! the product is given from outside: here the whole of it runs in the test's process, on a clock that breaks once.
//! Not here: that other calls live on (`src/listen/tests/calls.rs`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tunnelwarden::clock::{Clock, SystemClock};
use tunnelwarden::config;
use tunnelwarden::service::Running;

use crate::harness::{Answer, PATIENCE, Wishes, World};

use super::ask::{bearer, line, request, send_to};
use super::row::{Group, Row};

pub(super) const GROUP: Group = Group {
    apart: true,
    wishes: Wishes::default,
    rows: &[Row::new("internal", 500, 99900, |w| Box::pin(on_a_clock_that_breaks(w)))],
};

async fn on_a_clock_that_breaks(world: &World) -> Answer {
    let config = config::load(Path::new(&world.config()), &BTreeMap::new()).unwrap();
    let clock = Arc::new(Breaking { clock: SystemClock::new(), breaks: AtomicBool::new(false) });
    let running = Running::start(&config, clock.clone()).await.unwrap();
    // The check of the upstream token at the start asks for the time, too; it must be over.
    let until = tokio::time::Instant::now() + PATIENCE;
    while !world.emulator.calls().iter().any(|call| call.status.is_some()) {
        assert!(tokio::time::Instant::now() < until, "the token is never checked");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    clock.breaks.store(true, Ordering::SeqCst);
    let request = request(&line("GET", ""), &[&bearer(world, "viewer")], None);
    let answer = send_to(running.api(), &request).await;
    assert!(!clock.breaks.load(Ordering::SeqCst), "the clock was asked");
    running.stop().await;
    answer
}

/// A clock that panics once when it is asked for the time of day.
#[derive(Debug)]
struct Breaking {
    clock: Arc<SystemClock>,
    breaks: AtomicBool,
}

impl Clock for Breaking {
    fn now(&self) -> Timestamp {
        assert!(!self.breaks.swap(false, Ordering::SeqCst), "as the test wants it");
        self.clock.now()
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}
