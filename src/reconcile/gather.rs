//! Reads all rows of an account in some stretches of time, page by page, and says what could not be read.
//!
//! A stretch that can't be read is halved, down to a minute: one row that nobody can read must not hide a day. What is left
//! is a hole, which is told and read again by the next run. Not here: one page (`forward`), what is done with the rows
//! (`judge`).

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;

use super::keys::guard;
use super::row::Row;
use super::span::{Span, Spans};
use crate::clock::Ids;
use crate::forward::{LogsAsked, LogsUnread, Upstream};
use crate::limit::Budget;
use crate::operation::AccountId;
use crate::secret::SecretString;

/// The longest stretch that is asked for at once, and the shortest that is halved.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);
const SHORTEST: SignedDuration = SignedDuration::from_mins(1);

/// Pages of one stretch, and of one account in a run: 100 are a twelfth of what the upstream allows in five minutes.
const PAGES_OF_SPAN: usize = 50;
const PAGES: usize = 100;

/// Holes of one account that are told one by one; more are told as one.
const HOLES: usize = 16;

/// A stretch that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Which.
    pub span: Span,
    /// Why.
    pub why: String,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// Rows of writes on tunnels, each once.
    pub(super) rows: BTreeMap<String, Row>,
    /// All rows that were looked at.
    pub(super) seen: u64,
    pub(super) holes: Vec<Hole>,
    pages: usize,
}

/// What it takes to ask.
#[derive(Debug)]
pub(super) struct Asking<'a> {
    pub(super) upstream: &'a Upstream,
    pub(super) budget: &'a Budget,
    pub(super) ids: &'a Arc<Ids>,
    pub(super) account: AccountId,
    pub(super) secrets: &'a [SecretString],
}

impl Asking<'_> {
    pub(super) async fn gather(&self, work: &Spans, seen: &mut (dyn FnMut(u64) + Send)) -> Gathered {
        let mut gathered = Gathered::default();
        // The latest is last, and read first: if something happens, it is now.
        let mut left = work.pieces(LONGEST);
        left.reverse();
        let mut stopped: Option<String> = None;
        while let Some(span) = left.pop() {
            let why = match &stopped {
                Some(why) => why.clone(),
                None => match self.read(span, &mut gathered, seen).await {
                    Ok(()) => continue,
                    Err(LogsUnread::Unreadable(_)) if span.length() > SHORTEST => {
                        let [later, earlier] = span.halves();
                        left.extend([earlier, later]);
                        continue;
                    }
                    Err(LogsUnread::Unreadable(why)) => why.to_owned(),
                    Err(LogsUnread::Unanswered(why)) => stopped.insert(why).clone(),
                },
            };
            gathered.holes.push(Hole { span, why });
        }
        gathered.holes = merged(std::mem::take(&mut gathered.holes));
        gathered
    }

    /// Reads a stretch to its end. What was read of one that fails is kept: it is true all the same.
    async fn read(
        &self,
        span: Span,
        gathered: &mut Gathered,
        seen: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), LogsUnread> {
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_OF_SPAN {
            if gathered.pages >= PAGES {
                let why = "there are more pages than one run reads; the next one goes on";
                return Err(LogsUnread::Unanswered(why.to_owned()));
            }
            gathered.pages += 1;
            let taken =
                self.budget.take_own().await.map_err(|refusal| LogsUnread::Unanswered(refusal.message()))?;
            let (since, before) = (span.since, span.until);
            let asked = LogsAsked { account: self.account, since, before, cursor: cursor.as_deref() };
            let page = self.upstream.audit_logs(&taken, &asked, self.ids.next()).await?;
            gathered.seen += page.rows.len() as u64;
            seen(page.rows.len() as u64);
            let guard = guard(self.secrets);
            for row in page.rows.iter().filter_map(|row| Row::read(row, self.account, &guard)) {
                match gathered.rows.get_mut(&row.key) {
                    Some(known) => known.join(&row),
                    None => drop(gathered.rows.insert(row.key.clone(), row)),
                }
            }
            match page.cursor {
                None => return Ok(()),
                Some(next) if Some(&next) == cursor.as_ref() => {
                    return Err(LogsUnread::Unreadable("the upstream's cursor does not move"));
                }
                next => cursor = next,
            }
        }
        Err(LogsUnread::Unreadable("it has more rows than are read at once"))
    }
}

/// Holes in their order; those that meet and have one reason are one.
fn merged(mut holes: Vec<Hole>) -> Vec<Hole> {
    holes.sort_by_key(|hole| hole.span);
    let mut merged: Vec<Hole> = Vec::with_capacity(holes.len());
    for hole in holes {
        match merged.last_mut() {
            Some(last) if last.why == hole.why && hole.span.since <= last.span.until => {
                last.span.until = last.span.until.max(hole.span.until);
            }
            _ => merged.push(hole),
        }
    }
    if let (true, Some(first), Some(last)) = (merged.len() > HOLES, merged.first(), merged.last()) {
        let span = Span { since: first.span.since, until: last.span.until };
        return vec![Hole { span, why: first.why.clone() }];
    }
    merged
}
