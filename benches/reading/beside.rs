//! What the proxy's callers notice of the readers.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use tokio::net::TcpStream;

use crate::harness::{Wishes, World, collection, tunnel_body};
use crate::load::{exchange, request};
use crate::record::Record;

/// Calls a second, evenly: what two hundred tools make that look every few seconds.
const RATE: u64 = 50;

/// How long each half is measured.
const SECONDS: u64 = 15;

/// The proxy on a copy of this record.
pub async fn world(record: &Record) -> World {
    let wishes = Wishes {
        config: vec![("limits.upstream_budget", "{ requests = 1000000, window = \"1s\" }".to_owned())],
        unlimited: true,
        unchecked: true,
        ..Wishes::default()
    };
    let mut world = World::prepared(wishes).await;
    // Written over, so that it stays the owner's alone.
    let key = std::fs::read(record.signing_key_file()).unwrap();
    std::fs::write(world.dir.path().join("audit-signing.key"), key).unwrap();
    std::fs::copy(record.database(), world.database()).unwrap();
    world.launch().await;
    world
}

/// What reads while the proxy is called.
const READERS: [&str; 3] = ["verify", "export", "searches"];

/// Calls at a fixed pace: alone, beside each reader, and beside a verification, exports, and searches one after the other.
pub async fn latency(world: &World, record: &Record) {
    let body = tunnel_body("beside", 200);
    let made = world.call("admin", Method::POST, "", Some(&body)).await;
    let id = made.text_at("/result/id");
    let read = request("GET", &format!("/{id}"), &world.token("operator"), "");
    println!("\n{} reads a second through the proxy at {}: p50, p95, p99", RATE, collection());
    let none: &[&str] = &[];
    for beside in [none, &READERS[..1], &READERS[1..2], &READERS[2..], &READERS, none] {
        // Whatever is still to be written to the disk, of this copy or by others, would be in the way of each commit.
        assert!(std::process::Command::new("sync").status().unwrap().success());
        let stop = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = beside.iter().map(|what| reader(what, world, record, &stop)).collect();
        let times = paced(world, &read).await;
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
        let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
        let name = if beside.is_empty() { "idle".to_owned() } else { beside.join(", ") };
        println!("{name:>32} {:>9.2?} {:>9.2?} {:>9.2?}", at(50), at(95), at(99));
    }
}

/// How long calls take from the moment when each was due, sorted.
async fn paced(world: &World, request: &[u8]) -> Vec<Duration> {
    let mut stream = TcpStream::connect(world.proxy().api).await.unwrap();
    let mut buffer = Vec::new();
    let began = Instant::now();
    let mut times = Vec::new();
    for n in 0..RATE * SECONDS {
        let due = began + Duration::from_micros(1_000_000 / RATE * n);
        tokio::time::sleep_until(due.into()).await;
        let due = due.max(began);
        exchange(&mut stream, request, &mut buffer).await;
        times.push(due.elapsed());
    }
    times.sort_unstable();
    times
}

/// A command again and again, or searches in the console.
fn reader(what: &str, world: &World, record: &Record, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    match what {
        "verify" => again(&["verify", "--public-key", &record.public_key], world, record, stop),
        "export" => again(&["export"], world, record, stop),
        _ => search(world, stop),
    }
}

fn again(
    arguments: &[&str],
    world: &World,
    record: &Record,
    stop: &Arc<AtomicBool>,
) -> std::thread::JoinHandle<()> {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tunnelwarden"));
    command.arg("audit").args(arguments).arg("--database").arg(world.database());
    command.current_dir(record.folder()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let mut child = command.spawn().unwrap();
            while child.try_wait().unwrap().is_none() {
                if stop.load(Ordering::Relaxed) {
                    child.kill().unwrap();
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    })
}

fn search(world: &World, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    let (stop, admin) = (Arc::clone(stop), world.proxy().admin);
    let cookie = format!("tunnelwarden-token={}", world.token("security"));
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let mut n = 0;
        while !stop.load(Ordering::Relaxed) {
            n += 1;
            let mut stream = std::net::TcpStream::connect(admin).unwrap();
            let path = format!("/console/search?what=requests&subject=caller-{}%40corp.example", n % 50);
            let head = format!(
                "GET {path} HTTP/1.1\r\nhost: {admin}\r\ncookie: {cookie}\r\nconnection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer[..100]));
            // As a person reads it.
            std::thread::sleep(Duration::from_millis(500));
        }
    })
}
