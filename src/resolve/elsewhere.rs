//! What other replicas have to do with a lost call: one of them may look into it already, one may have ended it, and each may
//! have touched the same tunnels since.
//!
//! Not here: one process alone, which knows all that by itself (`resolve`).

use std::time::Duration;

use jiff::Timestamp;

use super::intent::Intent;
use super::judge::Expected;
use super::mark;
use crate::refusal::Refusal;
use crate::share::Shared;
use crate::store::Reader;

/// By how much the clocks of two replicas may differ: a call that began within that before a lost one counts as later.
const SKEW: Duration = Duration::from_secs(2);

/// Between two looks at a call that another replica looks into.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The record and what replicas know of each other.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    reader: Reader,
    shared: Shared,
}

/// Calls of all replicas since a time.
pub(super) struct Since(Vec<Intent>);

impl Elsewhere {
    /// Asks these.
    #[must_use]
    pub const fn new(reader: Reader, shared: Shared) -> Self {
        Self { reader, shared }
    }

    /// Waits until this replica is the one to look into a call, for so long; false where somebody else ended it.
    pub(super) async fn is_ours(&self, intent: &Intent, time: Duration) -> bool {
        loop {
            match self.is_ended(intent).await {
                Ok(true) => return false,
                Ok(false) => match self.shared.takes_up(intent.id, time).await {
                    Ok(true) => return true,
                    Ok(false) => {}
                    Err(error) => tracing::warn!(error = %error, "who looks into a lost call can't be asked"),
                },
                Err(error) => tracing::warn!(refusal.name = error.name(), "a lost call can't be looked up"),
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Whether the record tells what became of it.
    pub(super) async fn is_ended(&self, intent: &Intent) -> Result<bool, Refusal> {
        self.reader.is_ended(&intent.id.to_string()).await.map_err(unreadable)
    }

    /// The calls since this one. Each is on record before anything of it is sent, so asked behind the state this has all that
    /// the state can show.
    pub(super) async fn since(&self, intent: &Intent) -> Result<Since, Refusal> {
        let time: Timestamp = intent.time.checked_sub(SKEW).unwrap_or(intent.time);
        let rows = self.reader.intents_since(time).await.map_err(unreadable)?;
        let read = |text: &str| {
            let entry = crate::entry::read(text.as_bytes()).ok()?;
            Intent::read(&entry).filter(|other| other.request_id != intent.request_id)
        };
        Ok(Since(rows.iter().filter_map(|row| read(&row.entry)).collect()))
    }
}

impl Since {
    /// Whether one was made on the same tunnel.
    pub(super) fn followed(&self, intent: &Intent, expected: &Expected) -> bool {
        let own = mark(intent, expected);
        self.0.iter().any(|other| other.expected.iter().any(|expected| mark(other, expected) == own))
    }

    /// Whether one may have renamed or deleted a tunnel of the account.
    pub(super) fn undone(&self, intent: &Intent) -> bool {
        let may = |other: &Intent| other.operation.replaces_state() && !other.validate_only;
        self.0.iter().any(|other| other.account == intent.account && may(other))
    }
}

fn unreadable(_: crate::store::ReadError) -> Refusal {
    Refusal::AuditUnavailable { why: "it can't be read" }
}
