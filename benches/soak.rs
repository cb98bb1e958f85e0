//! Whether memory grows with time: `cargo bench --bench soak [-- --minutes N]`.
//!
//! Calls the program for N minutes (an hour) over connections that are kept alive, at a rate that leaves the machine
//! room: nine reads, then an update, by many callers. Prints the proxy's resident memory as it goes. What is bounded by
//! count (tokens, permits, answers, callers' quotas, tunnels) is full within the first minutes, so growth after that
//! is a leak. Figures are kept in `benches/README.md`.

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

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use harness::{Wishes, World, tunnel_body};
use http::Method;
use load::{CONNECTIONS, exchange, memory, request};
use tokio::net::TcpStream;

/// Calls a second, all connections together.
const RATE: u32 = 400;

/// One call of so many is an update.
const A_WRITE_IN: usize = 10;

#[tokio::main]
async fn main() {
    // `cargo test --benches` runs this as well, to see that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let mut arguments = std::env::args().skip_while(|argument| argument != "--minutes").skip(1);
    let minutes: u32 = arguments.next().map_or(60, |most| most.parse().expect("--minutes wants a number"));
    let world = Arc::new(
        World::with(Wishes {
            config: vec![
                ("limits.upstream_budget", "{ requests = 1000000, window = \"1s\" }".to_owned()),
                ("log.filter", "\"info\"".to_owned()),
            ],
            unlimited: true,
            ..Wishes::default()
        })
        .await,
    );
    let calls = Arc::new(AtomicU64::new(0));
    let until = Instant::now() + Duration::from_secs(60) * minutes;
    let mut tasks = Vec::new();
    for n in 1..=CONNECTIONS {
        let body = tunnel_body(&format!("soak-{n}"), u8::try_from(n).unwrap());
        let made = world.call("admin", Method::POST, "", Some(&body)).await;
        let path = format!("/{}", made.text_at("/result/id"));
        tasks.push(tokio::spawn(caller(Arc::clone(&world), path, body, until, Arc::clone(&calls))));
    }
    println!("{:>8} {:>10} {:>10}", "minute", "calls", "memory");
    // Every minute of the first five, then every fifth.
    for minute in (1..=minutes).filter(|minute| *minute <= 5 || minute % 5 == 0 || *minute == minutes) {
        let at = until - Duration::from_secs(60) * (minutes - minute);
        tokio::time::sleep_until(at.into()).await;
        println!("{minute:>8} {:>10} {:>6.1} MiB", calls.load(Ordering::Relaxed), memory(&world));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

/// Calls over one connection until the end, with a new token every minute.
async fn caller(world: Arc<World>, path: String, body: String, until: Instant, calls: Arc<AtomicU64>) {
    let mut stream = TcpStream::connect(world.proxy().api).await.unwrap();
    let mut buffer = Vec::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1) * u32::try_from(CONNECTIONS).unwrap() / RATE);
    let (mut renew, mut read, mut write) = (Instant::now(), Vec::new(), Vec::new());
    for call in 1.. {
        tick.tick().await;
        if Instant::now() > until {
            return;
        }
        if Instant::now() >= renew {
            let mut claims = world.claims("admin");
            claims.set("sub", format!("caller {path}"));
            let token = world.key.sign(&claims.into(), &[]).unwrap();
            (read, write) = (request("GET", &path, &token, ""), request("PUT", &path, &token, &body));
            renew += Duration::from_secs(60);
        }
        let request = if call % A_WRITE_IN == 0 { &write } else { &read };
        exchange(&mut stream, request, &mut buffer).await;
        calls.fetch_add(1, Ordering::Relaxed);
    }
}
