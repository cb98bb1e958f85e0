//! The writes of ours, as the record tells of them.
//!
//! Not here: what the upstream tells of them (`row`).

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::row::ray;
use crate::json::{self, Json};
use crate::operation::{AccountId, Operation, TunnelId};

/// By how much the upstream's clock and ours may differ.
pub(super) const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// How long after its intent a call may reach the upstream and be acted on: its turn, its deadline, and what the upstream's
/// edge waits.
const UNDER_WAY: SignedDuration = SignedDuration::from_mins(15);

/// A write of ours.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) request_id: Uuid,
    pub(super) time: Timestamp,
    pub(super) subject: Option<String>,
    pub(super) account: AccountId,
    pub(super) operation: Operation,
    /// None where they are not known, as of a create whose end is not.
    pub(super) tunnels: Vec<TunnelId>,
    pub(super) validate_only: bool,
    /// Whether it may have given a tunnel another key.
    pub(super) replaces_key: bool,
    /// When, by the upstream's own answer.
    pub(super) key_made: Option<Timestamp>,
    pub(super) ray: Option<String>,
    /// Whether a byte of it may have gone out.
    pub(super) may_be_sent: bool,
    /// Whether it came about, as far as we were told.
    pub(super) came_about: bool,
}

impl Call {
    fn read(intent: &Json, ends: &[Json]) -> Option<Self> {
        let text = |name: &str| intent.get(name).and_then(Json::as_str);
        let flag = |value: &Json, name: &str| value.get(name) == Some(&Json::Bool(true));
        let of_end = |name: &str| ends.iter().rev().find_map(|end| end.get(name)?.as_str());
        let status = ends.iter().rev().find_map(|end| end.get("status")?.as_i64());
        let tunnels = ends.iter().filter_map(|end| end.get("tunnels")).chain(intent.get("tunnels"));
        let mut tunnels: Vec<TunnelId> = tunnels
            .filter_map(Json::as_array)
            .flatten()
            .filter_map(|tunnel| TunnelId::parse(tunnel.get("id")?.as_str()?))
            .collect();
        tunnels.sort_unstable();
        tunnels.dedup();
        let expected = intent.get("expected").and_then(Json::as_array).unwrap_or_default();
        let resolution = of_end("resolution");
        Some(Self {
            request_id: text("request_id")?.parse().ok()?,
            time: text("time")?.parse().ok()?,
            subject: text("subject").map(str::to_owned),
            account: AccountId::parse(text("account")?)?,
            operation: Operation::from_name(text("operation")?)?,
            tunnels,
            validate_only: flag(intent, "validate_only"),
            replaces_key: expected.iter().any(|one| flag(one, "replaces_key")),
            key_made: of_end("key_made").and_then(|time| time.parse().ok()),
            ray: of_end("cf_ray").and_then(ray),
            may_be_sent: of_end("sent") != Some("no"),
            came_about: resolution == Some("applied")
                || status.is_some_and(|status| (200..300).contains(&status)),
        })
    }

    /// Whether it may have been about this tunnel.
    pub(super) fn is_about(&self, tunnel: TunnelId) -> bool {
        self.tunnels.is_empty() || self.tunnels.contains(&tunnel)
    }

    /// Whether the upstream may have acted on it then.
    pub(super) fn may_be_at(&self, time: Timestamp) -> bool {
        let after = time.duration_since(self.time);
        after >= -SKEW && after <= UNDER_WAY
    }
}

/// The writes of a while.
#[derive(Debug, Default)]
pub(super) struct Calls {
    all: Vec<Call>,
    by_id: HashMap<Uuid, usize>,
    by_ray: HashMap<String, Vec<usize>>,
}

impl Calls {
    /// From intents with their ends, in their order; one that has several comes several times in a row.
    pub(super) fn read(rows: &[(String, Option<String>)]) -> Self {
        let read = |text: &String| json::read(text.as_bytes(), 2 * json::MAX_DEPTH).ok();
        let mut calls = Self::default();
        for group in rows.chunk_by(|(one, _), (other, _)| one == other) {
            let Some((intent, _)) = group.first() else { continue };
            let ends: Vec<Json> = group.iter().filter_map(|(_, end)| read(end.as_ref()?)).collect();
            // One that can't be read explains nothing; `audit verify` tells of it.
            if let Some(call) = read(intent).and_then(|intent| Call::read(&intent, &ends)) {
                calls.add(call);
            }
        }
        calls
    }

    fn add(&mut self, call: Call) {
        let at = self.all.len();
        self.by_id.insert(call.request_id, at);
        if let Some(ray) = &call.ray {
            self.by_ray.entry(ray.clone()).or_default().push(at);
        }
        self.all.push(call);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Call> {
        self.all.iter()
    }

    pub(super) fn with_id(&self, id: Uuid) -> Option<&Call> {
        self.all.get(*self.by_id.get(&id)?)
    }

    pub(super) fn with_ray(&self, ray: &str) -> impl Iterator<Item = &Call> {
        let places = self.by_ray.get(ray).map(Vec::as_slice).unwrap_or_default();
        places.iter().filter_map(|at| self.all.get(*at))
    }
}
