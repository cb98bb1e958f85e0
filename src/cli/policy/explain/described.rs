//! A call as described by flags and files: its body read as strictly as the proxy reads it.
//!
//! Not here: what is asked of it (`explain`), what a body may hold (`tunnel::body`).

use std::io::Read as _;
use std::path::Path;

use super::Explain;
use crate::authorize::{Element, Ruling};
use crate::json::{self, Json, Object};
use crate::operation::{Operation, TunnelId};
use crate::refusal::Refusal;
use crate::tunnel::state::{tunnel_id, tunnels_in};
use crate::tunnel::{Asked, Change};

/// Bytes of a body that are read: what the proxy takes by default.
const MAX_BODY: usize = 1 << 20;

/// Bytes of a state that are read: the answer to a list of a thousand tunnels.
const MAX_STATE: usize = 8 << 20;

/// Why there is nothing to decide.
pub(super) enum Fault {
    /// What was given can't be used.
    Usage(String),
    /// The proxy would not take the body.
    NotTaken(Refusal),
}

/// A call to be explained.
pub(super) struct Described {
    operation: Operation,
    /// The tunnel of `--tunnel`.
    tunnel: Option<TunnelId>,
    /// `None` where no body was given though the operation needs one.
    asked: Option<Asked>,
    /// The tunnels of `--state`.
    states: Option<Vec<Object>>,
}

impl Described {
    pub(super) fn read(operation: Operation, explain: &Explain) -> Result<Self, Fault> {
        let tunnel = explain
            .tunnel
            .as_ref()
            .map(|id| {
                TunnelId::parse(id).ok_or_else(|| usage("--tunnel must be 1 to 32 lower-case hex digits"))
            })
            .transpose()?;
        let on_account = matches!(operation, Operation::List | Operation::Create);
        let by_body = !on_account && !operation.names_tunnel() && explain.body.is_some();
        match tunnel {
            Some(_) if on_account => {
                return Err(usage(format!(
                    "`{}` is about the account; leave --tunnel out",
                    operation.name()
                )));
            }
            Some(_) if by_body => {
                return Err(usage("--body names the tunnels of this operation; leave --tunnel out"));
            }
            None if !on_account && !by_body => {
                let name = operation.name();
                let body = if operation.names_tunnel() { "" } else { ", or a --body that names tunnels" };
                return Err(usage(format!("`{name}` is about a tunnel; give --tunnel{body}")));
            }
            Some(_) | None => {}
        }
        let needs_body = matches!(
            operation,
            Operation::Create | Operation::Update | Operation::BulkUpdate | Operation::SetPsks
        );
        let asked = match &explain.body {
            None if needs_body => None,
            body => Some(body_of(operation, tunnel, body.as_deref())?),
        };
        let states = explain.state.as_deref().map(states).transpose()?;
        Ok(Self { operation, tunnel, asked, states })
    }

    /// Asks `decide` about the call, and tells what it changes.
    pub(super) fn ask(
        &self,
        before: Option<&[Object]>,
        decide: impl FnOnce(&[Element<'_>]) -> Ruling,
    ) -> (Ruling, Option<Change>) {
        let states = before.unwrap_or_default();
        let Some(asked) = &self.asked else {
            let nothing = Change::default();
            let change = Some(&nothing);
            let one = Element { tunnel: self.tunnel, change, state: states.first(), ..Element::default() };
            return (decide(&[one]), None);
        };
        let changes = Change::of_each(asked, before);
        let ruling = decide(&Element::of_each(asked, &changes, states));
        let told: Option<Vec<Change>> = changes.into_iter().collect();
        let all = |changes: Vec<Change>| {
            changes.into_iter().fold(Change::default(), |mut all, change| {
                all.changed.extend(change.changed);
                all.weakened.extend(change.weakened);
                all
            })
        };
        (ruling, told.filter(|_| self.operation.is_write()).map(all))
    }

    /// The state of each tunnel that the call is on, out of `--state`; `None` without it.
    pub(super) fn before(&self) -> Result<Option<Vec<Object>>, Fault> {
        let Some(states) = &self.states else { return Ok(None) };
        let asked = self.asked.iter().flat_map(Asked::elements).map(|element| element.tunnel);
        let tunnels: Vec<TunnelId> =
            if self.asked.is_some() { asked.flatten().collect() } else { self.tunnel.into_iter().collect() };
        let state_of = |tunnel: &TunnelId| match states.as_slice() {
            // A state without an id is of the tunnel that is meant.
            [one] if one.get("id").is_none() => Ok(one.clone()),
            _ => {
                let found = states.iter().find(|state| tunnel_id(state) == Some(*tunnel)).cloned();
                found.ok_or_else(|| usage(format!("--state has no tunnel `{tunnel}`")))
            }
        };
        tunnels.iter().map(state_of).collect::<Result<_, _>>().map(Some)
    }
}

fn usage(what: impl Into<String>) -> Fault {
    Fault::Usage(what.into())
}

fn body_of(operation: Operation, tunnel: Option<TunnelId>, file: Option<&Path>) -> Result<Asked, Fault> {
    let json = match file {
        None => None,
        Some(file) => {
            let limit = MAX_BODY;
            let bytes = read(file, limit)?.ok_or(Fault::NotTaken(Refusal::BodyTooLarge { limit }))?;
            match bytes.as_slice() {
                [] => None,
                bytes => {
                    let read = json::read(bytes, json::MAX_DEPTH);
                    Some(read.map_err(|error| Fault::NotTaken(Refusal::BadJson(error)))?)
                }
            }
        }
    };
    Asked::read(operation, tunnel, json).map_err(|fault| Fault::NotTaken(fault.into()))
}

/// The tunnels in a file: an answer of the API's, an array of tunnels, or one tunnel.
fn states(file: &Path) -> Result<Vec<Object>, Fault> {
    let fault = |what: &dyn std::fmt::Display| usage(format!("`{}` can't be used: {what}", file.display()));
    let bytes = read(file, MAX_STATE)?.ok_or_else(|| fault(&"it is larger than 8 MiB"))?;
    let json = json::read(&bytes, json::MAX_DEPTH).map_err(|e| fault(&e))?;
    let tunnels = match &json {
        Json::Object(answer) if answer.get("result").is_some() => {
            tunnels_in(Operation::List, &json).into_iter().cloned().collect()
        }
        Json::Object(tunnel) => vec![tunnel.clone()],
        Json::Array(items) => items.iter().filter_map(Json::as_object).cloned().collect(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => Vec::new(),
    };
    if tunnels.is_empty() {
        return Err(fault(&"there is no tunnel in it"));
    }
    Ok(tunnels)
}

/// A file's bytes, `None` where there are more than `limit`.
fn read(file: &Path, limit: usize) -> Result<Option<Vec<u8>>, Fault> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(limit as u64 + 1).read_to_end(&mut bytes))
        .map_err(|e| usage(format!("`{}` can't be read: {e}", file.display())))?;
    Ok(Some(bytes).filter(|bytes| bytes.len() <= limit))
}
