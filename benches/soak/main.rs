//! Whether callers notice an attacker, memory stays flat, and all is recorded, for as long as it is tried:
//! `cargo bench --bench soak [-- --minutes N] [--connections N] [--rate N] [--flood N] [--no-attacker]`.
//!
//! Measures what there is of capacity over 2,000 connections, for 25 seconds. Then calls at 80 % of it (or at RATE) over these,
//! which are kept alive, nine reads to an update, each connection with a caller of its own: for a quiet minute, for N minutes
//! (ten) beside an attacker without a token, and for another quiet minute. Prints latencies from when each call was due,
//! the proxy's resident memory each minute, all answers by status, and holds each answer against the record. Fails if
//! anything is not recorded.
//!
//! Without an attacker there are N minutes of the load and nothing else. What is bounded by count (tokens, permits,
//! answers, callers' quotas, tunnels) is full within the first minutes, so growth after that is a leak.
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

#[path = "../../tests/whole/harness.rs"]
mod harness;

#[path = "../load/mod.rs"]
mod load;

mod attacker;
mod callers;
mod capacity;
mod recorded;
mod told;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use attacker::{Attacker, Ended};
use callers::{Caller, Counts, Phase};
use harness::{Wishes, World};
use load::{cpu, memory};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Of the capacity.
const SHARE: f64 = 0.8;

/// How often in a minute a connection must be used at least: the proxy closes those that idle for ten seconds.
const USES: u64 = 12;

const MINUTE: Duration = Duration::from_secs(60);

struct Options {
    minutes: usize,
    connections: usize,
    rate: Option<u32>,
    flood: u32,
    attacker: bool,
}

impl Options {
    fn read() -> Self {
        let after = |name: &str| std::env::args().skip_while(|argument| argument != name).nth(1);
        let number = |name: &str| {
            after(name).map(|n| n.parse::<u32>().unwrap_or_else(|_| panic!("{name} wants a number")))
        };
        let count = |name: &str, usual: usize| number(name).map_or(usual, |n| usize::try_from(n).unwrap());
        Self {
            minutes: count("--minutes", 10),
            connections: count("--connections", 2000),
            rate: number("--rate"),
            flood: number("--flood").unwrap_or(2000),
            attacker: !std::env::args().any(|argument| argument == "--no-attacker"),
        }
    }

    /// What goes on in each minute.
    fn phases(&self) -> Vec<Phase> {
        if self.attacker {
            [vec![Phase::Quiet], vec![Phase::Flood; self.minutes], vec![Phase::QuietAgain]].concat()
        } else {
            vec![Phase::Quiet; self.minutes]
        }
    }
}

#[tokio::main]
async fn main() {
    // `cargo test --benches` runs this as well, to see that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let options = Options::read();
    allow_descriptors(options.connections);
    let world = Arc::new(World::with(wishes(options.connections)).await);
    let (tunnels, counts) = (callers::tunnels(&world).await.into(), Arc::default());
    let before = recorded::last(world.record()).await;
    let callers = (0..options.connections).map(|n| Caller::new(&world, &counts, &tunnels, n)).collect();
    let mut callers = callers::opened(callers).await;
    let rate = match options.rate {
        Some(rate) => rate,
        None => {
            let (ready, most) = capacity::measure(callers).await;
            callers = ready;
            println!("capacity: {most:.0} calls/s in a closed loop over all connections");
            (most * SHARE) as u32
        }
    };
    let enough = u64::from(rate) * 60 >= options.connections as u64 * USES;
    assert!(
        enough,
        "{rate} calls/s keep no {} connections alive; take fewer, or --rate",
        options.connections
    );
    println!("load: {rate} calls/s over {} connections\n", options.connections);

    let phases = options.phases();
    let began = Instant::now() + Duration::from_millis(100);
    let tasks = callers::load(callers, rate, phases.clone(), began);
    let attack = watch(&world, &counts, &phases, options.flood, began).await;
    let (mut calls, mut others, mut opened) = (Vec::new(), BTreeMap::new(), 0);
    for task in tasks {
        let caller = task.await.unwrap();
        calls.extend(caller.calls);
        opened += caller.opened;
        caller.others.into_iter().for_each(|(status, text)| {
            others.entry(status).or_insert(text);
        });
    }
    told::latencies(&calls);
    told::callers(&calls, &others, options.connections, opened);
    if options.attacker {
        told::attacker(options.flood, &attack);
    }
    let unanswered = recorded::unanswered(&world).await;
    let mut world = Arc::into_inner(world).expect("all callers have ended");
    world.stop().await;
    let mut wrong = recorded::check(&world, before, &calls, &attack, &unanswered).await;
    if attack.answers.iter().any(|answer| answer.status < 400) {
        wrong.push("somebody without a good token was served".to_owned());
    }
    wrong.extend(verify(&world).await);
    // A panic while it is there would print the proxy's whole log.
    drop(world);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Tells each minute how it goes, and lets the attacker loose in those that are the attacker's.
async fn watch(world: &World, counts: &Counts, phases: &[Phase], flood: u32, began: Instant) -> Ended {
    println!(
        "{:>6} {:<16} {:>9} {:>8} {:>11} {:>11}  {:>11} {:>9}",
        "minute", "", "served", "others", "proxy's CPU", "memory", "flood: sent", "answered"
    );
    let (mut attacker, mut ended) = (None, Ended::default());
    let mut used = cpu(world.proxy().id());
    let mut grown = Vec::new();
    for (minute, phase) in (1..).zip(phases) {
        let floods = *phase == Phase::Flood;
        tokio::time::sleep_until((began + MINUTE * (minute - 1)).into()).await;
        if floods && attacker.is_none() {
            attacker = Some(Attacker::start(world, flood));
        } else if !floods && let Some(attacker) = attacker.take() {
            // Waits for what is under way, which the callers' tasks must not.
            ended = tokio::task::spawn_blocking(|| Attacker::stop(attacker)).await.unwrap();
        }
        tokio::time::sleep_until((began + MINUTE * minute).into()).await;
        let now = cpu(world.proxy().id());
        let (sent, answered) = attacker.as_ref().map_or((0, 0), |attacker| {
            let seen = &attacker.seen;
            (seen.sent.load(Ordering::Relaxed), seen.answered.load(Ordering::Relaxed))
        });
        println!(
            "{minute:>6} {:<16} {:>9} {:>8} {:>5.2} cores {:>7.1} MiB  {sent:>11} {answered:>9}",
            phase.name(),
            counts.good.load(Ordering::Relaxed),
            counts.others.load(Ordering::Relaxed),
            (now - used).as_secs_f64() / MINUTE.as_secs_f64(),
            memory(world),
        );
        grown.push(memory(world));
        used = now;
    }
    let most = grown.iter().copied().fold(0.0, f64::max);
    println!(
        "memory: {:.1} MiB after the second minute, {:.1} after the last, {most:.1} at most at a minute's end",
        grown[1.min(grown.len() - 1)],
        grown[grown.len() - 1],
    );
    ended
}

/// The program's own word on the record, once it has stopped; what is wrong.
async fn verify(world: &World) -> Vec<String> {
    let began = Instant::now();
    let verified = world.program(&["audit", "verify", "--config", &world.config()]);
    let told = String::from_utf8_lossy(&verified.stdout);
    println!("\naudit verify, {:.1?}:\n{}", began.elapsed(), told.trim_end());
    let mut wrong = Vec::new();
    if !verified.status.success() {
        wrong.push(format!("the record does not verify: {}", String::from_utf8_lossy(&verified.stderr)));
    }
    let open = world.unresolved().await;
    if open > 0 {
        wrong.push(format!("{open} updates whose end nobody knows"));
    }
    wrong
}

/// As shipped but for what would limit the callers: quotas are counted and never reached.
fn wishes(connections: usize) -> Wishes {
    let quota = "{ read = \"1000000/s\", write = \"1000000/s\", secret = \"1000000/s\" }";
    let places = (connections * 2).max(4096);
    Wishes {
        config: vec![
            ("limits.upstream_budget", "{ requests = 1000000, window = \"1s\" }".to_owned()),
            ("limits.subject", quota.to_owned()),
            ("limits.team", quota.to_owned()),
            ("listen.max_connections", places.to_string()),
            ("log.filter", "\"info\"".to_owned()),
        ],
        unlimited: true,
        // It is verified once, at the end.
        unchecked: true,
        ..Wishes::default()
    }
}

/// Has as many open files allowed as there may be, for this process and the proxy, which inherits it: a connection of each
/// caller and one to the emulator for each call, both ends of which are in one of the two.
fn allow_descriptors(connections: usize) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let (most, needed) = (getrlimit(Resource::Nofile).current, connections as u64 * 2 + 1000);
    assert!(
        most.is_none_or(|most| most >= needed),
        "{needed} open files are needed and {most:?} allowed; raise it with `ulimit -n`, or take fewer --connections"
    );
}
