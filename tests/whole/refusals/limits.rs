//! What is spent: a caller's quota, everybody's budget, an address's patience.
//!
//! Not here: how much is left when (`src/limit`).

use tunnelwarden::json::Json;

use crate::harness::{Answer, Wishes, World};

use super::ask::{ask_with, bearer, line, with_claims};
use super::row::{Group, Row};

pub(super) const GROUP: Group = Group {
    apart: false,
    wishes: || Wishes {
        config: vec![
            ("listen.unidentified_per_address", "\"1/h\"".to_owned()),
            ("limits.subject", "{ read = \"1/h\", write = \"none\", secret = \"none\" }".to_owned()),
            (
                "limits.upstream_budget",
                "{ requests = 4, window = \"1h\", reserve = 0, reserve_roles = [] }".to_owned(),
            ),
        ],
        ..Wishes::default()
    },
    rows: &[
        Row::new("quota_spent", 429, 99300, |w| {
            Box::pin(async move {
                assert_eq!(list_as(w, "one").await.status, 200);
                let answer = list_as(w, "one").await;
                assert!(answer.header("ratelimit").contains("r=0"), "{:?}", answer.headers);
                answer
            })
        })
        .come_back(),
        Row::new("budget_spent", 429, 99301, |w| {
            Box::pin(async move {
                // The check of the upstream token at the start takes from the budget, too, and nobody knows when.
                for subject in ["two", "three", "four"] {
                    let answer = list_as(w, subject).await;
                    if answer.status != 200 {
                        return answer;
                    }
                }
                list_as(w, "five").await
            })
        })
        .come_back(),
        // The last one: from here on nobody new is let in from this address.
        Row::new("address_limited", 429, 99102, |w| {
            Box::pin(async move {
                assert_eq!(ask_with(w, &line("GET", ""), &[], None).await.status, 401);
                ask_with(w, &line("GET", ""), &[], None).await
            })
        })
        .come_back(),
    ],
};

/// Each such call costs an entry, so it costs its caller a read.
#[tokio::test]
async fn calls_that_are_no_operation_take_from_the_quota_of_reads() {
    let quota = "{ read = \"3/h\", write = \"none\", secret = \"none\" }".to_owned();
    let wishes = Wishes { config: vec![("limits.subject", quota)], ..Wishes::default() };
    let world = World::with(wishes).await;
    let ask = async |line: &str| ask_with(&world, line, &[&bearer(&world, "viewer")], None).await.status;
    assert_eq!(ask("GET /client/v4/zones HTTP/1.1").await, 404);
    assert_eq!(ask(&line("PATCH", "")).await, 405);
    assert_eq!(ask(&line("GET", "?page=1")).await, 400);
    for spent in [line("GET", "?page=1"), line("PATCH", ""), line("GET", "")] {
        assert_eq!(ask(&spent).await, 429, "{spent}");
    }
}

async fn list_as(world: &World, subject: &str) -> Answer {
    let token = with_claims(world, &[("sub", Json::from(subject))]);
    ask_with(world, &line("GET", ""), &[&token], None).await
}
