use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::clock::SystemClock;
use crate::store::Database;
use crate::store::record::postgres;

fn id(text: &str) -> At {
    At::Tunnel(TunnelId::parse(text).unwrap())
}

#[tokio::test]
async fn a_tunnel_is_had_by_one_at_a_time_and_others_wait_or_give_up() {
    let turns = Turns::default();
    let account = AccountId::parse("a").unwrap();
    let long = Duration::from_secs(5);
    let first = turns.take(account, [id("1"), id("2"), id("1")], long).await.unwrap();
    let busy = turns.take(account, [id("2"), id("3")], Duration::ZERO).await;
    assert!(matches!(busy, Err(Refusal::TunnelBusy { .. })));
    let other = turns.take(account, [id("3")], Duration::ZERO).await;
    assert!(other.is_ok(), "a call that gave up holds nothing");
    let named = turns.take(account, [At::Name("1".to_owned())], Duration::ZERO).await;
    assert!(named.is_ok(), "a name is no tunnel");
    drop(first);
    assert!(turns.take(account, [id("2"), id("1")], Duration::ZERO).await.is_ok());
}

#[tokio::test]
async fn crossing_calls_do_not_wait_for_each_other() {
    let turns = Arc::new(Turns::default());
    let account = AccountId::parse("a").unwrap();
    let calls = (0..50).map(|i| {
        let turns = Arc::clone(&turns);
        let pair = if i % 2 == 0 { [id("1"), id("2")] } else { [id("2"), id("1")] };
        tokio::spawn(async move {
            let turn = turns.take(account, pair, Duration::from_secs(20)).await;
            tokio::task::yield_now().await;
            turn.is_ok()
        })
    });
    for call in calls.collect::<Vec<_>>() {
        assert!(call.await.unwrap());
    }
}

/// The turns of one more replica.
fn among(shared: &Shared, lease: Duration, send: Duration) -> Arc<Turns> {
    let leases = Leases::new(shared, SystemClock::new(), lease);
    Arc::new(Turns { gates: Mutex::default(), among: Some(Among { leases, send }) })
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn crossing_calls_at_several_replicas_have_each_tunnel_one_at_a_time() {
    let Some(database) = postgres("a").await else { return };
    let shared = Shared::open(&database).unwrap().unwrap();
    let replicas = [0, 1, 2].map(|_| among(&shared, LONG * 10, LONG));
    let account = AccountId::parse("a").unwrap();
    let taken: Arc<[AtomicBool; 4]> = Arc::default();
    let calls = (0..12).map(|n| {
        let (turns, taken) = (Arc::clone(&replicas[n % 3]), Arc::clone(&taken));
        tokio::spawn(async move {
            for round in 0..10 {
                // All pairs of four, in both orders.
                let first = (n + round) % 4;
                let second = (first + 1 + (n / 3 + round / 4) % 3) % 4;
                let at = |n: usize| At::Name(n.to_string());
                let turn = turns.take(account, [at(first), at(second)], LONG).await.unwrap();
                for n in [first, second] {
                    assert!(!taken[n].swap(true, Ordering::SeqCst), "another is at {n}");
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
                for n in [first, second] {
                    taken[n].store(false, Ordering::SeqCst);
                }
                drop(turn);
            }
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
}

#[tokio::test]
async fn the_turn_of_a_replica_that_died_is_had_when_its_time_is_over() {
    let Some(database) = postgres("a").await else { return };
    let shared = Shared::open(&database).unwrap().unwrap();
    let account = AccountId::parse("a").unwrap();
    let (dead, here) = (among(&shared, LONG, LONG), among(&shared, LONG, LONG));
    std::mem::forget(dead.take(account, [id("1")], LONG).await.unwrap());
    let busy = here.take(account, [id("1"), id("2")], Duration::from_millis(300)).await;
    assert!(matches!(busy, Err(Refusal::TunnelBusy { .. })));
    assert!(dead.take(account, [id("2")], Duration::from_secs(30)).await.is_ok(), "all or none");

    let short = among(&shared, Duration::from_millis(500), Duration::ZERO);
    let mut turn = short.take(account, [id("3")], LONG).await.unwrap();
    assert!(here.take(account, [id("3")], LONG).await.is_ok());
    here.settled(LONG).await;
    // Not even where nobody has it now: whoever had it may have changed the tunnel.
    let over = turn.lasts().await;
    assert!(matches!(over, Err(Refusal::TunnelBusy { .. })), "{over:?}");
}

#[tokio::test]
async fn a_turn_that_was_given_back_is_free_at_once_and_stopping_waits_for_that() {
    let Some(database) = postgres("a").await else { return };
    let shared = Shared::open(&database).unwrap().unwrap();
    let account = AccountId::parse("a").unwrap();
    let (one, other) = (among(&shared, LONG, LONG), among(&shared, LONG, LONG));
    for _ in 0..20 {
        drop(one.take(account, [id("1"), id("2")], Duration::ZERO).await.unwrap());
        one.settled(LONG).await;
        drop(other.take(account, [id("2"), id("1")], Duration::ZERO).await.unwrap());
        // The next call of the same process waits here, not there.
        drop(other.take(account, [id("1")], LONG).await.unwrap());
        other.settled(LONG).await;
    }
}

#[tokio::test]
async fn while_the_replicas_turns_cannot_be_asked_for_no_write_is_made() {
    let away = Database::parse("postgres://writer@127.0.0.1:1/none?sslmode=disable", Path::new("")).unwrap();
    let turns = among(&Shared::open(&away).unwrap().unwrap(), LONG, LONG);
    let account = AccountId::parse("a").unwrap();
    let refused = turns.take(account, [id("1")], LONG).await;
    assert_eq!(refused.map(drop), Err(Refusal::from(Away)));
    assert!(turns.take(account, [], LONG).await.is_ok(), "a call that is about no tunnel needs none");
}
