//! How the cost of a call grows with what surrounds it: policies, callers, tunnels in a list, connections.

use std::fmt::Write as _;

use tunnelwarden::json::{Json, Object};
use tunnelwarden::operation::AccountId;

use super::{costs, tunnels, wishes};
use crate::harness::{ACCOUNT, Wishes, World, tunnel_body};
use crate::load::{self, CONNECTIONS, memory, request};

/// More and more policies besides the shipped ones, each of which asks for another team and a name.
pub async fn policies() {
    println!("{:>10} {:>12} {:>12} {:>10}", "policies", "CPU a read", "CPU a write", "memory");
    for count in [10, 100, 1_000] {
        let mut policy = include_str!("../../config/policy.cedar").to_owned();
        for n in 0..count {
            writeln!(
                policy,
                r#"@id("of-team-{n}") permit (principal in Team::"team-{n}", action in Action::"write", resource)
                when {{ resource has name && resource.name like "team-{n}-*" }};"#
            )
            .unwrap();
        }
        let world = World::with(Wishes { policy: Some(policy), ..wishes() }).await;
        let made = tunnels(&world, CONNECTIONS).await;
        let (read, write) = costs(&world, &made).await;
        println!("{count:>10} {:>9.1} us {:>9.1} us {:>6.1} MiB", read.cpu_us, write.cpu_us, memory(&world));
    }
}

/// More and more subjects, each of a team of its own and with its own token, who call in turn.
pub async fn callers() {
    println!("{:>10} {:>12} {:>12} {:>10}", "callers", "CPU a read", "then", "memory");
    let world = World::with(wishes_with_quotas()).await;
    let made = tunnels(&world, 1).await;
    for count in [10, 1_000, 10_000, 100_000] {
        let reads: Vec<_> = (0..count)
            .map(|n| {
                let mut claims: Object = world.claims("admin");
                claims.set("sub", format!("caller-{n}@test"));
                claims.set("team", format!("team-{n}"));
                let token = world.key.sign(&Json::Object(claims), &[]).unwrap();
                request("GET", &made[0].path, &token, "")
            })
            .collect();
        // First everybody once or more, then again.
        let first = load::run(&world, &reads, CONNECTIONS).await;
        let again = load::run(&world, &reads, CONNECTIONS).await;
        println!("{count:>10} {:>9.1} us {:>9.1} us {:>6.1} MiB", first.cpu_us, again.cpu_us, memory(&world));
    }
}

/// Quotas that are counted and never reached.
fn wishes_with_quotas() -> Wishes {
    let mut wishes = wishes();
    let quota = "{ read = \"1000000/s\", write = \"1000000/s\", secret = \"1000000/s\" }";
    wishes.config.push(("limits.subject", quota.to_owned()));
    wishes.config.push(("limits.team", quota.to_owned()));
    wishes
}

/// A longer and longer list, so answers of up to two megabytes; an update asks for the state of one tunnel.
pub async fn tunnels_in_a_list() {
    println!(
        "{:>10} {:>12} {:>12} {:>12} {:>12} {:>10}",
        "tunnels", "bytes", "CPU a list", "CPU a read", "CPU a write", "memory"
    );
    let account = AccountId::parse(ACCOUNT).unwrap();
    for count in [1, 10, 100, 1_000, 2_000] {
        let world = World::with(wishes()).await;
        let made = tunnels(&world, 1).await;
        for n in 1..count {
            let body = tunnel_body(&format!("more-{n}"), 1)
                .replace("198.51.100.1", &format!("198.19.{}.{}", n >> 8, n & 255))
                .replace("10.1.1.0/31", &format!("10.2.{}.{}/31", n >> 7, (n & 127) * 2));
            let tunnel = tunnelwarden::json::read(body.as_bytes(), 64).unwrap();
            world.emulator.put_tunnel(account, &tunnel).unwrap();
        }
        let list = request("GET", "", &world.token("admin"), "");
        let bytes = world.call("admin", http::Method::GET, "", None).await.body.len();
        let listed = load::run(&world, &[list], CONNECTIONS).await;
        let (read, write) = costs(&world, &made).await;
        println!(
            "{count:>10} {bytes:>12} {:>9.1} us {:>9.1} us {:>9.1} us {:>6.1} MiB",
            listed.cpu_us,
            read.cpu_us,
            write.cpu_us,
            memory(&world)
        );
    }
}

/// More and more connections, on each of which one call follows the other.
pub async fn connections() {
    println!(
        "{:>11} {:>10} {:>12} {:>10} {:>10} {:>10}",
        "connections", "calls/s", "CPU a read", "p50", "p99", "memory"
    );
    for count in [1, 32, 1_000, 5_000] {
        let world = World::with(wishes()).await;
        let made = tunnels(&world, 1).await;
        let read = request("GET", &made[0].path, &world.token("admin"), "");
        let took = load::run(&world, &[read], count).await;
        println!(
            "{count:>11} {:>10.0} {:>9.1} us {:>10.2?} {:>10.2?} {:>6.1} MiB",
            took.calls_a_second,
            took.cpu_us,
            took.p50,
            took.p99,
            memory(&world)
        );
    }
}
