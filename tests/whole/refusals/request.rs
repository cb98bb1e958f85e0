//! Requests that are not well made: their bytes, head, target and body.
//!
//! Not here: all spellings of a path (`paths`).

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::harness::{Wishes, tunnel_body};

use super::ask::{ask, ask_with, bearer, line, request, send, send_and_end};
use super::row::{Group, Row};

const JSON: &str = "content-type: application/json";

pub(super) const GROUP: Group = Group {
    apart: false,
    wishes: || Wishes {
        config: vec![
            ("listen.unidentified_per_address", "\"100000/m\"".to_owned()),
            ("listen.max_body_bytes", "\"1KiB\"".to_owned()),
        ],
        ..Wishes::default()
    },
    rows: &[
        Row::new("malformed_request", 400, 99100, |w| Box::pin(send(w, b"HELO proxy\r\n\r\n"))),
        Row::new("malformed_request", 400, 99100, |w| {
            Box::pin(async move {
                let both = ["content-length: 2", "transfer-encoding: chunked"];
                send(w, &request(&line("POST", ""), &both, None)).await
            })
        }),
        Row::new("headers_too_large", 431, 99101, |w| {
            Box::pin(async move {
                let long = format!("x-long: {}", "a".repeat(17 << 10));
                ask_with(w, &line("GET", ""), &[&long], None).await
            })
        }),
        Row::new("target_spelling", 400, 99110, |w| {
            Box::pin(async move { ask(w, "viewer", &line("GET", "/"), None).await })
        }),
        Row::new("unknown_route", 404, 99111, |w| {
            Box::pin(ask(w, "viewer", "GET /client/v4/zones HTTP/1.1", None))
        }),
        Row::new("method_not_allowed", 405, 99112, |w| {
            Box::pin(async move { ask(w, "admin", &line("PATCH", ""), None).await })
        })
        .allow("GET, POST, PUT"),
        Row::new("method_not_allowed", 405, 99112, |w| {
            Box::pin(async move { ask(w, "admin", &line("POST", "/0f"), None).await })
        })
        .allow("GET, PUT, DELETE"),
        Row::new("bad_query", 400, 99113, |w| {
            Box::pin(async move { ask(w, "viewer", &line("GET", "?page=2"), None).await })
        }),
        Row::new("bad_header", 400, 99114, |w| {
            Box::pin(async move {
                let headers = [&bearer(w, "viewer"), "x-magic-new-hc-target: yes"];
                ask_with(w, &line("GET", ""), &headers, None).await
            })
        }),
        Row::new("bad_header", 400, 99114, |w| {
            Box::pin(async move {
                let headers = [&bearer(w, "viewer"), "upgrade: websocket"];
                ask_with(w, &line("GET", ""), &headers, None).await
            })
        }),
        Row::new("body_too_large", 413, 99120, |w| {
            Box::pin(async move {
                let long = format!("{{\"name\":\"{}\"}}", "a".repeat(2000));
                ask(w, "operator", &line("POST", ""), Some(&long)).await
            })
        }),
        Row::new("body_incomplete", 400, 99122, |w| {
            Box::pin(async move {
                let headers = [&bearer(w, "operator"), JSON, "content-length: 100"];
                let mut bytes = request(&line("POST", ""), &headers, None);
                bytes.extend_from_slice(b"{\"name\":");
                send_and_end(w, &bytes).await
            })
        }),
        Row::new("content_type", 415, 99123, |w| {
            Box::pin(async move {
                let headers = [&bearer(w, "operator"), "content-type: text/plain"];
                ask_with(w, &line("POST", ""), &headers, Some(&tunnel_body("a", 1))).await
            })
        }),
        Row::new("content_encoding", 415, 99124, |w| {
            Box::pin(async move {
                let headers = [&bearer(w, "operator"), JSON, "content-encoding: gzip"];
                ask_with(w, &line("POST", ""), &headers, Some(&tunnel_body("a", 1))).await
            })
        }),
        Row::new("body_unexpected", 400, 99125, |w| {
            Box::pin(async move { ask(w, "viewer", &line("GET", ""), Some("{}")).await })
        }),
        Row::new("bad_json", 400, 99126, |w| {
            Box::pin(async move {
                ask(w, "operator", &line("POST", ""), Some(r#"{"bgp":{"customer_asn":01}}"#)).await
            })
        })
        .at("/bgp/customer_asn"),
        Row::new("bad_body", 400, 99127, |w| {
            Box::pin(async move {
                let body = r#"{"ipsec_tunnels":[{"id":"0f","name":"a"},{"name":"b"}]}"#;
                ask(w, "operator", &line("PUT", ""), Some(body)).await
            })
        })
        .at("/ipsec_tunnels/1/id"),
    ],
};

/// The body is awaited for a short time only.
pub(super) const SLOW: Group = Group {
    apart: false,
    wishes: || Wishes { config: vec![("listen.body_timeout", "\"200ms\"".to_owned())], ..Wishes::default() },
    rows: &[Row::new("body_timeout", 408, 99121, |w| {
        Box::pin(async move {
            let headers = [&bearer(w, "operator"), JSON, "content-length: 100"];
            let mut bytes = request(&line("POST", ""), &headers, None);
            bytes.extend_from_slice(b"{\"name\":");
            send(w, &bytes).await
        })
    })
    .come_back()],
};

/// There is room for one connection.
pub(super) const CROWDED: Group = Group {
    apart: false,
    wishes: || Wishes { config: vec![("listen.max_connections", "1".to_owned())], ..Wishes::default() },
    rows: &[Row::new("overloaded", 503, 99103, |w| {
        Box::pin(async move {
            // Connections are taken in the order in which they came, so this one has the room. It says nothing.
            let mut first = TcpStream::connect(w.proxy().api).await.unwrap();
            let second = ask(w, "viewer", &line("GET", ""), None).await;
            first.shutdown().await.unwrap();
            second
        })
    })
    .come_back()],
};
