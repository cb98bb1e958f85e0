//! Entries of which parts were moved into an archive: what stays here of them, held against the entry that says so.
//!
//! Of such an entry the leaf hash is still in the tree, so that it was there and where is proven as before; that its whole
//! text is the one that was recorded, only the archive proves. What stays here has a hash of its own, and the entry that
//! tells of the archive has the root over all of these. Not here: the walk (`inspect::scan`), the file (`archive`).

use std::collections::VecDeque;
use std::ops::Range;

use super::kept::tree_at;
use super::keys::of_kind;
use super::report::{Archived, Report, VerifyError};
use crate::archive::{Stays, StubError, stays};
use crate::entry::Kind;
use crate::json::Json;
use crate::seal::{Edge, Hash, Tree, leaf_hash};
use crate::store::{RawEntry, Snapshot};

/// An archive that the walk still comes to.
#[derive(Debug)]
struct Archive {
    entries: Range<u64>,
    /// The `seq` of the entry that tells of it.
    told_by: u64,
    /// The root over what stays.
    root: Hash,
}

/// The walk over what stays of archived entries.
#[derive(Debug, Default)]
pub(super) struct Archives {
    ahead: VecDeque<Archive>,
    /// Over what stays of the first of these, as far as the walk is.
    stubs: Option<Edge>,
}

/// The archives that the log tells of, each of which must go on where the one before it ended; and where the walk begins.
/// That is the trusted tree, or within an archive the begin of that, as what stays of its entries is proven together.
pub(super) async fn read(
    marks: &[RawEntry],
    trusted: Tree,
    snapshot: &mut Snapshot,
    report: &mut Report,
) -> Result<(Archives, Tree), VerifyError> {
    let (mut ahead, mut end, mut begin) = (VecDeque::new(), 0, trusted);
    for (stored, entry) in of_kind(marks, Kind::Archived) {
        let told = u64::try_from(stored.seq).ok().and_then(|seq| archive(seq, &entry));
        let Some(archive) = told.filter(|archive| archive.entries.start == end) else {
            let line =
                format!("the archives: entry {} does not tell of one that goes on from {end}", stored.seq);
            report.damaged(0, line);
            continue;
        };
        end = archive.entries.end;
        let size = begin.size();
        if archive.entries.start < size && size < archive.entries.end {
            // Its root is held against the trusted one when the walk comes there.
            begin = tree_at(snapshot, archive.entries.start).await?.unwrap_or_default();
        }
        let time = entry.get("time").and_then(Json::as_str).unwrap_or_default().to_owned();
        let checked = archive.entries.start >= begin.size();
        let entries = archive.entries.clone();
        report.archives.push(Archived { entries, time, told: entry, checked, whole: 0 });
        if checked {
            ahead.push_back(archive);
        }
    }
    Ok((Archives { ahead, stubs: None }, begin))
}

/// What an entry tells of, if that can be.
fn archive(seq: u64, entry: &Json) -> Option<Archive> {
    let number = |name| u64::try_from(entry.get(name)?.as_i64()?).ok();
    let entries = number("from")?..number("to")?;
    let root = Hash::parse_hash(entry.get("stubs")?.as_str()?).ok()?;
    (!entries.is_empty() && entries.end <= seq).then_some(Archive { entries, told_by: seq, root })
}

impl Archives {
    /// Whether the entry in this place may have another text than the one that was recorded.
    pub(super) fn have(&self, seq: u64) -> bool {
        self.ahead.front().is_some_and(|archive| archive.entries.contains(&seq))
    }

    /// Takes in what stays of the entry, if it was archived; its text has its leaf hash or not. Once all of an archive's
    /// entries were seen, what is wrong with them, and the first of them.
    pub(super) fn take(
        &mut self,
        seq: u64,
        (text, is_whole): (&[u8], bool),
        report: &mut Report,
    ) -> Result<(), (u64, String)> {
        let Some(archive) = self.ahead.front().filter(|archive| archive.entries.contains(&seq)) else {
            return Ok(());
        };
        let read = std::str::from_utf8(text).map_err(|_| StubError::Utf8).and_then(stays);
        let leaf = match read.map_err(|e| (seq, e.to_string()))? {
            Stays::All | Stays::Less(_) if !is_whole => {
                return Err((seq, "its text does not have the hash that is stored beside it".to_owned()));
            }
            Stays::All | Stays::Stub => leaf_hash(text),
            Stays::Less(stub) => {
                if let Some(told) = report.archives.iter_mut().find(|told| told.entries == archive.entries) {
                    told.whole += 1;
                }
                leaf_hash(stub.as_bytes())
            }
        };
        self.stubs.get_or_insert_default().push(leaf);
        if seq + 1 < archive.entries.end {
            return Ok(());
        }
        let root = self.stubs.take().unwrap_or_default().root();
        let Archive { entries, told_by, root: expected } = archive;
        let result = if root == *expected {
            Ok(())
        } else {
            let (first, last) = (entries.start, entries.end - 1);
            let what = format!(
                "what stays here of the archived entries {first} to {last} is not what entry {told_by} tells: the first \
                 that was changed is among them"
            );
            Err((first, what))
        };
        self.ahead.pop_front();
        result
    }
}
