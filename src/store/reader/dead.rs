//! What replicas that are no more left without an end, and what replicas did since.
//!
//! Of a record in a file there is nothing of the kind: one process writes it, and knows. Not here: what one log has without
//! an end (`reader::lost`), who looks into it (`service`, `resolve`).

use jiff::Timestamp;

use super::{ReadError, Reader};
use crate::store::sql::Sql;
use crate::store::{Row, order};

/// A replica is taken for dead when its time was over for so long. A log that is moved here is nobody's until it is whole.
const DEAD: Sql = Sql {
    sqlite: "",
    postgres: "
    SELECT name, size FROM tunnelwarden.logs
    WHERE name <> $1 AND lease_until < clock_timestamp() - make_interval(secs => 15)
        AND note IS NOT NULL AND note <> 'under way'
    ORDER BY name",
};
const INTENTS_SINCE: Sql = Sql {
    sqlite: "",
    postgres: "
    SELECT seq, (tunnelwarden.document(entry)::jsonb - 'request' - 'state_before')::text FROM tunnelwarden.entries
    WHERE kind <> 'outcome' AND kind = 'intent' AND seq >= $1 ORDER BY seq",
};
const IS_ENDED: Sql = Sql {
    sqlite: "",
    postgres: "
    SELECT EXISTS (SELECT FROM tunnelwarden.entries WHERE intent_id = $1 AND (kind = 'resolved' OR ambiguous IS NOT TRUE))",
};

impl Reader {
    /// The replicas but this one that have not written for long, each with how many entries its log has.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn dead(&self, replica: &str) -> Result<Vec<(String, u64)>, ReadError> {
        self.read(self.ask(DEAD).bind(replica), |row| Ok((row.text(0)?, row.number(1)?))).await
    }

    /// The intents of all replicas since this time, without bodies and states.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn intents_since(&self, time: Timestamp) -> Result<Vec<Row>, ReadError> {
        self.rows(self.ask(INTENTS_SINCE).bind(order::first_of(time).unwrap_or(0))).await
    }

    /// Whether it is known what became of the call with this intent.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn is_ended(&self, intent: &str) -> Result<bool, ReadError> {
        let found = self.read(self.ask(IS_ENDED).bind(intent), |row| row.flag(0)).await?;
        Ok(found.first().is_some_and(|ended| *ended))
    }
}
