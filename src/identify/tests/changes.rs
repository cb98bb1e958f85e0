//! What is remembered must not outlive its reason.

use super::*;

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
    let mut bench = Bench::with(&jwks(&[key(Algorithm::Es256)]), |_| {}).await;
    let old = key(Algorithm::Es256).sign(&claims().into(), &[]).unwrap();
    let new = key(Algorithm::EdDsa).sign(&claims().into(), &[]).unwrap();
    assert!(bench.ask(&old).await.is_ok());
    assert_eq!(bench.ask(&new).await, invalid(TokenFault::UnknownKey));
    std::fs::write(bench.path("jwks.json"), jwks(&[key(Algorithm::EdDsa)])).unwrap();
    bench.renew().await.unwrap();
    assert!(bench.ask(&new).await.is_ok());
    assert!(bench.identifier.knew(&bearer(&old), None), "it was verified once");
    assert_eq!(bench.ask(&old).await, invalid(TokenFault::UnknownKey));
    assert!(!bench.identifier.knew(&bearer(&old), None), "what is refused counts as good no more");
}

#[tokio::test]
async fn what_one_identifier_remembers_counts_for_no_other() {
    let mut bench = Bench::with(&jwks(&[key(Algorithm::Es256)]), |_| {}).await;
    let old = key(Algorithm::Es256).sign(&claims().into(), &[]).unwrap();
    std::fs::write(bench.path("jwks.json"), jwks(&[key(Algorithm::EdDsa)])).unwrap();
    let new = bench.identifier.renewed(&bench.issuers).await.unwrap();
    // A call that began before the change examines its token after it.
    assert!(bench.ask(&old).await.is_ok());
    assert!(new.recall(&bearer(&old), None).is_none());
    assert!(new.knew(&bearer(&old), None), "it was verified once");
    assert!(bench.identifier.recall(&bearer(&old), None).is_some(), "the call goes on as it began");
    bench.identifier = new;
    assert_eq!(bench.ask(&old).await, invalid(TokenFault::UnknownKey));
}

#[tokio::test]
async fn half_a_file_changes_nothing_and_readiness_says_so() {
    let set = jwks(&[key(Algorithm::Es256)]);
    let mut bench = Bench::with(&set, |_| {}).await;
    let token = key(Algorithm::Es256).sign(&claims().into(), &[]).unwrap();
    let unknown = key(Algorithm::EdDsa).sign(&claims().into(), &[]).unwrap();
    std::fs::write(bench.path("jwks.json"), &set[..set.len() / 2]).unwrap();
    let wrong = bench.renew().await.unwrap_err();
    assert_eq!(wrong[0].0, "issuer.0.jwks_file");
    bench.identifier.doubt(0, Some(&wrong[0].1));
    let health = bench.identifier.health();
    assert!(health.len() == 1 && health[0].contains("stale"), "{health:?}");
    assert!(bench.ask(&token).await.is_ok());
    let unavailable = Refusal::KeysUnavailable { retry_after: Duration::from_secs(1) };
    assert_eq!(bench.ask(&unknown).await, Err(unavailable), "nobody knows that it is not published");
    bench.identifier.doubt(0, None);
    assert_eq!(bench.identifier.health(), Vec::<String>::new());
    std::fs::write(bench.path("jwks.json"), r#"{"keys":[]}"#).unwrap();
    bench.renew().await.unwrap();
    assert_eq!(bench.ask(&token).await, invalid(TokenFault::UnknownKey));
    let health = bench.identifier.health();
    assert!(health.len() == 1 && health[0].contains("no key fits"), "{health:?}");
}

#[tokio::test]
async fn a_remembered_token_ends_when_it_or_its_subject_is_revoked() {
    for line in ["jti token-1\n".to_owned(), format!("sub {ISSUER} alice\n")] {
        let mut bench = Bench::new().await;
        let token = key(Algorithm::Es256).sign(&claims().into(), &[]).unwrap();
        let other = key(Algorithm::Es256).sign(&with("jti", Some("\"token-2\"")), &[]).unwrap();
        assert!(bench.ask(&token).await.is_ok());
        std::fs::write(bench.path("revoked"), &line).unwrap();
        bench.revoke().unwrap();
        assert_eq!(bench.ask(&token).await, Err(Refusal::TokenRevoked));
        assert_eq!(bench.ask(&other).await.is_ok(), line.starts_with("jti"));
        std::fs::write(bench.path("revoked"), "what\n").unwrap();
        assert!(bench.revoke().unwrap_err().contains("line 1"));
        assert_eq!(bench.ask(&token).await, Err(Refusal::TokenRevoked));
        std::fs::remove_file(bench.path("revoked")).unwrap();
        bench.revoke().unwrap();
        assert!(bench.ask(&token).await.is_ok());
    }
}

#[tokio::test]
async fn a_token_that_is_revoked_for_all_replicas_is_refused_where_it_was_known() {
    let Some(database) = crate::store::record::postgres("a").await else { return };
    let shared = Shared::open(&database).unwrap();
    let Bench { folder: _folder, identifier, revocation, .. } = Bench::new().await;
    let identifier = identifier.sharing(shared.as_ref()).await.unwrap();
    let token = key(Algorithm::Es256).sign(&claims().into(), &[]).unwrap();
    assert_eq!(identifier.identify(&bearer(&token), None).await.map(drop), Ok(()));
    // One that comes after it follows them, too, when the first is gone.
    std::fs::write(revocation.file.as_ref().unwrap(), "jti other\n").unwrap();
    let next = identifier.revoking(&Revocations::read(&revocation).unwrap()).unwrap();
    drop(identifier);
    let ask = async || next.identify(&bearer(&token), None).await.map(drop);
    assert_eq!(ask().await, Ok(()));
    shared.unwrap().revoke("jti token-1", true).await.unwrap();
    for _ in 0..200 {
        if ask().await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ask().await, Err(Refusal::TokenRevoked));
    assert_eq!(next.health(), Vec::<String>::new());
}

#[tokio::test]
async fn revoking_also_takes_nobody_back() {
    let bench = Bench::new().await;
    let read = |text: &str| {
        std::fs::write(bench.path("revoked"), text).unwrap();
        Revocations::read(&bench.revocation).unwrap()
    };
    let one = bench.identifier.revoking_also(&read("jti token-1\n")).unwrap();
    // Cut to nothing, and filled again: what a rewrite in place looks like.
    assert!(one.revoking_also(&read("")).is_none());
    let both = one.revoking_also(&read("jti token-2\n")).unwrap();
    for id in ["token-1", "token-2"] {
        let token = key(Algorithm::Es256).sign(&with("jti", Some(&format!("\"{id}\""))), &[]).unwrap();
        assert_eq!(both.identify(&bearer(&token), None).await.map(drop), Err(Refusal::TokenRevoked), "{id}");
    }
}

#[tokio::test]
async fn issuers_come_and_go_and_rules_change() {
    let mut bench = Bench::with(&jwks(&[key(Algorithm::Es256)]), |_| {}).await;
    let token = key(Algorithm::Es256).sign(&claims().into(), &[]).unwrap();
    let other = key(Algorithm::Es256).sign(&with("iss", Some("\"https://other.example\"")), &[]).unwrap();
    assert!(bench.ask(&token).await.is_ok());
    assert_eq!(bench.ask(&other).await, invalid(TokenFault::Issuer));
    bench.issuers.push(Issuer { issuer: "https://other.example".into(), ..bench.issuers[0].clone() });
    bench.renew().await.unwrap();
    assert!(bench.ask(&token).await.is_ok() && bench.ask(&other).await.is_ok());
    bench.issuers.remove(0);
    bench.issuers[0].max_lifetime = Duration::from_mins(5);
    bench.renew().await.unwrap();
    assert_eq!(bench.ask(&token).await, invalid(TokenFault::Issuer));
    assert_eq!(bench.ask(&other).await, invalid(TokenFault::Lifetime));
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
    let identifier = identifier.renewed(&issuers).await.expect("it keeps nothing else from being renewed");
    let token = key(Algorithm::Es256).sign(&claims().into(), &[]).unwrap();
    let ask = async || identifier.identify(&bearer(&token), None).await.map(drop);
    assert_eq!(ask().await, Err(Refusal::KeysUnavailable { retry_after: Duration::from_secs(1) }));
    assert!(identifier.health()[0].contains("no keys"));
    std::fs::write(&path, jwks(&[key(Algorithm::Es256)])).unwrap();
    let renewed = identifier.renewed(&issuers).await.unwrap();
    assert_eq!(renewed.identify(&bearer(&token), None).await.map(drop), Ok(()));
}

#[tokio::test]
async fn a_key_file_that_can_not_be_used_is_named_with_what_to_do_about_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let issuers = [issuer(KeySource::File(path.clone()))];
    let mut bench = Bench::new().await;
    bench.issuers = issuers.to_vec();
    for (text, why) in [(None, "is missing; put"), (Some("{}"), "can't be used: it has no array `keys`; put")]
    {
        text.iter().for_each(|text| std::fs::write(&path, text).unwrap());
        let found = check(&issuers, &Revocation { file: None });
        let [(key, told)] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(key, "issuer.0.jwks_file");
        assert_eq!(
            *told,
            format!(
                "`{}` {why} the issuer's public keys there, as a JWK Set, or correct `jwks_file`",
                path.display()
            )
        );
        let refused = bench.renew().await.unwrap_err();
        assert_eq!(refused, [("issuer.0.jwks_file".to_owned(), told.clone())]);
        let started = Identifier::start(&issuers, &Revocation { file: None }, clock()).await.unwrap();
        let health = started.health().concat();
        assert!(!health.contains("jwks.json") && health.contains("no keys"), "anybody reads this: {health}");
    }
}

#[test]
fn what_keeps_a_text_from_revoking_is_told() {
    assert_eq!(Revocations::fault(b"# none\njti token-1\n"), None);
    assert_eq!(Revocations::fault(b""), None);
    let fault = Revocations::fault(b"jti token-1\nwhat\n").unwrap();
    assert!(fault.contains("line 2") && fault.contains("jti <id>"), "{fault}");
}

/// An issuer with a larger bound than before.
#[tokio::test]
async fn a_new_bound_of_a_token_counts_once_it_is_taken() {
    let mut bench = Bench::with(&jwks(&[key(Algorithm::Es256)]), |issuer| issuer.max_token_bytes = 100).await;
    let token = key(Algorithm::Es256).sign(&claims().into(), &[]).unwrap();
    assert!(bench.ask(&token).await.is_err());
    bench.issuers[0].max_token_bytes = token.len();
    bench.renew().await.unwrap();
    assert_eq!(bench.ask(&token).await.map(drop), Ok(()));
}

#[tokio::test]
async fn a_caller_may_be_in_sixty_four_groups_and_no_more() {
    let bench = Bench::new().await;
    let of = |count: usize| {
        let teams = (0..count).map(|n| format!("\"t{n:02}\"")).collect::<Vec<_>>().join(",");
        key(Algorithm::Es256).sign(&with("team", Some(&format!("[{teams}]"))), &[]).unwrap()
    };
    assert_eq!(bench.ask(&of(64)).await.unwrap().teams.len(), 64);
    assert_eq!(bench.ask(&of(65)).await, claim("/team"));
}

#[tokio::test]
async fn a_list_that_can_not_be_read_is_none_that_is_not_there() {
    let bench = Bench::new().await;
    let read = |name: &str| Revocations::read(&Revocation { file: Some(bench.path(name)) });
    assert!(read("not-there").is_ok());
    // Below a file there is nothing to be found.
    assert!(read("jwks.json/revoked").err().unwrap().contains("can't be read"));
    assert!(read(".").err().unwrap().contains("no regular file"));
}
