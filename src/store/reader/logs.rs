//! The logs that a record is made of: one of a file, one for each replica of a server.
//!
//! Not here: how a log is checked (`inspect`).

use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnection;

use super::{ReadError, Reader, failed};
use crate::store::database::Database;
use crate::store::sql::{Cells, Sql};
use crate::store::sqlite::options;
use crate::store::{Snapshot, postgres, sqlite};

/// One of the logs that a record is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogId {
    number: i16,
    /// The replica that writes it, where there are several.
    pub name: Option<String>,
    /// Its origin, where it was moved from elsewhere and is no replica's.
    pub origin: Option<String>,
}

// By the first of each log number that is not known, which an index finds.
const STRAY_ENTRIES: &str = "
    SELECT n::text FROM generate_series(-32768, 32767) AS n
    WHERE n NOT IN (SELECT log FROM tunnelwarden.logs) AND n BETWEEN
            (SELECT min(log) FROM tunnelwarden.log_entries) AND (SELECT max(log) FROM tunnelwarden.log_entries)
        AND EXISTS (SELECT FROM tunnelwarden.log_entries WHERE log = n::smallint)";
const STRAY_TILES: &str = "
    SELECT DISTINCT log::text FROM tunnelwarden.tiles WHERE log NOT IN (SELECT log FROM tunnelwarden.logs)";
const STRAY_CHECKPOINTS: &str = "
    SELECT DISTINCT log::text FROM tunnelwarden.checkpoints WHERE log NOT IN (SELECT log FROM tunnelwarden.logs)";
const DOUBLED: &str =
    "SELECT id FROM tunnelwarden.entries GROUP BY id HAVING count(*) > 1 ORDER BY id LIMIT 5";

impl LogId {
    pub(super) const fn number(&self) -> i16 {
        self.number
    }

    /// The one of a file.
    #[must_use]
    pub const fn single() -> Self {
        Self { number: 0, name: None, origin: None }
    }

    /// The origin of its checkpoints in a record whose key has this name.
    #[must_use]
    pub fn origin_under(&self, key: &str) -> String {
        match (&self.origin, &self.name) {
            (Some(origin), _) => origin.clone(),
            (None, Some(replica)) => format!("{key}/{replica}"),
            (None, None) => key.to_owned(),
        }
    }
}

impl Reader {
    /// The logs that the record is made of: one of a file, one for each replica of a server, by name.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn logs(&self) -> Result<Vec<LogId>, ReadError> {
        if self.file.is_some() {
            return Ok(vec![LogId::single()]);
        }
        let logs =
            Sql { sqlite: "", postgres: "SELECT log, name, origin FROM tunnelwarden.logs ORDER BY name" };
        self.read(self.ask(logs), |row| {
            let number = i16::try_from(row.number(0)?).map_err(|e| sqlx::Error::Decode(e.into()))?;
            Ok(LogId { number, name: Some(row.text(1)?), origin: row.optional_text(2)? })
        })
        .await
    }

    /// What stands beside the logs though it is of none of them, and with `ids` also which entries have one id: a line each.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn strays(&self, ids: bool) -> Result<Vec<String>, ReadError> {
        let known = |sql| Sql { sqlite: "SELECT '' WHERE 0", postgres: sql };
        let mut lines = Vec::new();
        for (sql, what) in [
            (STRAY_ENTRIES, "there are entries of a log that is not among the logs"),
            (STRAY_TILES, "there are tiles of a log that is not among the logs"),
            (STRAY_CHECKPOINTS, "there are checkpoints of a log that is not among the logs"),
        ] {
            let found = self.read(self.ask(known(sql)), |row| row.text(0)).await?;
            lines.extend(found.into_iter().map(|log| format!("{what}: number {log}")));
        }
        if ids {
            let found = self.read(self.ask(known(DOUBLED)), |row| row.text(0)).await?;
            lines.extend(found.into_iter().map(|id| format!("several entries have the id {id}")));
        }
        Ok(lines)
    }

    /// In which log the entry with this `seq` stands, and where.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn stands(&self, seq: u64) -> Result<Option<(LogId, u64)>, ReadError> {
        if self.file.is_some() {
            return Ok(Some((LogId::single(), seq)));
        }
        let place = Sql {
            sqlite: "",
            postgres: "SELECT one.log, logs.name, one.leaf_index, logs.origin
                       FROM tunnelwarden.log_entries AS one JOIN tunnelwarden.logs USING (log) WHERE one.seq = $1",
        };
        let read = |row: &mut Cells| {
            let number = i16::try_from(row.number(0)?).map_err(|e| sqlx::Error::Decode(e.into()))?;
            Ok((LogId { number, name: Some(row.text(1)?), origin: row.optional_text(3)? }, row.number(2)?))
        };
        Ok(self.read(self.ask(place).bind(self.place(seq)?), read).await?.pop())
    }

    /// A log as it is now, to be checked.
    ///
    /// # Errors
    /// The database can't be opened.
    pub async fn snapshot(&self, log: &LogId) -> Result<Snapshot, ReadError> {
        let open = |e| failed("open", &self.database, e);
        match (&self.file, &self.database) {
            (None, Database::Postgres(server)) => {
                let snapshot = postgres::snapshot::Snapshot::begin(server.clone(), log.number).await;
                snapshot.map(Snapshot::from).map_err(open)
            }
            (file, Database::Sqlite(path)) => {
                let options = file.clone().unwrap_or_else(|| options(path));
                let connection: SqliteConnection = options.connect().await.map_err(open)?;
                let snapshot = sqlite::snapshot::Snapshot::begin(connection).await;
                snapshot.map(Snapshot::from).map_err(|e| self.failed(e))
            }
            (Some(_), Database::Postgres(_)) => Err(self.failed(sqlx::Error::RowNotFound)),
        }
    }
}
