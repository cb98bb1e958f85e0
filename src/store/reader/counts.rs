//! How many calls ended how.
//!
//! Not here: the SQL for it (`store::filter`).

use super::{ReadError, Reader};
use crate::store::{Activity, By, Count, Filter};

impl Reader {
    /// Counts the calls that fit, the most first; the limit is one of names.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn counts(&self, filter: &Filter, by: By) -> Result<Vec<Count>, ReadError> {
        let Some(bounds) = self.bounds(filter).await? else { return Ok(Vec::new()) };
        let query = filter.counts(self.dialect(), by, bounds);
        self.read(query, |row| {
            let (calls, refused, failed) = (row.number(1)?, row.number(2)?, row.number(3)?);
            Ok(Count { name: row.text(0)?, calls, refused, failed })
        })
        .await
    }

    /// Counts the calls that fit by hour, oldest first.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn activity(&self, filter: &Filter, by: By) -> Result<Vec<Activity>, ReadError> {
        let Some(bounds) = self.bounds(filter).await? else { return Ok(Vec::new()) };
        let query = filter.activity(self.dialect(), by, bounds);
        self.read(query, |row| {
            let (calls, refused) = (row.number(2)?, row.number(3)?);
            Ok(Activity { hour: row.text(0)?, name: row.text(1)?, calls, refused })
        })
        .await
    }
}
