//! Three replicas on one PostgreSQL, under load, of which one is killed every few seconds, while the server is killed and
//! stopped: what one process promises holds over all of them.
//!
//! `TUNNELWARDEN_SEED` repeats a run, `TUNNELWARDEN_SECONDS` makes it longer. Not here: one process that is killed (`crash`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tunnelwarden::clock::Clock as _;
use tunnelwarden::emulator::Fault;

use crate::crash::callers::{ADMINS, Callers, Random};
use crate::crash::truth::{Tally, check_round};
use crate::crash::{WRITES, furnish};
use crate::harness::{Proxy, Stored, Wishes, World, collection, on_this_server, postgres};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// How long callers are at work in a usual run.
const SECONDS: u64 = 24;

/// Reads that a subject has, in ten seconds.
const BURST: u32 = 100;

/// How long the calls of a dead replica may take to be resolved: its lease, a while more, and a look each few seconds.
const RESOLVED: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_the_promises_hold_over_all_replicas() {
    let Some(server) = postgres::Server::start() else { return };
    let wishes = Wishes {
        config: vec![
            ("limits.upstream_budget", "{ requests = 100000, window = \"5m\" }".to_owned()),
            ("audit.heartbeat", "\"1s\"".to_owned()),
            ("limits.subject", format!("{{ read = \"{BURST}/10s\", write = \"none\", secret = \"none\" }}")),
        ],
        unlimited: true,
        database: Some(on_this_server(&server, "none")),
        unchecked: true,
        ..Wishes::default()
    };
    let world = World::prepared(wishes).await;
    let seed =
        number("TUNNELWARDEN_SEED").unwrap_or_else(|| world.clock.now().as_millisecond().unsigned_abs());
    eprintln!("TUNNELWARDEN_SEED={seed}");
    let mut random = Random::new(seed, 1);
    furnish(&world);
    // So that a kill meets calls that are under way; less than `audit.resolve_after`.
    for operation in WRITES {
        world.emulator.fault(Fault::Latency(Duration::from_millis(60)), operation, u32::MAX);
    }
    let mut replicas: BTreeMap<&str, Proxy> = BTreeMap::new();
    for name in NAMES {
        replicas.insert(name, world.replica(name).await.unwrap());
    }
    let at = Arc::new(Mutex::new(replicas.values().map(|proxy| proxy.api).collect::<Vec<_>>()));
    let goes_on = Arc::new(AtomicBool::new(true));
    let callers = Callers::over(&world, &mut random, &ADMINS, Arc::clone(&at), Some(Arc::clone(&goes_on)));
    let floods =
        [0, 1].map(|_| tokio::spawn(flood(world.token("viewer"), Arc::clone(&at), Arc::clone(&goes_on))));

    let end =
        tokio::time::Instant::now() + Duration::from_secs(number("TUNNELWARDEN_SECONDS").unwrap_or(SECONDS));
    let (mut kills, mut restarts) = (0, 0);
    while tokio::time::Instant::now() < end || restarts < 2 {
        pause(1500 + random.below(1500)).await;
        if kills % 3 == 1 && restarts < 2 {
            if restarts == 0 {
                server.kill()
            } else {
                server.stop()
            }
            pause(random.below(1500)).await;
            server.start_again();
            restarts += 1;
        }
        let name = NAMES[usize::try_from(random.below(3)).unwrap()];
        let Some(proxy) = replicas.remove(name) else { continue };
        at.lock().unwrap().retain(|api| *api != proxy.api);
        proxy.kill();
        kills += 1;
        pause(random.below(1000)).await;
        let proxy = again(&world, name).await;
        at.lock().unwrap().push(proxy.api);
        replicas.insert(name, proxy);
    }
    // One that never comes back: the others look into what it left.
    let dead = replicas.remove("c").unwrap();
    at.lock().unwrap().retain(|api| *api != dead.api);
    dead.kill();
    pause(500).await;
    goes_on.store(false, Ordering::Relaxed);
    let heard = callers.end().await.heard;
    let (mut served, mut refused, mut took) = (0, 0, Duration::ZERO);
    for flood in floods {
        let (more, no, time) = flood.await.unwrap();
        (served, refused, took) = (served + more, refused + no, took.max(time));
    }
    // What is refilled meanwhile, and for each replica a 16th of the whole that it may have taken ahead.
    let most = f64::from(BURST) * (1.0 + took.as_secs_f64() / 10.0 + 3.0 / 16.0);
    assert!(
        f64::from(served) <= most && served >= BURST && refused > 0,
        "{served} served, {refused} refused in {took:?}"
    );
    let entries = all_ended(&world).await;
    for proxy in replicas.into_values() {
        proxy.kill();
    }

    let effects = world.emulator.effect_list();
    let mut tally = Tally::default();
    // An answer may go while the server is away and its outcome is owed; who is killed then leaves it to be resolved.
    let resolved =
        |id: &str| entries.iter().any(|e| e.text("/kind") == "resolved" && e.text("/request_id") == id);
    let (left, heard): (Vec<_>, Vec<_>) = heard.into_iter().partition(|answer| resolved(&answer.request_id));
    assert!(left.len() < 20, "{left:?}");
    check_round(&format!("seed {seed}"), &entries, &effects, &heard, &mut tally);
    eprintln!("{kills} kills, {restarts} restarts of the server, {} entries, {tally:?}", entries.len());
    assert!(tally.effects > 0 && tally.resolved > 0 && tally.answers > 0, "{tally:?}: nothing was tried");
    let checkpoints =
        NAMES.map(|name| world.dir.path().join(format!("checkpoint-{name}.txt")).display().to_string());
    let mut arguments = vec!["audit", "verify", "--config"];
    let config = world.config();
    arguments.push(&config);
    checkpoints.iter().for_each(|file| arguments.extend(["--checkpoint", file.as_str()]));
    let verified = world.program(&arguments);
    let told = String::from_utf8_lossy(&verified.stdout);
    assert_eq!(
        verified.status.code(),
        Some(0),
        "seed {seed}: {told}{}",
        String::from_utf8_lossy(&verified.stderr)
    );
    no_secret(&server, &world);
}

/// Reads as one subject, at any replica, more than its quota has: how many were served and how many refused, in which time.
async fn flood(
    token: String,
    at: Arc<Mutex<Vec<SocketAddr>>>,
    goes_on: Arc<AtomicBool>,
) -> (u32, u32, Duration) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let (mut served, mut refused, began) = (0, 0, tokio::time::Instant::now());
    for n in 0usize.. {
        if !goes_on.load(Ordering::Relaxed) {
            break;
        }
        pause(6).await;
        let replicas = at.lock().unwrap().clone();
        let Some(api) = replicas.get(n % replicas.len().max(1)) else { continue };
        let request = Request::get(format!("http://{api}{}", collection()))
            .header("authorization", format!("Bearer {token}"))
            .body(Full::default())
            .unwrap();
        let Ok(answer) = client.request(request).await else { continue };
        match answer.status().as_u16() {
            200 => served += 1,
            429 => refused += 1,
            _ => {}
        }
        // The connection is free again only when all of it was read.
        let _ = answer.into_body().collect().await;
    }
    (served, refused, began.elapsed())
}

/// Nothing of what a caller or the upstream keeps secret is in the whole database.
fn no_secret(server: &postgres::Server, world: &World) {
    let dump = std::process::Command::new(server.program("pg_dump"))
        .args(["--dbname", &world.record().to_string().replace("writer@", "owner@")])
        .output()
        .unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let text = String::from_utf8_lossy(&dump.stdout);
    assert!(text.contains("redacted:psk:"), "there were keys");
    // The keys that callers set, whose numbers differ; the upstream's; tokens.
    assert!(!text.contains("key-0000"), "a key that a caller set");
    for secret in world.secrets() {
        assert!(!text.contains(&secret), "a secret");
    }
}

/// Starts a replica again, also while the server is away: as whatever starts services does.
async fn again(world: &World, name: &str) -> Proxy {
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(proxy) = world.replica(name).await {
            return proxy;
        }
        let told = world.stderr_of(&format!("-{name}"));
        assert!(tokio::time::Instant::now() < until, "it does not start:\n{told}");
        pause(200).await;
    }
}

/// The record, once every intent has its end.
async fn all_ended(world: &World) -> Vec<Stored> {
    let until = tokio::time::Instant::now() + RESOLVED;
    loop {
        let entries = world.entries().await;
        let is_open = |intent: &&Stored| {
            let ends = entries.iter().filter(|entry| entry.text("/intent_id") == intent.text("/id"));
            let ended = |end: &Stored| end.text("/kind") == "resolved" || end.json.get("ambiguous").is_none();
            intent.text("/kind") == "intent" && !ends.into_iter().any(ended)
        };
        let open: Vec<_> = entries.iter().filter(is_open).map(|intent| intent.raw.clone()).collect();
        if open.is_empty() {
            return entries;
        }
        let told = NAMES.map(|name| world.stderr_of(&format!("-{name}"))).join("\n");
        assert!(tokio::time::Instant::now() < until, "intents stay open: {open:#?}\n{told}");
        pause(500).await;
    }
}

async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

#[expect(clippy::disallowed_methods, reason = "a longer run is asked for from outside")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}
