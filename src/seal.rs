//! Evidence: the log's Merkle tree, its signed checkpoints and the proofs that rest on them.
//!
//! An entry's hash is a leaf of an RFC 6962 tree; a [`Checkpoint`] is a C2SP tlog-checkpoint (origin, size, root)
//! in a C2SP signed note with one Ed25519 signature. Both come from `tlog_tiles` and `signed_note`, so any tool
//! of that family can check them. All here is pure: bytes in, bytes out, no clock, no disk.
//!
//! Not here: where hashes and checkpoints are kept (`store`), how a whole log is checked (`inspect::verify`).

mod chain;
mod checkpoint;
mod edge;
mod entry_proof;
mod key;
mod proof;
#[cfg(test)]
mod properties;
mod succession;
#[cfg(test)]
mod tests;
mod tree;

pub use chain::Chain;
pub use checkpoint::{Checkpoint, NoteError, by_any_key, named_signers};
pub use edge::Edge;
pub use entry_proof::{EntryProof, EntryProofError};
pub use key::{KeyError, Signer, Verifier, generate_key};
pub use proof::{Proof, ProofError, check_consistency, check_inclusion, prove_consistency, prove_inclusion};
pub use succession::{Rotation, Succession, SuccessionError};
pub use tlog_tiles::Hash;
pub use tree::{Misfit, TILE, Tile, Tree, join, perfect_root, subtrees};

/// The hash of an entry: SHA-256 of a zero byte and its text (RFC 6962 section 2.1).
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    tlog_tiles::record_hash(entry)
}

/// A hash from exactly 32 bytes.
#[must_use]
pub fn hash_from(bytes: &[u8]) -> Option<Hash> {
    Some(Hash(bytes.try_into().ok()?))
}

/// Hashes that stand one after the other, 32 bytes each.
#[must_use]
pub fn hashes_from(bytes: &[u8]) -> Option<Vec<Hash>> {
    let chunks = bytes.chunks_exact(tlog_tiles::HASH_SIZE);
    if chunks.remainder().is_empty() { chunks.map(hash_from).collect() } else { None }
}

/// Hashes, one after the other, 32 bytes each.
#[must_use]
pub fn hashes_to_bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}
