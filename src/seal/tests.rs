//! Tests of the evidence: roots made by other code, a log that proves itself after each step, and notes of which
//! every byte counts.

mod keys;
mod proofs;

use tlog_tiles::{Hash, HashReader, split_stored_hash_index};

use super::*;
use crate::secret::ExposeSecret as _;

fn signer() -> Signer {
    Signer::new(generate_key("tunnelwarden/test").unwrap().0.expose_secret()).unwrap()
}

fn hex(hash: Hash) -> String {
    data_encoding::HEXLOWER.encode(&hash.0)
}

/// Roots over the leaves `0`, `1`, ... in decimal, made by this Python:
///
/// ```python
/// import hashlib
/// def mth(l):
///     n = len(l)
///     if n == 0: return hashlib.sha256(b"").digest()
///     if n == 1: return hashlib.sha256(b"\0" + l[0]).digest()
///     k = 1
///     while k * 2 < n: k *= 2
///     return hashlib.sha256(b"\1" + mth(l[:k]) + mth(l[k:])).digest()
/// print(mth([str(i).encode() for i in range(n)]).hex())
/// ```
const ROOTS: [(u64, &str); 11] = [
    (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    (1, "db3426e878068d28d269b6c87172322ce5372b65756d0789001d34835f601c03"),
    (2, "cb00989d94a569c0a678ae042b63dcd4625db96440517f37a6eb7976ea24ed4b"),
    (3, "725d5230db68f557470dc35f1d8865813acd7ebb07ad152774141decbae71327"),
    (7, "a3e23b32ccb6bf96d092d165d8aa546e09829de8f03b0e8957581d1e16b92bdf"),
    (8, "3b85a9626c1ccb64c6b95ec7fa64888defe2cf12e39e77e10812ce5fcb9cb58e"),
    (255, "32f85bcaa87d7bcd05728f09e9aeba350ba6a2f733830087f0597682848be5cb"),
    (256, "828515d033c19d8c901f37eccb8aed919667703486f8d2fff1cf7040321c5db1"),
    (257, "1eda049a4351d86f76252bd7ec0b7746ad75b7fa0316ad5f541dbda458a312c4"),
    (1000, "638afa98022925bacfddadb15ef22fd0199c1ac99c2973b6158243d13fce05c2"),
    (65537, "dc8795a25fd4bd52a0b84f639fd3139ba160824023d188e428eb5db0f3ce221a"),
];

fn leaf(n: u64) -> Hash {
    leaf_hash(n.to_string().as_bytes())
}

#[test]
fn roots_are_those_that_other_code_computes() {
    let mut tree = Tree::new();
    for (size, root) in ROOTS {
        while tree.size() < size {
            let _ = tree.push(leaf(tree.size()));
        }
        assert_eq!(hex(tree.root()), root, "size {size}");
    }
}

/// All hashes of a tree over few leaves, computed level by level.
struct Levels(Vec<Vec<Hash>>);

impl Levels {
    fn of(size: u64) -> Self {
        let mut levels = vec![(0..size).map(leaf).collect::<Vec<_>>()];
        while let Some(last) = levels.last().filter(|last| last.len() > 1) {
            let next = last.chunks_exact(2).map(|pair| tlog_tiles::node_hash(pair[0], pair[1])).collect();
            levels.push(next);
        }
        Self(levels)
    }
}

impl HashReader for Levels {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        let find = |index: &u64| {
            let (level, n) = split_stored_hash_index(*index);
            self.0.get(usize::from(level))?.get(usize::try_from(n).ok()?).copied()
        };
        indexes.iter().map(find).collect::<Option<_>>().ok_or(tlog_tiles::Error::IndexesNotInTree)
    }
}

#[test]
fn after_each_leaf_the_log_proves_every_leaf_and_every_earlier_log() {
    let (mut tree, mut roots) = (Tree::new(), vec![]);
    for size in 1..=40u64 {
        let _ = tree.push(leaf(size - 1));
        roots.push(tree.root());
        let levels = Levels::of(size);
        for n in 0..size {
            let proof = prove_inclusion(size, n, &levels).unwrap();
            check_inclusion(&proof, size, tree.root(), n, leaf(n)).unwrap();
            assert!(check_inclusion(&proof, size, tree.root(), n, leaf(n + 1)).is_err());
            let before = usize::try_from(n).unwrap();
            let proof = prove_consistency(size, n + 1, &levels).unwrap();
            check_consistency(&proof, size, tree.root(), n + 1, roots[before]).unwrap();
            assert!(check_consistency(&proof, size, tree.root(), n + 1, leaf(0)).is_err() || n == 0);
        }
    }
    assert!(prove_inclusion(5, 5, &Levels::of(5)).is_err());
    assert!(prove_inclusion(5, 4, &Levels::of(3)).is_err());
}

#[test]
fn a_tree_put_together_from_its_unfinished_tiles_goes_on_the_same() {
    let mut whole = Tree::new();
    for n in 0..66_200u64 {
        if n % 1009 == 0 || (65_530..65_545).contains(&n) {
            let mut again = Tree::from_partial(n, whole.partial().to_vec()).unwrap();
            assert_eq!(again.root(), whole.root(), "size {n}");
            let tail: Vec<Hash> = (n - n % 256..n).map(leaf).collect();
            assert_eq!(again.tail(), tail, "size {n}");
            let _ = again.push(leaf(n));
            let _ = whole.clone().push(leaf(n));
        }
        let full = whole.push(leaf(n));
        assert_eq!(!full.is_empty(), (n + 1) % 256 == 0);
        for tile in full {
            assert_eq!(tile.hashes.len(), TILE);
            assert_eq!(tile.index, (n + 1) / 256u64.pow(tile.level + 1) - 1);
            let as_bytes = hashes_to_bytes(&tile.hashes);
            assert_eq!(tlog_tiles::Tile::subtree_hash(&as_bytes), tile.root);
        }
    }
    assert!(Tree::from_partial(3, vec![vec![leaf(0)]]).is_err());
    assert!(Tree::from_partial(0, vec![vec![leaf(0)]]).is_err());
}

#[test]
fn an_edge_goes_on_from_any_size_to_the_roots_of_the_whole_tree() {
    for from in 0..40u64 {
        let hashes = Levels::of(from);
        let root = |(level, n): (u32, u64)| hashes.0[level as usize][usize::try_from(n).unwrap()];
        let mut edge = Edge::new(from, subtrees(from).into_iter().map(root).collect()).unwrap();
        let mut tree = Tree::new();
        (0..from).for_each(|n| drop(tree.push(leaf(n))));
        for n in from..300 {
            assert_eq!((edge.size(), edge.root()), (n, tree.root()), "from {from}");
            edge.push(leaf(n));
            let _ = tree.push(leaf(n));
        }
    }
    assert_eq!(Edge::default().root(), Tree::new().root());
    assert!(Edge::new(3, vec![leaf(0)]).is_err());
    assert!(Edge::new(0, vec![leaf(0)]).is_err());
}

#[test]
fn a_checkpoint_is_read_back_as_it_was_signed() {
    let signer = signer();
    let verifier = signer.verifier().unwrap();
    let mut chain = Chain::new();
    chain.push(b"a note");
    for chain in [None, Some(Chain::new()), Some(chain)] {
        let checkpoint = Checkpoint { size: 7, root: leaf(7), chain };
        let note = checkpoint.sign(&signer).unwrap();
        assert_eq!(Checkpoint::open(note.as_bytes(), &verifier), Ok(checkpoint));
        assert!(note.starts_with("tunnelwarden/test\n7\n"), "{note}");
    }
}

#[test]
fn no_byte_of_a_checkpoint_can_change() {
    let signer = signer();
    let verifier = signer.verifier().unwrap();
    let checkpoint = Checkpoint { size: 7, root: leaf(7), chain: Some(Chain::new()) };
    let note = checkpoint.sign(&signer).unwrap().into_bytes();
    for at in 0..note.len() {
        for change in [1u8, 0x20, 0x80, 0xff] {
            let mut changed = note.clone();
            changed[at] ^= change;
            assert!(Checkpoint::open(&changed, &verifier).is_err(), "byte {at} by {change:#x}");
            assert!(Checkpoint::open_cosigned(&changed, &verifier).is_err(), "byte {at} by {change:#x}");
        }
        assert!(Checkpoint::open(&note[..at], &verifier).is_err(), "cut at {at}");
    }
}

#[test]
fn a_checkpoint_of_another_key_or_with_more_signatures_is_not_ours() {
    let (ours, other) = (signer(), signer());
    let verifier = ours.verifier().unwrap();
    let checkpoint = Checkpoint { size: 7, root: leaf(7), chain: None };
    let foreign = checkpoint.sign(&other).unwrap();
    assert_eq!(Checkpoint::open(foreign.as_bytes(), &verifier), Err(NoteError::Signature));

    let mut both = checkpoint.sign(&ours).unwrap();
    both.push_str(foreign.rsplit_once("\n\n").unwrap().1);
    assert_eq!(Checkpoint::open(both.as_bytes(), &verifier), Err(NoteError::Malformed));
    assert_eq!(Checkpoint::open_cosigned(both.as_bytes(), &verifier), Ok(checkpoint));

    let once = checkpoint.sign(&ours).unwrap();
    let twice = format!("{once}{}", once.rsplit_once("\n\n").unwrap().1);
    assert_eq!(Checkpoint::open(twice.as_bytes(), &verifier), Err(NoteError::Malformed));
}

/// Whom a note names is no proof, and is told of notes that prove nothing here.
#[test]
fn who_signed_a_note_is_told_by_name_and_id() {
    let (one, other) = (signer(), signer());
    let note = Checkpoint { size: 0, root: Tree::new().root(), chain: None };
    let signed = |signer: &Signer| note.sign(signer).unwrap();
    let id = |signer: &Signer| ("tunnelwarden/test".to_owned(), signer.verifier().unwrap().id());
    let by_one = signed(&one);
    assert_eq!(named_signers(by_one.as_bytes()), Some(vec![id(&one)]));
    let line = signed(&other).lines().last().unwrap().to_owned();
    let by_both = format!("{by_one}{line}\n");
    assert_eq!(named_signers(by_both.as_bytes()), Some(vec![id(&one), id(&other)]));
    for none in ["", "a text", by_one.trim_end(), &by_both.replace("— ", "- "), &format!("{by_one}— x y\n")]
    {
        assert_eq!(named_signers(none.as_bytes()), None, "{none}");
    }
}

#[test]
fn keys_are_taken_only_for_what_they_are_and_never_shown() {
    let (secret, public) = generate_key("tunnelwarden/test").unwrap();
    let signer = Signer::new(&format!("{}\n", secret.expose_secret())).unwrap();
    assert_eq!(signer.public_key(), public);
    assert_eq!(signer.origin(), "tunnelwarden/test");
    assert_eq!(Verifier::new(secret.expose_secret()).unwrap_err(), KeyError::Secret);
    assert_eq!(Verifier::new("no key").unwrap_err(), KeyError::Public);
    assert_eq!(Signer::new(&public).unwrap_err(), KeyError::Signing);
    for name in ["", "a b", "a+b", "a\nb", "a\u{7f}"] {
        assert_eq!(generate_key(name).unwrap_err(), KeyError::Name, "{name:?}");
    }
    // Base64 may have a plus of its own.
    let hidden = secret.expose_secret().splitn(5, '+').last().unwrap().to_owned();
    assert!(hidden.len() > 40, "the secret part of the key");
    assert!(!format!("{signer:?}").contains(&hidden));
}
