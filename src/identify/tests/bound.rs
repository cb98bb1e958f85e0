//! Tokens that are bound to their client's certificate (RFC 8705).

use super::*;
use crate::caller::Thumbprint;

fn certificates() -> [Thumbprint; 2] {
    [b"the owner's", b"the thief's"].map(|der| Thumbprint::of(der))
}

fn token(cnf: &str) -> String {
    key(Algorithm::Es256).sign(&with("cnf", Some(cnf)), &[]).unwrap()
}

async fn ask(bench: &Bench, token: &str, by: Option<Thumbprint>) -> Result<(), Refusal> {
    bench.identifier.identify(&bearer(token), by).await.map(drop)
}

#[tokio::test]
async fn a_bound_token_is_good_with_its_certificate_only_also_when_it_is_remembered() {
    let [owner, thief] = certificates();
    let token = token(&format!("{{\"x5t#S256\":\"{owner}\"}}"));
    let bench = Bench::new().await;
    for by in [None, Some(thief)] {
        assert_eq!(ask(&bench, &token, by).await, invalid(TokenFault::Binding), "before it is known");
    }
    assert_eq!(ask(&bench, &token, Some(owner)).await, Ok(()));
    for by in [None, Some(thief)] {
        assert!(bench.identifier.recall(&bearer(&token), by).is_none());
        assert!(!bench.identifier.knew(&bearer(&token), by), "it is not examined for free");
        assert_eq!(ask(&bench, &token, by).await, invalid(TokenFault::Binding));
    }
    assert!(
        bench.identifier.recall(&bearer(&token), Some(owner)).is_some(),
        "a thief changes nothing for its owner"
    );
}

#[tokio::test]
async fn a_binding_that_is_not_served_or_not_well_formed_is_refused() {
    let [owner, _] = certificates();
    let bench = Bench::new().await;
    let text = owner.to_string();
    let (short, long) = (&text[..42], format!("{text}A"));
    // The last character holds two bits that mean nothing: of its four spellings one is good.
    let other_spelling = format!("{}{}", &text[..42], if text.ends_with('A') { 'B' } else { 'z' });
    for (cnf, refused) in [
        (
            r#"{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}"#.to_owned(),
            invalid(TokenFault::BindingKind),
        ),
        (r#"{"jwk":{"kty":"EC"}}"#.to_owned(), invalid(TokenFault::BindingKind)),
        (r#"{"kid":"7"}"#.to_owned(), invalid(TokenFault::BindingKind)),
        (format!(r#"{{"x5t#S256":"{text}","jkt":"a"}}"#), invalid(TokenFault::BindingKind)),
        ("{}".to_owned(), claim("/cnf/x5t#S256")),
        (r#"{"x5t#S256":7}"#.to_owned(), claim("/cnf/x5t#S256")),
        (format!(r#"{{"x5t#S256":"{short}"}}"#), claim("/cnf/x5t#S256")),
        (format!(r#"{{"x5t#S256":"{long}"}}"#), claim("/cnf/x5t#S256")),
        (format!(r#"{{"x5t#S256":"{text}="}}"#), claim("/cnf/x5t#S256")),
        (format!(r#"{{"x5t#S256":"{other_spelling}"}}"#), claim("/cnf/x5t#S256")),
        (format!(r#"{{"x5t#S256":"+{}"}}"#, &text[1..]), claim("/cnf/x5t#S256")),
        (format!("\"{text}\""), claim("/cnf")),
        ("null".to_owned(), claim("/cnf")),
    ] {
        assert_eq!(ask(&bench, &token(&cnf), Some(owner)).await, refused, "{cnf}");
    }
}

#[tokio::test]
async fn whose_token_it_is_is_known_where_it_is_good_and_not_taken() {
    let [owner, thief] = certificates();
    let mut bench = Bench::new().await;
    let own = key(Algorithm::Es256);
    let bound = token(&format!("{{\"x5t#S256\":\"{owner}\"}}"));
    let other_kind = token(r#"{"kid":"7"}"#);
    let free = own.sign(&claims().into(), &[]).unwrap();
    let forged =
        DevKey::generate(Algorithm::Es256).unwrap().with_id(own.id()).sign(&claims().into(), &[]).unwrap();
    let elsewhere = own.sign(&with("aud", Some("\"others\"")), &[]).unwrap();
    std::fs::write(bench.path("revoked"), "jti token-1\n").unwrap();
    let (revoked, fault) = (Refusal::TokenRevoked, Refusal::TokenInvalid);
    for (token, refusal, is_known) in [
        (&bound, fault(TokenFault::Binding), true),
        (&other_kind, fault(TokenFault::BindingKind), true),
        (&forged, fault(TokenFault::Signature), false),
        (&elsewhere, fault(TokenFault::Audience), false),
    ] {
        let not_taken = bench.identifier.examine(&bearer(token), Some(thief)).await.unwrap_err();
        let owner = not_taken.owner.as_ref().map(|owner| (owner.subject.as_str(), owner.jti.as_deref()));
        assert_eq!((&not_taken.refusal, owner), (&refusal, is_known.then_some(("alice", Some("token-1")))));
    }
    bench.revoke().unwrap();
    for (token, refusal, is_known) in [(&free, revoked, true), (&forged, fault(TokenFault::Signature), false)]
    {
        let not_taken = bench.identifier.examine(&bearer(token), None).await.unwrap_err();
        assert_eq!((not_taken.refusal, not_taken.owner.is_some()), (refusal, is_known));
    }
}

#[tokio::test]
async fn an_issuer_may_give_bound_tokens_only() {
    let [owner, _] = certificates();
    let bench = Bench::with(&jwks(&ALL.map(key)), |issuer| issuer.bound_tokens_only = true).await;
    let free = key(Algorithm::Es256).sign(&claims().into(), &[]).unwrap();
    for by in [Some(owner), None] {
        assert_eq!(ask(&bench, &free, by).await, invalid(TokenFault::Unbound));
    }
    let bound = token(&format!("{{\"x5t#S256\":\"{owner}\"}}"));
    assert_eq!(ask(&bench, &bound, Some(owner)).await, Ok(()));
}
