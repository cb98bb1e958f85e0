//! Single calls that are lost, and what the record says of them in the end.
//!
//! Not here: many at once (`crash`).

use std::time::Duration;

use http::Method;
use tunnelwarden::emulator::{Call, Fault};
use tunnelwarden::json::Json;
use tunnelwarden::operation::Operation;

use super::{furnish, pause};
use crate::harness::{Stored, Wishes, World, tunnel_body};

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
