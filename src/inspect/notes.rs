//! The stored checkpoints, in order, each looked at once.
//!
//! Signature, number and order are checked as they are read, and the chain over all of them is made, which the
//! signed head must name. Not here: whether their roots are right (`inspect::scan`).

use std::collections::{BTreeSet, VecDeque};

use super::Report;
use super::keys::Signers;
use super::report::{VerifyError, found};
use crate::seal::{Chain, Checkpoint, Succession};
use crate::store::{RawCheckpoint, Snapshot};

/// The walk over the checkpoints.
pub(super) struct Notes {
    succession: Succession,
    pub(super) signers: Signers,
    /// Sizes at which a key ended and over which no good checkpoint was met.
    owed: BTreeSet<u64>,
    chain: Chain,
    last: u64,
    /// Where to read on; `None` behind the last.
    from: Option<i64>,
    ahead: VecDeque<(Checkpoint, i64)>,
}

impl Notes {
    pub(super) fn new(succession: Succession, signers: Signers) -> Self {
        let owed = succession.ends().collect();
        Self {
            succession,
            signers,
            owed,
            chain: Chain::new(),
            last: 0,
            from: Some(i64::MIN),
            ahead: VecDeque::new(),
        }
    }

    /// The good checkpoints up to this size, with their numbers.
    pub(super) async fn up_to(
        &mut self,
        size: u64,
        snapshot: &mut Snapshot,
        report: &mut Report,
    ) -> Result<Vec<(Checkpoint, i64)>, VerifyError> {
        let mut passed = Vec::new();
        loop {
            while let Some(next) = self.ahead.pop_front_if(|(checkpoint, _)| checkpoint.size <= size) {
                passed.push(next);
            }
            if !self.ahead.is_empty() || !self.read(snapshot, report).await? {
                return Ok(passed);
            }
        }
    }

    /// The first good checkpoint that lies ahead.
    pub(super) fn next(&self) -> Option<(Checkpoint, i64)> {
        self.ahead.front().copied()
    }

    /// Looks at all that are left; the chain over every one that is stored.
    pub(super) async fn rest(
        &mut self,
        snapshot: &mut Snapshot,
        report: &mut Report,
    ) -> Result<Chain, VerifyError> {
        while self.read(snapshot, report).await? {
            self.ahead.clear();
        }
        for size in &self.owed {
            let line =
                format!("no checkpoint of the key that was replaced there is over the first {size} entries");
            report.damaged(size.saturating_sub(1), line);
        }
        Ok(self.chain)
    }

    /// Reads a few more; false behind the last.
    async fn read(&mut self, snapshot: &mut Snapshot, report: &mut Report) -> Result<bool, VerifyError> {
        let Some(from) = self.from else { return Ok(false) };
        let page = snapshot.checkpoints(from).await;
        let page = found(page, "the checkpoints", report)?;
        if page.is_none() {
            report.doubt(self.last, "the checkpoints can't be read any further");
        }
        let page = page.unwrap_or_default();
        self.from = page.last().and_then(|last| last.n.checked_add(1));
        page.iter().for_each(|stored| self.look(stored, report));
        Ok(!page.is_empty())
    }

    fn look(&mut self, stored: &RawCheckpoint, report: &mut Report) {
        let place = format!("checkpoint {} (over {} entries)", stored.n, stored.size);
        // A checkpoint proves the entries behind the one before it.
        let first = self.last;
        if u64::try_from(stored.n) != Ok(self.chain.count) {
            report.damaged(first, format!("{place}: number {} was expected", self.chain.count));
        }
        self.chain.push(&stored.note);
        let size = u64::try_from(stored.size).unwrap_or(0);
        match self.succession.open_stored(&stored.note, size) {
            Err(e) => report.damaged(first, format!("{place}: {e}")),
            Ok((signed, _)) if size != signed.size || signed.chain.is_some() => {
                report.damaged(first, format!("{place}: its note is over {} entries", signed.size));
            }
            Ok((signed, _)) if signed.size <= self.last => {
                report.damaged(first, format!("{place}: out of order"))
            }
            Ok((signed, key)) => {
                self.signers.note(key);
                self.last = signed.size;
                self.owed.remove(&signed.size);
                report.checkpoints += 1;
                self.ahead.push_back((signed, stored.n));
            }
        }
    }
}
