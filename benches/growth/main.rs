//! How the cost of a call grows: `cargo bench --bench growth [-- --of WHAT] [--entries N]`.
//!
//! With the record (to a million entries, or N: ten million take 15 GB below the system's temporary folder), and the
//! cost of a start with it; with policies, callers, tunnels in a list, and connections. WHAT is one of these words,
//! all of them otherwise. Figures are kept in `benches/README.md`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    dead_code,
    unreachable_pub,
    reason = "a benchmark measures with the machine's clock and stops at the first thing that is wrong"
)]

#[path = "../../tests/whole/harness.rs"]
mod harness;

#[path = "../load/mod.rs"]
mod load;

mod record;
mod setting;

use harness::{Wishes, World, tunnel_body};
use http::Method;
use load::Took;

const ALL: [&str; 5] = ["record", "policies", "callers", "tunnels", "connections"];

#[tokio::main]
async fn main() {
    // `cargo test --benches` runs this as well, to see that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let after = |name: &str| std::env::args().skip_while(|argument| argument != name).nth(1);
    let most = after("--entries").map_or(1_000_000, |most| most.parse().expect("--entries wants a number"));
    let of = after("--of");
    assert!(of.as_deref().is_none_or(|of| ALL.contains(&of)), "--of wants one of {ALL:?}");
    for what in ALL.into_iter().filter(|what| of.as_deref().is_none_or(|of| of == *what)) {
        match what {
            "record" => record::record(most).await,
            "policies" => setting::policies().await,
            "callers" => setting::callers().await,
            "tunnels" => setting::tunnels_in_a_list().await,
            _ => setting::connections().await,
        }
        println!();
    }
}

/// What nothing but the proxy limits.
fn wishes() -> Wishes {
    Wishes {
        config: vec![
            ("limits.upstream_budget", "{ requests = 1000000, window = \"1s\" }".to_owned()),
            ("listen.max_connections", "8192".to_owned()),
            ("log.filter", "\"info\"".to_owned()),
        ],
        unlimited: true,
        ..Wishes::default()
    }
}

/// A tunnel that was made for a load, and the body that leaves it as it is.
struct Tunnel {
    path: String,
    body: String,
}

async fn tunnels(world: &World, count: usize) -> Vec<Tunnel> {
    let mut made = Vec::new();
    for n in 1..=count {
        let body = tunnel_body(&format!("g{n}"), u8::try_from(n).unwrap());
        let tunnel = world.call("admin", Method::POST, "", Some(&body)).await;
        made.push(Tunnel { path: format!("/{}", tunnel.text_at("/result/id")), body });
    }
    made
}

/// What reads and then updates of these take.
async fn costs(world: &World, made: &[Tunnel]) -> (Took, Took) {
    let token = world.token("admin");
    let reads: Vec<_> = made.iter().map(|one| load::request("GET", &one.path, &token, "")).collect();
    let writes: Vec<_> = made.iter().map(|one| load::request("PUT", &one.path, &token, &one.body)).collect();
    (load::run(world, &reads, load::CONNECTIONS).await, load::run(world, &writes, load::CONNECTIONS).await)
}
