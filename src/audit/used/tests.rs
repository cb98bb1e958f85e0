use std::sync::Arc;

use crate::audit::claim::tests::{Replica, clock, permit};
use crate::audit::owed::Plan;
use crate::audit::{End, Sent};
use crate::caller::Caller;
use crate::json::Object;
use crate::operation::Operation;
use crate::store::Database;
use crate::store::record::postgres;
use crate::tunnel::body::Asked;

use super::*;

const HOUR: Duration = Duration::from_hours(1);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn by(id: u128, until: i64) -> Use {
    Use { request_id: Uuid::from_u128(id), until: at(until) }
}

fn refused(first: u128) -> Result<(), Refusal> {
    Err(used(Uuid::from_u128(first)))
}

#[test]
fn a_token_is_used_once_until_it_can_come_no_more() {
    let book = UsedTokens::default();
    assert_eq!(book.take("a", by(1, 1000), at(0)), Ok(()));
    assert_eq!(book.take("b", by(2, 1000), at(0)), Ok(()), "another token");
    let margin = i64::try_from(MARGIN.as_secs()).unwrap();
    // Also where the clock was put back meanwhile.
    for now in [0, 999, 1000, 1000 + margin - 1] {
        assert_eq!(book.take("a", by(3, 9000), at(now)), refused(1), "{now}");
    }
    // What has ended is thrown out now and then.
    assert_eq!(book.take("a", by(3, 9000), at(1000 + margin + 60)), Ok(()));
}

#[test]
fn a_token_is_given_back_by_the_call_that_used_it_up() {
    let book = UsedTokens::default();
    assert_eq!(book.take("a", by(1, 1000), at(0)), Ok(()));
    let used = |id| Used { name: "a".into(), request_id: Uuid::from_u128(id) };
    book.give_back(&used(2));
    assert_eq!(book.take("a", by(2, 1000), at(0)), refused(1));
    book.give_back(&used(1));
    assert_eq!(book.take("a", by(2, 1000), at(0)), Ok(()));
}

#[test]
fn no_more_tokens_are_taken_than_can_be_remembered() {
    let book = UsedTokens::default();
    for n in 0..MAX {
        book.take(&n.to_string(), by(1, 1000), at(0)).unwrap();
    }
    assert_eq!(book.take("more", by(1, 1000), at(0)), Err(Refusal::Overloaded { retry_after: SWEEP }));
    assert_eq!(book.take("0", by(2, 1000), at(0)), refused(1), "none is forgotten for it");
    assert_eq!(book.take("more", by(1, 9000), at(1000) + MARGIN + SWEEP), Ok(()), "they have ended");
}

/// A call with a token that is good once.
async fn call(replica: &Replica, jti: &str, issuer: &str) -> (Call, Result<crate::audit::Owed, Refusal>) {
    let mut call = replica.call(1, 0);
    let alice = Caller::clone(call.caller.as_ref().unwrap());
    call.caller = Some(Arc::new(Caller { jti: Some(jti.into()), issuer: issuer.into(), ..alice }));
    // A key in the body of an update, so that the book of one-shot calls has no part in it.
    let route = call.route.unwrap();
    call.route = Some(crate::operation::Route { operation: Operation::Update, ..route });
    let body = crate::json::read(br#"{"name":"a","psk":"of the tests, 32 characters long"}"#, 8).unwrap();
    let asked = Asked::read(Operation::Update, route.tunnel, Some(body)).unwrap();
    assert!(asked.mints());
    let token_until = Some(replica.clock.now() + HOUR);
    let plan = Plan { asked, before: Vec::new(), expected: Vec::new(), token_until };
    let opened = replica.auditor.open(&mut call, &permit(), plan).await;
    (call, opened)
}

async fn ends(mut call: Call, owed: crate::audit::Owed, sent: Sent) {
    let end = End::Failed { refusal: &Refusal::UpstreamTimeout, sent, status: None, cf_ray: None };
    let _recorded = owed.close(&mut call, &end, false).await;
}

/// What a later use of the token comes to, of which nothing is sent.
async fn again(replica: &Replica, jti: &str) -> Result<(), Refusal> {
    let (call, opened) = call(replica, jti, "https://idp.example").await;
    match opened {
        Ok(owed) => {
            ends(call, owed, Sent::No).await;
            Ok(())
        }
        Err(refusal) => Err(refusal),
    }
}

/// At the same replica, and at another where there are several.
async fn check(a: &Replica, b: Option<&Replica>) {
    let replicas = || [Some(a), b].into_iter().flatten();
    for (jti, sent) in [("sent", Sent::Yes), ("perhaps", Sent::Unknown), ("not", Sent::No)] {
        let (first, opened) = call(a, jti, "https://idp.example").await;
        let id = first.request_id;
        let opened = opened.unwrap();
        let intent = opened.intent().clone();
        let name = intent.get("token_used").and_then(Json::as_str).unwrap();
        assert!(name.starts_with("hmac-sha256:"), "{name}");
        for replica in replicas() {
            assert_eq!(again(replica, jti).await, Err(used(id)), "while it is under way");
        }
        ends(first, opened, sent).await;
        for replica in replicas() {
            let expected = if sent == Sent::No { Ok(()) } else { Err(used(id)) };
            assert_eq!(again(replica, jti).await, expected, "{jti}");
        }
        let (other, opened) = call(a, jti, "https://other.example").await;
        ends(other, opened.unwrap(), Sent::No).await;
    }
}

#[tokio::test]
async fn a_token_that_may_have_been_sent_is_used_up() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::Sqlite(folder.path().join("audit.db"));
    check(&Replica::new(&database, "", clock()).await, None).await;
}

#[tokio::test]
async fn a_token_that_was_used_at_one_replica_is_used_up_at_all() {
    let Some(database) = postgres("a").await else { return };
    let (a, b) = (Replica::new(&database, "a", clock()).await, Replica::new(&database, "b", clock()).await);
    check(&a, Some(&b)).await;
}

#[tokio::test]
async fn a_start_learns_from_the_record_which_tokens_were_used_up() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::Sqlite(folder.path().join("audit.db"));
    let replica = Replica::new(&database, "", clock()).await;
    let intent = |jti: &str, time: i64| {
        let name = replica
            .auditor
            .fingerprinter
            .digest(Json::from(vec!["token", "https://idp.example", jti]).to_string().as_bytes());
        Json::from(Object::from_iter([
            ("time", Json::from(at(time).to_string())),
            ("request_id", Json::from(Uuid::from_u128(7).to_string())),
            ("token_used", Json::from(name)),
        ]))
    };
    let ended = |sent: &str| Json::from(Object::from_iter([("sent", sent)]));
    let now = replica.clock.now().as_second();
    replica.auditor.remember_token(&intent("lost", now), None, HOUR);
    replica.auditor.remember_token(&intent("sent", now), Some(&ended("yes")), HOUR);
    replica.auditor.remember_token(&intent("unknown", now), Some(&ended("unknown")), HOUR);
    replica.auditor.remember_token(&intent("not", now), Some(&ended("no")), HOUR);
    for jti in ["lost", "sent", "unknown"] {
        assert_eq!(again(&replica, jti).await, refused(7), "{jti}");
    }
    assert_eq!(again(&replica, "not").await, Ok(()));
}
