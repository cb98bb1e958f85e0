//! What is remembered must not outlive its reason.

use super::*;

/// Asks until the answer is the expected one: files are looked at once a second.
async fn until(bench: &Bench, token: &str, expected: Result<(), Refusal>) {
    for _ in 0..200 {
        if bench.ask(token).await.map(drop) == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(bench.ask(token).await.map(drop), expected);
}

#[tokio::test]
async fn a_remembered_token_is_the_same_caller_and_costs_no_second_verification() {
    let bench = Bench::new().await;
    let token = key(Algorithm::Es256).sign(&claims().into(), &[]).unwrap();
    let first = bench.ask(&token).await.unwrap();
    assert!(Arc::ptr_eq(&first, &bench.ask(&token).await.unwrap()));
    assert_eq!(bench.identifier.cache.len(), 1);
    let forged = format!("{}A", &token[..token.len() - 1]);
    assert!(forged == token || bench.ask(&forged).await.is_err());
    assert_eq!(bench.identifier.cache.len(), 1, "refusals are not remembered");
}

#[tokio::test]
async fn a_remembered_token_ends_when_it_expires() {
    let bench = Bench::new().await;
    let token = key(Algorithm::Es256).sign(&claims().into(), &[]).unwrap();
    assert!(bench.ask(&token).await.is_ok());
    bench.clock.advance(Duration::from_secs(3629));
    assert!(bench.ask(&token).await.is_ok());
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.ask(&token).await, invalid(TokenFault::Expired));
}

#[tokio::test]
async fn a_remembered_token_ends_when_its_key_goes() {
    let bench = Bench::with(&jwks(&[key(Algorithm::Es256)]), |_| {}).await;
    let old = key(Algorithm::Es256).sign(&claims().into(), &[]).unwrap();
    let new = key(Algorithm::EdDsa).sign(&claims().into(), &[]).unwrap();
    assert!(bench.ask(&old).await.is_ok());
    assert_eq!(bench.ask(&new).await, invalid(TokenFault::UnknownKey));
    std::fs::write(bench.path("jwks.json"), jwks(&[key(Algorithm::EdDsa)])).unwrap();
    until(&bench, &new, Ok(())).await;
    assert_eq!(bench.ask(&old).await, invalid(TokenFault::UnknownKey));
}

#[tokio::test]
async fn half_a_file_changes_nothing_and_readiness_says_so() {
    let set = jwks(&[key(Algorithm::Es256)]);
    let bench = Bench::with(&set, |_| {}).await;
    let token = key(Algorithm::Es256).sign(&claims().into(), &[]).unwrap();
    std::fs::write(bench.path("jwks.json"), &set[..set.len() / 2]).unwrap();
    for _ in 0..200 {
        if !bench.identifier.health().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let health = bench.identifier.health();
    assert!(health.len() == 1 && health[0].contains("stale"), "{health:?}");
    assert!(bench.ask(&token).await.is_ok());
    std::fs::write(bench.path("jwks.json"), r#"{"keys":[]}"#).unwrap();
    until(&bench, &token, invalid(TokenFault::UnknownKey)).await;
    let health = bench.identifier.health();
    assert!(health.len() == 1 && health[0].contains("no key fits"), "{health:?}");
}

#[tokio::test]
async fn a_remembered_token_ends_when_it_or_its_subject_is_revoked() {
    for line in ["jti token-1\n".to_owned(), format!("sub {ISSUER} alice\n")] {
        let bench = Bench::new().await;
        let token = key(Algorithm::Es256).sign(&claims().into(), &[]).unwrap();
        let other = key(Algorithm::Es256).sign(&with("jti", Some("\"token-2\"")), &[]).unwrap();
        assert!(bench.ask(&token).await.is_ok());
        std::fs::write(bench.path("revoked"), &line).unwrap();
        until(&bench, &token, Err(Refusal::TokenRevoked)).await;
        assert_eq!(bench.ask(&other).await.is_ok(), line.starts_with("jti"));
        std::fs::write(bench.path("revoked"), "what\n").unwrap();
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert_eq!(bench.ask(&token).await, Err(Refusal::TokenRevoked));
        std::fs::remove_file(bench.path("revoked")).unwrap();
        until(&bench, &token, Ok(())).await;
    }
}

#[tokio::test]
async fn a_malformed_revocation_file_at_start_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("revoked");
    std::fs::write(&file, "alice\n").unwrap();
    let issuers = [issuer(KeySource::File(folder.path().join("jwks")))];
    let error = Identifier::start(&issuers, &Revocation { file: Some(file) }, clock()).await.unwrap_err();
    assert!(matches!(&error, IdentifyError::Revocation(why) if why.contains("line 1")), "{error}");
}

#[tokio::test]
async fn keys_never_seen_are_our_fault_and_not_the_callers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks");
    let issuers = [issuer(KeySource::File(path.clone()))];
    let identifier = Identifier::start(&issuers, &Revocation { file: None }, clock()).await.unwrap();
    let token = key(Algorithm::Es256).sign(&claims().into(), &[]).unwrap();
    let ask = async || identifier.identify(&bearer(&token)).await.map(drop);
    assert_eq!(ask().await, Err(Refusal::KeysUnavailable { retry_after: Duration::from_secs(1) }));
    assert!(identifier.health()[0].contains("no keys"));
    std::fs::write(&path, jwks(&[key(Algorithm::Es256)])).unwrap();
    for _ in 0..200 {
        if ask().await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ask().await, Ok(()));
}
