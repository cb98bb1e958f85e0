//! Metrics of how the whole is: each follows what it tells of.
//!
//! Not here: names, labels and forms (`src/ops/tests.rs`), what alerts and the dashboard ask for (`tests/deploy`).

use http::Method;
use tunnelwarden::emulator::Fault;
use tunnelwarden::operation::Operation;

use crate::harness::{PATIENCE, Wishes, World, tunnel_body};

/// The number behind a metric's name and labels.
async fn metric(world: &World, name: &str) -> f64 {
    let text = world.admin("/metrics").await.text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// Waits until a metric is so.
async fn wait_for(world: &World, name: &str, is: impl Fn(f64) -> bool) -> f64 {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let now = metric(world, name).await;
        if is(now) {
            return now;
        }
        assert!(tokio::time::Instant::now() < until, "{name} stays {now}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn entries_commits_checkpoints_and_the_budget_are_told_as_they_are() {
    let world = World::start().await;
    let before = metric(&world, "tunnelwarden_upstream_budget_remaining").await;
    for n in 1..4 {
        let made = world.call("operator", Method::POST, "", Some(&tunnel_body(&format!("t{n}"), n))).await;
        assert_eq!(made.status, 200, "{}", made.text());
    }
    let entries = world.entries().await.len();
    assert_eq!(
        metric(&world, "tunnelwarden_audit_entries").await,
        f64::from(u32::try_from(entries).unwrap())
    );
    let stored = metric(&world, "tunnelwarden_audit_batch_entries_sum").await;
    assert!(stored >= 6.0, "an intent and an outcome for each: {stored}");
    assert!(metric(&world, "tunnelwarden_audit_commit_duration_seconds_count").await >= 6.0);
    assert_eq!(metric(&world, "tunnelwarden_upstream_budget_limit").await, 1200.0);
    let left = metric(&world, "tunnelwarden_upstream_budget_remaining").await;
    assert!(left <= before - 3.0, "{before} {left}");
    for name in ["queue_appends", "queue_bytes", "owed_entries"] {
        assert_eq!(metric(&world, &format!("tunnelwarden_audit_{name}")).await, 0.0, "{name}");
    }
    assert_eq!(metric(&world, "tunnelwarden_audit_writable").await, 1.0);
    // Within what a test may take; an age since 1970 or the machine's start would not be.
    let patience = PATIENCE.as_secs_f64();
    for name in ["audit_checkpoint_age_seconds", "audit_checkpoint_file_age_seconds{file=\"0\"}"] {
        assert!(metric(&world, &format!("tunnelwarden_{name}")).await < patience, "{name}");
    }
    let issuer = "{issuer=\"https://idp.example\"}";
    assert_eq!(metric(&world, &format!("tunnelwarden_jwks_usable{issuer}")).await, 1.0);
    assert!(metric(&world, &format!("tunnelwarden_jwks_age_seconds{issuer}")).await < patience);
}

#[tokio::test]
async fn a_checkpoint_file_that_can_not_be_written_gets_old_and_the_other_does_not() {
    let config = vec![
        ("audit.checkpoint_file", "[\"checkpoint.txt\", \"no-such-folder/checkpoint.txt\"]".to_owned()),
        ("audit.heartbeat", "\"1s\"".to_owned()),
    ];
    let world = World::with(Wishes { config, ..Wishes::default() }).await;
    let age = |file: usize| format!("tunnelwarden_audit_checkpoint_file_age_seconds{{file=\"{file}\"}}");
    wait_for(&world, &age(1), |age| age > 4.0).await;
    let ready = world.admin("/readyz").await;
    let warning = ready.text_at("/warnings/0");
    assert!(warning.contains("file 1 of `audit.checkpoint_file`"), "{}", ready.text());
    // The good one is written again and again.
    wait_for(&world, &age(0), |age| age < 2.0).await;
    wait_for(&world, "tunnelwarden_audit_checkpoint_age_seconds", |age| age < 2.0).await;
}

#[tokio::test]
async fn a_lost_call_is_told_with_its_age_until_it_is_resolved() {
    let config = vec![("audit.resolve_after", "\"3s\"".to_owned())];
    let world = World::with(Wishes { config, ..Wishes::default() }).await;
    assert_eq!(metric(&world, "tunnelwarden_unresolved_intents").await, 0.0);
    assert_eq!(metric(&world, "tunnelwarden_unresolved_intents_oldest_age_seconds").await, 0.0);
    world.emulator.fault(Fault::DropAfter, Operation::Create, 1);
    let lost = world.call("operator", Method::POST, "", Some(&tunnel_body("a", 1))).await;
    assert_eq!(lost.status, 502, "{}", lost.text());
    assert_eq!(metric(&world, "tunnelwarden_unresolved_intents").await, 1.0);
    let age = wait_for(&world, "tunnelwarden_unresolved_intents_oldest_age_seconds", |age| age > 0.5).await;
    assert!(age < PATIENCE.as_secs_f64(), "{age}");
    wait_for(&world, "tunnelwarden_unresolved_intents", |open| open == 0.0).await;
    assert_eq!(metric(&world, "tunnelwarden_unresolved_intents_oldest_age_seconds").await, 0.0);
}

#[tokio::test]
async fn an_issuer_whose_keys_never_came_is_told_apart() {
    let config = vec![
        ("issuer.jwks_file", String::new()),
        ("issuer.jwks_url", "\"http://127.0.0.1:1/jwks\"".to_owned()),
    ];
    let world = World::with(Wishes { config, ..Wishes::default() }).await;
    assert_eq!(metric(&world, "tunnelwarden_jwks_usable{issuer=\"https://idp.example\"}").await, 0.0);
}
