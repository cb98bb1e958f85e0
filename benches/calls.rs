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

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use harness::{Wishes, World, collection, tunnel_body};
use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const SECONDS: u64 = 5;
const CONNECTIONS: usize = 32;
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
    load(&world, "read (get), 32 connections", vec![get.clone()]).await;
    let list = request("GET", "", &token, "");
    load(&world, "read (list), 32 connections", vec![list]).await;
    let puts = (1..=CONNECTIONS as u64).map(|n| {
        let body = tunnel_body(&format!("bench-{n}"), u8::try_from(n + 1).unwrap());
        (body, n)
    });
    let mut updates = Vec::new();
    for (body, _) in puts {
        let made = world.call("admin", Method::POST, "", Some(&body)).await;
        updates.push(request("PUT", &format!("/{}", made.text_at("/result/id")), &token, &body));
    }
    load(&world, "write (update), 32 tunnels", updates).await;
    connections(&world, &get).await;
}

fn request(method: &str, path: &str, token: &str, body: &str) -> Vec<u8> {
    let mut text = format!(
        "{method} {}{path} HTTP/1.1\r\nhost: proxy\r\nauthorization: Bearer {token}\r\nuser-agent: bench\r\n",
        collection()
    );
    if !body.is_empty() {
        text += &format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    }
    (text + "\r\n" + body).into_bytes()
}

/// One call on an open connection; the answer's status must be 200.
async fn exchange(stream: &mut TcpStream, request: &[u8], buffer: &mut Vec<u8>) {
    stream.write_all(request).await.unwrap();
    buffer.clear();
    loop {
        let read = stream.read_buf(buffer).await.unwrap();
        assert!(read > 0, "the proxy hung up: {}", String::from_utf8_lossy(buffer));
        if let Some(length) = whole(buffer)
            && buffer.len() >= length
        {
            assert!(buffer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(buffer));
            return;
        }
    }
}

/// The length of head and body together, once the head is there.
fn whole(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&answer[..head]).unwrap().to_ascii_lowercase();
    let length = text.split("content-length: ").nth(1)?.split("\r\n").next()?.parse::<usize>().ok()?;
    Some(head + length)
}

async fn load(world: &World, name: &str, requests: Vec<Vec<u8>>) {
    let stop = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    let cpu = cpu(world);
    let began = Instant::now();
    for n in 0..CONNECTIONS {
        let (stop, calls) = (Arc::clone(&stop), Arc::clone(&calls));
        let request = requests[n % requests.len()].clone();
        let api = world.proxy().api;
        tasks.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(api).await.unwrap();
            let mut buffer = Vec::new();
            let mut times = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                exchange(&mut stream, &request, &mut buffer).await;
                times.push(began.elapsed());
                calls.fetch_add(1, Ordering::Relaxed);
            }
            times
        }));
    }
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    stop.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    let took = began.elapsed();
    times.sort_unstable();
    let calls = calls.load(Ordering::Relaxed);
    let used = self::cpu(world) - cpu;
    println!(
        "{name:<28} {:>9.0} {:>9.2?} {:>9.2?} {:>9.1} us {:>5.1} MiB",
        calls as f64 / took.as_secs_f64(),
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        used.as_secs_f64() * 1e6 / calls as f64,
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

/// CPU time that the proxy has used.
fn cpu(world: &World) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", world.proxy().id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // USER_HZ is 100 on every Linux that we run on.
    Duration::from_millis(ticks * 10)
}

/// Resident memory in MiB.
fn memory(world: &World) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.proxy().id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}
