//! What can't be recorded is refused, whatever else would have come of it.
//!
//! Not here: full and read-only disks, and that service resumes.

use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::harness::{Answer, PATIENCE, Wishes, World, tunnel_body};

use super::ask::{ask, ask_with, line};
use super::row::{Group, Row};

pub(super) const GROUP: Group = Group {
    apart: false,
    wishes: || Wishes { config: vec![("audit.append_timeout", "\"400ms\"".to_owned())], ..Wishes::default() },
    rows: &[
        Row::new("audit_unavailable", 503, 99500, |w| {
            Box::pin(locked(w, async move {
                ask(w, "operator", &line("POST", ""), Some(&tunnel_body("a", 1))).await
            }))
        })
        .come_back()
        .unrecorded(),
        // A refusal that has no record is none: the client hears of the store, not of its token.
        Row::new("audit_unavailable", 503, 99500, |w| {
            Box::pin(locked(w, async move { ask_with(w, &line("GET", ""), &[], None).await }))
        })
        .come_back()
        .unrecorded(),
    ],
};

/// Makes a call while somebody else holds the database's write lock, and waits until the store is well again.
async fn locked(world: &World, call: impl Future<Output = Answer>) -> Answer {
    let options = SqliteConnectOptions::new().filename(world.database()).busy_timeout(PATIENCE);
    let mut other = options.connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let answer = call.await;
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    let until = tokio::time::Instant::now() + PATIENCE;
    while world.admin("/readyz").await.status != 200 {
        assert!(tokio::time::Instant::now() < until, "the store does not recover");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    answer
}
