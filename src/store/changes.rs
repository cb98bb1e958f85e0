//! The changed fields of the record: rows of the view `changes`, found by an index wherever there is one.
//!
//! Not here: entries (`store::reader`), how a change is shown (`inspect`).

use super::filter::Filter;
use super::reader::{ReadError, Reader};
use super::sql::{Dialect, Sql, Statement};
use crate::clock::rfc3339;

/// Which changes are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Those of entries that fit; the tunnel is one by its id, and the limit is one of changes. The newest are taken.
    pub which: Filter,
    /// Of one call, by its request id or the id of any of its entries.
    pub call: Option<String>,
    /// Of this field, or of one in it: an RFC 6901 pointer.
    pub field: Option<String>,
    /// Of entries from this place on, up to that one.
    pub places: Option<(u64, u64)>,
}

/// One changed field: a row of the view, column for column. Lists and values are JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the view in `migrations/` says what each is")]
pub struct Change {
    pub seq: u64,
    pub time: String,
    pub request_id: String,
    pub subject: Option<String>,
    pub teams: Option<String>,
    pub operation: Option<String>,
    pub account: Option<String>,
    pub tunnel: Option<String>,
    pub op: Option<String>,
    pub field: Option<String>,
    pub before: Option<String>,
    pub after: Option<String>,
    pub policies: Option<String>,
}

impl Changes {
    pub(super) fn query(&self, dialect: Dialect) -> Statement {
        let mut query = Statement::new(dialect);
        query.push("SELECT seq, time, request_id, subject, teams, operation, account, tunnel, op, field, before, after, policies");
        query.push_sql(Sql {
            sqlite: " FROM changes WHERE 1 = 1",
            postgres: " FROM tunnelwarden.changes WHERE 1 = 1",
        });
        let Filter { since, until, subject, team, tunnel, operation, kind, .. } = &self.which;
        if let Some(since) = since {
            query.push(" AND time >= ").push_bind(rfc3339(*since));
        }
        if let Some(until) = until {
            query.push(" AND time < ").push_bind(rfc3339(*until));
        }
        if let Some(subject) = subject {
            query.push(" AND subject = ").push_bind(subject.as_str());
        }
        if let Some(operation) = operation {
            query.push(" AND operation = ").push_bind(operation.name());
        }
        if let Some(team) = team {
            query.push_sql(Sql {
                sqlite: " AND EXISTS (SELECT 1 FROM json_each(teams) AS team WHERE team.value = ",
                postgres: " AND EXISTS (SELECT FROM tunnelwarden.words(teams::json) AS team (value) WHERE team.value = ",
            });
            query.push_bind(team.as_str()).push(")");
        }
        if let Some(tunnel) = tunnel {
            query.push(" AND tunnel = ").push_bind(tunnel.as_str());
        }
        if tunnel.is_some() || kind.is_some() {
            let entries = Filter { tunnel: tunnel.clone(), kind: *kind, ..Filter::default() };
            query.push_sql(Sql {
                sqlite: " AND seq IN (SELECT seq FROM entries WHERE 1 = 1",
                postgres: " AND seq IN (SELECT seq FROM tunnelwarden.entries WHERE 1 = 1",
            });
            entries.push_conditions(&mut query);
            query.push(")");
        }
        if let Some(call) = &self.call {
            query.push_sql(Sql {
                sqlite: " AND request_id IN (SELECT request_id FROM entries WHERE id = ",
                postgres: " AND request_id IN (SELECT request_id FROM tunnelwarden.entries WHERE id = ",
            });
            query.push_bind(call.as_str()).push(" UNION SELECT ").push_bind(call.as_str()).push(")");
        }
        if let Some(field) = &self.field {
            query.push(" AND (field = ").push_bind(field.as_str());
            query.push(" OR substr(field, 1, length(").push_bind(field.as_str());
            query.push(") + 1) = ").push_bind(format!("{field}/")).push(")");
        }
        if let Some((from, to)) = self.places {
            let place = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            query.push(" AND seq >= ").push_bind(place(from)).push(" AND seq < ").push_bind(place(to));
        }
        // Each in the order in which its index gives the rows, so that the limit ends the search: in another one all that fit
        // would be looked at first.
        let by_time = (since.is_some() || until.is_some()) && subject.is_none() && self.places.is_none();
        query.push(match (tunnel.is_some() || self.call.is_some(), by_time) {
            (true, _) => " ORDER BY seq + 0 DESC",
            (false, true) => " ORDER BY time DESC, seq DESC",
            (false, false) => " ORDER BY seq DESC",
        });
        if let Some(limit) = self.which.limit {
            query.push(" LIMIT ").push_bind(i64::from(limit));
        }
        query
    }
}

impl Reader {
    /// The changes that fit, oldest first.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn changes(&self, changes: &Changes) -> Result<Vec<Change>, ReadError> {
        let mut found = self
            .read(changes.query(self.dialect()), |row| {
                Ok(Change {
                    seq: row.number(0)?,
                    time: row.text(1)?,
                    request_id: row.text(2)?,
                    subject: row.optional_text(3)?,
                    teams: row.optional_text(4)?,
                    operation: row.optional_text(5)?,
                    account: row.optional_text(6)?,
                    tunnel: row.optional_text(7)?,
                    op: row.optional_text(8)?,
                    field: row.optional_text(9)?,
                    before: row.optional_text(10)?,
                    after: row.optional_text(11)?,
                    policies: row.optional_text(12)?,
                })
            })
            .await?;
        // The order of an entry's own changes stays.
        found.sort_by_key(|change| change.seq);
        Ok(found)
    }
}
