//! The tables as this version makes them, and whether a database has exactly those.
//!
//! A changed trigger lets entries be changed, a changed generated column or view shows what no entry says; so
//! the schema is compared word for word with the one that the embedded migrations make.

use std::collections::BTreeMap;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use crate::store::OpenError;
use crate::store::fault::classify;

/// The migrations in `migrations/`.
static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/sqlite");

/// Makes the tables, or brings those of an older version up to this one.
pub(in crate::store) async fn migrate(
    connection: &mut SqliteConnection,
    path: &str,
) -> Result<(), OpenError> {
    let unusable = |e: &sqlx::Error| OpenError::Unusable { path: path.to_owned(), fault: classify(e) };
    let known = "SELECT count(*), coalesce(sum(name = '_sqlx_migrations'), 0) FROM sqlite_schema";
    let row = sqlx::query(known).fetch_one(&mut *connection).await.map_err(|e| unusable(&e))?;
    let (objects, ours): (i64, i64) = (row.get(0), row.get(1));
    if objects > 0 && ours == 0 {
        return Err(OpenError::NotOurs(path.to_owned()));
    }
    // `run` itself gives a future that can't move between threads.
    match MIGRATIONS.run_direct(None, &mut *connection, false).await {
        Ok(()) => Ok(()),
        Err(MigrateError::Execute(e) | MigrateError::ExecuteMigration(e, _)) => Err(unusable(&e)),
        Err(other) => Err(OpenError::Schema(other.to_string())),
    }
}

/// In what a database's schema differs from this version's, one line each; empty where it does not.
pub(in crate::store) async fn differences(
    connection: &mut SqliteConnection,
) -> Result<Vec<String>, sqlx::Error> {
    let options = SqliteConnectOptions::new().in_memory(true).disable_statement_logging();
    let mut fresh = options.connect().await?;
    MIGRATIONS.run_direct(None, &mut fresh, false).await.map_err(|e| sqlx::Error::Migrate(Box::new(e)))?;
    let mut expected = objects(&mut fresh).await?;
    fresh.close().await?;
    let mut lines = Vec::new();
    for (name, text) in objects(connection).await? {
        match expected.remove(&name) {
            Some(known) if known == text => {}
            Some(_) => lines.push(format!("{name} was changed")),
            None => lines.push(format!("{name} was added")),
        }
    }
    lines.extend(expected.into_keys().map(|name| format!("{name} is missing")));
    Ok(lines)
}

/// Kind and name of each object, and the text that makes it. Statistics of the query planner don't count.
async fn objects(connection: &mut SqliteConnection) -> Result<BTreeMap<String, String>, sqlx::Error> {
    let all = "SELECT CAST(type AS TEXT) || ' ' || CAST(name AS TEXT),
                      CAST(coalesce(tbl_name, '') || ': ' || coalesce(sql, '') AS BLOB)
               FROM sqlite_schema WHERE name NOT GLOB 'sqlite_stat*'";
    let rows = sqlx::query(all).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let text: Vec<u8> = row.try_get(1)?;
            Ok((row.try_get(0)?, String::from_utf8_lossy(&text).into_owned()))
        })
        .collect()
}

/// [`differences`], as an error for the writer.
pub(in crate::store) async fn check(connection: &mut SqliteConnection) -> Result<(), OpenError> {
    let unusable = |e: sqlx::Error| OpenError::Schema(classify(&e).why().to_owned());
    let lines = differences(connection).await.map_err(unusable)?;
    if lines.is_empty() { Ok(()) } else { Err(OpenError::Schema(lines.join(", "))) }
}
