use std::num::NonZeroU32;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use jiff::Timestamp;

use super::super::cut::{Line, replica};
use super::*;
use crate::caller::Caller;
use crate::clock::{ManualClock, SystemClock};
use crate::config::{self, Quota, Rate};
use crate::limit::Limiter;
use crate::operation::Class;
use crate::refusal::Refusal;
use crate::share::Away;
use crate::store::record;

fn rate(requests: u32, seconds: u64) -> Option<Rate> {
    Some(Rate { requests: NonZeroU32::new(requests).unwrap(), per: Duration::from_secs(seconds) })
}

fn limiter(subject: Quota, team: Quota, clock: Arc<dyn Clock>, shared: Shared) -> Limiter {
    let upstream_budget = config::Budget {
        requests: 10,
        window: Duration::from_secs(1),
        reserve: 0,
        reserve_roles: Vec::new(),
    };
    Limiter::new(&config::Limits { subject, team, upstream_budget }, clock, Some(shared))
}

fn caller(subject: &str, teams: &[&str]) -> Caller {
    Caller {
        subject: subject.into(),
        teams: teams.iter().map(ToString::to_string).collect(),
        roles: Vec::new(),
        issuer: "https://idp.example".into(),
        jti: None,
        key_id: None,
        expires: Timestamp::MAX,
    }
}

fn of(class: Class, rate: Option<Rate>) -> Quota {
    match class {
        Class::Read => Quota { read: rate, ..Quota::default() },
        Class::Write => Quota { write: rate, ..Quota::default() },
        Class::Secret => Quota { secret: rate, ..Quota::default() },
    }
}

/// How many of so many calls are admitted.
async fn admitted(limiter: &Limiter, caller: &Caller, class: Class, calls: u32) -> u32 {
    let mut admitted = 0;
    for _ in 0..calls {
        admitted += u32::from(limiter.admit(caller, class).await.is_ok());
    }
    admitted
}

#[tokio::test]
async fn a_quota_holds_over_replicas() {
    let Some(database) = record::postgres("a").await else { return };
    let clock = SystemClock::new();
    let quota = of(Class::Write, rate(20, 86_400));
    let [a, b, c] =
        ["a", "b", "c"].map(|name| limiter(quota, Quota::default(), clock.clone(), replica(&database, name)));
    let ann = caller("ann", &[]);
    assert_eq!(admitted(&a, &ann, Class::Write, 8).await, 8);
    assert_eq!(admitted(&b, &ann, Class::Write, 8).await, 8);
    assert_eq!(admitted(&c, &ann, Class::Write, 8).await, 4);
    let refused = a.admit(&ann, Class::Write).await.unwrap_err();
    let Refusal::QuotaSpent { of: "subject", class: Class::Write, retry_after } = refused.refusal else {
        panic!("{refused:?}")
    };
    assert!(retry_after > Duration::from_secs(3600) && retry_after <= Duration::from_secs(4320));
    let fields = refused.standing.headers();
    assert!(fields[0].1.to_str().unwrap().starts_with("\"subject-write\";r=0;t=86"), "{fields:?}");
    assert_eq!(admitted(&a, &caller("bob", &[]), Class::Write, 1).await, 1);
}

#[tokio::test]
async fn a_call_that_one_quota_refuses_takes_from_none_on_any_replica() {
    let Some(database) = record::postgres("a").await else { return };
    let clock = SystemClock::new();
    let three = of(Class::Secret, rate(3, 86_400));
    let [a, b] = ["a", "b"].map(|name| limiter(three, three, clock.clone(), replica(&database, name)));
    assert_eq!(admitted(&a, &caller("ann", &["net"]), Class::Secret, 3).await, 3);
    // The same team twice is one team.
    let bob = caller("bob", &["ops", "net", "ops"]);
    assert_eq!(admitted(&b, &bob, Class::Secret, 5).await, 0);
    assert_eq!(b.admit(&bob, Class::Secret).await.unwrap_err().refusal.name(), "quota_spent");
    assert_eq!(admitted(&a, &caller("bob", &["ops"]), Class::Secret, 5).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_takers_on_three_replicas_get_the_whole_and_no_more_than_the_bound() {
    let Some(database) = record::postgres("a").await else { return };
    let clock = SystemClock::new();
    let (burst, seconds) = (400u32, 10);
    let quota = of(Class::Read, rate(burst, seconds));
    let began = clock.monotonic();
    let granted = Arc::new(AtomicU32::new(0));
    let mut takers = tokio::task::JoinSet::new();
    for name in ["a", "b", "c"] {
        let limiter = Arc::new(limiter(quota, Quota::default(), clock.clone(), replica(&database, name)));
        for _ in 0..6 {
            let (limiter, clock, granted) = (Arc::clone(&limiter), clock.clone(), Arc::clone(&granted));
            takers.spawn(async move {
                let ann = caller("ann", &[]);
                loop {
                    let asked = clock.monotonic();
                    match limiter.admit(&ann, Class::Read).await {
                        Ok(_) => {
                            granted.fetch_add(1, Ordering::SeqCst);
                        }
                        // Whoever is refused after three seconds knows that nothing was left then.
                        Err(_) if asked > began + Duration::from_secs(3) => return asked,
                        Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                    }
                }
            });
        }
    }
    let last_refused = takers.join_all().await.into_iter().max().unwrap();
    let refilled = |time: Duration| u32::try_from(time.as_millis()).unwrap() * burst / 10_000;
    let bound = 3 * (burst / PART);
    let granted = granted.load(Ordering::SeqCst);
    let most = burst + refilled(clock.monotonic() - began) + bound;
    assert!(granted <= most, "{granted} of {most}");
    // A second for what happened before the first call was taken.
    let least = burst + refilled(last_refused - began - Duration::from_secs(1)) - bound;
    assert!(granted >= least, "{granted}, and {least} were there");
}

#[tokio::test]
async fn a_busy_replica_spends_what_it_took_ahead_without_asking() {
    let Some(database) = record::postgres("a").await else { return };
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    let (quota, ann) = (of(Class::Write, rate(1600, 86_400)), caller("ann", &[]));
    let ahead = async |pause: Duration| {
        let shared = replica(&database, "a");
        let limiter = limiter(quota, Quota::default(), clock.clone(), shared.clone());
        assert_eq!(admitted(&limiter, &ann, Class::Write, 70).await, 70);
        shared.pool().close().await;
        clock.advance(pause);
        let more = admitted(&limiter, &ann, Class::Write, 1000).await;
        assert_eq!(limiter.admit(&ann, Class::Write).await.unwrap_err().refusal, Refusal::from(Away));
        more
    };
    let more = ahead(Duration::ZERO).await;
    assert!(more > 0 && more <= 1600 / PART, "{more}");
    assert_eq!(ahead(HOLD).await, 0, "what was taken a second ago is not spent");
}

#[tokio::test]
async fn of_a_small_quota_nothing_is_taken_ahead() {
    let Some(database) = record::postgres("a").await else { return };
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    let shared = replica(&database, "a");
    let limiter = limiter(of(Class::Secret, rate(31, 86_400)), Quota::default(), clock, shared.clone());
    let ann = caller("ann", &[]);
    assert_eq!(admitted(&limiter, &ann, Class::Secret, 12).await, 12);
    shared.pool().close().await;
    assert_eq!(admitted(&limiter, &ann, Class::Secret, 7).await, 0);
}

#[tokio::test]
async fn while_the_database_is_away_reads_go_on_and_writes_are_refused() {
    let Some(line) = Line::new().await else { return };
    let clock = SystemClock::new();
    let quota = Quota { read: rate(9, 86_400), write: rate(9, 86_400), secret: rate(9, 86_400) };
    let [a, b] =
        ["a", "b"].map(|name| limiter(quota, Quota::default(), clock.clone(), replica(&line.database, name)));
    let ann = caller("ann", &[]);
    for class in [Class::Read, Class::Write, Class::Secret] {
        assert_eq!(admitted(&a, &ann, class, 3).await, 3, "{}", class.name());
    }
    line.cut();
    for class in [Class::Write, Class::Secret] {
        assert_eq!(a.admit(&ann, class).await.unwrap_err().refusal, Refusal::from(Away), "{}", class.name());
    }
    // Each goes on from what it took itself.
    assert_eq!(admitted(&a, &ann, Class::Read, 10).await, 6);
    assert_eq!(admitted(&b, &ann, Class::Read, 10).await, 9);
    line.mend();
    let refused = loop {
        match b.admit(&ann, Class::Write).await {
            Ok(_) => break admitted(&b, &ann, Class::Write, 9).await,
            Err(refused) => assert_eq!(refused.refusal, Refusal::from(Away)),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(refused, 5, "what was taken before counts, and what was refused meanwhile does not");
}
