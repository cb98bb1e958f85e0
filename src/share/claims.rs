//! Who has claimed a one-shot call last, of all replicas.
//!
//! What became of a claimant the record tells, and its entries are read from there. Not here: what is decided with it (`audit::claim`), the rows
//! (`migrations/postgres`).

use std::time::Duration;

use sqlx::Row as _;
use uuid::Uuid;

use super::{Away, Shared};

/// The newest claimant of each one-shot call.
#[derive(Clone, Debug)]
pub struct Claims {
    shared: Shared,
    /// In what time after its claim the intent of a call stands in the record, or never.
    intent_within: Duration,
}

/// Who has claimed a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// Its request id.
    pub request_id: Uuid,
    /// The one before it that happened.
    pub before: Option<Uuid>,
    /// If the record has no intent of it, it never will.
    pub is_overdue: bool,
}

const NEWEST: &str = "SELECT request_id::text, before::text, intent_by < clock_timestamp()
    FROM tunnelwarden_shared.claims WHERE request_key = $1";

const REPLACE: &str =
    "INSERT INTO tunnelwarden_shared.claims AS c (request_key, request_id, before, at, intent_by)
    VALUES ($1, $2::uuid, $3::uuid, clock_timestamp(), clock_timestamp() + make_interval(secs => $5))
    ON CONFLICT (request_key) DO UPDATE SET request_id = excluded.request_id, before = excluded.before,
        at = excluded.at, intent_by = excluded.intent_by
    WHERE c.request_id = $4::uuid";

/// A call has three at most: its intent, its outcome, and what was found out.
const ENTRIES: &str = "SELECT entry FROM tunnelwarden.entries WHERE request_id = $1 ORDER BY seq LIMIT 100";

impl Claims {
    /// Of whoever records an intent within this time of the claim, or never.
    #[must_use]
    pub fn new(shared: &Shared, intent_within: Duration) -> Self {
        Self { shared: shared.clone(), intent_within }
    }

    /// The newest claimant.
    ///
    /// # Errors
    /// [`Away`]
    pub async fn newest(&self, key: &str) -> Result<Option<Claimant>, Away> {
        let query = sqlx::query(NEWEST).bind(key).fetch_optional(self.shared.pool());
        let found = async {
            let Some(row) = query.await? else { return Ok(None) };
            let id = |text: &str| Uuid::parse_str(text).map_err(|e| sqlx::Error::Decode(e.into()));
            let before: Option<&str> = row.try_get(1)?;
            Ok(Some(Claimant {
                request_id: id(row.try_get(0)?)?,
                before: before.map(id).transpose()?,
                is_overdue: row.try_get(2)?,
            }))
        };
        self.shared.hear("looking for a claim", found).await
    }

    /// The record's entries of a claimant, oldest first as far as the replicas' clocks agree.
    ///
    /// # Errors
    /// [`Away`]
    pub async fn entries(&self, request_id: Uuid) -> Result<Vec<String>, Away> {
        // By another connection than those that analysts' questions may use up.
        let query = sqlx::query_scalar(ENTRIES).bind(request_id.to_string());
        self.shared.hear("reading a claimant's entries", query.fetch_all(self.shared.pool())).await
    }

    /// Makes `by` the newest claimant, if the newest one is `seen` (or there is none, or `seen` is long over). False where
    /// another was faster.
    ///
    /// # Errors
    /// [`Away`]: it may be the claimant or not.
    pub async fn replace(
        &self,
        key: &str,
        seen: Option<Uuid>,
        by: Uuid,
        before: Option<Uuid>,
    ) -> Result<bool, Away> {
        let query = sqlx::query(REPLACE)
            .bind(key)
            .bind(by.to_string())
            .bind(before.map(|id| id.to_string()))
            .bind(seen.map(|id| id.to_string()))
            .bind(self.intent_within.as_secs_f64());
        let done = self.shared.hear("claiming a call", query.execute(self.shared.pool())).await?;
        Ok(done.rows_affected() == 1)
    }
}
