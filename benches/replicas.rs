//! What one, two and three replicas on one PostgreSQL serve: `cargo bench --bench replicas`.
//!
//! PostgreSQL, the emulator, the load and the replicas share the machine, so besides calls a second the CPU time is told that
//! each side takes a call, and how many of the machine's cores were busy. The first row is one process with a file, for
//! comparison. Bounded in time. Figures are kept in `benches/README.md`.

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

#[path = "../tests/whole/harness.rs"]
mod harness;

#[path = "load/mod.rs"]
mod load;

use std::net::SocketAddr;
use std::time::Duration;

use harness::{Proxy, Wishes, World, on_this_server, postgres, tunnel_body};

/// Connections over all replicas.
const CONNECTIONS: usize = 48;

const NAMES: [&str; 3] = ["a", "b", "c"];

#[tokio::main]
async fn main() {
    // `cargo test --benches` runs this as well, to see that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let Some(server) = postgres::Server::start() else { return };
    println!(
        "{:<26} {:>9} {:>9} {:>9} {:>12} {:>16}",
        "", "calls/s", "p50", "p99", "CPU a call", "PostgreSQL's"
    );
    let mut alone = World::prepared(wishes()).await;
    alone.launch().await;
    let at = [(alone.proxy().api, alone.proxy().id())];
    rows(&alone, "one process, SQLite", &at, None).await;
    drop(alone);
    for count in 1..=NAMES.len() {
        let database = Some(on_this_server(&server, "none"));
        let world = World::prepared(Wishes { database, unchecked: true, ..wishes() }).await;
        let mut replicas: Vec<Proxy> = Vec::new();
        for name in NAMES.iter().take(count) {
            replicas.push(world.replica(name).await.unwrap());
        }
        let at: Vec<_> = replicas.iter().map(|replica| (replica.api, replica.id())).collect();
        rows(&world, &format!("{count} on PostgreSQL"), &at, Some(&server)).await;
        replicas.into_iter().for_each(Proxy::kill);
    }
}

fn wishes() -> Wishes {
    Wishes {
        config: vec![
            ("limits.upstream_budget", "{ requests = 1000000, window = \"1s\" }".to_owned()),
            ("log.filter", "\"info\"".to_owned()),
        ],
        unlimited: true,
        ..Wishes::default()
    }
}

async fn rows(world: &World, name: &str, at: &[(SocketAddr, u32)], server: Option<&postgres::Server>) {
    let account = tunnelwarden::operation::AccountId::parse(harness::ACCOUNT).unwrap();
    let token = world.token("admin");
    let (mut reads, mut updates) = (Vec::new(), Vec::new());
    for n in 1..=CONNECTIONS {
        let body = tunnel_body(&format!("bench-{n}"), u8::try_from(n).unwrap());
        let tunnel = tunnelwarden::json::read(body.as_bytes(), 8).unwrap();
        let id = world.emulator.put_tunnel(account, &tunnel).unwrap();
        reads.push(load::request("GET", &format!("/{id}"), &token, ""));
        updates.push(load::request("PUT", &format!("/{id}"), &token, &body));
    }
    for (what, requests) in [("reads", &reads), ("writes", &updates)] {
        let used =
            || server.map_or(Duration::ZERO, |server| server.processes().into_iter().map(load::cpu).sum());
        let before: Duration = used();
        let took = load::over(at, requests, CONNECTIONS).await;
        let calls = took.calls_a_second * 5.0;
        let database = (used().saturating_sub(before)).as_secs_f64() * 1e6 / calls;
        println!(
            "{:<26} {:>9.0} {:>9.2?} {:>9.2?} {:>9.1} us {:>13.1} us",
            format!("{name}: {what}"),
            took.calls_a_second,
            took.p50,
            took.p99,
            took.cpu_us,
            database,
        );
    }
}
