//! What the record has for archiving: how far it was archived, and where a signed checkpoint ends.
//!
//! Not here: the archive (`archive`), when it is made (`service::archive`).

use super::{ReadError, Reader};
use crate::store::Row;
use crate::store::sql::Sql;

pub(crate) const LAST_ARCHIVED: Sql = Sql {
    sqlite: "
    SELECT seq, entry FROM entries INDEXED BY entries_kind
    WHERE kind <> 'outcome' AND kind = 'archived' ORDER BY seq DESC LIMIT 1",
    postgres: "
    SELECT seq, entry FROM tunnelwarden.entries
    WHERE kind <> 'outcome' AND kind = 'archived' ORDER BY seq DESC LIMIT 1",
};
const CHECKPOINT_UP_TO: Sql = Sql {
    sqlite: "SELECT size, note FROM checkpoints WHERE size <= ?1 ORDER BY size DESC LIMIT 1",
    postgres: "SELECT size, note FROM tunnelwarden.checkpoints WHERE size <= $1 ORDER BY size DESC LIMIT 1",
};

impl Reader {
    /// The newest entry that tells of an archive.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn last_archived(&self) -> Result<Option<Row>, ReadError> {
        Ok(self.rows(self.ask(LAST_ARCHIVED)).await?.pop())
    }

    /// The last stored checkpoint over no more entries than this: how many it covers, and its note.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn checkpoint_up_to(&self, size: u64) -> Result<Option<(u64, String)>, ReadError> {
        let query = self.ask(CHECKPOINT_UP_TO).bind(self.place(size)?);
        Ok(self.read(query, |row| Ok((row.number(0)?, row.text(1)?))).await?.pop())
    }
}
