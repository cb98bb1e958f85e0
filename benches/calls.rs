//! What a call costs, and what a connection costs: `cargo bench --bench calls`.
//!
//! Starts the program as its users do, before the emulator, on loopback; bounded in time. Prints calls a second,
//! latencies, CPU time of the proxy a call, and its resident memory with a thousand connections open. The
//! emulator and the load share the machine with the proxy, so the CPU time a call is the figure to compare.
//! Figures are kept in `benches/README.md`.

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

use harness::{Wishes, World, tunnel_body};
use http::Method;
use load::{CONNECTIONS, exchange, memory, request};
use tokio::net::TcpStream;

const MANY: usize = 1000;

#[tokio::main]
async fn main() {
    // `cargo test --benches` runs this as well, to see that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let world = World::with(Wishes {
        config: vec![
            ("limits.upstream_budget", "{ requests = 1000000, window = \"1s\" }".to_owned()),
            ("log.filter", "\"info\"".to_owned()),
        ],
        unlimited: true,
        ..Wishes::default()
    })
    .await;
    let made = world.call("admin", Method::POST, "", Some(&tunnel_body("bench", 1))).await;
    let id = made.text_at("/result/id");
    println!("{:<28} {:>9} {:>9} {:>9} {:>12} {:>9}", "", "calls/s", "p50", "p99", "CPU a call", "memory");

    let token = world.token("admin");
    let get = request("GET", &format!("/{id}"), &token, "");
    row(&world, "read (get), 32 connections", std::slice::from_ref(&get)).await;
    let list = request("GET", "", &token, "");
    row(&world, "read (list), 32 connections", &[list]).await;
    let puts = (1..=CONNECTIONS as u64).map(|n| {
        let body = tunnel_body(&format!("bench-{n}"), u8::try_from(n + 1).unwrap());
        (body, n)
    });
    let mut updates = Vec::new();
    for (body, _) in puts {
        let made = world.call("admin", Method::POST, "", Some(&body)).await;
        updates.push(request("PUT", &format!("/{}", made.text_at("/result/id")), &token, &body));
    }
    row(&world, "write (update), 32 tunnels", &updates).await;
    connections(&world, &get).await;
}

async fn row(world: &World, name: &str, requests: &[Vec<u8>]) {
    let took = load::run(world, requests, CONNECTIONS).await;
    println!(
        "{name:<28} {:>9.0} {:>9.2?} {:>9.2?} {:>9.1} us {:>5.1} MiB",
        took.calls_a_second,
        took.p50,
        took.p99,
        took.cpu_us,
        memory(world),
    );
}

/// A thousand connections, each of which has made a call and stays open.
async fn connections(world: &World, request: &[u8]) {
    let mut open = Vec::new();
    let mut buffer = Vec::new();
    for _ in 0..MANY {
        let mut stream = TcpStream::connect(world.proxy().api).await.unwrap();
        exchange(&mut stream, request, &mut buffer).await;
        open.push(stream);
    }
    println!(
        "{:<28} {:>9} {:>9} {:>9} {:>12} {:>5.1} MiB",
        "1000 connections open",
        "",
        "",
        "",
        "",
        memory(world)
    );
    for stream in &mut open {
        exchange(stream, request, &mut buffer).await;
    }
    println!(
        "{:<28} {:>9} {:>9} {:>9} {:>12} {:>5.1} MiB",
        "and each used again",
        "",
        "",
        "",
        "",
        memory(world)
    );
}
