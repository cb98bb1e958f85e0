//! SIGKILL at every step of a call, of a start and of a stop, again and again over one record, while several callers are
//! at work and the upstream has faults of its own.
//!
//! After each kill the program is started on the same database, finds out what became of the calls that it lost, and all
//! seven promises are held against what the upstream really did and against every answer that a client got.
//! `TUNNELWARDEN_KILLS` says how often, `TUNNELWARDEN_SEED` repeats a run. Not here: what callers do
//! (`crash::callers`), what must hold (`crash::truth`, `crash::secrets`), single losses in detail (`crash::lost`).

pub(crate) mod callers;
mod lost;
mod secrets;
pub(crate) mod truth;

use std::collections::BTreeMap;
use std::time::Duration;

use tunnelwarden::clock::Clock as _;
use tunnelwarden::emulator::Fault;
use tunnelwarden::operation::{AccountId, Operation};

use crate::harness::{ACCOUNT, PATIENCE, Wishes, World, tunnel_body};
use callers::{Callers, Random, retry};
use secrets::Hunt;
use truth::{Tally, check_round, check_sent};

/// Kills in a usual run: each of the moments several times.
const KILLS: u64 = 18;

/// When the program is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Any millisecond of the first half second, whatever the callers are at.
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
    /// As soon as an outcome is on disk: its answer may be on its way.
    OutcomeOnDisk,
    /// While it ends the calls under way, having been told to stop; or at the end of that.
    Stopping,
    /// Several times while it starts and takes up what was lost.
    Starting,
}

const MOMENTS: [Moment; 9] = [
    Moment::Any,
    Moment::BeforeIntent,
    Moment::IntentOnDisk,
    Moment::UpstreamAtIt,
    Moment::UpstreamActed,
    Moment::Answering,
    Moment::OutcomeOnDisk,
    Moment::Stopping,
    Moment::Starting,
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

/// What else goes wrong at the upstream, some of it in each round. Not here: what takes longer than a round, and faults of
/// its logs, which nobody reads.
const FAULTS: [Fault; 16] = [
    Fault::Latency(SLOW),
    Fault::DropBefore,
    Fault::DropAfter,
    Fault::ResetBody,
    Fault::Status(500),
    Fault::StatusAfter(500),
    Fault::Html,
    Fault::HtmlAfter,
    Fault::Malformed,
    Fault::SlowBody(Duration::from_millis(2)),
    Fault::HangAfter(HANG),
    Fault::Throttle(1),
    Fault::Gzip,
    Fault::WrongLength,
    Fault::UnknownField,
    Fault::EchoBody,
];

/// Between two looks at the whole log, in rounds: each start looks at its end.
const VERIFY_EVERY: u64 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn wherever_the_program_is_killed_every_promise_holds() {
    let (kills, seed) = (number("TUNNELWARDEN_KILLS"), number("TUNNELWARDEN_SEED"));
    let wishes = Wishes {
        config: vec![
            ("limits.upstream_budget", "{ requests = 100000, window = \"5m\" }".to_owned()),
            // Each bounds what the next start looks through.
            ("audit.heartbeat", "\"1s\"".to_owned()),
            // A start that the disk keeps waiting for two seconds is refused, which is no kill.
            ("audit.append_timeout", "\"10s\"".to_owned()),
        ],
        unlimited: true,
        ..Wishes::default()
    };
    let mut world = World::prepared(wishes).await;
    let seed = seed.unwrap_or_else(|| world.clock.now().as_millisecond().unsigned_abs());
    eprintln!("TUNNELWARDEN_SEED={seed}");
    let (mut tally, mut hunt, mut seen) = (Tally::default(), Hunt::default(), 0);
    let mut struck: BTreeMap<String, u32> = BTreeMap::new();
    let kills = kills.unwrap_or(KILLS);
    for round in 0..kills {
        let moment = MOMENTS[usize::try_from(round).unwrap() % MOMENTS.len()];
        let mut random = Random::new(seed, round);
        world.emulator.reset();
        furnish(&world);
        world.launch().await;
        let mut fault = random.clone();
        let callers = Callers::start(&world, &mut random);
        pause(random.below(100)).await;
        for _ in 0..fault.below(4) {
            let operation = pick(&Operation::ALL, &mut fault);
            world.emulator.fault(pick(&FAULTS, &mut fault), operation, 1);
        }
        let met = strike(&mut world, moment, &mut random, seen).await;
        *struck.entry(format!("{moment:?}")).or_insert(0) += u32::from(met);
        let mut met = callers.end().await;
        settle(&world).await;
        let interruptions = if moment == Moment::Starting { 3 } else { random.below(3) / 2 };
        for _ in 0..interruptions {
            interrupted(&mut world, random.below(300)).await;
        }
        world.launch().await;
        // As its client does: at once, and when it is known what became of the first.
        for retries in 1..=2 {
            let again = retry(&world, &met.lost, retries).await;
            met.heard.extend(again.heard);
            met.secrets.extend(again.secrets);
            resolved(&world).await;
        }
        let entries = world.entries_after(seen).await;
        let effects = world.emulator.effect_list();
        let label = format!("seed {seed}, round {round}, {moment:?}");
        check_round(&label, &entries, &effects, &met.heard, &mut tally);
        tally.sent += check_sent(&label, &entries, &world.emulator.calls());
        tally.retried += met.lost.len();
        hunt.learn(met.secrets.into_iter().chain(world.secrets()));
        hunt.check(&world, &label, &entries);
        if round % VERIFY_EVERY == 0 || round + 1 == kills {
            verifies(&world, &label);
        }
        world.kill();
        seen = world.entries_after(seen).await.last().map_or(seen, |entry| entry.seq + 1);
    }
    hunt.check_whole(&world);
    eprintln!("{kills} kills, {seen} entries");
    eprintln!("{tally:?}, met {struck:?}");
    let missed: Vec<_> = struck.iter().filter(|(_, met)| **met == 0).collect();
    assert!(missed.is_empty(), "these moments never came: {missed:?}");
    assert!(tally.effects > 0 && tally.resolved > 0 && tally.answers > 0, "{tally:?}: nothing was tried");
    assert!(tally.sent > 0 && tally.retried > 0, "{tally:?}: nothing was tried");
}

fn pick<T: Copy>(of: &[T], random: &mut Random) -> T {
    of[usize::try_from(random.below(of.len() as u64)).unwrap()]
}

/// A start that is killed after so many milliseconds, whether it serves by then or not.
async fn interrupted(world: &mut World, after: u64) {
    let until = tokio::time::Instant::now() + Duration::from_millis(after);
    if tokio::time::timeout_at(until, world.launch()).await.is_ok() {
        tokio::time::sleep_until(until).await;
        world.kill();
    }
}

/// Makes the moment long enough to be met.
fn slow_down(world: &World, moment: Moment) {
    let (fault, operations): (_, &[Operation]) = match moment {
        Moment::Any | Moment::OutcomeOnDisk | Moment::Starting => return,
        Moment::BeforeIntent => (Fault::Latency(SLOW), &[Operation::Get, Operation::List]),
        Moment::IntentOnDisk | Moment::UpstreamAtIt | Moment::Stopping => (Fault::Latency(SLOW), &WRITES),
        Moment::UpstreamActed => (Fault::HangAfter(HANG), &WRITES),
        Moment::Answering => (Fault::SlowBody(Duration::from_millis(2)), &WRITES),
    };
    for operation in operations {
        world.emulator.fault(fault, *operation, u32::MAX);
    }
}

/// Kills when the moment has come, or when it does not come; says which.
async fn strike(world: &mut World, moment: Moment, random: &mut Random, seen: u64) -> bool {
    let mut met = false;
    let (calls, effects) = (world.emulator.calls().len(), world.emulator.effect_list().len());
    let entries = seen + world.entries_after(seen).await.len() as u64;
    slow_down(world, moment);
    let until = tokio::time::Instant::now() + Duration::from_secs(2);
    while tokio::time::Instant::now() < until {
        let mut new = world.emulator.calls().into_iter().skip(calls);
        let come = match moment {
            Moment::Any | Moment::Starting => true,
            Moment::BeforeIntent => new.next().is_some(),
            Moment::IntentOnDisk | Moment::OutcomeOnDisk => {
                let kind = if moment == Moment::IntentOnDisk { "intent" } else { "outcome" };
                world.entries_after(entries).await.iter().any(|e| e.text("/kind") == kind)
            }
            Moment::UpstreamAtIt | Moment::Stopping => {
                new.any(|call| call.operation.is_some_and(Operation::is_write))
            }
            Moment::UpstreamActed | Moment::Answering => world.emulator.effect_list().len() > effects,
        };
        if come {
            met = true;
            break;
        }
        pause(1).await;
    }
    match moment {
        Moment::Any | Moment::Starting => pause(random.below(500)).await,
        Moment::Answering => pause(random.below(41)).await,
        Moment::BeforeIntent | Moment::UpstreamAtIt => pause(random.below(20)).await,
        Moment::IntentOnDisk | Moment::UpstreamActed | Moment::OutcomeOnDisk => {}
        Moment::Stopping => {
            world.terminate();
            pause(random.below(60)).await;
            if random.below(2) == 0 {
                world.ended().await;
                return met;
            }
        }
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
    while world.unresolved().await > 0 {
        assert!(tokio::time::Instant::now() < until, "calls stay unresolved:\n{}", world.stderr());
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
