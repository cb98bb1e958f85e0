//! `policy explain`: one call, decided as the proxy would decide it, and said why.
//!
//! Not here: reading the call from flags and files (`described`).

mod described;

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use super::super::{Env, Exit, Stop};
use super::{PolicyFrom, caller, load};
use crate::authorize::{Authorizer, Depth, Element, Question, Ruling};
use crate::inspect::plain;
use crate::json::{Json, Object};
use crate::operation::{AccountId, Operation};
use crate::refusal::Refusal;
use crate::tunnel::Change;
use described::{Described, Fault};

/// Arguments of `policy explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// Which policy.
    #[command(flatten)]
    pub from: PolicyFrom,
    /// The subject of the caller's token.
    #[arg(long)]
    pub subject: String,
    /// The issuer of the caller's token.
    #[arg(long, default_value = "")]
    pub issuer: String,
    /// The caller's roles.
    #[arg(long, value_delimiter = ',')]
    pub role: Vec<String>,
    /// The caller's teams.
    #[arg(long, value_delimiter = ',')]
    pub team: Vec<String>,
    /// list, create, bulk_update, get, update, delete, generate_psk, set_psks, read_audit, or read_audit_bodies.
    #[arg(long)]
    pub operation: String,
    /// The account that the call is on.
    #[arg(long, value_name = "ID", default_value = "0")]
    pub account: String,
    /// The tunnel that the call is on, where the body does not name it.
    #[arg(long, value_name = "ID")]
    pub tunnel: Option<String>,
    /// The call has `validate_only=true`.
    #[arg(long)]
    pub validate_only: bool,
    /// The call's body, a JSON file. Without it, a call that changes nothing is judged.
    #[arg(long, value_name = "FILE")]
    pub body: Option<PathBuf>,
    /// The tunnel as it is now, or a list of tunnels: a JSON file with what the API answers to get or list. For
    /// calls whose answer depends on it.
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// The address that the call comes from.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub source: IpAddr,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// What came out.
struct Explained {
    ruling: Ruling,
    /// Whether the proxy reads the tunnels before it makes the call.
    reads_state: bool,
    /// What the call changes, where that could be told.
    change: Option<Change>,
}

pub(super) fn run(explain: &Explain, env: &Env, out: &mut dyn Write) -> Result<Exit, Stop> {
    let authorizer = load(&explain.from, env)?;
    let (told, exit) = match decide(explain, &authorizer, env) {
        Ok(explained) => (explained.told(), Exit::Good),
        Err(Fault::NotTaken(refusal)) => (not_taken(&refusal), Exit::Failed),
        Err(Fault::Usage(what)) => return Err(Stop::usage(what)),
    };
    if explain.json {
        writeln!(out, "{}", Json::Object(told))?
    } else {
        words(&told, out)?
    }
    Ok(exit)
}

fn decide(explain: &Explain, authorizer: &Authorizer, env: &Env) -> Result<Explained, Fault> {
    let caller = caller(&explain.subject, &explain.issuer, &explain.role, &explain.team);
    let time = env.clock.now();
    if let Some(depth) = Depth::ALL.into_iter().find(|depth| depth.action() == explain.operation) {
        let ruling = authorizer.decide_audit(&caller, depth, explain.source, time);
        return Ok(Explained { ruling, reads_state: false, change: None });
    }
    let operation = Operation::from_name(&explain.operation).ok_or_else(|| {
        let names = Operation::ALL.map(Operation::name).join(", ");
        Fault::Usage(format!("no such operation; known are {names}, read_audit and read_audit_bodies"))
    })?;
    let account = AccountId::parse(&explain.account)
        .ok_or_else(|| Fault::Usage("--account must be 1 to 32 lower-case hex digits".to_owned()))?;
    let call = Described::read(operation, explain)?;
    let ask = |elements: &[Element<'_>]| {
        authorizer.decide(&Question {
            caller: &caller,
            operation,
            account,
            validate_only: explain.validate_only,
            source: explain.source,
            time,
            elements,
        })
    };
    let (first, early) = call.ask(None, ask);
    let reads_state = match &first {
        Ruling::Deny(_) => false,
        Ruling::NeedsState => true,
        Ruling::Permit(_) => operation.replaces_state(),
    };
    let before = if reads_state { call.before()? } else { None };
    let (ruling, change) = match &before {
        Some(before) => call.ask(Some(before), ask),
        None => (first, early),
    };
    Ok(Explained { ruling, reads_state, change })
}

impl Explained {
    fn told(&self) -> Object {
        let mut told = Object::new();
        match &self.ruling {
            Ruling::Permit(permit) => {
                told.set("decision", "permit");
                told.set("policies", permit.policies().to_vec());
            }
            Ruling::NeedsState => {
                told.set("decision", "depends");
                told.set("message", "it depends on the tunnel as it is now; give --state");
            }
            Ruling::Deny(refusal) => {
                told.set("decision", "deny");
                told.set("message", refusal.message());
                if let Refusal::Forbidden(forbidden) = refusal {
                    told.set("action", forbidden.action);
                    told.set("policies", forbidden.policies.clone());
                    if let Some(advice) = &forbidden.advice {
                        told.set("advice", advice.as_str());
                    }
                    if let Some(pointer) = forbidden.pointer.as_deref().filter(|place| !place.is_empty()) {
                        told.set("pointer", pointer);
                    }
                }
            }
        }
        if let Some(Change { changed, weakened }) = &self.change {
            told.set("changes", changed.iter().cloned().collect::<Vec<_>>());
            told.set("weakens", weakened.iter().cloned().collect::<Vec<_>>());
        }
        told.set("reads_state", self.reads_state);
        told
    }
}

/// A body that never gets to the policy.
fn not_taken(refusal: &Refusal) -> Object {
    let mut told = Object::new();
    told.set("decision", "refused before the policy is asked");
    told.set("status", refusal.terms().status.as_u16());
    told.set("code", refusal.terms().code);
    if let Some(pointer) = refusal.pointer().filter(|pointer| !pointer.is_empty()) {
        told.set("pointer", pointer);
    }
    told.set("message", refusal.message());
    told
}

fn words(told: &Object, out: &mut dyn Write) -> io::Result<()> {
    for (name, value) in told.iter().filter(|(name, _)| *name != "message") {
        let value = match value {
            Json::String(text) => text.clone(),
            Json::Bool(true) => "yes".to_owned(),
            Json::Bool(false) => "no".to_owned(),
            Json::Array(items) if items.is_empty() => "none".to_owned(),
            Json::Array(items) => items.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(", "),
            Json::Null | Json::Number(_) | Json::Object(_) => value.to_string(),
        };
        writeln!(out, "{:12} {}", name.replace('_', " "), plain(&value))?;
    }
    match told.get("message").and_then(Json::as_str) {
        Some(message) => writeln!(out, "{:12} {}", "message", plain(message)),
        None => Ok(()),
    }
}
