use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::Timestamp;

use super::*;
use crate::clock::ManualClock;
use crate::config::{Quota, Rate};

fn rate(requests: u32, seconds: u64) -> Option<Rate> {
    Some(Rate { requests: NonZeroU32::new(requests).unwrap(), per: Duration::from_secs(seconds) })
}

fn limits(subject: Quota, team: Quota) -> config::Limits {
    let (requests, window) = (10, Duration::from_secs(1));
    let upstream_budget = config::Budget { requests, window, reserve: 0, reserve_roles: Vec::new() };
    config::Limits { subject, team, upstream_budget }
}

fn limiter(subject: Quota, team: Quota) -> (Limiter, Arc<ManualClock>) {
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    (Limiter::new(&limits(subject, team), clock.clone(), None), clock)
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

/// What one process decides it decides at once.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("it waits for nothing")
}

#[track_caller]
fn admitted(limiter: &Limiter, caller: &Caller, class: Class) {
    assert!(now(limiter.admit(caller, class)).is_ok(), "{} {}", caller.subject, class.name());
}

#[track_caller]
fn refused(limiter: &Limiter, caller: &Caller, class: Class, of: &'static str, seconds: u64) {
    let want = Refusal::QuotaSpent { of, class, retry_after: Duration::from_secs(seconds) };
    assert_eq!(now(limiter.admit(caller, class)).unwrap_err().refusal, want);
}

#[track_caller]
fn check_headers(standing: &Standing, limit: &str, policy: &str) {
    let headers = standing.headers();
    let shown: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
    assert_eq!(shown, [("ratelimit", limit), ("ratelimit-policy", policy)]);
}

#[test]
fn each_subject_has_its_own_quota_by_class() {
    let subject = Quota { read: rate(2, 2), write: rate(1, 60), secret: None };
    let (limiter, clock) = limiter(subject, Quota::default());
    let (ann, bob) = (caller("ann", &[]), caller("bob", &[]));
    admitted(&limiter, &ann, Class::Read);
    admitted(&limiter, &ann, Class::Read);
    refused(&limiter, &ann, Class::Read, "subject", 1);
    admitted(&limiter, &ann, Class::Write);
    refused(&limiter, &ann, Class::Write, "subject", 60);
    (0..100).for_each(|_| admitted(&limiter, &ann, Class::Secret));
    admitted(&limiter, &bob, Class::Read);
    clock.advance(Duration::from_secs(1));
    admitted(&limiter, &ann, Class::Read);
    refused(&limiter, &ann, Class::Read, "subject", 1);
}

#[test]
fn one_name_at_two_issuers_is_two_subjects() {
    let (limiter, _) = limiter(Quota { read: rate(1, 1), ..Quota::default() }, Quota::default());
    let here = caller("ann", &[]);
    let there = Caller { issuer: "https://other.example".into(), ..here.clone() };
    admitted(&limiter, &here, Class::Read);
    admitted(&limiter, &there, Class::Read);
    refused(&limiter, &here, Class::Read, "subject", 1);
}

#[test]
fn a_team_shares_its_quota() {
    let (limiter, _) = limiter(Quota::default(), Quota { write: rate(2, 60), ..Quota::default() });
    admitted(&limiter, &caller("ann", &["net"]), Class::Write);
    admitted(&limiter, &caller("bob", &["net", "ops"]), Class::Write);
    refused(&limiter, &caller("cyd", &["net"]), Class::Write, "team", 30);
    admitted(&limiter, &caller("cyd", &["ops"]), Class::Write);
}

#[test]
fn a_refused_call_drains_no_other_quota() {
    let one = Quota { write: rate(3, 60), ..Quota::default() };
    let (limiter, _) = limiter(one, Quota { write: rate(3, 60), ..Quota::default() });
    (0..3).for_each(|_| admitted(&limiter, &caller("ann", &["b"]), Class::Write));
    let bob = caller("bob", &["a", "b"]);
    (0..50).for_each(|_| refused(&limiter, &bob, Class::Write, "team", 20));
    let bob = caller("bob", &["a"]);
    (0..3).for_each(|_| admitted(&limiter, &bob, Class::Write));
    refused(&limiter, &bob, Class::Write, "subject", 20);
}

#[test]
fn charges_and_calls_take_from_the_same_quota() {
    let subject = Quota { read: rate(2, 60), ..Quota::default() };
    let (limiter, _) = limiter(subject, Quota::default());
    let ann = caller("ann", &[]);
    admitted(&limiter, &ann, Class::Read);
    assert!(now(limiter.charge(&ann, Class::Read)).is_ok());
    assert!(now(limiter.charge(&ann, Class::Read)).is_err());
    refused(&limiter, &ann, Class::Read, "subject", 30);
}

#[test]
fn headers_tell_what_is_left() {
    let subject = Quota { read: rate(20, 1), write: rate(60, 60), secret: None };
    let (limiter, _) = limiter(subject, Quota { read: rate(60, 1), ..Quota::default() });
    admitted(&limiter, &caller("bob", &["net"]), Class::Read);
    let ann = caller("ann", &["net", "ops"]);
    let known = now(limiter.admit(&ann, Class::Read)).unwrap();
    check_headers(
        known.standing(),
        "\"subject-read\";r=19;t=1, \"team-read\";r=58;t=1",
        "\"subject-read\";q=20;w=1, \"team-read\";q=60;w=1",
    );
    let more = now(limiter.charge(&ann, Class::Read)).unwrap();
    let more = known.and(more).and(now(limiter.charge(&ann, Class::Write)).unwrap());
    check_headers(
        more.standing(),
        "\"subject-read\";r=18;t=1, \"team-read\";r=57;t=1, \"subject-write\";r=59;t=1",
        "\"subject-read\";q=20;w=1, \"team-read\";q=60;w=1, \"subject-write\";q=60;w=60",
    );
    assert!(now(limiter.admit(&ann, Class::Secret)).unwrap().standing().headers().is_empty());
}

#[test]
fn headers_on_a_refusal_say_that_nothing_is_left() {
    let (limiter, _) = limiter(
        Quota { secret: rate(1, 3600), ..Quota::default() },
        Quota { secret: rate(60, 3600), ..Quota::default() },
    );
    let ann = caller("ann", &["net"]);
    admitted(&limiter, &ann, Class::Secret);
    let refused = now(limiter.admit(&ann, Class::Secret)).unwrap_err();
    check_headers(
        &refused.standing,
        "\"subject-secret\";r=0;t=3600, \"team-secret\";r=59;t=60",
        "\"subject-secret\";q=1;w=3600, \"team-secret\";q=60;w=3600",
    );
}

#[test]
fn other_limits_fill_nobodys_quota() {
    let quota = |read, write| Quota { read, write, secret: None };
    let (limiter, clock) = limiter(quota(rate(2, 60), rate(3, 60)), quota(None, None));
    let alice = caller("alice", &["net"]);
    (0..2).for_each(|_| admitted(&limiter, &alice, Class::Read));
    (0..3).for_each(|_| admitted(&limiter, &alice, Class::Write));
    let refused = |limiter: &Limiter, class| now(limiter.admit(&alice, class)).is_err();
    // The quota of reads is as it was: the very same, for who began before as well.
    let renewed = limiter.renewed(&limits(quota(rate(2, 60), rate(4, 60)), quota(rate(1, 60), None)));
    assert!(refused(&renewed, Class::Read));
    clock.advance(Duration::from_secs(30));
    admitted(&limiter, &alice, Class::Read);
    assert!(refused(&renewed, Class::Read), "both take from one");
    admitted(&renewed, &alice, Class::Write);
    // One that there was not before is full, once.
    clock.advance(Duration::from_secs(30));
    admitted(&renewed, &alice, Class::Read);
    clock.advance(Duration::from_secs(30));
    assert!(matches!(
        now(renewed.admit(&alice, Class::Read)).unwrap_err().refusal,
        Refusal::QuotaSpent { of: TEAM, .. }
    ));
    let without = renewed.renewed(&limits(quota(None, None), quota(None, None)));
    (0..100).for_each(|_| admitted(&without, &alice, Class::Write));
}
