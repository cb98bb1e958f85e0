//! Canaries: a secret of its own in every place that can hold one, and a search for all of them, in every usual
//! spelling, in everything that the product writes.
//!
//! What the product can't know to be a secret is stored as it is, where the documentation says that the place is
//! stored: a subject, team, role, `jti` or key id of a verified token; a text field of a tunnel (name,
//! description, addresses, filters) that holds a secret which is neither sent nor answered in the same call, or that is sent as a header only; a
//! tunnel or account id; a user agent. Nothing else of a client's text is stored. A trace's id, which a client chooses
//! too, goes to the log and the collector as it is: 16 bytes in hex, which hold no whole secret of these.
//! Not here: what redaction and guard do with one value (`src/audit`).

mod bodies;
mod heads;
mod hunt;
mod refused;

use std::path::Path;

use data_encoding::BASE64;
use hunt::{Hunt, Search};
use tunnelwarden::secret::ExposeSecret as _;

use crate::collector::{Collector, Manner};
use crate::harness::{Wishes, World};

/// Files in the world's folder that are given to the product, secrets and all.
const GIVEN: [&str; 7] = [
    "audit-fingerprint.key",
    "audit-signing.key",
    "jwks.json",
    "policy.cedar",
    "roots.pem",
    "tunnelwarden.toml",
    "upstream-token",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_stored_or_printed() {
    check(Wishes::default()).await;
}

/// As much as can be asked for: all bodies kept, and every library logs all that it can.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_stored_or_printed_at_the_finest_level_of_log() {
    let config = vec![
        ("log.filter", "\"trace\"".to_owned()),
        ("audit.bodies", "{ read = true, write = true, secret = true }".to_owned()),
    ];
    check(Wishes { config, upstream_tls: true, ..Wishes::default() }).await;
}

async fn check(mut wishes: Wishes) {
    let collector = Collector::start(Manner::Takes).await;
    wishes.config.push(("trace.otlp_endpoint", collector.endpoint()));
    wishes.config.push(("upstream.write_timeout", "\"5s\"".to_owned()));
    wishes.config.push(("listen.unidentified_per_address", "\"1000000/s\"".to_owned()));
    let mut world = World::with(wishes).await;
    let mut hunt = Hunt::default();
    hunt.known("the upstream token", world.upstream_token.expose_secret());
    for key in ["audit-fingerprint.key", "audit-signing.key"] {
        // A signing key's file begins with its name and id, which are public.
        let text = std::fs::read_to_string(world.dir.path().join(key)).unwrap();
        let fields: Vec<&str> = text.trim().splitn(5, '+').collect();
        let encoded = fields.get(4).copied().unwrap_or(text.trim());
        hunt.known(key, encoded);
        hunt.known(&format!("{key}, decoded"), BASE64.decode(encoded.as_bytes()).unwrap());
    }
    bodies::drive(&world, &mut hunt).await;
    refused::drive(&world, &mut hunt).await;
    heads::drive(&world, &mut hunt).await;

    let wal = std::fs::metadata(world.dir.path().join("audit.db-wal")).unwrap();
    assert!(wal.len() > 0, "what was written last is in the log of the database");
    let search = hunt.search();
    hunt.refusals().for_each(|(place, answer)| search.none_in(place, answer));
    search_files(&world, &search);
    for path in ["/metrics", "/readyz", "/livez"] {
        search.none_in(path, &world.admin(path).await.body);
    }
    search_commands(&world, &search).await;
    world.stop().await;
    search_files(&world, &search);
    assert!(collector.spans().len() > 1000, "the calls were told of");
    search.none_in("what was exported", &collector.bytes());
}

/// Every file that the product made, byte for byte.
fn search_files(world: &World, search: &Search) {
    let mut searched = Vec::new();
    for file in std::fs::read_dir(world.dir.path()).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap().to_owned();
        if !GIVEN.contains(&name.as_str()) {
            search.none_in(&name, &read(&path));
            searched.push(name);
        }
    }
    for name in ["audit.db", "checkpoint.txt", "stdout", "stderr"] {
        assert!(searched.iter().any(|file| file == name), "{name} is not among {searched:?}");
    }
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

async fn search_commands(world: &World, search: &Search) {
    let config = world.config();
    let told = |args: &[&str]| {
        let output = world.program(&[args, &["--config", &config]].concat());
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        [output.stdout, output.stderr].concat()
    };
    search.none_in("audit list --json", &told(&["audit", "list", "--json", "--limit", "0"]));
    search.none_in("audit list", &told(&["audit", "list", "--limit", "0"]));
    search.none_in("check", &told(&["check"]));
    // Something of each kind and operation; the entries are the same ones as in the list.
    let mut shown = std::collections::HashSet::new();
    for entry in world.entries().await {
        let sort = (entry.text("/kind"), entry.text("/operation"), entry.text("/refusal/name"));
        if shown.insert(sort) {
            let id = entry.text("/request_id");
            search.none_in("audit show", &told(&["audit", "show", &id]));
        }
    }
    assert!(shown.len() > 30, "{shown:#?}");
}
