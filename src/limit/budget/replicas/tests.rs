use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use sqlx::Row as _;

use super::super::super::cut::{Line, replica};
use super::*;
use crate::caller::Caller;
use crate::clock::SystemClock;
use crate::config;
use crate::share::Away;
use crate::store::{Database, record};

fn budget(database: &Database, name: &str, requests: u32, reserve: u32) -> Budget {
    let reserve_roles = vec!["incident".to_owned()];
    let window = Duration::from_secs(3600);
    let config = config::Budget { requests, window, reserve, reserve_roles };
    Budget::new(&config, SystemClock::new(), Some(replica(database, name)))
}

fn caller(role: &str) -> Caller {
    Caller {
        subject: "ann".into(),
        teams: Vec::new(),
        roles: vec![role.into()],
        issuer: "https://idp.example".into(),
        jti: None,
        key_id: None,
        expires: Timestamp::MAX,
    }
}

/// How many of so many calls start.
async fn started(budget: &Budget, role: &str, class: Class, calls: u32) -> u32 {
    let mut started = 0;
    for _ in 0..calls {
        started += u32::from(budget.take(&caller(role), class).await.is_ok());
    }
    started
}

fn fields(fields: &[(&'static str, &str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_start_as_many_calls_as_the_budget_has_and_keep_the_reserve() {
    let Some(database) = record::postgres("a").await else { return };
    let of: Vec<_> = ["a", "b", "c"].iter().map(|name| budget(&database, name, 60, 20)).collect();
    for (role, want) in [("viewer", 40), ("incident", 20)] {
        let mut takers = tokio::task::JoinSet::new();
        for budget in of.iter().cycle().take(12) {
            let budget = budget.clone();
            takers.spawn(async move { started(&budget, role, Class::Write, 10).await });
        }
        assert_eq!(takers.join_all().await.into_iter().sum::<u32>(), want, "{role}");
    }
    let Err(Refusal::BudgetSpent { retry_after }) = of[0].take_own().await else { panic!("it is spent") };
    assert!(retry_after > Duration::from_secs(3000) && retry_after <= Duration::from_secs(3615));
    assert_eq!(of[0].standing(), (60, 60));
}

#[tokio::test]
async fn a_429_that_one_replica_gets_stops_the_others() {
    let Some(database) = record::postgres("a").await else { return };
    let [a, b] = ["a", "b"].map(|name| budget(&database, name, 100_000, 0));
    let taken = a.take_own().await.unwrap();
    taken.observe(StatusCode::TOO_MANY_REQUESTS, &fields(&[("retry-after", "900")]));
    assert!(a.take(&caller("incident"), Class::Write).await.is_err(), "it knows at once");
    let retry_after = loop {
        match b.take(&caller("incident"), Class::Read).await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(Refusal::BudgetSpent { retry_after }) => break retry_after,
            Err(other) => panic!("{other:?}"),
        }
    };
    assert!(retry_after > Duration::from_secs(600) && retry_after <= Duration::from_secs(900));
}

#[tokio::test]
async fn less_left_than_thought_is_known_to_all_with_its_reserve() {
    let Some(database) = record::postgres("a").await else { return };
    let [a, b] = ["a", "b"].map(|name| budget(&database, name, 1000, 100));
    let taken = a.take_own().await.unwrap();
    let policy = ("ratelimit-policy", "\"burst\";q=50;w=900");
    taken.observe(StatusCode::OK, &fields(&[("ratelimit", "\"burst\";r=13;t=900"), policy]));
    drop(taken);
    let shared = replica(&database, "c");
    let known = "SELECT remaining FROM tunnelwarden_shared.budget_told";
    let remaining: i64 = loop {
        match sqlx::query(known).fetch_optional(shared.pool()).await.unwrap() {
            Some(row) => break row.get(0),
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    // The call that heard of it may have been under way still.
    assert!((12..=13).contains(&remaining), "{remaining}");
    // A tenth of its fifty is kept.
    let ordinary = started(&b, "viewer", Class::Write, 30).await;
    assert_eq!(i64::from(ordinary), remaining - 5);
    assert_eq!(started(&a, "incident", Class::Write, 30).await, 5);
}

#[tokio::test]
async fn while_the_database_is_away_nothing_is_written_and_reads_keep_to_their_part() {
    let Some(line) = Line::new().await else { return };
    let [a, b] = ["a", "b"].map(|name| budget(&line.database, name, 40, 8));
    assert_eq!(started(&b, "viewer", Class::Write, 2).await, 2);
    assert_eq!(started(&a, "viewer", Class::Write, 2).await, 2);
    line.cut();
    assert_eq!(a.take(&caller("incident"), Class::Write).await.map(drop), Err(Refusal::from(Away)));
    assert_eq!(a.take(&caller("viewer"), Class::Secret).await.map(drop), Err(Refusal::from(Away)));
    assert_eq!(started(&a, "viewer", Class::Read, 30).await, 14, "half of 32, and 2 were made before");
    assert_eq!(started(&a, "incident", Class::Read, 30).await, 4, "half of the reserve");
    // What is learned meanwhile is told when it can be.
    let taken = Taken { inner: Arc::clone(&a.inner), config: a.config(), privileged: false, ticket: 0 };
    taken.observe(StatusCode::TOO_MANY_REQUESTS, &fields(&[("retry-after", "900")]));
    let many = budget(&line.database, "c", 100_000, 0);
    line.mend();
    loop {
        match many.take(&caller("viewer"), Class::Write).await {
            Err(Refusal::BudgetSpent { retry_after }) => {
                assert!(retry_after > Duration::from_secs(600) && retry_after <= Duration::from_secs(900));
                return;
            }
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

#[tokio::test]
async fn in_any_window_no_more_start_than_the_budget_has() {
    let Some(database) = record::postgres("a").await else { return };
    let shared = replica(&database, "a");
    let (requests, reserve, window) = (7i64, 2i64, 2560i64);
    let steps = prop::collection::vec((0i64..600, any::<bool>()), 250);
    let steps = steps.new_tree(&mut TestRunner::deterministic()).unwrap().current();
    let (mut now, mut starts) = (1_000_000, Vec::new());
    let take = async |privileged: bool, now: i64| -> i64 {
        let text = "SELECT wait FROM tunnelwarden_shared.take_budget('a', 0, $1, $2, $3, $4, $5)";
        let query = sqlx::query(text).bind(requests).bind(reserve).bind(window).bind(privileged).bind(now);
        query.fetch_one(shared.pool()).await.unwrap().get(0)
    };
    for (pause, privileged) in steps {
        now += pause;
        let within = |span: i64| starts.iter().filter(|start| now - **start <= span).count() as i64;
        let room = if privileged { requests } else { requests - reserve };
        let (counted, most) = (within(window), within(window + window / 256));
        let wait = take(privileged, now).await;
        if wait <= 0 {
            assert!(counted < room, "{counted} of {room} had started");
            starts.push(now);
        } else {
            assert!(most >= room, "{most} of {room} had started, and one more was refused");
            assert!(wait <= window + window / 256 + 1);
            now += wait;
            assert!(take(privileged, now).await <= 0, "waiting as told is enough");
            starts.push(now);
        }
    }
}
