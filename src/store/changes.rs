//! The changed fields of the record: rows of the view `changes`, found by an index wherever there is one.
//!
//! Not here: entries (`store::reader`), how a change is shown (`inspect`).

use sqlx::{QueryBuilder, Row as _, Sqlite};

use super::filter::Filter;
use super::reader::{ReadError, Reader};
use super::sqlite::unsigned;
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
    pub(super) fn query(&self) -> QueryBuilder<Sqlite> {
        let mut query = QueryBuilder::new("SELECT * FROM changes WHERE 1");
        let Filter { since, until, subject, team, tunnel, operation, kind, .. } = &self.which;
        if let Some(since) = since {
            query.push(" AND time >= ").push_bind(rfc3339(*since));
        }
        if let Some(until) = until {
            query.push(" AND time < ").push_bind(rfc3339(*until));
        }
        if let Some(subject) = subject {
            query.push(" AND subject = ").push_bind(subject.clone());
        }
        if let Some(operation) = operation {
            query.push(" AND operation = ").push_bind(operation.name());
        }
        if let Some(team) = team {
            query.push(" AND EXISTS (SELECT 1 FROM json_each(teams) AS team WHERE team.value = ");
            query.push_bind(team.clone()).push(")");
        }
        if let Some(tunnel) = tunnel {
            query.push(" AND tunnel = ").push_bind(tunnel.clone());
        }
        if tunnel.is_some() || kind.is_some() {
            let entries = Filter { tunnel: tunnel.clone(), kind: *kind, ..Filter::default() };
            query.push(" AND seq IN (SELECT seq FROM entries WHERE 1");
            entries.push_conditions(&mut query);
            query.push(")");
        }
        if let Some(call) = &self.call {
            query.push(" AND request_id IN (SELECT request_id FROM entries WHERE id = ");
            query.push_bind(call.clone()).push(" UNION SELECT ").push_bind(call.clone()).push(")");
        }
        if let Some(field) = &self.field {
            query.push(" AND (field = ").push_bind(field.clone());
            query.push(" OR substr(field, 1, length(").push_bind(field.clone());
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
            (true, _) => " ORDER BY +seq DESC",
            (false, true) => " ORDER BY time DESC, seq DESC",
            (false, false) => " ORDER BY seq DESC",
        });
        if let Some(limit) = self.which.limit {
            query.push(" LIMIT ").push_bind(limit);
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
        let mut query = changes.query();
        let rows = query.build().fetch_all(self.pool()).await.map_err(|e| self.failed(e))?;
        let read = |row: &sqlx::sqlite::SqliteRow| {
            Ok(Change {
                seq: unsigned(row.try_get("seq")?)?,
                time: row.try_get("time")?,
                request_id: row.try_get("request_id")?,
                subject: row.try_get("subject")?,
                teams: row.try_get("teams")?,
                operation: row.try_get("operation")?,
                account: row.try_get("account")?,
                tunnel: row.try_get("tunnel")?,
                op: row.try_get("op")?,
                field: row.try_get("field")?,
                before: row.try_get("before")?,
                after: row.try_get("after")?,
                policies: row.try_get("policies")?,
            })
        };
        let found: Result<Vec<Change>, sqlx::Error> = rows.iter().map(read).collect();
        let mut found = found.map_err(|e| self.failed(e))?;
        // The order of an entry's own changes stays.
        found.sort_by_key(|change| change.seq);
        Ok(found)
    }
}
