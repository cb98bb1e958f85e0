//! The right edge of a tree: what its root, and all later roots, follow from.
//!
//! For whoever has the leaves from some place on, and of all before it only the roots of the perfect subtrees. Not
//! here: tiles, which only the tree of a log that is written has (`seal::tree`).

use tlog_tiles::{Hash, node_hash};

use super::{Misfit, join};

/// The roots of the perfect subtrees of a tree that grows (RFC 6962 section 2.1); by default of one without leaves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edge {
    size: u64,
    /// Largest first: one for each bit of the size that is set.
    roots: Vec<Hash>,
}

impl Edge {
    /// The edge of a tree of `size` leaves, from the roots of its subtrees as `subtrees(size)` has them.
    ///
    /// # Errors
    /// A tree of this size has another number of them.
    pub fn new(size: u64, roots: Vec<Hash>) -> Result<Self, Misfit> {
        if u32::try_from(roots.len()) == Ok(size.count_ones()) {
            Ok(Self { size, roots })
        } else {
            Err(Misfit)
        }
    }

    /// How many leaves there are.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The root over all leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        join(&self.roots)
    }

    /// Adds a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut carry = leaf;
        // Each subtree that ends here and is as large as what was carried so far goes into one twice as large.
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.roots.pop() else { break };
            carry = node_hash(left, carry);
        }
        self.roots.push(carry);
        self.size += 1;
    }
}
