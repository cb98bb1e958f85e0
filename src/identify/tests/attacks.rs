//! Tokens and headers that are wrong in one thing each.

use data_encoding::BASE64URL_NOPAD;

use super::*;

fn sign(claims: &Json) -> String {
    key(Algorithm::Es256).sign(claims, &[]).unwrap()
}

#[tokio::test]
async fn each_algorithm_identifies_its_caller() {
    let bench = Bench::new().await;
    for algorithm in ALL {
        let key = key(algorithm);
        let caller = bench.ask(&key.sign(&claims().into(), &[]).unwrap()).await.unwrap();
        let expected = Caller {
            subject: "alice".into(),
            teams: vec!["net".into()],
            roles: vec!["operator".into(), "viewer".into()],
            issuer: ISSUER.into(),
            jti: Some("token-1".into()),
            key_id: Some(key.id().into()),
            expires: Timestamp::from_second(NOW + 3600).unwrap(),
        };
        assert_eq!(*caller, expected, "{algorithm:?}");
    }
    assert_eq!(bench.identifier.health(), Vec::<String>::new());
}

#[tokio::test]
async fn claims_are_judged_by_type_bound_and_time() {
    let bench = Bench::new().await;
    let many = format!("[{}]", vec!["\"a\""; 65].join(","));
    let long = |n: usize| format!("\"{}\"", "x".repeat(n));
    let (l128, l129, l256, l257) = (long(128), long(129), long(256), long(257));
    let ok = || Ok(());
    let table: Vec<(&str, Option<&str>, Result<(), Refusal>)> = vec![
        ("exp", None, claim("/exp")),
        ("exp", Some("1790003600.0"), claim("/exp")),
        ("exp", Some("1.79e9"), claim("/exp")),
        ("exp", Some("\"1790003600\""), claim("/exp")),
        ("exp", Some("null"), claim("/exp")),
        ("exp", Some("true"), claim("/exp")),
        ("exp", Some("[1790003600]"), claim("/exp")),
        ("exp", Some("9223372036854775808"), claim("/exp")),
        ("exp", Some("99999999999999999999999999999999999999"), claim("/exp")),
        ("exp", Some("9223372036854775807"), invalid(TokenFault::Lifetime)),
        ("exp", Some("-9223372036854775808"), invalid(TokenFault::Expired)),
        ("exp", Some("0"), invalid(TokenFault::Expired)),
        ("exp", Some("1789999970"), invalid(TokenFault::Expired)),
        ("exp", Some("1789999971"), ok()),
        ("exp", Some("1790043200"), ok()),
        ("exp", Some("1790043201"), invalid(TokenFault::Lifetime)),
        ("iat", None, ok()),
        ("iat", Some("1790000030"), ok()),
        ("iat", Some("1790000031"), invalid(TokenFault::NotYetValid)),
        ("iat", Some("1.5"), claim("/iat")),
        ("iat", Some("\"now\""), claim("/iat")),
        ("iat", Some("-9223372036854775808"), invalid(TokenFault::Lifetime)),
        ("iat", Some("9223372036854775807"), invalid(TokenFault::NotYetValid)),
        ("nbf", Some("1790000030"), ok()),
        ("nbf", Some("1790000031"), invalid(TokenFault::NotYetValid)),
        ("nbf", Some("9223372036854775807"), invalid(TokenFault::NotYetValid)),
        ("nbf", Some("{}"), claim("/nbf")),
        ("nbf", Some("0.0"), claim("/nbf")),
        ("aud", None, claim("/aud")),
        ("aud", Some("7"), claim("/aud")),
        ("aud", Some("{\"tunnelwarden\":1}"), claim("/aud")),
        ("aud", Some("\"\""), invalid(TokenFault::Audience)),
        ("aud", Some("\"Tunnelwarden\""), invalid(TokenFault::Audience)),
        ("aud", Some("\"tunnelwarden2\""), invalid(TokenFault::Audience)),
        ("aud", Some("[]"), invalid(TokenFault::Audience)),
        ("aud", Some("[\"other\"]"), invalid(TokenFault::Audience)),
        ("aud", Some("[\"tunnelwarden\",7]"), claim("/aud")),
        ("aud", Some("[\"other\",\"tunnelwarden\"]"), ok()),
        ("iss", None, claim("/iss")),
        ("iss", Some("[\"https://idp.example\"]"), claim("/iss")),
        ("iss", Some("\"https://idp.example/\""), invalid(TokenFault::Issuer)),
        ("iss", Some("\"https://IDP.example\""), invalid(TokenFault::Issuer)),
        ("sub", None, claim("/sub")),
        ("sub", Some("\"\""), claim("/sub")),
        ("sub", Some("7"), claim("/sub")),
        ("sub", Some("[\"alice\"]"), claim("/sub")),
        ("sub", Some(&l256), ok()),
        ("sub", Some(&l257), claim("/sub")),
        ("sub", Some("\"ali\\nce\""), claim("/sub")),
        ("sub", Some("\"ali\\u0000ce\""), claim("/sub")),
        ("sub", Some("\"alice\\u202e\""), claim("/sub")),
        ("sub", Some("\"ali\\u200bce\""), claim("/sub")),
        ("sub", Some("\"alice \""), claim("/sub")),
        ("sub", Some("\"Zo\u{eb}\""), ok()),
        ("team", None, ok()),
        ("team", Some("null"), claim("/team")),
        ("team", Some("{}"), claim("/team")),
        ("team", Some("[[\"net\"]]"), claim("/team")),
        ("team", Some("[\"net\",1]"), claim("/team")),
        ("team", Some("[\"\"]"), claim("/team")),
        ("team", Some("[\"n\\u2066et\"]"), claim("/team")),
        ("team", Some(&l128), ok()),
        ("team", Some(&l129), claim("/team")),
        ("role", Some(&many), claim("/role")),
        ("role", Some("[]"), ok()),
        ("jti", None, ok()),
        ("jti", Some("7"), claim("/jti")),
        ("jti", Some("\"\""), claim("/jti")),
        ("jti", Some(&l257), claim("/jti")),
    ];
    for (name, text, expected) in table {
        let answer = bench.ask(&sign(&with(name, text))).await.map(drop);
        assert_eq!(answer, expected, "{name} = {text:?}");
    }
    let no_iat = |exp: i64| {
        let mut claims = claims();
        claims.remove("iat");
        claims.set("exp", exp);
        sign(&claims.into())
    };
    assert!(bench.ask(&no_iat(NOW + 43_200 + 30)).await.is_ok());
    assert_eq!(bench.ask(&no_iat(NOW + 43_200 + 31)).await, invalid(TokenFault::Lifetime));
}

#[tokio::test]
async fn pointers_lead_into_nested_claims() {
    let bench = Bench::with(&jwks(&ALL.map(key)), |issuer| {
        issuer.claims = Claims { subject: "/who/0".into(), teams: "/x~1y/t".into(), roles: "/none".into() };
    })
    .await;
    let mut claims = claims();
    claims.set("who", vec!["bob"]);
    claims.set("x/y", Object::from_iter([("t", "core")]));
    let caller = bench.ask(&sign(&claims.into())).await.unwrap();
    assert_eq!((caller.subject.as_str(), caller.teams.as_slice()), ("bob", &["core".to_owned()][..]));
    assert!(caller.roles.is_empty());
    assert_eq!(bench.ask(&sign(&with("aud", Some("\"tunnelwarden\"")))).await, claim("/who/0"));
}

#[tokio::test]
async fn headers_that_ask_for_trust_are_refused() {
    let bench = Bench::new().await;
    let own = DevKey::generate(Algorithm::Es256).unwrap();
    let known = key(Algorithm::Es256).id();
    let text = |text: &str| json::read(text.as_bytes(), 8).unwrap();
    let long = "k".repeat(257);
    let table: Vec<(&str, Json, Result<(), Refusal>)> = vec![
        ("alg", "none".into(), invalid(TokenFault::Algorithm)),
        ("alg", "None".into(), invalid(TokenFault::Algorithm)),
        ("alg", "HS256".into(), invalid(TokenFault::Algorithm)),
        ("alg", "es256".into(), invalid(TokenFault::Algorithm)),
        ("alg", "ES256 ".into(), invalid(TokenFault::Algorithm)),
        ("alg", "ES512".into(), invalid(TokenFault::Algorithm)),
        ("alg", "".into(), invalid(TokenFault::Algorithm)),
        ("alg", Json::Null, invalid(TokenFault::Malformed)),
        ("alg", vec!["ES256"].into(), invalid(TokenFault::Malformed)),
        ("alg", "ES384".into(), invalid(TokenFault::Algorithm)),
        ("alg", "RS256".into(), invalid(TokenFault::Algorithm)),
        ("alg", "EdDSA".into(), invalid(TokenFault::Algorithm)),
        ("kid", "../../../../dev/null".into(), invalid(TokenFault::UnknownKey)),
        ("kid", "' OR '1'='1".into(), invalid(TokenFault::UnknownKey)),
        ("kid", "|id".into(), invalid(TokenFault::UnknownKey)),
        ("kid", format!("{known} ").into(), invalid(TokenFault::Malformed)),
        ("kid", format!("{known}\0").into(), invalid(TokenFault::Malformed)),
        ("kid", "".into(), invalid(TokenFault::Malformed)),
        ("kid", 7.into(), invalid(TokenFault::Malformed)),
        ("kid", Json::Null, invalid(TokenFault::Malformed)),
        ("kid", long.as_str().into(), invalid(TokenFault::Malformed)),
        ("crit", vec!["exp"].into(), invalid(TokenFault::CriticalHeader)),
        ("crit", Json::Array(vec![]), invalid(TokenFault::CriticalHeader)),
        ("b64", false.into(), invalid(TokenFault::CriticalHeader)),
        ("b64", true.into(), invalid(TokenFault::CriticalHeader)),
        ("enc", "A256GCM".into(), invalid(TokenFault::CriticalHeader)),
        ("zip", "DEF".into(), invalid(TokenFault::CriticalHeader)),
        ("jwk", own.jwk().into(), invalid(TokenFault::CriticalHeader)),
        ("jku", "http://127.0.0.1:9/jwks".into(), invalid(TokenFault::CriticalHeader)),
        ("x5u", "http://127.0.0.1:9/x".into(), invalid(TokenFault::CriticalHeader)),
        ("x5c", vec!["AAAA"].into(), invalid(TokenFault::CriticalHeader)),
        ("typ", "at+jwt".into(), Ok(())),
        ("typ", "application/AT+JWT".into(), Ok(())),
        ("typ", "jwt".into(), Ok(())),
        ("typ", "logout+jwt".into(), invalid(TokenFault::Malformed)),
        ("typ", "dpop+jwt".into(), invalid(TokenFault::Malformed)),
        ("typ", "JWE".into(), invalid(TokenFault::Malformed)),
        ("typ", text("[\"JWT\"]"), invalid(TokenFault::Malformed)),
        ("x5t", "abc".into(), Ok(())),
        ("unknown", text("{\"a\":1}"), Ok(())),
    ];
    for (name, value, expected) in table {
        let token = key(Algorithm::Es256).sign(&claims().into(), &[(name, value.clone())]).unwrap();
        assert_eq!(bench.ask(&token).await.map(drop), expected, "{name} = {value}");
    }
}

#[tokio::test]
async fn a_signature_by_another_key_or_over_another_text_does_not_verify() {
    let bench = Bench::new().await;
    let foreign = DevKey::generate(Algorithm::Es256).unwrap().with_id(key(Algorithm::Es256).id());
    assert_eq!(
        bench.ask(&foreign.sign(&claims().into(), &[]).unwrap()).await,
        invalid(TokenFault::Signature)
    );
    for algorithm in ALL {
        let token = key(algorithm).sign(&claims().into(), &[]).unwrap();
        let [header, payload, signature] = token::split(&token).unwrap();
        let more = BASE64URL_NOPAD.encode(with("sub", Some("\"root\"")).to_string().as_bytes());
        let zeros =
            BASE64URL_NOPAD.encode(&vec![0; BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap().len()]);
        let short = &signature[..signature.len() - 4];
        for forged in [
            format!("{header}.{more}.{signature}"),
            format!("{header}.{payload}.{zeros}"),
            format!("{header}.{payload}.{short}"),
            format!("{header}.{payload}.AAAA"),
        ] {
            let answer = bench.ask(&forged).await;
            // A cut may leave trailing bits, which is another fault.
            assert!(
                matches!(answer, Err(Refusal::TokenInvalid(TokenFault::Signature | TokenFault::Malformed))),
                "{algorithm:?} {answer:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_public_key_is_no_secret_to_sign_with() {
    let bench = Bench::new().await;
    let rsa = key(Algorithm::Rs256);
    let set = jwks(&[rsa]);
    for secret in [set.as_bytes(), Json::from(rsa.jwk()).to_string().as_bytes(), b""] {
        let header = format!(r#"{{"alg":"HS256","typ":"JWT","kid":"{}"}}"#, rsa.id());
        let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        let signed = format!("{}.{}", part(&header), part(&Json::from(claims()).to_string()));
        let hmac_key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
        let tag = aws_lc_rs::hmac::sign(&hmac_key, signed.as_bytes());
        let token = format!("{signed}.{}", BASE64URL_NOPAD.encode(tag.as_ref()));
        assert_eq!(bench.ask(&token).await, invalid(TokenFault::Algorithm));
    }
}

#[tokio::test]
async fn an_algorithm_that_the_issuer_does_not_use_is_refused_though_the_key_is_published() {
    let bench = Bench::with(&jwks(&ALL.map(key)), |issuer| issuer.algorithms = vec![Algorithm::Es256]).await;
    for algorithm in ALL {
        let answer = bench.ask(&key(algorithm).sign(&claims().into(), &[]).unwrap()).await;
        if algorithm == Algorithm::Es256 {
            assert!(answer.is_ok());
        } else {
            assert_eq!(answer, invalid(TokenFault::Algorithm), "{algorithm:?}");
        }
    }
}

#[tokio::test]
async fn a_text_has_one_spelling() {
    let bench = Bench::new().await;
    let key = key(Algorithm::Es256);
    let header = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, key.id());
    let payload = Json::from(claims()).to_string();
    let good = key.sign_texts(&header, &payload).unwrap();
    assert!(bench.ask(&good).await.is_ok());
    let inner = &payload[1..payload.len() - 1];
    for (header, payload) in [
        (header.as_str(), format!("{{{inner},\"sub\":\"root\"}}")),
        (&header, format!("{{{inner},\"s\\u0075b\":\"root\"}}")),
        (&header, format!("{{{inner},\"x\":{{\"a\":1,\"a\":2}}}}")),
        (&header, format!("{payload} {{}}")),
        (&header, format!("\u{feff}{payload}")),
        (&header, format!("[{payload}]")),
        (&header, String::new()),
        (&header, "null".into()),
        (&header, format!("{{{inner},\"x\":{}1{}}}", "[".repeat(40), "]".repeat(40))),
        (&format!(r#"{{"alg":"none","alg":"ES256","kid":"{}"}}"#, key.id()), payload.clone()),
        (&format!("{header}\0"), payload.clone()),
        ("{}", payload.clone()),
        ("7", payload.clone()),
    ] {
        let token = key.sign_texts(header, &payload).unwrap();
        assert_eq!(bench.ask(&token).await, invalid(TokenFault::Malformed), "{header} {payload}");
    }
    let [head, body, signature] = token::split(&good).unwrap();
    // The last of 86 characters carries two bits of the 64 bytes: the other four must be zero.
    let last = signature.as_bytes()[85];
    let other = if last == b'A' { 'B' } else { char::from(last + 1) };
    for token in [
        format!("{good}."),
        format!("{good}.{signature}"),
        format!("{good}.."),
        format!(".{good}"),
        format!("{head}.{body}."),
        format!("{head}.{body}"),
        format!(".{body}.{signature}"),
        format!("{head}..{signature}"),
        head.to_owned(),
        "...".into(),
        ".".into(),
        format!("{good}="),
        format!("{good}=="),
        format!("{head}+.{body}.{signature}"),
        format!("{head}.{body}/.{signature}"),
        format!("{head}.{body}.{signature}~"),
        format!("{head}.{body}.{}{other}", &signature[..85]),
        format!("{head}.{body}.{signature}AAA"),
        format!("{head}.{body}.{signature}AA.AA"),
    ] {
        assert_eq!(bench.ask(&token).await, invalid(TokenFault::Malformed), "{token}");
    }
}

#[tokio::test]
async fn size_is_bounded_before_anything_is_read() {
    let bench = Bench::new().await;
    let huge = "a".repeat(8193);
    assert_eq!(bench.ask(&huge).await, invalid(TokenFault::TooLarge));
    assert_eq!(bench.ask(&huge[1..]).await, invalid(TokenFault::Malformed));
    let bulky =
        key(Algorithm::Es256).sign(&with("x", Some(&format!("\"{}\"", "y".repeat(8000)))), &[]).unwrap();
    assert_eq!(bench.ask(&bulky).await, invalid(TokenFault::TooLarge));
}

#[tokio::test]
async fn the_size_is_the_issuers_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks");
    std::fs::write(&path, jwks(&[key(Algorithm::Es256)])).unwrap();
    let small = Issuer { max_token_bytes: 64, ..issuer(KeySource::File(path.clone())) };
    let large = Issuer { issuer: "https://other.example".into(), ..issuer(KeySource::File(path)) };
    let identifier =
        Identifier::start(&[small, large.clone()], &Revocation { file: None }, clock()).await.unwrap();
    let ask = async |claims: &Json| identifier.identify(&bearer(&sign(claims)), None).await.map(drop);
    assert_eq!(ask(&claims().into()).await, invalid(TokenFault::TooLarge));
    assert_eq!(ask(&with("iss", Some("\"https://other.example\""))).await, Ok(()));
    let twice = Identifier::start(&[large.clone(), large], &Revocation { file: None }, clock()).await;
    assert!(matches!(twice, Err(IdentifyError::Twice(_))));
}

#[tokio::test]
async fn one_issuers_key_does_not_vouch_for_another_issuer() {
    let folder = tempfile::tempdir().unwrap();
    let sources = ["a", "b"].map(|name| folder.path().join(name));
    let keys = [key(Algorithm::Es256), key(Algorithm::EdDsa)];
    for (path, key) in sources.iter().zip(keys) {
        std::fs::write(path, jwks(&[key])).unwrap();
    }
    let [a, b] = sources.map(|path| issuer(KeySource::File(path)));
    let b = Issuer { issuer: "https://b.example".into(), ..b };
    let identifier = Identifier::start(&[a, b], &Revocation { file: None }, clock()).await.unwrap();
    let forged = keys[1].sign(&claims().into(), &[]).unwrap();
    assert_eq!(identifier.identify(&bearer(&forged), None).await.map(drop), invalid(TokenFault::UnknownKey));
    let own = keys[1].sign(&with("iss", Some("\"https://b.example\"")), &[]).unwrap();
    assert!(identifier.identify(&bearer(&own), None).await.is_ok());
}

#[test]
fn nothing_printed_of_a_key_tells_its_secret() {
    let key = key(Algorithm::Es256);
    // Nothing beside these, as bytes can be printed in more ways than can be sought.
    assert_eq!(format!("{key:?}"), format!("DevKey {{ algorithm: Es256, id: {:?}, .. }}", key.id()));
    let pem = crate::secret::ExposeSecret::expose_secret(&key.pem()).to_owned();
    let again = DevKey::from_pem(pem.as_bytes(), None).unwrap();
    assert_eq!((again.id(), again.algorithm()), (key.id(), Algorithm::Es256));
}
