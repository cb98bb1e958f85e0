//! Reading the record: lists, single calls, and the proof that nothing was changed.
//!
//! Uses the store's read side and `seal` only, so nothing here can write. Not here: the commands' flags
//! (`cli::audit`), how entries are stored (`store`).

mod ages;
mod changes;
mod csv;
mod form;
mod history;
mod indexes;
mod kept;
mod local;
mod metadata;
mod notes;
mod ocsf;
mod prove;
mod report;
mod scan;
mod secret;
mod story;
mod table;
mod text;
mod time;
mod verify;

#[cfg(test)]
mod tests;

pub use ages::{KeyAge, KeyAges};
pub use changes::{change_json, change_line};
pub use csv::{csv, csv_heading};
pub use history::{Moment, moment};
pub use local::{local, local_text, localized, seconds};
pub use metadata::metadata;
pub use ocsf::ocsf;
pub use prove::{ProveError, prove};
pub use report::{Bad, Report, VerifyError};
pub use secret::{Handled, Holder, Known, Told, find_secret, place};
pub use story::{LABEL, story, story_lines};
pub use table::{Line, Table};
pub use text::{plain, pretty};
pub use time::parse_time;
pub use verify::{Evidence, Kept, verify};

use std::borrow::Cow;

use crate::json;

/// Levels of nesting in an entry: a body's own, and a few around it.
const ENTRY_DEPTH: usize = 2 * json::MAX_DEPTH;

/// Reads an entry's text.
///
/// # Errors
/// It is not strict JSON.
pub fn read_entry(entry: &[u8]) -> Result<json::Json, json::Error> {
    json::read(entry, ENTRY_DEPTH)
}

/// An entry's text in the form in which entries are written.
///
/// # Errors
/// It is not strict JSON.
pub fn written_entry(entry: &[u8]) -> Result<Cow<'_, str>, json::Error> {
    json::written(entry, ENTRY_DEPTH)
}
