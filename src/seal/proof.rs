//! Proofs that an entry is in the log, and that a later log holds an earlier one (RFC 6962 section 2.1).
//!
//! A thin cover over `tlog_tiles`, which panics where a caller breaks its word; here that is an error. Not here:
//! where the hashes come from.

use tlog_tiles::{Hash, HashReader, TreeProof};

/// The hashes of a proof, as RFC 6962 orders them.
pub type Proof = TreeProof;

/// Hashes in a proof that are looked at: a tree of 2^63 entries needs 64.
const MAX_PROOF: usize = 64;

/// A proof that proves nothing, or can't be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the proof does not hold")]
pub struct ProofError;

/// Proves that the tree of `size` has a leaf at `index`.
///
/// # Errors
/// There is no such leaf, or its hashes can't be read.
pub fn prove_inclusion(size: u64, index: u64, hashes: &impl HashReader) -> Result<Proof, ProofError> {
    tlog_tiles::prove_record(size, index, &Whole(hashes)).map_err(|_| ProofError)
}

/// Checks that the tree of `size` with `root` has `leaf` at `index`.
///
/// # Errors
/// It is not proven.
pub fn check_inclusion(
    proof: &Proof,
    size: u64,
    root: Hash,
    index: u64,
    leaf: Hash,
) -> Result<(), ProofError> {
    if proof.len() > MAX_PROOF {
        return Err(ProofError);
    }
    tlog_tiles::check_record(proof, size, root, index, leaf).map_err(|_| ProofError)
}

/// Proves that the tree of `size` begins with the tree of `before` leaves.
///
/// # Errors
/// `before` is 0 or above `size`, or the hashes can't be read.
pub fn prove_consistency(size: u64, before: u64, hashes: &impl HashReader) -> Result<Proof, ProofError> {
    tlog_tiles::prove_tree(size, before, &Whole(hashes)).map_err(|_| ProofError)
}

/// Checks that the tree of `size` with `root` begins with the tree of `before` leaves with `root_before`.
///
/// # Errors
/// It is not proven.
pub fn check_consistency(
    proof: &Proof,
    size: u64,
    root: Hash,
    before: u64,
    root_before: Hash,
) -> Result<(), ProofError> {
    if proof.len() > MAX_PROOF {
        return Err(ProofError);
    }
    tlog_tiles::check_tree(proof, size, root, before, root_before).map_err(|_| ProofError)
}

/// A reader whose answers have the length that was asked for, which `tlog_tiles` takes for granted.
struct Whole<'a, R>(&'a R);

impl<R: HashReader> HashReader for Whole<'_, R> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        let hashes = self.0.read_hashes(indexes)?;
        if hashes.len() == indexes.len() { Ok(hashes) } else { Err(tlog_tiles::Error::IndexesNotInTree) }
    }
}
