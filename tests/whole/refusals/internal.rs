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
use tunnelwarden::cli::log;
use tunnelwarden::clock::{Clock, SystemClock};
use tunnelwarden::config;
use tunnelwarden::emulator::{Call, Fault};
use tunnelwarden::operation::Operation;
use tunnelwarden::service::{Running, Source};

use crate::harness::{Answer, PATIENCE, Wishes, World, tunnel_body};

use super::ask::{bearer, line, request, send_to};
use super::row::{Group, Row};

pub(super) const GROUP: Group = Group {
    apart: true,
    wishes: Wishes::default,
    rows: &[Row::new("internal", 500, 99900, |w| Box::pin(on_a_clock_that_breaks(w)))],
};

/// Between two calls, so the first stage of the next one panics.
async fn on_a_clock_that_breaks(world: &World) -> Answer {
    let (running, clock) = start(world).await;
    clock.breaks.store(true, Ordering::SeqCst);
    let request = request(&line("GET", ""), &[&bearer(world, "viewer")], None);
    let answer = send_to(running.api(), &request).await;
    assert!(!clock.breaks.load(Ordering::SeqCst), "the clock was asked");
    running.stop().await;
    answer
}

/// Set in the process that is to panic.
const TO_PANIC: &str = "TUNNELWARDEN_TEST_PANICS";

/// What the text of the panic quotes.
const CANARY: &str = "canary-0451-in-a-panic";

/// A panic quotes what was worked on. Neither its text nor a backtrace is told, whatever the environment asks for.
#[test]
fn a_panic_in_a_call_shows_nothing_of_what_was_worked_on() {
    let name = "refusals::internal::a_call_that_panics_in_a_process_of_its_own";
    let ended = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(TO_PANIC, "1")
        .env("RUST_BACKTRACE", "full")
        .output()
        .unwrap();
    let told = [ended.stdout, ended.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(ended.status.success() && told.contains("1 passed"), "{told}");
    assert!(told.contains("a panic") && told.contains("internal.rs"), "its place is told: {told}");
    assert!(!told.contains(CANARY), "{told}");
    assert!(!told.contains("rust_begin_unwind"), "{told}");
}

#[tokio::test]
async fn a_call_that_panics_in_a_process_of_its_own() {
    if std::env::var_os(TO_PANIC).is_none() {
        return;
    }
    log::install_panic_hook();
    let world = World::prepared(Wishes::default()).await;
    let config = config::load(Path::new(&world.config()), &BTreeMap::new()).unwrap();
    let _refilter = log::start(&config.log, false).unwrap();
    let answer = on_a_clock_that_breaks(&world).await;
    assert_eq!((answer.status, answer.error_code()), (500, 99900), "{}", answer.text());
    assert!(!answer.text().contains(CANARY), "{}", answer.text());
    let entries = world.entries_of(&answer.header("x-request-id")).await;
    assert!(entries.len() == 1 && !entries[0].raw.contains(CANARY), "{entries:?}");
}

/// The upstream has acted, and its answer is lost in a fault of ours: the intent has its outcome all the same.
#[tokio::test]
async fn a_panic_after_the_upstream_acted_leaves_an_outcome() {
    let world = World::prepared(Wishes::default()).await;
    let (running, clock) = start(&world).await;
    // Long enough to break the clock while the upstream has the call.
    world.emulator.fault(Fault::Latency(Duration::from_secs(1)), Operation::Create, 1);
    let headers = [&bearer(&world, "operator"), "content-type: application/json"];
    let request = request(&line("POST", ""), &headers, Some(&tunnel_body("a", 1)));
    let call = send_to(running.api(), &request);
    let breaks = async {
        until(&world, |call| call.operation == Some(Operation::Create)).await;
        clock.breaks.store(true, Ordering::SeqCst);
    };
    let (answer, ()) = tokio::join!(call, breaks);
    assert_eq!((answer.status, answer.error_code()), (500, 99900), "{}", answer.text());
    // Nobody knows what became of it, so it is not to be made again.
    assert_eq!(answer.header("x-should-retry"), "false");
    assert_eq!(world.emulator.effects()[&Operation::Create], 1);
    running.stop().await;

    let entries = world.entries().await;
    let of = |kind: &str| entries.iter().find(|entry| entry.text("/kind") == kind);
    let intent = of("intent").expect("an intent");
    let outcome = of("outcome").expect("an outcome");
    assert_eq!(outcome.text("/intent_id"), intent.text("/id"));
    assert_eq!(outcome.text("/sent"), "unknown");
    assert_eq!(outcome.text("/refusal/name"), "internal");
    // Client and record have one name for the call, and it stands there once.
    let request_id = answer.header("x-request-id");
    assert_eq!(intent.text("/request_id"), request_id);
    assert_eq!(outcome.text("/request_id"), request_id);
    assert!(of("refusal").is_none(), "{:?}", of("refusal"));
}

/// What was known of a call that panics is told of it.
#[tokio::test]
async fn a_panic_in_a_read_is_recorded_with_its_caller_and_its_operation() {
    let world = World::prepared(Wishes::default()).await;
    let (running, clock) = start(&world).await;
    world.emulator.fault(Fault::Latency(Duration::from_secs(1)), Operation::List, 1);
    let call = request(&line("GET", ""), &[&bearer(&world, "viewer")], None);
    let call = send_to(running.api(), &call);
    let breaks = async {
        until(&world, |call| call.operation == Some(Operation::List)).await;
        clock.breaks.store(true, Ordering::SeqCst);
    };
    let (answer, ()) = tokio::join!(call, breaks);
    assert_eq!((answer.status, answer.error_code()), (500, 99900), "{}", answer.text());
    running.stop().await;
    let entries = world.entries_of(&answer.header("x-request-id")).await;
    let [refusal] = entries.as_slice() else { panic!("one entry: {entries:?}") };
    assert_eq!(refusal.text("/refusal/name"), "internal");
    assert_eq!(
        (refusal.text("/subject").as_str(), refusal.text("/operation").as_str()),
        ("viewer@test", "list")
    );
}

/// Runs the product on a clock that can be broken. When this returns nothing but a call asks for the time.
async fn start(world: &World) -> (Running, Arc<Breaking>) {
    let config = config::load(Path::new(&world.config()), &BTreeMap::new()).unwrap();
    let clock = Arc::new(Breaking { clock: SystemClock::new(), breaks: AtomicBool::new(false) });
    let (file, variables) = (world.config().into(), BTreeMap::new());
    let source = Source { file, variables, filter: Box::new(|_| {}) };
    let running = Running::start(config, source, clock.clone()).await.unwrap();
    // The check of the upstream token at the start.
    until(world, |call| call.status.is_some()).await;
    (running, clock)
}

/// Waits until such a call is at the emulator.
async fn until(world: &World, found: impl Fn(&Call) -> bool) {
    let until = tokio::time::Instant::now() + PATIENCE;
    while !world.emulator.calls().iter().any(&found) {
        assert!(tokio::time::Instant::now() < until, "the call never arrives");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A clock that panics once when it is asked for the time of day.
#[derive(Debug)]
struct Breaking {
    clock: Arc<SystemClock>,
    breaks: AtomicBool,
}

impl Clock for Breaking {
    fn now(&self) -> Timestamp {
        assert!(!self.breaks.swap(false, Ordering::SeqCst), "as the test wants it: {CANARY}");
        self.clock.now()
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}
