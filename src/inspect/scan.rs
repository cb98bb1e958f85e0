//! The walk over all entries, from the front to the first that is bad.
//!
//! An entry is compared with four things: its own leaf hash, the hash that its tile holds (the head's edge, for the
//! tile that is not full), the signed roots that it goes into, and the form that every entry has. What was changed
//! together with its hashes shows at the next signed root; then the first entry is named that no good signature
//! covers. Not here: signatures, schema (`inspect::verify`).

use std::collections::VecDeque;

use super::archives::Archives;
use super::form::check_form;
use super::indexes::{Indexes, Members};
use super::notes::Notes;
use super::report::found;
use super::{Bad, Report, VerifyError, read_entry};
use crate::entry::Kind;
use crate::seal::{self, Checkpoint, Hash, TILE, Tile, Tree};
use crate::store::{MAX_ENTRY, RawEntry, RawTile, Snapshot};

/// Entries between two reports of progress.
const PROGRESS_EVERY: u64 = 8192;

/// How an entry begins that was written here.
const BEGIN: &[u8] = b"{\"kind\":\"";

/// What the entries are compared with beside their own hashes.
pub(super) struct Signed {
    pub(super) head: Option<Checkpoint>,
    /// The hashes of the unfinished tile; `None` where they are gone with the head.
    pub(super) edge: Option<Vec<u8>>,
    /// Checkpoints that were kept elsewhere, with their names.
    pub(super) kept: Vec<(Checkpoint, String)>,
    /// The entries that tell how others are to be checked, as their index found them.
    pub(super) marks: Vec<RawEntry>,
    pub(super) archives: Archives,
}

pub(super) struct Scan<'a> {
    snapshot: &'a mut Snapshot,
    report: &'a mut Report,
    notes: &'a mut Notes,
    /// What the indexes ought to hold, if it is to be noted.
    pub(super) indexes: Option<&'a mut Indexes>,
    head: Option<Checkpoint>,
    edge: Option<Vec<u8>>,
    kept: Vec<(Checkpoint, String)>,
    /// The entries that tell how others are to be checked and are still to come.
    marks: VecDeque<RawEntry>,
    archives: Archives,
    tree: Tree,
    /// The hashes that the present tile is said to have.
    tile: Option<Vec<Hash>>,
    /// The rows of the present tile of level 0.
    rows: Vec<RawTile>,
    /// How many entries a good signed root covers.
    proven: u64,
}

impl<'a> Scan<'a> {
    pub(super) fn new(
        snapshot: &'a mut Snapshot,
        report: &'a mut Report,
        notes: &'a mut Notes,
        signed: Signed,
        tree: Tree,
    ) -> Self {
        let proven = tree.size();
        let Signed { head, edge, kept, marks, archives } = signed;
        // Those before were confirmed without being read again.
        let behind = |found: &RawEntry| u64::try_from(found.seq).map_or(true, |seq| seq >= proven);
        let marks = marks.into_iter().filter(behind).collect();
        let indexes = None;
        Self {
            snapshot,
            report,
            notes,
            indexes,
            head,
            edge,
            kept,
            marks,
            archives,
            tree,
            tile: None,
            rows: Vec::new(),
            proven,
        }
    }

    /// Walks to the end or to the first bad entry; the number of entries that a good signature covers.
    pub(super) async fn run(mut self, progress: &mut (dyn FnMut(u64) + Send)) -> Result<u64, VerifyError> {
        let mut from = match i64::try_from(self.tree.size()) {
            Ok(size) if size > 0 => size,
            // Whatever stands before the first.
            Ok(_) | Err(_) => i64::MIN,
        };
        if !self.tree.size().is_multiple_of(256) {
            self.tile = self.tile_at(self.tree.size() / 256).await?;
        }
        loop {
            let page = self.snapshot.entries(from).await;
            let before = self.report.problems.len();
            let Some(page) = found(page, "the entries", self.report)? else {
                let what = self.report.problems.drain(before..).next().unwrap_or_default();
                self.bad(self.tree.size(), None, format!("it can't be read: {what}"));
                break;
            };
            let Some(last) = page.last() else {
                self.end().await?;
                break;
            };
            let next = last.seq.checked_add(1);
            for entry in page {
                if !self.take(&entry).await? {
                    self.summarize();
                    return Ok(self.proven);
                }
                if self.tree.size().is_multiple_of(PROGRESS_EVERY) {
                    progress(self.tree.size());
                }
            }
            let Some(next) = next else { break };
            from = next;
        }
        progress(self.tree.size());
        self.summarize();
        Ok(self.proven)
    }

    fn summarize(&mut self) {
        self.report.good = self.tree.size();
        self.report.root = self.tree.root().to_string();
        if let Some(bad) = &self.report.first_bad {
            self.report.good = self.report.good.min(bad.seq);
        }
    }

    fn bad(&mut self, seq: u64, id: Option<String>, what: impl Into<String>) {
        if self.report.first_bad.as_ref().is_none_or(|bad| seq < bad.seq) {
            self.report.first_bad = Some(Bad { seq, id, what: what.into() });
        }
    }

    /// Checks the next entry; false where the walk ends.
    async fn take(&mut self, stored: &RawEntry) -> Result<bool, VerifyError> {
        let seq = self.tree.size();
        // Told of a bad one only: to read it takes longer than all else.
        let id = || stored.entry.as_deref().and_then(id_of);
        if self.head.is_some_and(|head| seq >= head.size) {
            self.bad(seq, id(), "it stands behind the end that the signed head names: it was added");
            return Ok(false);
        }
        if u64::try_from(stored.seq) != Ok(seq) {
            self.bad(seq, None, format!("it is missing: the next that is stored is {}", stored.seq));
            return Ok(false);
        }
        let Some(text) = stored.entry.as_deref() else {
            self.bad(seq, id(), format!("it has more than {MAX_ENTRY} characters"));
            return Ok(false);
        };
        let Some((leaf, is_whole)) = self.leaf(seq, stored, text) else {
            self.bad(seq, id(), "its text does not have the hash that is stored beside it");
            return Ok(false);
        };
        if seq.is_multiple_of(256) {
            self.tile = self.tile_at(seq / 256).await?;
        }
        let within = usize::from(u8::try_from(seq % 256).unwrap_or(0));
        if let Some(known) = self.tile.as_ref()
            && known.get(within) != Some(&leaf)
        {
            self.bad(seq, id(), "the tree has another hash in its place: it was replaced, moved or damaged");
            return Ok(false);
        }
        if !self.is_plain(text, is_whole)
            && let Err(what) = self.check_text(seq, stored, text, is_whole)
        {
            self.bad(seq, id(), what);
            return Ok(false);
        }
        if let Err((first, what)) = self.archives.take(seq, (text, is_whole), self.report) {
            self.bad(first, None, what);
            return Ok(false);
        }
        for tile in self.tree.push(leaf) {
            self.check_tile(&tile).await?;
        }
        if self.is_between_roots() { Ok(true) } else { self.check_roots().await }
    }

    /// The entry's hash, and whether it is its text's. Where something of it may be in an archive, the one beside it is
    /// taken, and what stays of the text is looked at later.
    fn leaf(&self, seq: u64, stored: &RawEntry, text: &[u8]) -> Option<(Hash, bool)> {
        let leaf = seal::leaf_hash(text);
        if *stored.leaf == leaf.0 {
            return Some((leaf, true));
        }
        seal::hash_from(&stored.leaf).filter(|_| self.archives.have(seq)).map(|leaf| (leaf, false))
    }

    /// Whether nothing but the hash of a text counts: where indexes are left out, of an entry that is whole and tells nothing
    /// of others. What is under a signed root is what was written, in the form in which it was.
    fn is_plain(&self, text: &[u8], is_whole: bool) -> bool {
        let kind = || text.strip_prefix(BEGIN)?.split(|byte| *byte == b'"').next();
        let is_other =
            |kind: &[u8]| Kind::ALL.iter().any(|known| known.name().as_bytes() == kind && !is_mark(*known));
        let is_marked =
            self.marks.front().is_some_and(|mark| u64::try_from(mark.seq) == Ok(self.tree.size()));
        self.indexes.is_none() && is_whole && !is_marked && kind().is_some_and(is_other)
    }

    /// Looks at a text: has it the form of an entry, and what do the indexes say of it?
    fn check_text(&mut self, seq: u64, stored: &RawEntry, text: &[u8], is_whole: bool) -> Result<(), String> {
        let mut note = |members: &Members<'_>| {
            if let Some(indexes) = &mut self.indexes {
                indexes.add(seq, members);
            }
        };
        let kind = check_form(text, &mut note).map_err(|e| e.to_string())?;
        // What stays of an archived entry proves nothing of others: it is in the tree by its leaf alone.
        if self.is_known(kind, stored) && (is_whole || !is_mark(kind)) {
            return Ok(());
        }
        Err("it tells how others are to be checked, and its index has another one for it".to_owned())
    }

    /// Whether the index of entries that tell how others are to be checked told the truth of this one.
    fn is_known(&mut self, kind: Kind, stored: &RawEntry) -> bool {
        let told = self.marks.pop_front_if(|next| next.seq == stored.seq);
        match told {
            Some(told) => is_mark(kind) && told.entry == stored.entry,
            None => !is_mark(kind),
        }
    }

    /// Whether no root was signed at this size, as is known without reading on.
    fn is_between_roots(&self) -> bool {
        let size = self.tree.size();
        let ahead = self.notes.next().is_some_and(|(next, _)| next.size > size);
        let mut others = self.kept.iter().map(|(kept, _)| kept).chain(&self.head);
        ahead && others.all(|signed| signed.size != size)
    }

    /// What tile `n` of level 0 is said to hold: its row, or the head's edge.
    async fn tile_at(&mut self, n: u64) -> Result<Option<Vec<Hash>>, VerifyError> {
        let number = i64::try_from(n).unwrap_or(i64::MAX);
        let rows = found(self.snapshot.tile(0, number).await, "the tiles", self.report)?.unwrap_or_default();
        let in_edge = self.head.is_none_or(|head| head.size / 256 == n);
        let hashes = match rows.as_slice() {
            [row] => seal::hashes_from(&row.hashes),
            [] if in_edge => self.edge.as_deref().and_then(seal::hashes_from),
            _ => None,
        };
        self.rows = rows;
        Ok(hashes)
    }

    /// Compares a full tile with the stored one.
    async fn check_tile(&mut self, tile: &Tile) -> Result<(), VerifyError> {
        let number = i64::try_from(tile.index).unwrap_or(i64::MAX);
        // A tile of entries was read at its first entry.
        let rows = if tile.level == 0 {
            std::mem::take(&mut self.rows)
        } else {
            found(self.snapshot.tile(tile.level, number).await, "the tiles", self.report)?.unwrap_or_default()
        };
        let right = matches!(rows.as_slice(), [row]
            if row.root == tile.root.0 && row.hashes == seal::hashes_to_bytes(&tile.hashes));
        if !right {
            let covers = (TILE as u64).pow(tile.level + 1);
            let first = tile.index * covers;
            let what = if rows.is_empty() { "is missing" } else { "is not what its entries make" };
            let what = format!("tile {}/{}, which begins with it, {what}", tile.level, tile.index);
            self.bad(first, None, what);
        }
        Ok(())
    }

    /// Compares the tree with every root that was signed at this size; false where one differs.
    async fn check_roots(&mut self) -> Result<bool, VerifyError> {
        let size = self.tree.size();
        let passed = self.notes.up_to(size, self.snapshot, self.report).await?;
        let named = |(checkpoint, n): (Checkpoint, i64)| (checkpoint, format!("checkpoint {n}"));
        let mut signed: Vec<(Checkpoint, String)> = passed.into_iter().map(named).collect();
        signed.extend(self.head.map(|head| (head, "the head".to_owned())));
        signed.extend(self.kept.iter().cloned());
        signed.retain(|(checkpoint, _)| checkpoint.size == size);
        if signed.is_empty() {
            return Ok(true);
        }
        let root = self.tree.root();
        if let Some((_, name)) = signed.iter().find(|(checkpoint, _)| checkpoint.root != root) {
            let what = format!(
                "entries {} to {} don't make the root that {name} proves: the first that was changed is among them",
                self.proven,
                size - 1
            );
            self.bad(self.proven, None, what);
            return Ok(false);
        }
        self.proven = size;
        Ok(true)
    }

    /// Behind the last entry: is anything missing that was signed?
    async fn end(&mut self) -> Result<(), VerifyError> {
        let size = self.tree.size();
        if let Some(mark) = self.marks.front() {
            let line =
                format!("the index of kinds: it has entry {}, which the walk did not come to", mark.seq);
            self.report.damaged(0, line);
        }
        // What was read ahead is over more entries than there are, and so would be all behind it. An empty log
        // has read nothing yet.
        self.notes.up_to(size, self.snapshot, self.report).await?;
        let mut signed: Vec<(u64, String)> = Vec::new();
        signed.extend(self.notes.next().map(|(checkpoint, n)| (checkpoint.size, format!("checkpoint {n}"))));
        signed.extend(self.head.map(|head| (head.size, "the head".to_owned())));
        signed.extend(self.kept.iter().map(|(kept, name)| (kept.size, name.clone())));
        if let Some((more, name)) = signed.into_iter().find(|(covered, _)| *covered > size) {
            self.bad(size, None, format!("it is missing: {name} proves {more} entries, the log was cut off"));
        } else if self.proven < size {
            let what =
                format!("it and those behind it are covered by no good signature ({})", self.head_word());
            self.bad(self.proven, None, what);
        }
        self.check_tile_count().await
    }

    const fn head_word(&self) -> &'static str {
        if self.head.is_some() { "the head names fewer" } else { "the head is bad" }
    }

    async fn check_tile_count(&mut self) -> Result<(), VerifyError> {
        let count = found(self.snapshot.tile_count().await, "the tiles", self.report)?;
        let full = (1..8u32).map(|level| self.tree.size() >> (8 * level)).sum::<u64>();
        if let Some(count) = count
            && u64::try_from(count) != Ok(full)
        {
            let line = format!("the tiles: {count} are stored where {full} belong to the entries");
            self.report.damaged(self.tree.size(), line);
        }
        // The empty log has a root too.
        if self.tree.size() == 0 && self.head.is_some_and(|head| head.root != self.tree.root()) {
            self.report.damaged(0, "the head: not the root of an empty log");
        }
        let tail = seal::hashes_to_bytes(self.tree.tail());
        if self.edge.as_ref().is_some_and(|edge| *edge != tail) {
            let line = "the head: its edge is not made of the last entries' hashes";
            self.report.damaged(self.tree.size() / 256 * 256, line);
        }
        Ok(())
    }
}

/// Whether entries of a kind tell how others are to be checked: by which key, or against an archive.
const fn is_mark(kind: Kind) -> bool {
    matches!(kind, Kind::KeyRotated | Kind::Archived)
}

pub(super) fn id_of(text: &[u8]) -> Option<String> {
    Some(read_entry(text).ok()?.get("id")?.as_str()?.to_owned())
}
