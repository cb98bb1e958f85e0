//! What really goes out, and what of an answer comes back.

use super::server::{Server, answer, good};
use super::*;

#[track_caller]
fn check_request(server: &Server, line: &str, headers: &[(&str, &str)], body: &str) {
    let seen = server.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    let (head, sent_body) = seen[0].split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some(line));
    let mut got: Vec<_> = lines.map(|line| line.split_once(": ").unwrap()).collect();
    got.sort_unstable();
    let host = server.base.strip_prefix("http://").unwrap();
    let mut want = vec![
        ("accept", "application/json"),
        ("accept-encoding", "identity"),
        ("authorization", "Bearer test_token_that_opens_nothing_0001"),
        ("host", host),
    ];
    want.extend(headers);
    want.sort_unstable();
    assert_eq!(got, want);
    assert_eq!(sent_body, body);
}

const OURS: &str =
    concat!("tunnelwarden/", env!("CARGO_PKG_VERSION"), " (00000000-0000-0000-0000-000000000007)");

#[tokio::test]
async fn a_read_goes_out_with_the_named_headers_and_no_others() {
    let server = Server::answering(good()).await;
    let upstream = upstream(&config(&server.base));
    let route = route(Operation::Get);
    let user_agent = Some("Cloudflare/Python 4.0\r\nx-evil: 1\u{e9}");
    let outgoing = Outgoing { new_hc_target: Some(true), user_agent, ..outgoing(&route) };
    upstream.send_route(&taken().await, outgoing).await.unwrap();
    let agent = format!("Cloudflare/Python 4.0??x-evil: 1? {OURS}");
    check_request(
        &server,
        "GET /client/v4/accounts/a1/magic/ipsec_tunnels/0f HTTP/1.1",
        &[("user-agent", &agent), ("x-magic-new-hc-target", "true")],
        "",
    );
}

#[tokio::test]
async fn a_write_goes_out_with_its_body() {
    let server = Server::answering(good()).await;
    let upstream = upstream(&config(&server.base));
    let route = Route { validate_only: true, ..route(Operation::Create) };
    let outgoing = Outgoing {
        body: Some("{\"name\":\"a\"}".into()),
        new_hc_target: Some(false),
        user_agent: Some("  "),
        ..outgoing(&route)
    };
    upstream.send_route(&taken().await, outgoing).await.unwrap();
    check_request(
        &server,
        "POST /client/v4/accounts/a1/magic/ipsec_tunnels?validate_only=true HTTP/1.1",
        &[
            ("content-length", "12"),
            ("content-type", "application/json"),
            ("user-agent", OURS),
            ("x-magic-new-hc-target", "false"),
        ],
        "{\"name\":\"a\"}",
    );
}

#[tokio::test]
async fn psk_operations_carry_no_health_check_header() {
    let server = Server::answering(good()).await;
    let upstream = upstream(&config(&server.base));
    let route = route(Operation::GeneratePsk);
    let outgoing = Outgoing { new_hc_target: Some(true), ..outgoing(&route) };
    upstream.send_route(&taken().await, outgoing).await.unwrap();
    check_request(
        &server,
        "POST /client/v4/accounts/a1/magic/ipsec_tunnels/0f/psk_generate HTTP/1.1",
        &[("content-length", "2"), ("content-type", "application/json"), ("user-agent", OURS)],
        "{}",
    );
}

#[tokio::test]
async fn a_delete_without_body_says_nothing_of_one() {
    let server = Server::answering(good()).await;
    let upstream = upstream(&config(&server.base));
    let route = route(Operation::Delete);
    upstream.send_route(&taken().await, Outgoing { body: None, ..outgoing(&route) }).await.unwrap();
    check_request(
        &server,
        "DELETE /client/v4/accounts/a1/magic/ipsec_tunnels/0f HTTP/1.1",
        &[("user-agent", OURS)],
        "",
    );
}

#[tokio::test]
async fn a_long_user_agent_is_cut() {
    let server = Server::answering(good()).await;
    let upstream = upstream(&config(&server.base));
    let (route, long) = (route(Operation::List), "u".repeat(5000));
    upstream
        .send_route(&taken().await, Outgoing { user_agent: Some(&long), ..outgoing(&route) })
        .await
        .unwrap();
    let want = format!("user-agent: {} {OURS}\r\n", "u".repeat(256));
    assert!(server.seen()[0].contains(&want), "{:?}", server.seen());
}

#[tokio::test]
async fn an_account_with_its_own_token_is_called_with_it() {
    let server = Server::answering(good()).await;
    let mut config = config(&server.base);
    let own = TokenSource::Environment(SecretString::from("test_token_of_account_a1_0002"));
    config.accounts.insert(AccountId::parse("a1").unwrap(), own);
    send(&upstream(&config), Operation::List).await.unwrap();
    assert!(server.seen()[0].contains("authorization: Bearer test_token_of_account_a1_0002\r\n"));
}

#[tokio::test]
async fn an_account_without_any_token_is_not_called() {
    let server = Server::answering(good()).await;
    let mut config = config(&server.base);
    config.token = None;
    config.accounts.insert(AccountId::parse("b2").unwrap(), TokenSource::Environment(token()));
    let got = send(&upstream(&config), Operation::List).await;
    let refusal = Refusal::UpstreamToken("none is configured for this account");
    check_failure(got, refusal, Sent::No, None);
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn an_answer_comes_back_with_the_named_headers() {
    let headers = "content-type: application/json; charset=utf-8\r\ncf-ray: 8c1f0a-FRA\r\nset-cookie: a=b\r\n\
                   server: x\r\nratelimit: \"default\";r=50;t=30\r\n";
    let server = Server::answering(answer("403 Forbidden", headers, b"{}")).await;
    let answer = send(&upstream(&config(&server.base)), Operation::Update).await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (403, &b"{}"[..]));
    assert_eq!((answer.cf_ray(), answer.is_json, answer.was_gzip), (Some("8c1f0a-FRA"), true, false));
    let mut names: Vec<_> = answer.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["cf-ray", "content-type", "ratelimit"]);
}

#[tokio::test]
async fn html_passes_as_it_is() {
    let page = b"<html>bad gateway</html>";
    let server = Server::answering(answer("502 Bad Gateway", "content-type: text/html\r\n", page)).await;
    let answer = send(&upstream(&config(&server.base)), Operation::Update).await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body[..], answer.is_json), (502, &page[..], false));
}

#[tokio::test]
async fn gzip_is_decoded_though_it_was_not_asked_for() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, b"{\"success\":true}").unwrap();
    let packed = encoder.finish().unwrap();
    let server = Server::answering(answer("200 OK", "content-encoding: gzip\r\n", &packed)).await;
    let answer = send(&upstream(&config(&server.base)), Operation::Get).await.unwrap();
    assert_eq!((&answer.body[..], answer.was_gzip), (&b"{\"success\":true}"[..], true));
    assert!(answer.headers.is_empty());
}

#[tokio::test]
async fn the_budget_learns_from_every_answer() {
    let throttled = answer("429 Too Many Requests", "retry-after: 77\r\n", b"");
    let server = Server::answering(throttled).await;
    let (budget, route) = (budget(), route(Operation::List));
    let upstream = upstream(&config(&server.base));
    let answer = upstream.send_route(&budget.take_own().await.unwrap(), outgoing(&route)).await.unwrap();
    assert_eq!(answer.headers["retry-after"], "77");
    let Err(Refusal::BudgetSpent { retry_after }) = budget.take_own().await else {
        panic!("nothing was learned")
    };
    assert!(retry_after > Duration::from_secs(17));
}
