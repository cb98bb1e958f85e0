//! What a reader of the record may ask for, and the SQL for it.
//!
//! Every value is bound, none is written into the statement.

use jiff::Timestamp;

use super::sql::{Dialect, Sql, Statement};
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
    const fn terms(self) -> (&'static str, Sql, &'static str) {
        match self {
            Self::Operation => ("coalesce(operation, '-')", ENTRIES, ""),
            Self::Subject => ("coalesce(subject, '-')", ENTRIES, ""),
            Self::Team => ("one.value", ENTRIES_BY_TEAM, ""),
            Self::Refusal => ("refusal", ENTRIES, " AND refusal IS NOT NULL"),
        }
    }
}

const ENTRIES: Sql = Sql { sqlite: "entries", postgres: "tunnelwarden.entries" };
const ENTRIES_BY_TEAM: Sql = Sql {
    sqlite: "entries, json_each(entry, '$.teams') AS one",
    postgres: "tunnelwarden.entries, tunnelwarden.words(tunnelwarden.document(entry) -> 'teams') AS one (value)",
};

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
    pub(super) fn query(&self, dialect: Dialect, bounds: Bounds) -> Statement {
        let mut query = Statement::new(dialect);
        query.push("SELECT seq FROM ").push_sql(ENTRIES).push(" WHERE 1 = 1");
        self.push_to(&mut query, bounds);
        query.push(self.order());
        query.push(if self.after.is_some() { "" } else { " DESC" });
        if let Some(limit) = self.limit {
            query.push(" LIMIT ").push_bind(i64::from(limit));
        }
        query
    }

    /// The order of the log. By a tunnel's index few are found, and they must not be looked for in that order, which a sum
    /// tells the database.
    pub(super) const fn order(&self) -> &'static str {
        if self.finds_few() { " ORDER BY seq + 0" } else { " ORDER BY seq" }
    }

    /// The `seq`s and texts that fit, oldest first, without a limit, or as many as have so many bytes: a server sends all
    /// that it is asked for.
    pub(super) fn rows(&self, dialect: Dialect, bytes: usize) -> Statement {
        let mut query = Statement::new(dialect);
        // By an index, such as that of `time`, all texts that fit would be sorted in memory first.
        query.push_sql(Sql {
            sqlite: "SELECT seq, entry FROM entries NOT INDEXED WHERE 1 = 1",
            postgres: "SELECT seq, entry FROM (
                           SELECT seq, entry, sum(octet_length(entry)) OVER (ORDER BY seq) - octet_length(entry) AS before
                           FROM (SELECT seq, entry FROM tunnelwarden.entries WHERE 1 = 1",
        });
        self.push_conditions(&mut query);
        query.push(" ORDER BY seq");
        if dialect == Dialect::Postgres {
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            query
                .push(" LIMIT 1024) AS next) AS page WHERE before < ")
                .push_bind(bytes)
                .push(" ORDER BY seq");
        }
        query
    }

    /// Counts the calls that fit by hour and name, oldest first.
    pub(super) fn activity(&self, dialect: Dialect, by: By, bounds: Bounds) -> Statement {
        let (name, from, only) = by.terms();
        let mut query = Statement::new(dialect);
        query.push("SELECT substr(time, 1, 13), ").push(name);
        query.push(", count(*), count(*) FILTER (WHERE kind = 'refusal') FROM ").push_sql(from);
        query.push(" WHERE kind IN ('outcome', 'refusal')").push(only);
        self.push_to(&mut query, bounds);
        query.push(" GROUP BY 1, 2 ORDER BY 1, 2");
        query
    }

    /// Counts the calls that fit, the most first.
    pub(super) fn counts(&self, dialect: Dialect, by: By, bounds: Bounds) -> Statement {
        let (name, from, only) = by.terms();
        let mut query = Statement::new(dialect);
        query.push("SELECT ").push(name);
        query.push(" AS name, count(*), count(*) FILTER (WHERE kind = 'refusal'), ");
        query.push_sql(Sql {
            sqlite: "count(*) FILTER (WHERE kind = 'outcome' AND entry ->> '$.status' >= 400) FROM ",
            postgres: "count(*) FILTER (WHERE kind = 'outcome'
                           AND (tunnelwarden.document(entry) ->> 'status')::bigint >= 400) FROM ",
        });
        query.push_sql(from).push(" WHERE kind IN ('outcome', 'refusal')").push(only);
        self.push_to(&mut query, bounds);
        query.push(" GROUP BY 1 ORDER BY 2 DESC, 1");
        if let Some(limit) = self.limit {
            query.push(" LIMIT ").push_bind(i64::from(limit));
        }
        query
    }

    /// Whether a tunnel's index finds few.
    const fn finds_few(&self) -> bool {
        self.tunnel.is_some()
    }

    /// The conditions, and where to look for what fits them.
    pub(super) fn push_to(&self, query: &mut Statement, bounds: Bounds) {
        let place = |seq: u64| i64::try_from(seq).unwrap_or(i64::MAX);
        if let Some(first) = bounds.first {
            query.push(" AND seq >= ").push_bind(place(first));
        }
        if let Some(last) = bounds.last {
            query.push(" AND seq <= ").push_bind(place(last));
        }
        self.push_conditions(query);
    }

    pub(super) fn push_conditions(&self, query: &mut Statement) {
        if let Some(since) = self.since {
            query.push(" AND time >= ").push_bind(rfc3339(since));
        }
        if let Some(until) = self.until {
            query.push(" AND time < ").push_bind(rfc3339(until));
        }
        if let Some(subject) = &self.subject {
            query.push(" AND subject = ").push_bind(subject.as_str());
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
            query.push_sql(Sql {
                sqlite: " AND EXISTS (SELECT 1 FROM json_each(entry, '$.teams') AS team WHERE team.value = ",
                postgres:
                    " AND EXISTS (SELECT FROM tunnelwarden.words(tunnelwarden.document(entry) -> 'teams')
                                AS team (value) WHERE team.value = ",
            });
            query.push_bind(team.as_str()).push(")");
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
    fn push_tunnel(&self, query: &mut Statement, tunnel: &str) {
        query.push(" AND (tunnel = ").push_bind(tunnel);
        query.push(" OR tunnel_name = ").push_bind(tunnel);
        query.push_sql(Sql {
            sqlite: " OR (tunnel_count > 1 AND EXISTS (SELECT 1 FROM json_each(entry, '$.tunnels') AS one
                         WHERE one.value ->> '$.id' = ",
            postgres: " OR (tunnel_count > 1 AND EXISTS (
                           SELECT FROM tunnelwarden.items(tunnelwarden.document(entry) -> 'tunnels') AS one (value)
                           WHERE one.value ->> 'id' = ",
        });
        query.push_bind(tunnel);
        query.push_sql(Sql {
            sqlite: " OR one.value ->> '$.name' = ",
            postgres: " OR one.value ->> 'name' = ",
        });
        query.push_bind(tunnel).push(")))");
    }
}
