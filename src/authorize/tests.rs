//! What the shipped policy says, and what the answers are worth.

mod advice;
mod elements;
mod file;
mod remembered;
mod shipped;
mod texts;
mod two_passes;

use std::net::{IpAddr, Ipv4Addr};

use jiff::Timestamp;

use super::{Authorizer, Depth, Element, Question, Ruling};
use crate::caller::Caller;
use crate::json::{self, Object};
use crate::operation::{AccountId, Operation, TunnelId};
use crate::refusal::{Forbidden, Refusal};
use crate::tunnel::Change;

const HERE: &str = "023e105f4ecef8ad9ca31a8372d0c353";

fn caller(roles: &[&str]) -> Caller {
    let mut roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
    roles.sort();
    Caller {
        subject: "alice".into(),
        teams: vec!["network".into()],
        roles,
        issuer: "https://idp.example".into(),
        jti: None,
        key_id: None,
        expires: Timestamp::MAX,
    }
}

fn change(changed: &[&str], weakened: &[&str]) -> Change {
    let set = |fields: &[&str]| fields.iter().map(|field| (*field).to_owned()).collect();
    Change { changed: set(changed), weakened: set(weakened) }
}

fn state(text: &str) -> Object {
    json::read(text.as_bytes(), json::MAX_DEPTH).unwrap().as_object().unwrap().clone()
}

fn question<'a>(caller: &'a Caller, operation: Operation, elements: &'a [Element<'a>]) -> Question<'a> {
    Question {
        caller,
        operation,
        account: AccountId::parse(HERE).unwrap(),
        validate_only: false,
        source: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7)),
        time: Timestamp::UNIX_EPOCH,
        elements,
    }
}

fn tunnel() -> Option<TunnelId> {
    TunnelId::parse("c4a7362d577a6c3019a474fd6f485821")
}

fn authorizer(text: &str) -> Authorizer {
    match Authorizer::new(text) {
        Ok(authorizer) => authorizer,
        Err(problems) => panic!("{problems:#?}"),
    }
}

/// One policy, with an id of its own.
fn policies(rules: &[&str]) -> Authorizer {
    let text: String =
        rules.iter().enumerate().map(|(n, rule)| format!("@id(\"rule-{n}\")\n{rule}\n")).collect();
    authorizer(&text)
}

#[track_caller]
fn permitted(ruling: Ruling) -> Vec<String> {
    match ruling {
        Ruling::Permit(permit) => permit.policies().to_vec(),
        other @ (Ruling::Deny(_) | Ruling::NeedsState) => panic!("not permitted: {other:?}"),
    }
}

#[track_caller]
fn forbidden(ruling: Ruling) -> Forbidden {
    match ruling {
        Ruling::Deny(Refusal::Forbidden(forbidden)) => *forbidden,
        other @ (Ruling::Permit(_) | Ruling::Deny(_) | Ruling::NeedsState) => {
            panic!("not forbidden: {other:?}")
        }
    }
}

#[track_caller]
fn open(ruling: &Ruling) {
    assert!(matches!(ruling, Ruling::NeedsState), "not open: {ruling:?}");
}
