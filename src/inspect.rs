//! Reading the record: lists, single calls, and the proof that nothing was changed.
//!
//! Uses the store's read side and `seal` only, so nothing here can write. Not here: the commands' flags
//! (`cli::audit`), how entries are stored (`store`).

mod ages;
mod archives;
mod changes;
mod csv;
mod form;
mod history;
mod indexes;
mod kept;
mod keys;
mod local;
mod logs;
mod metadata;
mod notes;
mod ocsf;
mod problems;
mod prove;
mod readable;
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

pub use crate::entry::{read as read_entry, written as written_entry};
pub use ages::{KeyAge, KeyAges};
pub use changes::{change_json, change_line, pointer};
pub use csv::{csv, csv_heading};
pub use history::{Moment, moment};
pub use kept::{is_begin_of, subtree_roots};
pub use local::{local, local_text, localized, seconds};
pub use logs::{verify, verify_one};
pub use metadata::metadata;
pub use ocsf::ocsf;
pub use prove::{ProveError, prove};
pub use readable::{Readable, Readables, Search};
pub use report::{Archived, Bad, Report, VerifyError};
pub use secret::{Handled, Holder, Known, Told, find_secret, place};
pub use story::{LABEL, story, story_lines};
pub use table::{Line, Table, in_parentheses};
pub use text::{plain, pretty};
pub use time::parse_time;
pub use verify::{Evidence, Kept};
