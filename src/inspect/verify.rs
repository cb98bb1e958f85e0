//! Proves that a record is whole, or says where it is not.
//!
//! Needs the database, the public key, and for a tail that was cut off together with its head a checkpoint that was
//! kept elsewhere. Every entry is hashed again; tiles, checkpoints and head must follow from these hashes, the
//! signatures must be the key's, and the schema and the indexes must be as this version makes them. The log is read
//! once from the front, so memory does not grow with it. Not here: the walk over the entries (`inspect::scan`).

use super::notes::Notes;
use super::scan::Scan;
use crate::json::{Json, Object};
use crate::seal::{Checkpoint, Verifier};
use crate::store::{ReadError, Reader, Snapshot, StoreError};

/// Problems that are listed; where there are more, the record is lost anyway.
const MAX_PROBLEMS: usize = 50;

/// What a record is checked against.
#[derive(Debug)]
pub struct Evidence {
    /// The key that signs its checkpoints.
    pub verifier: Verifier,
    /// The text of a checkpoint that was kept elsewhere.
    pub checkpoint: Option<Vec<u8>>,
}

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

/// Checks a whole record as it is now; `progress` is told the number of entries done from time to time.
///
/// # Errors
/// The database can't be read for a reason that is no damage. Damage is in the report.
pub async fn verify(
    reader: &Reader,
    evidence: &Evidence,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Report, VerifyError> {
    let mut snapshot = reader.snapshot().await?;
    let mut report = Report::default();
    check_schema(&mut snapshot, &mut report).await?;
    let kept = kept(evidence, &mut report);
    let (head, edge) = check_head(&mut snapshot, evidence, &mut report).await?;
    let mut notes = Notes::new(evidence.verifier.clone());
    let scan = Scan::new(&mut snapshot, &mut report, &mut notes, head, edge, kept);
    scan.run(progress).await?;
    let chain = notes.rest(&mut snapshot, &mut report).await?;
    if let Some(expected) = head.and_then(|head| head.chain)
        && expected != chain
    {
        report.problem(format!(
            "the head knows of {} checkpoints with another digest than the {} that are stored: \
             some were removed, added or changed",
            expected.count, chain.count
        ));
    }
    if let Some(lines) = found(snapshot.integrity().await, "the database's own check", &mut report)? {
        lines.into_iter().for_each(|line| report.problem(format!("the database's own check: {line}")));
    }
    snapshot.end().await;
    Ok(report)
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

async fn check_schema(snapshot: &mut Snapshot, report: &mut Report) -> Result<(), VerifyError> {
    if let Some(lines) = found(snapshot.schema_differences().await, "the schema", report)? {
        lines.into_iter().for_each(|line| report.problem(format!("the schema: {line}")));
    }
    Ok(())
}

/// What the checkpoint that was kept elsewhere proves.
fn kept(evidence: &Evidence, report: &mut Report) -> Option<Checkpoint> {
    let note = evidence.checkpoint.as_ref()?;
    match Checkpoint::open_cosigned(note, &evidence.verifier) {
        Ok(checkpoint) => Some(checkpoint),
        Err(e) => {
            report.problem(format!("the checkpoint file: {e}"));
            None
        }
    }
}

/// The signed head and the edge beside it.
async fn check_head(
    snapshot: &mut Snapshot,
    evidence: &Evidence,
    report: &mut Report,
) -> Result<(Option<Checkpoint>, Vec<u8>), VerifyError> {
    let heads = found(snapshot.heads().await, "the head", report)?.unwrap_or_default();
    let [head] = heads.as_slice() else {
        report.problem(format!("the head: {} rows where there is to be one", heads.len()));
        return Ok((None, Vec::new()));
    };
    match Checkpoint::open(&head.note, &evidence.verifier) {
        Ok(signed) if signed.chain.is_some() => return Ok((Some(signed), head.edge.clone())),
        Ok(_) => report.problem("the head: another checkpoint stands in its place"),
        Err(e) => report.problem(format!("the head: {e}")),
    }
    Ok((None, head.edge.clone()))
}
