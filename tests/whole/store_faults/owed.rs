//! An outcome that the record can't take when the upstream has acted: the answer goes out all the same, it may
//! hold the only copy of a key, and nothing else happens until the outcome is in the record.

use std::time::Duration;

use http::Method;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tunnelwarden::emulator::Fault;
use tunnelwarden::json::Json;
use tunnelwarden::operation::{AccountId, Operation, TunnelId};
use tunnelwarden::secret::ExposeSecret as _;

use super::{AUDIT_UNAVAILABLE, Held, create, wishes, writes};
use crate::harness::{ACCOUNT, Answer, Stored, World};

/// Generates a key while the record is locked between its intent and its outcome.
async fn answered_unrecorded(world: &World) -> (Answer, Held) {
    let id = create(world, 1).await.text_at("/result/id");
    // The upstream acts at once and answers over half a second or more.
    world.emulator.fault(Fault::SlowBody(Duration::from_millis(40)), Operation::GeneratePsk, 1);
    let path = format!("/{id}/psk_generate");
    let call = world.call("admin", Method::POST, &path, None);
    let lock = async {
        while !world.emulator.effects().contains_key(&Operation::GeneratePsk) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Held::take(world.database()).await
    };
    let (answer, held) = tokio::join!(call, lock);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let (account, tunnel) = (AccountId::parse(ACCOUNT).unwrap(), TunnelId::parse(&id).unwrap());
    let key = world.emulator.psk(account, tunnel).unwrap();
    assert_eq!(answer.text_at("/result/psk"), key.expose_secret());
    let kinds: Vec<String> =
        world.entries_of(&answer.header("x-request-id")).await.iter().map(|e| e.text("/kind")).collect();
    assert_eq!(kinds, ["intent"], "the intent stands");
    let sent = writes(world);
    let next = create(world, 2).await;
    assert_eq!((next.status, next.error_code()), (503, AUDIT_UNAVAILABLE), "{}", next.text());
    assert_eq!(world.admin("/readyz").await.status, 503);
    assert_eq!(writes(world), sent, "no new call is admitted");
    (answer, held)
}

#[tokio::test]
async fn an_outcome_that_is_owed_is_recorded_as_soon_as_the_store_takes_it() {
    let world = World::with(wishes(None)).await;
    let (answer, held) = answered_unrecorded(&world).await;
    held.release().await;
    let request_id = answer.header("x-request-id");
    let entries = world.wait_for("the outcome", |entries| {
        entries.iter().any(|e| e.text("/kind") == "outcome" && e.text("/request_id") == request_id)
    });
    let entries = entries.await;
    let outcome = entries.iter().rfind(|entry| entry.text("/request_id") == request_id).unwrap();
    assert_eq!(outcome.json.get("recorded_late").and_then(Json::as_bool), Some(true), "{}", outcome.raw);
    assert_eq!(outcome.number("/status"), Some(200), "{}", outcome.raw);
    assert!(!outcome.raw.contains(&answer.text_at("/result/psk")));
    let until = tokio::time::Instant::now() + crate::harness::PATIENCE;
    while world.admin("/readyz").await.status != 200 {
        assert!(tokio::time::Instant::now() < until, "{}", world.stderr());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(create(&world, 3).await.status, 200);
}

#[tokio::test]
async fn an_outcome_that_is_owed_when_the_program_dies_is_found_out_by_the_next() {
    let mut world = World::with(wishes(None)).await;
    let (answer, held) = answered_unrecorded(&world).await;
    world.kill();
    held.release().await;
    world.launch().await;
    let resolved = world.wait_for("a resolution", |all| all.iter().any(|e| e.text("/kind") == "resolved"));
    let resolved = resolved.await.into_iter().find(|e| e.text("/kind") == "resolved").unwrap();
    assert_eq!(resolved.text("/request_id"), answer.header("x-request-id"));
    assert_eq!(resolved.text("/resolution"), "applied", "{}", resolved.raw);
    assert_eq!(create(&world, 3).await.status, 200);
}

/// Its intent could not be stored, so it comes later, together with what ended the call.
#[tokio::test]
async fn a_write_that_could_not_be_recorded_is_told_of_later_as_not_sent() {
    let world = World::with(wishes(None)).await;
    let held = Held::take(world.database()).await;
    let refused = create(&world, 1).await;
    assert_eq!((refused.status, refused.error_code()), (503, AUDIT_UNAVAILABLE), "{}", refused.text());
    held.release().await;
    let request_id = refused.header("x-request-id");
    let ended = |all: &[Stored]| {
        all.iter().any(|e| e.text("/request_id") == request_id && e.text("/kind") == "outcome")
    };
    world.wait_for("the outcome", ended).await;
    let entries = world.entries_of(&request_id).await;
    let [intent, outcome] = entries.as_slice() else { panic!("an intent and its end: {entries:?}") };
    assert_eq!((intent.text("/kind").as_str(), outcome.text("/kind").as_str()), ("intent", "outcome"));
    assert_eq!(outcome.text("/intent_id"), intent.text("/id"));
    assert_eq!(
        (outcome.text("/sent").as_str(), outcome.number("/status")),
        ("no", Some(503)),
        "{}",
        outcome.raw
    );
    let rows = requests(&world, &request_id).await;
    assert_eq!(rows, [("outcome".to_owned(), Some(503), Some("no".to_owned()))]);
    assert!(world.emulator.effects().is_empty());
}

/// A call as the view `requests` shows it: how it ended, its status, and whether it was sent.
async fn requests(world: &World, request_id: &str) -> Vec<(String, Option<i64>, Option<String>)> {
    let options = SqliteConnectOptions::new().filename(world.database()).read_only(true);
    let mut connection = options.connect().await.unwrap();
    let rows = sqlx::query_as("SELECT ended, status, sent FROM requests WHERE request_id = ?")
        .bind(request_id)
        .fetch_all(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    rows
}
