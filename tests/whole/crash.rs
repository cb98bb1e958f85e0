//! SIGKILL at every step of a call, again and again over one record, while several callers are at work.
//!
//! After each kill the program is started on the same database, finds out what became of the calls that it lost,
//! and the record is held against what the upstream really did and against every answer that a client got.
//! `TUNNELWARDEN_KILLS` says how often, `TUNNELWARDEN_SEED` repeats a run. Not here: what callers do
//! (`crash::callers`), what must hold (`crash::truth`), single
//! losses in detail (`crash::lost`).

pub(crate) mod callers;
mod lost;
pub(crate) mod truth;

use std::collections::BTreeMap;
use std::time::Duration;

use tunnelwarden::clock::Clock as _;
use tunnelwarden::emulator::Fault;
use tunnelwarden::operation::{AccountId, Operation};

use crate::harness::{ACCOUNT, PATIENCE, Wishes, World, tunnel_body};
use callers::{Callers, Random};
use truth::{Tally, check_round};

/// Kills in a usual run: each of the moments several times.
const KILLS: u64 = 18;

/// When the program is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So many milliseconds after the callers began, whatever they are at.
    Any,
    /// While the state before is read: no intent yet.
    BeforeIntent,
    /// As soon as an intent is on disk; the upstream takes its time.
    IntentOnDisk,
    /// The upstream has the call and has not acted.
    UpstreamAtIt,
    /// The upstream has acted and does not answer.
    UpstreamActed,
    /// The upstream's answer is on its way, a few bytes at a time.
    Answering,
}

const MOMENTS: [Moment; 6] = [
    Moment::Any,
    Moment::BeforeIntent,
    Moment::IntentOnDisk,
    Moment::UpstreamAtIt,
    Moment::UpstreamActed,
    Moment::Answering,
];

pub(crate) const WRITES: [Operation; 6] = [
    Operation::Create,
    Operation::Update,
    Operation::BulkUpdate,
    Operation::Delete,
    Operation::GeneratePsk,
    Operation::SetPsks,
];

/// The upstream acts this late at most, which is less than `audit.resolve_after`.
const SLOW: Duration = Duration::from_millis(40);

/// No answer for longer than the kill takes.
const HANG: Duration = Duration::from_millis(400);

#[tokio::test(flavor = "multi_thread")]
async fn every_effect_has_an_intent_and_every_intent_an_end_wherever_the_program_is_killed() {
    let (kills, seed) = (number("TUNNELWARDEN_KILLS"), number("TUNNELWARDEN_SEED"));
    let wishes = Wishes {
        config: vec![
            ("limits.upstream_budget", "{ requests = 100000, window = \"5m\" }".to_owned()),
            // Each bounds what the next start looks through.
            ("audit.heartbeat", "\"1s\"".to_owned()),
        ],
        unlimited: true,
        ..Wishes::default()
    };
    let mut world = World::prepared(wishes).await;
    let seed = seed.unwrap_or_else(|| world.clock.now().as_millisecond().unsigned_abs());
    eprintln!("TUNNELWARDEN_SEED={seed}");
    let (mut tally, mut seen) = (Tally::default(), 0);
    let mut struck: BTreeMap<String, u32> = BTreeMap::new();
    for round in 0..kills.unwrap_or(KILLS) {
        let moment = MOMENTS[usize::try_from(round).unwrap() % MOMENTS.len()];
        let mut random = Random::new(seed, round);
        world.emulator.reset();
        furnish(&world);
        world.launch().await;
        let callers = Callers::start(&world, &mut random);
        pause(random.below(100)).await;
        let met = strike(&mut world, moment, &mut random).await;
        *struck.entry(format!("{moment:?}")).or_insert(0) += u32::from(met);
        let heard = callers.heard().await;
        settle(&world).await;
        world.launch().await;
        resolved(&world).await;
        let entries = world.entries_after(seen).await;
        let effects = world.emulator.effect_list();
        let label = format!("seed {seed}, round {round}, {moment:?}");
        check_round(&label, &entries, &effects, &heard, &mut tally);
        verifies(&world, &label);
        world.kill();
        seen = world.entries_after(seen).await.last().map_or(seen, |entry| entry.seq + 1);
    }
    eprintln!("{tally:?}, met {struck:?}");
    let missed: Vec<_> = struck.iter().filter(|(_, met)| **met == 0).collect();
    assert!(missed.is_empty(), "these moments never came: {missed:?}");
    assert!(tally.effects > 0 && tally.resolved > 0 && tally.answers > 0, "{tally:?}: nothing was tried");
}

/// Makes the moment long enough to be met.
fn slow_down(world: &World, moment: Moment) {
    let (fault, operations): (_, &[Operation]) = match moment {
        Moment::Any => return,
        Moment::BeforeIntent => (Fault::Latency(SLOW), &[Operation::Get, Operation::List]),
        Moment::IntentOnDisk | Moment::UpstreamAtIt => (Fault::Latency(SLOW), &WRITES),
        Moment::UpstreamActed => (Fault::HangAfter(HANG), &WRITES),
        Moment::Answering => (Fault::SlowBody(Duration::from_millis(2)), &WRITES),
    };
    for operation in operations {
        world.emulator.fault(fault, *operation, u32::MAX);
    }
}

/// Kills when the moment has come, or when it does not come; says which.
async fn strike(world: &mut World, moment: Moment, random: &mut Random) -> bool {
    let mut met = false;
    let (calls, effects) = (world.emulator.calls().len(), world.emulator.effect_list().len());
    let entries = world.entries_after(0).await.len() as u64;
    slow_down(world, moment);
    let until = tokio::time::Instant::now() + Duration::from_secs(2);
    while tokio::time::Instant::now() < until {
        let mut new = world.emulator.calls().into_iter().skip(calls);
        let come = match moment {
            Moment::Any => true,
            Moment::BeforeIntent => new.next().is_some(),
            Moment::IntentOnDisk => {
                world.entries_after(entries).await.iter().any(|e| e.text("/kind") == "intent")
            }
            Moment::UpstreamAtIt => new.any(|call| call.operation.is_some_and(Operation::is_write)),
            Moment::UpstreamActed | Moment::Answering => world.emulator.effect_list().len() > effects,
        };
        if come {
            met = true;
            break;
        }
        pause(1).await;
    }
    match moment {
        Moment::Any | Moment::Answering => pause(random.below(41)).await,
        Moment::BeforeIntent | Moment::UpstreamAtIt => pause(random.below(20)).await,
        Moment::IntentOnDisk | Moment::UpstreamActed => {}
    }
    world.kill();
    met
}

async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

/// Waits until the upstream is done with every call that reached it.
async fn settle(world: &World) {
    let until = tokio::time::Instant::now() + HANG + SLOW;
    let busy = || world.emulator.calls().iter().any(|call| call.status.is_none() && !call.acted);
    while busy() && tokio::time::Instant::now() < until {
        pause(2).await;
    }
}

async fn resolved(world: &World) {
    let until = tokio::time::Instant::now() + PATIENCE;
    while !world.open_intents().await.is_empty() {
        assert!(tokio::time::Instant::now() < until, "intents stay open:\n{}", world.stderr());
        pause(20).await;
    }
}

#[track_caller]
fn verifies(world: &World, label: &str) {
    let checkpoint = world.dir.path().join("checkpoint.txt");
    assert!(checkpoint.exists(), "{label}: no checkpoint file");
    let checkpoint = checkpoint.to_str().unwrap();
    let verified =
        world.program(&["audit", "verify", "--config", &world.config(), "--checkpoint", checkpoint]);
    assert_eq!(verified.status.code(), Some(0), "{label}: {}", String::from_utf8_lossy(&verified.stdout));
}

/// Tunnels for the callers to work on.
pub(crate) fn furnish(world: &World) {
    let account = AccountId::parse(ACCOUNT).unwrap();
    let there = world.emulator.tunnels(account).len();
    for n in there..8 {
        let taken: Vec<_> = world.emulator.tunnels(account).iter().map(ToString::to_string).collect();
        let name = (n..).map(|n| format!("base-{n}")).find(|name| !taken.iter().any(|t| t.contains(name)));
        let body = tunnel_body(&name.unwrap(), 1);
        let body = tunnelwarden::json::read(body.as_bytes(), 8).unwrap();
        world.emulator.put_tunnel(account, &body).unwrap();
    }
}

#[expect(clippy::disallowed_methods, reason = "a longer run is asked for from outside")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}
