//! What a secret of a caller's own can do to the record: it is kept out of it, and nothing else is.
//!
//! Not here: that no secret gets into it (`canary`).

use http::Method;

use crate::harness::{ACCOUNT, Answer, World, tunnel_body};
use tunnelwarden::json::{self, Json};
use tunnelwarden::operation::AccountId;

const MASK: &str = "redacted:guard";

/// A tunnel that is there, with these members beside the usual ones.
fn present(world: &World, n: u8, more: &str) -> String {
    let body = tunnel_body(&format!("site-{n}"), n).replace('}', more) + "}";
    let tunnel = json::read(body.as_bytes(), json::MAX_DEPTH).unwrap();
    world.emulator.put_tunnel(AccountId::parse(ACCOUNT).unwrap(), &tunnel).unwrap().to_string()
}

/// Refused with this code at this place, and nothing was sent.
#[track_caller]
fn refused(answer: &Answer, code: i64, pointer: Option<&str>) {
    assert_eq!((answer.status, answer.error_code()), (400, code), "{}", answer.text());
    let found = answer.json();
    assert_eq!(found.pointer("/errors/0/source/pointer").and_then(Json::as_str), pointer);
}

async fn effects(world: &World) -> usize {
    world.emulator.effect_list().len()
}

#[tokio::test]
async fn a_header_that_is_kept_out_of_the_record_takes_nothing_with_it() {
    let world = World::start().await;
    let id = present(&world, 1, "");
    let path = format!("/{id}");
    let before = effects(&world).await;
    for (name, value) in [
        ("x-secret", "198.51.100.66"),
        ("x-my-key", "moved-site"),
        ("cookie", "MTk4LjUxLjEwMC42Ng"),
        ("x-auth-thing", "198.51"),
        ("x-token", "1.66"),
    ] {
        let body = tunnel_body("moved-site", 66);
        let body = if value.starts_with("MTk") { body.replace("moved-site", value) } else { body };
        let answer = world.call_with("admin", Method::PUT, &path, Some(&body), &[(name, value)]).await;
        if value == "1.66" {
            assert_eq!(answer.status, 200, "a short one is no part of a text: {}", answer.text());
            assert_eq!(world.emulator.effect_list().len(), before + 1);
        } else {
            refused(&answer, 99114, None);
            let said = answer.text_at("/errors/0/message");
            let word = ["secret", "key", "cookie", "auth"].into_iter().find(|word| name.contains(word));
            assert!(said.contains(word.unwrap()), "{said}");
            assert_eq!(effects(&world).await, before);
        }
    }
    let agent = [("x-secret", "tool-of-mallory"), ("user-agent", "a tool-of-mallory/1")];
    refused(&world.call_with("admin", Method::GET, &path, None, &agent).await, 99114, None);
}

#[tokio::test]
async fn a_header_blanks_nothing_of_a_state_or_an_answer() {
    let world = World::start().await;
    let id = present(&world, 1, "");
    let body = tunnel_body("site-1", 2);
    let with = [("x-key", "mid"), ("x-secret", "198.51.100.1"), ("user-agent", "mid/1 (198.51.1)")];
    let answer = world.call_with("admin", Method::PUT, &format!("/{id}"), Some(&body), &with).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    for entry in world.entries_of(&answer.header("x-request-id")).await {
        let mut told = entry.json.clone();
        // Of a user agent, which changes nothing, a part may be missing.
        told.as_object_mut().unwrap().remove("user_agent");
        assert!(!told.to_string().contains(MASK), "{}", entry.raw);
        assert!(!entry.text("/user_agent").contains("198.51.1"), "{}", entry.raw);
    }
}

#[tokio::test]
async fn a_key_blanks_nothing_of_a_body() {
    let world = World::start().await;
    let id = present(&world, 1, "");
    let path = format!("/{id}");
    let put = tunnel_body("site-1", 66);
    let with = |more: &str| put.replace('}', more) + "}";
    let before = effects(&world).await;
    for (more, pointer) in [
        (r#","bgp":{"customer_asn":64512,"md5_key":"198.51.100.66"}"#, "/bgp/md5_key"),
        (r#","bgp":{"customer_asn":4200000001,"md5_key":"00000001"}"#, "/bgp/md5_key"),
        (r#","psk":"site-1""#, "/psk"),
        (r#","psk":"low","health_check":{"rate":"low"}"#, "/psk"),
        // The token of a Cloudflare user, by its looks.
        (r#","description":"cfut_evil-corp-evil-corp-evil""#, "/description"),
        // The name and the address that the tunnel has now.
        (r#","name":"x","psk":"site-1""#, "/psk"),
        (r#","psk":"198.51.100.1""#, "/psk"),
    ] {
        let body = if more.starts_with(r#","name""#) {
            with(&more.replace(r#","name":"x""#, "")).replacen("site-1", "x", 1)
        } else {
            with(more)
        };
        refused(&world.call("admin", Method::PUT, &path, Some(&body)).await, 99127, Some(pointer));
    }
    let list = format!(
        r#"[{},{}]"#,
        with(&format!(r#","id":"{id}""#)),
        with(r#","id":"beef","psk":"198.51.100.66""#)
    );
    refused(&world.call("admin", Method::PUT, "", Some(&list)).await, 99127, Some("/1/psk"));
    let set = format!(r#"{{"psks":[{{"id":"{id}","psk":"{id}"}}]}}"#);
    assert_eq!(world.call("admin", Method::POST, "/psk", Some(&set)).await.error_code(), 99127);
    let agent = [("user-agent", "tool/1 (a-key-of-mine)")];
    let body = with(r#","psk":"a-key-of-mine""#);
    let answer = world.call_with("admin", Method::PUT, &path, Some(&body), &agent).await;
    refused(&answer, 99127, Some("/psk"));
    assert_eq!(effects(&world).await, before);
}

/// In two steps: first the key, then the text that the key would blank out.
#[tokio::test]
async fn a_key_that_is_there_blanks_nothing_of_a_later_body() {
    let world = World::start().await;
    let id = present(&world, 1, r#","bgp":{"customer_asn":64512,"md5_key":"198.51.100.66"}"#);
    let path = format!("/{id}");
    let answer = world.call("admin", Method::PUT, &path, Some(&tunnel_body("site-1", 66))).await;
    refused(&answer, 99127, Some("/customer_endpoint"));
    let other = world.call("admin", Method::PUT, &path, Some(&tunnel_body("site-1", 67))).await;
    assert_eq!(other.status, 200, "{}", other.text());
    let moved = world.call("admin", Method::PUT, &path, Some(&tunnel_body("site-1", 66))).await;
    assert_eq!(moved.status, 200, "the key is gone: {}", moved.text());
    let entries = world.entries_of(&moved.header("x-request-id")).await;
    assert!(entries.iter().all(|entry| !entry.raw.contains(MASK)), "{entries:#?}");
}
