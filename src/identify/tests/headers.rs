//! Where a token may stand, and where it may not.

use super::*;

/// Names and values of header fields.
type Fields = Vec<(&'static str, String)>;

#[tokio::test]
async fn a_token_comes_in_exactly_one_bearer_header() {
    let bench = Bench::new().await;
    let token = key(Algorithm::Es256).sign(&claims().into(), &[]).unwrap();
    let bearer = format!("Bearer {token}");
    let missing = |legacy_headers| Err(Refusal::TokenMissing { legacy_headers });
    let scheme = || invalid(TokenFault::Scheme);
    let named = |name: &'static str, value: &str| (name, value.to_owned());
    let authorization = |value: &str| vec![named("authorization", value)];
    let table: Vec<(Fields, Result<(), Refusal>)> = vec![
        (authorization(&bearer), Ok(())),
        (authorization(&format!("bearer {token}")), Ok(())),
        (authorization(&format!("BEARER {token}")), Ok(())),
        (vec![], missing(false)),
        (vec![named("cookie", &format!("token={token}"))], missing(false)),
        (vec![named("proxy-authorization", &bearer)], missing(false)),
        (vec![named("x-auth-user-service-key", "k")], missing(false)),
        (vec![named("x-auth-key", "k")], missing(true)),
        (vec![named("x-auth-email", "a@b.example"), named("x-auth-key", "k")], missing(true)),
        (vec![named("authorization", &bearer), named("x-auth-key", "k")], Ok(())),
        (
            vec![named("authorization", &bearer), named("authorization", &bearer)],
            Err(Refusal::TokenAmbiguous),
        ),
        (vec![named("authorization", &bearer), named("authorization", "")], Err(Refusal::TokenAmbiguous)),
        (authorization(""), scheme()),
        (authorization("Bearer"), scheme()),
        (authorization("Bearer "), scheme()),
        (authorization("Bearer =="), scheme()),
        (authorization(&token), scheme()),
        (authorization(&format!("Basic {token}")), scheme()),
        (authorization(&format!("Bearer  {token}")), scheme()),
        (authorization(&format!("Bearer\t{token}")), scheme()),
        (authorization(&format!(" Bearer {token}")), scheme()),
        (authorization(&format!("Bearer {token} ")), scheme()),
        (authorization(&format!("Bearer {token},Bearer {token}")), scheme()),
        (authorization(&format!("Bearer {token}, Basic eA")), scheme()),
        (authorization(&format!("Bearer \"{token}\"")), scheme()),
        (authorization(&format!("Bearer:{token}")), scheme()),
        (authorization(&format!("Bearer token={token}")), scheme()),
        (authorization("Bearer \u{e9}"), scheme()),
    ];
    for (fields, expected) in table {
        let mut headers = HeaderMap::new();
        for (name, value) in &fields {
            headers.append(*name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        assert_eq!(bench.identifier.identify(&headers, None).await.map(drop), expected, "{fields:?}");
    }
}
