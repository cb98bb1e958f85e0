//! What an index of the entries holds, told in a few words: to be compared with what it ought to hold.
//!
//! An index is read as it lies, from its first entry to its last, and so fast that the database's own check, which looks
//! each row up in each index, takes about four times as long. It is told by how many it has and by a sum of keyed hashes: who
//! damaged the file did not know the key, which is made anew each time, so another set has another sum (but for one in 2^64).
//! That it is in order, without which what stands in it is not found, is looked at on the way. Not here: what it ought to
//! hold (`inspect::indexes`).

use std::cmp::Ordering;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Row as _};

use super::unsigned;

/// An index of the entries.
#[derive(Debug)]
pub struct Index {
    /// Its name.
    pub name: &'static str,
    /// Its columns.
    columns: &'static [&'static str],
    /// Which entries it has; all where it does not say.
    only: &'static str,
    /// Whether no two entries may have the same key.
    is_unique: bool,
}

const fn index(name: &'static str, columns: &'static [&'static str], only: &'static str) -> Index {
    Index { name, columns, only, is_unique: false }
}

/// All of them, as the schema makes them.
pub const INDEXES: [Index; 12] = [
    Index { is_unique: true, ..index("entries_id", &["id"], "1") },
    index("entries_request_id", &["request_id"], "1"),
    index("entries_time", &["time"], "1"),
    index("entries_subject", &["subject"], "subject IS NOT NULL"),
    index("entries_tunnel", &["tunnel"], "tunnel IS NOT NULL"),
    index("entries_tunnel_name", &["tunnel_name", "tunnel"], "tunnel_name IS NOT NULL"),
    index("entries_refusal", &["subject"], "refusal IS NOT NULL"),
    index("entries_bulk", &["tunnel_count"], "tunnel_count > 1"),
    index("entries_intent_id", &["intent_id"], "intent_id IS NOT NULL"),
    index("entries_kind", &["kind"], "kind <> 'outcome'"),
    index("entries_ambiguous", &["intent_id"], "ambiguous"),
    index("entries_one_shot", &["time"], "request_key IS NOT NULL"),
];

/// One column of a key.
#[derive(Clone, Copy, Debug)]
pub enum Column<'a> {
    /// NULL.
    Null,
    /// A text without U+0000, which ends it here.
    Text(&'a str),
    /// A number from 0 on.
    Number(u64),
}

/// A set of entries of an index: how many, and the sum of their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    count: u64,
    hashes: u64,
}

/// Makes sums that can be compared with each other, and with no others.
#[derive(Clone, Debug, Default)]
pub struct Sums(RandomState);

impl Sums {
    /// Adds an entry with this key; `text` is room to write it.
    pub fn add(&self, sum: &mut Sum, key: &[Column<'_>], seq: u64, text: &mut String) {
        use std::fmt::Write as _;
        text.clear();
        for column in key {
            // As `Index::rows` has them. Writing to a `String` does not fail.
            match column {
                Column::Null => text.push_str("n\0"),
                Column::Text(value) => {
                    text.push('t');
                    text.push_str(value);
                    text.push('\0');
                }
                Column::Number(value) => {
                    let _ = write!(text, "i{value:019}\0");
                }
            }
        }
        self.add_text(sum, text, i64::try_from(seq).unwrap_or(i64::MAX));
    }

    fn add_text(&self, sum: &mut Sum, key: &str, seq: i64) {
        let mut hasher = self.0.build_hasher();
        hasher.write(key.as_bytes());
        hasher.write_i64(seq);
        sum.count += 1;
        sum.hashes = sum.hashes.wrapping_add(hasher.finish());
    }
}

impl Index {
    /// Its columns.
    #[cfg(test)]
    pub(crate) const fn columns(&self) -> &'static [&'static str] {
        self.columns
    }

    /// Which entries it has.
    #[cfg(test)]
    pub(crate) const fn only(&self) -> &'static str {
        self.only
    }

    /// The query for its rows: each a `seq` and a key as text, of which the database is made to compare each with the one
    /// before, so that all are seen without one of them being handed over.
    pub(crate) fn rows(&self) -> String {
        let columns = self.columns.iter().map(|column| {
            let value = match *column {
                "tunnel_count" => "format('%019d', tunnel_count)".to_owned(),
                column => format!("coalesce({column}, '')"),
            };
            format!("substr(typeof({column}), 1, 1) || {value} || char(0)")
        });
        let key = columns.collect::<Vec<_>>().join(" || ");
        format!(
            "SELECT count(*), max((seq || ' ' || {key}) COLLATE seen),
                    (SELECT ncell FROM dbstat WHERE name = '{name}' AND aggregate = TRUE)
             FROM entries INDEXED BY {name} WHERE {only}",
            name = self.name,
            only = self.only
        )
    }

    /// What it holds; none if it is not in order, or has something else than entries that it ought to have.
    pub(in crate::store) async fn sum(
        &self,
        connection: &mut SqliteConnection,
        sums: &Sums,
    ) -> Result<Option<Sum>, sqlx::Error> {
        let seen =
            Arc::new(Mutex::new(Seen { sums: sums.clone(), is_unique: self.is_unique, ..Seen::default() }));
        let lock = |seen: &Mutex<Seen>, rows: &dyn Fn(&mut Seen)| {
            rows(&mut seen.lock().unwrap_or_else(PoisonError::into_inner))
        };
        let each = Arc::clone(&seen);
        connection.lock_handle().await?.create_collation("seen", move |before, row| {
            lock(&each, &|seen| seen.row(before, row));
            // So the row is kept to be the one before.
            Ordering::Less
        })?;
        let row = sqlx::query(AssertSqlSafe(self.rows())).fetch_one(connection).await?;
        let (count, last) = (unsigned(row.try_get(0)?)?, row.try_get::<Option<&str>, _>(1)?);
        let cells = row.try_get::<Option<i64>, _>(2)?.map(unsigned).transpose()?;
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let (1, Some(only)) = (count, last) {
            seen.first(only);
        }
        let all = seen.sum.count == count && cells == Some(count);
        Ok((all && !seen.is_out_of_order).then_some(seen.sum))
    }
}

/// What was seen of an index.
#[derive(Default)]
struct Seen {
    sums: Sums,
    sum: Sum,
    is_unique: bool,
    is_out_of_order: bool,
}

impl Seen {
    fn first(&mut self, row: &str) {
        match parts(row) {
            Some((seq, key)) => self.sums.add_text(&mut self.sum, key, seq),
            None => self.is_out_of_order = true,
        }
    }

    fn row(&mut self, before: &str, row: &str) {
        if self.sum.count == 0 {
            self.first(before);
        }
        let (Some((seq_before, key_before)), Some((seq, key))) = (parts(before), parts(row)) else {
            self.is_out_of_order = true;
            return;
        };
        self.is_out_of_order |= match key_before.cmp(key) {
            Ordering::Less => false,
            Ordering::Equal => self.is_unique || seq_before >= seq,
            Ordering::Greater => true,
        };
        self.sums.add_text(&mut self.sum, key, seq);
    }
}

fn parts(row: &str) -> Option<(i64, &str)> {
    let (seq, key) = row.split_once(' ')?;
    Some((seq.parse().ok()?, key))
}
