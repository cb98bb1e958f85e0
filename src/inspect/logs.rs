//! A record of several replicas is checked log by log.
//!
//! Each replica's log is signed by the same key under an origin of its own, so a checkpoint of one is none of another. Not
//! here: how one log is checked (`inspect::verify`).

use std::collections::{BTreeMap, BTreeSet};

use super::keys;
use super::verify::verify_log;
use super::{Evidence, Report, VerifyError};
use crate::seal::Verifier;
use crate::store::{LogId, Reader};

/// The key of one log: of a replica's it is the same, under the log's own origin.
pub(super) fn key_of(key: &Verifier, log: &LogId) -> Option<Verifier> {
    key.of_origin(&log.origin_under(key.origin()))
}

/// Checks a whole record, every log of it, as it is now; `progress` is told the number of entries done from time to time, and
/// at their end, where the database's own check is still to come.
///
/// # Errors
/// The database can't be read for a reason that is no damage. Damage is in the report.
pub async fn verify(
    reader: &Reader,
    evidence: &Evidence,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Report, VerifyError> {
    let logs = reader.logs().await?;
    if let [log] = logs.as_slice()
        && log.name.is_none()
    {
        return verify_log(reader, evidence, progress).await;
    }
    let mut whole = Report { indexes_checked: !evidence.entries_only, ..Report::default() };
    reader.strays(!evidence.entries_only).await?.into_iter().for_each(|line| whole.problem(line));
    let mut origins = BTreeMap::new();
    for log in &logs {
        let (Some(key), Some(name)) = (key_of(&evidence.key, log), &log.name) else { continue };
        if let Some(other) = origins.insert(key.origin().to_owned(), name) {
            whole.problem(format!(
                "the logs of `{other}` and `{name}` have one origin: one of them was put there again"
            ));
        }
    }
    let mut met = vec![false; evidence.kept().count()];
    for log in &logs {
        let before = whole.good;
        let mut all = |entries: u64| progress(before + entries);
        let report = match of_log(evidence, log, &mut met) {
            Some(own) => verify_log(reader, &own, &mut all).await?,
            None => unsignable(),
        };
        whole.take_in(log.name.as_deref().unwrap_or_default(), report);
    }
    let mut others = BTreeSet::new();
    if whole.logs.iter().all(|(_, report)| !report.other_keys.is_empty())
        && evidence.kept().all(|kept| keys::name_others(&kept.note, evidence, &mut others))
    {
        whole.other_keys = whole.logs.iter().flat_map(|(_, report)| report.other_keys.clone()).collect();
    }
    for (kept, _) in evidence.kept().zip(met).filter(|(_, met)| !met) {
        let origin = origin(&kept.note).unwrap_or("nothing");
        whole.problem(format!("{}: the record has no log of `{origin}`: a whole log is missing", kept.name));
    }
    Ok(whole)
}

/// Checks one log of a record.
///
/// # Errors
/// As above.
pub async fn verify_one(reader: &Reader, evidence: &Evidence, log: LogId) -> Result<Report, VerifyError> {
    match of_log(evidence, &log, &mut vec![false; evidence.kept().count()]) {
        Some(own) => verify_log(reader, &own, &mut |_| {}).await,
        None => Ok(unsignable()),
    }
}

fn unsignable() -> Report {
    let mut report = Report::default();
    report.problem("it has an origin or a name that the key can't have signed for");
    report
}

/// What of the evidence is about this log.
fn of_log(evidence: &Evidence, log: &LogId, met: &mut [bool]) -> Option<Evidence> {
    let key = key_of(&evidence.key, log)?;
    let other_keys = evidence.other_keys.iter().map(|key| key_of(key, log)).collect::<Option<_>>()?;
    let is_own = |note: &[u8]| log.name.is_none() || origin(note) == Some(key.origin());
    for (kept, met) in evidence.kept().zip(met) {
        *met |= is_own(&kept.note);
    }
    let checkpoints = evidence.checkpoints.iter().filter(|kept| is_own(&kept.note)).cloned().collect();
    let from = evidence.from.clone().filter(|kept| is_own(&kept.note));
    let entries_only = evidence.entries_only;
    Some(Evidence { key, other_keys, checkpoints, from, log: log.clone(), entries_only })
}

/// The first line of a checkpoint.
fn origin(note: &[u8]) -> Option<&str> {
    std::str::from_utf8(note).ok()?.lines().next()
}
