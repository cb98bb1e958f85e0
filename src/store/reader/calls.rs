//! What the record has for comparing it with what the upstream says: writes with how they ended, and what was found before.
//!
//! Not here: the comparison (`reconcile`).

use sqlx::Row as _;

use super::{ReadError, Reader};
use crate::store::Row;
use crate::store::sqlite::narrow;

/// Of an intent all but its bodies, of each end the few members that tell what became of the call.
pub(crate) const CALLS_FROM: &str = "
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
    WHERE intent.kind <> 'outcome' AND intent.kind = 'intent' AND intent.seq >= ?
    ORDER BY intent.seq";
pub(crate) const ACCOUNTS_FROM: &str = "
    SELECT DISTINCT intent.entry ->> '$.account'
    FROM entries AS intent INDEXED BY entries_kind
    JOIN entries AS later INDEXED BY entries_intent_id ON later.intent_id = intent.id
    WHERE intent.kind <> 'outcome' AND intent.kind = 'intent' AND intent.seq >= ?
        AND (later.entry ->> '$.upstream.status' < 300 OR later.entry ->> '$.resolution' = 'applied')";
pub(crate) const RECONCILED_FROM: &str = "
    SELECT seq, entry FROM entries INDEXED BY entries_kind
    WHERE kind <> 'outcome' AND kind = 'reconciled' AND seq >= ? ORDER BY seq";
pub(crate) const LAST_RECONCILED: &str = "
    SELECT seq, entry FROM entries INDEXED BY entries_kind
    WHERE kind <> 'outcome' AND kind = 'reconciled' AND entry -> '$.accounts' IS NOT NULL ORDER BY seq DESC LIMIT 1";

impl Reader {
    /// The intents from this `seq` on, without bodies and states, each with what tells how it ended; one that has two ends
    /// comes twice.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn calls_from(&self, seq: u64) -> Result<Vec<(String, Option<String>)>, ReadError> {
        let query = sqlx::query(CALLS_FROM).bind(narrow(seq).map_err(|e| self.failed(e))?);
        let rows = query.fetch_all(&self.pool).await.map_err(|e| self.failed(e))?;
        let pair = |row: &sqlx::sqlite::SqliteRow| Ok((row.try_get(0)?, row.try_get(1)?));
        rows.iter().map(|row| pair(row).map_err(|e| self.failed(e))).collect()
    }

    /// The accounts in which a write that is not older than this `seq` came about.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn accounts_from(&self, seq: u64) -> Result<Vec<String>, ReadError> {
        let query = sqlx::query(ACCOUNTS_FROM).bind(narrow(seq).map_err(|e| self.failed(e))?);
        let rows = query.fetch_all(&self.pool).await.map_err(|e| self.failed(e))?;
        rows.iter().map(|row| row.try_get(0).map_err(|e| self.failed(e))).collect()
    }

    /// The entries from this `seq` on that tell of a comparison, oldest first.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn reconciled_from(&self, seq: u64) -> Result<Vec<Row>, ReadError> {
        self.rows(sqlx::query(RECONCILED_FROM).bind(narrow(seq).map_err(|e| self.failed(e))?)).await
    }

    /// The newest entry that says what was compared.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn last_reconciled(&self) -> Result<Option<Row>, ReadError> {
        Ok(self.rows(sqlx::query(LAST_RECONCILED)).await?.pop())
    }
}
