//! Proves that a record is whole, or says where it is not.
//!
//! Needs the database, the public key, and for a tail that was cut off together with its head a checkpoint that was
//! kept elsewhere. Every entry is hashed again; tiles, checkpoints and head must follow from these hashes, the
//! signatures must be the key's, and the schema and the indexes must be as this version makes them. The log is read
//! once from the front, so memory does not grow with it. Not here: the walk over the entries (`inspect::scan`), a record of several logs
//! (`inspect::logs`).

use super::archives;
use super::indexes::{Agree, Indexes};
use super::kept;
use super::keys::{self, Keys, Signers};
use super::notes::Notes;
use super::report::{Report, VerifyError, found};
use super::scan::{Scan, Signed, id_of};
use crate::seal::{Checkpoint, Succession, Verifier};
use crate::store::{LogId, Reader, Snapshot};

/// What a record is checked against.
#[derive(Debug)]
pub struct Evidence {
    /// A public key that is trusted: it must have signed some of the log, and other keys follow from it by what the log
    /// says. With the newest one, nothing that an older one signed later counts.
    pub key: Verifier,
    /// More that must have signed some of it.
    pub other_keys: Vec<Verifier>,
    /// Checkpoints that were kept elsewhere: each must be of this log.
    pub checkpoints: Vec<Kept>,
    /// A checkpoint that was verified before: entries that it covers are not read again.
    pub from: Option<Kept>,
    /// Of which log.
    pub log: LogId,
    /// Leave out the database's own check, which reads every entry again, and the indexes.
    pub entries_only: bool,
}

impl Evidence {
    /// A key and nothing else: the whole record is checked.
    #[must_use]
    pub const fn of(key: Verifier) -> Self {
        Self {
            key,
            other_keys: Vec::new(),
            checkpoints: Vec::new(),
            from: None,
            log: LogId::single(),
            entries_only: false,
        }
    }

    /// Every key that was given.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Verifier> {
        std::iter::once(&self.key).chain(&self.other_keys)
    }

    /// Every checkpoint that was kept elsewhere.
    pub(super) fn kept(&self) -> impl Iterator<Item = &Kept> {
        self.checkpoints.iter().chain(&self.from)
    }
}

/// A checkpoint that was kept elsewhere.
#[derive(Clone, Debug)]
pub struct Kept {
    /// What it is called in a report.
    pub name: String,
    /// The note's text.
    pub note: Vec<u8>,
}

/// Checks a whole log as it is now; `progress` is told the number of entries done from time to time, and at
/// their end, where the database's own check is still to come.
pub(super) async fn verify_log(
    reader: &Reader,
    evidence: &Evidence,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Report, VerifyError> {
    if evidence.entries_only {
        return Ok(prove(reader, evidence, None, progress).await?.0);
    }
    let mut beside = reader.snapshot(&evidence.log).await?;
    let mut indexes = beside.tells_indexes().then(Indexes::default);
    let (report, rows) =
        tokio::join!(prove(reader, evidence, indexes.as_mut(), progress), beside.integrity_of_rows());
    beside.end().await;
    let (mut report, agree) = report?;
    report.indexes_checked = true;
    if report.is_sound() && agree == Agree::Yes && rows.as_ref().is_ok_and(Vec::is_empty) {
        return Ok(report);
    }
    // Where anything is wrong, or could not be told, the database says it in its own words.
    let mut whole = reader.snapshot(&evidence.log).await?;
    let lines = whole.integrity().await;
    whole.end().await;
    if let Some(lines) = found(lines, "the database's own check", &mut report)? {
        lines.into_iter().for_each(|line| report.problem(format!("the database's own check: {line}")));
    }
    // Of an index of some entries it does not see what is too much.
    if let Agree::No(index) = agree
        && report.is_sound()
    {
        report.problem(format!("the index {index}: it holds something else than the entries make"));
    }
    Ok(report)
}

/// All but the database's own check; and whether the indexes agree, if what they ought to hold is to be noted.
async fn prove(
    reader: &Reader,
    evidence: &Evidence,
    mut indexes: Option<&mut Indexes>,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<(Report, Agree), VerifyError> {
    let mut snapshot = reader.snapshot(&evidence.log).await?;
    let mut report = Report::default();
    check_schema(&mut snapshot, &mut report).await?;
    let Keys { succession, marks, may_name_given } = keys::read(evidence, &mut snapshot, &mut report).await?;
    let mut signers = Signers::default();
    let kept = kept::read(evidence, &succession, &mut signers, &mut snapshot, &mut report).await?;
    let trusted = kept::begin(evidence, &succession, &mut snapshot).await?;
    keys::check_before(&marks, &trusted, &mut snapshot, &mut report).await?;
    let (head, edge) = check_head(&mut snapshot, &succession, &mut signers, &mut report).await?;
    let (archives, begin) = archives::read(&marks, trusted, &mut snapshot, &mut report).await?;
    report.not_read = begin.size();
    let mut notes = Notes::new(succession, signers);
    let known = kept.len();
    let signed = Signed { head, edge, kept, marks, archives };
    let mut scan = Scan::new(&mut snapshot, &mut report, &mut notes, signed, begin);
    scan.indexes = indexes.as_deref_mut();
    let proven = scan.run(progress).await?;
    let chain = notes.rest(&mut snapshot, &mut report).await?;
    notes.signers.check(evidence, &mut report);
    let signers = (&notes.signers, may_name_given);
    report.other_keys = keys::of_another_log(evidence, signers, &mut snapshot, &mut report).await?;
    if let Some(expected) = head.and_then(|head| head.chain)
        && expected != chain
    {
        let line = format!(
            "the head knows of {} checkpoints with another digest than the {} that are stored: \
             some were removed, added or changed",
            expected.count, chain.count
        );
        // Which one, only its neighbours can tell; if none does, it may have been any.
        if report.first_in_doubt.is_none() {
            report.doubt(0, line.clone());
        }
        report.problem(line);
    }
    if head.is_none() {
        report.doubt(proven, "the head, which says where the log ends, is bad");
    }
    if known < evidence.kept().count() {
        report.doubt(report.good, "a checkpoint file, which says how far the log went, is bad");
    }
    if let Some(doubt) = &mut report.first_in_doubt {
        doubt.id = id_at(&mut snapshot, doubt.seq).await;
    }
    let agree = match indexes {
        Some(indexes) if report.is_sound() => indexes.agree(&mut snapshot).await,
        _ => Ok(Agree::Unsure),
    };
    snapshot.end().await;
    // What can't be read is told by the database's own check.
    Ok((report, agree.unwrap_or(Agree::Unsure)))
}

/// The id of an entry, where one can be read.
async fn id_at(snapshot: &mut Snapshot, seq: u64) -> Option<String> {
    let seq = i64::try_from(seq).ok()?;
    let page = snapshot.alone(seq).await.ok()?;
    let stored = page.first().filter(|stored| stored.seq == seq)?;
    id_of(stored.entry.as_deref()?)
}

async fn check_schema(snapshot: &mut Snapshot, report: &mut Report) -> Result<(), VerifyError> {
    if let Some(lines) = found(snapshot.schema_differences().await, "the schema", report)? {
        lines.into_iter().for_each(|line| report.problem(format!("the schema: {line}")));
    }
    match snapshot.view_differences().await {
        Some(lines) => lines.into_iter().for_each(|line| report.problem(format!("the schema: {line}"))),
        None => report.views_checked = false,
    }
    Ok(())
}

/// The signed head and the edge beside it.
async fn check_head(
    snapshot: &mut Snapshot,
    succession: &Succession,
    signers: &mut Signers,
    report: &mut Report,
) -> Result<(Option<Checkpoint>, Option<Vec<u8>>), VerifyError> {
    let heads = found(snapshot.heads().await, "the head", report)?.unwrap_or_default();
    let [head] = heads.as_slice() else {
        report.problem(format!("the head: {} rows where there is to be one", heads.len()));
        return Ok((None, None));
    };
    match succession.open_head(&head.note) {
        Ok((signed, key)) if signed.chain.is_some() => {
            signers.note(key);
            return Ok((Some(signed), Some(head.edge.clone())));
        }
        Ok(_) => report.problem("the head: another checkpoint stands in its place"),
        Err(e) => report.problem(format!("the head: {e}")),
    }
    Ok((None, Some(head.edge.clone())))
}
