//! What the record has of earlier runs: where they ended, what they could not read, what they found.
//!
//! Not here: how it is written (`report`).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use uuid::Uuid;

use super::finding::Finding;
use super::gather::Hole;
use super::span::Span;
use crate::json::{self, Json};
use crate::operation::AccountId;
use crate::store::{ReadError, Reader};

/// An entry's text, read.
pub(super) fn read(entry: &str) -> Option<Json> {
    json::read(entry.as_bytes(), 2 * json::MAX_DEPTH).ok()
}

pub(super) fn time_of(entry: &Json) -> Option<Timestamp> {
    time(entry, "time")
}

fn time(object: &Json, name: &str) -> Option<Timestamp> {
    object.get(name)?.as_str()?.parse().ok()
}

fn items<'a>(object: &'a Json, name: &str) -> &'a [Json] {
    object.get(name).and_then(Json::as_array).unwrap_or_default()
}

/// Where the last run ended.
#[derive(Debug, Default)]
pub(super) struct Last(BTreeMap<AccountId, LastOf>);

/// The same, for one account.
#[derive(Debug)]
pub(super) struct LastOf {
    pub(super) until: Timestamp,
    pub(super) keys_until: Timestamp,
    pub(super) holes: Vec<Hole>,
}

impl Last {
    pub(super) async fn read(reader: &Reader) -> Result<Self, ReadError> {
        let entry = reader.last_reconciled().await?.and_then(|row| read(&row.entry));
        let accounts = entry.iter().flat_map(|entry| items(entry, "accounts")).filter_map(|told| {
            let account = AccountId::parse(told.get("account")?.as_str()?)?;
            let until = time(told, "until")?;
            let hole = |hole: &Json| {
                let span = Span { since: time(hole, "since")?, until: time(hole, "until")? };
                Some(Hole { span, why: hole.get("why")?.as_str()?.to_owned() })
            };
            let holes = items(told, "holes").iter().filter_map(hole).collect();
            Some((account, LastOf { until, keys_until: time(told, "keys_until").unwrap_or(until), holes }))
        });
        Ok(Self(accounts.collect()))
    }

    pub(super) fn of(&self, account: AccountId) -> Option<&LastOf> {
        self.0.get(&account)
    }

    pub(super) fn accounts(&self) -> impl Iterator<Item = AccountId> {
        self.0.keys().copied()
    }

    /// Up to when all accounts were looked at.
    pub(super) fn until(&self) -> Option<Timestamp> {
        self.0.values().map(|of| of.until).min()
    }
}

/// What was found since some time.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Keys of findings, and when each was recorded.
    since: BTreeMap<String, String>,
    settled: BTreeSet<String>,
}

impl Memory {
    /// Of a finding that happened since then the entry is not older.
    pub(super) async fn read(reader: &Reader, since: Timestamp) -> Result<Self, ReadError> {
        let mut memory = Self::default();
        let Some(first) = reader.first_since(since).await? else { return Ok(memory) };
        for row in reader.reconciled_from(first).await? {
            let Some(entry) = read(&row.entry) else { continue };
            let recorded = entry.get("time").and_then(Json::as_str).unwrap_or_default();
            for key in items(&entry, "findings").iter().filter_map(|found| found.get("key")?.as_str()) {
                memory.since.entry(key.to_owned()).or_insert_with(|| recorded.to_owned());
            }
            memory
                .settled
                .extend(items(&entry, "settled").iter().filter_map(Json::as_str).map(str::to_owned));
        }
        Ok(memory)
    }

    /// The finding, with since when it is known.
    pub(super) fn known(&self, finding: Finding) -> Finding {
        let known_since = self.since.get(&finding.key).cloned();
        Finding { known_since, ..finding }
    }

    /// The key under which it was found that the upstream does not know this call, if nothing was said of it since.
    pub(super) fn unsettled_call(&self, account: AccountId, call: Uuid) -> Option<String> {
        let key = super::finding::call_key(account, call);
        (self.since.contains_key(&key) && !self.settled.contains(&key)).then_some(key)
    }
}
