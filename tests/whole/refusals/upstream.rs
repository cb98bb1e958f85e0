//! An upstream that can't be called, or gives no answer that can be used.
//!
//! Not here: what becomes of such calls afterwards (`resolve`).

use tunnelwarden::emulator::Fault;
use tunnelwarden::operation::Operation;

use crate::harness::{PATIENCE, Wishes, collection, tunnel_body};

use super::ask::{ask, line};
use super::row::{Group, Row};

pub(super) const GROUP: Group = Group {
    apart: false,
    wishes: || Wishes {
        config: vec![
            ("upstream.read_timeout", "\"300ms\"".to_owned()),
            ("upstream.write_timeout", "\"300ms\"".to_owned()),
            ("upstream.max_answer_bytes", "\"64KiB\"".to_owned()),
        ],
        ..Wishes::default()
    },
    rows: &[
        // A one-shot call is not to be repeated; of a read the client's own rule decides.
        Row::new("upstream_timeout", 504, 99602, |w| {
            Box::pin(async move {
                w.emulator.fault(Fault::Hang(PATIENCE), Operation::Create, 1);
                ask(w, "operator", &line("POST", ""), Some(&tunnel_body("a", 1))).await
            })
        })
        .sent("unknown"),
        Row::new("upstream_timeout", 504, 99602, |w| {
            Box::pin(async move {
                w.emulator.fault(Fault::Hang(PATIENCE), Operation::List, 1);
                ask(w, "viewer", &line("GET", ""), None).await
            })
        })
        .as_you_like()
        .sent("unknown"),
        Row::new("upstream_dropped", 502, 99603, |w| {
            Box::pin(async move {
                w.emulator.fault(Fault::DropBefore, Operation::Create, 1);
                ask(w, "operator", &line("POST", ""), Some(&tunnel_body("b", 2))).await
            })
        })
        .sent("unknown"),
        Row::new("upstream_answer", 502, 99604, |w| {
            Box::pin(async move {
                w.emulator.fault(Fault::HugeBody(128 << 10), Operation::List, 1);
                ask(w, "viewer", &line("GET", ""), None).await
            })
        })
        .as_you_like()
        .sent("yes"),
    ],
};

/// Nothing listens where the upstream should be, and there is a token for one account only.
pub(super) const ABSENT: Group = Group {
    apart: false,
    wishes: || Wishes {
        config: vec![
            ("upstream.base_url", "\"http://127.0.0.1:9/client/v4\"".to_owned()),
            ("upstream.token_file", String::new()),
            ("upstream.accounts", "{ \"0b\" = { token_file = \"upstream-token\" } }".to_owned()),
        ],
        ..Wishes::default()
    },
    rows: &[
        Row::new("upstream_token", 503, 99600, |w| {
            Box::pin(async move { ask(w, "operator", &line("POST", ""), Some(&tunnel_body("a", 1))).await })
        })
        .come_back()
        .sent("no"),
        Row::new("upstream_unreachable", 502, 99601, |w| {
            Box::pin(async move { ask(w, "operator", &other("POST", ""), Some(&tunnel_body("a", 1))).await })
        })
        .come_back()
        .sent("no"),
        Row::new("state_unreadable", 502, 99401, |w| {
            Box::pin(async move { ask(w, "admin", &other("DELETE", "/0f"), None).await })
        })
        .come_back(),
    ],
};

/// A request line for the account that has a token.
fn other(method: &str, below: &str) -> String {
    format!("{method} {}{below} HTTP/1.1", collection().replace("/0a/", "/0b/"))
}
