//! The limit on what an address may cost before anybody there is identified.
//!
//! Only requests that turned out not to be identified are counted, so callers with a token behind one address
//! translator don't use it up. They do share its fate while it is spent: at that point nobody knows yet who
//! sent the request. A caller whose token is already known as verified need not be asked to pass here.
//!
//! Every refusal is an entry of a record that only grows, so an address in debt is told so a few times a minute
//! ([`AddressGate::tells`]) and else gets no answer and no entry. What is refused for a fault of ours counts apart,
//! and only against that ([`AddressGate::excuse`]).
//!
//! Not here: connections at once (`listen`), quotas of known callers (`limit`).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::config::Rate;
use crate::refusal::Refusal;

/// Addresses that are remembered: about 80 bytes each, so about 5 MiB. Who commands more than this many
/// addresses is not stopped by a limit on each.
const MAX_ADDRESSES: usize = 1 << 16;

/// Entries looked at for the one to forget when all are in use: enough to spare the worst offenders, and few
/// enough to be no cost.
const SAMPLE: usize = 16;

/// How often, and how often at once, an address in debt is told of it: enough for a person who looks for the reason,
/// some 14,000 entries a day at most.
const TELLS: Count = Count { interval: Duration::from_secs(6), per: Duration::from_mins(1) };

/// How many times as many requests are refused by name that failed for no fault of their author's.
const EXCUSED: u32 = 10;

/// So many at once, refilled evenly: the generic cell rate algorithm, whose state is when the debt is paid.
#[derive(Clone, Copy, Debug)]
struct Count {
    interval: Duration,
    per: Duration,
}

impl Count {
    fn new(requests: u32, per: Duration) -> Self {
        let interval = (per / requests.max(1)).max(Duration::from_nanos(1));
        Self { interval, per: interval.saturating_mul(requests) }
    }

    /// How long it is until one more fits.
    fn wait(self, paid_at: Duration, now: Duration) -> Duration {
        (paid_at.saturating_sub(now) + self.interval).saturating_sub(self.per)
    }

    /// Counts one more. Requests that passed together may all fail: their debt adds up, but to one more window at
    /// most, so that nobody is shut out for longer than twice the configured time.
    fn add(self, paid_at: &mut Duration, now: Duration) {
        *paid_at = ((*paid_at).max(now) + self.interval).min(now + self.per.saturating_mul(2));
    }
}

/// Counts unidentified requests by address.
#[derive(Debug)]
pub struct AddressGate {
    clock: Arc<dyn Clock>,
    failures: Count,
    excuses: Count,
    max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    debts: HashMap<u128, Debts>,
    next_prune: Duration,
}

/// When an address's debts are paid, on the monotonic clock.
#[derive(Clone, Copy, Debug)]
struct Debts {
    failed: Duration,
    excused: Duration,
    told: Duration,
}

impl Debts {
    fn last(&self) -> Duration {
        self.failed.max(self.excused).max(self.told)
    }
}

impl AddressGate {
    /// Lets each address send `rate.requests` unidentified requests at once, refilled evenly over `rate.per`.
    #[must_use]
    pub fn new(rate: Rate, clock: Arc<dyn Clock>) -> Self {
        let requests = rate.requests.get();
        let excuses = Count::new(requests.saturating_mul(EXCUSED), rate.per);
        let failures = Count::new(requests, rate.per);
        Self { clock, failures, excuses, max: MAX_ADDRESSES, state: Mutex::default() }
    }

    /// Whether work may be done for a request from that address. Takes nothing.
    ///
    /// # Errors
    /// [`Refusal::AddressLimited`]
    pub fn check(&self, address: IpAddr) -> Result<(), Refusal> {
        let now = self.clock.monotonic();
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = state.debts.get(&network(address)).map_or(Duration::ZERO, |debts| debts.failed);
        free(self.failures.wait(failed, now))
    }

    /// Counts a request from that address that turned out not to be identified.
    pub fn failed(&self, address: IpAddr) {
        self.with(address, |debts, now| self.failures.add(&mut debts.failed, now));
    }

    /// Counts a request from that address that could not be identified, or was not looked at, for a reason of ours.
    ///
    /// # Errors
    /// [`Refusal::AddressLimited`]: there were too many of them.
    pub fn excuse(&self, address: IpAddr) -> Result<(), Refusal> {
        self.with(address, |debts, now| {
            free(self.excuses.wait(debts.excused, now)).map(|()| self.excuses.add(&mut debts.excused, now))
        })
    }

    /// Whether an address in debt is told so this time, which has its entry. Takes one from what it may be told.
    pub fn tells(&self, address: IpAddr) -> bool {
        self.with(address, |debts, now| {
            let tells = TELLS.wait(debts.told, now).is_zero();
            if tells {
                TELLS.add(&mut debts.told, now);
            }
            tells
        })
    }

    fn with<T>(&self, address: IpAddr, act: impl FnOnce(&mut Debts, Duration) -> T) -> T {
        let now = self.clock.monotonic();
        let network = network(address);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.debts.contains_key(&network) && state.debts.len() >= self.max {
            state.make_room(now, self.max);
        }
        let none = Debts { failed: now, excused: now, told: now };
        act(state.debts.entry(network).or_insert(none), now)
    }
}

fn free(wait: Duration) -> Result<(), Refusal> {
    if wait.is_zero() { Ok(()) } else { Err(Refusal::AddressLimited { retry_after: wait }) }
}

impl State {
    fn make_room(&mut self, now: Duration, max: usize) {
        if now >= self.next_prune {
            self.debts.retain(|_, debts| debts.last() > now);
            // At most once a second, or an attacker could make each request walk the whole map.
            self.next_prune = now + Duration::from_secs(1);
        }
        if self.debts.len() >= max {
            let least = self.debts.iter().take(SAMPLE).min_by_key(|(_, debts)| debts.last());
            if let Some(network) = least.map(|(network, _)| *network) {
                self.debts.remove(&network);
            }
        }
    }
}

/// What counts as one address: an IPv4 address, also where it came mapped into IPv6, and the first 64 bits of an
/// IPv6 address, as the rest is free for every host to choose (RFC 4291 section 2.5.1).
fn network(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => Ipv6Addr::to_bits(v6) & !u128::from(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use jiff::Timestamp;

    use super::*;
    use crate::clock::ManualClock;

    fn gate(requests: u32) -> (AddressGate, Arc<ManualClock>) {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let rate = Rate { requests: NonZeroU32::new(requests).unwrap(), per: Duration::from_secs(60) };
        (AddressGate::new(rate, clock.clone()), clock)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[track_caller]
    fn refused(gate: &AddressGate, address: &str, seconds: u64) {
        let want = Err(Refusal::AddressLimited { retry_after: Duration::from_secs(seconds) });
        assert_eq!(gate.check(ip(address)), want, "{address}");
    }

    #[test]
    fn only_failures_count() {
        let (gate, _) = gate(3);
        (0..100).for_each(|_| gate.check(ip("192.0.2.1")).unwrap());
        (0..2).for_each(|_| gate.failed(ip("192.0.2.1")));
        gate.check(ip("192.0.2.1")).unwrap();
        gate.failed(ip("192.0.2.1"));
        refused(&gate, "192.0.2.1", 20);
        gate.check(ip("192.0.2.2")).unwrap();
    }

    #[test]
    fn a_slot_comes_back_after_an_interval() {
        let (gate, clock) = gate(3);
        (0..3).for_each(|_| gate.failed(ip("192.0.2.1")));
        clock.advance(Duration::from_secs(19));
        refused(&gate, "192.0.2.1", 1);
        clock.advance(Duration::from_secs(1));
        gate.check(ip("192.0.2.1")).unwrap();
        gate.failed(ip("192.0.2.1"));
        refused(&gate, "192.0.2.1", 20);
    }

    #[test]
    fn failures_that_passed_together_add_up_to_a_bound() {
        let (gate, _) = gate(3);
        (0..1000).for_each(|_| gate.failed(ip("192.0.2.1")));
        refused(&gate, "192.0.2.1", 80);
    }

    #[test]
    fn an_address_in_debt_is_told_so_a_few_times_a_minute() {
        let (gate, clock) = gate(1);
        let told = || (0..1000).filter(|_| gate.tells(ip("192.0.2.1"))).count();
        assert_eq!(told(), 10);
        clock.advance(Duration::from_secs(6));
        assert_eq!(told(), 1);
        assert!(gate.tells(ip("192.0.2.2")), "another address");
        gate.check(ip("192.0.2.1")).unwrap();
    }

    #[test]
    fn what_is_our_fault_counts_apart_and_has_its_bound() {
        let (gate, _) = gate(3);
        (0..30).for_each(|_| gate.excuse(ip("192.0.2.1")).unwrap());
        let limited = Refusal::AddressLimited { retry_after: Duration::from_secs(2) };
        assert_eq!(gate.excuse(ip("192.0.2.1")), Err(limited));
        gate.check(ip("192.0.2.1")).unwrap();
        gate.failed(ip("192.0.2.2"));
        gate.excuse(ip("192.0.2.2")).unwrap();
    }

    #[test]
    fn ipv6_counts_by_its_first_64_bits_and_mapped_ipv4_as_ipv4() {
        let (gate, _) = gate(1);
        gate.failed(ip("2001:db8:0:1::1"));
        refused(&gate, "2001:db8:0:1:ffff::2", 60);
        gate.check(ip("2001:db8:0:2::1")).unwrap();
        gate.failed(ip("::ffff:192.0.2.7"));
        refused(&gate, "192.0.2.7", 60);
        gate.check(ip("192.0.2.8")).unwrap();
    }

    #[test]
    fn memory_is_bounded_and_debts_outlive_a_flood() {
        let (mut gate, clock) = gate(2);
        gate.max = 8;
        for low in 0..200u8 {
            gate.failed(IpAddr::from([10, 0, 0, low]));
            assert!(gate.state.lock().unwrap().debts.len() <= 8);
        }
        (0..100).for_each(|_| gate.failed(ip("192.0.2.1")));
        for low in 0..100u8 {
            gate.failed(IpAddr::from([10, 0, 1, low]));
        }
        assert!(gate.check(ip("192.0.2.1")).is_err());
        clock.advance(Duration::from_secs(300));
        gate.failed(ip("192.0.2.9"));
        assert_eq!(gate.state.lock().unwrap().debts.len(), 1);
    }
}
