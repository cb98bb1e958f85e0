//! The budget of upstream calls that all callers share.
//!
//! An exact sliding window, because the upstream's answer to one call too many is to refuse everybody for
//! minutes: never do more than `requests` calls start within any `window`, however they are spread. (GCRA lets
//! through nearly twice as many in the window after a burst.) What the upstream says itself goes first: fewer
//! calls left than we think, or a 429.
//!
//! A part is kept for the roles of `reserve_roles`, so that one noisy tool can't lock out an incident.
//!
//! What may be spent can be replaced while calls are under way ([`Budget::renew`]); what is spent stays. A call holds on
//! to what was in force when it began ([`Budget::pinned`]).
//!
//! Source: Cloudflare API, "Rate limits". Not here: reading the fields (`limit::fields`), sending (`forward`), the
//! budget that several replicas share (`limit::budget::replicas`).

mod replicas;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::fields::{members, retry_after};
use crate::caller::Caller;
use crate::clock::Clock;
use crate::config;
use crate::operation::Class;
use crate::refusal::Refusal;
use crate::share::Shared;

/// The longest time for which the upstream is believed without asking again: its own longest lockout is 5
/// minutes, and a garbled number must not stop the service for longer than a person would need to see it.
const MAX_BELIEF: Duration = Duration::from_secs(3600);

/// Limits of the upstream, by name, that are followed; it sends two or three.
const MAX_TOLD: usize = 8;

/// Added to the time at which a call leaves the window, which is closed at both ends.
const TICK: Duration = Duration::from_micros(1);

/// The shared budget. Clones share it.
#[derive(Clone, Debug)]
pub struct Budget {
    inner: Arc<Inner>,
    /// What this one goes by, whatever is in force.
    pinned: Option<Arc<config::Budget>>,
}

#[derive(Debug)]
struct Inner {
    clock: Arc<dyn Clock>,
    /// What is in force.
    config: RwLock<Arc<config::Budget>>,
    state: Mutex<State>,
    shared: Option<Shared>,
}

#[derive(Debug, Default)]
struct State {
    /// When each call of the window started, oldest first.
    starts: VecDeque<Duration>,
    /// Calls taken whose answer has not been dealt with.
    in_flight: u32,
    /// The upstream refused with 429: nothing is sent before this time.
    blocked_until: Duration,
    told: Vec<Told>,
    /// What other replicas know, and are to know.
    others: replicas::Others,
}

/// One of the upstream's own limits, as it last told.
#[derive(Debug)]
struct Told {
    name: String,
    /// Calls left until `until`.
    left: u32,
    until: Duration,
    /// Its size: from `Ratelimit-Policy`, else the most that was ever seen to be left, and one.
    size: u32,
}

/// The proof that one upstream call was counted; dropped when its answer was dealt with.
#[derive(Debug)]
#[must_use = "a call was counted; send it or the budget is spent for nothing"]
pub struct Taken {
    inner: Arc<Inner>,
    config: Arc<config::Budget>,
    privileged: bool,
    /// Its number among the calls of all replicas; 0 where there is none.
    ticket: i64,
}

impl Budget {
    /// How many calls of the window were made, and how many there may be. Of several replicas, as this one heard at its last
    /// call.
    #[must_use]
    pub fn standing(&self) -> (u32, u32) {
        let (now, config) = (self.inner.clock.monotonic(), self.config());
        let state = self.inner.lock();
        let made = u32::try_from(state.starts.len().saturating_sub(state.left(now, &config)));
        (made.unwrap_or(u32::MAX).max(state.others.used(now, config.window)), config.requests)
    }

    /// How many calls may be made at once, by our own count and by what the upstream last told; with the reserve.
    #[must_use]
    pub fn left(&self) -> u32 {
        let now = self.inner.clock.monotonic();
        let (made, limit) = self.standing();
        let state = self.inner.lock();
        if state.blocked_until > now {
            return 0;
        }
        let told = state.told.iter().filter(|told| told.until > now).map(|told| told.left);
        told.fold(limit.saturating_sub(made), u32::min)
    }

    /// An unspent budget, or the one that replicas share, where there are several.
    #[must_use]
    pub fn new(config: &config::Budget, clock: Arc<dyn Clock>, shared: Option<Shared>) -> Self {
        let config = RwLock::new(Arc::new(config.clone()));
        Self { inner: Arc::new(Inner { clock, config, state: Mutex::default(), shared }), pinned: None }
    }

    /// Puts another budget in force for all who share this one. What was spent stays spent; a longer window begins with
    /// what the shorter one remembers.
    pub fn renew(&self, config: &config::Budget) {
        *self.inner.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config.clone());
    }

    /// The same budget, by what is in force now and stays so for whoever takes from it by this value.
    #[must_use]
    pub fn pinned(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), pinned: Some(self.config()) }
    }

    fn config(&self) -> Arc<config::Budget> {
        self.pinned.as_ref().map_or_else(|| self.inner.in_force(), Arc::clone)
    }

    /// Takes one upstream call of `class` for that caller; for a state read of ours as well, which is a read.
    ///
    /// # Errors
    /// [`Refusal::BudgetSpent`]; [`Refusal::AuditUnavailable`] for a write or a secret while replicas can't ask for what
    /// they share.
    pub async fn take(&self, caller: &Caller, class: Class) -> Result<Taken, Refusal> {
        let config = self.config();
        let privileged = caller.roles.iter().any(|role| config.reserve_roles.contains(role));
        self.take_as(config, privileged, class).await
    }

    /// Takes one upstream call, a read, for nobody: finding out what became of a lost call, checking the token. Does not
    /// touch the reserve.
    ///
    /// # Errors
    /// [`Refusal::BudgetSpent`]
    pub async fn take_own(&self) -> Result<Taken, Refusal> {
        self.take_as(self.config(), false, Class::Read).await
    }

    async fn take_as(
        &self,
        config: Arc<config::Budget>,
        privileged: bool,
        class: Class,
    ) -> Result<Taken, Refusal> {
        match &self.inner.shared {
            None => self.take_here(config, privileged),
            // Apart, as it is far larger: whoever is alone need not carry it.
            Some(shared) => Box::pin(self.take_everywhere(shared, config, privileged, class)).await,
        }
    }

    fn take_here(&self, config: Arc<config::Budget>, privileged: bool) -> Result<Taken, Refusal> {
        let mut state = self.inner.lock();
        self.inner.start_one(&mut state, &config, privileged, 1)?;
        state.in_flight = state.in_flight.saturating_add(1);
        Ok(Taken { inner: Arc::clone(&self.inner), config, privileged, ticket: 0 })
    }

    /// Believes what an answer of the upstream says of its limits. [`Taken::observe`] does the same for the one
    /// call that it counted, and is the one to use where there is a call.
    pub fn observe(&self, status: StatusCode, headers: &HeaderMap) {
        self.inner.observe(status, headers, &self.config(), None);
    }
}

impl Taken {
    /// Counts the same call a second time, for a try on a fresh connection.
    ///
    /// # Errors
    /// [`Refusal::BudgetSpent`]
    pub async fn again(&self) -> Result<(), Refusal> {
        match &self.inner.shared {
            None => self.inner.start_one(&mut self.inner.lock(), &self.config, self.privileged, 1),
            // Only a read is tried a second time.
            Some(shared) => {
                let start = self.inner.start_everywhere(shared, &self.config, self.privileged, Class::Read);
                Box::pin(start).await.map(|_| ())
            }
        }
    }

    /// Believes what the answer to this call says of the upstream's limits.
    pub fn observe(&self, status: StatusCode, headers: &HeaderMap) {
        self.inner.observe(status, headers, &self.config, Some(self.ticket));
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut state = self.inner.lock();
        state.in_flight = state.in_flight.saturating_sub(1);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_force(&self) -> Arc<config::Budget> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Starts a call, if there is room in one of so many equal parts of the budget.
    fn start_one(
        &self,
        state: &mut State,
        config: &config::Budget,
        privileged: bool,
        parts: u32,
    ) -> Result<(), Refusal> {
        let now = self.clock.monotonic();
        self.forget(state, now, config);
        let window = window_wait(state, now, config, privileged, parts);
        let told = told_wait(state, now, config, privileged);
        let wait = [state.blocked_wait(now), window, told].into_iter().flatten().max();
        if let Some(retry_after) = wait {
            return Err(Refusal::BudgetSpent { retry_after });
        }
        state.start(now);
        Ok(())
    }

    fn forget(&self, state: &mut State, now: Duration, config: &config::Budget) {
        // Who goes by an older budget must not take from the memory of the present one.
        let window = self.in_force().window.max(config.window);
        while state.starts.front().is_some_and(|start| now.saturating_sub(*start) > window) {
            state.starts.pop_front();
        }
    }

    /// Of an answer to the call of this number, or to none that was counted.
    fn observe(
        self: &Arc<Self>,
        status: StatusCode,
        headers: &HeaderMap,
        config: &config::Budget,
        ticket: Option<i64>,
    ) {
        let now = self.clock.monotonic();
        let policies = members(headers, "ratelimit-policy");
        let policy =
            |name: &str, param| policies.iter().find(|p| p.name == name).and_then(|p| p.param(param));
        let mut state = self.lock();
        // Calls under way may or may not be counted in the number told: count them against it.
        let others = state.in_flight.saturating_sub(u32::from(ticket.is_some()));
        let mut longest = None;
        for member in members(headers, "ratelimit") {
            let Some(left) = member.param("r") else { continue };
            let seconds = member.param("t").or_else(|| policy(&member.name, "w"));
            let lasts = seconds.map_or(config.window, |s| Duration::from_secs(s.into())).min(MAX_BELIEF);
            let size = policy(&member.name, "q");
            if left == 0 {
                longest = longest.max(Some(lasts));
            }
            if self.shared.is_some() {
                state.others.hear(&member.name, ticket.unwrap_or_default(), left, now + lasts, size);
            }
            state.tell(member.name, left, left.saturating_sub(others), now + lasts, size);
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            let asked = retry_after(headers, self.clock.now());
            let lasts = asked.or(longest).unwrap_or(config.window).min(MAX_BELIEF);
            state.blocked_until = state.blocked_until.max(now + lasts);
            tracing::warn!(
                upstream.retry_after_s = lasts.as_secs(),
                "the upstream throttles; all calls are refused until then"
            );
            state.others.hear_block();
        }
        drop(state);
        self.tell_others();
    }
}

/// How long until our own window has room; `None` where it has.
fn window_wait(
    state: &State,
    now: Duration,
    config: &config::Budget,
    privileged: bool,
    parts: u32,
) -> Option<Duration> {
    let kept = if privileged { 0 } else { config.reserve };
    let room = config.requests.saturating_sub(kept);
    // However many parts, one call fits into each.
    let room = room.checked_div(parts).unwrap_or(room).max(room.min(1));
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    let left = state.left(now, config);
    // The call that must leave the window before there is room. Where there is no room at all, nothing
    // helps, and a window is as good an answer as any.
    let over = left.saturating_add(state.starts.len().saturating_sub(left).checked_sub(room)?);
    let leaves = |start: &Duration| (*start + config.window + TICK).saturating_sub(now);
    Some(state.starts.get(over).map_or(config.window, leaves))
}

/// How long until the upstream's own limits have room; `None` where they have.
fn told_wait(state: &State, now: Duration, config: &config::Budget, privileged: bool) -> Option<Duration> {
    let in_force = state.told.iter().filter(|told| told.until > now);
    let spent = in_force.filter(|told| told.left <= if privileged { 0 } else { kept_of(told.size, config) });
    spent.map(|told| told.until.saturating_sub(now)).max()
}

/// The share of a limit of the upstream's that is kept, in the same proportion as of our own; at most all
/// but one call, or a small limit would shut out everybody else for good.
fn kept_of(size: u32, config: &config::Budget) -> u32 {
    let (reserve, requests) = (u64::from(config.reserve), u64::from(config.requests.max(1)));
    let kept = (u64::from(size) * reserve).div_ceil(requests);
    u32::try_from(kept).unwrap_or(u32::MAX).min(size.saturating_sub(1))
}

impl State {
    fn start(&mut self, now: Duration) {
        self.starts.push_back(now);
        self.told.iter_mut().for_each(|told| told.left = told.left.saturating_sub(1));
    }

    fn blocked_wait(&self, now: Duration) -> Option<Duration> {
        self.blocked_until.checked_sub(now).filter(|wait| !wait.is_zero())
    }

    /// How many of the calls in memory have left that budget's window.
    fn left(&self, now: Duration, config: &config::Budget) -> usize {
        self.starts.partition_point(|start| now.saturating_sub(*start) > config.window)
    }

    fn tell(&mut self, name: String, told: u32, left: u32, until: Duration, size: Option<u32>) {
        if let Some(known) = self.told.iter_mut().find(|known| known.name == name) {
            known.size = size.unwrap_or_else(|| known.size.max(told.saturating_add(1)));
            known.left = left;
            known.until = until;
            return;
        }
        if self.told.len() >= MAX_TOLD {
            let soonest = self.told.iter().enumerate().min_by_key(|(_, told)| told.until).map(|(at, _)| at);
            soonest.map(|at| self.told.swap_remove(at));
        }
        let size = size.unwrap_or_else(|| told.saturating_add(1));
        self.told.push(Told { name, left, until, size });
    }
}

#[cfg(test)]
mod tests;
