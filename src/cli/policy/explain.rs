//! `policy explain`: one call, decided as it would be, and said why.

use std::io::{self, Read as _, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::super::{Env, Exit};
use super::{PolicyFrom, caller, load};
use crate::authorize::{Authorizer, Element, Question, Ruling};
use crate::json::{self, Json, Object};
use crate::operation::{AccountId, Operation, TunnelId};
use crate::refusal::Refusal;
use crate::tunnel::Change;

/// Bytes of a body or state that are read: what the proxy takes by default.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

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
    /// list, create, bulk_update, get, update, delete, generate_psk, set_psks, or read_audit.
    #[arg(long)]
    pub operation: String,
    /// The account that the call is on.
    #[arg(long, value_name = "ID", default_value = "0")]
    pub account: String,
    /// The tunnel that the call is on, unless the body names it.
    #[arg(long, value_name = "ID")]
    pub tunnel: Option<String>,
    /// The call has `validate_only=true`.
    #[arg(long)]
    pub validate_only: bool,
    /// The call's body, a JSON file.
    #[arg(long, value_name = "FILE")]
    pub body: Option<PathBuf>,
    /// The tunnel as it is now, a JSON file as the API answers it; for calls whose answer depends on it.
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// The address that the call comes from.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub source: IpAddr,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// What is asked about one tunnel: [`Element`] with everything owned.
#[derive(Debug, Default)]
struct Asked {
    tunnel: Option<TunnelId>,
    sets_psk: bool,
    change: Option<Change>,
    pointer: Option<String>,
}

pub(super) fn run(explain: &Explain, env: &Env, out: &mut dyn Write) -> io::Result<Exit> {
    let Some((authorizer, _)) = load(&explain.from, env, out)? else { return Ok(Exit::Usage) };
    match decide(explain, &authorizer, env) {
        Ok((ruling, state_read)) => {
            let told = told(&ruling, state_read);
            if explain.json {
                writeln!(out, "{}", Json::Object(told))?
            } else {
                words(&told, out)?
            }
            Ok(Exit::Good)
        }
        Err(what) => {
            writeln!(out, "{what}")?;
            Ok(Exit::Usage)
        }
    }
}

/// The ruling, and whether the tunnel's state is read for it.
fn decide(explain: &Explain, authorizer: &Authorizer, env: &Env) -> Result<(Ruling, bool), String> {
    let caller = caller(&explain.subject, &explain.issuer, &explain.role, &explain.team);
    let time = env.clock.now();
    if explain.operation == "read_audit" {
        return Ok((authorizer.decide_audit(&caller, explain.source, time), false));
    }
    let operation = Operation::from_name(&explain.operation).ok_or_else(|| {
        let names: Vec<&str> = Operation::ALL.iter().map(|operation| operation.name()).collect();
        format!("no such operation; known are {} and read_audit", names.join(", "))
    })?;
    let account = AccountId::parse(&explain.account)
        .ok_or_else(|| "--account must be 1 to 32 lower-case hex digits".to_owned())?;
    let tunnel = match &explain.tunnel {
        None => None,
        Some(id) => Some(
            TunnelId::parse(id).ok_or_else(|| "--tunnel must be 1 to 32 lower-case hex digits".to_owned())?,
        ),
    };
    let body = explain.body.as_deref().map(json_file).transpose()?;
    let state = explain.state.as_deref().map(json_file).transpose()?;
    let state = match &state {
        None => None,
        Some(json) => Some(json.as_object().ok_or_else(|| "--state must hold a JSON object".to_owned())?),
    };
    let first = elements_of_body(operation, tunnel, body.as_ref(), None)?;
    let ask = |asked: &[Asked], state: Option<&Object>| {
        let element = |asked| element(asked, state);
        let elements: Vec<Element<'_>> = asked.iter().map(element).collect();
        authorizer.decide(&Question {
            caller: &caller,
            operation,
            account,
            validate_only: explain.validate_only,
            source: explain.source,
            time,
            elements: &elements,
        })
    };
    let ruling = ask(&first, None);
    match (&ruling, state) {
        (Ruling::NeedsState, Some(state)) => {
            let second = elements_of_body(operation, tunnel, body.as_ref(), Some(state))?;
            Ok((ask(&second, Some(state)), true))
        }
        (Ruling::NeedsState, None) => Ok((ruling, true)),
        (Ruling::Permit(_) | Ruling::Deny(_), _) => Ok((ruling, false)),
    }
}

fn element<'a>(asked: &'a Asked, state: Option<&'a Object>) -> Element<'a> {
    Element {
        tunnel: asked.tunnel,
        sets_psk: asked.sets_psk,
        change: asked.change.as_ref(),
        state,
        pointer: asked.pointer.as_deref(),
    }
}

fn json_file(path: &Path) -> Result<Json, String> {
    let fault = |what: &dyn std::fmt::Display| format!("`{}` can't be read: {what}", path.display());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| fault(&e))?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|e| fault(&e))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE_BYTES {
        return Err(fault(&"it is larger than a body may be"));
    }
    json::read(&bytes, json::MAX_DEPTH).map_err(|e| fault(&e))
}

/// What a body asks for, tunnel by tunnel. Without a body the call is a plain one that changes nothing.
fn elements_of_body(
    operation: Operation,
    tunnel: Option<TunnelId>,
    body: Option<&Json>,
    state: Option<&Object>,
) -> Result<Vec<Asked>, String> {
    let on_account = matches!(operation, Operation::List | Operation::Create);
    let key = if operation == Operation::SetPsks { "psks" } else { "ipsec_tunnels" };
    let items: Vec<(Option<String>, Option<&Object>)> = match body {
        None => vec![(None, None)],
        Some(body) => match (body.get(key).and_then(Json::as_array), body.as_array(), body.as_object()) {
            (Some(items), _, _) => pointed(items, &format!("/{key}")),
            (None, Some(items), _) => pointed(items, ""),
            (None, None, Some(one)) => vec![(None, Some(one))],
            (None, None, None) => return Err("--body must hold a JSON object or array".to_owned()),
        },
    };
    let mut elements = Vec::with_capacity(items.len());
    for (pointer, item) in items {
        let named = item.and_then(|item| item.get("id")).and_then(Json::as_str).and_then(TunnelId::parse);
        let tunnel = if on_account { None } else { named.or(tunnel) };
        if tunnel.is_none() && !on_account {
            return Err(format!(
                "`{}` is about a tunnel; give --tunnel, or its `id` in --body",
                operation.name()
            ));
        }
        let change = match (operation, item, state) {
            (Operation::Create, item, _) => Some(changed(item, &Object::new())),
            (_, None, _) => Some(Change::default()),
            (_, item, Some(state)) => Some(changed(item, state)),
            (_, Some(_), None) => None,
        };
        let sets_psk = item.is_some_and(|item| item.get("psk").is_some());
        elements.push(Asked { tunnel, sets_psk, change, pointer });
    }
    Ok(elements)
}

fn pointed<'a>(items: &'a [Json], below: &str) -> Vec<(Option<String>, Option<&'a Object>)> {
    let each = |(n, item): (usize, &'a Json)| (Some(format!("{below}/{n}")), item.as_object());
    items.iter().enumerate().map(each).collect()
}

/// What a full replacement changes, for the fields whose protection is known.
fn changed(asked: Option<&Object>, before: &Object) -> Change {
    let mut change = Change::default();
    let Some(asked) = asked else { return change };
    for (name, value) in asked.iter().filter(|(name, _)| !matches!(*name, "id" | "psk")) {
        if before.get(name) != Some(value) {
            change.changed.insert(name.to_owned());
        }
    }
    let on = |object: &Object, name| object.get(name).and_then(Json::as_bool).unwrap_or(false);
    for (name, protects) in [("replay_protection", true), ("allow_null_cipher", false)] {
        let (was, is) = (on(before, name), on(asked, name));
        if was != is {
            change.changed.insert(name.to_owned());
            if is != protects {
                change.weakened.insert(name.to_owned());
            }
        }
    }
    change
}

fn told(ruling: &Ruling, state_read: bool) -> Object {
    let mut told = Object::new();
    match ruling {
        Ruling::Permit(permit) => {
            told.set("decision", "permit");
            told.set("policies", permit.policies().iter().map(String::as_str).collect::<Vec<_>>());
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
                told.set("policies", forbidden.policies.iter().map(String::as_str).collect::<Vec<_>>());
                if let Some(advice) = &forbidden.advice {
                    told.set("advice", advice.as_str());
                }
                if let Some(pointer) = &forbidden.pointer {
                    told.set("pointer", pointer.as_str());
                }
            }
        }
    }
    told.set("reads_state", state_read);
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
        writeln!(out, "{:12} {value}", name.replace('_', " "))?;
    }
    match told.get("message").and_then(Json::as_str) {
        Some(message) => writeln!(out, "{:12} {message}", "message"),
        None => Ok(()),
    }
}
