//! Reading states.

use super::server::{Server, answer};
use super::*;

async fn read(status: &str, body: &str, tunnel: bool) -> Result<StateRead, Failure> {
    let server =
        Server::answering(answer(status, "content-type: application/json\r\n", body.as_bytes())).await;
    let tunnel = tunnel.then(|| TunnelId::parse("0f").unwrap());
    let account = AccountId::parse("a1").unwrap();
    let upstream = upstream(&config(&server.base));
    let got = upstream.read_state(&taken().await, account, tunnel, None, Uuid::nil()).await;
    let path = format!("/accounts/a1/magic/ipsec_tunnels{}", if tunnel.is_some() { "/0f" } else { "" });
    assert!(server.seen()[0].starts_with(&format!("GET /client/v4{path} HTTP/1.1\r\n")));
    got
}

#[tokio::test]
async fn a_state_is_a_successful_envelope() {
    let got =
        read("200 OK", r#"{"success":true,"result":{"ipsec_tunnel":{"id":"0f"}}}"#, true).await.unwrap();
    assert_eq!(got.json.pointer("/result/ipsec_tunnel/id").and_then(crate::json::Json::as_str), Some("0f"));
    assert!(read("200 OK", r#"{"success":true,"result":{"ipsec_tunnels":[]}}"#, false).await.is_ok());
}

#[tokio::test]
async fn a_list_without_tunnels_is_no_empty_one() {
    for empty in ["[]", "null"] {
        let body = format!(r#"{{"success":true,"result":{{"ipsec_tunnels":{empty}}}}}"#);
        assert!(read("200 OK", &body, false).await.is_ok(), "{body}");
    }
    for result in ["{}", r#"{"ipsec_tunnels":{}}"#, r#"{"ipsec_tunnels":[1]}"#, r#"{"ipsec_tunnel":{}}"#] {
        let body = format!(r#"{{"success":true,"result":{result}}}"#);
        let failure = read("200 OK", &body, false).await.unwrap_err();
        assert!(matches!(failure.refusal, Refusal::StateUnreadable { .. }), "{body}: {failure:?}");
    }
}

#[tokio::test]
async fn an_unknown_tunnel_is_told_apart_from_all_else() {
    for body in [r#"{"success":false,"errors":[{"code":1032,"message":"x"}]}"#, "", "<html>", "{}"] {
        let failure = read("404 Not Found", body, true).await.unwrap_err();
        assert_eq!(failure.refusal, Refusal::TunnelUnknown, "{body}");
    }
    let unreadable = [
        ("404 Not Found", r#"{"success":false,"errors":[{"code":7003,"message":"x"}]}"#),
        ("401 Unauthorized", "{}"),
        ("429 Too Many Requests", ""),
        ("500 Internal Server Error", "<html>"),
        ("400 Bad Request", "{}"),
        ("302 Found", ""),
        ("200 OK", "<html>"),
        ("200 OK", r#"{"success":false,"result":{}}"#),
        ("200 OK", r#"{"success":true,"result":null}"#),
        ("200 OK", r#"{"success":true,"success":true,"result":{}}"#),
    ];
    for (status, body) in unreadable {
        let failure = read(status, body, true).await.unwrap_err();
        assert!(matches!(failure.refusal, Refusal::StateUnreadable { .. }), "{status} {body}: {failure:?}");
    }
    let failure = read("404 Not Found", "", false).await.unwrap_err();
    assert!(matches!(failure.refusal, Refusal::StateUnreadable { .. }), "{failure:?}");
}

#[tokio::test]
async fn without_an_upstream_there_is_no_state() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = upstream(&config(&format!("http://{}", listener.local_addr().unwrap())));
    drop(listener);
    let account = AccountId::parse("a1").unwrap();
    let failure = upstream.read_state(&taken().await, account, None, None, Uuid::nil()).await.unwrap_err();
    assert_eq!(failure.refusal, Refusal::StateUnreadable { why: "no connection to the upstream" });
    assert_eq!(failure.sent, Sent::No);
}

#[tokio::test]
async fn nothing_shows_a_body() {
    let canary = "canary-md5-key";
    let body = format!(r#"{{"success":true,"result":{{"md5_key":"{canary}"}}}}"#);
    let state = read("200 OK", &body, true).await.unwrap();
    let route = route(Operation::Create);
    let outgoing = Outgoing { body: Some(body), ..outgoing(&route) };
    let shown = format!("{state:?} {:?} {outgoing:?}", state.answer);
    assert!(!shown.contains(canary), "{shown}");
}
