//! What a start asks: calls that the last run left without an end, and one-shot calls that may be repeated.
//!
//! Of a server this is about one replica's log, but for the calls that may be repeated. Left to itself the database would
//! read every entry for these, to have them in their order; by these indexes it reads few. Not here: what is done about
//! them (`service`, `resolve`).

use jiff::Timestamp;

use super::{ReadError, Reader};
use crate::clock::rfc3339;
use crate::store::Row;
use crate::store::database::{AddressError, Database};
use crate::store::sql::{Sql, Statement};

pub(crate) const MARK: Sql = Sql {
    sqlite: "
    SELECT seq, entry ->> '$.ended_before' FROM entries WHERE seq = (SELECT max(seq) FROM (
        SELECT max(seq) AS seq FROM entries WHERE kind <> 'outcome' AND kind = 'heartbeat'
        UNION ALL SELECT max(seq) FROM entries WHERE kind <> 'outcome' AND kind = 'started'))",
    postgres: "
    SELECT leaf_index, (tunnelwarden.document(entry) ->> 'ended_before')::bigint FROM tunnelwarden.entries
    WHERE kind IN ('heartbeat', 'started')
        AND log = (SELECT log FROM tunnelwarden.logs WHERE name = $1)
    ORDER BY seq DESC LIMIT 1",
};
pub(crate) const WITHOUT_OUTCOME: Sql = Sql {
    sqlite: "
    SELECT seq, entry FROM entries AS intent INDEXED BY entries_kind
    WHERE kind <> 'outcome' AND kind = 'intent' AND seq >= ?1 AND NOT EXISTS (
        SELECT 1 FROM entries AS later INDEXED BY entries_intent_id WHERE later.intent_id = intent.id)
    ORDER BY seq",
    postgres: "
    SELECT leaf_index, entry FROM tunnelwarden.entries AS intent
    WHERE kind = 'intent' AND leaf_index >= $1
        AND log = (SELECT log FROM tunnelwarden.logs WHERE name = $2) AND NOT EXISTS (
        SELECT FROM tunnelwarden.entries AS later WHERE later.intent_id = intent.id)
    ORDER BY leaf_index",
};
pub(crate) const AMBIGUOUS: Sql = Sql {
    sqlite: "
    SELECT intent.seq, intent.entry
    FROM entries AS outcome INDEXED BY entries_ambiguous JOIN entries AS intent ON intent.id = outcome.intent_id
    WHERE outcome.ambiguous AND NOT EXISTS (
        SELECT 1 FROM entries AS later WHERE later.intent_id = outcome.intent_id AND later.kind = 'resolved')
    ORDER BY intent.seq",
    postgres: "
    SELECT intent.leaf_index, intent.entry
    FROM tunnelwarden.entries AS outcome JOIN tunnelwarden.entries AS intent ON intent.id = outcome.intent_id
    WHERE outcome.ambiguous AND intent.log = (SELECT log FROM tunnelwarden.logs WHERE name = $1) AND NOT EXISTS (
        SELECT FROM tunnelwarden.entries AS later WHERE later.intent_id = outcome.intent_id AND later.kind = 'resolved')
    ORDER BY intent.leaf_index",
};
pub(crate) const INTENTS_FROM: Sql = Sql {
    sqlite: "
    SELECT seq, json_remove(entry, '$.request', '$.state_before') FROM entries INDEXED BY entries_kind
    WHERE kind <> 'outcome' AND kind = 'intent' AND seq >= ?1 ORDER BY seq",
    // Those of the other replicas, too: they may have touched the same tunnel since.
    postgres: "
    SELECT seq, (tunnelwarden.document(entry)::jsonb - 'request' - 'state_before')::text FROM tunnelwarden.entries
    WHERE kind <> 'outcome' AND kind = 'intent' AND seq >= (
        SELECT min(seq) FROM tunnelwarden.entries
        WHERE log = (SELECT log FROM tunnelwarden.logs WHERE name = $2) AND leaf_index >= $1)
    ORDER BY seq",
};
pub(crate) const ONE_SHOT_SINCE: Sql = Sql {
    sqlite: "
    SELECT intent.entry, (SELECT entry FROM entries WHERE intent_id = intent.id ORDER BY seq DESC LIMIT 1)
    FROM entries AS intent INDEXED BY entries_one_shot
    WHERE intent.request_key IS NOT NULL AND intent.time >= ?1 ORDER BY intent.seq",
    postgres: "
    SELECT intent.entry,
        (SELECT one.entry FROM tunnelwarden.entries AS one WHERE one.intent_id = intent.id
            ORDER BY (one.kind = 'outcome' AND one.ambiguous IS NOT TRUE) DESC, one.kind = 'resolved' DESC, one.seq DESC
            LIMIT 1)
    FROM tunnelwarden.entries AS intent
    WHERE intent.request_key IS NOT NULL AND intent.time >= $1 ORDER BY intent.seq",
};
pub(crate) const LAST_STARTED: Sql = Sql {
    sqlite: "
    SELECT seq, entry FROM entries INDEXED BY entries_kind
    WHERE kind <> 'outcome' AND kind = 'started' ORDER BY seq DESC LIMIT 1",
    postgres: "
    SELECT seq, entry FROM tunnelwarden.entries
    WHERE kind <> 'outcome' AND kind = 'started' ORDER BY seq DESC LIMIT 1",
};

impl Reader {
    /// The same reader, for what is asked of the log of another replica.
    ///
    /// # Errors
    /// The name is none that a replica can have.
    pub fn of_replica(&self, name: &str) -> Result<Self, AddressError> {
        let mut other = self.clone();
        if let Database::Postgres(server) = &self.database {
            other.database = Database::Postgres(server.clone().for_replica(name)?);
        }
        Ok(other)
    }

    /// A question about the log of this process.
    fn own(&self, statement: Statement) -> Statement {
        match self.database() {
            Database::Sqlite(_) => statement,
            Database::Postgres(server) => statement.bind(server.replica()),
        }
    }

    /// From which place in its log on intents may be without an end: what the newest entry that can tell says, else 0.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn ended_before(&self) -> Result<u64, ReadError> {
        let query = self.own(self.ask(MARK));
        let said =
            self.read(query, |row| Ok((row.number(0)?, row.optional_number(1).unwrap_or(None)))).await?;
        let Some((seq, mark)) = said.into_iter().next() else { return Ok(0) };
        // None can tell of what comes after it.
        Ok(mark.filter(|mark| *mark <= seq).unwrap_or(0))
    }

    /// Intents from this place on that neither an outcome nor a resolution followed, oldest first.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn intents_without_outcome(&self, from: u64) -> Result<Vec<Row>, ReadError> {
        self.rows(self.own(self.ask(WITHOUT_OUTCOME).bind(self.place(from)?))).await
    }

    /// The intents whose outcome says that nobody knows what became of the call, and which were not resolved since.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn intents_ambiguous(&self) -> Result<Vec<Row>, ReadError> {
        self.rows(self.own(self.ask(AMBIGUOUS))).await
    }

    /// The intents from this place on, in their order, without the bodies and states that they hold.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn intents_from(&self, from: u64) -> Result<Vec<Row>, ReadError> {
        self.rows(self.own(self.ask(INTENTS_FROM).bind(self.place(from)?))).await
    }

    /// One-shot intents since a time, oldest first, each with the entry that ended it, if any.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn one_shot_since(&self, since: Timestamp) -> Result<Vec<(String, Option<String>)>, ReadError> {
        let query = self.ask(ONE_SHOT_SINCE).bind(rfc3339(since));
        self.read(query, |row| Ok((row.text(0)?, row.optional_text(1)?))).await
    }

    /// The newest entry that tells of a start, of whichever replica.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn last_started(&self) -> Result<Option<Row>, ReadError> {
        Ok(self.rows(self.ask(LAST_STARTED)).await?.pop())
    }
}
