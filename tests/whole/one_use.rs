//! Tokens that are good for one secret: over the wire, and over a restart.
//!
//! Not here: which are used up when (`src/audit/used/tests.rs`), several replicas (there, too).

use http::Method;
use tunnelwarden::json::Json;

use crate::harness::{Answer, Wishes, World, tunnel_body};

async fn world() -> World {
    World::with(Wishes {
        config: vec![("issuer.one_use_for_secrets", "true".to_owned())],
        ..Wishes::default()
    })
    .await
}

fn token(world: &World, role: &str, jti: Option<&str>) -> String {
    let mut claims = world.claims(role);
    if let Some(jti) = jti {
        claims.set("jti", jti);
    }
    world.key.sign(&Json::Object(claims), &[]).unwrap()
}

async fn ask(world: &World, token: &str, method: Method, path: &str, body: Option<&str>) -> Answer {
    world.try_call(token, method, path, body, &[]).await.unwrap()
}

fn with_key(name: &str) -> String {
    let key = "x".repeat(40);
    tunnel_body(name, 1).replacen('{', &format!("{{\"psk\":{key:?},"), 1)
}

#[tokio::test]
async fn a_token_makes_or_sets_one_key_and_does_all_else_as_before() {
    let mut world = world().await;
    let made = world.call("operator", Method::POST, "", Some(&tunnel_body("a", 1))).await;
    let path = format!("/{}", made.text_at("/result/id"));
    let generate = format!("{path}/psk_generate");

    let refused = world.call("operator", Method::POST, &generate, None).await;
    assert_eq!(refused.error_code(), 99400, "{}", refused.text());
    let nameless = ask(&world, &token(&world, "admin", None), Method::POST, &generate, None).await;
    assert_eq!(
        (nameless.error_code(), nameless.text().contains("/jti")),
        (99222, true),
        "{}",
        nameless.text()
    );

    let once = token(&world, "admin", Some("once"));
    let first = ask(&world, &once, Method::POST, &generate, None).await;
    assert_eq!(first.status, 200, "{}", first.text());
    let first = first.header("x-request-id");
    let set = format!(r#"{{"psks":[{{"id":"{}","psk":"{}"}}]}}"#, &path[1..], "y".repeat(40));
    let created = with_key("b");
    let updated = with_key("a");
    let all = [
        (Method::POST, generate.as_str(), None),
        (Method::POST, "/psk", Some(set.as_str())),
        (Method::POST, "", Some(created.as_str())),
        (Method::PUT, path.as_str(), Some(updated.as_str())),
    ];
    for restarted in [false, true] {
        if restarted {
            world.stop().await;
            world.launch().await;
        }
        for (method, path, body) in all.clone() {
            let again = ask(&world, &once, method.clone(), path, body).await;
            assert_eq!((again.status, again.error_code()), (401, 99226), "{method} {path}: {}", again.text());
            assert!(again.text().contains(&first), "{}", again.text());
            assert_eq!(again.header("x-should-retry"), "false");
            let told = world.entries().await.pop().unwrap();
            assert_eq!(
                (told.text("/refusal/first"), told.text("/subject")),
                (first.clone(), "admin@test".to_owned())
            );
        }
        assert_eq!(ask(&world, &once, Method::GET, &path, None).await.status, 200);
        assert_eq!(ask(&world, &once, Method::PUT, &path, Some(&tunnel_body("a", 2))).await.status, 200);
    }
    let next = token(&world, "admin", Some("next"));
    assert_eq!(ask(&world, &next, Method::PUT, &path, Some(&updated)).await.status, 200);
    assert_eq!(ask(&world, &next, Method::POST, &generate, None).await.error_code(), 99226);
}
