//! Policy, keys and limits change again and again while many call: every call is answered, and each answer is right by one
//! of the editions that were in force while it was under way, as a whole.
//!
//! The two editions disagree about everything, so that an answer which takes one thing from each is right by neither.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use tokio::task::JoinSet;
use tunnelwarden::clock::Clock as _;
use tunnelwarden::config::Algorithm;
use tunnelwarden::identify::dev::DevKey;
use tunnelwarden::json::{self, Json};

use super::parts;
use crate::harness::{Answer, Stored, Wishes, World, tunnel_body};

/// How many times another edition is put in force.
const CHANGES: usize = 8;

/// Who call at once.
const CALLERS: u8 = 8;

/// What is in force at one time. Tokens of `Left` are known to the left edition only, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Edition {
    /// Viewers read all, and nobody has a limit.
    Left,
    /// Viewers may list and no more, and a subject mints one key a day.
    Right,
}

use Edition::{Left, Right};

impl Edition {
    const fn policy(self) -> &'static str {
        match self {
            Left => {
                "@id(\"left\") permit (principal, action in Action::\"read\", resource);\n\
                 @id(\"left-admin\") permit (principal in Role::\"admin\", action in Action::\"api\", resource);\n"
            }
            Right => {
                "@id(\"right\") permit (principal, action == Action::\"list\", resource);\n\
                 @id(\"right-admin\") permit (principal in Role::\"admin\", action in Action::\"api\", resource);\n"
            }
        }
    }

    const fn limit(self) -> &'static str {
        match self {
            Left => "secret = \"none\"",
            Right => "secret = \"1/1d\"",
        }
    }
}

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Probe {
    /// A viewer gets a tunnel: by policy.
    Get,
    /// An admin mints a key: by limit.
    Mint,
}

/// The answers that are right by one edition to a caller whose token only `known` knows.
fn right(edition: Edition, known: Edition, probe: Probe) -> &'static [u16] {
    match (edition, probe) {
        _ if edition != known => &[401],
        (Left, _) => &[200],
        (Right, Probe::Get) => &[403],
        (Right, Probe::Mint) => &[200, 429],
    }
}

/// By the edition that knows them, and what they are to call.
type Tokens = BTreeMap<(Edition, Probe), String>;

/// A call that was answered.
#[derive(Debug)]
struct Made {
    known: Edition,
    probe: Probe,
    began: Timestamp,
    ended: Timestamp,
    answer: Answer,
}

/// When an edition may have been in force: from its entry on, to when the log says that the next one is.
#[derive(Debug)]
struct Span {
    edition: Edition,
    since: Timestamp,
    until: Timestamp,
}

/// The files of an edition in a folder, and the links as an orchestrator makes them: one rename changes all.
fn publish(world: &World, edition: Edition, key: &DevKey, n: usize) {
    let path = |name: &str| world.dir.path().join(name);
    let folder = format!("..{n}");
    std::fs::create_dir(path(&folder)).unwrap();
    let config = std::fs::read_to_string(path("template")).unwrap();
    let file = |name: &str, text: &str| std::fs::write(path(&folder).join(name), text).unwrap();
    file(
        "tunnelwarden.toml",
        &config.replace("secret = \"none\" }\nteam", &format!("{} }}\nteam", edition.limit())),
    );
    file("policy.cedar", edition.policy());
    file("jwks.json", &key.jwks().to_string());
    std::os::unix::fs::symlink(&folder, path("..new")).unwrap();
    std::fs::rename(path("..new"), path("..data")).unwrap();
}

fn link(world: &World) {
    let path = |name: &str| world.dir.path().join(name);
    std::fs::rename(path("tunnelwarden.toml"), path("template")).unwrap();
    for name in ["tunnelwarden.toml", "policy.cedar", "jwks.json"] {
        let _ = std::fs::remove_file(path(name));
        std::os::unix::fs::symlink(format!("..data/{name}"), path(name)).unwrap();
    }
}

/// Calls, by both kinds of tokens in turn, until it is told to stop.
async fn call(world: Arc<World>, tokens: Arc<Tokens>, tunnel: String, stop: Arc<AtomicBool>) -> Vec<Made> {
    let mut made = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        for (&(known, probe), token) in tokens.iter() {
            let (method, path) = match probe {
                Probe::Get => (Method::GET, format!("/{tunnel}")),
                Probe::Mint => (Method::POST, format!("/{tunnel}/psk_generate")),
            };
            let began = world.clock.now();
            let answer =
                world.try_call(token, method, &path, None, &[]).await.expect("every call is answered");
            made.push(Made { known, probe, began, ended: world.clock.now(), answer });
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    made
}

/// When which edition was in force, by the record and the log.
fn spans(entries: &[Stored], log: &str, digests: &BTreeMap<String, Edition>) -> Vec<Span> {
    let time = |text: &str| text.parse::<Timestamp>().unwrap();
    let begun =
        entries.iter().filter(|entry| ["started", "reloaded"].contains(&entry.text("/kind").as_str()));
    let begun: Vec<(Edition, Timestamp)> =
        begun.map(|entry| (digests[&entry.text("/policy_digest")], time(&entry.text("/time")))).collect();
    let line = |line: &str| json::read(line.as_bytes(), json::MAX_DEPTH).ok();
    let lines = log.lines().filter(|line| line.contains("\"reloaded\"")).filter_map(line);
    let ended = lines.map(|line| time(line.get("timestamp").and_then(Json::as_str).unwrap()));
    let ended: Vec<Timestamp> = ended.chain([Timestamp::MAX]).collect();
    assert_eq!(begun.len(), ended.len(), "one line for each reload");
    begun.into_iter().zip(ended).map(|((edition, since), until)| Span { edition, since, until }).collect()
}

/// Each answer is right by an edition that may have been in force between the call's begin and its end.
fn check_answers(made: &[Made], spans: &[Span]) {
    for call in made {
        let Made { known, probe, began, ended, answer } = call;
        let in_force = spans.iter().filter(|span| span.since <= *ended && *began <= span.until);
        let mut in_force = in_force.map(|span| span.edition);
        assert!(
            in_force.any(|edition| right(edition, *known, *probe).contains(&answer.status)),
            "{call:?}\nis right by none of what was in force: {spans:#?}"
        );
    }
    let seen: BTreeSet<_> = made.iter().map(|call| (call.known, call.probe, call.answer.status)).collect();
    for (known, probe) in [(Left, Probe::Get), (Left, Probe::Mint), (Right, Probe::Get), (Right, Probe::Mint)]
    {
        let answers = [Left, Right].into_iter().flat_map(|edition| right(edition, known, probe));
        for status in answers {
            assert!(
                seen.contains(&(known, probe, *status)),
                "the test saw no {status} for {probe:?} by {known:?}"
            );
        }
    }
}

/// What the record tells of each call fits together: who was identified, by which policy it was decided, and how.
fn check_record(
    entries: &[Stored],
    made: &[Made],
    digests: &BTreeMap<String, Edition>,
    keys: &BTreeMap<Edition, &DevKey>,
) {
    let mut by_call: BTreeMap<String, Vec<&Stored>> = BTreeMap::new();
    entries.iter().for_each(|entry| by_call.entry(entry.text("/request_id")).or_default().push(entry));
    let mut minted = 0;
    for call in made {
        let of_call = &by_call[&call.answer.header("x-request-id")];
        let last = of_call.last().unwrap();
        assert_eq!(last.number("/status"), Some(i64::from(call.answer.status)), "{}", last.raw);
        let decided: BTreeSet<_> =
            of_call.iter().filter_map(|e| digests.get(&e.text("/policy_digest"))).collect();
        match decided.into_iter().collect::<Vec<_>>()[..] {
            [edition] => {
                let right = right(*edition, call.known, call.probe);
                assert!(right.contains(&call.answer.status), "{edition:?}: {}", last.raw);
                assert_eq!(last.text("/key_id"), keys[edition].id(), "{}", last.raw);
                let denied = call.answer.status == 403;
                assert_eq!(last.text("/decision"), if denied { "deny" } else { "allow" }, "{}", last.raw);
                minted += usize::from(*edition == Right && call.probe == Probe::Mint);
            }
            [] => match call.answer.status {
                401 => {}
                429 => {
                    assert_eq!(last.text("/key_id"), keys[&Right].id(), "only there is a limit: {}", last.raw)
                }
                _ => panic!("nobody decided: {}", last.raw),
            },
            _ => panic!("one call, two policies: {of_call:#?}"),
        }
    }
    // Whoever mints one a day gets one each time that this limit comes, as there is none before it.
    assert_eq!(minted, CHANGES.div_ceil(2), "one for each time that the limit came");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_under_load_drop_and_misjudge_no_call() {
    let config = vec![
        ("listen.unidentified_per_address", "\"1000000/s\"".to_owned()),
        ("limits.upstream_budget", "{ requests = 1000000, reserve = 0 }".to_owned()),
        ("log.filter", "\"info\"".to_owned()),
    ];
    let mut world = World::prepared(Wishes { config, unlimited: true, ..Wishes::default() }).await;
    let other = DevKey::generate(Algorithm::Es256).unwrap();
    link(&world);
    publish(&world, Left, &world.key, 0);
    world.launch().await;
    let mut tunnels = Vec::new();
    for n in 0..CALLERS {
        let created =
            world.call("admin", Method::POST, "", Some(&tunnel_body(&format!("t{n}"), n + 1))).await;
        tunnels.push(created.text_at("/result/id"));
    }
    let world = Arc::new(world);
    let keys = BTreeMap::from([(Left, &world.key), (Right, &other)]);
    let token =
        |edition: &Edition, role: &str| keys[edition].sign(&Json::Object(world.claims(role)), &[]).unwrap();
    let tokens: Tokens = [Left, Right]
        .into_iter()
        .flat_map(|known| {
            [((known, Probe::Get), token(&known, "viewer")), ((known, Probe::Mint), token(&known, "admin"))]
        })
        .collect();
    let (tokens, stop) = (Arc::new(tokens), Arc::new(AtomicBool::new(false)));
    let mut callers = JoinSet::new();
    for tunnel in tunnels {
        callers.spawn(call(Arc::clone(&world), Arc::clone(&tokens), tunnel, Arc::clone(&stop)));
    }
    for n in 1..=CHANGES {
        let edition = if n % 2 == 0 { Left } else { Right };
        publish(&world, edition, keys[&edition], n);
        // Half of them by file, half by signal.
        if n % 4 > 1 {
            world.hang_up();
        }
        world.told("\"reloaded\"", n).await;
        // Long enough for each caller to see it.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    stop.store(true, Ordering::SeqCst);
    let made: Vec<Made> = callers.join_all().await.into_iter().flatten().collect();
    let entries = world.entries().await;
    let reloads = world.reloads().await;
    assert!(reloads.iter().all(|reload| parts(reload) == ["policy", "issuers", "limits"]), "{reloads:#?}");
    let digest = |edition: Edition| tunnelwarden::authorize::digest_of(edition.policy());
    let digests = BTreeMap::from([(digest(Left), Left), (digest(Right), Right)]);
    check_answers(&made, &spans(&entries, &world.stderr(), &digests));
    check_record(&entries, &made, &digests, &keys);
    eprintln!("{} calls, {} reloads, {} entries", made.len(), reloads.len(), entries.len());
}
