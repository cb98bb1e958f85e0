//! The tree as it grows: what the next leaf needs, and nothing older.
//!
//! Two things are kept: the roots of the perfect subtrees at the right edge, at most one a bit of the size, from
//! which the root follows; and the hashes of the tiles that are not full yet. A full tile is handed out once, to
//! be stored, and never changes again (C2SP tlog-tiles, height 8). Not here: how leaves are hashed (`seal`).

use tlog_tiles::{Hash, node_hash};

/// Hashes in a full tile: 2^8.
pub const TILE: usize = 256;

/// Levels of the tree in one level of tiles.
const HEIGHT: u32 = 8;

/// A full tile.
#[derive(Clone, Debug, PartialEq)]
pub struct Tile {
    /// 0 over leaves, 1 over the roots of those tiles, and so on.
    pub level: u32,
    /// Which one of its level, from 0.
    pub index: u64,
    /// Root of the subtree over `hashes`: one hash of the level above.
    pub root: Hash,
    /// [`TILE`] hashes.
    pub hashes: Vec<Hash>,
}

/// Parts that don't make a tree of the size that they were given for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored hashes don't fit the size of the tree")]
pub struct Misfit;

/// An append-only Merkle tree (RFC 6962 section 2.1).
#[derive(Clone, Debug, Default)]
pub struct Tree {
    size: u64,
    edge: Vec<Hash>,
    partial: Vec<Vec<Hash>>,
}

impl Tree {
    /// The empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree of `size` leaves whose unfinished tiles are `partial`, from level 0 up.
    ///
    /// # Errors
    /// A tile has another number of hashes than a tree of this size has there.
    pub fn from_partial(size: u64, mut partial: Vec<Vec<Hash>>) -> Result<Self, Misfit> {
        let levels = Self::levels(size);
        if partial.iter().skip(levels).any(|tile| !tile.is_empty()) {
            return Err(Misfit);
        }
        partial.resize(levels, Vec::new());
        let widths = (0u32..).map(|level| Self::width(size, level));
        if partial.iter().zip(widths).any(|(tile, width)| tile.len() != width) {
            return Err(Misfit);
        }
        let edge = partial.iter().rev().flat_map(|tile| perfect_roots(tile)).collect();
        Ok(Self { size, edge, partial })
    }

    /// How many levels of tiles a tree of this size has.
    #[must_use]
    pub fn levels(size: u64) -> usize {
        let bits = u64::BITS - size.leading_zeros();
        usize::try_from(bits.div_ceil(HEIGHT)).unwrap_or(usize::MAX)
    }

    /// How many hashes the unfinished tile of a level holds in a tree of this size.
    #[must_use]
    pub fn width(size: u64, level: u32) -> usize {
        let above = size.checked_shr(HEIGHT * level).unwrap_or(0);
        usize::from(u8::try_from(above % 256).unwrap_or(0))
    }

    /// How many leaves there are.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The unfinished tiles' hashes, from level 0 up.
    #[must_use]
    pub fn partial(&self) -> &[Vec<Hash>] {
        &self.partial
    }

    /// The leaves of the unfinished tile of level 0.
    #[must_use]
    pub fn tail(&self) -> &[Hash] {
        self.partial.first().map_or(&[], Vec::as_slice)
    }

    /// The root over all leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        join(&self.edge)
    }

    /// Adds a leaf; hands out the tiles that it fills, lowest first.
    #[must_use = "a full tile is handed out only once"]
    pub fn push(&mut self, leaf: Hash) -> Vec<Tile> {
        let mut full = Vec::new();
        let mut carry = leaf;
        let mut height = 0u32;
        self.add(0, leaf);
        while self.size.checked_shr(height).is_some_and(|rest| rest & 1 == 1) {
            let Some(left) = self.edge.pop() else { break };
            carry = node_hash(left, carry);
            height += 1;
            if height.is_multiple_of(HEIGHT) {
                let level = height / HEIGHT - 1;
                let hashes = self.take(level);
                full.push(Tile { level, index: self.size >> height, root: carry, hashes });
                self.add(level + 1, carry);
            }
        }
        self.edge.push(carry);
        self.size += 1;
        full
    }

    fn add(&mut self, level: u32, hash: Hash) {
        let level = usize::try_from(level).unwrap_or(usize::MAX);
        match self.partial.get_mut(level) {
            Some(tile) => tile.push(hash),
            // A level comes into being right above the one before it.
            None => self.partial.push(vec![hash]),
        }
    }

    fn take(&mut self, level: u32) -> Vec<Hash> {
        let level = usize::try_from(level).unwrap_or(usize::MAX);
        self.partial.get_mut(level).map(std::mem::take).unwrap_or_default()
    }
}

/// The roots of the perfect subtrees over `hashes`, largest first.
fn perfect_roots(mut hashes: &[Hash]) -> Vec<Hash> {
    let mut roots = Vec::new();
    while !hashes.is_empty() {
        let width = 1usize << hashes.len().ilog2();
        let (left, rest) = hashes.split_at(width);
        roots.push(perfect_root(left));
        hashes = rest;
    }
    roots
}

/// The perfect subtrees that a tree of `size` leaves consists of, largest first: how many levels each has above
/// the leaves, and which one of that level it is.
#[must_use]
pub fn subtrees(size: u64) -> Vec<(u32, u64)> {
    let levels = (0..u64::BITS).rev().filter(|level| size >> level & 1 == 1);
    levels.map(|level| (level, (size >> level) - 1)).collect()
}

/// The root over perfect subtrees, given largest first (RFC 6962 section 2.1).
#[must_use]
pub fn join(roots: &[Hash]) -> Hash {
    let joined = roots.iter().copied().rev().reduce(|right, left| node_hash(left, right));
    joined.unwrap_or(tlog_tiles::EMPTY_HASH)
}

/// The root over a power of two of hashes.
#[must_use]
pub fn perfect_root(hashes: &[Hash]) -> Hash {
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        let (pairs, _) = row.as_chunks();
        row = pairs.iter().map(|[left, right]| node_hash(*left, *right)).collect();
    }
    row.first().copied().unwrap_or(tlog_tiles::EMPTY_HASH)
}
