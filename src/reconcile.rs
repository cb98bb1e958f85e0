//! Reconcile: compares the record with the upstream's own audit logs, to find what went past this proxy.
//!
//! Each run reads the logs from where the last one ended, less a while for rows that come late, and then the record; in
//! this order, since each call's intent is in the record before it goes out. The record is the memory: where the last run
//! ended, what it could not read, and what was found before. Not here: one page of the logs (`forward`), when it is done
//! (`service`), what a person sees (`cli`).

mod calls;
mod finding;
mod gather;
mod judge;
mod keys;
mod memory;
mod report;
mod row;
mod span;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use calls::{Calls, SKEW};
use gather::{Asking, Gathered};
use judge::{Evidence, judge};
use keys::Keys;
use memory::{Last, Memory};
use span::{Span, Spans};

use crate::clock::{Clock, Ids};
use crate::config;
use crate::forward::Upstream;
use crate::limit::Budget;
use crate::operation::AccountId;
use crate::store::{ReadError, Reader};

pub use finding::{Finding, Named, What};
pub use report::{OfAccount, Report};

/// How long the upstream keeps its logs: what is older can't be read any more.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Compares.
#[derive(Debug)]
pub struct Reconciler {
    upstream: Arc<Upstream>,
    budget: Budget,
    reader: Reader,
    ids: Arc<Ids>,
    clock: Arc<dyn Clock>,
    grace: SignedDuration,
    look_back: SignedDuration,
    accounts: BTreeSet<AccountId>,
}

/// What was read of the upstream for one account.
struct Read {
    account: AccountId,
    work: Spans,
    gathered: Gathered,
    keys: Keys,
}

impl Reconciler {
    /// With the upstream, the budget and the record of a proxy.
    #[must_use]
    pub fn new(
        upstream: Arc<Upstream>,
        budget: Budget,
        reader: Reader,
        ids: Arc<Ids>,
        clock: Arc<dyn Clock>,
        config: &config::Config,
    ) -> Self {
        let options = &config.audit.reconcile;
        let signed = |duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        let accounts = options.accounts.iter().copied().collect();
        let (grace, look_back) = (signed(options.grace), signed(options.look_back));
        Self { upstream, budget, reader, ids, clock, grace, look_back, accounts }
    }

    /// Compares once: from where the last run ended, or from `since` on. `seen` is told of rows as they are read.
    ///
    /// # Errors
    /// The record can't be read. What can't be read of the upstream is in the report.
    pub async fn run(
        &self,
        since: Option<Timestamp>,
        seen: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Report, ReadError> {
        let now = self.clock.now();
        let back = |by: SignedDuration| now.checked_sub(by).unwrap_or(Timestamp::MIN);
        let last = Last::read(&self.reader).await?;
        // What happened before there was a record is nobody's bypass.
        let begun = self.begun().await?.unwrap_or(now).max(back(self.look_back)).min(now);
        let accounts = self.accounts(&last).await?;
        let mut read = Vec::with_capacity(accounts.len());
        for account in accounts {
            let told = last.of(account);
            let from = since.or_else(|| told?.until.checked_sub(self.look_back).ok()).unwrap_or(begun);
            let holes = told.into_iter().flat_map(|told| told.holes.iter().map(|hole| hole.span));
            let work: Spans = holes
                .chain([Span { since: from, until: now }])
                .map(|span| Span { since: span.since.max(back(KEPT)), ..span })
                .collect();
            let key_from =
                told.map_or(from, |told| told.keys_until.checked_sub(self.look_back).unwrap_or(from));
            let key_since = since.unwrap_or(key_from);
            read.push(self.read(account, work, key_since, seen).await);
        }
        let earliest = read.iter().filter_map(Read::earliest).min().unwrap_or(now);
        let margin = earliest.checked_sub(SignedDuration::from_mins(30)).unwrap_or(earliest);
        let calls = self.calls(margin).await?;
        let memory = Memory::read(&self.reader, margin).await?;
        let mut report = Report::new(now);
        for read in &read {
            self.report(read, &calls, &memory, &last, &mut report);
        }
        report.sort();
        Ok(report)
    }

    /// When the record began.
    async fn begun(&self) -> Result<Option<Timestamp>, ReadError> {
        let first = self.reader.entries(&[0]).await?;
        Ok(first.first().and_then(|row| memory::time_of(&memory::read(&row.entry)?)))
    }

    async fn calls(&self, since: Timestamp) -> Result<Calls, ReadError> {
        let Some(first) = self.reader.first_since(since).await? else { return Ok(Calls::default()) };
        Ok(Calls::read(&self.reader.calls_from(first).await?))
    }

    /// Those that are configured, those of the last run, and those in which a call of ours came about since, or ever.
    async fn accounts(&self, last: &Last) -> Result<BTreeSet<AccountId>, ReadError> {
        let first = match last.until() {
            Some(until) => self.reader.first_since(until).await?,
            None => Some(0),
        };
        let used = match first {
            Some(first) => self.reader.accounts_from(first).await?,
            None => Vec::new(),
        };
        let used = used.iter().filter_map(|account| AccountId::parse(account));
        let own = self.upstream.accounts().into_iter().flatten();
        Ok(self.accounts.iter().copied().chain(own).chain(last.accounts()).chain(used).collect())
    }

    async fn read(
        &self,
        account: AccountId,
        work: Spans,
        key_since: Timestamp,
        seen: &mut (dyn FnMut(u64) + Send),
    ) -> Read {
        let (upstream, budget, ids) = (&*self.upstream, &self.budget, &self.ids);
        let keys = Keys::read(upstream, budget, ids, account, key_since).await;
        let asking = Asking { upstream, budget, ids, account, secrets: &keys.secrets };
        let gathered = asking.gather(&work, seen).await;
        Read { account, work, gathered, keys }
    }

    fn report(&self, read: &Read, calls: &Calls, memory: &Memory, last: &Last, report: &mut Report) {
        let Read { account, work, gathered, keys } = read;
        let holes: Spans = gathered.holes.iter().map(|hole| hole.span).collect();
        let whole = work.without(&holes);
        let judged = judge(&Evidence {
            account: *account,
            rows: &gathered.rows,
            read: &whole,
            keys: &keys.told,
            calls,
            names: &keys.names,
            now: report.time,
            grace: self.grace,
        });
        let before = last.of(*account).map(|told| told.keys_until);
        report.accounts.push(OfAccount {
            account: *account,
            since: work.iter().next().map_or(report.time, |span| span.since),
            until: report.time,
            keys_until: if keys.unread.is_none() { report.time } else { before.unwrap_or(keys.since) },
            keys_unread: keys.unread.clone(),
            read_nothing: keys.unread.is_some() && whole.iter().next().is_none(),
            rows: gathered.seen,
            changes: judged.changes,
            ours: judged.ours,
            by_intent: judged.by_intent,
            failed: judged.failed,
            holes: gathered.holes.clone(),
        });
        report.settled.extend(judged.joined.iter().filter_map(|id| memory.unsettled_call(*account, *id)));
        report.findings.extend(judged.findings.into_iter().map(|found| memory.known(found)));
    }
}

impl Read {
    fn earliest(&self) -> Option<Timestamp> {
        let work = self.work.iter().next().map(|span| span.since);
        work.into_iter().chain([self.keys.since]).min()?.checked_sub(SKEW).ok()
    }
}
