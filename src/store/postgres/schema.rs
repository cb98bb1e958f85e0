//! The tables of PostgreSQL as this version makes them, and who may do what with them.
//!
//! The owner makes them, beforehand: who writes the record may not. Not here: the tables (`migrations/postgres`), what is
//! compared when the record is verified (`store::postgres::snapshot`).

use jiff::ToSpan as _;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use super::connect;
use crate::store::database::Server;
use crate::store::fault::classify;
use crate::store::{OpenError, order};

/// The migrations in `migrations/postgres`.
static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/postgres");

/// Months that are made ahead.
const AHEAD: i32 = 12;

/// Makes the tables, or brings those of an older version up to this one; makes the months from this day's on; and
/// lets these roles write and read. As the owner.
///
/// # Errors
/// The server can't be reached, or does not let the owner do it.
pub async fn migrate(
    server: &Server,
    writers: &[String],
    readers: &[String],
    today: Date,
) -> Result<(), OpenError> {
    let path = crate::store::Database::Postgres(server.clone()).to_string();
    let failed = |e: sqlx::Error| OpenError::Server { path: path.clone(), source: e };
    let mut connection = connect(server).await.map_err(failed)?;
    sqlx::raw_sql("CREATE SCHEMA IF NOT EXISTS tunnelwarden")
        .execute(&mut connection)
        .await
        .map_err(failed)?;
    let mut migrations = Migrator::with_migrations(MIGRATIONS.iter().cloned().collect());
    // A pooler or a distributed server may know no lock of a session.
    migrations.set_locking(false).dangerous_set_table_name("tunnelwarden._sqlx_migrations");
    match migrations.run_direct(None, &mut connection, false).await {
        Ok(()) => {}
        Err(MigrateError::Execute(e) | MigrateError::ExecuteMigration(e, _)) => return Err(failed(e)),
        Err(other) => return Err(OpenError::Schema(other.to_string())),
    }
    make_months(&mut connection, today).await.map_err(failed)?;
    grant(&mut connection, writers, readers).await.map_err(failed)?;
    let _ = connection.close().await;
    Ok(())
}

/// A table for each of the coming months, unless entries of that month are elsewhere already.
async fn make_months(connection: &mut PgConnection, today: Date) -> Result<(), sqlx::Error> {
    for ahead in 0..=AHEAD {
        let Ok(first) = today.first_of_month().checked_add(ahead.months()) else { continue };
        let Ok(next) = first.checked_add(1.month()) else { continue };
        let begin =
            |day: Date| order::first_of(TimeZone::UTC.to_timestamp(day.to_datetime(Time::midnight())).ok()?);
        let (Some(from), Some(to)) = (begin(first), begin(next)) else { continue };
        let name = format!("log_entries_{}", first.strftime("%Y_%m"));
        let found = sqlx::query(
            "SELECT to_regclass($1) IS NOT NULL OR EXISTS (
                SELECT FROM tunnelwarden.log_entries_rest WHERE seq >= $2 AND seq < $3)",
        );
        let found = found.bind(format!("tunnelwarden.{name}")).bind(from).bind(to);
        if found.fetch_one(&mut *connection).await?.try_get(0)? {
            continue;
        }
        let table = format!(
            "CREATE TABLE tunnelwarden.{name} PARTITION OF tunnelwarden.log_entries FOR VALUES FROM ({from}) TO ({to})"
        );
        sqlx::raw_sql(AssertSqlSafe(table)).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Who writes calls the three functions and reads; nobody else does either.
async fn grant(
    connection: &mut PgConnection,
    writers: &[String],
    readers: &[String],
) -> Result<(), sqlx::Error> {
    let mut text =
        "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA tunnelwarden, tunnelwarden_shared FROM PUBLIC;".to_owned();
    for (roles, writes) in [(writers, true), (readers, false)] {
        for role in roles {
            let role = quoted(role);
            text += &format!(
                "GRANT USAGE ON SCHEMA tunnelwarden TO {role};
                 GRANT SELECT ON ALL TABLES IN SCHEMA tunnelwarden TO {role};
                 GRANT EXECUTE ON FUNCTION tunnelwarden.document, tunnelwarden.items, tunnelwarden.words,
                     tunnelwarden.tells TO {role};"
            );
            if writes {
                text += &format!(
                    "GRANT EXECUTE ON FUNCTION tunnelwarden.take, tunnelwarden.keep, tunnelwarden.append TO {role};
                     GRANT USAGE ON SCHEMA tunnelwarden_shared TO {role};
                     GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA tunnelwarden_shared TO {role};
                     GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA tunnelwarden_shared TO {role};"
                );
            }
        }
    }
    sqlx::raw_sql(AssertSqlSafe(text)).execute(connection).await.map(|_| ())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What keeps entries from being written here, in words; nothing where all is as it should be.
pub(super) async fn check(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let mut problems = Vec::new();
    let row = sqlx::query(
        "SELECT current_setting('fsync'), to_regclass('tunnelwarden._sqlx_migrations') IS NOT NULL",
    );
    let row = row.fetch_one(&mut *connection).await?;
    let (fsync, is_made): (String, bool) = (row.try_get(0)?, row.try_get(1)?);
    if fsync != "on" {
        problems.push(
            "the server's setting fsync is off, so it forgets what it said is stored: turn it on".to_owned(),
        );
    }
    let remedy = "run `tunnelwarden migrate` as the database's owner";
    if !is_made {
        problems.push(format!("they are missing: {remedy}"));
        return Ok(problems);
    }
    let query = sqlx::query(
        "SELECT version, checksum FROM tunnelwarden._sqlx_migrations WHERE success ORDER BY version",
    );
    let rows = query.fetch_all(&mut *connection).await?;
    let made: Vec<(i64, Vec<u8>)> =
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, sqlx::Error>>()?;
    let known = MIGRATIONS.iter().map(|one| (one.version, one.checksum.to_vec())).collect::<Vec<_>>();
    if made != known {
        problems.push(remedy.to_owned());
    }
    Ok(problems)
}

/// The same as an error, for who must have the tables.
pub(in crate::store) async fn check_at(server: &Server) -> Result<(), OpenError> {
    let path = crate::store::Database::Postgres(server.clone()).to_string();
    let unusable = |e: sqlx::Error| OpenError::Unusable { path: path.clone(), fault: classify(&e) };
    let mut connection = connect(server).await.map_err(unusable)?;
    let problems = check(&mut connection).await.map_err(unusable)?;
    let _ = connection.close().await;
    if problems.is_empty() { Ok(()) } else { Err(OpenError::Schema(problems.join(", "))) }
}
