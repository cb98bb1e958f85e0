//! What goes past the proxy is found in the upstream's own audit logs, and what is late, doubled or lost there is not taken
//! for more than it is.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use tunnelwarden::emulator::{Fault, Place};
use tunnelwarden::json::{self, Json};
use tunnelwarden::operation::Operation;
use tunnelwarden::secret::ExposeSecret as _;

use crate::harness::{Answer, Stored, Wishes, World, collection, tunnel_body};

/// A world that compares when it is told to, with this grace.
async fn world(grace: &str) -> World {
    World::with(Wishes {
        config: vec![("audit.reconcile", format!("{{ grace = {grace:?} }}"))],
        ..Wishes::default()
    })
    .await
}

/// A world that compares every second and records it.
async fn watching(more: &str) -> World {
    World::with(Wishes {
        config: vec![("audit.reconcile", format!("{{ every = \"1s\", accounts = [\"0a\"]{more} }}"))],
        ..Wishes::default()
    })
    .await
}

struct Told {
    exit: Option<i32>,
    json: Json,
}

impl Told {
    /// Kind and a text of each finding.
    fn findings(&self) -> Vec<(String, String)> {
        let text =
            |found: &Json, at: &str| found.pointer(at).and_then(Json::as_str).unwrap_or("-").to_owned();
        let all = self.json.get("findings").and_then(Json::as_array).unwrap();
        all.iter().map(|found| (text(found, "/what"), text(found, "/operation"))).collect()
    }

    fn number(&self, at: &str) -> i64 {
        self.json.pointer(at).and_then(Json::as_i64).unwrap_or_else(|| panic!("{at}: {}", self.json))
    }

    fn text(&self, at: &str) -> &str {
        self.json.pointer(at).and_then(Json::as_str).unwrap_or_default()
    }
}

fn compare(world: &World, flags: &[&str]) -> Told {
    let config = world.config();
    let done = world.program(&[&["audit", "reconcile", "--json", "--config", &config], flags].concat());
    let said = String::from_utf8(done.stdout).unwrap();
    let json = json::read(said.trim().as_bytes(), json::MAX_DEPTH)
        .unwrap_or_else(|e| panic!("{e}: {said}{}", String::from_utf8_lossy(&done.stderr)));
    Told { exit: done.status.code(), json }
}

fn compare_for_people(world: &World) -> String {
    let done = world.program(&["audit", "reconcile", "--config", &world.config()]);
    String::from_utf8(done.stdout).unwrap()
}

/// Calls the upstream with the real token, and not through the proxy.
async fn past_us(world: &World, method: Method, path: &str, body: &str, agent: &str) -> Answer {
    let base = collection().replacen("/client/v4", &world.emulator.base_url(), 1);
    let mut request = Request::builder()
        .method(method)
        .uri(format!("{base}{path}"))
        .header("authorization", format!("Bearer {}", world.upstream_token.expose_secret()));
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    if !agent.is_empty() {
        request = request.header("user-agent", http::HeaderValue::from_bytes(agent.as_bytes()).unwrap());
    }
    world.send(request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()).await.unwrap()
}

async fn create(world: &World, name: &str, n: u8) -> String {
    world.call("admin", Method::POST, "", Some(&tunnel_body(name, n))).await.text_at("/result/id")
}

fn reconciled(entries: &[Stored]) -> Vec<&Stored> {
    entries.iter().filter(|entry| entry.text("/kind") == "reconciled").collect()
}

fn found(entries: &[Stored]) -> Vec<Json> {
    let all = reconciled(entries).into_iter().filter_map(|entry| entry.json.get("findings")?.as_array());
    all.flatten().cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_past_the_proxy_is_found_and_named_and_one_through_it_is_not() {
    let world = world("0s").await;
    let berlin = create(&world, "berlin", 1).await;
    assert_eq!(world.call("admin", Method::POST, &format!("/{berlin}/psk_generate"), None).await.status, 200);
    let quiet = compare(&world, &[]);
    assert_eq!((quiet.exit, quiet.findings().len()), (Some(0), 0), "{}", quiet.json);
    assert_eq!((quiet.number("/accounts/0/changes"), quiet.number("/accounts/0/ours")), (2, 2));
    // Reads and what is refused change nothing, and neither does what is only checked.
    past_us(&world, Method::GET, "", "", "curl").await;
    past_us(&world, Method::DELETE, "/dead", "", "curl").await;
    let path = format!("/{berlin}?validate_only=true");
    let checked = past_us(&world, Method::PUT, &path, &tunnel_body("berlin", 2), "curl").await;
    assert_eq!(checked.status, 200);
    assert_eq!(compare(&world, &[]).exit, Some(0));
    let moved =
        past_us(&world, Method::PUT, &format!("/{berlin}"), &tunnel_body("berlin", 3), "evil\u{202e}/1")
            .await;
    let found = compare(&world, &[]);
    assert_eq!(found.exit, Some(4));
    assert_eq!(found.findings(), [("bypass".to_owned(), "update".to_owned())]);
    assert_eq!(found.text("/findings/0/tunnels/0/id"), berlin);
    assert_eq!(found.text("/findings/0/tunnels/0/name"), "berlin");
    assert_eq!(found.text("/findings/0/actor/email"), "owner@example.com");
    assert!(moved.header("cf-ray").starts_with(found.text("/findings/0/cf_ray")));
    let said = compare_for_people(&world);
    let line = said.lines().find(|line| line.contains("NOT THROUGH THIS PROXY")).unwrap();
    assert!(line.contains("update of berlin") && line.contains("user owner@example.com"), "{line}");
    assert!(line.contains("evil\\u{202e}/1") && line.ends_with("(new)"), "{line}");
    assert!(said.contains("nothing of this was written to the record"), "{said}");
    assert!(reconciled(&world.entries().await).is_empty(), "a terminal writes nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serve_records_each_finding_once_and_remembers_it() {
    let world = watching("").await;
    let berlin = create(&world, "berlin", 1).await;
    past_us(&world, Method::POST, &format!("/{berlin}/psk_generate"), "", "curl").await;
    let entries = world.wait_for("the finding", |entries| !found(entries).is_empty()).await;
    let first = found(&entries);
    assert_eq!(first[0].get("operation").and_then(Json::as_str), Some("generate_psk"));
    let runs = reconciled(&entries).len();
    let later = world.wait_for("two more runs", |entries| reconciled(entries).len() >= runs + 2).await;
    assert_eq!(found(&later).len(), 1, "what is known is not new");
    // Its tunnel finds it, and the record's own readers tell of it.
    let listed = world.program(&["audit", "list", "--config", &world.config(), "--tunnel", &berlin]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.lines().any(|line| line.contains("reconciled") && line.contains("1 finding")), "{listed}");
    let entry =
        reconciled(&later).into_iter().find(|entry| entry.raw.contains("\"bypass\"")).unwrap().text("/id");
    let shown = world.program(&["audit", "show", "--config", &world.config(), &entry]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("generate_psk") && shown.contains("owner@example.com"), "{shown}");
    for path in ["findings".to_owned(), format!("findings?tunnel={berlin}")] {
        let served = world.read("security", &path).await;
        let finding = served.json().pointer("/rows/0").cloned().unwrap();
        assert_eq!(finding.get("what").and_then(Json::as_str), Some("bypass"), "{path}");
        assert!(served.text().contains("owner@example.com"), "{}", served.text());
    }
    let cookie = format!("tunnelwarden-token={}", world.token("security"));
    for path in ["/console", "/console/search?what=findings"] {
        let page = world.ask(Method::GET, path, &[("cookie", &cookie)], "").await;
        assert!(page.text().contains("owner@example.com"), "{path}: {}", page.text());
    }
    let told = compare(&world, &[]);
    assert_eq!(told.exit, Some(4));
    assert!(!told.text("/findings/0/known_since").is_empty(), "{}", told.json);
    assert!(world.stderr().contains("do not fit together"));
    let token = world.upstream_token.expose_secret();
    assert!(!later.iter().any(|entry| entry.raw.contains(token)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_late_doubled_or_missing_are_taken_for_what_they_are() {
    let world = world("0s").await;
    let late = Fault::LogLate(std::time::Duration::from_secs(5));
    world.emulator.fault(late, Operation::Create, 1);
    let berlin = create(&world, "berlin", 1).await;
    // Its grace is over at once here, so that it is told of until the row comes.
    let early = compare(&world, &[]);
    assert_eq!(early.findings(), [("unknown".to_owned(), "create".to_owned())]);
    assert_eq!(early.text("/findings/0/subject"), "admin@test");
    let patient = World::with(Wishes::default()).await;
    patient.emulator.fault(Fault::LogNever, Operation::Create, 1);
    create(&patient, "berlin", 1).await;
    assert_eq!(compare(&patient, &[]).exit, Some(0), "within its grace a call is not missed");
    // One that went past us late, and one that is there twice.
    world.emulator.fault(Fault::LogLate(std::time::Duration::from_secs(5)), Operation::Delete, 1);
    past_us(&world, Method::DELETE, &format!("/{berlin}"), "", "curl").await;
    world.emulator.fault(Fault::LogTwice, Operation::Create, 1);
    past_us(&world, Method::POST, "", &tunnel_body("oslo", 2), "curl").await;
    let creates: Vec<_> =
        compare(&world, &[]).findings().into_iter().filter(|(what, _)| what == "bypass").collect();
    assert_eq!(creates, [("bypass".to_owned(), "create".to_owned())]);
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    let then = compare(&world, &[]);
    let expected = [("bypass", "delete"), ("bypass", "create")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(then.findings(), expected, "{}", then.json);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_answer_was_lost_is_joined_through_its_intent_and_only_once() {
    let world = world("0s").await;
    let berlin = create(&world, "berlin", 1).await;
    world.emulator.fault(Fault::DropAfter, Operation::Update, 1);
    let path = format!("/{berlin}");
    let lost = world.call("operator", Method::PUT, &path, Some(&tunnel_body("berlin", 2))).await;
    assert_eq!(lost.status, 502, "{}", lost.text());
    let told = compare(&world, &[]);
    assert_eq!((told.exit, told.findings().len()), (Some(0), 0), "{}", told.json);
    assert_eq!((told.number("/accounts/0/ours"), told.number("/accounts/0/by_intent")), (2, 1));
    // Somebody copies what names the call.
    let calls = world.emulator.calls();
    let agent = calls.iter().rev().find(|call| call.operation == Some(Operation::Update)).unwrap();
    let agent = agent.header("user-agent").unwrap().to_owned();
    assert_eq!(past_us(&world, Method::PUT, &path, &tunnel_body("berlin", 3), &agent).await.status, 200);
    let told = compare(&world, &[]);
    assert_eq!(told.findings(), [("bypass".to_owned(), "update".to_owned())], "{}", told.json);
    world
        .wait_for("the resolution", |entries| entries.iter().any(|entry| entry.text("/kind") == "resolved"))
        .await;
    // And that of a call whose ray is known.
    let known = calls.iter().find(|call| call.operation == Some(Operation::Create)).unwrap();
    let known = known.header("user-agent").unwrap().to_owned();
    past_us(&world, Method::POST, "", &tunnel_body("oslo", 4), &known).await;
    assert_eq!(compare(&world, &[]).findings().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_no_row_explains_is_found_by_what_the_upstream_says_of_it() {
    let world = world("0s").await;
    let berlin = create(&world, "berlin", 1).await;
    let minted = world.call("admin", Method::POST, &format!("/{berlin}/psk_generate"), None).await;
    assert_eq!(minted.status, 200);
    assert_eq!(compare(&world, &[]).exit, Some(0));
    // Times of keys have whole seconds.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    world.emulator.fault(Fault::LogNever, Operation::GeneratePsk, 1);
    past_us(&world, Method::POST, &format!("/{berlin}/psk_generate"), "", "curl").await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let told = compare(&world, &[]);
    assert_eq!(told.findings(), [("key".to_owned(), "-".to_owned())], "{}", told.json);
    assert_eq!(told.text("/findings/0/tunnels/0/id"), berlin);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_read_of_the_logs_is_said_and_read_later() {
    let world = World::with(Wishes {
        config: vec![("upstream.read_timeout", "\"500ms\"".to_owned())],
        ..Wishes::default()
    })
    .await;
    let berlin = create(&world, "berlin", 1).await;
    for (fault, why) in [
        (Fault::Html, "answered with 502"),
        (Fault::Status(403), "does not let this token"),
        (Fault::Throttle(1), "throttles"),
        (Fault::Hang(std::time::Duration::from_secs(2)), "in time"),
        (Fault::DropAfter, "broke off"),
        (Fault::Malformed, "not strict JSON"),
    ] {
        world.emulator.fault(fault, Place::AuditLogs, u32::MAX);
        let told = compare(&world, &[]);
        world.emulator.reset();
        assert_eq!(told.exit, Some(1), "{why}: {}", told.json);
        assert_eq!(told.json.get("whole"), Some(&Json::Bool(false)));
        assert!(told.text("/accounts/0/holes/0/why").contains(why), "{why}: {}", told.json);
    }
    world.emulator.fault(Fault::Status(500), Operation::List, u32::MAX);
    let told = compare(&world, &[]);
    assert_eq!(told.exit, Some(1), "{}", told.json);
    assert!(told.text("/accounts/0/keys_unread").contains("fault of its own"), "{}", told.json);
    assert!(compare_for_people(&world).contains("NOT WHOLE: "), "the logs were read");
    world.emulator.fault(Fault::Html, Place::AuditLogs, u32::MAX);
    let said = compare_for_people(&world);
    assert!(said.contains("NOT COMPARED: ") && !said.contains("good"), "{said}");
    world.emulator.reset();
    past_us(&world, Method::DELETE, &format!("/{berlin}"), "", "curl").await;
    world.emulator.fault(Fault::Malformed, Place::AuditLogs, 1);
    let told = compare(&world, &["--since", "2h"]);
    assert_eq!(
        (told.exit, told.findings().len()),
        (Some(4), 1),
        "a part that can't be read is asked for in halves"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_in_the_logs_stands_in_the_record_until_it_is_read() {
    let world = watching(", look_back = \"1h\", grace = \"1s\"").await;
    world.wait_for("a run", |entries| !reconciled(entries).is_empty()).await;
    let whole =
        |entry: &Stored| entry.json.pointer("/accounts/0/holes").and_then(Json::as_array).unwrap().is_empty();
    world.emulator.fault(Fault::Html, Place::AuditLogs, u32::MAX);
    past_us(&world, Method::POST, "", &tunnel_body("oslo", 1), "curl").await;
    let entries = world
        .wait_for("a run with a hole", |entries| {
            reconciled(entries).last().is_some_and(|entry| !whole(entry))
        })
        .await;
    assert!(found(&entries).is_empty());
    let ready = world.admin("/readyz").await.text();
    assert!(ready.contains("audit logs of account 0a could not be read"), "{ready}");
    // It forgets its logs with its faults.
    world.emulator.reset();
    past_us(&world, Method::POST, "", &tunnel_body("rome", 2), "curl").await;
    let entries = world.wait_for("the finding", |entries| !found(entries).is_empty()).await;
    assert!(whole(reconciled(&entries).last().unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_was_missing_upstream_and_comes_late_is_settled() {
    let world = watching(", grace = \"1s\"").await;
    world.emulator.fault(Fault::LogLate(std::time::Duration::from_secs(4)), Operation::Create, 1);
    create(&world, "berlin", 1).await;
    let entries = world.wait_for("the finding", |entries| !found(entries).is_empty()).await;
    let key = found(&entries)[0].get("key").and_then(Json::as_str).unwrap().to_owned();
    let settled = |entry: &&Stored| entry.text("/settled/0") == key;
    let entries = world.wait_for("its end", |entries| reconciled(entries).iter().any(settled)).await;
    let runs = reconciled(&entries).len();
    let later = world.wait_for("another run", |entries| reconciled(entries).len() > runs).await;
    assert_eq!(
        reconciled(&later).iter().copied().filter(|entry| settled(entry)).count(),
        1,
        "it is said once"
    );
    assert_eq!(found(&later).len(), 1);
    assert_eq!(compare(&world, &[]).exit, Some(0));
}
