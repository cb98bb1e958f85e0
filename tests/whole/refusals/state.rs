//! What the policy, a tunnel's present state, and earlier calls forbid.
//!
//! Not here: who may do what (`config/policy.cedar` and its matrix).

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use tunnelwarden::emulator::Fault;
use tunnelwarden::operation::Operation;

use crate::harness::{Answer, PATIENCE, Stored, Wishes, World, tunnel_body};
use crate::unheard::hang_up;

use super::ask::{ask, ask_with, bearer, line, request, tunnel};
use super::row::{Group, Row};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const JSON: &str = "content-type: application/json";

pub(super) const GROUP: Group = Group {
    apart: false,
    wishes: || Wishes {
        config: vec![
            ("upstream.turn_timeout", "\"100ms\"".to_owned()),
            ("upstream.write_timeout", "\"2s\"".to_owned()),
        ],
        ..Wishes::default()
    },
    rows: &[
        Row::new("forbidden", 403, 99400, |w| {
            Box::pin(async move { ask(w, "viewer", &line("DELETE", "/0f"), None).await })
        }),
        Row::new("forbidden", 403, 99400, |w| {
            Box::pin(async move {
                let element = |id: &str, n, psk: &str| {
                    tunnel_body("a", n).replacen('{', &format!("{{\"id\":\"{id}\",{psk}"), 1)
                };
                let good = element("01", 1, "");
                let minting = element("02", 2, "\"psk\":\"0123456789abcdefghij\",");
                let body = format!("{{\"ipsec_tunnels\":[{good},{minting}]}}");
                ask(w, "operator", &line("PUT", ""), Some(&body)).await
            })
        })
        .at("/ipsec_tunnels/1"),
        Row::new("tunnel_unknown", 404, 99402, |w| {
            Box::pin(async move { ask(w, "operator", &line("PUT", "/0e"), Some(&tunnel_body("a", 1))).await })
        })
        .after_reading(),
        Row::new("precondition_failed", 412, 99403, |w| {
            Box::pin(async move {
                let path = tunnel(w, "11");
                let headers = [&bearer(w, "operator"), JSON, "if-match: \"another\""];
                ask_with(w, &line("PUT", &path), &headers, Some(&tunnel_body("a", 0x11))).await
            })
        })
        .after_reading(),
        Row::new("state_unreadable", 502, 99401, |w| {
            Box::pin(async move {
                let path = tunnel(w, "12");
                w.emulator.fault(Fault::Status(500), Operation::Get, 1);
                ask(w, "operator", &line("PUT", &path), Some(&tunnel_body("a", 0x12))).await
            })
        })
        .come_back()
        .after_reading(),
        Row::new("tunnel_busy", 503, 99404, |w| {
            Box::pin(async move {
                let path = tunnel(w, "13");
                let hang = PATIENCE;
                w.emulator.fault(Fault::Hang(hang), Operation::GeneratePsk, 1);
                let request_line = line("POST", &format!("{path}/psk_generate"));
                let first = ask(w, "admin", &request_line, None);
                let second = async {
                    arrived(w, Operation::GeneratePsk).await;
                    ask(w, "admin", &line("DELETE", &path), None).await
                };
                let (first, second) = tokio::join!(first, second);
                assert_eq!(first.status, 504, "{}", first.text());
                second
            })
        })
        .come_back(),
        Row::new("client_gone", 408, 99406, |w| {
            Box::pin(async move {
                let path = format!("{}/psk_generate", tunnel(w, "15"));
                let headers = [&bearer(w, "admin"), "if-match: *"];
                hang_up(w, Operation::Get, &request(&line("POST", &path), &headers, None)).await;
                let is_it = |entry: &Stored| entry.text("/refusal/name") == "client_gone";
                let entries = w.wait_for("its refusal", |all| all.iter().any(is_it)).await;
                let id = entries.iter().find(|entry| is_it(entry)).unwrap().text("/request_id");
                let headers = HeaderMap::from_iter([(X_REQUEST_ID, id.parse().unwrap())]);
                Answer { status: 408, headers, body: Bytes::new() }
            })
        })
        .unheard()
        .after_reading(),
        Row::new("repeat", 409, 99405, |w| {
            Box::pin(async move {
                let headers = [&bearer(w, "operator"), JSON, "x-stainless-retry-count: 1"];
                let body = tunnel_body("once", 0x14);
                let first = ask_with(w, &line("POST", ""), &headers[..2], Some(&body)).await;
                assert_eq!(first.status, 200, "{}", first.text());
                let second = ask_with(w, &line("POST", ""), &headers, Some(&body)).await;
                assert!(second.text().contains(&first.header("x-request-id")), "{}", second.text());
                let entries = w.entries_of(&second.header("x-request-id")).await;
                assert_eq!(entries[0].text("/refusal/first"), first.header("x-request-id"));
                second
            })
        }),
    ],
};

/// Waits until a call of that operation is at the emulator.
async fn arrived(world: &World, operation: Operation) {
    let until = tokio::time::Instant::now() + PATIENCE;
    while !world.emulator.calls().iter().any(|call| call.operation == Some(operation)) {
        assert!(tokio::time::Instant::now() < until, "the call never arrives");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
