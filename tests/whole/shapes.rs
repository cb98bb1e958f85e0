//! The shapes in which clients send a new tunnel, from end to end.
//!
//! Source: Cloudflare's legacy clients wrap both sides as `{"ipsec_tunnels":[...]}`. Not here: each shape as it is
//! read (`src/tunnel/body/tests.rs`).

use http::Method;
use tunnelwarden::json::{self, Json};
use tunnelwarden::operation::Operation;

use crate::harness::{World, tunnel_body};

#[tokio::test]
async fn a_new_tunnel_goes_upstream_in_the_shape_in_which_it_came() {
    let world = World::start().await;
    let bare = tunnel_body("bare", 1);
    let listed = format!("{{\"ipsec_tunnels\":[{}]}}", tunnel_body("listed", 2));
    for (body, id) in [(&bare, "/result/id"), (&listed, "/result/ipsec_tunnels/0/id")] {
        let made = world.call("operator", Method::POST, "", Some(body)).await;
        assert_eq!(made.status, 200, "{}", made.text());
        assert!(!made.text_at(id).is_empty());
        check_sent(&world, body);
        let entries = world.entries_of(&made.header("x-request-id")).await;
        let changed = entries[1].json.pointer("/before_after_diff/0/tunnel").and_then(Json::as_str);
        assert_eq!(changed, Some(made.text_at(id).as_str()), "{}", entries[1].raw);
    }
}

/// No document tells of this shape, some clients send it: it is understood, judged and recorded as one tunnel, and
/// whether it is good the upstream says.
#[tokio::test]
async fn one_wrapped_tunnel_is_sent_on_as_it_came_and_the_upstream_decides() {
    let world = World::start().await;
    let key = "a-key-of-one-wrapped-tunnel";
    let tunnel = tunnel_body("single", 3).replace('}', &format!(r#","psk":"{key}"}}"#));
    let body = format!("{{\"ipsec_tunnel\":{tunnel}}}");
    // The key in it is seen, so it takes the right to set keys.
    let denied = world.call("operator", Method::POST, "", Some(&body)).await;
    assert_eq!((denied.status, denied.text_at("/errors/0/source/pointer").as_str()), (403, "/ipsec_tunnel"));
    assert!(world.emulator.calls().iter().all(|call| call.operation != Some(Operation::Create)));

    let answer = world.call("admin", Method::POST, "", Some(&body)).await;
    assert_eq!(answer.status, 400, "the emulator knows no such shape: {}", answer.text());
    assert!(answer.error_code() < 99_000, "this is the upstream's own answer: {}", answer.text());
    assert_eq!(answer.header("x-should-retry"), "");
    check_sent(&world, &body);
    let entries = world.entries_of(&answer.header("x-request-id")).await;
    let kinds: Vec<String> = entries.iter().map(|entry| entry.text("/kind")).collect();
    assert_eq!(kinds, ["intent", "outcome"]);
    let told = &entries[0].raw;
    assert_eq!(entries[0].text("/tunnels/0/name"), "single", "{told}");
    assert!(entries[0].text("/request/body/ipsec_tunnel/psk").starts_with("redacted:psk:"), "{told}");
    assert!(entries.iter().all(|entry| !entry.raw.contains(key)));
    assert!(world.emulator.effects().is_empty());
}

#[track_caller]
fn check_sent(world: &World, body: &str) {
    let read = |body: &[u8]| json::read(body, json::MAX_DEPTH).unwrap();
    let calls = world.emulator.calls();
    let last = calls.iter().rfind(|call| call.operation == Some(Operation::Create)).unwrap();
    assert_eq!(read(&last.body), read(body.as_bytes()));
}
