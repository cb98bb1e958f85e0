//! A question to the record, in the words of the database that has it.
//!
//! Whoever asks writes the text once for each of the two databases and the rest once for both: what is bound, and how
//! the answer is read. Every value is bound, none is written into a text. Not here: the questions (`store::reader`,
//! `store::filter`, `store::views`), writing, and the checks of `verify`, which each database has its own way of.

use sqlx::postgres::{PgArguments, PgPool, PgRow};
use sqlx::sqlite::{SqliteArguments, SqlitePool, SqliteRow};
use sqlx::{Arguments as _, AssertSqlSafe, Column, Row as _, TypeInfo as _, ValueRef as _};

/// Whose words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

/// The same text in the words of both.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sql {
    pub(super) sqlite: &'static str,
    pub(super) postgres: &'static str,
}

impl Sql {
    pub(super) const fn of(self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Sqlite => self.sqlite,
            Dialect::Postgres => self.postgres,
        }
    }
}

/// A bound value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Arg {
    Int(i64),
    Text(Option<String>),
}

impl From<i64> for Arg {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}

impl From<&str> for Arg {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<String> for Arg {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Option<String>> for Arg {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

/// A text with its bound values, put together piece by piece.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    dialect: Dialect,
    text: String,
    args: Vec<Arg>,
}

impl Statement {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, text: String::new(), args: Vec::new() }
    }

    pub(super) fn of(dialect: Dialect, sql: Sql) -> Self {
        Self { dialect, text: sql.of(dialect).to_owned(), args: Vec::new() }
    }

    /// Adds words that are the same in both.
    pub(super) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    pub(super) fn push_sql(&mut self, sql: Sql) -> &mut Self {
        self.text.push_str(sql.of(self.dialect));
        self
    }

    /// Adds a value and the sign for it.
    pub(super) fn push_bind(&mut self, arg: impl Into<Arg>) -> &mut Self {
        self.args.push(arg.into());
        self.text.push(match self.dialect {
            Dialect::Sqlite => '?',
            Dialect::Postgres => '$',
        });
        self.text.push_str(&self.args.len().to_string());
        self
    }

    /// Binds the next value of a text that has the signs, numbered from 1.
    pub(super) fn bind(mut self, arg: impl Into<Arg>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// What `SQLite` takes, for who reads an answer row by row.
    pub(super) fn for_sqlite(self) -> (String, Result<SqliteArguments, sqlx::Error>) {
        let mut arguments = SqliteArguments::default();
        let mut add = |arg| match arg {
            Arg::Int(n) => arguments.add(n),
            Arg::Text(text) => arguments.add(text),
        };
        let added = self.args.into_iter().try_for_each(&mut add);
        (self.text, added.map(|()| arguments).map_err(sqlx::Error::Encode))
    }

    fn for_postgres(self) -> (String, Result<PgArguments, sqlx::Error>) {
        let mut arguments = PgArguments::default();
        let mut add = |arg| match arg {
            Arg::Int(n) => arguments.add(n),
            Arg::Text(text) => arguments.add(text),
        };
        let added = self.args.into_iter().try_for_each(&mut add);
        (self.text, added.map(|()| arguments).map_err(sqlx::Error::Encode))
    }

    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// A value of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Null,
    Int(i64),
    Bool(bool),
    Text(String),
    Bytes(Vec<u8>),
}

/// A row of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cells(Vec<Cell>);

fn other(column: usize) -> sqlx::Error {
    sqlx::Error::Decode(format!("column {column} holds something else").into())
}

impl Cells {
    pub(super) fn text(&mut self, column: usize) -> Result<String, sqlx::Error> {
        self.optional_text(column)?.ok_or_else(|| other(column))
    }

    /// Takes a text out.
    pub(super) fn optional_text(&mut self, column: usize) -> Result<Option<String>, sqlx::Error> {
        match self.0.get_mut(column).map(|cell| std::mem::replace(cell, Cell::Null)) {
            Some(Cell::Text(text)) => Ok(Some(text)),
            Some(Cell::Null) => Ok(None),
            Some(Cell::Int(_) | Cell::Bool(_) | Cell::Bytes(_)) | None => Err(other(column)),
        }
    }

    pub(super) fn number(&self, column: usize) -> Result<u64, sqlx::Error> {
        self.optional_number(column)?.ok_or_else(|| other(column))
    }

    pub(super) fn optional_number(&self, column: usize) -> Result<Option<u64>, sqlx::Error> {
        match self.0.get(column) {
            Some(Cell::Int(n)) => u64::try_from(*n).map(Some).map_err(|e| sqlx::Error::Decode(e.into())),
            Some(Cell::Null) => Ok(None),
            Some(Cell::Text(_) | Cell::Bool(_) | Cell::Bytes(_)) | None => Err(other(column)),
        }
    }

    pub(super) fn flag(&self, column: usize) -> Result<bool, sqlx::Error> {
        match self.0.get(column) {
            Some(Cell::Int(n)) => Ok(*n != 0),
            Some(Cell::Bool(is)) => Ok(*is),
            Some(Cell::Null | Cell::Text(_) | Cell::Bytes(_)) | None => Err(other(column)),
        }
    }

    pub(super) fn into_cells(self) -> Vec<Cell> {
        self.0
    }
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// The names of its columns, if there is a row.
    pub(super) names: Vec<String>,
    pub(super) rows: Vec<Cells>,
}

/// Connections for reading.
#[derive(Clone, Debug)]
pub(super) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Pool {
    pub(super) const fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Asks.
    pub(super) async fn fetch(&self, statement: Statement) -> Result<Found, sqlx::Error> {
        match self {
            Self::Sqlite(pool) => {
                let (text, arguments) = statement.for_sqlite();
                let rows = sqlx::query_with(AssertSqlSafe(text), arguments?).fetch_all(pool).await?;
                let names = names(rows.first().map(SqliteRow::columns));
                Ok(Found { names, rows: rows.iter().map(of_sqlite).collect::<Result<_, _>>()? })
            }
            Self::Postgres(pool) => {
                let (text, arguments) = statement.for_postgres();
                let rows = sqlx::query_with(AssertSqlSafe(text), arguments?).fetch_all(pool).await?;
                let names = names(rows.first().map(PgRow::columns));
                Ok(Found { names, rows: rows.iter().map(of_postgres).collect::<Result<_, _>>()? })
            }
        }
    }
}

fn names<C: Column>(columns: Option<&[C]>) -> Vec<String> {
    columns.unwrap_or_default().iter().map(|column| column.name().to_owned()).collect()
}

fn of_sqlite(row: &SqliteRow) -> Result<Cells, sqlx::Error> {
    let cell = |at| {
        let raw = row.try_get_raw(at)?;
        if raw.is_null() {
            return Ok(Cell::Null);
        }
        match raw.type_info().name() {
            "INTEGER" => row.try_get(at).map(Cell::Int),
            "TEXT" => row.try_get(at).map(Cell::Text),
            "BLOB" => row.try_get(at).map(Cell::Bytes),
            _ => Err(other(at)),
        }
    };
    (0..row.len()).map(cell).collect::<Result<_, _>>().map(Cells)
}

fn of_postgres(row: &PgRow) -> Result<Cells, sqlx::Error> {
    let cell = |at| {
        let raw = row.try_get_raw(at)?;
        if raw.is_null() {
            return Ok(Cell::Null);
        }
        match raw.type_info().name() {
            "INT8" => row.try_get(at).map(Cell::Int),
            "INT4" => row.try_get::<i32, _>(at).map(|n| Cell::Int(n.into())),
            "INT2" => row.try_get::<i16, _>(at).map(|n| Cell::Int(n.into())),
            "BOOL" => row.try_get(at).map(Cell::Bool),
            "TEXT" | "VARCHAR" => row.try_get(at).map(Cell::Text),
            "BYTEA" => row.try_get(at).map(Cell::Bytes),
            _ => Err(other(at)),
        }
    };
    (0..row.len()).map(cell).collect::<Result<_, _>>().map(Cells)
}
