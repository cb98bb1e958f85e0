//! What a call did, as the record tells it: which tunnels, which diffs, and one result a tunnel.
//!
//! Not here: calls whose end was lost (`crash::lost`).

use http::Method;
use tunnelwarden::json::Json;

use crate::harness::{Answer, Stored, World, tunnel_body};

/// The key of a body, and the mark that must stand in its place.
const KEY: &str = "a-key-of-this-very-test";
const MARK: &str = "redacted:psk:";

async fn make(world: &World, name: &str, n: u8) -> String {
    let made = world.call("operator", Method::POST, "", Some(&tunnel_body(name, n))).await;
    assert_eq!(made.status, 200, "{}", made.text());
    made.text_at("/result/id")
}

fn with(member: &str, value: &str, body: &str) -> String {
    body.replacen('{', &format!(r#"{{"{member}":"{value}","#), 1)
}

/// The outcome of the call that got this answer.
async fn outcome(world: &World, answer: &Answer) -> Stored {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let of_call = world.entries_of(&answer.header("x-request-id")).await;
    of_call.into_iter().find(|entry| entry.text("/kind") == "outcome").expect("an outcome")
}

/// Each operation of a patch as `op path`.
#[track_caller]
fn operations(entry: &Stored, patch: &str) -> Vec<String> {
    let patch = entry.json.pointer(patch).unwrap_or_else(|| panic!("no {patch} in {}", entry.raw));
    let text = |operation: &Json, name| operation.get(name).and_then(Json::as_str).unwrap().to_owned();
    let each = patch.as_array().unwrap().iter();
    each.map(|operation| format!("{} {}", text(operation, "op"), text(operation, "path"))).collect()
}

#[tokio::test]
async fn a_tunnels_creation_is_found_by_its_id() {
    let world = World::start().await;
    let made = world.call("operator", Method::POST, "", Some(&tunnel_body("fresh", 1))).await;
    let id = made.text_at("/result/id");
    let outcome = outcome(&world, &made).await;
    assert_eq!(
        (outcome.text("/tunnels/0/id"), outcome.text("/tunnels/0/name")),
        (id.clone(), "fresh".into())
    );
    let args = ["audit", "list", "--json", "--config", &world.config(), "--tunnel", &id];
    let listed = String::from_utf8(world.program(&args).stdout).unwrap();
    assert!(listed.contains(&made.header("x-request-id")), "{listed}");
}

#[tokio::test]
async fn a_tunnel_that_is_read_is_named() {
    let world = World::start().await;
    let id = make(&world, "paris", 1).await;
    let got = world.call("viewer", Method::GET, &format!("/{id}"), None).await;
    assert_eq!(outcome(&world, &got).await.text("/tunnels/0/name"), "paris");
}

#[tokio::test]
async fn each_of_several_new_tunnels_has_its_own_diff_and_its_own_key() {
    let world = World::start().await;
    let (one, two) = (tunnel_body("one", 1), with("psk", KEY, &tunnel_body("two", 2)));
    let body = format!(r#"{{"ipsec_tunnels":[{one},{two}]}}"#);
    let made = world.call("admin", Method::POST, "", Some(&body)).await;
    let outcome = outcome(&world, &made).await;
    for (at, name) in ["one", "two"].into_iter().enumerate() {
        let id = made.text_at(&format!("/result/ipsec_tunnels/{at}/id"));
        assert_eq!(outcome.text(&format!("/tunnels/{at}/id")), id);
        assert_eq!(outcome.text(&format!("/before_after_diff/{at}/tunnel")), id);
        assert_eq!(outcome.text(&format!("/before_after_diff/{at}/patch/0/value/name")), name);
        assert_eq!(outcome.text(&format!("/request_response_diff/{at}/tunnel")), id);
    }
    assert_eq!(operations(&outcome, "/before_after_diff/0/patch"), ["add "]);
    assert_eq!(operations(&outcome, "/before_after_diff/1/patch"), ["add ", "add /psk"]);
    assert!(outcome.text("/before_after_diff/1/patch/1/value").starts_with(MARK), "{}", outcome.raw);
}

#[tokio::test]
async fn what_the_upstream_made_of_a_request_stands_beside_what_was_asked() {
    let world = World::start().await;
    let made = world.call("operator", Method::POST, "", Some(&tunnel_body("a", 1))).await;
    let outcome = outcome(&world, &made).await;
    let made = operations(&outcome, "/request_response_diff/0/patch");
    // Nothing that was asked came out otherwise; the upstream added what is its own.
    assert!(made.contains(&"add /id".to_owned()), "{made:?}");
    assert!(made.iter().all(|operation| operation.starts_with("add ")), "{made:?}");
}

#[tokio::test]
async fn a_creation_adds_a_whole_tunnel_and_a_deletion_removes_it() {
    let world = World::start().await;
    let made = world.call("operator", Method::POST, "", Some(&tunnel_body("a", 1))).await;
    let id = made.text_at("/result/id");
    let created = outcome(&world, &made).await;
    assert_eq!(operations(&created, "/before_after_diff/0/patch"), ["add "]);
    let deleted = world.call("admin", Method::DELETE, &format!("/{id}"), None).await;
    let deleted = outcome(&world, &deleted).await;
    assert_eq!(operations(&deleted, "/before_after_diff/0/patch"), ["remove "]);
    let state = |entry: &Stored, pointer: &str| entry.json.pointer(pointer).unwrap().get("name").cloned();
    assert_eq!(state(&created, "/before_after_diff/0/patch/0/value"), Some("a".into()));
    assert_eq!(state(&deleted, "/before_after_diff/0/patch/0/old"), Some("a".into()));
    assert_eq!(deleted.text("/before_after_diff/0/tunnel"), id);
}

#[tokio::test]
async fn a_bulk_update_has_a_diff_and_a_result_for_each_tunnel() {
    let world = World::start().await;
    let (one, two) = (make(&world, "one", 1).await, make(&world, "two", 2).await);
    let element = |id: &str, name: &str, n| with("id", id, &tunnel_body(name, n));
    let keyed = with("psk", KEY, &element(&two, "two", 2));
    let body = format!("[{},{keyed}]", element(&one, "one", 11).replace("10.1.11.0", "10.1.1.0"));
    let put = world.call("admin", Method::PUT, "", Some(&body)).await;
    let outcome = outcome(&world, &put).await;
    assert_eq!(outcome.text("/before_after_diff/0/tunnel"), one);
    assert!(
        operations(&outcome, "/before_after_diff/0/patch").contains(&"replace /customer_endpoint".into())
    );
    assert_eq!(outcome.text("/before_after_diff/1/tunnel"), two);
    assert_eq!(operations(&outcome, "/before_after_diff/1/patch"), ["add /psk_metadata", "add /psk"]);
    for (at, id) in [&one, &two].into_iter().enumerate() {
        assert_eq!(outcome.text(&format!("/results/{at}/tunnel")), *id);
        let applied = outcome.json.pointer(&format!("/results/{at}/applied"));
        assert_eq!(applied, Some(&Json::Bool(true)), "{}", outcome.raw);
    }
    assert_eq!(outcome.text("/results/0/psk"), "");
    assert!(outcome.text("/results/1/psk").starts_with(MARK), "{}", outcome.raw);
    assert!(!outcome.raw.contains(KEY));
}

#[tokio::test]
async fn keys_that_were_set_and_keys_that_were_not_are_told_apart() {
    let world = World::start().await;
    let (there, missing) = (make(&world, "there", 1).await, "0f".to_owned());
    let pair = |id: &str, key: &str| format!(r#"{{"id":"{id}","psk":"{key}"}}"#);
    let body = format!(r#"{{"psks":[{},{}]}}"#, pair(&missing, "the-other-key-of-it"), pair(&there, KEY));
    let set = world.call("admin", Method::POST, "/psk", Some(&body)).await;
    let outcome = outcome(&world, &set).await;
    assert_eq!(outcome.text("/results/0/tunnel"), missing);
    assert_eq!(outcome.json.pointer("/results/0/applied"), Some(&Json::Bool(false)));
    assert_eq!(outcome.text("/results/0/reason"), "IPsec tunnel not found");
    assert_eq!(outcome.text("/results/1/tunnel"), there);
    assert_eq!(outcome.json.pointer("/results/1/applied"), Some(&Json::Bool(true)));
    let marks = [0, 1].map(|at| outcome.text(&format!("/results/{at}/psk")));
    assert!(marks[0] != marks[1] && marks.iter().all(|mark| mark.starts_with(MARK)), "{marks:?}");
    // Only a key that was set has changed a tunnel.
    assert_eq!(outcome.text("/before_after_diff/0/tunnel"), there);
    assert_eq!(outcome.text("/before_after_diff/0/patch/0/value"), marks[1]);
    assert!(outcome.json.pointer("/before_after_diff/1").is_none(), "{}", outcome.raw);
}
