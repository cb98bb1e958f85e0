//! The limits against a simple model: a bucket that fills evenly, in whole nanoseconds.
//!
//! Not here: what a limit is for (`limit`), how many it remembers (`keyed`, `address`).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::AddressGate;
use super::keyed::{Key, Keyed, key};
use crate::clock::ManualClock;
use crate::config::Rate;

/// One step of somebody out of three.
#[derive(Clone, Copy, Debug)]
enum Step {
    Take(usize),
    GiveBack(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3usize).prop_map(Step::Take),
        1 => (0..3usize).prop_map(Step::GiveBack),
        2 => (0..4000u64).prop_map(Step::Pass),
    ]
}

/// What is left, in the time that it took to fill so far; a call costs an interval.
struct Bucket {
    interval: u64,
    whole: u64,
    left: HashMap<usize, u64>,
}

impl Bucket {
    fn new(requests: u32, per: Duration) -> Self {
        let interval = u64::try_from(per.as_nanos()).unwrap() / u64::from(requests);
        Self { interval, whole: interval * u64::from(requests), left: HashMap::new() }
    }

    fn left(&mut self, who: usize) -> &mut u64 {
        self.left.entry(who).or_insert(self.whole)
    }

    /// Nothing, or how long until it would be had.
    fn take(&mut self, who: usize) -> Option<Duration> {
        let interval = self.interval;
        let left = self.left(who);
        match left.checked_sub(interval) {
            Some(rest) => {
                *left = rest;
                None
            }
            None => Some(Duration::from_nanos(interval - *left)),
        }
    }

    fn give_back(&mut self, who: usize) {
        let (interval, whole) = (self.interval, self.whole);
        let left = self.left(who);
        *left = (*left + interval).min(whole);
    }

    fn pass(&mut self, by: Duration) {
        let (by, whole) = (u64::try_from(by.as_nanos()).unwrap(), self.whole);
        self.left.values_mut().for_each(|left| *left = (*left + by).min(whole));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_quota_is_a_bucket_that_fills_evenly(
        steps in proptest::collection::vec(step(), 1..120),
        requests in 1..6u32,
        seconds in 1..10u64,
    ) {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let per = Duration::from_secs(seconds);
        let quota = Keyed::new(Rate { requests: NonZeroU32::new(requests).unwrap(), per }, clock.clone());
        let keys: Vec<Key> = ["a", "b", "c"].map(|name| key(&[name])).to_vec();
        let mut bucket = Bucket::new(requests, per);
        for (n, step) in steps.iter().enumerate() {
            match *step {
                Step::Take(who) => prop_assert_eq!(quota.take(&keys[who]).err(), bucket.take(who), "step {}", n),
                Step::GiveBack(who) => {
                    quota.give_back(&keys[who]);
                    bucket.give_back(who);
                }
                Step::Pass(millis) => {
                    clock.advance(Duration::from_millis(millis));
                    bucket.pass(Duration::from_millis(millis));
                }
            }
            for (who, key) in keys.iter().enumerate() {
                let left = *bucket.left(who);
                let level = quota.level(key);
                prop_assert_eq!(u64::from(level.remaining), left / bucket.interval, "step {}, {}", n, who);
                prop_assert_eq!(level.full_in, Duration::from_nanos(bucket.whole - left), "step {}, {}", n, who);
            }
        }
    }

    #[test]
    fn an_address_pays_for_what_it_failed_at_and_never_for_longer_than_twice(
        steps in proptest::collection::vec(step(), 1..120),
        requests in 1..6u32,
        seconds in 1..10u64,
    ) {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let per = Duration::from_secs(seconds);
        let rate = Rate { requests: NonZeroU32::new(requests).unwrap(), per };
        let gate = AddressGate::new(rate, rate, 100, clock.clone());
        let address = |who: usize| IpAddr::from(Ipv4Addr::new(192, 0, 2, u8::try_from(who).unwrap()));
        // How long each still has to pay; so much fits into the window.
        let bucket = Bucket::new(requests, per);
        let mut debts = [0u64; 3];
        for (n, step) in steps.iter().enumerate() {
            match *step {
                Step::Take(who) => {
                    gate.failed(address(who));
                    debts[who] = (debts[who] + bucket.interval).min(2 * bucket.whole);
                }
                Step::GiveBack(_) => {}
                Step::Pass(millis) => {
                    clock.advance(Duration::from_millis(millis));
                    let paid = millis * 1_000_000;
                    debts.iter_mut().for_each(|debt| *debt = debt.saturating_sub(paid));
                }
            }
            for (who, debt) in debts.iter().enumerate() {
                let fits = debt + bucket.interval <= bucket.whole;
                prop_assert_eq!(gate.check(address(who)).is_ok(), fits, "step {}, {}: {}", n, who, debt);
            }
        }
    }
}
