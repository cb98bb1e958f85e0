//! Callers with a token each: nine reads, then an update, over a connection that is kept alive.
//!
//! Not here: how many calls they can make (`capacity`), what is told of them (`told`, `recorded`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::harness::{PATIENCE, World, tunnel_body};
use crate::load::request;
use crate::wire::{Answer, Line};

/// One call of so many is an update.
const A_WRITE_IN: usize = 10;

/// Tunnels that are read and updated.
const TUNNELS: u8 = 200;

/// Callers behind one address: fewer than the eighth of all connections that an address has while they are scarce.
const AT_AN_ADDRESS: usize = 250;

/// Callers of one team.
const IN_A_TEAM: usize = 40;

/// How old a token gets.
const TOKEN: Duration = Duration::from_secs(60);

/// Connections that are opened at once, as each begins with a token that nobody knows yet.
const OPENED_AT_ONCE: usize = 16;

/// What goes on while a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Capacity,
    Opening,
    Quiet,
    Flood,
    QuietAgain,
}

impl Phase {
    pub const ALL: [Self; 5] = [Self::Opening, Self::Capacity, Self::Quiet, Self::Flood, Self::QuietAgain];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Capacity => "capacity",
            Self::Opening => "first calls",
            Self::Quiet => "quiet",
            Self::Flood => "beside the flood",
            Self::QuietAgain => "quiet again",
        }
    }
}

/// What became of a call.
#[derive(Clone, Copy)]
pub enum End {
    Answered(Answer),
    /// It was sent, and the connection ended, or nothing came for too long.
    Lost,
    /// It was not sent: it was due too long ago, or nobody could be reached.
    Unsent,
}

/// A call that was made.
pub struct Call {
    pub phase: Phase,
    pub write: bool,
    /// From when it was due to its answer.
    pub took: Duration,
    pub end: End,
}

impl Call {
    pub const fn status(&self) -> Option<u16> {
        match self.end {
            End::Answered(answer) => Some(answer.status),
            End::Lost | End::Unsent => None,
        }
    }
}

/// Calls with this answer so far, and with another or none.
#[derive(Default)]
pub struct Counts {
    pub good: AtomicU64,
    pub others: AtomicU64,
}

/// A tunnel, and the body that leaves it as it is.
pub struct Tunnel {
    path: String,
    body: String,
}

/// Makes the tunnels that all callers share.
pub async fn tunnels(world: &World) -> Vec<Tunnel> {
    let mut made = Vec::new();
    for n in 1..=TUNNELS {
        let body = tunnel_body(&format!("soak-{n}"), n);
        let tunnel = world.call("admin", Method::POST, "", Some(&body)).await;
        made.push(Tunnel { path: format!("/{}", tunnel.text_at("/result/id")), body });
    }
    made
}

/// Somebody with a connection, who calls by turns of one kind and the other.
pub struct Caller {
    world: Arc<World>,
    counts: Arc<Counts>,
    tunnels: Arc<[Tunnel]>,
    n: usize,
    line: Option<Line>,
    read: Vec<u8>,
    write: Vec<u8>,
    renew: Instant,
    /// Connections that were opened so far.
    pub opened: usize,
    pub calls: Vec<Call>,
    /// The first answer of each status but 200.
    pub others: BTreeMap<u16, String>,
}

impl Caller {
    pub fn new(world: &Arc<World>, counts: &Arc<Counts>, tunnels: &Arc<[Tunnel]>, n: usize) -> Self {
        let mut caller = Self {
            world: Arc::clone(world),
            counts: Arc::clone(counts),
            tunnels: Arc::clone(tunnels),
            n,
            line: None,
            read: Vec::new(),
            write: Vec::new(),
            // Not all in the same second, later.
            renew: Instant::now() + TOKEN.mul_f64((n % 60) as f64 / 60.0),
            opened: 0,
            calls: Vec::new(),
            others: BTreeMap::new(),
        };
        caller.take_token();
        caller
    }

    fn take_token(&mut self) {
        let mut claims = self.world.claims("operator");
        claims.set("sub", format!("caller-{}@test", self.n));
        claims.set("team", format!("team-{}", self.n / IN_A_TEAM));
        let token = self.world.key.sign(&claims.into(), &[]).unwrap();
        let Tunnel { path, body } = &self.tunnels[self.n % self.tunnels.len()];
        self.read = request("GET", path, &token, "");
        self.write = request("PUT", path, &token, body);
    }

    /// Makes a call that was due at this time; answers whether it was served.
    pub async fn call(&mut self, due: Instant, phase: Phase) -> bool {
        let write = (self.n + self.calls.len()).is_multiple_of(A_WRITE_IN);
        let end = if due.elapsed() < PATIENCE { self.ask(write).await } else { End::Unsent };
        let call = Call { phase, write, took: due.elapsed(), end };
        let good = call.status() == Some(200);
        let count = if good { &self.counts.good } else { &self.counts.others };
        count.fetch_add(1, Ordering::Relaxed);
        self.calls.push(call);
        if Instant::now() >= self.renew {
            self.take_token();
            self.renew += TOKEN;
        }
        good
    }

    async fn ask(&mut self, write: bool) -> End {
        let mut line = match self.line.take().filter(Line::is_open) {
            Some(line) => line,
            None => {
                let from = [127, 0, 1, u8::try_from(1 + self.n / AT_AN_ADDRESS).unwrap()];
                let Ok(line) = Line::open(from, self.world.proxy().api).await else { return End::Unsent };
                self.opened += 1;
                line
            }
        };
        let request = if write { &self.write } else { &self.read };
        let asked = tokio::time::timeout(PATIENCE, line.ask(request)).await;
        let Ok(Some(answer)) = asked else { return End::Lost };
        if answer.status != 200 {
            self.others.entry(answer.status).or_insert_with(|| line.text());
        }
        self.line = Some(line).filter(|_| !answer.last);
        End::Answered(answer)
    }
}

/// All of them with a connection each that has made a call.
pub async fn opened(callers: Vec<Caller>) -> Vec<Caller> {
    let mut all = callers.into_iter();
    let mut opened = Vec::new();
    loop {
        let next = all.by_ref().take(OPENED_AT_ONCE).map(|mut caller| {
            tokio::spawn(async move {
                caller.call(Instant::now(), Phase::Opening).await;
                caller
            })
        });
        let next: Vec<_> = next.collect();
        if next.is_empty() {
            return opened;
        }
        for caller in next {
            opened.push(caller.await.unwrap());
        }
    }
}

/// An open loop over all callers: call `n` is due at `n / rate`, at caller `n` modulo their number, who makes it as soon as
/// the one before has its answer. Each phase lasts a minute.
pub fn load(callers: Vec<Caller>, rate: u32, phases: Vec<Phase>, began: Instant) -> Vec<JoinHandle<Caller>> {
    let mut dues = Vec::new();
    let mut tasks = Vec::new();
    for mut caller in callers {
        let (send, mut receive) = mpsc::unbounded_channel();
        dues.push(send);
        tasks.push(tokio::spawn(async move {
            while let Some((due, phase)) = receive.recv().await {
                caller.call(due, phase).await;
            }
            caller
        }));
    }
    // A thread, as tokio's timers count whole milliseconds.
    std::thread::spawn(move || {
        for n in 0_u64.. {
            let after = Duration::from_nanos(n * 1_000_000_000 / u64::from(rate));
            let Some(phase) = phases.get(usize::try_from(after.as_secs() / 60).unwrap()) else { return };
            let due = began + after;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let caller = &dues[usize::try_from(n).unwrap() % dues.len()];
            caller.send((due, *phase)).unwrap();
        }
    });
    tasks
}
