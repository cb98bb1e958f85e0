//! An open loop: `peers-pace ADDRESS REQUESTS RATE SECONDS CONNECTIONS` sends at a fixed rate, whatever the answers do.
//!
//! Request `n` is due at `n / RATE`. It goes out on the first connection that is free, and its latency counts from
//! when it was due: a stall makes late whatever was due meanwhile, so nothing is left out of the percentiles
//! ("coordinated omission"). A thread a connection and not tokio, whose timers count whole milliseconds.
//! REQUESTS holds each request as it goes over the wire, after a line with its length. Prints one line of JSON.
//! Not here: what is in the requests (`mixes.py`), the closed loops (`wrk` and `h2load`).

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a benchmark measures with the machine's clock and stops at the first thing that is wrong"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How long an answer may take before it counts as an error.
const PATIENCE: Duration = Duration::from_secs(10);

struct Plan {
    address: String,
    requests: Vec<Vec<u8>>,
    rate: u64,
    total: u64,
    next: AtomicU64,
    /// When request 0 is due: set once all connections are open.
    began: OnceLock<Instant>,
}

#[derive(Default)]
struct Seen {
    reads: Vec<Duration>,
    writes: Vec<Duration>,
    errors: u64,
    first_error: Option<String>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [address, requests, rate, seconds, connections] = arguments.as_slice() else {
        // `cargo bench` runs this as well, without arguments.
        eprintln!("usage: peers-pace ADDRESS REQUESTS RATE SECONDS CONNECTIONS (see benches/README.md)");
        return;
    };
    // A sleep may end 50 us late by default, which is as much as an answer takes; threads inherit this.
    let _ = std::fs::write("/proc/self/timerslack_ns", "1");
    let rate: u64 = rate.parse().unwrap();
    let plan = Arc::new(Plan {
        address: address.clone(),
        requests: read(&std::fs::read(requests).unwrap()),
        rate,
        total: rate * seconds.parse::<u64>().unwrap(),
        next: AtomicU64::new(0),
        began: OnceLock::new(),
    });
    let streams: Vec<TcpStream> = (0..connections.parse().unwrap()).map(|_| connect(&plan.address)).collect();
    plan.began.set(Instant::now() + Duration::from_millis(50)).unwrap();
    let threads: Vec<_> = streams
        .into_iter()
        .map(|stream| {
            let plan = Arc::clone(&plan);
            std::thread::spawn(move || work(&plan, stream))
        })
        .collect();
    let mut all = Seen::default();
    for thread in threads {
        let seen = thread.join().unwrap();
        all.reads.extend(seen.reads);
        all.writes.extend(seen.writes);
        all.errors += seen.errors;
        all.first_error = all.first_error.or(seen.first_error);
    }
    let both = [all.reads.as_slice(), all.writes.as_slice()].concat();
    let told = serde_json::json!({
        "all": figures(both),
        "reads": figures(all.reads),
        "writes": figures(all.writes),
        "errors": all.errors,
        "first_error": all.first_error,
    });
    println!("{told}");
}

fn read(mut file: &[u8]) -> Vec<Vec<u8>> {
    let mut requests = Vec::new();
    while let Some(end) = file.iter().position(|byte| *byte == b'\n') {
        let length: usize = std::str::from_utf8(&file[..end]).unwrap().parse().unwrap();
        let (request, rest) = file[end + 1..].split_at(length);
        requests.push(request.to_vec());
        file = rest;
    }
    requests
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Takes the next request that nobody has taken, waits until it is due, sends it; until all are sent.
fn work(plan: &Plan, mut stream: TcpStream) -> Seen {
    let mut seen = Seen::default();
    let mut buffer = Vec::with_capacity(16 << 10);
    let began = *plan.began.get().unwrap();
    loop {
        let n = plan.next.fetch_add(1, Ordering::Relaxed);
        if n >= plan.total {
            return seen;
        }
        let due = began + Duration::from_nanos(n * 1_000_000_000 / plan.rate);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let request = &plan.requests[usize::try_from(n).unwrap() % plan.requests.len()];
        let outcome = exchange(&mut stream, request, &mut buffer);
        let took = due.elapsed();
        match outcome {
            Ok(()) if request.starts_with(b"GET ") => seen.reads.push(took),
            Ok(()) => seen.writes.push(took),
            Err(error) => {
                seen.errors += 1;
                seen.first_error.get_or_insert(error);
                stream = connect(&plan.address);
            }
        }
    }
}

fn exchange(stream: &mut TcpStream, request: &[u8], buffer: &mut Vec<u8>) -> Result<(), String> {
    stream.write_all(request).map_err(|error| format!("sending: {error}"))?;
    buffer.clear();
    let mut piece = [0; 16 << 10];
    let mut length = None;
    while length.is_none_or(|length| buffer.len() < length) {
        match stream.read(&mut piece).map_err(|error| format!("reading: {error}"))? {
            0 => return Err("the connection was closed before the answer's end".into()),
            read => buffer.extend_from_slice(&piece[..read]),
        }
        if length.is_none() {
            length = whole(buffer)?;
        }
    }
    if buffer.starts_with(b"HTTP/1.1 200 ") {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&buffer[..buffer.len().min(200)]).into_owned())
    }
}

/// The length of head and body together, once the head is there.
fn whole(answer: &[u8]) -> Result<Option<usize>, String> {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length = length.and_then(|length| length.trim().parse::<usize>().ok());
    length.map(|length| Some(head + 4 + length)).ok_or_else(|| format!("no length: {text}"))
}

/// Count and latencies in microseconds.
fn figures(mut times: Vec<Duration>) -> serde_json::Value {
    times.sort_unstable();
    let at = |share: f64| {
        let place = ((times.len() as f64 * share).ceil() as usize).saturating_sub(1);
        times.get(place).map(|time| time.as_nanos() as f64 / 1000.0)
    };
    serde_json::json!({
        "count": times.len(),
        "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": at(1.0),
    })
}
