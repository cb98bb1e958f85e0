//! What a verification found.
//!
//! Not here: the verification (`inspect::verify`).

use crate::json::{Json, Object};
use crate::store::{ReadError, Snapshot, StoreError};

/// Problems that are listed; where there are more, the record is lost anyway.
const MAX_PROBLEMS: usize = 50;

/// The first entry that is not as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// Its place in the log, from 0.
    pub seq: u64,
    /// The id in the entry that stands there, where it can be read.
    pub id: Option<String>,
    /// What is wrong.
    pub what: String,
}

/// What a verification found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Entries that are stored and were found to be as recorded.
    pub good: u64,
    /// The root over these, in base64.
    pub root: String,
    /// Checkpoints with a good signature.
    pub checkpoints: u64,
    /// The first bad entry.
    pub first_bad: Option<Bad>,
    /// Everything else that is wrong, one line each.
    pub problems: Vec<String>,
}

/// A verification that could not be made: this says nothing of the record.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The database can't be opened.
    #[error(transparent)]
    Open(#[from] ReadError),
    /// The database can't be read any further.
    #[error("can't read the audit database to its end: {0}")]
    Read(StoreError),
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.first_bad.is_none() && self.problems.is_empty()
    }

    /// The report as JSON.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let bad = self.first_bad.as_ref().map(|bad| {
            let mut object = Object::new();
            object.set("seq", bad.seq);
            object.set("id", bad.id.clone());
            object.set("what", bad.what.clone());
            object
        });
        let mut object = Object::new();
        object.set("sound", self.is_sound());
        object.set("good_entries", self.good);
        object.set("root", self.root.clone());
        object.set("good_checkpoints", self.checkpoints);
        object.set("first_bad_entry", bad);
        object.set("problems", self.problems.clone());
        object.into()
    }

    pub(super) fn problem(&mut self, line: impl Into<String>) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(line.into());
        }
    }
}

/// Separates damage, which goes to the report, from a database that can't be read now.
pub(super) fn found<T>(
    result: Result<T, sqlx::Error>,
    what: &str,
    report: &mut Report,
) -> Result<Option<T>, VerifyError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) => match Snapshot::is_unreadable(&error) {
            Some(fault) => Err(VerifyError::Read(fault)),
            None => {
                report.problem(format!("{what}: {error}"));
                Ok(None)
            }
        },
    }
}
