//! Rows of the record's views, newest first, a page at a time.
//!
//! A page is made in two steps: the entries that may have rows are found by index, as numbers, and then the view is asked
//! for each of them alone. Asked for all at once, the database would make every row there is, and sort their texts.
//! Not here: the views themselves (`migrations/`), single entries (`store::reader`).

use std::time::Duration;

use tokio::time::Instant;

use super::filter::{Bounds, Filter};
use super::reader::{ReadError, Reader};
use super::sql::{Cell, Cells, Dialect, Sql, Statement};
use crate::json::{self, Json, Object};

/// Entries that are looked at at once: about as many as make a page of a console.
const STEP: i64 = 64;

/// How long a page is looked for: where next to nothing fits, the next page goes on from there.
const PATIENCE: Duration = Duration::from_secs(5);

/// Levels of nesting in a column that holds JSON.
const DEPTH: usize = 2 * json::MAX_DEPTH;

/// A view of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// A call a row.
    Requests,
    /// A changed field a row.
    Changes,
    /// A key that a call minted, set or carried, or a call for one.
    PskEvents,
    /// A call that was refused, or failed.
    Refusals,
    /// A tunnel's part in a write that ended.
    TunnelHistory,
    /// What the upstream's own audit logs tell and the record does not, or the other way round. Found by time and tunnel.
    Findings,
}

/// Some rows of a view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Each with the view's columns, in their order.
    pub rows: Vec<Object>,
    /// What [`Filter::before`] must be for the next page; none where there is none.
    pub next: Option<u64>,
}

impl View {
    /// All views.
    pub const ALL: [Self; 6] =
        [Self::Requests, Self::Changes, Self::PskEvents, Self::Refusals, Self::TunnelHistory, Self::Findings];

    /// Its name in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Changes => "changes",
            Self::PskEvents => "psk_events",
            Self::Refusals => "refusals",
            Self::TunnelHistory => "tunnel_history",
            Self::Findings => "findings",
        }
    }

    /// Which entries may have a row, and the `seq` that this row has.
    const fn entries(self) -> (Sql, Sql) {
        const fn both(text: &'static str) -> Sql {
            Sql { sqlite: text, postgres: text }
        }
        // Only the outcome of a create knows the tunnel; the call stands where its intent does.
        const FIRST: Sql = Sql {
            sqlite: "CASE WHEN kind = 'outcome' AND intent_id IS NOT NULL
                THEN (SELECT first.seq FROM entries AS first WHERE first.id = entries.intent_id) ELSE seq END",
            postgres: "CASE WHEN kind = 'outcome' AND intent_id IS NOT NULL
                THEN (SELECT first.seq FROM tunnelwarden.entries AS first WHERE first.id = entries.intent_id) ELSE seq END",
        };
        match self {
            Self::Requests => {
                (FIRST, both("(kind IN ('intent', 'refusal') OR kind = 'outcome' AND intent_id IS NULL)"))
            }
            Self::Changes => (
                both("seq"),
                both(
                    "kind IN ('outcome', 'resolved')
                     AND operation IS DISTINCT FROM 'list' AND operation IS DISTINCT FROM 'get'",
                ),
            ),
            Self::PskEvents => (
                FIRST,
                Sql {
                    sqlite: "(kind IN ('intent', 'refusal') OR kind = 'outcome' AND intent_id IS NULL)
                        AND (operation IN ('generate_psk', 'set_psks') OR instr(entry, 'redacted:psk:') > 0)",
                    postgres:
                        "(kind IN ('intent', 'refusal') OR kind = 'outcome' AND intent_id IS NULL)
                        AND (operation IN ('generate_psk', 'set_psks') OR strpos(entry, 'redacted:psk:') > 0)",
                },
            ),
            Self::Findings => (both("seq"), both("kind <> 'outcome' AND kind = 'reconciled'")),
            Self::Refusals => (both("seq"), both("refusal IS NOT NULL")),
            Self::TunnelHistory => (
                both("seq"),
                both("kind IN ('outcome', 'resolved', 'refusal') AND operation NOT IN ('list', 'get')"),
            ),
        }
    }

    /// Whether a row is about one tunnel, so that of a call on several only some rows are wanted.
    const fn is_of_a_tunnel(self) -> bool {
        matches!(self, Self::Changes | Self::TunnelHistory)
    }

    /// The places of entries that may have rows, newest first: each its own, and the one of its row.
    pub(super) fn candidates(self, dialect: Dialect, filter: &Filter, bounds: Bounds) -> Statement {
        let (place, which) = self.entries();
        let mut query = Statement::new(dialect);
        query.push("SELECT seq, ").push_sql(place);
        query.push_sql(Sql {
            sqlite: " AS place FROM entries WHERE ",
            postgres: " AS place FROM tunnelwarden.entries WHERE ",
        });
        let by_call = matches!(self, Self::Requests | Self::PskEvents);
        match (&filter.tunnel, by_call) {
            (Some(_), true) => {
                query.push("(").push_sql(which).push(" AND NOT (kind = 'intent' AND operation = 'create')");
                query.push(" OR kind = 'outcome' AND operation = 'create')")
            }
            (Some(_) | None, _) => query.push_sql(which),
        };
        filter.push_to(&mut query, bounds);
        query.push(filter.order()).push(" DESC LIMIT ").push_bind(STEP);
        query
    }
}

impl Reader {
    /// The newest rows of a view that fit, at least `least` of them if there are so many: an entry's rows stay together.
    /// `field` is an RFC 6901 pointer, for [`View::Changes`] only.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn view(
        &self,
        view: View,
        filter: &Filter,
        field: Option<&str>,
        least: usize,
    ) -> Result<Rows, ReadError> {
        let mut page = Rows::default();
        let Some(bounds) = self.bounds(filter).await? else { return Ok(page) };
        let mut filter = filter.clone();
        let until = Instant::now() + PATIENCE;
        loop {
            if filter.before.is_some() && Instant::now() > until {
                page.next = filter.before;
                return Ok(page);
            }
            let query = view.candidates(self.dialect(), &filter, bounds);
            let found = self.read(query, |row| Ok((row.number(0)?, row.number(1)?))).await?;
            let is_last = (found.len() as i64) < STEP;
            for (own, row) in found {
                if page.rows.len() >= least {
                    page.next = filter.before;
                    return Ok(page);
                }
                page.rows.extend(self.rows_at(view, row, &filter, field).await?);
                filter.before = Some(own);
            }
            if is_last {
                return Ok(page);
            }
        }
    }

    /// The rows that the entry at `seq` has in a view.
    async fn rows_at(
        &self,
        view: View,
        seq: u64,
        filter: &Filter,
        field: Option<&str>,
    ) -> Result<Vec<Object>, ReadError> {
        let mut query = Statement::new(self.dialect());
        query.push_sql(Sql { sqlite: "SELECT * FROM ", postgres: "SELECT * FROM tunnelwarden." });
        query.push(view.name()).push(" WHERE seq = ").push_bind(self.place(seq)?);
        if let Some(tunnel) = filter.tunnel.as_deref().filter(|_| view.is_of_a_tunnel()) {
            query.push(" AND tunnel = ").push_bind(tunnel);
        }
        if let Some(field) = field.filter(|_| view == View::Changes) {
            query.push(" AND field = ").push_bind(field);
        }
        let found = self.fetch(query).await?;
        Ok(found.rows.into_iter().map(|row| object(&found.names, row)).collect())
    }
}

/// A row with its columns' names. Columns that hold JSON are what they hold.
fn object(names: &[String], row: Cells) -> Object {
    let value = |name: &str, cell| match cell {
        // The database has no other word for yes and no.
        Cell::Int(n) if matches!(name, "validate_only" | "settled") => Json::Bool(n != 0),
        Cell::Int(n) => Json::from(n),
        Cell::Bool(is) => Json::Bool(is),
        Cell::Text(text) if is_json(name) => json::read(text.as_bytes(), DEPTH).unwrap_or(Json::String(text)),
        Cell::Text(text) => text.into(),
        // No view has one.
        Cell::Null | Cell::Bytes(_) => Json::Null,
    };
    names.iter().zip(row.into_cells()).map(|(name, cell)| (name.clone(), value(name, cell))).collect()
}

/// Whether a column of this name holds JSON.
fn is_json(column: &str) -> bool {
    matches!(column, "teams" | "roles" | "policies" | "tunnels" | "fields" | "before" | "after" | "actor")
}
