use std::net::{IpAddr, Ipv4Addr};

use jiff::Timestamp;

use super::*;
use crate::authorize::Authorizer;
use crate::caller::Caller;
use crate::operation::AccountId;

const CANARY: &str = "canary-of-a-key";

#[test]
fn nothing_shows_the_state_before() {
    let bgp = Object::from_iter([("md5_key", CANARY)]);
    let state = Object::from_iter([("bgp", Json::Object(bgp))]);
    let caller = Caller {
        subject: "alice".into(),
        teams: Vec::new(),
        roles: Vec::new(),
        issuer: "https://idp.example".into(),
        jti: None,
        key_id: None,
        expires: Timestamp::MAX,
    };
    let element = Element { tunnel: TunnelId::parse("0f"), state: Some(&state), ..Element::default() };
    let question = Question {
        caller: &caller,
        operation: Operation::Delete,
        account: AccountId::parse("a1").unwrap(),
        validate_only: false,
        source: IpAddr::V4(Ipv4Addr::LOCALHOST),
        time: Timestamp::UNIX_EPOCH,
        elements: &[element],
    };
    let authorizer = Authorizer::new("@id(\"all\") permit (principal, action, resource);").unwrap();
    let Ruling::Permit(permit) = authorizer.decide(&question) else { panic!("the policy permits all") };
    let allowed = Allowed { permit, before: vec![state.clone()], turn: Turn::default() };
    let shown = format!("{allowed:?} {question:?}");
    assert!(!shown.contains(CANARY), "{shown}");
}
