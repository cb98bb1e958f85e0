//! Takes away rows that nobody needs any more.
//!
//! Each replica does it again and again, a thousand rows of each kind at most; what one is at another leaves alone. Not here:
//! what the rows are for (`share::claims`, `share::turns`).

use std::time::Duration;

use super::Shared;

const EVERY: Duration = Duration::from_mins(10);

/// Turns that were not given back, or for which nobody came who was next.
const TURNS: &str = "DELETE FROM tunnelwarden_shared.turns WHERE place IN (
    SELECT place FROM tunnelwarden_shared.turns
    WHERE until < clock_timestamp() - interval '1 h' AND coalesce(next_until < clock_timestamp(), true)
    ORDER BY place LIMIT 1000 FOR UPDATE SKIP LOCKED)";

/// Rows older than the longest window that can be configured (24 h), whose claimants have come to an end that is as old,
/// or have no intent. One whose end nobody knows stays: it keeps its call from being repeated.
const CLAIMS: &str = "DELETE FROM tunnelwarden_shared.claims WHERE request_key IN (
    SELECT c.request_key FROM tunnelwarden_shared.claims AS c
    WHERE c.at < clock_timestamp() - interval '25 h' AND NOT EXISTS (
        SELECT FROM tunnelwarden.entries AS intent
        WHERE intent.request_id = c.request_id::text AND intent.kind = 'intent' AND NOT EXISTS (
            SELECT FROM tunnelwarden.entries AS ending
            WHERE ending.intent_id = intent.id AND ending.ambiguous IS NOT TRUE
                AND ending.time < to_char(clock_timestamp() AT TIME ZONE 'UTC' - interval '25 h', 'YYYY-MM-DD\"T\"HH24:MI:SS')))
    ORDER BY c.at LIMIT 1000 FOR UPDATE SKIP LOCKED)";

/// Tokens that have ended.
const TOKENS: &str = "DELETE FROM tunnelwarden_shared.used_tokens WHERE token IN (
    SELECT token FROM tunnelwarden_shared.used_tokens WHERE until < clock_timestamp()
    ORDER BY until LIMIT 1000 FOR UPDATE SKIP LOCKED)";

impl Shared {
    /// Does so for as long as the process lives.
    pub async fn sweep(self) {
        loop {
            tokio::time::sleep(EVERY).await;
            self.sweep_once().await;
        }
    }

    async fn sweep_once(&self) {
        for (doing, sweep) in
            [("sweeping turns", TURNS), ("sweeping claims", CLAIMS), ("sweeping used tokens", TOKENS)]
        {
            let _ = self.hear(doing, sqlx::query(sweep).execute(self.pool())).await;
        }
    }
}
