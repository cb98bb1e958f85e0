//! Which keys signed the log, by the entries that name another one.
//!
//! Their index tells of them before the walk gets there; so what it tells is a hint, which makes the succession that
//! signatures are checked by, and which the walk confirms entry by entry (`inspect::scan`). Trust begins with the keys
//! that whoever verifies brought along: each must have signed some of the log. An older one vouches for those behind it by
//! its checkpoint over the entry that names the next, a newer one for those before it by all that its head covers.

use std::collections::BTreeSet;
use std::iter::once;

use super::prove::way;
use super::read_entry;
use super::report::{Report, VerifyError, found};
use super::verify::Evidence;
use crate::entry::Kind;
use crate::json::Json;
use crate::seal::{Rotation, Succession, Tree, Verifier, check_inclusion, leaf_hash, named_signers};
use crate::store::{RawEntry, Snapshot};

/// The keys, and the entries that tell of them and of archives.
pub(super) struct Keys {
    pub(super) succession: Succession,
    pub(super) marks: Vec<RawEntry>,
    /// Whether one of these entries names a given key, or can't be read.
    pub(super) may_name_given: bool,
}

/// Keys of another log that are told.
const MAX_OTHERS: usize = 16;

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
        for given in evidence.keys() {
            if !self.0.contains(given.public_key()) {
                report
                    .damaged(0, format!("the keys: nothing of this log is signed by the key {}", given.id()));
            }
        }
    }
}

/// The keys, as `name+id`, that a log says it is signed by which has nothing to do with the given ones: no note is signed by
/// one of them or says so, and no entry names one. None where that is not so, or not sure: then it may be their log, damaged.
/// Whoever puts a log of their own in the place of another one makes it look like this, so it is never good.
pub(super) async fn of_another_log(
    evidence: &Evidence,
    (signers, may_name_given): (&Signers, bool),
    snapshot: &mut Snapshot,
    report: &mut Report,
) -> Result<Vec<String>, VerifyError> {
    if may_name_given || evidence.keys().any(|given| signers.0.contains(given.public_key())) {
        return Ok(Vec::new());
    }
    let heads = found(snapshot.heads().await, "the head", report)?.unwrap_or_default();
    let mut others = BTreeSet::new();
    let notes = heads.iter().map(|head| &head.note).chain(evidence.kept().map(|kept| &kept.note));
    if heads.len() != 1 || !notes.into_iter().all(|note| name_others(note, evidence, &mut others)) {
        return Ok(Vec::new());
    }
    let mut from = Some(i64::MIN);
    while let Some(begin) = from {
        let Some(page) = found(snapshot.checkpoints(begin).await, "the checkpoints", report)? else {
            return Ok(Vec::new());
        };
        if !page.iter().all(|stored| name_others(&stored.note, evidence, &mut others)) {
            return Ok(Vec::new());
        }
        from = page.last().and_then(|last| last.n.checked_add(1));
    }
    Ok(others.into_iter().collect())
}

/// Whether a note says that it is signed by other keys only than those that were given, be it for whichever log.
pub(super) fn name_others(note: &[u8], evidence: &Evidence, others: &mut BTreeSet<String>) -> bool {
    let Some(named) = named_signers(note) else { return false };
    let is_given = |(name, id): &(String, String)| {
        evidence.keys().any(|given| given.of_origin(name).is_some_and(|given| given.id() == *id))
    };
    let is_of_others = !named.iter().any(is_given);
    for (name, id) in named {
        if others.len() < MAX_OTHERS {
            others.insert(format!("{name}+{id}"));
        }
    }
    is_of_others
}

/// The succession that the log tells of. Where that does not hold, it is a problem.
pub(super) async fn read(
    evidence: &Evidence,
    snapshot: &mut Snapshot,
    report: &mut Report,
) -> Result<Keys, VerifyError> {
    let marks = found(snapshot.marks().await, "the index of kinds", report)?;
    let may_hide_one = marks.as_ref().is_none_or(|marks| !marks.iter().all(is_readable));
    let marks = marks.unwrap_or_default();
    if marks.iter().any(|mark| mark.seq < 0) {
        report.damaged(0, "the index of kinds: it has an entry before the first");
    }
    let rotations: Vec<(&RawEntry, Json)> = of_kind(&marks, Kind::KeyRotated).collect();
    let read: Vec<Rotation> =
        rotations.iter().filter_map(|(stored, entry)| rotation(stored, entry)).collect();
    if read.len() < rotations.len() {
        report.damaged(0, "the keys: an entry that should name another signing key names none");
    }
    let is_given = |key: &Verifier| evidence.keys().any(|given| given.is_same_key(key));
    let may_name_given = may_hide_one
        || read.len() < rotations.len()
        || read.iter().flat_map(|one| once(&one.old).chain(once(&one.new))).any(is_given);
    let first = read.first().map_or(&evidence.key, |first| &first.old);
    let mut succession = Succession::of(first.clone());
    for next in read {
        let seq = next.size - 1;
        if let Err(e) = succession.push(next) {
            report.damaged(seq, format!("the keys: the change of key that entry {seq} tells of: {e}"));
        }
    }
    report.keys = succession.spans().map(|(key, until)| (key.public_key().to_owned(), until)).collect();
    Ok(Keys { succession, marks, may_name_given })
}

/// The entries of a kind among these, read. What can't be read is named when the walk comes to it.
pub(super) fn of_kind(marks: &[RawEntry], kind: Kind) -> impl Iterator<Item = (&RawEntry, Json)> {
    let read = |stored: &'_ RawEntry| read_entry(stored.entry.as_deref()?).ok();
    marks
        .iter()
        .filter_map(move |stored| Some((stored, read(stored)?)))
        .filter(move |(_, entry)| entry.get("kind").and_then(Json::as_str) == Some(kind.name()))
}

fn is_readable(stored: &RawEntry) -> bool {
    stored.entry.as_deref().is_some_and(|text| read_entry(text).is_ok())
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
