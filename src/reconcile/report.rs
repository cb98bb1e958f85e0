//! What a run tells: as members of entries, and as JSON.
//!
//! Not here: how it is found (`judge`), words for people (`cli`).

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::finding::{Finding, Named};
use super::gather::Hole;
use crate::clock::rfc3339;
use crate::json::{Json, Object};
use crate::operation::AccountId;

/// Findings in one entry, each of at most a few KiB. A run with more makes several entries.
const FINDINGS: usize = 100;

/// What one run found.
#[derive(Debug)]
pub struct Report {
    /// When it began; it covers what was before.
    pub time: Timestamp,
    /// What was looked at.
    pub accounts: Vec<OfAccount>,
    /// What does not fit, the new first.
    pub findings: Vec<Finding>,
    /// Keys of calls that were not in the upstream's logs and are now.
    pub settled: Vec<String>,
}

/// What was looked at of one account.
#[derive(Debug)]
pub struct OfAccount {
    /// Which.
    pub account: AccountId,
    /// From when on.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Until when its keys were looked at.
    pub keys_until: Timestamp,
    /// Why they could not be now.
    pub keys_unread: Option<String>,
    /// Whether neither logs nor keys could be read, nothing of them.
    pub read_nothing: bool,
    /// Rows of the logs, of whatever.
    pub rows: u64,
    /// Changes of tunnels.
    pub changes: u64,
    /// Those that came through this proxy.
    pub ours: u64,
    /// Those of these that only an intent explains.
    pub by_intent: u64,
    /// Writes on tunnels that changed nothing.
    pub failed: u64,
    /// What could not be read.
    pub holes: Vec<Hole>,
}

impl OfAccount {
    /// As it is recorded.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let mut object = Object::new();
        object.set("account", self.account.as_str());
        object.set("since", rfc3339(self.since));
        object.set("until", rfc3339(self.until));
        object.set("keys_until", rfc3339(self.keys_until));
        if let Some(why) = &self.keys_unread {
            object.set("keys_unread", why.as_str());
        }
        for (name, count) in [
            ("rows", self.rows),
            ("changes", self.changes),
            ("ours", self.ours),
            ("by_intent", self.by_intent),
            ("failed", self.failed),
        ] {
            object.set(name, count);
        }
        let hole = |hole: &Hole| {
            let mut object = Object::new();
            object.set("since", rfc3339(hole.span.since));
            object.set("until", rfc3339(hole.span.until));
            object.set("why", hole.why.as_str());
            Json::Object(object)
        };
        object.set("holes", Json::Array(self.holes.iter().map(hole).collect()));
        object.into()
    }

    /// Whether all of it could be read.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.holes.is_empty() && self.keys_unread.is_none()
    }
}

impl Report {
    pub(super) const fn new(time: Timestamp) -> Self {
        Self { time, accounts: Vec::new(), findings: Vec::new(), settled: Vec::new() }
    }

    pub(super) fn sort(&mut self) {
        self.findings.sort_by(|one, other| {
            let order = |found: &Finding| (found.known_since.is_some(), found.what, found.time);
            order(one).cmp(&order(other)).then_with(|| one.key.cmp(&other.key))
        });
    }

    /// What was not known before.
    pub fn new_findings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|found| found.known_since.is_none())
    }

    /// Whether everything could be read. Where no account is known, there was nothing to read.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.accounts.is_empty() && self.accounts.iter().all(OfAccount::is_whole)
    }

    /// Whether nothing at all was read, so that it says nothing that there are no findings.
    #[must_use]
    pub fn read_nothing(&self) -> bool {
        self.accounts.iter().all(|of| of.read_nothing)
    }

    /// The members of the entries that record it: one, unless too much is new. What was looked at stands in the last one, so
    /// that a run whose entries are not all stored is done again.
    #[must_use]
    pub fn entries(&self) -> Vec<Object> {
        let new: Vec<&Finding> = self.new_findings().collect();
        let mut entries: Vec<Object> = new.chunks(FINDINGS).map(of_findings).collect();
        if entries.is_empty() {
            entries.push(of_findings(&[]));
        }
        if let Some(last) = entries.last_mut() {
            last.set("accounts", Json::Array(self.accounts.iter().map(OfAccount::to_json).collect()));
            last.set("settled", self.settled.clone());
        }
        entries
    }

    /// All of it, also what was known before.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let finding = |found: &Finding| {
            let mut object = found.to_json();
            object.set("known_since", found.known_since.clone());
            Json::Object(object)
        };
        let mut object = Object::new();
        object.set("time", rfc3339(self.time));
        object.set("whole", self.is_whole());
        object.set("accounts", Json::Array(self.accounts.iter().map(OfAccount::to_json).collect()));
        object.set("findings", Json::Array(self.findings.iter().map(finding).collect()));
        object.set("settled", self.settled.clone());
        object.into()
    }
}

/// Their tunnels stand where those of a call do, so that a tunnel's entries are found.
fn of_findings(found: &[&Finding]) -> Object {
    let mut members = Object::new();
    let mut seen = BTreeSet::new();
    let tunnels = found.iter().flat_map(|found| &found.tunnels).filter(|named| seen.insert(named.id));
    let tunnels: Vec<Json> = tunnels.map(Named::to_json).collect();
    if !tunnels.is_empty() {
        members.set("tunnels", Json::Array(tunnels));
    }
    members.set("findings", Json::Array(found.iter().map(|found| Json::Object(found.to_json())).collect()));
    members
}
