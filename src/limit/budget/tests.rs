use futures_util::FutureExt as _;
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::clock::ManualClock;

const SECOND: Duration = Duration::from_secs(1);

fn config(requests: u32, window: u64, reserve: u32) -> config::Budget {
    let window = Duration::from_secs(window);
    config::Budget { requests, window, reserve, reserve_roles: vec!["incident".to_owned()] }
}

fn budget(requests: u32, window: u64, reserve: u32) -> (Budget, Arc<ManualClock>) {
    let clock = ManualClock::at("2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap());
    (Budget::new(&config(requests, window, reserve), clock.clone(), None), clock)
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

/// What one process decides it decides at once.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("it waits for nothing")
}

impl Budget {
    fn take_now(&self, role: &str) -> Result<Taken, Refusal> {
        now(self.take(&caller(role), Class::Read))
    }
}

#[track_caller]
fn takes(budget: &Budget, role: &str, calls: usize) {
    for call in 0..calls {
        assert!(budget.take_now(role).is_ok(), "call {call} as {role}");
    }
}

#[track_caller]
fn refuses(budget: &Budget, role: &str, after: Duration) {
    let want = Refusal::BudgetSpent { retry_after: after };
    assert_eq!(budget.take_now(role).map(drop), Err(want), "as {role}");
}

fn tells(budget: &Budget, status: u16, fields: &[(&'static str, &str)]) {
    let headers = fields.iter().map(|(name, value)| {
        (http::HeaderName::from_static(name), value.parse::<http::HeaderValue>().unwrap())
    });
    budget.observe(StatusCode::from_u16(status).unwrap(), &headers.collect());
}

#[test]
fn another_budget_counts_what_was_spent_and_a_call_keeps_the_one_it_began_with() {
    let (budget, clock) = budget(4, 10, 0);
    let before = budget.pinned();
    takes(&budget, "viewer", 3);
    budget.renew(&config(3, 10, 1));
    refuses(&budget, "viewer", SECOND * 10 + TICK);
    refuses(&budget, "incident", SECOND * 10 + TICK);
    takes(&before, "viewer", 1);
    assert_eq!(budget.standing(), (4, 3));
    clock.advance(SECOND * 5);
    budget.renew(&config(6, 4, 0));
    // The calls are out of the new window, and not out of that of whoever holds on to the one before.
    refuses(&before, "viewer", SECOND * 5 + TICK);
    takes(&budget, "viewer", 6);
    refuses(&budget, "viewer", SECOND * 4 + TICK);
    assert_eq!(budget.standing(), (6, 6));
}

#[test]
fn calls_beyond_the_window_wait_for_the_oldest_to_leave_it() {
    let (budget, clock) = budget(3, 10, 0);
    takes(&budget, "viewer", 1);
    clock.advance(SECOND * 4);
    takes(&budget, "viewer", 2);
    refuses(&budget, "viewer", SECOND * 6 + TICK);
    clock.advance(SECOND * 6);
    refuses(&budget, "viewer", TICK);
    clock.advance(TICK);
    takes(&budget, "viewer", 1);
    refuses(&budget, "viewer", SECOND * 4);
}

#[test]
fn a_reserve_is_kept_for_its_roles() {
    let (budget, _) = budget(10, 10, 3);
    takes(&budget, "viewer", 7);
    refuses(&budget, "viewer", SECOND * 10 + TICK);
    assert!(now(budget.take_own()).is_err());
    takes(&budget, "incident", 3);
    refuses(&budget, "incident", SECOND * 10 + TICK);
}

#[test]
fn an_ordinary_caller_waits_until_more_than_the_reserve_is_free() {
    let (budget, clock) = budget(4, 10, 2);
    for _ in 0..4 {
        takes(&budget, "incident", 1);
        clock.advance(SECOND);
    }
    // Starts at 0, 1, 2 and 3; now is 4. Only when the third has left, one of two ordinary calls fits.
    refuses(&budget, "viewer", SECOND * 8 + TICK);
}

#[test]
fn nothing_fits_into_no_room() {
    let (none, _) = budget(0, 10, 0);
    refuses(&none, "incident", SECOND * 10);
    let (kept, _) = budget(2, 10, 2);
    refuses(&kept, "viewer", SECOND * 10);
    takes(&kept, "incident", 2);
}

#[test]
fn the_upstream_is_believed_when_it_says_less() {
    let (budget, clock) = budget(1200, 300, 0);
    tells(&budget, 200, &[("ratelimit", "\"default\";r=2;t=30")]);
    takes(&budget, "viewer", 2);
    refuses(&budget, "viewer", SECOND * 30);
    clock.advance(SECOND * 30);
    takes(&budget, "viewer", 100);
}

#[test]
fn the_upstream_is_not_believed_when_it_says_more() {
    let (budget, _) = budget(2, 10, 0);
    tells(&budget, 200, &[("ratelimit", "\"default\";r=5000;t=30")]);
    takes(&budget, "viewer", 2);
    refuses(&budget, "viewer", SECOND * 10 + TICK);
}

#[test]
fn of_several_limits_each_is_kept() {
    let (budget, clock) = budget(1200, 300, 0);
    tells(&budget, 200, &[("ratelimit", "\"default\";r=3;t=200, \"burst\";r=1;t=5, garbage=1, \"x")]);
    takes(&budget, "viewer", 1);
    refuses(&budget, "viewer", SECOND * 5);
    clock.advance(SECOND * 5);
    takes(&budget, "viewer", 2);
    refuses(&budget, "viewer", SECOND * 195);
}

#[test]
fn newer_numbers_replace_older_ones() {
    let (budget, _) = budget(1200, 300, 0);
    tells(&budget, 200, &[("ratelimit", "\"default\";r=0;t=30")]);
    refuses(&budget, "viewer", SECOND * 30);
    tells(&budget, 200, &[("ratelimit", "\"default\";r=1;t=20")]);
    takes(&budget, "viewer", 1);
    refuses(&budget, "viewer", SECOND * 20);
}

#[test]
fn the_policys_window_stands_in_for_a_missing_time() {
    let (budget, _) = budget(1200, 300, 0);
    tells(&budget, 200, &[("ratelimit", "burst;r=0"), ("ratelimit-policy", "\"burst\";q=100;w=60")]);
    refuses(&budget, "viewer", SECOND * 60);
}

#[test]
fn calls_under_way_count_against_the_number_told() {
    let (budget, _) = budget(1200, 300, 0);
    let mut under_way: Vec<_> = (0..4).map(|_| budget.take_now("viewer").unwrap()).collect();
    let mut headers = HeaderMap::new();
    headers.insert("ratelimit", "\"default\";r=5;t=30".parse().unwrap());
    under_way.pop().unwrap().observe(StatusCode::OK, &headers);
    takes(&budget, "viewer", 2);
    refuses(&budget, "viewer", SECOND * 30);
    drop(under_way);
    assert_eq!(budget.inner.lock().in_flight, 0);
}

#[test]
fn the_reserve_holds_within_the_upstreams_limits_in_proportion() {
    let (budget, _) = budget(1200, 300, 120);
    let policy = ("ratelimit-policy", "\"burst\";q=100;w=60");
    tells(&budget, 200, &[("ratelimit", "\"burst\";r=12;t=60"), policy]);
    takes(&budget, "viewer", 2);
    refuses(&budget, "viewer", SECOND * 60);
    takes(&budget, "incident", 10);
    refuses(&budget, "incident", SECOND * 60);
}

#[test]
fn a_429_stops_everybody_until_it_says() {
    let (budget, clock) = budget(1200, 300, 120);
    tells(&budget, 429, &[("retry-after", "90")]);
    refuses(&budget, "incident", SECOND * 90);
    clock.advance(SECOND * 60);
    tells(&budget, 429, &[("retry-after", "Thu, 01 Jan 2026 00:00:30 GMT")]);
    refuses(&budget, "viewer", SECOND * 30);
    clock.advance(SECOND * 30);
    takes(&budget, "viewer", 1);
}

#[test]
fn a_429_that_says_nothing_stops_everybody_for_a_window() {
    let (budget, _) = budget(1200, 300, 0);
    tells(&budget, 429, &[("retry-after", "soon")]);
    refuses(&budget, "incident", SECOND * 300);
}

#[test]
fn a_garbled_429_does_not_stop_the_service_for_years() {
    let (budget, _) = budget(1200, 300, 0);
    tells(&budget, 429, &[("retry-after", "99999999999999"), ("ratelimit", "x;r=0;t=999999999")]);
    refuses(&budget, "incident", MAX_BELIEF);
}

#[test]
fn the_upstreams_limits_are_bounded_in_number() {
    let (budget, _) = budget(1200, 300, 0);
    for name in 0..100 {
        tells(&budget, 200, &[("ratelimit", &format!("\"n{name}\";r=9;t=9"))]);
    }
    assert_eq!(budget.inner.lock().told.len(), MAX_TOLD);
}

#[test]
fn a_second_try_is_counted() {
    let (budget, _) = budget(2, 10, 0);
    let taken = budget.take_now("viewer").unwrap();
    assert!(now(taken.again()).is_ok());
    assert!(now(taken.again()).is_err());
}

proptest! {
    #[test]
    fn never_more_than_the_budget_start_in_any_window(
        requests in 1u32..12,
        reserve in 0u32..4,
        waits in prop::collection::vec((0u64..2_500, any::<bool>()), 1..200),
    ) {
        let window = SECOND * 5;
        let (budget, clock) = budget(requests, 5, reserve);
        let mut started = Vec::new();
        for (millis, incident) in waits {
            clock.advance(Duration::from_millis(millis));
            let role = if incident { "incident" } else { "viewer" };
            match budget.take_now(role) {
                Ok(_taken) => started.push((clock.monotonic(), incident)),
                Err(Refusal::BudgetSpent { retry_after }) => {
                    // What is told to wait for is enough, and neither zero nor longer than a window.
                    prop_assert!(!retry_after.is_zero() && retry_after <= window + TICK);
                }
                Err(other) => prop_assert!(false, "{other:?}"),
            }
        }
        for (at, &(start, _)) in started.iter().enumerate() {
            let within = started[at..].iter().take_while(|(t, _)| *t - start <= window);
            prop_assert!(within.count() <= requests as usize);
        }
        for (at, &(end, incident)) in started.iter().enumerate() {
            let before = started[..=at].iter().filter(|(t, _)| end - *t <= window).count();
            prop_assert!(incident || before <= requests.saturating_sub(reserve) as usize);
        }
    }

    #[test]
    fn waiting_as_told_is_enough(waits in prop::collection::vec(0u64..2_000, 1..60)) {
        let (budget, clock) = budget(4, 5, 1);
        for millis in waits {
            clock.advance(Duration::from_millis(millis));
            if let Err(Refusal::BudgetSpent { retry_after }) = budget.take_now("viewer") {
                clock.advance(retry_after);
                prop_assert!(budget.take_now("viewer").is_ok());
            }
        }
    }
}
