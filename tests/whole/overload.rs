//! A record that is slower than what comes: who would have to wait too long is told so at once, what has begun goes on,
//! and of both the record tells.
//!
//! Not here: a record that takes nothing (`store_faults`), how long an append would wait (`src/store/pace.rs`), how many
//! can be told (`src/audit/shed/tests.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;
use tokio::task::JoinHandle;
use tunnelwarden::operation::Operation;

use crate::harness::{Answer, PATIENCE, Stored, Wishes, World, tunnel_body};
use crate::store_faults::Held;

/// The error code that says that there is too much at once.
const OVERLOADED: i64 = 99103;

/// A write that nobody made before.
const LAST: usize = 10_001;

async fn world(append_timeout: &str) -> Arc<World> {
    let config = vec![("audit.append_timeout", format!("{append_timeout:?}"))];
    Arc::new(World::with(Wishes { config, unlimited: true, ..Wishes::default() }).await)
}

/// A call in the background: a read if `n` is even, else a write.
fn call(world: &Arc<World>, token: &str, n: usize) -> JoinHandle<Answer> {
    let (world, token) = (Arc::clone(world), token.to_owned());
    tokio::spawn(async move {
        let body = (n % 2 == 1).then(|| tunnel_body(&format!("n{n}"), 1));
        let method = if body.is_some() { Method::POST } else { Method::GET };
        world.try_call(&token, method, "", body.as_deref(), &[]).await.unwrap()
    })
}

/// Calls again and again until somebody is told that there is too much; those that began before.
async fn until_shed(world: &Arc<World>, token: &str) -> (Vec<JoinHandle<Answer>>, Answer) {
    let mut begun: Vec<JoinHandle<Answer>> = Vec::new();
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        begun.push(call(world, token, begun.len()));
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        if let Some(at) = begun.iter().position(JoinHandle::is_finished) {
            let shed = begun.remove(at).await.unwrap();
            assert_eq!(at, begun.len(), "those before it still wait: {}", shed.text());
            return (begun, shed);
        }
        assert!(tokio::time::Instant::now() < until, "all wait, and nobody is told why");
    }
}

#[track_caller]
fn check_shed(answer: &Answer) {
    let told = answer.text();
    assert_eq!((answer.status, answer.error_code()), (503, OVERLOADED), "{told}");
    assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0), "{told}");
    assert_eq!(answer.header("x-should-retry"), "true", "{told}");
}

/// The entries that end calls, by request id.
fn ends(entries: &[Stored]) -> BTreeMap<String, Vec<&Stored>> {
    let mut ends: BTreeMap<String, Vec<&Stored>> = BTreeMap::new();
    for entry in entries.iter().filter(|e| matches!(e.text("/kind").as_str(), "outcome" | "refusal")) {
        ends.entry(entry.text("/request_id")).or_default().push(entry);
    }
    ends
}

/// Each of these answers has one entry, which says the same. The record of who was shed may take a while.
async fn check_recorded(world: &World, answers: &[Answer]) {
    let id = |answer: &Answer| answer.header("x-request-id");
    let all = |entries: &[Stored]| {
        let ends = ends(entries);
        answers.iter().all(|answer| ends.contains_key(&id(answer)))
    };
    let entries = world.wait_for("a record of each answer", all).await;
    let ends = ends(&entries);
    for answer in answers {
        let [end] = ends[&id(answer)].as_slice() else { panic!("one end: {:#?}", ends[&id(answer)]) };
        assert_eq!(end.number("/status"), Some(i64::from(answer.status)), "{}", end.raw);
        let is_shed = answer.status == 503;
        assert_eq!(end.text("/refusal/name"), if is_shed { "overloaded" } else { "" }, "{}", end.raw);
        assert_eq!(end.json.get("recorded_late").is_some(), is_shed, "{}", end.raw);
        assert_eq!(end.text("/subject"), "admin@test", "{}", end.raw);
    }
}

/// How many calls of our clients reached the upstream.
fn sent(world: &World) -> usize {
    let known = [Operation::List, Operation::Create];
    world.emulator.calls().iter().filter(|call| call.operation.is_some_and(|o| known.contains(&o))).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_record_is_slow_callers_are_told_at_once_and_what_has_begun_goes_on() {
    let world = world("20s").await;
    let token = world.token("admin");
    assert_eq!(call(&world, &token, 0).await.unwrap().status, 200);
    let held = Held::take(world.database()).await;
    let (begun, first) = until_shed(&world, &token).await;
    let mut told = vec![first];
    for shed in (0..60).map(|n| call(&world, &token, n)).collect::<Vec<_>>() {
        told.push(shed.await.unwrap());
    }
    told.iter().for_each(check_shed);
    assert!(begun.iter().all(|call| !call.is_finished()), "all that was while the first still waited");
    // Others can't take its calls, so nothing is gained if it is taken out.
    assert_eq!(world.admin("/readyz").await.status, 200);
    held.release().await;
    let mut answers = told;
    let waited = begun.len();
    for call in begun {
        let answer = call.await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answers.push(answer);
    }
    check_recorded(&world, &answers).await;
    assert_eq!(sent(&world), waited + 1, "nothing is done for who is shed");
    assert_eq!(call(&world, &token, LAST).await.unwrap().status, 200);
}
