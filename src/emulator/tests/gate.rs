//! Routes, tokens, the rate limit and the headers of every answer.

use super::*;

#[tokio::test]
async fn only_a_known_bearer_token_comes_in() {
    let rig = rig().await;
    let bearer = rig.bearer();
    let lower = bearer.to_lowercase();
    for (headers, status, code) in [
        (vec![], 401, 10000),
        (vec![("authorization", "Bearer nope")], 401, 10000),
        (vec![("authorization", lower.as_str())], 401, 10000),
        (vec![("authorization", &bearer), ("authorization", &bearer)], 401, 10000),
        (vec![("authorization", &bearer), ("x-auth-key", "k"), ("x-auth-email", "e")], 403, 9103),
    ] {
        let refused = rig.raw(Method::GET, BASE, "", &headers).await.unwrap();
        assert_eq!(refused.refusal(), (status, code, String::new()));
        assert!(refused.headers.contains_key("cf-ray"));
    }
}

#[tokio::test]
async fn a_token_opens_what_it_is_for_and_verifies_where_it_belongs() {
    let own = format!("/client/v4/accounts/{ACCOUNT}/tokens/verify");
    const USER: &str = "/client/v4/user/tokens/verify";
    const ELSEWHERE: &str = "/client/v4/accounts/b0b/magic/ipsec_tunnels";
    type Change = fn(Token) -> Token;
    let changes: [(Change, [u16; 5]); 4] = [
        // Verified as a user's, as the account's; list, create, list of another account.
        (|token| token, [200, 401, 200, 200, 200]),
        (|token| Token::account(token.secret().clone(), account()), [401, 200, 200, 200, 403]),
        (Token::read_only, [200, 401, 200, 403, 200]),
        (Token::disabled, [200, 401, 403, 403, 403]),
    ];
    for (change, want) in changes {
        let rig = rig_with(|options| {
            let token = options.tokens.pop().unwrap();
            options.tokens.push(change(token));
        })
        .await;
        let sent = body("one").to_string();
        let mut got = Vec::new();
        for (method, path, sent) in [
            (Method::GET, USER, ""),
            (Method::GET, own.as_str(), ""),
            (Method::GET, BASE, ""),
            (Method::POST, BASE, sent.as_str()),
            (Method::GET, ELSEWHERE, ""),
        ] {
            got.push(rig.ask(method, path, sent).await.status);
        }
        assert_eq!(got, want);
    }
    let rig = rig().await;
    assert_eq!(rig.ask(Method::GET, USER, "").await.at("/result/status"), Json::from("active"));
    assert_eq!(rig.ask(Method::GET, &own, "").await.refusal(), (401, 1000, String::new()));
}

#[tokio::test]
async fn what_is_not_served_is_refused_in_the_envelope() {
    let rig = rig().await;
    for (method, path, status, code) in [
        (Method::GET, "/client/v4/zones".to_owned(), 404, 7003),
        (Method::GET, "/client/v4/accounts/XYZ/magic/ipsec_tunnels".to_owned(), 404, 7003),
        (Method::GET, format!("{BASE}/a/b/c"), 404, 7003),
        (Method::PATCH, BASE.to_owned(), 405, 10405),
        (Method::GET, format!("{BASE}/psk"), 405, 10405),
    ] {
        assert_eq!(rig.ask(method, &path, "").await.refusal(), (status, code, String::new()), "{path}");
    }
    let outside = rig.ask(Method::GET, "/elsewhere", "").await;
    assert_eq!((outside.status, outside.header("content-type")), (404, "text/html; charset=UTF-8"));
    for headers in [("content-encoding", "gzip"), ("content-type", "text/plain")] {
        let bearer = rig.bearer();
        let all = [("authorization", bearer.as_str()), headers];
        let sent = body("one").to_string();
        assert_eq!(rig.raw(Method::POST, BASE, &sent, &all).await.unwrap().status, 415);
    }
}

#[tokio::test]
async fn a_breach_of_the_limit_refuses_everything_for_a_window() {
    let rig = rig_with(|options| options.rate = Some((2, Duration::from_secs(300)))).await;
    let limits = |answered: &Answered| {
        (answered.status, answered.header("ratelimit").to_owned(), answered.header("retry-after").to_owned())
    };
    let first = rig.ask(Method::GET, BASE, "").await;
    assert_eq!(limits(&first), (200, r#""default";r=1;t=300"#.to_owned(), String::new()));
    assert_eq!(first.header("ratelimit-policy"), r#""default";q=2;w=300"#);
    rig.ask(Method::GET, BASE, "").await;
    rig.clock.advance(Duration::from_secs(100));
    let breach = rig.ask(Method::POST, BASE, &body("one").to_string()).await;
    assert_eq!(breach.refusal(), (429, 971, String::new()));
    assert_eq!(limits(&breach).2, "300");
    rig.clock.advance(Duration::from_secs(299));
    assert_eq!(limits(&rig.ask(Method::GET, BASE, "").await).2, "1");
    rig.clock.advance(Duration::from_secs(1));
    assert_eq!(rig.ask(Method::GET, BASE, "").await.status, 200);
    assert!(rig.emulator.effects().is_empty());
}

#[tokio::test]
async fn every_answer_has_a_ray_of_its_own_and_junk_that_must_not_pass() {
    let rig = rig().await;
    let (one, two) = (rig.ask(Method::GET, BASE, "").await, rig.ask(Method::GET, "/x", "").await);
    assert_ne!(one.header("cf-ray"), two.header("cf-ray"));
    for answered in [&one, &two] {
        assert!(answered.header("set-cookie").starts_with("__cf_bm="));
        for name in ["server", "alt-svc", "strict-transport-security", "api-version", "date"] {
            assert!(answered.headers.contains_key(name), "{name}");
        }
    }
}

#[tokio::test]
async fn an_answer_is_compressed_for_a_client_that_takes_it() {
    let rig = rig().await;
    let headers = [("accept-encoding", "br, gzip")];
    let answered = rig.ask_with(Method::GET, BASE, "", &headers).await.unwrap();
    assert_eq!(answered.header("content-encoding"), "gzip");
    let plain = rig.ask_with(Method::GET, BASE, "", &[("accept-encoding", "identity")]).await.unwrap();
    assert_eq!(plain.header("content-encoding"), "");
}

#[tokio::test]
async fn a_body_over_four_mebibytes_is_refused_and_noted() {
    let rig = rig().await;
    let refused = rig.ask(Method::POST, BASE, &"x".repeat((4 << 20) + 1)).await;
    assert_eq!(refused.refusal().0, 413);
    assert_eq!(rig.emulator.calls().pop().unwrap().status, Some(413));
}
