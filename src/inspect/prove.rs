//! Proves one entry: gathers its text, the hashes beside its way to the root, and a signed checkpoint.
//!
//! Only what the way needs is read, a few dozen hashes however long the log is. What is made is checked before it is
//! handed out, so a damaged record gives no proof. Not here: the file's form (`seal::EntryProof`).

use std::cell::RefCell;
use std::collections::HashMap;

use tlog_tiles::{HashReader, split_stored_hash_index};

use super::VerifyError;
use super::keys::of_kind;
use super::logs::key_of;
use super::report::found;
use crate::archive::is_stub;
use crate::entry::Kind;
use crate::inspect::Report;
use crate::seal::leaf_hash;
use crate::seal::{self, Checkpoint, EntryProof, EntryProofError, Hash, NoteError, Proof, TILE, Verifier};
use crate::store::{Reader, Snapshot};

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The record can't be read.
    #[error(transparent)]
    Read(#[from] VerifyError),
    /// The record proves nothing of the kind.
    #[error("the record does not prove entry {0}: {1}; run `tunnelwarden audit verify`")]
    Unproven(u64, EntryProofError),
    /// Parts of it are in an archive, and no text of it was given.
    #[error("parts of entry {0} were archived; give the archive that has it with --archive")]
    Archived(u64),
    /// What should be stored is not, or is no hash.
    #[error("the record has not what proves entry {0}; run `tunnelwarden audit verify`")]
    Missing(u64),
}

/// Proves the entry at `seq`, by the oldest stored checkpoint of this key that covers it, else by the head. Its text is
/// the one that is given, of an entry that was archived, else the stored one.
///
/// # Errors
/// See [`ProveError`].
pub async fn prove(
    reader: &Reader,
    verifier: &Verifier,
    seq: u64,
    archived: Option<String>,
) -> Result<EntryProof, ProveError> {
    let place = reader.stands(seq).await.map_err(VerifyError::from)?;
    let (log, place) = place.ok_or(ProveError::Missing(seq))?;
    let verifier = &key_of(verifier, &log).ok_or(ProveError::Missing(seq))?;
    let mut snapshot = reader.snapshot(&log).await.map_err(VerifyError::from)?;
    let proven = gather(&mut snapshot, verifier, place, archived).await;
    snapshot.end().await;
    let proven = proven?;
    proven.verify(verifier).map_err(|e| ProveError::Unproven(seq, e))?;
    Ok(proven)
}

async fn gather(
    snapshot: &mut Snapshot,
    verifier: &Verifier,
    seq: u64,
    archived: Option<String>,
) -> Result<EntryProof, ProveError> {
    let missing = || ProveError::Missing(seq);
    let at = i64::try_from(seq).map_err(|_| missing())?;
    let entry = {
        let page = read(snapshot.alone(at).await)?.unwrap_or_default();
        let stored = page.into_iter().next().filter(|stored| stored.seq == at).ok_or_else(missing)?;
        let text = stored.entry.and_then(|text| String::from_utf8(text.into()).ok()).ok_or_else(missing)?;
        let is_whole = *stored.leaf == leaf_hash(text.as_bytes()).0;
        match archived {
            Some(text) => text,
            None if !is_whole && is_stub(&text) => return Err(ProveError::Archived(seq)),
            None => text,
        }
    };
    let unproven = |e| ProveError::Unproven(seq, EntryProofError::Checkpoint(e));
    let (note, signed) = cover(snapshot, verifier, at).await?.ok_or_else(missing)?;
    let size = signed.map_err(unproven)?.size;
    let proof = way(snapshot, size, seq).await?.ok_or_else(missing)?;
    let checkpoint = String::from_utf8(note).map_err(|_| missing())?;
    Ok(EntryProof { entry, index: seq, proof, checkpoint })
}

/// The oldest stored checkpoint of this key over an entry, else the head; and what it says.
async fn cover(
    snapshot: &mut Snapshot,
    verifier: &Verifier,
    at: i64,
) -> Result<Option<(Vec<u8>, Result<Checkpoint, NoteError>)>, VerifyError> {
    // An entry from before a change of key is covered by those behind it, too.
    let marks = read(snapshot.marks().await)?.unwrap_or_default();
    let ends = of_kind(&marks, Kind::KeyRotated).map(|(stored, _)| stored.seq);
    for from in [at].into_iter().chain(ends.filter(|end| *end > at).map(|end| end + 1)) {
        let Some(note) = read(snapshot.checkpoint_over(from).await)?.flatten() else { break };
        let signed = Checkpoint::open(&note, verifier);
        if signed != Err(NoteError::Signature) {
            return Ok(Some((note, signed)));
        }
    }
    let head = read(snapshot.heads().await)?.unwrap_or_default().pop();
    Ok(head.map(|head| {
        let signed = Checkpoint::open(&head.note, verifier);
        (head.note, signed)
    }))
}

/// The hashes beside an entry's way up to the root of the first `size`; `None` where one is not there.
pub(super) async fn way(snapshot: &mut Snapshot, size: u64, seq: u64) -> Result<Option<Proof>, VerifyError> {
    // Asked once to learn which hashes are needed, then again with these.
    let wanted = Wanted::default();
    let _ = seal::prove_inclusion(size, seq, &wanted);
    let known = known(snapshot, wanted).await?;
    Ok(known.and_then(|known| seal::prove_inclusion(size, seq, &known).ok()))
}

/// What proves that the log of the first size is the begin of that of the second; `None` where a hash is not there.
pub(super) async fn consistency(
    snapshot: &mut Snapshot,
    size: u64,
    whole: u64,
) -> Result<Option<Proof>, VerifyError> {
    let wanted = Wanted::default();
    let _ = seal::prove_consistency(whole, size, &wanted);
    let known = known(snapshot, wanted).await?;
    Ok(known.and_then(|known| seal::prove_consistency(whole, size, &known).ok()))
}

async fn known(snapshot: &mut Snapshot, wanted: Wanted) -> Result<Option<Known>, VerifyError> {
    let mut known = HashMap::new();
    for index in wanted.0.into_inner() {
        let (level, n) = split_stored_hash_index(index);
        let Some(hash) = subtree(snapshot, u32::from(level), n).await? else { return Ok(None) };
        known.insert(index, hash);
    }
    Ok(Some(Known(known)))
}

/// What a read found; nothing where the database is damaged there.
fn read<T>(result: Result<T, sqlx::Error>) -> Result<Option<T>, VerifyError> {
    // What is wrong with it is told by `audit verify`.
    found(result, "the record", &mut Report::default())
}

/// The root of the perfect subtree `n` of a level of the tree, from one row of hashes.
pub(super) async fn subtree(
    snapshot: &mut Snapshot,
    level: u32,
    n: u64,
) -> Result<Option<Hash>, VerifyError> {
    let (tile_level, inner) = (level / TILE.ilog2(), level % TILE.ilog2());
    let hashes = hashes(snapshot, tile_level, n << inner, 1 << inner).await?;
    Ok((hashes.len() == 1 << inner).then(|| seal::perfect_root(&hashes)))
}

/// Stored hashes of a level of tiles; fewer where there are fewer.
pub(super) async fn hashes(
    snapshot: &mut Snapshot,
    level: u32,
    from: u64,
    count: u64,
) -> Result<Vec<Hash>, VerifyError> {
    Ok(read(snapshot.hashes(level, from, count).await)?.unwrap_or_default())
}

/// Notes what is asked for.
#[derive(Default)]
struct Wanted(RefCell<Vec<u64>>);

impl HashReader for Wanted {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        self.0.borrow_mut().extend(indexes);
        Ok(vec![tlog_tiles::EMPTY_HASH; indexes.len()])
    }
}

/// Answers with what was read.
struct Known(HashMap<u64, Hash>);

impl HashReader for Known {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().filter_map(|index| self.0.get(index).copied()).collect())
    }
}
