//! Single calls that are lost, and what the record says of them in the end.
//!
//! Not here: many at once (`crash`).

use std::time::Duration;

use http::Method;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tunnelwarden::emulator::{Call, Fault};
use tunnelwarden::json::{self, Json};
use tunnelwarden::operation::{AccountId, Operation};

use super::{furnish, pause};
use crate::harness::{ACCOUNT, Stored, Wishes, World, tunnel_body};

/// Longer than any of these tests.
const LONG: Duration = Duration::from_secs(60);

/// A call on the first tunnel.
struct Lost {
    operation: Operation,
    method: Method,
    path: String,
    body: Option<String>,
}

impl Lost {
    /// `put` with another endpoint, which moves the health check's target along without a word.
    async fn update(world: &World, endpoint: u8) -> Self {
        let (id, name) = first_tunnel(world).await;
        let body = Some(tunnel_body(&name, endpoint));
        Self { operation: Operation::Update, method: Method::PUT, path: format!("/{id}"), body }
    }

    async fn update_with_key(world: &World) -> Self {
        let plain = Self::update(world, 77).await;
        let body = plain.body.map(|body| body.replacen('{', r#"{"psk":"a-new-key-of-this-test","#, 1));
        Self { body, ..plain }
    }

    async fn bulk(world: &World) -> Self {
        let (id, name) = first_tunnel(world).await;
        let body = tunnel_body(&name, 78).replacen('{', &format!(r#"{{"id":"{id}","#), 1);
        let operation = Operation::BulkUpdate;
        Self { operation, method: Method::PUT, path: String::new(), body: Some(body) }
    }

    fn create() -> Self {
        let body = Some(tunnel_body("fresh", 9));
        Self { operation: Operation::Create, method: Method::POST, path: String::new(), body }
    }

    async fn delete(world: &World) -> Self {
        let (id, _) = first_tunnel(world).await;
        Self { operation: Operation::Delete, method: Method::DELETE, path: format!("/{id}"), body: None }
    }

    async fn generate(world: &World) -> Self {
        let (id, _) = first_tunnel(world).await;
        let path = format!("/{id}/psk_generate");
        Self { operation: Operation::GeneratePsk, method: Method::POST, path, body: None }
    }

    async fn set_psks(world: &World) -> Self {
        let (id, _) = first_tunnel(world).await;
        let body = Some(format!(r#"{{"psks":[{{"id":"{id}","psk":"a-new-key-of-this-test"}}]}}"#));
        Self { operation: Operation::SetPsks, method: Method::POST, path: "/psk".to_owned(), body }
    }

    /// Makes the call and kills the program when the upstream has it, and has carried it out if it `acts`.
    async fn kill(self, world: &mut World, acts: bool) {
        let fault = if acts { Fault::HangAfter(LONG) } else { Fault::Hang(LONG) };
        world.emulator.fault(fault, self.operation, 1);
        let before = world.emulator.calls().len();
        let came = |call: &Call| call.operation == Some(self.operation) && call.acted == acts;
        let reached = async {
            while !world.emulator.calls().iter().skip(before).any(came) {
                pause(2).await;
            }
        };
        let token = world.token("admin");
        tokio::select! {
            answer = world.try_call(&token, self.method, &self.path, self.body.as_deref(), &[]) => {
                panic!("{answer:?}")
            }
            () = reached => {}
        }
        world.kill();
    }
}

/// Id and name.
async fn first_tunnel(world: &World) -> (String, String) {
    let listed = world.call("viewer", Method::GET, "", None).await;
    let text = |name| listed.text_at(&format!("/result/ipsec_tunnels/0/{name}"));
    (text("id"), text("name"))
}

async fn furnished(config: Vec<(&'static str, String)>) -> World {
    let mut world = World::prepared(Wishes { config, ..Wishes::default() }).await;
    furnish(&world);
    world.launch().await;
    world
}

async fn resolutions(world: &World, count: usize) -> Vec<Stored> {
    let is_one = |entry: &&Stored| entry.text("/kind") == "resolved";
    let entries = world.wait_for("a resolution", |all| all.iter().filter(is_one).count() >= count).await;
    entries.iter().filter(is_one).cloned().collect()
}

async fn check(lost: impl AsyncFn(&World) -> Lost) {
    for (acts, want) in [(true, "applied"), (false, "not applied")] {
        let mut world = furnished(Vec::new()).await;
        lost(&world).await.kill(&mut world, acts).await;
        world.launch().await;
        let resolved = resolutions(&world, 1).await;
        assert_eq!(resolved[0].text("/resolution"), want, "{}", resolved[0].raw);
    }
}

#[tokio::test]
async fn a_lost_update_is_told_by_the_settings() {
    check(async |world| Lost::update(world, 77).await).await;
    check(Lost::bulk).await;
}

#[tokio::test]
async fn a_lost_key_is_told_by_its_age() {
    check(Lost::update_with_key).await;
    check(Lost::generate).await;
    check(Lost::set_psks).await;
}

#[tokio::test]
async fn a_lost_creation_is_told_by_name_and_a_lost_deletion_by_absence() {
    check(async |_| Lost::create()).await;
    check(Lost::delete).await;
}

/// A row of the view `changes`, and the policies that the resolution names.
async fn changes(lost: impl AsyncFn(&World) -> Lost) -> (Vec<Change>, Stored, World) {
    changes_with(lost, |_| {}).await
}

/// The same where something happens at the upstream before the next start.
async fn changes_with(
    lost: impl AsyncFn(&World) -> Lost,
    meanwhile: impl Fn(&World),
) -> (Vec<Change>, Stored, World) {
    let mut world = furnished(Vec::new()).await;
    lost(&world).await.kill(&mut world, true).await;
    meanwhile(&world);
    world.launch().await;
    let resolved = resolutions(&world, 1).await.remove(0);
    assert_eq!(resolved.text("/resolution"), "applied", "{}", resolved.raw);
    let options = SqliteConnectOptions::new().filename(world.database()).read_only(true);
    let mut connection = options.connect().await.unwrap();
    let rows: Vec<Change> = sqlx::query_as(
        "SELECT tunnel, op, field, before, after, policies FROM changes WHERE seq = ? ORDER BY field",
    )
    .bind(i64::try_from(resolved.seq).unwrap())
    .fetch_all(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    (rows, resolved, world)
}

#[derive(Debug, PartialEq, sqlx::FromRow)]
struct Change {
    tunnel: Option<String>,
    op: String,
    field: String,
    before: Option<String>,
    after: Option<String>,
    policies: Option<String>,
}

#[tokio::test]
async fn a_lost_update_that_was_carried_out_is_among_the_changes() {
    let (changes, resolved, world) = changes(async |world| Lost::update(world, 77).await).await;
    let intent = world.entries().await.into_iter().find(|e| e.text("/id") == resolved.text("/intent_id"));
    let policies = intent.unwrap().json.get("policies").unwrap().to_string();
    let endpoint = ("198.51.100.1", "198.51.100.77");
    let row = |field: &str, (before, after): (&str, &str)| Change {
        tunnel: Some(resolved.text("/tunnels/0/id")),
        op: "replace".into(),
        field: field.into(),
        before: Some(format!("\"{before}\"")),
        after: Some(format!("\"{after}\"")),
        policies: Some(policies.clone()),
    };
    let want = [
        row("/customer_endpoint", endpoint),
        row("/health_check/target", endpoint),
        row("/interface_address", ("10.1.1.0/31", "10.1.77.0/31")),
    ];
    assert_eq!(changes, want);
    assert_eq!(resolved.text("/decision"), "allow");
}

#[tokio::test]
async fn a_lost_key_that_was_set_is_among_the_changes_by_its_fingerprint() {
    for lost in [true, false] {
        let (changes, resolved, world) =
            changes(
                async |world| {
                    if lost { Lost::set_psks(world).await } else { Lost::update_with_key(world).await }
                },
            )
            .await;
        let key = changes.iter().find(|change| change.field == "/psk").expect("a new key");
        let asked = ["/request/body/psks/0/psk", "/request/body/psk"];
        let intent = world.entries().await.into_iter().find(|e| e.text("/id") == resolved.text("/intent_id"));
        let intent = intent.unwrap();
        let print = asked.iter().map(|at| intent.text(at)).find(|text| !text.is_empty()).unwrap();
        assert!(print.starts_with("redacted:psk:"), "{print}");
        assert_eq!(key.after, Some(format!("\"{print}\"")));
        assert_eq!(key.tunnel, Some(resolved.text("/tunnels/0/id")));
    }
    // Of a key that nobody saw it is known only that it is another.
    let (changes, ..) = changes(Lost::generate).await;
    let [key] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!((key.field.as_str(), key.after.as_deref()), ("/psk", Some(r#"{"unknown":"string"}"#)));
}

#[tokio::test]
async fn a_lost_creation_and_a_lost_deletion_are_whole_tunnels_among_the_changes() {
    let (created, resolved, world) = changes(async |_| Lost::create()).await;
    let [row] = created.as_slice() else { panic!("{created:?}") };
    let listed = world.call("viewer", Method::GET, "", None).await.json();
    let tunnels = listed.pointer("/result/ipsec_tunnels").and_then(Json::as_array).unwrap().to_vec();
    let fresh = tunnels.iter().find(|t| t.get("name").and_then(Json::as_str) == Some("fresh")).unwrap();
    let id = fresh.get("id").and_then(Json::as_str).map(str::to_owned);
    assert_eq!((row.op.as_str(), row.field.as_str(), &row.tunnel), ("add", "", &id));
    assert_eq!(Some(resolved.text("/tunnels/0/id")), id);
    let after = json::read(row.after.as_ref().unwrap().as_bytes(), 8).unwrap();
    for name in ["id", "name", "customer_endpoint", "created_on"] {
        assert_eq!(after.get(name), fresh.get(name), "{name}");
    }

    let (deleted, ..) = changes(Lost::delete).await;
    let [row] = deleted.as_slice() else { panic!("{deleted:?}") };
    assert_eq!((row.op.as_str(), row.field.as_str(), &row.after), ("remove", "", &None));
    assert!(row.before.as_ref().unwrap().contains("\"name\":\"base-"), "{row:?}");
}

/// The key of a lost call is not known any more, so no text of the tunnel is stored that the intent did not have.
#[tokio::test]
async fn a_lost_key_that_somebody_put_into_another_field_is_not_stored() {
    const KEY: &str = "a-key-put-where-none-is";
    let lost = async |world: &World| {
        let plain = Lost::update(world, 77).await;
        let keyed = format!(r#"{{"psk":"{KEY}","#);
        Lost { body: plain.body.map(|body| body.replacen('{', &keyed, 1)), ..plain }
    };
    let (changes, _, world) = changes_with(lost, |world| {
        let account = AccountId::parse(ACCOUNT).unwrap();
        let Json::Object(mut tunnel) = world.emulator.tunnels(account)[0].clone() else {
            panic!("no tunnel")
        };
        tunnel.set("description", format!("ask for {KEY}"));
        world.emulator.put_tunnel(account, &tunnel.into()).unwrap();
    })
    .await;
    let description = changes.iter().find(|change| change.field == "/description").unwrap();
    assert_eq!(description.after.as_deref(), Some(r#"{"unknown":"string","length":31}"#));
    assert!(world.entries().await.iter().all(|entry| !entry.raw.contains(KEY)));
}

#[tokio::test]
async fn a_lost_call_that_was_not_carried_out_changes_nothing() {
    let mut world = furnished(Vec::new()).await;
    Lost::update(&world, 77).await.kill(&mut world, false).await;
    world.launch().await;
    let resolved = resolutions(&world, 1).await.remove(0);
    assert_eq!(resolved.text("/resolution"), "not applied", "{}", resolved.raw);
    assert!(resolved.json.get("before_after_diff").is_none(), "{}", resolved.raw);
}

#[tokio::test]
async fn a_refused_repetition_does_not_hide_what_became_of_the_first() {
    let world = furnished(Vec::new()).await;
    let path = Lost::generate(&world).await.path;
    world.emulator.fault(Fault::DropAfter, Operation::GeneratePsk, 1);
    let first = world.call("admin", Method::POST, &path, None).await;
    let again = world.call("admin", Method::POST, &path, None).await;
    assert_eq!((first.status, again.status), (502, 409), "{} {}", first.text(), again.text());
    let resolved = resolutions(&world, 1).await;
    assert_eq!(resolved[0].text("/resolution"), "applied", "{}", resolved[0].raw);
    assert_eq!(resolved[0].text("/request_id"), first.header("x-request-id"));
}

/// A heartbeat says from where on a start has to look for lost calls: never behind one that is under way.
#[tokio::test]
async fn a_lost_call_is_found_behind_heartbeats_that_were_written_while_it_was_under_way() {
    let mut world = furnished(vec![("audit.heartbeat", "\"1s\"".to_owned())]).await;
    let lost = Lost::update(&world, 77).await;
    let heartbeats = |all: &[Stored]| all.iter().filter(|entry| entry.text("/kind") == "heartbeat").count();
    world.wait_for("a heartbeat", |all| heartbeats(all) > 0).await;
    world.emulator.fault(Fault::HangAfter(LONG), Operation::Update, 1);
    {
        let token = world.token("admin");
        let call = world.try_call(&token, Method::PUT, &lost.path, lost.body.as_deref(), &[]);
        let heartbeat = async {
            let intent = |all: &[Stored]| all.last().is_some_and(|entry| entry.text("/kind") == "intent");
            let before = heartbeats(&world.wait_for("the intent", intent).await);
            world.wait_for("two heartbeats", |all| heartbeats(all) > before + 1).await
        };
        let all = tokio::select! {
            answer = call => panic!("{answer:?}"),
            all = heartbeat => all,
        };
        let intent = all.iter().find(|entry| entry.text("/kind") == "intent").unwrap().seq;
        let told = |entry: &&Stored| entry.seq > intent && entry.text("/kind") == "heartbeat";
        for heartbeat in all.iter().filter(told) {
            assert_eq!(heartbeat.number("/ended_before"), i64::try_from(intent).ok(), "{}", heartbeat.raw);
            assert_eq!(heartbeat.number("/heartbeat_s"), Some(1), "{}", heartbeat.raw);
        }
    }
    world.kill();
    world.launch().await;
    let resolved = resolutions(&world, 1).await;
    assert_eq!(resolved[0].text("/resolution"), "applied", "{}", resolved[0].raw);
    let after = resolved[0].seq;
    let later = world.wait_for("a heartbeat after it", |all| all.last().is_some_and(|last| last.seq > after));
    let later = later.await;
    assert_eq!(later.last().unwrap().number("/ended_before"), i64::try_from(after + 1).ok());
}

/// The state tells nothing of a call once another has followed it, be it before a second crash.
#[tokio::test]
async fn a_lost_call_that_another_followed_is_not_judged_by_that_ones_effect() {
    let mut world = furnished(vec![("audit.resolve_after", "\"3s\"".to_owned())]).await;
    Lost::update(&world, 77).await.kill(&mut world, false).await;
    world.launch().await;
    let second = Lost::update(&world, 77).await;
    let made = world.call("admin", Method::PUT, &second.path, second.body.as_deref()).await;
    assert_eq!(made.status, 200, "{}", made.text());
    world.kill();
    world.launch().await;
    let resolved = resolutions(&world, 1).await;
    assert_eq!(resolved[0].text("/resolution"), "can't tell", "{}", resolved[0].raw);
}

/// Somebody deletes, or renames, by id what the lost call made, before that is looked into.
#[tokio::test]
async fn a_creation_that_a_later_call_may_have_undone_is_not_told_to_be_not_applied() {
    for rename in [false, true] {
        let world = furnished(vec![("audit.resolve_after", "\"2s\"".to_owned())]).await;
        world.emulator.fault(Fault::DropAfter, Operation::Create, 1);
        let body = tunnel_body("fresh", 9);
        let lost = world.call("admin", Method::POST, "", Some(&body)).await;
        assert_eq!(lost.error_code(), 99603, "{}", lost.text());
        let listed = world.call("viewer", Method::GET, "", None).await.json();
        let tunnels = listed.pointer("/result/ipsec_tunnels").and_then(Json::as_array).unwrap();
        let text = |tunnel: &Json, name| tunnel.get(name).and_then(Json::as_str).unwrap().to_owned();
        let made = tunnels.iter().find(|tunnel| text(tunnel, "name") == "fresh").unwrap();
        let path = format!("/{}", text(made, "id"));
        let undone = if rename {
            world.call("admin", Method::PUT, &path, Some(&tunnel_body("other", 9))).await
        } else {
            world.call("admin", Method::DELETE, &path, None).await
        };
        assert_eq!(undone.status, 200, "{}", undone.text());
        let resolved = resolutions(&world, 1).await;
        assert_eq!(resolved[0].text("/resolution"), "can't tell", "{}", resolved[0].raw);
        let again = world.call("admin", Method::POST, "", Some(&body)).await;
        assert_eq!(again.error_code(), 99405, "{}", again.text());
    }
}
