//! The quotas of callers as the database keeps them for all replicas (`migrations/postgres/0003_quotas.sql`).
//!
//! Not here: whose quotas, what is taken ahead, and what is done without the database (`limit`).

use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::{Away, Shared};

/// Bytes of a quota's name.
pub const KEY_BYTES: usize = 16;

/// Quotas that one statement deletes at most, and statements of one cleaning.
const FORGET: i64 = 10_000;
const FORGET_TIMES: usize = 10;

/// What is asked of one quota.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Its name.
    pub key: [u8; KEY_BYTES],
    /// How long until it has room for one more call.
    pub interval: Duration,
    /// Calls that it has room for where nothing was taken.
    pub burst: u32,
    /// Calls to take, where more than half would be left; else one.
    pub want: u32,
}

/// What a quota said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Calls that were taken, if all quotas had room for one; 0 where this one has none.
    pub calls: u32,
    /// How long until it is full.
    pub full_in: Duration,
}

impl Shared {
    /// Takes calls from all of these quotas, or from none: at least one of each. The names differ.
    ///
    /// # Errors
    /// The database can't be asked.
    pub async fn take_quotas(&self, asks: &[Ask]) -> Result<Vec<Granted>, Away> {
        let each = |number: fn(&Ask) -> i64| asks.iter().map(number).collect::<Vec<i64>>();
        let query =
            sqlx::query("SELECT granted, arrival - now FROM tunnelwarden_shared.take_quotas($1, $2, $3, $4)")
                .bind(asks.iter().map(|ask| ask.key.to_vec()).collect::<Vec<_>>())
                .bind(each(|ask| nanos(ask.interval).max(1)))
                .bind(each(|ask| ask.burst.into()))
                .bind(each(|ask| ask.want.into()));
        let granted = |row: &PgRow| {
            let (calls, full_in): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            Ok(Granted { calls: u32::try_from(calls).unwrap_or(0), full_in: duration(full_in) })
        };
        self.ask(async {
            let rows = query.fetch_all(&self.pool).await?;
            if rows.len() != asks.len() {
                return Err(sqlx::Error::RowNotFound);
            }
            rows.iter().map(granted).collect()
        })
        .await
    }

    /// Deletes quotas that are full again, a bounded number of them.
    pub async fn forget_quotas(&self) {
        for _ in 0..FORGET_TIMES {
            let query = sqlx::query("SELECT tunnelwarden_shared.forget_quotas($1)").bind(FORGET);
            let gone = self.ask(async { query.fetch_one(&self.pool).await?.try_get::<i64, _>(0) });
            // Where it can't be asked there is the next time.
            if gone.await.unwrap_or(0) < FORGET {
                return;
            }
        }
    }
}

/// As the database counts time.
pub(super) fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

pub(super) fn duration(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

#[cfg(test)]
mod tests;
