//! How the cost of a call and of a start grows with the record.
//!
//! Fills a record with entries of the usual size and kinds through the store itself, a tenth of the calls writes,
//! and at each size starts the program as its users do and loads it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tunnelwarden::seal::Signer;
use tunnelwarden::store::{Settings, Store};

use super::{Tunnel, costs, tunnels, wishes};
use crate::harness::World;
use crate::load;

/// Where it is looked at, if the record becomes so long.
const SIZES: [u64; 5] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// Entries of ten calls: nine reads, then a write's intent and its outcome.
const CALLS: u64 = 11;

/// Entries between two heartbeats, at a thousand calls a second.
const A_MINUTE: u64 = 60_000;

/// Starts at each size, of which the median counts.
const STARTS: usize = 5;

pub async fn record(most: u64) {
    let wishes = crate::harness::Wishes { unchecked: true, ..wishes() };
    let mut world = World::prepared(wishes).await;
    println!(
        "{:>10} {:>9} {:>10} {:>10} {:>10} {:>12} {:>12} {:>10}",
        "entries", "MiB", "us a row", "start", "slowest", "CPU a read", "CPU a write", "memory"
    );
    let mut stored = 0;
    for size in SIZES.into_iter().filter(|size| *size <= most) {
        // What the load of the last size added counts.
        let to_add = size.saturating_sub(stored).max(1).next_multiple_of(CALLS);
        let filled = fill(&world, stored, stored + to_add).await;
        let size = stored + to_add;
        let mut starts = Vec::new();
        for _ in 1..STARTS {
            starts.push(start(&mut world).await);
            world.stop().await;
        }
        starts.push(start(&mut world).await);
        starts.sort_unstable();
        let made = tunnels(&world, load::CONNECTIONS).await;
        let (read, write) = costs(&world, &made).await;
        for Tunnel { path, .. } in &made {
            let gone = world.call("admin", http::Method::DELETE, path, None).await;
            assert_eq!(gone.status, 200, "{}", gone.text());
        }
        println!(
            "{size:>10} {:>9.0} {:>10.1} {:>10.1?} {:>10.1?} {:>9.1} us {:>9.1} us {:>6.1} MiB",
            std::fs::metadata(world.database()).unwrap().len() as f64 / 1_048_576.0,
            filled.as_secs_f64() * 1e6 / to_add as f64,
            starts[STARTS / 2],
            starts[STARTS - 1],
            read.cpu_us,
            write.cpu_us,
            load::memory(&world),
        );
        world.stop().await;
        stored = length(&world).await;
    }
}

/// From the start of the process until it serves.
async fn start(world: &mut World) -> Duration {
    let began = Instant::now();
    world.launch().await;
    began.elapsed()
}

async fn length(world: &World) -> u64 {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(world.database()).read_only(true);
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    let last: i64 =
        sqlx::query_scalar("SELECT max(seq) FROM entries").fetch_one(&mut connection).await.unwrap();
    u64::try_from(last).unwrap() + 1
}

/// Adds entries until there are `to`.
async fn fill(world: &World, from: u64, to: u64) -> Duration {
    let key = std::fs::read_to_string(world.dir.path().join("audit-signing.key")).unwrap();
    let signer = Arc::new(Signer::new(&key).unwrap());
    let settings = Settings {
        database: world.database().into(),
        checkpoint_files: vec![world.dir.path().join("checkpoint.txt")],
        append_timeout: Duration::from_secs(60),
    };
    let store = Store::open(settings, signer, world.clock.clone()).await.unwrap();
    let began = Instant::now();
    let mut n = from;
    while n < to {
        let batch: Vec<String> = (n..to.min(n + 550)).map(|n| entry(n, (n - from) % CALLS)).collect();
        n += batch.len() as u64;
        store.append(batch).await.unwrap();
    }
    let took = began.elapsed();
    store.close().await;
    took
}

/// The n-th entry, which is that one of its [`CALLS`].
fn entry(n: u64, which: u64) -> String {
    let id = |n: u64| {
        uuid::Uuid::from_u128((0x019b_0000_0000 + u128::from(n)) << 80 | 7 << 76 | 2 << 62 | u128::from(n))
    };
    let (kind, call) = match which {
        0 if n % A_MINUTE < CALLS => ("heartbeat", n),
        9 => ("intent", n),
        10 => ("outcome", n - 1),
        _ => ("outcome", n),
    };
    let time =
        jiff::Timestamp::from_microsecond(1_767_225_600_000_000 + i64::try_from(n).unwrap() * 1000).unwrap();
    let operation = if which < 9 { "get" } else { "update" };
    let mut text = format!(
        r#"{{"kind":"{kind}","id":"{}","time":"{time:.6}","request_id":"{}","subject":"caller-{}","teams":["network"],"roles":["operator"],"issuer":"https://idp.example","client_address":"127.0.0.1","operation":"{operation}","account":"{:032x}","tunnels":[{{"id":"{:032x}","name":"site"}}],"decision":"allow","policies":["operators-read"]"#,
        id(n),
        id(call),
        n % 50,
        1,
        n * 7919 % 1000,
    );
    match which {
        _ if kind == "heartbeat" => write!(text, r#","ended_before":{n}"#),
        9 => write!(text, r#","request":{{"size":300,"body":{{"description":"{:0>300}"}}}}"#, n),
        10 => write!(
            text,
            r#","intent_id":"{}","sent":"yes","status":200,"response":{{"size":1500,"digest":"{n:0>64}"}}"#,
            id(call)
        ),
        _ => write!(text, r#","sent":"yes","status":200,"response":{{"size":1500,"digest":"{n:0>300}"}}"#),
    }
    .unwrap();
    text + "}"
}
