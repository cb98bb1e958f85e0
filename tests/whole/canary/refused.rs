//! Bodies that are refused, with secrets in the places that are at fault.
//!
//! Not here: bodies that are taken (`bodies`), secrets beside the body (`heads`).

use http::Method;

use super::hunt::{Hunt, escaped};
use crate::harness::{World, collection, tunnel_body};

/// A body with `HERE` where the secret goes, and what it is sent to.
const BODIES: [(&str, &str, &str); 33] = [
    ("POST", "", r#"{"name":"a","psk":"HERE""#),
    ("POST", "", r#"{"name":"a","psk":"HERE",}"#),
    ("POST", "", r#"{"name":"a","psk":"HERE"} "HERE""#),
    ("POST", "", r#"{"name":"a","psk":"HERE","psk":"HERE"}"#),
    ("POST", "", r#"{"name":"a","psk":"HERE\ud800"}"#),
    ("POST", "", r#"{"name":"a","psk":"HERE\x"}"#),
    ("POST", "", r#"{"name":"a","psk":HERE}"#),
    ("POST", "", r#"{"name":"a","psk":["HERE"]}"#),
    ("POST", "", r#"{"name":"a","psk":{"value":"HERE"}}"#),
    ("POST", "", r#"{"name":"a","PSK":"HERE"}"#),
    ("POST", "", r#"{"name":"a","ike_secret":"HERE"}"#),
    ("POST", "", r#"{"name":"a","ike":{"secrets":[{"v":"HERE"}]}}"#),
    ("POST", "", r#"{"name":{"HERE":1}}"#),
    ("POST", "", r#"{"name":"a","bgp":"HERE"}"#),
    ("POST", "", r#"{"name":"a","bgp":{"md5_key":["HERE"]}}"#),
    ("POST", "", r#"{"name":"a","bgp":{"customer_asn":"HERE"}}"#),
    ("POST", "", r#"{"name":"a","health_check":{"HERE":"HERE"}}"#),
    ("POST", "", r#"{"HERE":"a"}"#),
    ("POST", "", r#""HERE""#),
    ("POST", "", r#"psk=HERE"#),
    ("POST", "", r#"{"ipsec_tunnels":[{"name":"a","psk":1}],"psk":"HERE"}"#),
    ("POST", "", r#"{"ipsec_tunnels":{"HERE":{"psk":"HERE"}}}"#),
    ("PUT", "", r#"[{"id":"HERE","psk":"HERE"}]"#),
    ("PUT", "", r#"{"ipsec_tunnels":[{"id":"ab","psk":"HERE"},{"id":"ab","psk":"HERE"}]}"#),
    ("PUT", "/abcd", r#"{"id":"HERE"}"#),
    ("PUT", "/abcd", r#"{"id":"abcd","name":"a","psk":"HERE"}"#),
    ("POST", "/psk", r#"{"psks":{"abcd":"HERE"}}"#),
    ("POST", "/psk", r#"{"psks":[{"id":"HERE","psk":"HERE"}]}"#),
    ("POST", "/psk", r#"{"psks":[{"id":"abcd","key":"HERE"}]}"#),
    ("POST", "/psk", r#"{"abcd":"HERE"}"#),
    ("POST", "/abcd/psk_generate", r#"{"psk":"HERE"}"#),
    ("DELETE", "/abcd", r#"{"psk":"HERE"}"#),
    ("GET", "", r#"{"psk":"HERE"}"#),
];

/// Sends each, as a caller who may do everything and as one who may do nothing.
pub async fn drive(world: &World, hunt: &mut Hunt) {
    for (at, (method, path, body)) in BODIES.into_iter().enumerate() {
        for role in ["admin", "nobody"] {
            let secret = hunt.plain(&format!("refused body {at} of {role}"));
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            for spelled in [secret.clone(), escaped(&secret)] {
                let sent = body.replace("HERE", &spelled);
                let answer = world.call(role, method.clone(), path, Some(&sent)).await;
                assert!(answer.status >= 400, "{sent}");
                // Where a name is at fault its author is shown it, and nobody else.
                if !body.contains("\"HERE\":") {
                    hunt.refused(format!("the answer to {sent}"), answer.body);
                }
            }
        }
    }
    by_policy(world, hunt).await;
    by_form(world, hunt).await;
}

/// Good bodies of callers who may not.
async fn by_policy(world: &World, hunt: &mut Hunt) {
    for role in ["operator", "viewer", "security"] {
        let secret = hunt.secret(&format!("a key that {role} may not set"));
        let spelled = tunnelwarden::json::Json::from(secret.as_str()).to_string();
        let tunnel = tunnel_body("a", 1).replace('}', &format!(r#","psk":{spelled}}}"#));
        for (method, path, body) in [
            (Method::POST, "", tunnel.clone()),
            (Method::POST, "/psk", format!(r#"{{"psks":[{{"id":"abcd","psk":{spelled}}}]}}"#)),
            (Method::PUT, "/abcd", tunnel),
        ] {
            let agent = format!("tool/1 {}", secret.replace('é', ""));
            let with = [("user-agent", agent.as_str())];
            let answer = world.call_with(role, method, path, Some(&body), &with).await;
            assert_eq!(answer.status, 403, "{}", answer.text());
            hunt.refused("a 403".to_owned(), answer.body);
        }
    }
}

/// Bodies that are refused for how they come.
async fn by_form(world: &World, hunt: &mut Hunt) {
    let secret = hunt.plain("a body of a wrong form");
    let body = tunnel_body("a", 1).replace('}', &format!(r#","psk":"{secret}"}}"#));
    let big = body.replace("\"a\"", &format!("{:?}", secret.repeat(1 << 16)));
    let type_of = format!("text/{secret}");
    for (headers, body) in [
        (vec![("content-encoding", "gzip")], &body),
        (vec![("content-encoding", secret.as_str())], &body),
        (vec![("content-type", "text/plain")], &body),
        (vec![("content-type", type_of.as_str())], &body),
        (vec![], &big),
    ] {
        // A body that is too large is refused before all of it was sent, so the connection may break.
        let answer = world.try_call(&world.token("admin"), Method::POST, "", Some(body), &headers).await;
        if let Ok(answer) = answer {
            assert!(answer.status >= 400);
            hunt.refused("an answer to a body of a wrong form".to_owned(), answer.body);
        }
    }
    let token = world.token("admin");
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n",
        collection()
    );
    for length in ["content-length: 5", "transfer-encoding: chunked"] {
        let answer = world.raw(format!("{head}{length}\r\nconnection: close\r\n\r\n{body}").as_bytes()).await;
        hunt.refused("an answer to broken framing".to_owned(), answer);
    }
}
