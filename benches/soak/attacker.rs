//! Somebody without a good token, who sends at a fixed rate whatever the answers do.
//!
//! One thread with a runtime of its own, so it has one core at most and takes no turns from the callers' tasks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::harness::{PATIENCE, World, collection};
use crate::load::request;
use crate::wire::{Answer, Line};

/// Requests that are under way at once.
pub const AT_ONCE: usize = 128;

/// Addresses that they come from. Their bounds together (60 a minute each) are above the one for all strangers (1,200).
pub const ADDRESSES: usize = 32;

/// What was sent and answered so far.
#[derive(Default)]
pub struct Seen {
    pub sent: AtomicU64,
    pub answered: AtomicU64,
}

/// What became of all that was due.
#[derive(Default)]
pub struct Ended {
    /// Not sent, as all of the attacker's hands were full.
    pub held_back: u64,
    /// Not sent, as there was no connection.
    pub unconnected: u64,
    pub sent: u64,
    /// Sent, and the connection ended without an answer.
    pub closed: u64,
    pub answers: Vec<Answer>,
    /// Time on a core, and all time.
    pub cpu: Duration,
    pub took: Duration,
}

/// An attacker who is at it.
pub struct Attacker {
    stop: Arc<AtomicBool>,
    pub seen: Arc<Seen>,
    thread: std::thread::JoinHandle<Ended>,
}

impl Attacker {
    /// Begins with so many requests a second.
    pub fn start(world: &World, rate: u32) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Seen::default()));
        let (api, requests) = (world.proxy().api, requests(world));
        let (stops, sees) = (Arc::clone(&stop), Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let began = Instant::now();
            let mut ended = runtime.block_on(flood(api, requests, rate, &stops, &sees));
            let used = clock_gettime(ClockId::ThreadCPUTime);
            ended.cpu = Duration::new(used.tv_sec.try_into().unwrap(), used.tv_nsec.try_into().unwrap());
            ended.took = began.elapsed();
            ended
        });
        Self { stop, seen, thread }
    }

    /// Stops, and waits for what is under way.
    pub fn stop(self) -> Ended {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Without a token, with what is none, and with one whose signature is wrong.
fn requests(world: &World) -> [Vec<u8>; 3] {
    let none = format!("GET {} HTTP/1.1\r\nhost: proxy\r\nuser-agent: bench\r\n\r\n", collection());
    let token = world.token("admin");
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    let forged = format!("{signed}.{other}{}", &signature[1..]);
    [none.into_bytes(), request("GET", "", "no.token.at-all", ""), request("GET", "", &forged, "")]
}

async fn flood(
    api: SocketAddr,
    requests: [Vec<u8>; 3],
    rate: u32,
    stop: &AtomicBool,
    seen: &Arc<Seen>,
) -> Ended {
    let mut hands = Vec::new();
    let mut tasks = Vec::new();
    for n in 0..AT_ONCE {
        let (send, due) = mpsc::channel(1);
        let hand = Hand {
            api,
            from: [127, 0, 2, u8::try_from(1 + n % ADDRESSES).unwrap()],
            request: requests[n % requests.len()].clone(),
            // Half of each kind, and at each address.
            keeps: (n / ADDRESSES).is_multiple_of(2),
            seen: Arc::clone(seen),
        };
        hands.push(send);
        tasks.push(tokio::spawn(hand.send_all(due)));
    }
    let mut ended = Ended::default();
    let began = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let due = (began.elapsed().as_secs_f64() * f64::from(rate)) as usize;
        for n in next..due {
            ended.held_back += u64::from(hands[n % AT_ONCE].try_send(()).is_err());
        }
        next = due;
    }
    drop(hands);
    for task in tasks {
        let one = task.await.unwrap();
        ended.unconnected += one.unconnected;
        ended.sent += one.sent;
        ended.closed += one.closed;
        ended.answers.extend(one.answers);
    }
    ended
}

/// Sends one request after the other.
struct Hand {
    api: SocketAddr,
    from: [u8; 4],
    request: Vec<u8>,
    /// Whether it keeps its connection for as long as the proxy does.
    keeps: bool,
    seen: Arc<Seen>,
}

impl Hand {
    async fn send_all(self, mut due: mpsc::Receiver<()>) -> Ended {
        let mut ended = Ended::default();
        let mut kept: Option<Line> = None;
        while due.recv().await.is_some() {
            let mut line = match kept.take().filter(Line::is_open) {
                Some(line) => line,
                None => match Line::open(self.from, self.api).await {
                    Ok(line) => line,
                    Err(_) => {
                        ended.unconnected += 1;
                        continue;
                    }
                },
            };
            ended.sent += 1;
            self.seen.sent.fetch_add(1, Ordering::Relaxed);
            if let Ok(Some(answer)) = tokio::time::timeout(PATIENCE, line.ask(&self.request)).await {
                ended.answers.push(answer);
                self.seen.answered.fetch_add(1, Ordering::Relaxed);
                kept = Some(line).filter(|_| self.keeps && !answer.last);
            } else {
                ended.closed += 1;
            }
        }
        ended
    }
}
