//! Revocations that are in force at all replicas: their lines, in the order of their changes.
//!
//! Not here: what a line says, and who is refused for it (`identify::revoked`), the rows (`migrations/postgres`).

use sqlx::Row as _;

use super::{Away, Shared};

/// A line that was revoked or taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The place of this change among all.
    pub id: i64,
    /// As in a revocation file.
    pub line: String,
    /// Not where it was taken back.
    pub in_force: bool,
}

/// Lines that are read at once.
pub const PAGE: usize = 10_000;

impl Shared {
    /// The changes after this place, oldest first, [`PAGE`] at most.
    ///
    /// # Errors
    /// [`Away`]
    pub async fn revocations(&self, after: i64) -> Result<Vec<Revocation>, Away> {
        let query = sqlx::query(
            "SELECT id, line, in_force FROM tunnelwarden_shared.revocations WHERE id > $1 ORDER BY id LIMIT 10000",
        );
        let found = async {
            let rows = query.bind(after).fetch_all(self.pool()).await?;
            let read = |row: &sqlx::postgres::PgRow| {
                Ok(Revocation { id: row.try_get(0)?, line: row.try_get(1)?, in_force: row.try_get(2)? })
            };
            rows.iter().map(read).collect()
        };
        self.hear("reading revocations", found).await
    }

    /// Revokes a line, or takes it back.
    ///
    /// # Errors
    /// The database does not answer, or does not take the line.
    pub async fn revoke(&self, line: &str, in_force: bool) -> Result<(), sqlx::Error> {
        let query = sqlx::query("SELECT tunnelwarden_shared.revoke($1, $2)").bind(line).bind(in_force);
        query.execute(self.pool()).await.map(|_| ())
    }
}
