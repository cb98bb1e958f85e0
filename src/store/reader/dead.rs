//! What replicas that are no more left without an end, and what replicas did since.
//!
//! Of a record in a file there is nothing of the kind: one process writes it, and knows. Not here: who looks into it
//! (`service`, `resolve`).

use jiff::Timestamp;

use super::{ReadError, Reader};
use crate::store::sql::Sql;
use crate::store::{Row, order};

/// From the newest entry of each log that can tell on; a replica is taken for dead when its time was over for so long.
const LEFT: Sql = Sql {
    sqlite: "",
    postgres: "
    WITH dead AS (
        SELECT log, coalesce((
            SELECT (tunnelwarden.document(mark.entry) ->> 'ended_before')::bigint FROM tunnelwarden.entries AS mark
            WHERE mark.kind IN ('heartbeat', 'started') AND mark.log = logs.log
            ORDER BY mark.seq DESC LIMIT 1), 0) AS first
        FROM tunnelwarden.logs
        WHERE name <> $1 AND lease_until < clock_timestamp() - make_interval(secs => 15)
            AND note IS NOT NULL AND note <> 'under way')
    SELECT intent.seq, intent.entry FROM dead JOIN tunnelwarden.entries AS intent ON intent.log = dead.log
    WHERE intent.kind = 'intent' AND intent.leaf_index >= dead.first AND NOT EXISTS (
        SELECT FROM tunnelwarden.entries AS later WHERE later.intent_id = intent.id)
    UNION ALL
    SELECT intent.seq, intent.entry
    FROM tunnelwarden.entries AS outcome JOIN tunnelwarden.entries AS intent ON intent.id = outcome.intent_id
        JOIN dead ON dead.log = intent.log
    WHERE outcome.ambiguous AND NOT EXISTS (
        SELECT FROM tunnelwarden.entries AS later WHERE later.intent_id = outcome.intent_id AND later.kind = 'resolved')
    ORDER BY 1",
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
    /// The intents that other replicas left without an end, or with one of which nobody knows whether the call came about, and
    /// that have not written for long.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn left_by_the_dead(&self, replica: &str) -> Result<Vec<Row>, ReadError> {
        self.rows(self.ask(LEFT).bind(replica)).await
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
