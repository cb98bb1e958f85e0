//! The budget of upstream calls as the database keeps it for all replicas (`migrations/postgres/0003_quotas.sql`).
//!
//! Not here: what is done without the database, reading what the upstream says (`limit::budget`).

use std::time::Duration;

use sqlx::Row as _;

use super::quotas::{duration, nanos};
use super::{Away, Shared};

/// What a replica wants of the budget.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Its calls under way, this one among them.
    pub in_flight: u32,
    /// Calls that may start in any window, and its length.
    pub requests: u32,
    /// How many of them are kept.
    pub reserve: u32,
    /// How long a call counts.
    pub window: Duration,
    /// Whether it may touch the reserve.
    pub privileged: bool,
}

/// What the budget said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// The number of the call that was counted, or how long there is no room for it.
    pub ticket: Result<i64, Duration>,
    /// Calls of all replicas in the window.
    pub used: u32,
    /// Replicas that made calls lately.
    pub replicas: u32,
}

/// What the upstream said of one of its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The limit's name, at most 64 bytes.
    pub name: String,
    /// The number of the call whose answer said so.
    pub ticket: i64,
    /// Calls left, as it said.
    pub left: u32,
    /// For how long that stands.
    pub lasts: Duration,
    /// Its size, where the upstream told.
    pub size: Option<u32>,
}

impl Shared {
    /// Counts one upstream call, if there is room.
    ///
    /// # Errors
    /// The database can't be asked.
    pub async fn take_budget(&self, wanted: &Wanted) -> Result<Started, Away> {
        let query = sqlx::query(
            "SELECT ticket, wait, used, replicas FROM tunnelwarden_shared.take_budget($1, $2, $3, $4, $5, $6)",
        );
        let query = query
            .bind(self.replica())
            .bind(i64::from(wanted.in_flight))
            .bind(i64::from(wanted.requests))
            .bind(i64::from(wanted.reserve))
            .bind(nanos(wanted.window))
            .bind(wanted.privileged);
        self.ask(async {
            let row = query.fetch_one(&self.pool).await?;
            let (ticket, wait): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            let number = |at: usize| row.try_get::<i64, _>(at).map(|n| u32::try_from(n).unwrap_or(u32::MAX));
            let ticket = if wait <= 0 { Ok(ticket) } else { Err(duration(wait)) };
            Ok(Started { ticket, used: number(2)?, replicas: number(3)? })
        })
        .await
    }

    /// Tells all replicas what the upstream said to this one, which has so many other calls under way; and for how long it
    /// refuses all calls.
    ///
    /// # Errors
    /// The database can't be asked.
    pub async fn learn_budget(&self, in_flight: u32, news: &[News], blocked: Duration) -> Result<(), Away> {
        let query = sqlx::query("SELECT tunnelwarden_shared.learn_budget($1, $2, $3, $4, $5, $6, $7, $8)")
            .bind(self.replica())
            .bind(i64::from(in_flight))
            .bind(news.iter().map(|one| one.name.as_str()).collect::<Vec<_>>())
            .bind(news.iter().map(|one| one.ticket).collect::<Vec<_>>())
            .bind(news.iter().map(|one| i64::from(one.left)).collect::<Vec<_>>())
            .bind(news.iter().map(|one| nanos(one.lasts)).collect::<Vec<_>>())
            .bind(news.iter().map(|one| one.size.map(i64::from)).collect::<Vec<_>>())
            .bind(nanos(blocked));
        self.ask(async { query.execute(&self.pool).await.map(|_| ()) }).await
    }
}
