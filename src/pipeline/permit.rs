//! From a call within its limits to a permitted one: by the policy alone where that is enough, else by the
//! state before, read in the call's turn.

#[cfg(test)]
mod tests;

use crate::audit::call::{Call, Named};
use crate::authorize::{Element, Permit, Question, Ruling};
use crate::json::{Json, Object};
use crate::measure::Stage;
use crate::operation::{Class, Operation, TunnelId};
use crate::refusal::Refusal;
use crate::respond::Extras;
use crate::state::turns::{At, Turn};
use crate::tunnel::Change;

use super::Pipeline;
use super::admit::{Within, within};

/// A permitted call, with the states that it was permitted on.
pub(super) struct Allowed {
    pub permit: Permit,
    /// The tunnels as they were read, one an element; empty where nothing was read.
    pub before: Vec<Object>,
    /// Nobody else changes these tunnels until this is dropped.
    pub turn: Turn,
}

impl std::fmt::Debug for Allowed {
    /// Without the states, which may hold an `md5_key`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { permit, before, turn } = self;
        f.debug_struct("Allowed")
            .field("permit", permit)
            .field("before", &before.len())
            .field("turn", turn)
            .finish()
    }
}

impl Pipeline {
    pub(super) async fn permit(
        &self,
        call: &mut Call,
        known: &Within,
        extras: &mut Extras,
    ) -> Result<Allowed, Refusal> {
        let rules = &known.rules;
        let authorizer = &rules.policy;
        call.policy_digest = Some(authorizer.digest().to_owned());
        let operation = known.route.operation;
        let early = Change::of_each(&known.asked, None);
        let permit =
            match authorizer.decide(&question(call, known, &Element::of_each(&known.asked, &early, &[]))) {
                Ruling::Deny(refusal) => return Err(refusal),
                Ruling::Permit(permit) => Some(permit),
                Ruling::NeedsState => None,
            };
        call.passed(Stage::Authorize);
        let ids: Vec<TunnelId> = call.tunnels.iter().filter_map(|tunnel| tunnel.id).collect();
        let turn = match operation.class() {
            Class::Read => Turn::default(),
            Class::Write | Class::Secret => {
                let at = |named: &Named| match named.id {
                    Some(id) => Some(At::Tunnel(id)),
                    None => named.name.clone().map(At::Name),
                };
                // Apart, here and below: a read, which needs neither, is the smaller for it.
                Box::pin(self.states.turn(known.route.account, call.tunnels.iter().filter_map(at))).await?
            }
        };
        if let (Some(permit), false, None) = (&permit, operation.replaces_state(), &known.if_match) {
            note_change(call, &early);
            return Ok(Allowed { permit: permit.clone(), before: Vec::new(), turn });
        }
        within(extras, rules.limiter.charge(&known.caller, Class::Read).await)?;
        let taken = rules.budget.take(&known.caller, Class::Read).await?;
        let before = Box::pin(self.states.read(&taken, known.route.account, &ids, call.request_id)).await?;
        for (named, tunnel) in call.tunnels.iter_mut().zip(&before) {
            named.name = tunnel.get("name").and_then(Json::as_str).map(str::to_owned);
        }
        call.secrets.apart_from_states(&known.asked, &before)?;
        call.passed(Stage::State);
        if let (Some(if_match), [tunnel]) = (&known.if_match, before.as_slice())
            && !if_match.allows(&self.states.etag(tunnel))
        {
            return Err(Refusal::PreconditionFailed);
        }
        let changes = Change::of_each(&known.asked, Some(&before));
        note_change(call, &changes);
        let permit = match authorizer.decide(&question(
            call,
            known,
            &Element::of_each(&known.asked, &changes, &before),
        )) {
            Ruling::Permit(permit) => permit,
            Ruling::Deny(refusal) => return Err(refusal),
            // With everything known there is nothing left to ask for: a fault of ours, so no.
            Ruling::NeedsState => return Err(Refusal::Internal),
        };
        Ok(Allowed { permit, before, turn })
    }
}

fn question<'a>(call: &Call, known: &'a Within, elements: &'a [Element<'a>]) -> Question<'a> {
    Question {
        caller: &known.caller,
        operation: known.route.operation,
        account: known.route.account,
        validate_only: known.route.validate_only,
        source: call.origin.address,
        time: call.arrived,
        elements,
    }
}

/// The entry tells of all elements together; which of them changes what stands in the diffs.
fn note_change(call: &mut Call, changes: &[Option<Change>]) {
    let mut all = Change::default();
    for change in changes.iter().flatten() {
        all.changed.extend(change.changed.iter().cloned());
        all.weakened.extend(change.weakened.iter().cloned());
    }
    if call.operation().is_some_and(Operation::is_write) {
        call.change = Some(all);
    }
}
