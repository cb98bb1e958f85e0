//! What has happened lately, and how things stand: the console's first page.
//!
//! Not here: how it is shown (`console`).

use jiff::{SignedDuration, Timestamp};

use super::answers::{hide, unreadable};
use super::asked::Question;
use super::{Asked, Desk, Reading, Told};
use crate::authorize::Depth;
use crate::json::Object;
use crate::refusal::Refusal;
use crate::store::{By, Count, Filter, View};

pub use crate::store::Activity;

/// Rows of each list.
const MOST: u32 = 8;

/// What has happened lately, and how things stand.
#[derive(Clone, Debug)]
pub struct Overview {
    /// Since when calls are counted.
    pub since: Timestamp,
    /// Calls by hour and operation.
    pub by_operation: Vec<Activity>,
    /// Calls by hour and team.
    pub by_team: Vec<Activity>,
    /// Who called most.
    pub subjects: Vec<Count>,
    /// Why calls were refused or failed.
    pub refusals: Vec<Count>,
    /// Who minted or set keys: rows of the view `psk_events`.
    pub keys: Vec<Object>,
    /// The newest changes: rows of the view `changes`.
    pub changes: Vec<Object>,
    /// What went past the proxy, or is missing at the upstream: rows of the view `findings`.
    pub findings: Vec<Object>,
    /// Calls whose outcome nobody knows yet: rows of the view `requests`.
    pub unresolved: Vec<Object>,
    /// Entries that the record has.
    pub entries: u64,
    /// Upstream calls of the budget that are taken now, and how many there are.
    pub budget: (u32, u32),
}

impl Desk {
    /// Tells of the last hours.
    ///
    /// # Errors
    /// The record can't be read, or the question can't be recorded.
    pub async fn overview(&self, reading: &Reading, hours: u32) -> Result<Told<Overview>, Refusal> {
        let now = self.now();
        let since = now.checked_sub(SignedDuration::from_hours(i64::from(hours))).unwrap_or(now);
        let filter = Filter { since: Some(since), limit: Some(MOST), ..Filter::default() };
        let turn = self.turn(reading).await?;
        let reader = &self.reader;
        let view = async |view| {
            let mut rows = reader.view(view, &filter, None, MOST as usize).await.map_err(unreadable)?.rows;
            if reading.depth == Depth::Metadata {
                hide(&mut rows);
            }
            Ok::<_, Refusal>(rows)
        };
        let overview = Overview {
            since,
            by_operation: reader.activity(&filter, By::Operation).await.map_err(unreadable)?,
            by_team: reader.activity(&filter, By::Team).await.map_err(unreadable)?,
            subjects: reader.counts(&filter, By::Subject).await.map_err(unreadable)?,
            refusals: reader.counts(&filter, By::Refusal).await.map_err(unreadable)?,
            keys: view(View::PskEvents).await?,
            changes: view(View::Changes).await?,
            findings: view(View::Findings).await?,
            unresolved: self.unresolved().await?,
            entries: reader.last().await.map_err(unreadable)?.map_or(0, |last| last + 1),
            budget: self.pipeline.budget.standing(),
        };
        drop(turn);
        let asked = Asked { since: Some(format!("{hours}h")), ..Asked::default() };
        let question = Question::new("overview", &asked, super::asked::Known::default());
        self.note(reading, &question, overview).await
    }

    /// The calls that have no outcome, or one that says that nobody knows.
    async fn unresolved(&self) -> Result<Vec<Object>, Refusal> {
        let ended = self.reader.ended_before().await.map_err(unreadable)?;
        let mut rows = self.reader.intents_without_outcome(ended).await.map_err(unreadable)?;
        rows.extend(self.reader.intents_ambiguous().await.map_err(unreadable)?);
        let mut found = Vec::new();
        for row in rows.iter().rev().take(MOST as usize) {
            let at = Filter { before: Some(row.seq + 1), after: row.seq.checked_sub(1), ..Filter::default() };
            found.extend(self.reader.view(View::Requests, &at, None, 1).await.map_err(unreadable)?.rows);
        }
        Ok(found)
    }
}
