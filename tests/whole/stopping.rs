//! SIGTERM in the middle of work: what has begun is ended, answered and recorded, and then the program is gone.
//!
//! Not here: how a connection is told (`src/listen/tests/calls.rs`), kills (`crash`).

use std::collections::BTreeSet;
use std::time::Duration;

use http::Method;
use tunnelwarden::emulator::Fault;
use tunnelwarden::operation::Operation;

use crate::crash::callers::{Callers, Random};
use crate::crash::{WRITES, furnish};
use crate::harness::{PATIENCE, Stored, Wishes, World, tunnel_body};

/// Long enough that several calls are under way at any time, far less than the time to stop in.
const SLOW: Duration = Duration::from_millis(150);

async fn world(drain_timeout: &str) -> World {
    let config = vec![
        ("listen.drain_timeout", format!("{drain_timeout:?}")),
        ("limits.upstream_budget", "{ requests = 100000, window = \"5m\" }".to_owned()),
    ];
    let world = World::with(Wishes { config, unlimited: true, ..Wishes::default() }).await;
    furnish(&world);
    world
}

/// The calls that ended, as the record has them: request id and status.
fn ended(entries: &[Stored]) -> BTreeSet<(String, i64)> {
    let ends = entries.iter().filter(|e| matches!(e.text("/kind").as_str(), "outcome" | "refusal"));
    ends.map(|e| (e.text("/request_id"), e.number("/status").unwrap())).collect()
}

#[track_caller]
fn check_stopped(world: &World, entries: &[Stored], status: std::process::ExitStatus) {
    assert!(status.success(), "{status}: {}", world.stderr());
    assert_eq!(entries.last().map(|last| last.text("/kind")), Some("stopped".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_cuts_no_call_and_all_of_them_are_recorded() {
    let mut world = world("20s").await;
    for operation in WRITES.into_iter().chain([Operation::List, Operation::Get]) {
        world.emulator.fault(Fault::Latency(SLOW), operation, u32::MAX);
    }
    let callers = Callers::start(&world, &mut Random::new(1, 1));
    let under_way = || world.emulator.calls().iter().filter(|call| call.status.is_none()).count();
    let until = tokio::time::Instant::now() + PATIENCE;
    while world.emulator.effects().len() < 3 || under_way() < 3 {
        assert!(tokio::time::Instant::now() < until, "nothing is under way");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    world.terminate();
    let status = world.ended().await;
    let heard = callers.end().await.heard;
    let entries = world.entries().await;
    check_stopped(&world, &entries, status);
    // What a client got, whole, and what the record tells are the same calls.
    let heard: BTreeSet<_> =
        heard.into_iter().map(|answer| (answer.request_id, i64::from(answer.status))).collect();
    assert_eq!(heard, ended(&entries));
    assert!(heard.len() > 10, "{heard:?}");
    assert!(!world.stderr().contains("still under way"), "{}", world.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_outlasts_the_time_to_stop_is_found_out_by_the_next_start() {
    let mut world = world("1s").await;
    world.emulator.fault(Fault::HangAfter(Duration::from_secs(3)), Operation::Create, 1);
    let token = world.token("operator");
    let body = tunnel_body("long", 9);
    let cut = {
        let call = world.try_call(&token, Method::POST, "", Some(&body), &[]);
        let stop = async {
            let until = tokio::time::Instant::now() + PATIENCE;
            while !world.emulator.effects().contains_key(&Operation::Create) {
                assert!(tokio::time::Instant::now() < until, "the call never arrives");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            world.terminate();
        };
        tokio::join!(call, stop).0
    };
    let status = world.ended().await;
    assert!(cut.is_err(), "{cut:?}");
    let entries = world.entries().await;
    check_stopped(&world, &entries, status);
    assert!(world.stderr().contains("calls were still under way when the time to stop was over"));
    let intent = entries.iter().find(|entry| entry.text("/kind") == "intent").unwrap();
    world.launch().await;
    let told = |all: &[Stored]| all.iter().any(|entry| entry.text("/kind") == "resolved");
    let entries = world.wait_for("what became of it", told).await;
    let resolved = entries.iter().find(|entry| entry.text("/kind") == "resolved").unwrap();
    assert_eq!(resolved.text("/intent_id"), intent.text("/id"));
    assert_eq!(resolved.text("/resolution"), "applied", "{}", resolved.raw);
}
