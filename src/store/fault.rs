//! From the database's words for a fault to ours.
//!
//! Not here: what is done about one (`writer`), the words themselves (`error`).

use super::StoreError;

/// What a fault of the database means to us. The codes: <https://sqlite.org/rescode.html>.
pub(super) fn classify(error: &sqlx::Error) -> StoreError {
    use sqlx::Error;
    if matches!(error, Error::ColumnDecode { .. } | Error::Decode(_) | Error::RowNotFound) {
        return StoreError::Corrupt;
    }
    let Error::Database(error) = error else {
        return if matches!(error, Error::PoolTimedOut) { StoreError::Timeout } else { StoreError::Io };
    };
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
