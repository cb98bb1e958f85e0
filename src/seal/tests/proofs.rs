//! Hashes as they are stored, the chain of checkpoints, and an entry's proof in a file.

use super::*;

#[test]
fn hashes_are_32_bytes_each() {
    let bytes: Vec<u8> = (0..96).collect();
    let hashes = hashes_from(&bytes).unwrap();
    assert_eq!(hashes.len(), 3);
    assert_eq!(Some(hashes[1]), hash_from(&bytes[32..64]));
    assert_eq!(hashes_to_bytes(&hashes), bytes);
    assert_eq!(hashes_from(&[]), Some(Vec::new()));
    for odd in [1, 31, 33, 95] {
        assert_eq!(hashes_from(&bytes[..odd]), None, "{odd}");
        assert_eq!(hash_from(&bytes[..odd]), None, "{odd}");
    }
}

#[test]
fn a_chain_tells_how_many_checkpoints_and_which() {
    let of = |notes: &[&[u8]]| {
        let mut chain = Chain::new();
        notes.iter().for_each(|note| chain.push(note));
        chain
    };
    assert_eq!(of(&[]), Chain::default());
    assert_eq!(of(&[b"a", b"b", b"c"]).count, 3);
    let links = [of(&[]), of(&[b"a"]), of(&[b"b"]), of(&[b"a", b"b"]), of(&[b"b", b"a"])];
    for (at, one) in links.iter().enumerate() {
        for other in &links[at + 1..] {
            assert_ne!(one.digest, other.digest);
        }
    }
    // RFC 6962's hash of two nodes: the digest so far, and the leaf that the note is.
    let want = tlog_tiles::node_hash(of(&[b"a"]).digest, tlog_tiles::record_hash(b"b"));
    assert_eq!(of(&[b"a", b"b"]).digest, want);
}

fn proven(signer: &Signer, size: u64, index: u64) -> EntryProof {
    let mut tree = Tree::new();
    (0..size).for_each(|n| drop(tree.push(leaf(n))));
    let checkpoint = Checkpoint { size, root: tree.root(), chain: None }.sign(signer).unwrap();
    let proof = prove_inclusion(size, index, &Levels::of(size)).unwrap();
    EntryProof { entry: index.to_string(), index, proof, checkpoint }
}

#[test]
fn a_proof_has_one_text_and_proves_one_entry_at_one_place() {
    let signer = signer();
    let verifier = signer.verifier().unwrap();
    for (size, index) in [(1, 0), (2, 1), (7, 6), (16, 5)] {
        let good = proven(&signer, size, index);
        let text = good.to_text();
        assert!(text.starts_with("c2sp.org/tlog-proof@v1\nextra "), "{text}");
        assert_eq!(EntryProof::read(&text), Ok(good.clone()));
        assert_eq!(good.verify(&verifier).unwrap().size, size);
        for (what, bad) in [
            ("another version", text.replacen("@v1", "@v2", 1)),
            ("a space more", text.replacen("extra ", "extra  ", 1)),
            ("a zero more", text.replacen("index ", "index 0", 1)),
            ("a sign", text.replacen("index ", "index +", 1)),
            ("no empty line", text.replacen("\n\n", "\n", 1)),
            ("other line ends", text.replace('\n', "\r\n")),
            ("no entry", text.replacen("extra ", "", 1)),
        ] {
            assert_eq!(EntryProof::read(&bad), Err(EntryProofError::Malformed), "{what}: {bad}");
        }
        let other = EntryProof { entry: "another".to_owned(), ..good.clone() };
        assert!(matches!(other.verify(&verifier), Err(EntryProofError::Entry(_))));
        let elsewhere = EntryProof { index: index + 1, ..good.clone() };
        assert!(matches!(elsewhere.verify(&verifier), Err(EntryProofError::Entry(_))));
        let foreign = proven(&super::signer(), size, index);
        assert_eq!(foreign.verify(&verifier), Err(EntryProofError::Checkpoint(NoteError::Signature)));
        let (_, key) = foreign
            .verify_by_any(&[verifier.clone(), super::signer().verifier().unwrap()])
            .map_or_else(|_| (None, None), |(checkpoint, key)| (Some(checkpoint), Some(key.clone())));
        assert_eq!(key, None);
        let keys = [super::signer().verifier().unwrap(), verifier.clone()];
        assert_eq!(good.verify_by_any(&keys).unwrap().1, &verifier);
    }
}
