//! The budget that replicas share: each call asks the database, which counts exactly, so no replica takes anything ahead and
//! all together never exceed the budget. A call to the upstream takes a hundred times as long as the question.
//!
//! What the upstream says to one replica is told to the database at once, by one statement at a time, and whoever makes the
//! next call anywhere knows it. While the database can't be asked, a replica that reads keeps to its part of the window, by the
//! number of replicas that it last heard of; nobody writes.
//!
//! Not here: one process alone (`limit::budget`), the statements (`share`).

use std::sync::Arc;
use std::time::Duration;

use super::{Budget, Inner, MAX_TOLD, State, Taken, told_wait};
use crate::config;
use crate::operation::Class;
use crate::refusal::Refusal;
use crate::share::{News, Shared, Started, Wanted};

/// Between two statements that tell, and where the last one failed.
const TELL_EVERY: Duration = Duration::from_millis(100);
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// What the database said last, and what it has not been told.
#[derive(Debug, Default)]
pub(super) struct Others {
    /// Replicas that made calls lately; 0 where it was never asked.
    replicas: u32,
    /// Calls of all replicas in the window, and when it was asked.
    used: Option<(u32, Duration)>,
    /// The number of the last call of this replica.
    ticket: i64,
    /// By name, at most [`MAX_TOLD`].
    news: Vec<Heard>,
    /// The upstream's 429 has not been told.
    block: bool,
    /// Somebody tells.
    is_telling: bool,
}

#[derive(Debug)]
struct Heard {
    news: News,
    until: Duration,
}

impl Others {
    pub(super) fn used(&self, now: Duration, window: Duration) -> u32 {
        self.used.filter(|(_, at)| now.saturating_sub(*at) <= window).map_or(0, |(used, _)| used)
    }

    pub(super) fn hear(&mut self, name: &str, ticket: i64, left: u32, until: Duration, size: Option<u32>) {
        // With the least that the upstream may have counted since: its own call.
        let news = News { name: name.to_owned(), ticket, left, lasts: Duration::ZERO, size };
        if let Some(known) = self.news.iter_mut().find(|known| known.news.name == name) {
            *known = Heard { news, until };
        } else if self.news.len() < MAX_TOLD {
            self.news.push(Heard { news, until });
        }
    }

    pub(super) const fn hear_block(&mut self) {
        self.block = true;
    }

    const fn has_news(&self) -> bool {
        self.is_telling || self.block || !self.news.is_empty()
    }
}

impl Budget {
    pub(super) async fn take_everywhere(
        &self,
        shared: &Shared,
        config: Arc<config::Budget>,
        privileged: bool,
        class: Class,
    ) -> Result<Taken, Refusal> {
        // Counted as under way before it is asked for, and until this is dropped: other calls tell the number meanwhile.
        let mut taken = Taken { inner: Arc::clone(&self.inner), config, privileged, ticket: 0 };
        {
            let mut state = self.inner.lock();
            state.in_flight = state.in_flight.saturating_add(1);
        }
        taken.ticket = self.inner.start_everywhere(shared, &taken.config, privileged, class).await?;
        Ok(taken)
    }
}

impl Inner {
    pub(super) async fn start_everywhere(
        &self,
        shared: &Shared,
        config: &config::Budget,
        privileged: bool,
        class: Class,
    ) -> Result<i64, Refusal> {
        let wanted = self.wanted(config, privileged)?;
        let asked = shared.take_budget(&wanted).await;
        let now = self.clock.monotonic();
        let mut state = self.lock();
        match (asked, class) {
            (Ok(Started { ticket, used, replicas }), _) => {
                state.others.replicas = replicas;
                state.others.used = Some((used, now));
                let ticket = ticket.map_err(|retry_after| Refusal::BudgetSpent { retry_after })?;
                self.forget(&mut state, now, config);
                state.start(now);
                state.others.ticket = ticket;
                Ok(ticket)
            }
            (Err(_), Class::Read) => {
                let parts = state.others.replicas.max(1);
                self.start_one(&mut state, config, privileged, parts).map(|()| state.others.ticket)
            }
            (Err(away), Class::Write | Class::Secret) => Err(away.into()),
        }
    }

    /// What to ask for, unless this replica knows already that there is no room.
    fn wanted(&self, config: &config::Budget, privileged: bool) -> Result<Wanted, Refusal> {
        let now = self.clock.monotonic();
        let state = self.lock();
        // What others were told is in the database. What was not told yet stands here alone.
        let told = if state.others.has_news() { told_wait(&state, now, config, privileged) } else { None };
        if let Some(retry_after) = state.blocked_wait(now).max(told) {
            return Err(Refusal::BudgetSpent { retry_after });
        }
        Ok(Wanted {
            in_flight: state.in_flight,
            requests: config.requests,
            reserve: config.reserve,
            window: config.window,
            privileged,
        })
    }

    /// Lets other replicas know what was heard, if there are any and nobody is at it.
    pub(super) fn tell_others(self: &Arc<Self>) {
        let Some(shared) = self.shared.clone() else { return };
        let mut state = self.lock();
        if state.others.is_telling || !state.others.has_news() {
            return;
        }
        state.others.is_telling = true;
        drop(state);
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            while let Some((in_flight, heard, blocked)) = inner.to_tell() {
                let news: Vec<News> = heard.iter().map(|one| one.news.clone()).collect();
                let told = shared.learn_budget(in_flight, &news, blocked).await;
                if told.is_err() {
                    inner.lock().others.keep(heard, !blocked.is_zero());
                }
                tokio::time::sleep(if told.is_ok() { TELL_EVERY } else { TELL_AGAIN }).await;
            }
        });
    }

    /// What is still news: it ends by itself, so nobody tells for ever.
    fn to_tell(&self) -> Option<(u32, Vec<Heard>, Duration)> {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        let State { others, in_flight, blocked_until, .. } = &mut *state;
        let mut heard = std::mem::take(&mut others.news);
        heard.retain_mut(|one| {
            one.news.lasts = one.until.saturating_sub(now);
            !one.news.lasts.is_zero()
        });
        let is_blocked = std::mem::take(&mut others.block);
        let blocked = if is_blocked { blocked_until.saturating_sub(now) } else { Duration::ZERO };
        if heard.is_empty() && blocked.is_zero() {
            others.is_telling = false;
            return None;
        }
        Some((*in_flight, heard, blocked))
    }
}

impl Others {
    /// Takes back what could not be told, where nothing newer is known.
    fn keep(&mut self, heard: Vec<Heard>, block: bool) {
        self.block |= block;
        for one in heard {
            if self.news.len() < MAX_TOLD && !self.news.iter().any(|known| known.news.name == one.news.name) {
                self.news.push(one);
            }
        }
    }
}

#[cfg(test)]
mod tests;
