//! What a verification found.
//!
//! Not here: the verification (`inspect::verify`).

use std::ops::Range;

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

/// What the log says of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archived {
    /// The entries of which parts are there, and no longer here.
    pub entries: Range<u64>,
    /// When it was made.
    pub time: String,
    /// The entry that says so, as JSON: by whom, and which file.
    pub told: Json,
    /// Whether what stays here of these entries was checked: not, where the verification began behind them.
    pub checked: bool,
    /// How many of them are still here as they were: the archive was cut short.
    pub whole: u64,
}

impl Archived {
    /// What was archived, when, by whom, and where to.
    fn line(&self) -> String {
        let text = |pointer: &str| self.told.pointer(pointer).and_then(Json::as_str);
        let uid = self.told.pointer("/operator/uid").and_then(Json::as_i64);
        let user = text("/operator/user").map_or_else(String::new, |user| format!(" ({user})"));
        let checked = match self.whole {
            _ if !self.checked => "; what stays of them here was not checked".to_owned(),
            0 => String::new(),
            whole => {
                format!("; {whole} of them are still here, as it was cut short: run `audit archive` again")
            }
        };
        format!(
            "of the entries {} to {} the bodies were archived at {} by user {}{user} into `{}`, sha256 {}{checked}",
            self.entries.start,
            self.entries.end - 1,
            self.time,
            uid.map_or_else(|| "?".to_owned(), |uid| uid.to_string()),
            text("/file/name").unwrap_or("?"),
            text("/file/sha256").unwrap_or("?"),
        )
    }

    fn to_json(&self) -> Object {
        let mut object = Object::new();
        object.set("from", self.entries.start);
        object.set("to", self.entries.end);
        object.set("time", self.time.clone());
        for name in ["id", "file", "operator"] {
            object.set(name, self.told.get(name).cloned());
        }
        object.set("checked", self.checked);
        object.set("whole", self.whole);
        object
    }
}

/// What a verification found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Entries that are stored and were found to be as recorded.
    pub good: u64,
    /// How many of these, from the first on, were not read: their stored hashes make the root of a checkpoint that was
    /// verified before.
    pub not_read: u64,
    /// How many, from the first on, the checkpoints cover that were kept elsewhere. What is cut off behind these together
    /// with its head can't be noticed.
    pub covered: u64,
    /// Whether the database's own check, of its indexes, was made.
    pub indexes_checked: bool,
    /// Whether the views were compared with those that this version makes.
    pub views_checked: bool,
    /// The root over these, in base64.
    pub root: String,
    /// Checkpoints with a good signature.
    pub checkpoints: u64,
    /// The public keys that signed the log, oldest first, each with the number of entries up to which it did; the newest
    /// has none.
    pub keys: Vec<(String, Option<u64>)>,
    /// The keys, as `name+id`, by which a log says it is signed that has nothing to do with the given ones. It is another log, or
    /// one that was put in the place of theirs, and never sound.
    pub other_keys: Vec<String>,
    /// The archives that the log tells of, oldest first.
    pub archives: Vec<Archived>,
    /// The first bad entry.
    pub first_bad: Option<Bad>,
    /// The first entry that damaged evidence (a checkpoint, the head) was to prove. It may be proven by another
    /// signature still; at the end of the log it is the one that may have stood there.
    pub first_in_doubt: Option<Bad>,
    /// Everything that is wrong beside entries, one line each.
    pub problems: Vec<String>,
    /// Where several replicas write a record, what was found of the log of each, by its name; the rest is of them together.
    pub logs: Vec<(String, Report)>,
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

impl Default for Report {
    fn default() -> Self {
        Self {
            good: 0,
            not_read: 0,
            covered: 0,
            indexes_checked: false,
            views_checked: true,
            root: String::new(),
            checkpoints: 0,
            keys: Vec::new(),
            other_keys: Vec::new(),
            archives: Vec::new(),
            first_bad: None,
            first_in_doubt: None,
            problems: Vec::new(),
            logs: Vec::new(),
        }
    }
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
        let mut object = Object::new();
        object.set("sound", self.is_sound());
        object.set("good_entries", self.good);
        object.set("entries_not_read", self.not_read);
        object.set("entries_covered", self.covered);
        object.set("indexes_checked", self.indexes_checked);
        object.set("views_checked", self.views_checked);
        object.set("root", self.root.clone());
        object.set("good_checkpoints", self.checkpoints);
        object.set("keys", self.keys.iter().map(key_json).collect::<Vec<_>>());
        if !self.other_keys.is_empty() {
            object.set("other_keys", self.other_keys.clone());
        }
        object.set("archives", self.archives.iter().map(Archived::to_json).collect::<Vec<_>>());
        object.set("first_bad_entry", self.first_bad.as_ref().map(Bad::to_json));
        object.set("first_entry_in_doubt", self.first_in_doubt.as_ref().map(Bad::to_json));
        object.set("problems", self.problems.clone());
        if !self.logs.is_empty() {
            let log = |(name, report): &(String, Self)| {
                let mut one = Object::new();
                one.set("log", name.as_str());
                one.set("report", report.to_json());
                one
            };
            object.set("logs", self.logs.iter().map(log).collect::<Vec<_>>());
        }
        object.into()
    }

    /// Takes in what was found of one of several logs.
    pub(super) fn take_in(&mut self, log: &str, report: Self) {
        self.good += report.good;
        self.views_checked &= report.views_checked;
        self.not_read += report.not_read;
        self.covered += report.covered;
        self.checkpoints += report.checkpoints;
        self.keys.extend(report.keys.iter().cloned());
        self.archives.extend(report.archives.iter().cloned());
        let named = |bad: &Bad| Bad { what: format!("in the log of `{log}`: {}", bad.what), ..bad.clone() };
        self.first_bad = self.first_bad.take().or_else(|| report.first_bad.as_ref().map(named));
        self.first_in_doubt =
            self.first_in_doubt.take().or_else(|| report.first_in_doubt.as_ref().map(named));
        report.problems.iter().for_each(|line| self.problem(format!("the log of `{log}`: {line}")));
        self.logs.push((log.to_owned(), report));
    }

    /// What the log says of keys that were replaced and of archives, a line each.
    #[must_use]
    pub fn says(&self) -> Vec<String> {
        let key = |(key, until): &(String, Option<u64>)| {
            until.map(|until| format!("the key {key} signed the first {until}, no more"))
        };
        let views =
            "the views were not compared: this role may make no temporary ones, or this server none at all";
        let views = (!self.views_checked).then(|| views.to_owned());
        self.keys
            .iter()
            .filter_map(key)
            .chain(self.archives.iter().map(Archived::line))
            .chain(views)
            .collect()
    }

    pub(super) fn problem(&mut self, line: impl Into<String>) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(line.into());
        }
    }

    /// A line that is wrong about evidence which was to prove the entries from `seq` on.
    pub(super) fn damaged(&mut self, seq: u64, line: impl Into<String>) {
        let line = line.into();
        self.doubt(seq, line.clone());
        self.problem(line);
    }

    /// Evidence is damaged that was to prove the entries from `seq` on.
    pub(super) fn doubt(&mut self, seq: u64, what: impl Into<String>) {
        if self.first_in_doubt.as_ref().is_none_or(|first| seq < first.seq) {
            self.first_in_doubt = Some(Bad { seq, id: None, what: what.into() });
        }
    }
}

impl Bad {
    fn to_json(&self) -> Object {
        let mut object = Object::new();
        object.set("seq", self.seq);
        object.set("id", self.id.clone());
        object.set("what", self.what.clone());
        object
    }
}

fn key_json((key, until): &(String, Option<u64>)) -> Object {
    let mut object = Object::new();
    object.set("public_key", key.clone());
    object.set("until", *until);
    object
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
