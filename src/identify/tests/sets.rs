//! JWK Sets: which keys are used, and what is said of the others.

use super::*;
use crate::identify::jwk;

/// Reads a set of one key, made of the algorithm's with some members replaced; what is said of it.
fn said(algorithm: Algorithm, changes: &[(&'static str, &str)]) -> Vec<String> {
    let mut key = key(algorithm).jwk();
    for (name, text) in changes {
        key.set(*name, json::read(text.as_bytes(), 8).unwrap());
    }
    let set = Json::from(Object::from_iter([("keys", vec![key])])).to_string();
    let set = jwk::read(set.as_bytes()).unwrap();
    if set.serves(&ALL) { vec!["taken".into()] } else { set.complaints }
}

#[track_caller]
fn judged(algorithm: Algorithm, changes: &[(&'static str, &str)], expected: &str) {
    let said = said(algorithm, changes);
    if expected.is_empty() {
        assert!(said.is_empty(), "{said:?}");
    } else {
        assert!(said.len() == 1 && said[0].contains(expected), "{changes:?}: {said:?}");
    }
}

#[test]
fn keys_are_used_only_for_what_they_are() {
    use Algorithm::{EdDsa, Es256, Rs256};
    judged(Es256, &[], "taken");
    judged(Es256, &[("use", "\"enc\"")], "");
    judged(Es256, &[("key_ops", "[\"verify\"]")], "taken");
    judged(Es256, &[("key_ops", "[\"encrypt\"]")], "");
    judged(Es256, &[("key_ops", "\"verify\"")], "key_ops");
    judged(Es256, &[("alg", "\"ES384\"")], "does not fit");
    judged(Es256, &[("alg", "\"HS256\"")], "");
    judged(Es256, &[("alg", "\"ES512\"")], "");
    judged(Es256, &[("alg", "7")], "no string");
    judged(Es256, &[("crv", "\"secp256k1\"")], "");
    judged(Es256, &[("crv", "\"P-384\"")], "length");
    judged(Es256, &[("kty", "\"oct\""), ("k", "\"AAAA\"")], "symmetric");
    judged(Es256, &[("d", "\"AAAA\"")], "private");
    judged(Rs256, &[("p", "\"AAAA\"")], "private");
    judged(Es256, &[("kid", "\"\"")], "kid");
    judged(Es256, &[("kid", "\"a\\u0000\"")], "kid");
    judged(Es256, &[("x", "\"AAAA\"")], "length");
    judged(Es256, &[("x", &format!("\"{}\"", "A".repeat(43)))], "curve");
    judged(Es256, &[("x", "\"a=\"")], "base64url");
    judged(EdDsa, &[("x", &format!("\"{}\"", "A".repeat(43)))], "small order");
    judged(EdDsa, &[("x", &format!("\"AQ{}\"", "A".repeat(41)))], "small order");
    judged(EdDsa, &[("x", "\"AAAA\"")], "32 bytes");
    judged(EdDsa, &[("crv", "\"X25519\"")], "");
    judged(Rs256, &[("e", "\"Aw\"")], "exponent");
    judged(Rs256, &[("e", "\"AQAA\"")], "exponent");
    judged(Rs256, &[("e", "\"AAEAAQ\"")], "exponent");
    judged(Rs256, &[("e", "\"\"")], "exponent");
    judged(Rs256, &[("n", "\"\"")], "empty");
    judged(Rs256, &[("n", "\"AQAB\"")], "2048");
    // 1023, 2047 and 8193 bits, odd.
    let modulus = |first: u8, bytes: usize| {
        let mut n = vec![first; 1];
        n.resize(bytes, 0xff);
        format!("\"{}\"", data_encoding::BASE64URL_NOPAD.encode(&n))
    };
    judged(Rs256, &[("n", &modulus(0x7f, 128))], "2048");
    judged(Rs256, &[("n", &modulus(0x7f, 256))], "2048");
    judged(Rs256, &[("n", &modulus(0x01, 1025))], "8192");
    judged(Rs256, &[("n", &modulus(0x00, 257))], "leading zeros");
}

#[test]
fn an_rsa_modulus_is_odd() {
    let even = data_encoding::BASE64URL_NOPAD.encode(&[&[0xff; 255][..], &[0xfe]].concat());
    judged(Algorithm::Rs256, &[("n", &format!("\"{even}\""))], "even");
}

#[test]
fn an_rsa_exponent_is_odd_however_large() {
    // 65538.
    judged(Algorithm::Rs256, &[("e", "\"AQAC\"")], "exponent");
}

#[test]
fn an_rsa_exponent_has_four_bytes_at_most() {
    // 2^32 + 1, and 2^24 + 1.
    judged(Algorithm::Rs256, &[("e", "\"AQAAAAE\"")], "exponent");
    judged(Algorithm::Rs256, &[("e", "\"AQAAAQ\"")], "taken");
}

#[test]
fn a_text_that_is_no_set_is_an_error_and_an_empty_set_is_none() {
    for text in ["", "{", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#, r#"{"keys":[]} x"#] {
        assert!(jwk::read(text.as_bytes()).is_err(), "{text}");
    }
    let mut padded = br#"{"keys":[]}"#.to_vec();
    padded.resize(jwk::SET_BYTES_MAX, b' ');
    assert!(jwk::read(&padded).is_ok());
    padded.push(b' ');
    assert!(jwk::read(&padded).is_err());
    assert!(jwk::read(br#"{"keys":[7,{}]}"#).unwrap().complaints.len() == 2);
    assert!(!jwk::read(br#"{"keys":[]}"#).unwrap().serves(&ALL));
}

#[test]
fn hundreds_of_keys_are_bounded() {
    let key = key(Algorithm::Es256).jwk();
    let mut keys = Vec::new();
    for i in 0..300 {
        let mut key = key.clone();
        key.set("kid", format!("key {i}"));
        keys.push(key);
    }
    let set = Json::from(Object::from_iter([("keys", keys)])).to_string();
    let set = jwk::read(set.as_bytes()).unwrap();
    assert_eq!(set.complaints.len(), 1, "{:?}", set.complaints);
    assert!(set.complaints[0].contains("100"));
    let poison = format!("{{\"keys\":[{}]}}", vec!["7"; 5000].join(","));
    let set = jwk::read(poison.as_bytes()).unwrap();
    assert_eq!((set.complaints.len(), set.serves(&ALL)), (10, false));
}

#[test]
fn of_a_hundred_thousand_unusable_keys_a_thousand_are_looked_at() {
    let good = Json::from(key(Algorithm::Es256).jwk());
    for (before, used) in [(999, true), (1000, false)] {
        let set = format!("{{\"keys\":[{}{good},{}]}}", "7,".repeat(before), vec!["7"; 100_000].join(","));
        let set = jwk::read(set.as_bytes()).unwrap();
        assert_eq!(set.serves(&ALL), used, "{before}");
        let told = set.complaints.iter().filter(|told| told.contains("only the first 1000 keys")).count();
        assert_eq!((told, set.complaints.len()), (1, 10), "{:?}", set.complaints);
    }
}

#[test]
fn keys_that_are_not_looked_at_are_told_of_where_there_are_some() {
    let told = |keys: Vec<String>| {
        let set = jwk::read(format!("{{\"keys\":[{}]}}", keys.join(",")).as_bytes()).unwrap();
        set.complaints.iter().any(|told| told.contains("only the first 1000 keys"))
    };
    let unfit = |count| vec!["7".to_owned(); count];
    assert!(!told(unfit(1000)) && told(unfit(1001)));
    // Behind as many as are used there is nothing to look for.
    let used = (0..100).map(|n| {
        let mut jwk = key(Algorithm::Es256).jwk();
        jwk.set("kid", format!("key {n}"));
        Json::from(jwk).to_string()
    });
    assert!(!told(used.chain(unfit(2000)).collect()));
}

#[test]
fn of_keys_that_a_token_can_not_tell_apart_the_first_is_used() {
    let of = |algorithm: Option<&str>| {
        let mut jwk = key(Algorithm::Rs256).jwk();
        jwk.remove("alg");
        if let Some(name) = algorithm {
            jwk.set("alg", name);
        }
        Json::from(jwk).to_string()
    };
    let any = None;
    let (one, other) = (Some("RS256"), Some("PS256"));
    for (keys, used) in
        [([any, any], 1), ([one, any], 1), ([any, one], 1), ([one, one], 1), ([one, other], 2)]
    {
        let set = jwk::read(format!("{{\"keys\":[{}]}}", keys.map(of).join(",")).as_bytes()).unwrap();
        let told: Vec<_> = set.complaints.iter().filter(|told| told.contains("same `kid`")).collect();
        assert_eq!((told.len(), set.complaints.len()), (2 - used, 2 - used), "{keys:?}: {told:?}");
    }
}

#[tokio::test]
async fn a_poisoned_set_keeps_its_good_keys() {
    let good = Json::from(key(Algorithm::Es256).jwk());
    let own = DevKey::generate(Algorithm::Es256).unwrap().with_id(key(Algorithm::Es256).id());
    let set = format!(
        r#"{{"keys":[{{"kty":"oct","k":"AAAA","kid":"s"}},7,{good},{},{{"kty":"RSA","n":"AQAB","e":"AQAB"}}]}}"#,
        Json::from(own.jwk())
    );
    let bench = Bench::with(&set, |_| {}).await;
    let ask = async |key: &DevKey| bench.ask(&key.sign(&claims().into(), &[]).unwrap()).await.map(drop);
    assert_eq!(ask(key(Algorithm::Es256)).await, Ok(()));
    assert_eq!(ask(&own).await, invalid(TokenFault::Signature), "the first key of a `kid` counts");
    assert_eq!(bench.identifier.health().len(), 4, "{:?}", bench.identifier.health());
}

#[tokio::test]
async fn a_token_without_kid_needs_the_only_key_that_fits() {
    let token = |key: &DevKey| {
        let header = format!(r#"{{"alg":"{}"}}"#, token::algorithm_name(key.algorithm()));
        key.sign_texts(&header, &Json::from(claims()).to_string()).unwrap()
    };
    let (es, ed) = (key(Algorithm::Es256), key(Algorithm::EdDsa));
    let other = DevKey::generate(Algorithm::Es256).unwrap();
    let one = Bench::with(&jwks(&[es, ed]), |_| {}).await;
    assert!(one.ask(&token(es)).await.is_ok());
    assert_eq!(one.ask(&token(&other)).await, invalid(TokenFault::Signature));
    assert_eq!(one.ask(&token(key(Algorithm::Rs256))).await, invalid(TokenFault::UnknownKey));
    let two = Bench::with(&jwks(&[es, &other]), |_| {}).await;
    assert_eq!(two.ask(&token(es)).await, invalid(TokenFault::UnknownKey));
}

#[tokio::test]
async fn a_jwk_with_an_algorithm_is_used_for_no_other() {
    let rsa = key(Algorithm::Rs256);
    let pss = DevKey::from_pem(
        crate::secret::ExposeSecret::expose_secret(&rsa.pem()).as_bytes(),
        Some(Algorithm::Ps256),
    )
    .unwrap();
    let token = pss.sign(&claims().into(), &[]).unwrap();
    let bound = Bench::with(&jwks(&[rsa]), |_| {}).await;
    assert_eq!(bound.ask(&token).await, invalid(TokenFault::Algorithm));
    let mut free = rsa.jwk();
    free.remove("alg");
    let free = Bench::with(&format!(r#"{{"keys":[{}]}}"#, Json::from(free)), |_| {}).await;
    assert!(free.ask(&token).await.is_ok());
    assert!(free.ask(&rsa.sign(&claims().into(), &[]).unwrap()).await.is_ok());
}

#[test]
fn check_names_what_is_wrong_by_key_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("good"), jwks(&[key(Algorithm::Es256)])).unwrap();
    std::fs::write(path("half"), "{\"keys\":[").unwrap();
    std::fs::write(path("weak"), r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#).unwrap();
    std::fs::write(path("revoked"), "jti\n").unwrap();
    let files = ["good", "half", "weak", "none"].map(|name| issuer(KeySource::File(path(name))));
    let url = issuer(KeySource::Url {
        url: "https://idp.example/jwks".parse().unwrap(),
        ca_file: Some(path("none")),
        refresh: Duration::from_mins(5),
        min_interval: Duration::from_secs(30),
    });
    let issuers = [&files[..], &[url]].concat();
    let wrong = check(&issuers, &Revocation { file: Some(path("revoked")) });
    let paths: Vec<&str> = wrong.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "issuer.1.jwks_file",
            "issuer.2.jwks_file",
            "issuer.2.jwks_file",
            "issuer.3.jwks_file",
            "issuer.4.jwks_ca_file",
            "revocation.file"
        ]
    );
    assert_eq!(check(&issuers[..1], &Revocation { file: Some(path("none")) }), []);
}

/// RFC 7468 section 2.
#[test]
fn a_key_is_written_in_lines_of_64_and_read_for_its_own_algorithm_only() {
    for algorithm in ALL {
        let pem = crate::secret::ExposeSecret::expose_secret(&key(algorithm).pem()).to_owned();
        let lines: Vec<&str> = pem.lines().collect();
        let [_, full @ .., last, _] = lines.as_slice() else {
            panic!("{algorithm:?}: {} lines", lines.len())
        };
        assert!(full.iter().all(|line| line.len() == 64), "{algorithm:?}");
        assert!(!full.is_empty() && (1..=64).contains(&last.len()), "{algorithm:?}");
        for asked in ALL {
            let is_rsa = |algorithm| matches!(algorithm, Algorithm::Rs256 | Algorithm::Ps256);
            let fits = asked == algorithm || is_rsa(asked) && is_rsa(algorithm);
            let read = DevKey::from_pem(pem.as_bytes(), Some(asked));
            assert_eq!(
                read.map(|key| key.algorithm()).ok(),
                fits.then_some(asked),
                "{algorithm:?} as {asked:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_set_may_have_a_mebibyte_and_no_byte_more() {
    let set = jwks(&[key(Algorithm::Es256)]);
    let full = format!("{set}{}", " ".repeat((1 << 20) - set.len()));
    let mut bench = Bench::with(&full, |_| {}).await;
    let token = key(Algorithm::Es256).sign(&claims().into(), &[]).unwrap();
    assert_eq!(bench.ask(&token).await.map(drop), Ok(()));
    std::fs::write(bench.path("jwks.json"), format!("{full} ")).unwrap();
    let wrong = bench.renew().await.unwrap_err();
    assert!(wrong[0].1.contains("more than 1048576 bytes"), "{wrong:?}");
}

/// For a person who looks at a token, and nothing is decided by it.
#[test]
fn a_signature_alone_is_good_by_the_key_that_made_it() {
    let (own, other) = (key(Algorithm::Es256), key(Algorithm::EdDsa));
    let token = own.sign(&claims().into(), &[]).unwrap();
    let by = |set: &str| verify_signature(&token, set.as_bytes());
    assert_eq!(by(&jwks(&[other, own])), Ok(Some(own.id().to_owned())));
    assert!(by(&jwks(&[other])).is_err());
    let forged = DevKey::generate(Algorithm::Es256).unwrap().with_id(own.id());
    assert!(by(&jwks(&[&forged])).is_err());
    assert!(by("{}").unwrap_err().contains("`keys`"));
}
