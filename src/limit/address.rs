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
//! Two more bounds hold before anybody is identified. What one address may have under way at once
//! ([`AddressGate::begin`]), as a look for keys may take seconds, and whoever waits there holds a place that known callers
//! need. And how much of all strangers together is answered and so recorded ([`AddressGate::records`]): whoever commands
//! a whole network has more addresses than any bound on each is good for.
//!
//! Not here: connections at once (`listen`), quotas of known callers (`limit`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::caller::{Network, Tally};
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

/// Calls of one address that are not identified yet, at once: as many as a busy tool starts with a new token, and half
/// of what one HTTP/2 connection may have open.
const AT_ONCE: usize = 32;

/// What one who meets that bound is told to wait for: places are free again as soon as keys are there.
const SOON: Duration = Duration::from_secs(1);

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
    records: Count,
    /// When the debt of all strangers together is paid.
    recorded: Mutex<Duration>,
    max: usize,
    state: Mutex<State>,
    /// Calls of strangers that may be under way at once, of all addresses.
    most: usize,
    under_way: Mutex<Tally>,
}

/// A call that is not identified yet; it is no more when this is dropped.
#[derive(Debug)]
pub struct Stranger<'a> {
    gate: &'a AddressGate,
    network: Network,
}

impl Drop for Stranger<'_> {
    fn drop(&mut self) {
        let mut under_way = self.gate.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.give_back(Some(self.network));
    }
}

#[derive(Debug, Default)]
struct State {
    debts: HashMap<Network, Debts>,
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
    /// Lets each address send `rate.requests` unidentified requests at once, refilled evenly over `rate.per`, and has so
    /// many of all addresses recorded as `in_all` says. Of the calls that there is room for, half may be unidentified.
    #[must_use]
    pub fn new(rate: Rate, in_all: Rate, calls: usize, clock: Arc<dyn Clock>) -> Self {
        let requests = rate.requests.get();
        let excuses = Count::new(requests.saturating_mul(EXCUSED), rate.per);
        let failures = Count::new(requests, rate.per);
        Self {
            clock,
            failures,
            excuses,
            records: Count::new(in_all.requests.get(), in_all.per),
            recorded: Mutex::default(),
            max: MAX_ADDRESSES,
            state: Mutex::default(),
            most: (calls / 2).max(1),
            under_way: Mutex::default(),
        }
    }

    /// Takes a place for a call from that address that is not identified yet.
    ///
    /// # Errors
    /// [`Refusal::AddressLimited`]: the address has too many of them. [`Refusal::Overloaded`]: all addresses together do.
    pub fn begin(&self, address: IpAddr) -> Result<Stranger<'_>, Refusal> {
        let network = Network::of(address);
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.of(network) >= AT_ONCE {
            return Err(Refusal::AddressLimited { retry_after: SOON });
        }
        if under_way.all() >= self.most {
            return Err(Refusal::Overloaded { retry_after: SOON });
        }
        under_way.take();
        under_way.assign(network);
        Ok(Stranger { gate: self, network })
    }

    /// Whether one more refusal of a sender whom nobody knows is answered and recorded, whatever its address. Takes one
    /// from what there is of these.
    pub fn records(&self) -> bool {
        let now = self.clock.monotonic();
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = self.records.wait(*recorded, now).is_zero();
        if fits {
            self.records.add(&mut recorded, now);
        }
        fits
    }

    /// Whether work may be done for a request from that address. Takes nothing.
    ///
    /// # Errors
    /// [`Refusal::AddressLimited`]
    pub fn check(&self, address: IpAddr) -> Result<(), Refusal> {
        let now = self.clock.monotonic();
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = state.debts.get(&Network::of(address)).map_or(Duration::ZERO, |debts| debts.failed);
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
        let network = Network::of(address);
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

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use jiff::Timestamp;

    use super::*;
    use crate::clock::ManualClock;

    fn gate(requests: u32) -> (AddressGate, Arc<ManualClock>) {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let rate = Rate { requests: NonZeroU32::new(requests).unwrap(), per: Duration::from_secs(60) };
        let in_all = Rate { requests: NonZeroU32::new(20).unwrap(), per: Duration::from_secs(60) };
        (AddressGate::new(rate, in_all, 80, clock.clone()), clock)
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
    fn an_address_has_few_calls_under_way_before_it_is_known_and_all_have_half_the_room() {
        let (gate, _) = gate(3);
        let begin = |address: &str| gate.begin(ip(address));
        let mut first: Vec<_> = (0..AT_ONCE).map(|_| begin("2001:db8::1").unwrap()).collect();
        let limited = Refusal::AddressLimited { retry_after: SOON };
        assert_eq!(begin("2001:db8::2").unwrap_err(), limited, "the same network");
        let others: Vec<_> = (0..8).map(|_| begin("192.0.2.1").unwrap()).collect();
        assert_eq!(begin("192.0.2.2").unwrap_err(), Refusal::Overloaded { retry_after: SOON });
        drop(others);
        first.pop();
        let again = begin("2001:db8::2").unwrap();
        assert_eq!(begin("2001:db8::3").unwrap_err(), limited);
        drop((first, again));
        let under_way = gate.under_way.lock().unwrap();
        assert_eq!((under_way.all(), under_way.networks()), (0, 0));
    }

    #[test]
    fn what_strangers_have_recorded_has_a_bound_over_all_addresses() {
        let (gate, clock) = gate(3);
        let recorded = || (0..1000).filter(|_| gate.records()).count();
        assert_eq!(recorded(), 20);
        clock.advance(Duration::from_secs(3));
        assert_eq!(recorded(), 1);
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
