//! Keys of replicas, and keys that follow one another.

use super::*;

fn key(name: &str) -> Signer {
    Signer::new(generate_key(name).unwrap().0.expose_secret()).unwrap()
}

fn note(signer: &Signer, size: u64) -> Vec<u8> {
    Checkpoint { size, root: leaf(size), chain: None }.sign(signer).unwrap().into_bytes()
}

fn rotation(size: u64, old: &Signer, new: &Signer) -> Rotation {
    Rotation { size, old: old.verifier().unwrap(), new: new.verifier().unwrap() }
}

#[test]
fn a_key_is_equal_to_itself_alone() {
    let (one, other) = (key("tunnelwarden/test"), key("tunnelwarden/test"));
    assert_eq!(one.verifier().unwrap(), Verifier::new(one.public_key()).unwrap());
    assert_ne!(one.verifier().unwrap(), other.verifier().unwrap());
    let verifier = one.verifier().unwrap();
    assert_eq!(verifier.public_key(), one.public_key());
    // A public key's text is name, id and key.
    assert_eq!(verifier.id(), one.public_key().split('+').nth(1).unwrap());
    assert_eq!(format!("{verifier:?}"), format!("Verifier(tunnelwarden/test+{})", verifier.id()));
}

#[test]
fn a_replica_signs_with_the_one_key_under_a_name_of_its_own() {
    let (secret, public) = generate_key("tunnelwarden/prod").unwrap();
    let whole = Verifier::new(&public).unwrap();
    let replica = Signer::of_replica(secret.expose_secret(), "a").unwrap();
    assert_eq!(replica.origin(), "tunnelwarden/prod/a");
    let of_replica = whole.of_replica("a").unwrap();
    assert_eq!(of_replica, replica.verifier().unwrap());
    assert!(of_replica.is_same_key(&whole) && of_replica != whole, "one key, another log");
    assert!(!key("tunnelwarden/prod").verifier().unwrap().is_same_key(&whole), "one log, another key");
    let signed = note(&replica, 3);
    assert!(Checkpoint::open(&signed, &of_replica).is_ok());
    assert!(Checkpoint::open(&signed, &whole).is_err(), "it is another log");
    assert!(Checkpoint::open(&signed, &whole.of_replica("b").unwrap()).is_err());

    for (origin, signs) in
        [("tunnelwarden/prod", &public), ("tunnelwarden/prod/a", &of_replica.public_key().to_owned())]
    {
        assert_eq!(Signer::of_origin(secret.expose_secret(), origin).unwrap().public_key(), signs);
    }
    assert_eq!(whole.of_origin("tunnelwarden/prod"), Some(whole.clone()));
    assert_eq!(whole.of_origin("tunnelwarden/prod/a"), Some(of_replica));
    for none in [
        "",
        "tunnelwarden",
        "tunnelwarden/prod/",
        "tunnelwarden/prodder",
        "other/prod/a",
        "tunnelwarden/prod/a b",
    ] {
        assert_eq!(whole.of_origin(none), None, "{none}");
        assert!(Signer::of_origin(secret.expose_secret(), none).is_err(), "{none}");
    }
    for bad in ["", "a b", "a+b", "a\n"] {
        assert_eq!(whole.of_replica(bad).unwrap_err(), KeyError::Name, "{bad:?}");
        assert_eq!(Signer::of_replica(secret.expose_secret(), bad).unwrap_err(), KeyError::Name, "{bad:?}");
    }
}

#[test]
fn a_key_follows_only_the_one_in_use() {
    let [a, b, c] = [(); 3].map(|()| key("tunnelwarden/test"));
    let foreign = key("tunnelwarden/other");
    let mut keys = Succession::of(a.verifier().unwrap());
    assert_eq!(keys.push(rotation(5, &b, &c)), Err(SuccessionError::Gap));
    assert_eq!(keys.push(rotation(5, &a, &foreign)), Err(SuccessionError::Origin));
    assert_eq!(keys.push(rotation(5, &a, &a)), Err(SuccessionError::Again));
    assert_eq!(keys.push(rotation(5, &a, &b)), Ok(()));
    for size in [4, 5] {
        assert_eq!(keys.push(rotation(size, &b, &c)), Err(SuccessionError::Order));
    }
    assert_eq!(keys.push(rotation(6, &b, &a)), Err(SuccessionError::Again));
    assert_eq!(keys.push(rotation(6, &b, &c)), Ok(()));
    assert_eq!(*keys.newest(), c.verifier().unwrap());
    let all: Vec<_> = keys.spans().map(|(key, end)| (key.id(), end)).collect();
    let id = |signer: &Signer| signer.verifier().unwrap().id();
    assert_eq!(all, [(id(&a), Some(5)), (id(&b), Some(6)), (id(&c), None)]);
    assert_eq!(keys.ends().collect::<Vec<_>>(), [5, 6]);
}

#[test]
fn a_key_signs_only_as_far_as_it_was_in_use() {
    let [a, b, c] = [(); 3].map(|()| key("tunnelwarden/test"));
    let mut keys = Succession::of(a.verifier().unwrap());
    keys.push(rotation(5, &a, &b)).unwrap();
    keys.push(rotation(9, &b, &c)).unwrap();
    // By what size which key's note is stored, and which key's is kept elsewhere.
    for (size, stored, kept) in [
        (1, [true, false, false], [true, false, false]),
        (5, [true, false, false], [true, true, false]),
        (6, [false, true, false], [false, true, false]),
        (9, [false, true, false], [false, true, true]),
        (10, [false, false, true], [false, false, true]),
    ] {
        for (n, signer) in [&a, &b, &c].into_iter().enumerate() {
            let note = note(signer, size);
            assert_eq!(keys.open_stored(&note, size).is_ok(), stored[n], "stored: key {n} over {size}");
            let opened = keys.open_kept(&note).map(|(checkpoint, key)| (checkpoint.size, key.id()));
            let want = if kept[n] {
                Ok((size, signer.verifier().unwrap().id()))
            } else {
                Err(NoteError::OutOfUse(size))
            };
            assert_eq!(opened, want, "kept: key {n} over {size}");
        }
    }
    assert_eq!(keys.open_kept(&note(&key("tunnelwarden/test"), 5)).unwrap_err(), NoteError::Signature);
    assert_eq!(keys.open_kept(b"no note").unwrap_err(), NoteError::Malformed);
}

#[test]
fn the_head_is_the_newest_keys_but_for_a_rotation_under_way() {
    let [a, b, c] = [(); 3].map(|()| key("tunnelwarden/test"));
    let alone = Succession::of(a.verifier().unwrap());
    assert!(alone.open_head(&note(&a, 5)).is_ok());
    assert_eq!(alone.open_head(&note(&b, 5)).unwrap_err(), NoteError::Signature);
    let mut keys = alone;
    keys.push(rotation(5, &a, &b)).unwrap();
    let by = |signer, size| keys.open_head(&note(signer, size)).map(|(_, key)| key.id());
    assert_eq!(by(&b, 8), Ok(b.verifier().unwrap().id()));
    assert_eq!(by(&a, 5), Ok(a.verifier().unwrap().id()));
    assert_eq!(by(&a, 4), Err(NoteError::OutOfUse(4)));
    assert_eq!(by(&a, 6), Err(NoteError::OutOfUse(6)));
    assert_eq!(by(&c, 5), Err(NoteError::Signature));
    assert_eq!(keys.open_head(b"no note").unwrap_err(), NoteError::Malformed);
}
