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
    pub(super) fn query(&self) -> QueryBuilder<Sqlite> {
        let mut query = QueryBuilder::new("SELECT seq FROM entries WHERE 1");
        self.push_conditions(&mut query);
        // The sign keeps the database from reading the whole log in the order of `seq`, where a tunnel's index finds few.
        let few = self.tunnel.as_deref().is_some_and(is_full_id);
        query.push(if few { " ORDER BY +seq" } else { " ORDER BY seq" });
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

    /// Counts the calls that fit, the most first.
    pub(super) fn counts(&self, by: By) -> QueryBuilder<Sqlite> {
        let (name, from, only) = match by {
            By::Operation => ("coalesce(operation, '-')", "entries", ""),
            By::Subject => ("coalesce(subject, '-')", "entries", ""),
            By::Team => ("one.value", "entries, json_each(entry, '$.teams') AS one", ""),
            By::Refusal => {
                ("entry ->> '$.refusal.name'", "entries", " AND entry ->> '$.refusal.name' IS NOT NULL")
            }
        };
        let mut query = QueryBuilder::new("SELECT ");
        query.push(name).push(
            " AS name, count(*), sum(kind = 'refusal'), sum(kind = 'outcome' AND entry ->> '$.status' >= 400) FROM ",
        );
        query.push(from).push(" WHERE kind IN ('outcome', 'refusal')").push(only);
        self.push_conditions(&mut query);
        query.push(" GROUP BY 1 ORDER BY 2 DESC, 1");
        if let Some(limit) = self.limit {
            query.push(" LIMIT ").push_bind(limit);
        }
        query
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
    }

    /// A full id is looked up by index; anything shorter may be a name as well, for which there is none.
    fn push_tunnel(&self, query: &mut QueryBuilder<Sqlite>, tunnel: &str) {
        let full_id = is_full_id(tunnel);
        let among =
            "EXISTS (SELECT 1 FROM json_each(entry, '$.tunnels') AS tunnel WHERE tunnel.value ->> '$.id' = ";
        query.push(" AND (tunnel = ").push_bind(tunnel.to_owned());
        query.push(if full_id { " OR (tunnel_count > 1 AND " } else { " OR (" });
        query.push(among).push_bind(tunnel.to_owned());
        query.push(" OR tunnel.value ->> '$.name' = ").push_bind(tunnel.to_owned()).push(")))");
    }
}

/// Whether a tunnel is named by its whole id, and not by what may be a name.
fn is_full_id(tunnel: &str) -> bool {
    tunnel.len() == 32 && tunnel.bytes().all(|b| b.is_ascii_hexdigit())
}
