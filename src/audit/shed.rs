//! Overload: a record that is too slow for what comes takes no more calls, before anything of them was done.
//!
//! Whoever would wait longer than an append may take is told so at once, and when to come back. The record of such a
//! refusal follows its answer: if it had to be waited for, saying no would take as long as saying yes. So many may
//! wait for it; beyond that there is no answer, as there would be no record of it. Calls that have begun go on.
//! Not here: how long an append would wait (`store::pace`), a record that takes nothing (`Auditor::admits`).

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::call::Call;
use super::{Auditor, Recorded};
use crate::json::Json;
use crate::refusal::Refusal;

/// Refusals that are stored in one append: half of what one transaction takes.
const TOGETHER: usize = 256;

/// Such appends that may wait: 4096 refusals of about 1 KiB.
const WAITING: usize = 16;

/// The longest that a client is told to wait: a guess is not worth more.
const LONGEST: Duration = Duration::from_secs(10);

impl Auditor {
    /// Whether what a call that begins now has to record can be recorded in time: each of its entries may meet a
    /// commit that has just begun, and is then in the next one. A quarter of the time is kept for those that take longer
    /// than the last.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`]
    pub fn keeps_up(&self) -> Result<(), Refusal> {
        let expected = self.store.expected_wait();
        let is_in_time = expected <= self.patience.saturating_sub(self.patience / 4);
        if is_in_time { Ok(()) } else { Err(Refusal::Overloaded { retry_after: expected.min(LONGEST) }) }
    }

    /// Whether a call that is shed can still be told so.
    #[must_use]
    pub fn tells_of_overload(&self) -> bool {
        self.late.count() < WAITING
    }

    /// Whether nobody should wait until this refusal is recorded. Where the store is at fault it says so at once.
    pub(super) fn is_shed(&self, refusal: &Refusal) -> bool {
        matches!(refusal, Refusal::Overloaded { .. } | Refusal::AuditUnavailable { .. })
            && self.keeps_up().is_err()
            && self.store.health().borrow().is_writable()
    }

    /// Has a refusal recorded as soon as the store gets to it. Nothing of the call has happened, so if the process dies
    /// first, a line in the log is what tells of it.
    ///
    /// # Errors
    /// [`Refusal::AuditUnavailable`]: too many wait.
    pub(super) fn record_late(&self, call: &Call, entry: Json) -> Result<Recorded, Refusal> {
        if !self.tells_of_overload() {
            return Err(Refusal::AuditUnavailable { why: "too many refusals wait for it" });
        }
        tracing::warn!(request.id = %call.request_id, "refused, as the record is too slow; that is recorded later");
        self.late.owe_with_others(entry, TOGETHER);
        Ok(Recorded { request_id: call.request_id })
    }
}
