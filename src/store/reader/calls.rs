//! What the record has for comparing it with what the upstream says: writes with how they ended, and what was found before.
//!
//! Not here: the comparison (`reconcile`).

use super::{ReadError, Reader};
use crate::store::Row;
use crate::store::sql::Sql;

/// Of an intent all but its bodies, of each end the few members that tell what became of the call.
pub(crate) const CALLS_FROM: Sql = Sql {
    sqlite: "
    SELECT json_remove(intent.entry, '$.request', '$.state_before'),
        CASE WHEN later.seq IS NOT NULL THEN json_object(
            'sent', later.entry ->> '$.sent',
            'resolution', later.entry ->> '$.resolution',
            'status', later.entry ->> '$.upstream.status',
            'cf_ray', later.entry ->> '$.upstream.cf_ray',
            'tunnels', json(later.entry -> '$.tunnels'),
            'key_made', later.entry ->> '$.response.body.result.psk_metadata.last_generated_on') END
    FROM entries AS intent INDEXED BY entries_kind
    LEFT JOIN entries AS later INDEXED BY entries_intent_id ON later.intent_id = intent.id
    WHERE intent.kind <> 'outcome' AND intent.kind = 'intent' AND intent.seq >= ?1
    ORDER BY intent.seq",
    postgres: "
    SELECT (tunnelwarden.document(intent.entry)::jsonb - 'request' - 'state_before')::text,
        CASE WHEN later.seq IS NOT NULL THEN json_build_object(
            'sent', later.e ->> 'sent',
            'resolution', later.e ->> 'resolution',
            'status', (later.e #>> '{upstream,status}')::bigint,
            'cf_ray', later.e #>> '{upstream,cf_ray}',
            'tunnels', later.e -> 'tunnels',
            'key_made', later.e #>> '{response,body,result,psk_metadata,last_generated_on}')::text END
    FROM tunnelwarden.entries AS intent
    LEFT JOIN (SELECT seq, intent_id, tunnelwarden.document(entry) AS e FROM tunnelwarden.entries) AS later
        ON later.intent_id = intent.id
    WHERE intent.kind <> 'outcome' AND intent.kind = 'intent' AND intent.seq >= $1
    ORDER BY intent.seq",
};
pub(crate) const ACCOUNTS_FROM: Sql = Sql {
    sqlite: "
    SELECT DISTINCT intent.entry ->> '$.account'
    FROM entries AS intent INDEXED BY entries_kind
    JOIN entries AS later INDEXED BY entries_intent_id ON later.intent_id = intent.id
    WHERE intent.kind <> 'outcome' AND intent.kind = 'intent' AND intent.seq >= ?1
        AND (later.entry ->> '$.upstream.status' < 300 OR later.entry ->> '$.resolution' = 'applied')",
    postgres: "
    SELECT DISTINCT tunnelwarden.document(intent.entry) ->> 'account'
    FROM tunnelwarden.entries AS intent
    JOIN (SELECT intent_id, tunnelwarden.document(entry) AS e FROM tunnelwarden.entries) AS later
        ON later.intent_id = intent.id
    WHERE intent.kind <> 'outcome' AND intent.kind = 'intent' AND intent.seq >= $1
        AND ((later.e #>> '{upstream,status}')::bigint < 300 OR later.e ->> 'resolution' = 'applied')",
};
pub(crate) const RECONCILED_FROM: Sql = Sql {
    sqlite: "
    SELECT seq, entry FROM entries INDEXED BY entries_kind
    WHERE kind <> 'outcome' AND kind = 'reconciled' AND seq >= ?1 ORDER BY seq",
    postgres: "
    SELECT seq, entry FROM tunnelwarden.entries
    WHERE kind <> 'outcome' AND kind = 'reconciled' AND seq >= $1 ORDER BY seq",
};
pub(crate) const LAST_RECONCILED: Sql = Sql {
    sqlite: "
    SELECT seq, entry FROM entries INDEXED BY entries_kind
    WHERE kind <> 'outcome' AND kind = 'reconciled' AND entry -> '$.accounts' IS NOT NULL ORDER BY seq DESC LIMIT 1",
    postgres: "
    SELECT seq, entry FROM tunnelwarden.entries
    WHERE kind <> 'outcome' AND kind = 'reconciled' AND tunnelwarden.document(entry) -> 'accounts' IS NOT NULL
    ORDER BY seq DESC LIMIT 1",
};

impl Reader {
    /// The intents from this `seq` on, without bodies and states, each with what tells how it ended; one that has two ends
    /// comes twice.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn calls_from(&self, seq: u64) -> Result<Vec<(String, Option<String>)>, ReadError> {
        let query = self.ask(CALLS_FROM).bind(self.place(seq)?);
        self.read(query, |row| Ok((row.text(0)?, row.optional_text(1)?))).await
    }

    /// The accounts in which a write that is not older than this `seq` came about.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn accounts_from(&self, seq: u64) -> Result<Vec<String>, ReadError> {
        self.read(self.ask(ACCOUNTS_FROM).bind(self.place(seq)?), |row| row.text(0)).await
    }

    /// The entries from this `seq` on that tell of a comparison, oldest first.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn reconciled_from(&self, seq: u64) -> Result<Vec<Row>, ReadError> {
        self.rows(self.ask(RECONCILED_FROM).bind(self.place(seq)?)).await
    }

    /// The newest entry that says what was compared.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn last_reconciled(&self) -> Result<Option<Row>, ReadError> {
        Ok(self.rows(self.ask(LAST_RECONCILED)).await?.pop())
    }
}
