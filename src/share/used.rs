//! Tokens that are good for one secret: which are used up, of all replicas.
//!
//! Not here: what is decided with it (`audit::used`), the rows (`migrations/postgres`).

use jiff::Timestamp;
use uuid::Uuid;

use super::{Away, Shared};

/// Answers who has it, the one before where there is one.
const USE: &str = "INSERT INTO tunnelwarden_shared.used_tokens AS t (token, request_id, until)
    VALUES ($1, $2::uuid, $3::timestamptz)
    ON CONFLICT (token) DO UPDATE SET until = greatest(t.until, excluded.until)
    RETURNING request_id::text";

const GIVE_BACK: &str =
    "DELETE FROM tunnelwarden_shared.used_tokens WHERE token = $1 AND request_id = $2::uuid";

impl Shared {
    /// Uses up the token of this name, which is remembered until then; the call that has used it up, this one or another.
    ///
    /// # Errors
    /// [`Away`]: it may be used up or not.
    pub async fn use_token(&self, name: &str, by: Uuid, until: Timestamp) -> Result<Uuid, Away> {
        let query =
            sqlx::query_scalar::<_, String>(USE).bind(name).bind(by.to_string()).bind(until.to_string());
        let first = async {
            let id = query.fetch_one(self.pool()).await?;
            Uuid::parse_str(&id).map_err(|error| sqlx::Error::Decode(error.into()))
        };
        self.hear("using up a token", first).await
    }

    /// Makes it good again, if it was this call that used it up.
    ///
    /// # Errors
    /// [`Away`]
    pub async fn give_token_back(&self, name: &str, by: Uuid) -> Result<(), Away> {
        let query = sqlx::query(GIVE_BACK).bind(name).bind(by.to_string());
        self.hear("giving a token back", query.execute(self.pool())).await.map(|_| ())
    }
}
