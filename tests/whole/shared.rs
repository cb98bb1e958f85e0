//! What one replica does, another knows: over sockets, with the replica that did it killed.
//!
//! Not here: the promises under load and kills (`replicas`), each of what is shared by itself (`src/share`).

use std::time::Duration;

use http::{Method, Request};
use http_body_util::Full;

use crate::harness::{Answer, Proxy, Wishes, World, collection, on_a_server, postgres, tunnel_body};

async fn call(world: &World, at: &Proxy, path: &str, body: &str, retry_count: &str) -> Answer {
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://{}{}{path}", at.api, collection()))
        .header("authorization", format!("Bearer {}", world.token("admin")))
        .header("x-stainless-retry-count", retry_count);
    let request = if body.is_empty() { request } else { request.header("content-type", "application/json") };
    world.send(request.body(Full::from(body.to_owned())).unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_retry_and_a_revocation_are_known_at_another_replica() {
    let Some(database) = on_a_server("none") else { return };
    let url = database.to_string();
    let name = url.rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
    let world =
        World::prepared(Wishes { database: Some(database), unchecked: true, ..Wishes::default() }).await;
    let (a, b) = (world.replica("a").await.unwrap(), world.replica("b").await.unwrap());
    let made = call(&world, &a, "", &tunnel_body("one", 1), "0").await;
    assert_eq!(made.status, 200, "{}", made.text());
    let generate = format!("/{}/psk_generate", made.text_at("/result/id"));
    let first = call(&world, &a, &generate, "", "0").await;
    assert_eq!(first.status, 200, "{}", first.text());
    // Killed a moment earlier it would have left the tunnel busy until its turn's time is over.
    let given_back =
        || postgres::server().unwrap().sql(&name, "SELECT count(*) FROM tunnelwarden_shared.turns");
    while given_back().trim() != "0" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    a.kill();
    let again = call(&world, &b, &generate, "", "1").await;
    assert_eq!(again.error_code(), 99405, "{}", again.text());
    assert!(again.text().contains(&first.header("x-request-id")), "{}", again.text());

    let config = world.config();
    let done = world.program(&["token", "revoke", "--config", &config, "--subject", "admin@test"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let until = tokio::time::Instant::now() + crate::harness::PATIENCE;
    while call(&world, &b, &generate, "", "1").await.error_code() != 99203 {
        assert!(tokio::time::Instant::now() < until, "it is not in force");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    b.kill();
}
