//! The file as written: a tree of values that know their line, or the variable that set them.
//!
//! The `toml` crate does the grammar. Not here: what any key means (`read`), variables (`overrides`).

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::problem::Problem;

/// Who said it.
// No `Debug` on these three: a secret in the wrong place is in them.
#[derive(Clone)]
pub(super) enum Origin {
    /// The file, at this line.
    Line(usize),
    /// A variable.
    Variable {
        /// Its name as it was set.
        name: String,
        /// Its value as it was set: what a text is, even if it looks like a number.
        raw: String,
    },
}

/// A value and who said it.
#[derive(Clone)]
pub(super) struct Node {
    /// What was said.
    pub(super) value: Value,
    /// Who said it.
    pub(super) origin: Origin,
}

/// A value as TOML knows it.
#[derive(Clone)]
pub(super) enum Value {
    /// Text.
    String(String),
    /// A whole number; none where it is beyond 64 bits.
    Integer(Option<i64>),
    /// A truth value.
    Bool(bool),
    /// A fraction or a date, which no key takes.
    Other(&'static str),
    /// A list.
    Array(Vec<Node>),
    /// A table.
    Table(Table),
}

/// A table's entries, in the order of the file.
pub(super) type Table = Vec<(String, Node)>;

impl Value {
    /// The number, if this is a whole one that fits.
    pub(super) const fn as_integer(&self) -> Option<i64> {
        if let Self::Integer(number) = self { *number } else { None }
    }

    /// The truth value, if this is one.
    pub(super) const fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(truth) = self { Some(*truth) } else { None }
    }

    /// The kind, in TOML's words.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Bool(_) => "a boolean",
            Self::Other(kind) => kind,
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
        }
    }
}

/// Reads the text of a file.
///
/// # Errors
/// Every place where it is not TOML.
pub(super) fn file(text: &str) -> Result<Table, Vec<Problem>> {
    let lines = Lines::of(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(entries(table.into_inner(), &|span| Origin::Line(lines.at(span.start))));
    }
    let problem = |error: toml::de::Error| {
        // The message alone: the error's own display would print the line, which may hold a secret.
        let what = format!("the file is not TOML here: {}", error.message());
        Problem::new("", error.span().map(|span| lines.at(span.start)), what)
    };
    Err(errors.into_iter().map(problem).collect())
}

/// Reads a variable's value: as TOML where it is TOML, else as text.
pub(super) fn variable(name: &str, raw: &str) -> Node {
    let origin = || Origin::Variable { name: name.to_owned(), raw: raw.to_owned() };
    match DeValue::parse(raw) {
        Ok(parsed) => Node { value: value(parsed.into_inner(), &|_| origin()), origin: origin() },
        Err(_) => Node { value: Value::String(raw.to_owned()), origin: origin() },
    }
}

fn entries(table: DeTable<'_>, origin: &dyn Fn(Range<usize>) -> Origin) -> Table {
    let entry = |(key, inner): (toml::Spanned<std::borrow::Cow<'_, str>>, toml::Spanned<DeValue<'_>>)| {
        // A table's own span may cover nothing but its header; the key's place is what a reader looks for.
        let at = origin(key.span());
        (key.into_inner().into_owned(), Node { value: value(inner.into_inner(), origin), origin: at })
    };
    table.into_iter().map(entry).collect()
}

fn value(value: DeValue<'_>, origin: &dyn Fn(Range<usize>) -> Origin) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Integer(digits) => Value::Integer(i64::from_str_radix(digits.as_str(), digits.radix()).ok()),
        DeValue::Boolean(truth) => Value::Bool(truth),
        DeValue::Float(_) => Value::Other("a fraction"),
        DeValue::Datetime(_) => Value::Other("a date or time"),
        DeValue::Array(items) => Value::Array(items.into_iter().map(|item| node(item, origin)).collect()),
        DeValue::Table(table) => Value::Table(entries(table, origin)),
    }
}

fn node(item: toml::Spanned<DeValue<'_>>, origin: &dyn Fn(Range<usize>) -> Origin) -> Node {
    let at = origin(item.span());
    Node { value: value(item.into_inner(), origin), origin: at }
}

/// Where the lines of a text start, so that each of many places is found by halving.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect())
    }

    fn at(&self, offset: usize) -> usize {
        self.0.partition_point(|newline| *newline < offset) + 1
    }
}
