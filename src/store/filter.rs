//! What a reader of the record may ask for, and the SQL for it.
//!
//! Every value is bound, none is written into the statement.

use jiff::Timestamp;
use sqlx::{QueryBuilder, Sqlite};

use crate::clock::rfc3339;
use crate::entry::Kind;
use crate::operation::Operation;

/// Which entries are wanted; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not before this.
    pub since: Option<Timestamp>,
    /// Before this.
    pub until: Option<Timestamp>,
    /// Exactly this subject.
    pub subject: Option<String>,
    /// Among the caller's teams.
    pub team: Option<String>,
    /// A tunnel's id or name, among those that the call was about.
    pub tunnel: Option<String>,
    /// This operation.
    pub operation: Option<Operation>,
    /// This kind of entry.
    pub kind: Option<Kind>,
    /// Only what ended a write: outcomes, resolutions and refusals.
    pub writes: bool,
    /// Without heartbeats, unless their kind is asked for.
    pub no_heartbeats: bool,
    /// After this `seq`: the oldest of those are taken, where otherwise it is the newest.
    pub after: Option<u64>,
    /// Before this `seq`: where a page of the newest ended.
    pub before: Option<u64>,
    /// At most so many; `None` for all.
    pub limit: Option<u32>,
}

/// What calls are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// What was asked.
    Operation,
    /// Who asked.
    Subject,
    /// Of which team; a call of somebody in two counts for both.
    Team,
    /// Why it was refused or failed.
    Refusal,
}

impl By {
    /// What names a call's group, what is read for that, and which calls have one.
    const fn terms(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Operation => ("coalesce(operation, '-')", "entries", ""),
            Self::Subject => ("coalesce(subject, '-')", "entries", ""),
            Self::Team => ("one.value", "entries, json_each(entry, '$.teams') AS one", ""),
            Self::Refusal => ("refusal", "entries", " AND refusal IS NOT NULL"),
        }
    }
}

/// How many calls of a group came in an hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// The hour, UTC, as `2026-01-31T12`.
    pub hour: String,
    /// The group.
    pub name: String,
    /// All of them.
    pub calls: u64,
    /// Those of which nothing was sent.
    pub refused: u64,
}

/// How many calls ended how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// Of what.
    pub name: String,
    /// All of them.
    pub calls: u64,
    /// Those of which nothing was sent.
    pub refused: u64,
    /// Those that were sent and failed.
    pub failed: u64,
}

/// Between which places the entries of a time are, both included: an index knows, and the log need not be walked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) first: Option<u64>,
    pub(super) last: Option<u64>,
}

/// A stored entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its place in the log, from 0.
    pub seq: u64,
    /// Its text, byte for byte.
    pub entry: String,
}

impl Filter {
    /// The `seq`s that fit, in the order in which the limit takes them.
    pub(super) fn query(&self, bounds: Bounds) -> QueryBuilder<Sqlite> {
        let mut query = QueryBuilder::new("SELECT seq FROM entries WHERE 1");
        self.push_to(&mut query, bounds);
        query.push(if self.finds_few() { " ORDER BY +seq" } else { " ORDER BY seq" });
        query.push(if self.after.is_some() { "" } else { " DESC" });
        if let Some(limit) = self.limit {
            query.push(" LIMIT ").push_bind(limit);
        }
        query
    }

    /// The `seq`s and texts that fit, oldest first, without a limit.
    pub(super) fn rows(&self) -> QueryBuilder<Sqlite> {
        // By an index, such as that of `time`, all texts that fit would be sorted in memory first.
        let mut query = QueryBuilder::new("SELECT seq, entry FROM entries NOT INDEXED WHERE 1");
        self.push_conditions(&mut query);
        query.push(" ORDER BY seq");
        query
    }

    /// Counts the calls that fit by hour and name, oldest first.
    pub(super) fn activity(&self, by: By, bounds: Bounds) -> QueryBuilder<Sqlite> {
        let (name, from, only) = by.terms();
        let mut query = QueryBuilder::new("SELECT substr(time, 1, 13), ");
        query.push(name).push(", count(*), sum(kind = 'refusal') FROM ");
        query.push(from).push(" WHERE kind IN ('outcome', 'refusal')").push(only);
        self.push_to(&mut query, bounds);
        query.push(" GROUP BY 1, 2 ORDER BY 1, 2");
        query
    }

    /// Counts the calls that fit, the most first.
    pub(super) fn counts(&self, by: By, bounds: Bounds) -> QueryBuilder<Sqlite> {
        let (name, from, only) = by.terms();

        let mut query = QueryBuilder::new("SELECT ");
        query.push(name).push(
            " AS name, count(*), sum(kind = 'refusal'), sum(kind = 'outcome' AND entry ->> '$.status' >= 400) FROM ",
        );
        query.push(from).push(" WHERE kind IN ('outcome', 'refusal')").push(only);
        self.push_to(&mut query, bounds);
        query.push(" GROUP BY 1 ORDER BY 2 DESC, 1");
        if let Some(limit) = self.limit {
            query.push(" LIMIT ").push_bind(limit);
        }
        query
    }

    /// Whether a tunnel's index finds few: then the log must not be read in the order of `seq`, which a sign before it
    /// tells the database.
    pub(super) fn finds_few(&self) -> bool {
        self.tunnel.is_some()
    }

    /// The conditions, and where to look for what fits them.
    pub(super) fn push_to(&self, query: &mut QueryBuilder<Sqlite>, bounds: Bounds) {
        let place = |seq: u64| i64::try_from(seq).unwrap_or(i64::MAX);
        if let Some(first) = bounds.first {
            query.push(" AND seq >= ").push_bind(place(first));
        }
        if let Some(last) = bounds.last {
            query.push(" AND seq <= ").push_bind(place(last));
        }
        self.push_conditions(query);
    }

    pub(super) fn push_conditions(&self, query: &mut QueryBuilder<Sqlite>) {
        if let Some(since) = self.since {
            query.push(" AND time >= ").push_bind(rfc3339(since));
        }
        if let Some(until) = self.until {
            query.push(" AND time < ").push_bind(rfc3339(until));
        }
        if let Some(subject) = &self.subject {
            query.push(" AND subject = ").push_bind(subject.clone());
        }
        if let Some(operation) = self.operation {
            query.push(" AND operation = ").push_bind(operation.name());
        }
        if let Some(kind) = self.kind {
            query.push(" AND kind = ").push_bind(kind.name());
        }
        if self.writes {
            query
                .push(" AND kind IN ('outcome', 'resolved', 'refusal') AND operation NOT IN ('list', 'get')");
        }
        if self.no_heartbeats && self.kind.is_none() {
            query.push(" AND kind <> ").push_bind(Kind::Heartbeat.name());
        }
        if let Some(team) = &self.team {
            query.push(" AND EXISTS (SELECT 1 FROM json_each(entry, '$.teams') AS team WHERE team.value = ");
            query.push_bind(team.clone()).push(")");
        }
        if let Some(tunnel) = &self.tunnel {
            self.push_tunnel(query, tunnel);
        }
        if let Some(after) = self.after {
            query.push(" AND seq > ").push_bind(i64::try_from(after).unwrap_or(i64::MAX));
        }
        if let Some(before) = self.before {
            query.push(" AND seq < ").push_bind(i64::try_from(before).unwrap_or(i64::MAX));
        }
    }

    /// By id or by name, each has its index; calls on several tunnels are few.
    fn push_tunnel(&self, query: &mut QueryBuilder<Sqlite>, tunnel: &str) {
        let among =
            "EXISTS (SELECT 1 FROM json_each(entry, '$.tunnels') AS tunnel WHERE tunnel.value ->> '$.id' = ";
        query.push(" AND (tunnel = ").push_bind(tunnel.to_owned());
        query.push(" OR tunnel_name = ").push_bind(tunnel.to_owned());
        query.push(" OR (tunnel_count > 1 AND ").push(among).push_bind(tunnel.to_owned());
        query.push(" OR tunnel.value ->> '$.name' = ").push_bind(tunnel.to_owned()).push(")))");
    }
}
