//! What the record has for archiving: how far it was archived, and where a signed checkpoint ends.
//!
//! Not here: the archive (`archive`), when it is made (`service::archive`).

use sqlx::Row as _;

use super::{ReadError, Reader};
use crate::store::Row;
use crate::store::sqlite::{narrow, unsigned};

pub(crate) const LAST_ARCHIVED: &str = "
    SELECT seq, entry FROM entries INDEXED BY entries_kind
    WHERE kind <> 'outcome' AND kind = 'archived' ORDER BY seq DESC LIMIT 1";

impl Reader {
    /// The newest entry that tells of an archive.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn last_archived(&self) -> Result<Option<Row>, ReadError> {
        Ok(self.rows(sqlx::query(LAST_ARCHIVED)).await?.pop())
    }

    /// The last stored checkpoint over no more entries than this: how many it covers, and its note.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn checkpoint_up_to(&self, size: u64) -> Result<Option<(u64, String)>, ReadError> {
        let query = "SELECT size, note FROM checkpoints WHERE size <= ? ORDER BY size DESC LIMIT 1";
        let query = sqlx::query(query).bind(narrow(size).map_err(|e| self.failed(e))?);
        let row = query.fetch_optional(&self.pool).await.map_err(|e| self.failed(e))?;
        let read = |row: sqlx::sqlite::SqliteRow| Ok((unsigned(row.try_get(0)?)?, row.try_get(1)?));
        row.map(|row| read(row).map_err(|e| self.failed(e))).transpose()
    }
}
