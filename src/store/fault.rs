//! From the database's words for a fault to ours.
//!
//! Not here: what is done about one (`writer`), the words themselves (`error`).

use sqlx::postgres::PgDatabaseError;

use super::StoreError;

/// What a fault of the database means to us. SQLite's codes: <https://sqlite.org/rescode.html>.
pub(super) fn classify(error: &sqlx::Error) -> StoreError {
    use sqlx::Error;
    if matches!(error, Error::ColumnDecode { .. } | Error::Decode(_) | Error::RowNotFound) {
        return StoreError::Corrupt;
    }
    // What a connection needs can't be had, such as the password.
    if matches!(error, Error::Configuration(_)) {
        return StoreError::Unopenable;
    }
    let Error::Database(error) = error else {
        // Only a server is spoken to over a network.
        let is_of_network = matches!(error, Error::Io(_) | Error::Tls(_) | Error::Protocol(_));
        return match is_of_network {
            true => StoreError::Away,
            false if matches!(error, Error::PoolTimedOut) => StoreError::Timeout,
            false => StoreError::Io,
        };
    };
    if let Some(error) = error.try_downcast_ref::<PgDatabaseError>() {
        return of_server(error.code());
    }
    let code: i32 = error.code().and_then(|code| code.parse().ok()).unwrap_or(0);
    match (code, code & 0xff) {
        // SQLITE_READONLY_DBMOVED
        (1032, _) => StoreError::Moved,
        // SQLITE_CONSTRAINT_TRIGGER, _PRIMARYKEY, _ROWID: somebody else's rows stand where ours were to go.
        (1811 | 1555 | 2579, _) => StoreError::Foreign,
        // SQLITE_CONSTRAINT_NOTNULL of the head: it is not the one that the batch was made for (`sqlite`).
        (1299, _) if error.message().ends_with("head.edge") => StoreError::Foreign,
        // SQLITE_FULL
        (_, 13) => StoreError::Full,
        // SQLITE_PERM, SQLITE_READONLY
        (_, 3 | 8) => StoreError::ReadOnly,
        // SQLITE_BUSY, SQLITE_LOCKED
        (_, 5 | 6) => StoreError::Locked,
        // SQLITE_CORRUPT, SQLITE_NOTADB
        (_, 11 | 26) => StoreError::Corrupt,
        // SQLITE_CANTOPEN
        (_, 14) => StoreError::Unopenable,
        // SQLITE_TOOBIG, SQLITE_CONSTRAINT and its other kinds, SQLITE_MISMATCH
        (_, 18..=20) => StoreError::Invalid,
        // What a generated column says of a text before any CHECK sees it.
        (_, 1) if error.message() == "malformed JSON" => StoreError::Invalid,
        // SQLITE_ERROR: a table or column is missing, so the tables are not those that we made.
        (_, 1) => StoreError::Foreign,
        _ => StoreError::Io,
    }
}

/// The codes: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn of_server(code: &str) -> StoreError {
    let (class, _) = code.split_at_checked(2).unwrap_or((code, ""));
    match (code, class) {
        // disk_full, and out of memory or connections
        ("53100", _) => StoreError::Full,
        (_, "53") => StoreError::Busy,
        // read_only_sql_transaction, which is what a standby says
        ("25006", _) => StoreError::ReadOnly,
        // insufficient_privilege
        ("42501", _) => StoreError::Unopenable,
        // lock_not_available, query_canceled, deadlock_detected, serialization_failure
        ("55P03" | "57014" | "40P01" | "40001", _) => StoreError::Locked,
        // connection exceptions, admin_shutdown and its like
        (_, "08" | "57" | "58") => StoreError::Away,
        // invalid authorization, no such database
        (_, "28" | "3D") => StoreError::Unopenable,
        // data_corrupted, index_corrupted
        (_, "XX") => StoreError::Corrupt,
        // What stands in an entry's place, or in a tile's, was not written here.
        ("23505", _) => StoreError::Invalid,
        // data exceptions and constraints: of an entry's text
        (_, "22" | "23" | "54") => StoreError::Invalid,
        // undefined table or function and their like
        (_, "42") => StoreError::Foreign,
        _ => StoreError::Io,
    }
}

/// Whether the server said for sure that a statement was undone. Of one that it was told to end, or whose end got lost,
/// nobody knows: it may have been at its very end.
pub(super) fn is_settled(error: &sqlx::Error) -> bool {
    let server = error.as_database_error().and_then(|e| e.try_downcast_ref::<PgDatabaseError>());
    // statement_completion_unknown, transaction_resolution_unknown
    let open =
        |code: &str| matches!(code, "40003" | "08007") || code.starts_with("57") || code.starts_with("58");
    server.is_some_and(|error| !open(error.code()) && !error.code().starts_with("XX"))
}
