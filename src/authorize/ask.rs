//! One question to Cedar: may this caller do this action on this resource?
//!
//! What is not known yet is a Cedar unknown, and the answer then holds for whatever it turns out to be, or is
//! that it is open. A `forbid` that can't be evaluated forbids; a `permit` that can't be evaluated permits nothing.
//! Not here: how a call becomes questions (`authorize`), the entities (`entities`).

use std::net::IpAddr;

use cedar_policy::{
    AuthorizationError, Authorizer as Engine, Context, Effect, Entities, EntityUid, PartialResponse,
    PolicyId, Request, RestrictedExpression,
};
use jiff::Timestamp;

use super::entities::Known;
use super::policy::{Policies, Slice};
use super::residual;
use crate::tunnel::Change;

/// The names of the members of the schema's `Call`, which a test holds.
pub(super) const CONTEXT: [&str; 6] = ["validate_only", "sets_psk", "changed", "weakened", "source", "time"];

/// What the policies see besides caller and resource.
pub(super) struct Circumstances<'a> {
    pub(super) validate_only: bool,
    pub(super) sets_psk: bool,
    /// `None`: not known yet.
    pub(super) change: Option<&'a Change>,
    pub(super) source: IpAddr,
    pub(super) time: Timestamp,
}

/// Cedar's answer. Numbers are places of rules, ascending.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// By these `permit`s.
    Permit(Vec<usize>),
    /// By these `forbid`s, or by no `permit`.
    Deny {
        /// `forbid`s that apply or can't be evaluated.
        forbids: Vec<usize>,
        /// Policies of either kind that can't be evaluated.
        failed: Vec<usize>,
    },
    /// It depends on what is not known yet.
    Open,
}

/// Puts the question. `None` is a fault of ours: the caller must refuse.
pub(super) fn ask(
    policies: &Policies,
    slice: &Slice,
    known: &Known,
    resource: EntityUid,
    entities: &Entities,
    resource_open: bool,
    about: &Circumstances<'_>,
) -> Option<Verdict> {
    let change_open = about.change.is_none() && (slice.mentions("changed") || slice.mentions("weakened"));
    let context = context(slice, about, change_open)?;
    let request = Request::new(known.principal.clone(), slice.entity.uid(), resource, context, None).ok()?;
    let engine = Engine::new();
    if !change_open && !resource_open {
        let answer = engine.is_authorized(&request, &slice.policies, entities);
        let mut tally = Tally::default();
        answer.diagnostics().reason().for_each(|id| tally.applies(policies, id));
        answer.diagnostics().errors().for_each(|AuthorizationError::PolicyEvaluationError(error)| {
            tally.fails(policies, error.policy_id());
        });
        return Some(tally.verdict());
    }
    let first = engine.is_authorized_partial(&request, &slice.policies, entities);
    let mut tally = Tally::default();
    first.definitely_errored().for_each(|id| tally.fails(policies, id));
    // Source and time stood in as unknowns (see `context`); where they matter they are put in now.
    let late = change_open && (slice.mentions("source") || slice.mentions("time"));
    if late && first.nontrivial_residuals().next().is_some() {
        let (source, time) = (source(about), time(about));
        let bindings = [("context.source", &source), ("context.time", &time)];
        let second = first.reauthorize_with_bindings(bindings, &engine, entities).ok()?;
        second.definitely_errored().for_each(|id| tally.fails(policies, id));
        tally.sort_out(policies, &second);
    } else {
        tally.sort_out(policies, &first);
    }
    Some(tally.verdict())
}

/// The context, with what the slice mentions.
///
/// Cedar can look into a context that holds an unknown only while all of it is plain values and unknowns; an
/// extension value (address, time) makes all of it opaque. So these two go in as unknowns then, and are bound
/// in a second step.
fn context(slice: &Slice, about: &Circumstances<'_>, change_open: bool) -> Option<Context> {
    let unknown = |name: &str| RestrictedExpression::new_unknown(format!("context.{name}"));
    let set = |pick: fn(&Change) -> &std::collections::BTreeSet<String>, name: &str| match about.change {
        Some(change) => RestrictedExpression::new_set(
            pick(change).iter().map(|field| RestrictedExpression::new_string(field.clone())),
        ),
        None => unknown(name),
    };
    let member = |name: &'static str| {
        let value = match name {
            "validate_only" => RestrictedExpression::new_bool(about.validate_only),
            "sets_psk" => RestrictedExpression::new_bool(about.sets_psk),
            "changed" => set(|change| &change.changed, name),
            "weakened" => set(|change| &change.weakened, name),
            "source" | "time" if change_open => unknown(name),
            "source" => source(about),
            _ => time(about),
        };
        (name.to_owned(), value)
    };
    let mentioned = CONTEXT.into_iter().filter(|name| slice.mentions(name));
    Context::from_pairs(mentioned.map(member)).ok()
}

/// The source as an address of its own family: `::ffff:10.0.0.1` is in `10.0.0.0/8`.
fn source(about: &Circumstances<'_>) -> RestrictedExpression {
    RestrictedExpression::new_ip(about.source.to_canonical().to_string())
}

fn time(about: &Circumstances<'_>) -> RestrictedExpression {
    RestrictedExpression::new_datetime(about.time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
}

/// What each policy came to.
#[derive(Default)]
struct Tally {
    permits: Vec<usize>,
    forbids: Vec<usize>,
    failed: Vec<usize>,
    open_permit: bool,
    open_forbid: bool,
    /// Cedar named a policy that we don't know: refuse.
    lost: bool,
}

impl Tally {
    fn applies(&mut self, policies: &Policies, id: &PolicyId) {
        match policies.place(id).and_then(|place| Some((place, policies.rules.get(place)?.effect))) {
            Some((place, Effect::Permit)) => self.permits.push(place),
            Some((place, Effect::Forbid)) => self.forbids.push(place),
            None => self.lost = true,
        }
    }

    fn fails(&mut self, policies: &Policies, id: &PolicyId) {
        match policies.place(id).and_then(|place| Some((place, policies.rules.get(place)?.effect))) {
            Some((place, effect)) => {
                self.failed.push(place);
                if effect == Effect::Forbid {
                    self.forbids.push(place);
                }
            }
            None => self.lost = true,
        }
    }

    fn sort_out(&mut self, policies: &Policies, answer: &PartialResponse) {
        answer.definitely_satisfied().for_each(|policy| self.applies(policies, policy.id()));
        for left in answer.nontrivial_residuals() {
            match left.effect() {
                Effect::Permit => self.open_permit |= !residual::never_applies(&left),
                Effect::Forbid => self.open_forbid |= !residual::never_applies_nor_fails(&left),
            }
        }
    }

    fn verdict(mut self) -> Verdict {
        for places in [&mut self.permits, &mut self.forbids, &mut self.failed] {
            places.sort_unstable();
            places.dedup();
        }
        let hopeless = self.permits.is_empty() && !self.open_permit;
        if self.lost || !self.forbids.is_empty() || hopeless {
            Verdict::Deny { forbids: self.forbids, failed: self.failed }
        } else if self.open_forbid || self.permits.is_empty() {
            Verdict::Open
        } else {
            Verdict::Permit(self.permits)
        }
    }
}
