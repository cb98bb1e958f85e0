//! How old keys are, and which were replaced past the proxy.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use tunnelwarden::json::{self, Json};
use tunnelwarden::operation::AccountId;
use tunnelwarden::secret::ExposeSecret as _;

use crate::harness::{ACCOUNT, World, collection, tunnel_body};

fn ages(world: &World, flags: &[&str]) -> (Option<i32>, Vec<Json>) {
    let config = world.config();
    let done = world.program(&[&["audit", "psk-age", "--json", "--config", &config], flags].concat());
    let said = String::from_utf8(done.stdout).unwrap();
    (done.status.code(), said.lines().map(|line| json::read(line.as_bytes(), 8).unwrap()).collect())
}

#[tokio::test]
async fn a_key_has_its_age_and_one_that_was_replaced_past_us_is_told() {
    let world = World::start().await;
    let ours =
        world.call("admin", Method::POST, "", Some(&tunnel_body("ours", 1))).await.text_at("/result/id");
    let minted = world.call("admin", Method::POST, &format!("/{ours}/psk_generate"), None).await;
    assert_eq!(minted.status, 200, "{}", minted.text());
    // Somebody else mints one where only they do, and we learn of it by a change of ours.
    let account = AccountId::parse(ACCOUNT).unwrap();
    let tunnel = json::read(tunnel_body("theirs", 2).as_bytes(), 8).unwrap();
    let theirs = world.emulator.put_tunnel(account, &tunnel).unwrap();
    let path = collection().replacen("/client/v4", &world.emulator.base_url(), 1);
    let past_us = Request::post(format!("{path}/{theirs}/psk_generate"))
        .header("authorization", format!("Bearer {}", world.upstream_token.expose_secret()))
        .body(Full::new(Bytes::new()))
        .unwrap();
    assert_eq!(world.send(past_us).await.unwrap().status, 200);
    assert_eq!(ages(&world, &[]).1.len(), 1, "nothing tells of the other key yet");
    let moved = tunnel_body("theirs", 3);
    let put = world.call("operator", Method::PUT, &format!("/{theirs}"), Some(&moved)).await;
    assert_eq!(put.status, 200, "{}", put.text());
    let (exit, found) = ages(&world, &[]);
    assert_eq!((exit, found.len()), (Some(0), 2), "{found:?}");
    let of = |tunnel: &str| {
        found.iter().find(|age| age.get("tunnel").and_then(Json::as_str) == Some(tunnel)).unwrap()
    };
    let text = |tunnel: &str, name: &str| of(tunnel).get(name).map(ToString::to_string).unwrap_or_default();
    assert_eq!(text(&ours, "by"), "\"admin@test\"");
    assert_eq!(text(&ours, "bypassed"), "false");
    assert_eq!(text(theirs.as_str(), "by"), "null");
    assert_eq!(text(theirs.as_str(), "bypassed"), "true");
    assert_eq!(text(theirs.as_str(), "name"), "\"theirs\"");
    // For cron.
    assert_eq!(ages(&world, &["--older-than", "1d"]), (Some(0), Vec::new()));
    let (exit, old) = ages(&world, &["--older-than", "2100-01-01"]);
    assert_eq!((exit, old.len()), (Some(4), 2));
    // What is deleted has no key.
    let gone = world.call("admin", Method::DELETE, &format!("/{ours}"), None).await;
    assert_eq!(gone.status, 200, "{}", gone.text());
    assert_eq!(ages(&world, &[]).1.len(), 1);
    let told = world.program(&["audit", "psk-age", "--config", &world.config()]);
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains(&format!("theirs ({theirs})  NOT THROUGH THIS PROXY")), "{told}");
}
