//! A closed loop of calls against the program, and what the program used meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{World, collection};

const SECONDS: u64 = 5;

/// Connections that are kept alive.
pub const CONNECTIONS: usize = 32;

/// A request as it goes over a socket.
pub fn request(method: &str, path: &str, token: &str, body: &str) -> Vec<u8> {
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
pub async fn exchange(stream: &mut TcpStream, request: &[u8], buffer: &mut Vec<u8>) {
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
pub fn whole(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&answer[..head]).unwrap().to_ascii_lowercase();
    let length = text.split("content-length: ").nth(1)?.split("\r\n").next()?.parse::<usize>().ok()?;
    Some(head + length)
}

/// What a load took.
pub struct Took {
    pub calls_a_second: f64,
    pub p50: Duration,
    pub p99: Duration,
    /// CPU time of the proxy, in microseconds a call.
    pub cpu_us: f64,
}

/// Loads the proxy over connections that are kept alive, each with its share of the requests in turn: one of them where
/// there are no more than connections.
pub async fn run(world: &World, requests: &[Vec<u8>], connections: usize) -> Took {
    over(&[(world.proxy().api, world.proxy().id())], requests, connections).await
}

/// The same over several replicas, each by its address and process id, which have the connections in turn.
pub async fn over(replicas: &[(SocketAddr, u32)], requests: &[Vec<u8>], connections: usize) -> Took {
    let stop = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    let used = || replicas.iter().map(|(_, id)| cpu(*id)).sum::<Duration>();
    let before = used();
    let began = Instant::now();
    for n in 0..connections {
        let share: Vec<_> = requests.iter().skip(n % requests.len()).step_by(connections).cloned().collect();
        let (stop, calls) = (Arc::clone(&stop), Arc::clone(&calls));
        let (api, _) = replicas[n % replicas.len()];
        tasks.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(api).await.unwrap();
            let mut buffer = Vec::new();
            let mut times = Vec::new();
            for request in share.iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let began = Instant::now();
                exchange(&mut stream, request, &mut buffer).await;
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
    let calls = calls.load(Ordering::Relaxed) as f64;
    let used = used() - before;
    Took {
        calls_a_second: calls / took.as_secs_f64(),
        p50: times[times.len() / 2],
        p99: times[times.len() * 99 / 100],
        cpu_us: used.as_secs_f64() * 1e6 / calls,
    }
}

/// CPU time that a process has used.
pub fn cpu(id: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // USER_HZ is 100 on every Linux that we run on.
    Duration::from_millis(ticks * 10)
}

/// Resident memory in MiB.
pub fn memory(world: &World) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.proxy().id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}
