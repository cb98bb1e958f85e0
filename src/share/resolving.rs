//! Which replica looks into which lost call: one of those that live, for a while.
//!
//! Not here: which calls are lost and what became of them (`resolve`). That each is resolved once the record itself holds.

use std::time::Duration;

use sqlx::Row as _;
use uuid::Uuid;

use super::Shared;

impl Shared {
    /// Takes a lost call to look into, for so long; false where another replica does. What was over long ago is forgotten on
    /// the way.
    ///
    /// # Errors
    /// The database can't be asked.
    pub async fn takes_up(&self, intent: Uuid, time: Duration) -> Result<bool, sqlx::Error> {
        let query = "WITH old AS (
                         DELETE FROM tunnelwarden_shared.resolving WHERE until < clock_timestamp() - interval '1 day')
                     INSERT INTO tunnelwarden_shared.resolving AS one (intent_id, replica, until)
                     VALUES ($1::uuid, $2, clock_timestamp() + make_interval(secs => $3))
                     ON CONFLICT (intent_id) DO UPDATE SET replica = excluded.replica, until = excluded.until
                     WHERE one.until < clock_timestamp() OR one.replica = excluded.replica
                     RETURNING true";
        let query = sqlx::query(query).bind(intent.to_string()).bind(self.replica()).bind(time.as_secs_f64());
        let row = query.fetch_optional(self.pool()).await?;
        row.map_or(Ok(false), |row| row.try_get(0))
    }
}
