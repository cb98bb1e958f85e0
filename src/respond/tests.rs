use std::time::Duration;

use http_body_util::BodyExt;

use super::*;
use crate::operation::Class;
use crate::refusal::{Forbidden, TokenFault};

const ID: Uuid = Uuid::from_u128(0x019a_e000_0000_7000_8000_0000_0000_0001);

fn header(refusal: &Refusal, operation: Option<Operation>, name: &str) -> Option<String> {
    let answer = envelope(refusal, ID, operation);
    answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
}

async fn text(refusal: &Refusal) -> String {
    let body = envelope(refusal, ID, None).into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn the_envelope_is_cloudflares() {
    assert_eq!(
        text(&Refusal::UnknownRoute).await,
        "{\"success\":false,\"errors\":[{\"code\":99111,\"message\":\"no such route; use \
         /client/v4/accounts/{account_id}/magic/ipsec_tunnels or what is below it\"}],\"messages\":[],\
         \"result\":null}"
    );
}

#[tokio::test]
async fn the_pointer_stands_in_the_source() {
    let forbidden = Forbidden {
        action: "bulk_update",
        policies: vec!["no-\"psk\"".to_owned()],
        advice: None,
        pointer: Some("/ipsec_tunnels/1".to_owned()),
    };
    let text = text(&Refusal::Forbidden(Box::new(forbidden))).await;
    assert!(text.contains("\"source\":{\"pointer\":\"/ipsec_tunnels/1\"}"), "{text}");
    assert!(text.contains("`no-\\\"psk\\\"`"), "{text}");
}

#[test]
fn every_answer_names_the_call_and_is_not_cached() {
    for refusal in [Refusal::UnknownRoute, Refusal::Internal, Refusal::TokenRevoked] {
        assert_eq!(
            header(&refusal, None, "x-request-id").as_deref(),
            Some("019ae000-0000-7000-8000-000000000001")
        );
        assert_eq!(header(&refusal, None, "cache-control").as_deref(), Some("no-store"));
        assert_eq!(header(&refusal, None, "content-type").as_deref(), Some("application/json"));
    }
}

#[test]
fn retries_are_asked_for_where_they_can_help_and_only_there() {
    #[track_caller]
    fn check(refusal: &Refusal, operation: Option<Operation>, should: Option<&str>, after: Option<&str>) {
        assert_eq!(
            header(refusal, operation, "x-should-retry").as_deref(),
            should,
            "{refusal:?} {operation:?}"
        );
        assert_eq!(header(refusal, operation, "retry-after").as_deref(), after, "{refusal:?} {operation:?}");
    }
    let spent = |retry_after| Refusal::QuotaSpent { of: "subject", class: Class::Read, retry_after };
    check(&spent(Duration::ZERO), Some(Operation::List), Some("true"), Some("1"));
    check(&spent(Duration::from_millis(1000)), Some(Operation::List), Some("true"), Some("1"));
    check(&spent(Duration::from_millis(1001)), Some(Operation::Create), Some("true"), Some("2"));
    check(&Refusal::TokenRevoked, None, Some("false"), None);
    check(&Refusal::Repeat { first: ID }, Some(Operation::Create), Some("false"), None);
    for operation in Operation::ALL {
        let should = operation.is_one_shot().then_some("false");
        check(&Refusal::UpstreamTimeout, Some(operation), should, None);
        check(&Refusal::Internal, Some(operation), should, None);
    }
    check(&Refusal::Internal, None, Some("false"), None);
}

#[test]
fn a_401_challenges_and_nothing_else_does() {
    let challenge = |refusal| header(&refusal, None, "www-authenticate");
    let invalid = Some("Bearer error=\"invalid_token\"".to_owned());
    assert_eq!(challenge(Refusal::TokenMissing { legacy_headers: false }), Some("Bearer".to_owned()));
    assert_eq!(challenge(Refusal::TokenMissing { legacy_headers: true }), Some("Bearer".to_owned()));
    assert_eq!(challenge(Refusal::TokenInvalid(TokenFault::Expired)), invalid);
    assert_eq!(challenge(Refusal::TokenRevoked), invalid);
    assert_eq!(challenge(Refusal::TokenAmbiguous), invalid);
    assert_eq!(challenge(Refusal::UnknownRoute), None);
}

#[test]
fn a_405_says_what_is_allowed() {
    let refusal = Refusal::MethodNotAllowed { allow: "GET, POST, PUT" };
    assert_eq!(header(&refusal, None, "allow").as_deref(), Some("GET, POST, PUT"));
    assert_eq!(header(&Refusal::UnknownRoute, None, "allow"), None);
}
