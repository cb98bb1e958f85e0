//! Somebody without a token who sends for ever: the record does not grow for ever.
//!
//! Not here: the sums (`src/limit/address.rs`).

use http::Method;

use crate::harness::{Wishes, World, collection};

/// More than is refused by name, and than is answered beyond that.
const SENT: usize = 60;

/// The number behind a metric's name and labels.
async fn metric(world: &World, name: &str) -> usize {
    let text = world.admin("/metrics").await.text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line.unwrap_or(0)
}

async fn check(head: String, refusal: &'static str) {
    let config = vec![("listen.unidentified_per_address", "\"3/h\"".to_owned())];
    let world = World::with(Wishes { config, ..Wishes::default() }).await;
    // Known as verified from here on.
    let token = world.token("viewer");
    assert_eq!(world.try_call(&token, Method::GET, "", None, &[]).await.unwrap().status, 200);
    let mut answers = Vec::new();
    for _ in 0..SENT {
        let answer = world.raw(head.as_bytes()).await;
        assert!(answer.is_empty() || answer.contains("x-request-id"), "{answer}");
        answers.extend((!answer.is_empty()).then_some(answer));
    }
    assert!(answers.len() > 3 && answers.len() < SENT / 2, "{} were answered", answers.len());
    let recorded = world.entries().await;
    let recorded = recorded.iter().filter(|entry| entry.text("/kind") == "refusal").count();
    assert_eq!(recorded, answers.len(), "an answer has its record, and no answer has none");
    let unanswered = format!("tunnelwarden_unanswered_total{{refusal=\"{refusal}\"}}");
    assert_eq!(metric(&world, &unanswered).await, SENT - recorded);
    assert_eq!(world.try_call(&token, Method::GET, "", None, &[]).await.unwrap().status, 200);
}

#[tokio::test]
async fn calls_without_a_token_beyond_a_number_get_no_answer_and_no_record() {
    let head = format!("GET {} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", collection());
    check(head, "address_limited").await;
}

#[tokio::test]
async fn senders_without_a_token_at_many_addresses_have_one_bound_for_all_of_them() {
    let config = vec![("listen.unidentified_in_all", "\"20/h\"".to_owned())];
    let world = World::with(Wishes { config, ..Wishes::default() }).await;
    let token = world.token("viewer");
    assert_eq!(world.try_call(&token, Method::GET, "", None, &[]).await.unwrap().status, 200);
    let heads = [
        format!("GET {} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", collection()),
        "no HTTP at all\r\n\r\n".to_owned(),
    ];
    let mut answered = 0;
    for last in 2..62 {
        let head = &heads[usize::from(last) % 2];
        answered += usize::from(!world.raw_from([127, 0, 0, last], head.as_bytes()).await.is_empty());
    }
    assert_eq!(answered, 20);
    let recorded = world.entries().await;
    assert_eq!(recorded.iter().filter(|entry| entry.text("/kind") == "refusal").count(), 20);
    assert_eq!(world.try_call(&token, Method::GET, "", None, &[]).await.unwrap().status, 200);
}

#[tokio::test]
async fn bytes_that_are_not_http_beyond_a_number_get_no_answer_and_no_record() {
    check("no HTTP at all\r\n\r\n".to_owned(), "malformed_request").await;
}
