//! What comes next, for who follows the record and must not miss anything.
//!
//! Of several replicas' entries a later one may be stored before an earlier one, so a place in the order of all is none to go
//! on from: who follows keeps one in each log, where places have no gaps. Not here: pages of what is there (`reader`), where
//! a position is kept (`cli::audit`).

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{PAGE_BYTES, ReadError, Reader};
use crate::clock::rfc3339;
use crate::store::sql::{Dialect, Sql, Statement};
use crate::store::{Filter, Row};

/// Entries of a log that are looked at in one go.
const LOOK: i64 = 1024;

/// How far somebody has read: in each log, by its name, the place of the last entry that was looked at. The one log of a file
/// has no name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position(pub BTreeMap<String, u64>);

const ENDS: Sql = Sql {
    sqlite: "SELECT '', max(seq) FROM entries HAVING count(*) > 0",
    postgres: "SELECT name, size - 1 FROM tunnelwarden.logs WHERE size > 0",
};
const BEFORE: Sql = Sql {
    sqlite: "SELECT '', min(seq) FROM entries INDEXED BY entries_time WHERE time >= ?1 HAVING count(*) > 0",
    postgres: "SELECT logs.name, min(one.leaf_index) FROM tunnelwarden.entries AS one JOIN tunnelwarden.logs USING (log)
               WHERE one.time >= $1 GROUP BY logs.name",
};
const ID_AT: Sql = Sql {
    sqlite: "SELECT id FROM entries WHERE ?1 = '' AND seq = ?2",
    postgres: "SELECT one.id FROM tunnelwarden.entries AS one JOIN tunnelwarden.logs USING (log)
               WHERE logs.name = $1 AND one.leaf_index = $2",
};

impl Reader {
    /// Where each log ends now.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn ends(&self) -> Result<Position, ReadError> {
        let found = self.read(self.ask(ENDS), |row| Ok((row.text(0)?, row.number(1)?))).await?;
        Ok(Position(found.into_iter().collect()))
    }

    /// This position, or a later one, behind which all entries are that are not older than this.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn not_before(&self, since: Timestamp, position: &Position) -> Result<Position, ReadError> {
        let first =
            self.read(self.ask(BEFORE).bind(rfc3339(since)), |row| Ok((row.text(0)?, row.number(1)?)));
        let mut position = position.clone();
        for (log, first) in first.await? {
            if let Some(before) = first.checked_sub(1) {
                let at = position.0.entry(log).or_insert(before);
                *at = before.max(*at);
            }
        }
        Ok(position)
    }

    /// Whether the entry with this `seq` is not behind this position.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn has_within(&self, position: &Position, seq: u64) -> Result<bool, ReadError> {
        let Some((log, at)) = self.stands(seq).await? else { return Ok(false) };
        Ok(position.0.get(log.name.as_deref().unwrap_or_default()).is_some_and(|end| at <= *end))
    }

    /// The id of the entry at a place of a log.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn id_at(&self, log: &str, at: u64) -> Result<Option<String>, ReadError> {
        let query = self.ask(ID_AT).bind(log).bind(self.place(at)?);
        Ok(self.read(query, |row| row.text(0)).await?.pop())
    }

    /// The next entries of each log that fit, in the order of the record, a few MiB of them; and the position behind all that
    /// was looked at, which is the same one where nothing new is there.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn beyond(
        &self,
        position: &Position,
        filter: &Filter,
    ) -> Result<(Vec<Row>, Position), ReadError> {
        match self.dialect() {
            Dialect::Sqlite => self.beyond_in_file(position, filter).await,
            Dialect::Postgres => self.beyond_in_logs(position, filter).await,
        }
    }

    async fn beyond_in_file(
        &self,
        position: &Position,
        filter: &Filter,
    ) -> Result<(Vec<Row>, Position), ReadError> {
        let end = self.last().await?;
        let after = position.0.get("").copied();
        if end <= after {
            return Ok((Vec::new(), position.clone()));
        }
        let rows = self.page(&Filter { after, ..filter.clone() }).await?;
        // What does not fit is not looked at again.
        let next = rows.last().map(|last| last.seq).or(end);
        Ok((rows, Position(next.map(|next| (String::new(), next)).into_iter().collect())))
    }

    async fn beyond_in_logs(
        &self,
        position: &Position,
        filter: &Filter,
    ) -> Result<(Vec<Row>, Position), ReadError> {
        let (mut rows, mut next) = (Vec::new(), position.clone());
        for log in self.logs().await? {
            let Some(name) = log.name.clone() else { continue };
            let after = position.0.get(&name).map_or(Ok(-1), |at| self.place(*at))?;
            let query = look(log.number(), after, filter);
            let looked = |row: &mut crate::store::sql::Cells| {
                Ok((row.number(0)?, row.number(1)?, row.optional_text(2)?))
            };
            for (seq, at, entry) in self.read(query, looked).await? {
                next.0.insert(name.clone(), at);
                rows.extend(entry.map(|entry| Row { seq, entry }));
            }
        }
        rows.sort_by_key(|row| row.seq);
        Ok((rows, next))
    }
}

/// The next entries of a log, with the text of those that fit.
fn look(log: i16, after: i64, filter: &Filter) -> Statement {
    let mut query = Statement::new(Dialect::Postgres);
    query.push("SELECT seq, leaf_index, text FROM (SELECT seq, leaf_index, text, ");
    query.push("sum(coalesce(octet_length(text), 0)) OVER (ORDER BY leaf_index) - coalesce(octet_length(text), 0) AS before ");
    query.push("FROM (SELECT seq, leaf_index, CASE WHEN 1 = 1");
    filter.push_conditions(&mut query);
    query.push(" THEN entry END AS text FROM tunnelwarden.entries WHERE log = ").push_bind(i64::from(log));
    query.push(" AND leaf_index > ").push_bind(after).push(" ORDER BY leaf_index LIMIT ").push_bind(LOOK);
    query.push(") AS next) AS page WHERE before < ").push_bind(i64::try_from(PAGE_BYTES).unwrap_or(i64::MAX));
    query.push(" ORDER BY leaf_index");
    query
}
