//! How long a caller that was identified may be acted for; tokens that are good for one secret: whose, and until when each could
//! come again.

use super::*;

async fn caller(bench: &Bench, claims: &Json) -> Arc<Caller> {
    let token = key(Algorithm::Es256).sign(claims, &[]).unwrap();
    Arc::clone(bench.identifier.identify(&bearer(&token), None).await.unwrap().caller())
}

#[tokio::test]
async fn a_token_that_is_good_once_needs_a_name_and_ends_with_its_leeway() {
    let once = Bench::with(&jwks(&ALL.map(key)), |issuer| issuer.one_use_for_secrets = true).await;
    let many = Bench::new().await;
    let named = Json::Object(claims());
    let known = caller(&once, &named).await;
    let ends = Timestamp::from_second(NOW + 3600 + 30).unwrap();
    assert_eq!(once.identifier.one_use(&known), Ok(Some(ends)));
    assert_eq!(many.identifier.one_use(&known), Ok(None));
    let nameless = caller(&once, &with("jti", None)).await;
    let missing = Refusal::TokenInvalid(TokenFault::Claim { pointer: "/jti".into() });
    assert_eq!(once.identifier.one_use(&nameless), Err(missing));
    assert_eq!(many.identifier.one_use(&nameless), Ok(None));
    let elsewhere = Caller { issuer: "https://other.example".into(), ..Caller::clone(&nameless) };
    assert_eq!(once.identifier.one_use(&elsewhere), Ok(None));

    assert_eq!(once.identifier.used_tokens_last(), Duration::from_hours(12) + Duration::from_mins(1));
    assert_eq!(many.identifier.used_tokens_last(), Duration::ZERO);
}

#[tokio::test]
async fn a_caller_lasts_as_long_as_its_token_with_the_leeway_of_its_issuer() {
    let bench = Bench::new().await;
    let known = caller(&bench, &Json::Object(claims())).await;
    let elsewhere = Caller { issuer: "https://other.example".into(), ..Caller::clone(&known) };
    assert_eq!(bench.identifier.lasts(&elsewhere), invalid(TokenFault::Expired), "it is trusted no more");
    let moment = Duration::from_micros(1);
    for (passes, lasts) in
        [(Duration::ZERO, true), (Duration::from_secs(3600 + 30) - moment, true), (moment, false)]
    {
        bench.clock.advance(passes);
        let expected = if lasts { Ok(()) } else { invalid(TokenFault::Expired) };
        assert_eq!(bench.identifier.lasts(&known), expected, "{passes:?}");
    }
}
