//! Rows of the record's views, newest first, a page at a time.
//!
//! A page is made in two steps: the entries that may have rows are found by index, as numbers, and then the view is asked
//! for each of them alone. Asked for all at once, the database would make every row there is, and sort their texts.
//! Not here: the views themselves (`migrations/`), single entries (`store::reader`).

use std::time::Duration;

use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Column as _, QueryBuilder, Row as _, Sqlite, TypeInfo as _, ValueRef as _};

use tokio::time::Instant;

use super::filter::{Bounds, Filter};
use super::reader::{ReadError, Reader};
use super::sqlite::{narrow, unsigned};
use crate::json::{self, Json, Object};

/// Entries that are looked at at once: about as many as make a page of a console.
const STEP: u32 = 64;

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
    const fn entries(self) -> (&'static str, &'static str) {
        // Only the outcome of a create knows the tunnel; the call stands where its intent does.
        const FIRST: &str = "CASE WHEN kind = 'outcome' AND intent_id IS NOT NULL
            THEN (SELECT first.seq FROM entries AS first WHERE first.id = entries.intent_id) ELSE seq END";
        match self {
            Self::Requests => {
                (FIRST, "(kind IN ('intent', 'refusal') OR kind = 'outcome' AND intent_id IS NULL)")
            }
            Self::Changes => (
                "seq",
                "kind IN ('outcome', 'resolved') AND operation IS NOT 'list' AND operation IS NOT 'get'",
            ),
            Self::PskEvents => (
                FIRST,
                "(kind IN ('intent', 'refusal') OR kind = 'outcome' AND intent_id IS NULL)
                 AND (operation IN ('generate_psk', 'set_psks') OR instr(entry, 'redacted:psk:') > 0)",
            ),
            Self::Findings => ("seq", "kind <> 'outcome' AND kind = 'reconciled'"),
            Self::Refusals => ("seq", "refusal IS NOT NULL"),
            Self::TunnelHistory => {
                ("seq", "kind IN ('outcome', 'resolved', 'refusal') AND operation NOT IN ('list', 'get')")
            }
        }
    }

    /// Whether a row is about one tunnel, so that of a call on several only some rows are wanted.
    const fn is_of_a_tunnel(self) -> bool {
        matches!(self, Self::Changes | Self::TunnelHistory)
    }

    /// The places of entries that may have rows, newest first: each its own, and the one of its row.
    pub(super) fn candidates(self, filter: &Filter, bounds: Bounds) -> QueryBuilder<Sqlite> {
        let (place, which) = self.entries();
        let mut query = QueryBuilder::new("SELECT seq, ");
        query.push(place).push(" FROM entries WHERE ");
        let by_call = matches!(self, Self::Requests | Self::PskEvents);
        match (&filter.tunnel, by_call) {
            (Some(_), true) => {
                query.push("(").push(which).push(" AND NOT (kind = 'intent' AND operation = 'create')");
                query.push(" OR kind = 'outcome' AND operation = 'create')")
            }
            (Some(_) | None, _) => query.push(which),
        };
        filter.push_to(&mut query, bounds);
        query.push(if filter.finds_few() { " ORDER BY +seq DESC" } else { " ORDER BY seq DESC" });
        query.push(" LIMIT ").push_bind(STEP);
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
            let mut query = view.candidates(&filter, bounds);
            let found = query.build().fetch_all(self.pool()).await.map_err(|e| self.failed(e))?;
            for candidate in &found {
                if page.rows.len() >= least {
                    page.next = filter.before;
                    return Ok(page);
                }
                let places = || Ok((unsigned(candidate.try_get(0)?)?, unsigned(candidate.try_get(1)?)?));
                let (own, row) = places().map_err(|e| self.failed(e))?;
                page.rows.extend(self.rows_at(view, row, &filter, field).await?);
                filter.before = Some(own);
            }
            if found.len() < STEP as usize {
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
        let mut text = format!("SELECT * FROM {} WHERE seq = ?1", view.name());
        let tunnel = filter.tunnel.as_deref().filter(|_| view.is_of_a_tunnel());
        if tunnel.is_some() {
            text.push_str(" AND tunnel = ?2");
        }
        let field = field.filter(|_| view == View::Changes);
        if field.is_some() {
            text.push_str(" AND field = ?3");
        }
        let at = narrow(seq).map_err(|e| self.failed(e))?;
        let query = sqlx::query(AssertSqlSafe(text)).bind(at).bind(tunnel).bind(field);
        let rows = query.fetch_all(self.pool()).await.map_err(|e| self.failed(e))?;
        rows.iter().map(|row| object(row).map_err(|e| self.failed(e))).collect()
    }
}

/// A row with its columns' names. Columns that hold JSON are what they hold.
fn object(row: &SqliteRow) -> Result<Object, sqlx::Error> {
    let mut object = Object::with_capacity(row.len());
    for (at, column) in row.columns().iter().enumerate() {
        let name = column.name();
        let raw = row.try_get_raw(at)?;
        let value = if raw.is_null() {
            Json::Null
        } else if raw.type_info().name() == "INTEGER" {
            let number: i64 = row.try_get(at)?;
            if matches!(name, "validate_only" | "settled") {
                Json::Bool(number != 0)
            } else {
                Json::from(number)
            }
        } else {
            let text: String = row.try_get(at)?;
            if is_json(name) {
                json::read(text.as_bytes(), DEPTH).unwrap_or(Json::String(text))
            } else {
                text.into()
            }
        };
        object.set(name.to_owned(), value);
    }
    Ok(object)
}

/// Whether a column of this name holds JSON.
fn is_json(column: &str) -> bool {
    matches!(column, "teams" | "roles" | "policies" | "tunnels" | "fields" | "before" | "after" | "actor")
}
