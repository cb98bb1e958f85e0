//! A token that is revoked, or over, while a call of its bearer waits: nothing is sent for it any more.
//!
//! Not here: calls that begin afterwards (`reload`), which lines revoke whom (`src/identify/revoked.rs`).

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tunnelwarden::clock::Clock as _;
use tunnelwarden::emulator::Call;
use tunnelwarden::json::Json;
use tunnelwarden::operation::Operation;

use crate::harness::{ISSUER, PATIENCE, Stored, Wishes, World, collection, tunnel_body};

/// A call that has begun and lacks the last byte of its body.
struct Begun {
    stream: TcpStream,
    last: u8,
}

impl Begun {
    async fn of(world: &World, token: &str) -> Self {
        let body = tunnel_body("slow", 1);
        let (last, body) = body.as_bytes().split_last().unwrap();
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            collection(),
            body.len() + 1
        );
        let mut stream = TcpStream::connect(world.proxy().api).await.unwrap();
        stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
        Self { stream, last: *last }
    }

    /// Sends what is missing; the whole answer.
    async fn end(mut self) -> String {
        let mut answer = String::new();
        let exchange = async {
            self.stream.write_all(&[self.last]).await.unwrap();
            self.stream.read_to_string(&mut answer).await.unwrap();
        };
        tokio::time::timeout(PATIENCE, exchange).await.expect("an answer in time");
        answer
    }
}

impl World {
    /// A token that is over in so many seconds, to the second.
    fn over_in(&self, seconds: i64) -> (String, i64) {
        let mut claims = self.claims("admin");
        let over = self.clock.now().as_second() + seconds;
        claims.set("exp", over);
        (self.key.sign(&Json::Object(claims), &[]).unwrap(), over)
    }

    async fn pass(&self, second: i64) {
        while self.clock.now().as_second() < second {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    fn was_sent(&self) -> bool {
        let is_create = |call: &Call| call.operation == Some(Operation::Create);
        self.emulator.calls().iter().any(is_create)
    }
}

/// It was identified before, and read to the end: its entry tells what it asked for.
async fn refused(world: &World, answer: &str, code: u32) -> Stored {
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains(&code.to_string()), "{answer}");
    assert!(!world.was_sent());
    let entries = world.entries().await;
    let of_call: Vec<_> = entries.iter().filter(|entry| entry.text("/operation") == "create").collect();
    let [refusal] = of_call[..] else { panic!("one entry: {of_call:#?}") };
    assert_eq!(refusal.text("/kind"), "refusal", "{}", refusal.raw);
    assert_eq!(refusal.text("/subject"), "admin@test", "{}", refusal.raw);
    assert!(refusal.json.pointer("/request/body").is_some(), "{}", refusal.raw);
    refusal.clone()
}

#[tokio::test]
async fn who_is_revoked_while_a_call_waits_for_its_body_has_nothing_sent() {
    let file = ("revocation.file", "\"revoked\"".to_owned());
    let world = World::with(Wishes { config: vec![file], ..Wishes::default() }).await;
    let stolen = world.token("admin");
    let begun = Begun::of(&world, &stolen).await;
    world.until("the token is good", &stolen, "", |answer| answer.status == 200).await;
    world.write("revoked", &format!("sub {ISSUER} admin@test\n"));
    world.until("it is revoked", &stolen, "", |answer| answer.status == 401).await;
    let refusal = refused(&world, &begun.end().await, 99203).await;
    assert_eq!(refusal.text("/refusal/name"), "token_revoked", "{}", refusal.raw);
}

#[tokio::test]
async fn whose_token_is_over_while_a_call_waits_for_its_body_has_nothing_sent() {
    let leeway = ("issuer.leeway", "\"0s\"".to_owned());
    let world = World::with(Wishes { config: vec![leeway], ..Wishes::default() }).await;
    let (token, over) = world.over_in(4);
    let begun = Begun::of(&world, &token).await;
    world.pass(over).await;
    let refusal = refused(&world, &begun.end().await, 99218).await;
    assert_eq!(refusal.text("/refusal/fault"), "expired", "{}", refusal.raw);
}

/// What can be waited for last of all is the record of the intent.
#[tokio::test]
async fn whose_token_is_over_while_the_intent_is_recorded_has_nothing_sent() {
    let config = vec![("issuer.leeway", "\"0s\"".to_owned()), ("audit.append_timeout", "\"30s\"".to_owned())];
    let world = World::with(Wishes { config, ..Wishes::default() }).await;
    if world.record().file().is_none() {
        return;
    }
    let options = SqliteConnectOptions::new().filename(world.database()).busy_timeout(PATIENCE);
    let mut lock = options.connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut lock).await.unwrap();
    let (token, over) = world.over_in(4);
    let begun = Begun::of(&world, &token).await;
    let (answer, ()) = tokio::join!(begun.end(), async {
        world.pass(over).await;
        sqlx::query("ROLLBACK").execute(&mut lock).await.unwrap();
        lock.close().await.unwrap();
    });
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("99218"), "{answer}");
    assert!(!world.was_sent());
    let entries = world.entries().await;
    let of_call: Vec<_> = entries.iter().filter(|entry| entry.text("/operation") == "create").collect();
    let [intent, outcome] = of_call[..] else { panic!("an intent and an outcome: {of_call:#?}") };
    assert_eq!((intent.text("/kind"), outcome.text("/kind")), ("intent".into(), "outcome".into()));
    assert_eq!(outcome.text("/sent"), "no", "{}", outcome.raw);
}

/// A slip in the list must not keep anybody in, and nobody knows whom it was to name.
#[tokio::test]
async fn a_line_that_cant_be_read_keeps_no_other_from_revoking_and_takes_nobody_back() {
    let file = ("revocation.file", "\"revoked\"".to_owned());
    let world = World::with(Wishes { config: vec![file], ..Wishes::default() }).await;
    let (viewer, operator) = (world.token("viewer"), world.token("operator"));
    world.write("revoked", &format!("sub {ISSUER} operator@test\n"));
    world.until("one is out", &operator, "", |answer| answer.status == 401).await;
    world.write("revoked", &format!("who was it\nsub {ISSUER} viewer@test\n"));
    world.until("the other is out", &viewer, "", |answer| answer.status == 401).await;
    world.warns(Some("revocation.file: the changed file is not good and not in force as a whole")).await;
    world.told("those that can are in force, and nobody is taken back in", 1).await;
    let asked = world.try_call(&operator, http::Method::GET, "", None, &[]).await.unwrap();
    assert_eq!(asked.error_code(), 99203, "{}", asked.text());
    world.write("revoked", &format!("sub {ISSUER} viewer@test\n"));
    world.until("one is back in", &operator, "", |answer| answer.status == 200).await;
    world.warns(None).await;
    assert_eq!(world.try_call(&viewer, http::Method::GET, "", None, &[]).await.unwrap().status, 401);
    assert_eq!(world.reloads().await.len(), 3, "out, out, and back");
}

/// It accepts and never answers, so a reload waits for it until a fetch is given up.
#[tokio::test]
async fn an_issuer_that_is_slow_to_give_its_keys_keeps_nobody_in() {
    let file = ("revocation.file", "\"revoked\"".to_owned());
    let world = World::with(Wishes { config: vec![file], ..Wishes::default() }).await;
    let viewer = world.token("viewer");
    let slow = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let text = std::fs::read_to_string(world.config()).unwrap();
    let issuer = format!(
        "[[issuer]]\nissuer = \"https://slow.example\"\naudience = \"a\"\njwks_url = \"http://{}/\"\n\
         algorithms = [\"ES256\"]\n",
        slow.local_addr().unwrap()
    );
    world.write("tunnelwarden.toml", &format!("{text}{issuer}"));
    let (mut fetch, _) = tokio::time::timeout(PATIENCE, slow.accept()).await.unwrap().unwrap();
    world.write("revoked", &format!("sub {ISSUER} viewer@test\n"));
    let out = world.until("it is revoked", &viewer, "", |answer| answer.status == 401);
    let mut bytes = vec![0; 1 << 10];
    let given_up = async { while fetch.read(&mut bytes).await.is_ok_and(|count| count > 0) {} };
    tokio::select! {
        _ = out => {}
        () = given_up => panic!("the reload went first"),
    }
}
