//! Every way to spell a request for something that is served, other than the one: refused, and never sent.
//!
//! Each comes with an admin's token, so that nothing but its spelling keeps it from the upstream. Not here: what
//! each refusal looks like (`row`), the matcher itself (`src/operation/route.rs`).

use crate::harness::{Answer, Wishes, World, collection};

use super::ask::{ask, ask_with, bearer, line, request, tunnel};

/// Targets, with `{}` for the collection, and what they are refused as. Each would name the collection, or the
/// tunnel `0f`, to a reader that is not strict.
const TARGETS: &[(&str, &str)] = &[
    // Dot segments, plain and encoded.
    ("{}/./0f", "target_spelling"),
    ("{}/.", "target_spelling"),
    ("{}/0f/..", "target_spelling"),
    ("{}/x/../0f", "target_spelling"),
    ("/client/v4/../v4/accounts/0a/magic/ipsec_tunnels/0f", "target_spelling"),
    ("/../client/v4/accounts/0a/magic/ipsec_tunnels/0f", "target_spelling"),
    ("{}/%2e/0f", "target_spelling"),
    ("{}/x/%2e%2e/0f", "target_spelling"),
    ("{}/x/%2E%2E/0f", "target_spelling"),
    ("{}/x/.%2e/0f", "target_spelling"),
    ("{}/x/%252e%252e/0f", "target_spelling"),
    // Slashes: encoded, doubled, leaning backward, one too many.
    ("{}%2f0f", "target_spelling"),
    ("{}%2F0f", "target_spelling"),
    ("{}%5c0f", "target_spelling"),
    ("{}//0f", "target_spelling"),
    ("/{}/0f", "target_spelling"),
    ("{}/0f/", "target_spelling"),
    ("{}/", "target_spelling"),
    ("{}/0f/psk_generate/", "target_spelling"),
    // Letters that are encoded, or large.
    ("{}/%30f", "target_spelling"),
    ("{}/0%66", "target_spelling"),
    ("{}/0f%00", "target_spelling"),
    ("{}/0f%20", "target_spelling"),
    ("{}/0F", "target_spelling"),
    ("/client/v4/accounts/0A/magic/ipsec_tunnels", "target_spelling"),
    ("/Client/v4/accounts/0a/magic/ipsec_tunnels", "target_spelling"),
    ("/client/v4/accounts/0a/magic/IPSEC_TUNNELS", "target_spelling"),
    // Path parameters.
    ("{};a=b", "target_spelling"),
    ("{}/0f;a=b", "target_spelling"),
    ("{}/0f;", "target_spelling"),
    // Other forms of a target.
    ("http://a{}", "target_spelling"),
    ("https://api.cloudflare.com{}/0f", "target_spelling"),
    ("a:443", "target_spelling"),
    ("*", "target_spelling"),
    // What a browser keeps to itself.
    ("{}#x", "malformed_request"),
    ("{}/0f#", "malformed_request"),
    // What is not served at all, or is no id.
    ("{}/0f/psk", "unknown_route"),
    ("{}/0f/0f", "unknown_route"),
    ("{}/0123456789abcdef0123456789abcdef0", "unknown_route"),
    ("{}/zz", "unknown_route"),
    ("{}/..0f", "unknown_route"),
    ("/accounts/0a/magic/ipsec_tunnels", "unknown_route"),
    ("/client/v4/accounts/0a/magic", "unknown_route"),
    ("/client/v4/accounts/0a/magic/gre_tunnels", "unknown_route"),
    ("/client/v4/accounts/zz/magic/ipsec_tunnels", "unknown_route"),
    ("/client/v4/user/tokens/verify", "unknown_route"),
    ("/", "unknown_route"),
    // Queries.
    ("{}?", "bad_query"),
    ("{}?page=2", "bad_query"),
    ("{}?validate_only=true", "bad_query"),
    ("{}?access_token=x", "bad_query"),
    ("{}?name=%2e%2e", "bad_query"),
    ("{}/0f?per_page=50", "bad_query"),
];

/// Ways to ask for a write with a query; the method is `POST`, the path the collection's.
const WRITE_QUERIES: &[&str] = &[
    "?validate_only",
    "?validate_only=",
    "?validate_only=1",
    "?validate_only=TRUE",
    "?validate_only=true&validate_only=false",
    "?validate_only=true&",
    "?validate_only=true&x=1",
    "?Validate_Only=true",
    "?validate%5fonly=true",
    "?validate_only=tru%65",
    "?validate_only=true;x=1",
];

/// `psk` is a word of the API's and no tunnel: what may be asked of a tunnel may not be asked of it.
const PSK: &[(&str, &str, &str)] = &[
    ("GET", "/psk", "method_not_allowed"),
    ("PUT", "/psk", "method_not_allowed"),
    ("DELETE", "/psk", "method_not_allowed"),
    ("POST", "/psk/psk_generate", "unknown_route"),
    ("GET", "/psk/psk", "unknown_route"),
    ("POST", "/psk/", "target_spelling"),
    ("DELETE", "/PSK", "target_spelling"),
    ("DELETE", "/ps%6b", "target_spelling"),
];

/// Headers by which some servers let a request be another than its line says.
const OVERRIDES: &[&str] = &[
    "x-http-method-override: DELETE",
    "x-http-method: DELETE",
    "x-method-override: DELETE",
    "x-original-url: /client/v4/accounts/0a/magic/ipsec_tunnels/0f/psk_generate",
    "x-rewrite-url: /client/v4/accounts/0b/magic/ipsec_tunnels",
    "x-forwarded-prefix: /client/v4/accounts/0b",
    "x-forwarded-host: else.example",
    "forwarded: for=192.0.2.1;host=else.example",
    "x-auth-key: 0123456789abcdef0123456789abcdef01234",
    "x-auth-email: a@b.example",
    "x-auth-user-service-key: v1.0-0123456789abcdef",
    "cookie: CF_Authorization=x",
    "x-emulator-fault: status=503",
];

async fn world() -> World {
    let many = ("listen.unidentified_per_address", "\"100000/m\"".to_owned());
    World::with(Wishes { config: vec![many], ..Wishes::default() }).await
}

/// The answer names that refusal, so does the one entry, and the upstream never heard of it.
async fn check(world: &World, shown: &str, answer: &Answer, refusal: &str) {
    let entries = world.entries_of(&answer.header("x-request-id")).await;
    let told: Vec<_> = entries.iter().map(|e| (e.text("/kind"), e.text("/refusal/name"))).collect();
    assert_eq!(told, [("refusal".to_owned(), refusal.to_owned())], "{shown}: {}", answer.text());
    assert_eq!(entries[0].number("/status"), Some(answer.status.into()), "{shown}");
    assert_eq!(Some(answer.error_code()), entries[0].number("/refusal/code"), "{shown}");
    let heard: Vec<_> = world.emulator.calls().into_iter().filter(|call| call.operation.is_some()).collect();
    assert!(heard.is_empty(), "{shown}: {heard:?}");
}

#[tokio::test]
async fn no_other_spelling_of_a_path_is_served() {
    let world = world().await;
    tunnel(&world, "0f");
    for (target, refusal) in TARGETS {
        let target = target.replace("{}", &collection());
        for method in ["GET", "DELETE"] {
            let line = format!("{method} {target} HTTP/1.1");
            // A list can't be deleted; that is found before its query is looked at.
            if method == "DELETE" && *refusal == "bad_query" {
                continue;
            }
            check(&world, &line, &ask(&world, "admin", &line, None).await, refusal).await;
        }
    }
}

#[tokio::test]
async fn validate_only_has_one_spelling() {
    let world = world().await;
    let body = crate::harness::tunnel_body("a", 1);
    for query in WRITE_QUERIES {
        let line = line("POST", query);
        check(&world, &line, &ask(&world, "admin", &line, Some(&body)).await, "bad_query").await;
    }
}

#[tokio::test]
async fn psk_is_never_the_id_of_a_tunnel() {
    let world = world().await;
    for (method, below, refusal) in PSK {
        let line = line(method, below);
        check(&world, &line, &ask(&world, "admin", &line, None).await, refusal).await;
    }
}

#[tokio::test]
async fn methods_are_compared_as_they_are() {
    let world = world().await;
    for method in ["get", "Get", "OPTIONS", "TRACE", "PATCH", "PROPFIND"] {
        let line = line(method, "");
        check(&world, &line, &ask(&world, "admin", &line, None).await, "method_not_allowed").await;
    }
    // The same, but an answer to this one has no body, whatever length it tells of.
    let head = request(&line("HEAD", ""), &[&bearer(&world, "admin")], None);
    let answer = world.raw(&head).await;
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert_eq!(world.entries().await.last().unwrap().text("/refusal/name"), "method_not_allowed");
    let line = "CONNECT api.cloudflare.com:443 HTTP/1.1";
    check(&world, line, &ask(&world, "admin", line, None).await, "malformed_request").await;
}

#[tokio::test]
async fn a_token_comes_in_one_authorization_header_and_nowhere_else() {
    let world = world().await;
    let (admin, viewer) = (bearer(&world, "admin"), bearer(&world, "viewer"));
    let token = world.token("admin");
    let cookie = format!("cookie: authorization=Bearer {token}");
    let access = format!("cf-access-jwt-assertion: {token}");
    let proxy = format!("proxy-authorization: Bearer {token}");
    let both = format!("authorization: Bearer {token}, Bearer {token}");
    let cases: [(&[&str], &str); 9] = [
        (&[&admin, &admin], "token_ambiguous"),
        (&[&viewer, &admin], "token_ambiguous"),
        (&[&admin, "authorization: Basic dTpw"], "token_ambiguous"),
        (&[&both], "token_invalid"),
        (&[&cookie], "token_missing"),
        (&[&access], "token_missing"),
        (&[&proxy], "token_missing"),
        (&["x-auth-key: 0123456789abcdef", "x-auth-email: a@b.example"], "token_missing"),
        (&["x-auth-user-service-key: v1.0-0123456789abcdef"], "token_missing"),
    ];
    for (headers, refusal) in cases {
        let answer = ask_with(&world, &line("GET", ""), headers, None).await;
        check(&world, &format!("{headers:?}"), &answer, refusal).await;
    }
    let in_query = line("GET", &format!("?access_token={token}"));
    check(&world, "a query", &ask_with(&world, &in_query, &[], None).await, "token_missing").await;
}

#[tokio::test]
async fn no_header_makes_a_request_another_one() {
    let world = world().await;
    let path = tunnel(&world, "0f");
    let admin = bearer(&world, "admin");
    for header in OVERRIDES {
        let answer = ask_with(&world, &line("GET", &path), &[&admin, header], None).await;
        assert_eq!(answer.status, 200, "{header}: {}", answer.text());
        let entries = world.entries_of(&answer.header("x-request-id")).await;
        assert_eq!(entries.len(), 1, "{header}");
        let told =
            ["/operation", "/account", "/tunnels/0/id", "/client_address"].map(|at| entries[0].text(at));
        assert_eq!(told, ["get", "0a", "0f", "127.0.0.1"], "{header}");
        let calls = world.emulator.calls();
        let call = calls.last().unwrap();
        let request = (call.method.as_str(), call.path.as_str());
        assert_eq!(request, ("GET", "/client/v4/accounts/0a/magic/ipsec_tunnels/0f"), "{header}");
        let (name, value) = header.split_once(": ").unwrap();
        assert!(!entries[0].raw.contains(value), "{header} is stored");
        assert!(!call.headers.contains_key(name), "{header} went upstream");
    }
    assert!(world.emulator.effects().is_empty());
}
