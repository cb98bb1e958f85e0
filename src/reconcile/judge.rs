//! Holds what the upstream tells against what the record tells.
//!
//! A row is ours where a call of ours has its ray, or where its user agent names a call of ours whose ray nobody knows, as
//! its answer was lost; where it does not say its user agent, where such a call fits. A call explains one row: whoever
//! copies its user agent makes a second one. Rows may come late or never, so a call that has none is told of only when its
//! grace is over. Not here: reading either side (`row`, `calls`).

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::calls::{Call, Calls, SKEW};
use super::finding::{Finding, Named, What, call_key};
use super::row::Row;
use super::span::{Span, Spans};
use crate::clock::rfc3339;
use crate::json::Object;
use crate::operation::{AccountId, TunnelId};

/// When the upstream says that a tunnel's key was replaced last.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyTold {
    pub(super) tunnel: TunnelId,
    pub(super) time: Timestamp,
}

/// What one account gives to be judged.
#[derive(Debug)]
pub(super) struct Evidence<'a> {
    pub(super) account: AccountId,
    /// By their keys.
    pub(super) rows: &'a BTreeMap<String, Row>,
    /// In which times all rows were read that are there.
    pub(super) read: &'a Spans,
    /// Keys that were replaced in the time that is looked at.
    pub(super) keys: &'a [KeyTold],
    pub(super) calls: &'a Calls,
    pub(super) names: &'a BTreeMap<TunnelId, String>,
    pub(super) now: Timestamp,
    pub(super) grace: SignedDuration,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub(super) findings: Vec<Finding>,
    /// Calls of ours that have a row.
    pub(super) joined: BTreeSet<Uuid>,
    /// Rows that are changes.
    pub(super) changes: u64,
    /// Rows that changed nothing.
    pub(super) failed: u64,
    /// Changes of ours.
    pub(super) ours: u64,
    /// Those among them that only their intent explains.
    pub(super) by_intent: u64,
}

/// How a row is ours.
enum Ours {
    ByRay(Uuid),
    ByIntent(Uuid),
}

pub(super) fn judge(evidence: &Evidence<'_>) -> Judged {
    let mut judged = Judged::default();
    let mut taken = BTreeSet::new();
    // The first that came is the one that was sent.
    let mut rows: Vec<&Row> = evidence.rows.values().collect();
    rows.sort_by_key(|row| (row.time, &row.key));
    let mut past_us = Vec::new();
    for row in rows {
        if row.changes {
            judged.changes += 1;
        } else {
            judged.failed += 1;
        }
        match ours(evidence, row, &taken) {
            Some(found) => {
                let (id, by_intent) = match found {
                    Ours::ByRay(id) => (id, false),
                    Ours::ByIntent(id) => (id, true),
                };
                taken.insert(id);
                judged.joined.insert(id);
                judged.ours += u64::from(row.changes);
                judged.by_intent += u64::from(row.changes && by_intent);
            }
            None if row.changes => {
                judged.findings.push(bypass(evidence, row));
                past_us.push(row);
            }
            None => {}
        }
    }
    judged.findings.extend(evidence.keys.iter().filter_map(|key| unexplained(evidence, *key, &past_us)));
    let unknown = evidence.calls.iter().filter(|call| !judged.joined.contains(&call.request_id));
    let unknown: Vec<Finding> = unknown.filter_map(|call| not_there(evidence, call)).collect();
    judged.findings.extend(unknown);
    judged
}

/// The call of ours that a row tells of.
fn ours(evidence: &Evidence<'_>, row: &Row, taken: &BTreeSet<Uuid>) -> Option<Ours> {
    let fits = |call: &&Call| {
        call.account == evidence.account
            && call.may_be_sent
            && row.operation.is_none_or(|operation| operation == call.operation)
            && row.asked.is_none_or(|tunnel| call.is_about(tunnel))
    };
    let then = |call: &&Call| fits(call) && row.time.is_none_or(|time| call.may_be_at(time));
    if let Some(ray) = &row.ray
        && let Some(call) = evidence.calls.with_ray(ray).find(fits)
    {
        return Some(Ours::ByRay(call.request_id));
    }
    // A call whose ray is known has another one, and a call is sent once.
    let open = |call: &&Call| {
        then(call) && (row.ray.is_none() || call.ray.is_none() && !taken.contains(&call.request_id))
    };
    let call = match row.request_id {
        Some(id) => evidence.calls.with_id(id).filter(open),
        None if row.has_agent => None,
        // Nothing tells who made it, so whatever may have been it explains it: a call may have rows of the upstream's own.
        None => evidence.calls.iter().find(open),
    };
    call.map(|call| Ours::ByIntent(call.request_id))
}

fn named(evidence: &Evidence<'_>, id: TunnelId) -> Named {
    Named { id, name: evidence.names.get(&id).cloned() }
}

fn bypass(evidence: &Evidence<'_>, row: &Row) -> Finding {
    Finding {
        what: What::Bypass,
        key: row.key.clone(),
        account: evidence.account,
        time: row.time,
        tunnels: row.tunnels.iter().map(|id| named(evidence, *id)).collect(),
        request_id: None,
        told: row.told.clone(),
        known_since: None,
    }
}

/// A key that neither a call of ours nor a row explains, once the row may be expected to be there.
fn unexplained(evidence: &Evidence<'_>, key: KeyTold, past_us: &[&Row]) -> Option<Finding> {
    let young = evidence.now.duration_since(key.time) <= evidence.grace;
    let by_call = |call: &Call| {
        let made = match call.key_made {
            // The upstream's own time, in both places.
            Some(made) => made.duration_since(key.time).abs() <= SignedDuration::from_secs(1),
            None => call.may_be_at(key.time),
        };
        let ours = call.account == evidence.account && call.may_be_sent && !call.validate_only;
        ours && call.replaces_key && call.is_about(key.tunnel) && made
    };
    // Told already, as what that row is.
    let by_row = |row: &&Row| {
        let about = row.tunnels.is_empty() || row.tunnels.contains(&key.tunnel);
        about && row.time.is_none_or(|time| time.duration_since(key.time).abs() <= SKEW)
    };
    if young || evidence.calls.iter().any(by_call) || past_us.iter().any(by_row) {
        return None;
    }
    Some(Finding {
        what: What::Key,
        key: format!("{}:key:{}:{}", evidence.account, key.tunnel, rfc3339(key.time)),
        account: evidence.account,
        time: Some(key.time),
        tunnels: vec![named(evidence, key.tunnel)],
        request_id: None,
        told: Object::new(),
        known_since: None,
    })
}

/// A call that came about long enough ago, at a time of which every row was read.
fn not_there(evidence: &Evidence<'_>, call: &Call) -> Option<Finding> {
    let around = |by: SignedDuration| call.time.checked_add(by).ok();
    let span = Span { since: call.time, until: around(SKEW)?.min(evidence.now) };
    let old = evidence.now.duration_since(call.time) > evidence.grace;
    let counts = call.account == evidence.account && call.came_about && !call.validate_only;
    if !(counts && old && evidence.read.hold(span)) {
        return None;
    }
    let mut told = Object::new();
    told.set("operation", call.operation.name());
    if let Some(subject) = &call.subject {
        told.set("subject", subject.as_str());
    }
    if let Some(ray) = &call.ray {
        told.set("cf_ray", ray.as_str());
    }
    Some(Finding {
        what: What::Unknown,
        key: call_key(call.account, call.request_id),
        account: call.account,
        time: Some(call.time),
        tunnels: call.tunnels.iter().map(|id| named(evidence, *id)).collect(),
        request_id: Some(call.request_id),
        told,
        known_since: None,
    })
}
