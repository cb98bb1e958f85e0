//! Trees of any size, cut anywhere: they grow as if they had never been cut, and prove what they hold and nothing else.
//!
//! Not here: roots that other code computed (`tests`).

use std::sync::LazyLock;

use proptest::prelude::*;
use tlog_tiles::{HashReader, split_stored_hash_index};

use super::*;

/// Three levels of tiles, and some more.
const MOST: u64 = 70_000;

/// The leaves of the largest tree, and all hashes above them, level by level.
static LEVELS: LazyLock<Vec<Vec<Hash>>> = LazyLock::new(|| {
    let mut levels = vec![(0..MOST).map(leaf).collect::<Vec<_>>()];
    while let Some(last) = levels.last().filter(|last| last.len() > 1) {
        let next = last.chunks_exact(2).map(|pair| tlog_tiles::node_hash(pair[0], pair[1])).collect();
        levels.push(next);
    }
    levels
});

fn leaf(n: u64) -> Hash {
    leaf_hash(n.to_string().as_bytes())
}

/// The perfect subtrees are the same in every tree that is large enough to have them.
struct Stored;

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        let find = |index: &u64| {
            let (level, n) = split_stored_hash_index(*index);
            LEVELS.get(usize::from(level))?.get(usize::try_from(n).ok()?).copied()
        };
        indexes.iter().map(find).collect::<Option<_>>().ok_or(tlog_tiles::Error::IndexesNotInTree)
    }
}

/// The root of the first leaves, from the perfect subtrees.
fn root(size: u64) -> Hash {
    let at = |(level, n): (u32, u64)| LEVELS[level as usize][usize::try_from(n).unwrap()];
    join(&subtrees(size).into_iter().map(at).collect::<Vec<_>>())
}

/// The unfinished tiles of a tree, as they are stored.
fn partial(size: u64) -> Vec<Vec<Hash>> {
    let tile = |level: usize| {
        let width = Tree::width(size, u32::try_from(level).unwrap());
        let end = usize::try_from(size >> (8 * level)).unwrap();
        LEVELS[8 * level][end - width..end].to_vec()
    };
    (0..Tree::levels(size)).map(tile).collect()
}

fn flipped(hash: Hash, bit: usize) -> Hash {
    let mut hash = hash;
    hash.0[bit / 8 % 32] ^= 1 << (bit % 8);
    hash
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_tree_goes_on_from_where_it_was_cut(cut in 0..MOST, more in 0..2000u64, bit in 0..256usize) {
        let size = (cut + more).min(MOST);
        let mut tree = Tree::from_partial(cut, partial(cut)).unwrap();
        prop_assert_eq!(tree.root(), root(cut));
        for n in cut..size {
            for tile in tree.push(LEVELS[0][usize::try_from(n).unwrap()]) {
                let from = usize::try_from(tile.index).unwrap() * TILE;
                let level = 8 * tile.level as usize;
                prop_assert_eq!(&tile.hashes[..], &LEVELS[level][from..from + TILE]);
            }
        }
        prop_assert_eq!((tree.size(), tree.root()), (size, root(size)));
        prop_assert_eq!(tree.partial().concat(), partial(size).concat());
        // A hash that is another makes another root; one more or less is no tree of this size.
        for level in 0..Tree::levels(size) {
            let mut other = partial(size);
            if let Some(hash) = other[level].last_mut() {
                *hash = flipped(*hash, bit);
                prop_assert_ne!(Tree::from_partial(size, other.clone()).unwrap().root(), root(size));
                other[level].pop();
                prop_assert!(Tree::from_partial(size, other.clone()).is_err());
            }
            other[level].extend([LEVELS[0][0]; 2]);
            prop_assert!(Tree::from_partial(size, other).is_err());
        }
    }

    #[test]
    fn a_leaf_is_proven_and_no_other(size in 1..=MOST, at in any::<u64>(), which in any::<usize>(), bit in 0..256usize) {
        let (index, root) = (at % size, root(size));
        let leaf = LEVELS[0][usize::try_from(index).unwrap()];
        let proof = prove_inclusion(size, index, &Stored).unwrap();
        prop_assert!(check_inclusion(&proof, size, root, index, leaf).is_ok());
        prop_assert!(check_inclusion(&proof, size, flipped(root, bit), index, leaf).is_err());
        prop_assert!(check_inclusion(&proof, size, root, index, flipped(leaf, bit)).is_err());
        prop_assert!(check_inclusion(&proof, size, root, index ^ (1 << (bit % 64)), leaf).is_err());
        if !proof.is_empty() {
            let mut other = proof.clone();
            let which = which % other.len();
            other[which] = flipped(other[which], bit);
            prop_assert!(check_inclusion(&other, size, root, index, leaf).is_err());
            other.remove(which);
            prop_assert!(check_inclusion(&other, size, root, index, leaf).is_err());
        }
        prop_assert!(prove_inclusion(size, size, &Stored).is_err());
    }

    #[test]
    fn an_earlier_tree_is_proven_and_no_other(size in 1..=MOST, at in any::<u64>(), which in any::<usize>(), bit in 0..256usize) {
        let before = 1 + at % size;
        let (now, then) = (root(size), root(before));
        let proof = prove_consistency(size, before, &Stored).unwrap();
        prop_assert!(check_consistency(&proof, size, now, before, then).is_ok());
        prop_assert!(check_consistency(&proof, size, now, before, flipped(then, bit)).is_err());
        prop_assert!(check_consistency(&proof, size, flipped(now, bit), before, then).is_err());
        if !proof.is_empty() {
            let mut other = proof.clone();
            let which = which % other.len();
            other[which] = flipped(other[which], bit);
            prop_assert!(check_consistency(&other, size, now, before, then).is_err());
            other.remove(which);
            prop_assert!(check_consistency(&other, size, now, before, then).is_err());
        }
        prop_assert!(check_consistency(&Vec::new(), size, now, size, now).is_ok());
        prop_assert!(check_consistency(&Vec::new(), size, now, size, flipped(now, bit)).is_err());
        prop_assert!(prove_consistency(size, size + 1, &Stored).is_err());
    }
}
