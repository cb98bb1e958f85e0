//! Which keys signed the log, by the entries that name another one.
//!
//! Their index tells of them before the walk gets there; so what it tells is a hint, which makes the succession that
//! signatures are checked by, and which the walk confirms entry by entry (`inspect::scan`). Trust begins with the keys
//! that whoever verifies brought along: each must have signed some of the log. An older one vouches for those behind it by
//! its checkpoint over the entry that names the next, a newer one for those before it by all that its head covers.

use std::collections::BTreeSet;

use super::prove::way;
use super::read_entry;
use super::report::{Report, VerifyError, found};
use super::verify::Evidence;
use crate::entry::Kind;
use crate::json::Json;
use crate::seal::{Rotation, Succession, Tree, Verifier, check_inclusion, leaf_hash};
use crate::store::{RawEntry, Snapshot};

/// The keys, and the entries that tell of them and of archives.
pub(super) struct Keys {
    pub(super) succession: Succession,
    pub(super) marks: Vec<RawEntry>,
}

/// Public keys by which a note was signed that is taken.
#[derive(Debug, Default)]
pub(super) struct Signers(BTreeSet<String>);

impl Signers {
    pub(super) fn note(&mut self, key: &Verifier) {
        if !self.0.contains(key.public_key()) {
            self.0.insert(key.public_key().to_owned());
        }
    }

    /// A given key that signed nothing vouches for nothing, whoever names it.
    pub(super) fn check(&self, evidence: &Evidence, report: &mut Report) {
        for given in [&evidence.key].into_iter().chain(&evidence.other_keys) {
            if !self.0.contains(given.public_key()) {
                report
                    .damaged(0, format!("the keys: nothing of this log is signed by the key {}", given.id()));
            }
        }
    }
}

/// The succession that the log tells of. Where that does not hold, it is a problem.
pub(super) async fn read(
    evidence: &Evidence,
    snapshot: &mut Snapshot,
    report: &mut Report,
) -> Result<Keys, VerifyError> {
    let marks = found(snapshot.marks().await, "the index of kinds", report)?.unwrap_or_default();
    if marks.iter().any(|mark| mark.seq < 0) {
        report.damaged(0, "the index of kinds: it has an entry before the first");
    }
    let rotations: Vec<(&RawEntry, Json)> = of_kind(&marks, Kind::KeyRotated).collect();
    let read: Vec<Rotation> =
        rotations.iter().filter_map(|(stored, entry)| rotation(stored, entry)).collect();
    if read.len() < rotations.len() {
        report.damaged(0, "the keys: an entry that should name another signing key names none");
    }
    let first = read.first().map_or(&evidence.key, |first| &first.old);
    let mut succession = Succession::of(first.clone());
    for next in read {
        let seq = next.size - 1;
        if let Err(e) = succession.push(next) {
            report.damaged(seq, format!("the keys: the change of key that entry {seq} tells of: {e}"));
        }
    }
    report.keys = succession.spans().map(|(key, until)| (key.public_key().to_owned(), until)).collect();
    Ok(Keys { succession, marks })
}

/// The entries of a kind among these, read. What can't be read is named when the walk comes to it.
pub(super) fn of_kind(marks: &[RawEntry], kind: Kind) -> impl Iterator<Item = (&RawEntry, Json)> {
    let read = |stored: &'_ RawEntry| read_entry(stored.entry.as_deref()?).ok();
    marks
        .iter()
        .filter_map(move |stored| Some((stored, read(stored)?)))
        .filter(move |(_, entry)| entry.get("kind").and_then(Json::as_str) == Some(kind.name()))
}

/// What an entry says.
fn rotation(stored: &RawEntry, entry: &Json) -> Option<Rotation> {
    let key = |name| Verifier::new(entry.get(name).and_then(Json::as_str)?).ok();
    let size = u64::try_from(stored.seq).ok()? + 1;
    Some(Rotation { size, old: key("old_key")?, new: key("new_key")? })
}

/// Confirms the entries that the walk begins behind: each must be under the root that it begins with.
pub(super) async fn check_before(
    marks: &[RawEntry],
    begin: &Tree,
    snapshot: &mut Snapshot,
    report: &mut Report,
) -> Result<(), VerifyError> {
    for stored in marks {
        let Some(seq) = u64::try_from(stored.seq).ok().filter(|seq| *seq < begin.size()) else { continue };
        let leaf = stored.entry.as_deref().map(leaf_hash);
        let way = way(snapshot, begin.size(), seq).await?;
        let proven = leaf
            .zip(way)
            .is_some_and(|(leaf, way)| check_inclusion(&way, begin.size(), begin.root(), seq, leaf).is_ok());
        if !proven {
            let what = "an entry that names another signing key or tells of an archive is not the one that was recorded";
            report.damaged(seq, what);
        }
    }
    Ok(())
}
