//! Checkpoints that an auditor kept: what they say, and whether they are of one log with this record and each other.
//!
//! A checkpoint's root is made anew from the stored hashes, which takes a few dozen of them. That the entries have these
//! hashes, the walk shows for all that it reads (`inspect::scan`). Not here: the files (`cli::audit::verify`).

use super::keys::Signers;
use super::prove::{consistency, subtree};
use super::report::{Report, VerifyError};
use super::verify::{Evidence, Kept};
use crate::seal::{self, Checkpoint, Hash, Succession, Tree, check_consistency};
use crate::store::{LogId, Reader, Snapshot};

/// The good ones with their names. One that is of another log, or contradicts another, is a problem.
pub(super) async fn read(
    evidence: &Evidence,
    succession: &Succession,
    signed: &mut Signers,
    snapshot: &mut Snapshot,
    report: &mut Report,
) -> Result<Vec<(Checkpoint, String)>, VerifyError> {
    let mut good: Vec<(Checkpoint, String)> = Vec::new();
    for Kept { name, note } in evidence.kept() {
        let checkpoint = match succession.open_kept(note) {
            Ok((checkpoint, key)) => {
                signed.note(key);
                checkpoint
            }
            Err(e) => {
                report.problem(format!("{name}: {e}"));
                continue;
            }
        };
        let contradicts = |(other, _): &&(Checkpoint, String)| {
            other.size == checkpoint.size && other.root != checkpoint.root
        };
        if let Some((_, other)) = good.iter().find(contradicts) {
            report.problem(format!(
                "{name} and {other}: they prove different logs of {} entries",
                checkpoint.size
            ));
        }
        // Fewer hashes than it takes: the log was cut off, which the walk tells.
        if root_at(snapshot, checkpoint.size).await?.is_some_and(|root| root != checkpoint.root) {
            let size = checkpoint.size;
            report
                .problem(format!("{name}: the log's first {size} hashes don't make the root that it proves"));
        }
        report.covered = report.covered.max(checkpoint.size);
        good.push((checkpoint, name.clone()));
    }
    Ok(good)
}

/// The tree to begin with: of the entries that need not be read again, or of none.
pub(super) async fn begin(
    evidence: &Evidence,
    succession: &Succession,
    snapshot: &mut Snapshot,
) -> Result<Tree, VerifyError> {
    let Some(from) = &evidence.from else { return Ok(Tree::new()) };
    // One that is no good is a problem already, and then everything is read.
    let Ok((signed, _)) = succession.open_kept(&from.note) else {
        return Ok(Tree::new());
    };
    let tree = tree_at(snapshot, signed.size).await?;
    Ok(tree.filter(|tree| tree.root() == signed.root).unwrap_or_default())
}

/// The tree over the first `size` stored hashes; `None` where they make none.
pub(super) async fn tree_at(snapshot: &mut Snapshot, size: u64) -> Result<Option<Tree>, VerifyError> {
    let mut partial = Vec::new();
    for level in (0u32..).take(Tree::levels(size)) {
        let width = Tree::width(size, level) as u64;
        let first = size.checked_shr(8 * level).unwrap_or(0) - width;
        partial.push(super::prove::hashes(snapshot, level, first, width).await?);
    }
    Ok(Tree::from_partial(size, partial).ok())
}

/// The root over the first `size` stored hashes; `None` where there are fewer.
async fn root_at(snapshot: &mut Snapshot, size: u64) -> Result<Option<Hash>, VerifyError> {
    Ok(roots(snapshot, size).await?.map(|roots| seal::join(&roots)))
}

/// The roots of the perfect subtrees over the first `size` stored hashes, largest first; `None` where there are fewer.
async fn roots(snapshot: &mut Snapshot, size: u64) -> Result<Option<Vec<Hash>>, VerifyError> {
    let mut roots = Vec::new();
    for (level, n) in seal::subtrees(size) {
        let Some(root) = subtree(snapshot, level, n).await? else { return Ok(None) };
        roots.push(root);
    }
    Ok(Some(roots))
}

/// The roots of the perfect subtrees over the entries before this one, largest first; `None` where there are fewer. They
/// are as stored, and proven by what is made of them.
///
/// # Errors
/// The record can't be read.
pub async fn subtree_roots(
    reader: &Reader,
    log: &LogId,
    from: u64,
) -> Result<Option<Vec<Hash>>, VerifyError> {
    let mut snapshot = reader.snapshot(log).await?;
    let roots = roots(&mut snapshot, from).await;
    snapshot.end().await;
    roots
}

/// Whether the log of the second size and root begins with the one of the first, by a proof made of the stored hashes (RFC
/// 6962 section 2.1.2). These need not be trusted: where they are others, there is no proof.
///
/// # Errors
/// The record can't be read.
pub async fn is_begin_of(
    reader: &Reader,
    log: &LogId,
    (size, root): (u64, Hash),
    (whole, whole_root): (u64, Hash),
) -> Result<bool, VerifyError> {
    let mut snapshot = reader.snapshot(log).await?;
    let proof = consistency(&mut snapshot, size, whole).await;
    snapshot.end().await;
    Ok(proof?.is_some_and(|proof| check_consistency(&proof, whole, whole_root, size, root).is_ok()))
}
