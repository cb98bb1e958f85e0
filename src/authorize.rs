//! May this caller make this call? Cedar policies over our schema decide.
//!
//! A call is asked about once before any state is read, and, where the answer depends on the tunnel's state, a
//! second time with it. The first answer, where there is one, holds whatever the state is. Everything that goes
//! wrong on the way to an answer is a refusal. Not here: what a call changes (`tunnel`), reading states and
//! swapping the policy (`pipeline`).

mod ask;
mod elements;
mod entities;
mod file;
mod policy;
mod refuse;
mod residual;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;

use aws_lc_rs::digest;
use cedar_policy::{Effect, Entities, EntityUid};
use jiff::Timestamp;

use crate::caller::Caller;
use crate::json::Object;
use crate::operation::{AccountId, Operation, TunnelId};
use crate::refusal::Refusal;
use crate::tunnel::Change;
use ask::{Circumstances, Verdict, ask};
use entities::{Callers, Known, Plain, Types};
use policy::{Action, Policies, Slice};

pub use file::{check, read_policy};
pub use policy::PolicyProblem;

/// A policy, ready to be asked.
#[derive(Debug)]
pub struct Authorizer {
    policies: Policies,
    types: Types,
    callers: Callers,
    digest: String,
}

/// A call, as far as the policy is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who.
    pub caller: &'a Caller,
    /// What.
    pub operation: Operation,
    /// Where.
    pub account: AccountId,
    /// Whether the upstream is asked to check only.
    pub validate_only: bool,
    /// The address of the connection's other end.
    pub source: IpAddr,
    /// When.
    pub time: Timestamp,
    /// What it is about: one for each tunnel in the call, one without a tunnel for list and create.
    pub elements: &'a [Element<'a>],
}

/// One tunnel of a call.
#[derive(Clone, Copy, Default)]
pub struct Element<'a> {
    /// The tunnel; `None` for list and create.
    pub tunnel: Option<TunnelId>,
    /// Whether its body holds a `psk`.
    pub sets_psk: bool,
    /// What it changes; `None` where that is not known yet. Looked at for create, update and bulk update only.
    pub change: Option<&'a Change>,
    /// The tunnel as the API shows it; `None` where it was not read yet.
    pub state: Option<&'a Object>,
    /// RFC 6901 pointer to it in the body, for bulk bodies.
    pub pointer: Option<&'a str>,
}

impl std::fmt::Debug for Element<'_> {
    /// Without the state, which may hold an `md5_key`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Element")
            .field("tunnel", &self.tunnel)
            .field("sets_psk", &self.sets_psk)
            .field("change", &self.change)
            .finish_non_exhaustive()
    }
}

/// The answer.
#[derive(Debug)]
pub enum Ruling {
    /// Make the call.
    Permit(Permit),
    /// Don't.
    Deny(Refusal),
    /// Read the tunnels' states, find out what changes, and ask again.
    NeedsState,
}

/// How much of the record is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Who did what, when, by which policy, how it ended, and which fields changed; no value of any field.
    Metadata,
    /// Also bodies, states and the values of changed fields.
    Bodies,
}

impl Depth {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Metadata, Self::Bodies];

    /// The action that a policy permits it by.
    #[must_use]
    pub const fn action(self) -> &'static str {
        match self {
            Self::Metadata => "read_audit",
            Self::Bodies => "read_audit_bodies",
        }
    }
}

/// The proof that a call was permitted. Only this module makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Permit {
    policies: Vec<String>,
}

impl Permit {
    /// The `@id`s of the policies that permit it, in the order of the policy's text.
    #[must_use]
    pub fn policies(&self) -> &[String] {
        &self.policies
    }
}

/// SHA-256 of a policy text, in hex: what entries name it by.
#[must_use]
pub fn digest_of(text: &str) -> String {
    data_encoding::HEXLOWER.encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

impl Authorizer {
    /// Reads and validates a policy text.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn new(text: &str) -> Result<Self, Vec<PolicyProblem>> {
        let policies = Policies::read(text)?;
        let fault =
            || PolicyProblem { line: None, id: None, what: "the built-in schema can't be used".into() };
        let types = Types::new().ok_or_else(|| vec![fault()])?;
        Ok(Self { policies, types, callers: Callers::default(), digest: digest_of(text) })
    }

    /// SHA-256 of the policy's text, in hex: what entries name it by.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The roles that the policy names.
    #[must_use]
    pub const fn roles(&self) -> &BTreeSet<String> {
        &self.policies.roles
    }

    /// The `@id`s of all policies, in the order of the text.
    pub fn policy_ids(&self) -> impl Iterator<Item = &str> {
        self.policies.rules.iter().map(|rule| rule.id.as_str())
    }

    /// Whether nobody may do anything, as no policy permits.
    #[must_use]
    pub fn permits_nothing(&self) -> bool {
        self.policies.rules.iter().all(|rule| rule.effect != Effect::Permit)
    }

    /// Answers for a whole call: permitted only if every element is.
    #[must_use]
    pub fn decide(&self, question: &Question<'_>) -> Ruling {
        let known = self.callers.get(question.caller, &self.types);
        let mut open = false;
        let mut by = BTreeSet::new();
        for element in question.elements {
            match self.element(question, &known, element) {
                Ok(Some(places)) => by.extend(places),
                Ok(None) => open = true,
                Err(refusal) => return Ruling::Deny(refusal),
            }
        }
        if open {
            Ruling::NeedsState
        } else if by.is_empty() {
            // INVARIANT: without an element nothing was asked, so nothing was permitted.
            Ruling::Deny(Refusal::Internal)
        } else {
            Ruling::Permit(self.permit(by))
        }
    }

    /// Whether the caller may read the record to this depth. Never answers [`Ruling::NeedsState`].
    #[must_use]
    pub fn decide_audit(&self, caller: &Caller, depth: Depth, source: IpAddr, time: Timestamp) -> Ruling {
        let known = self.callers.get(caller, &self.types);
        let nothing = Change::default();
        let about =
            Circumstances { validate_only: false, sets_psk: false, change: Some(&nothing), source, time };
        let action = Action::ReadAudit(depth);
        let verdict = self.policies.slice(action).and_then(|slice| {
            let entities = known.base(slice, &self.types)?;
            ask(&self.policies, slice, &known, self.types.audit(), entities, false, &about)
        });
        match verdict {
            Some(Verdict::Permit(places)) => Ruling::Permit(self.permit(places)),
            Some(Verdict::Deny { forbids, failed }) => {
                Ruling::Deny(self.refusal(caller, action, None, &forbids, &failed))
            }
            Some(Verdict::Open) | None => Ruling::Deny(Refusal::Internal),
        }
    }

    /// The places of the policies that permit one element; `None` where that is open.
    fn element(
        &self,
        question: &Question<'_>,
        known: &Known,
        element: &Element<'_>,
    ) -> Result<Option<Vec<usize>>, Refusal> {
        let nothing = Change::default();
        let changes =
            matches!(question.operation, Operation::Create | Operation::Update | Operation::BulkUpdate);
        let about = Circumstances {
            validate_only: question.validate_only,
            sets_psk: element.sets_psk || question.operation == Operation::SetPsks,
            change: if changes { element.change } else { Some(&nothing) },
            source: question.source,
            time: question.time,
        };
        // A key in a body is set as surely as by the operation of that name, so its permission is asked for too.
        let also =
            (element.sets_psk && question.operation != Operation::SetPsks).then_some(Operation::SetPsks);
        let mut open = false;
        let mut by = Vec::new();
        for operation in [question.operation].into_iter().chain(also) {
            let action = Action::Call(operation);
            match self.ask(question, known, element, action, &about).ok_or(Refusal::Internal)? {
                Verdict::Permit(places) => by.extend(places),
                Verdict::Open => open = true,
                Verdict::Deny { forbids, failed } => {
                    return Err(self.refusal(question.caller, action, element.pointer, &forbids, &failed));
                }
            }
        }
        let settled = (element.state.is_some() || element.tunnel.is_none()) && about.change.is_some();
        match (open, settled) {
            (false, _) => Ok(Some(by)),
            (true, false) if element.tunnel.is_some() => Ok(None),
            // Everything there is to read was read (or there is nothing to read), and it does not answer.
            (true, _) => {
                let why = "a field that the policy asks about is missing or of an unexpected type";
                Err(Refusal::StateUnreadable { why })
            }
        }
    }

    fn ask(
        &self,
        question: &Question<'_>,
        known: &Known,
        element: &Element<'_>,
        action: Action,
        about: &Circumstances<'_>,
    ) -> Option<Verdict> {
        let slice = self.policies.slice(action)?;
        let plain = plain(slice, question, element, about);
        if let Some(places) = plain.as_ref().and_then(|plain| known.recall(plain)) {
            return Some(Verdict::Permit(places));
        }
        let verdict = self.ask_engine(question, known, element, slice, about)?;
        if let (Some(plain), Verdict::Permit(places)) = (plain, &verdict) {
            known.remember(plain, places);
        }
        Some(verdict)
    }

    fn ask_engine(
        &self,
        question: &Question<'_>,
        known: &Known,
        element: &Element<'_>,
        slice: &Slice,
        about: &Circumstances<'_>,
    ) -> Option<Verdict> {
        let base = known.base(slice, &self.types)?;
        let account = self.types.account(question.account.as_str());
        let on_account = matches!(question.operation, Operation::List | Operation::Create);
        match element.tunnel {
            None if on_account => ask(&self.policies, slice, known, account, base, false, about),
            Some(tunnel) if !on_account => {
                let tunnel = self.types.tunnel(tunnel.as_str());
                let (entities, open) = with_tunnel(slice, base, &tunnel, account, element.state)?;
                ask(&self.policies, slice, known, tunnel, &entities, open, about)
            }
            // A call on a tunnel that names none, or the other way around, is a fault of ours.
            None | Some(_) => None,
        }
    }

    fn permit(&self, places: impl IntoIterator<Item = usize>) -> Permit {
        Permit { policies: places.into_iter().filter_map(|place| self.id(place)).collect() }
    }

    fn id(&self, place: usize) -> Option<String> {
        self.policies.rules.get(place).map(|rule| rule.id.clone())
    }
}

/// The question, if its answer may be remembered. A state that was read and a change are never part of one.
fn plain(
    slice: &Slice,
    question: &Question<'_>,
    element: &Element<'_>,
    about: &Circumstances<'_>,
) -> Option<Plain> {
    let unchanged = about.change.is_some_and(|change| *change == Change::default());
    let plain = unchanged && element.state.is_none() && !slice.mentions("source") && !slice.mentions("time");
    plain.then(|| Plain {
        action: slice.action.index(),
        account: question.account,
        tunnel: element.tunnel,
        validate_only: about.validate_only,
        sets_psk: about.sets_psk,
    })
}

fn with_tunnel(
    slice: &Slice,
    base: &Entities,
    tunnel: &EntityUid,
    account: EntityUid,
    state: Option<&Object>,
) -> Option<(Entities, bool)> {
    let (entity, open) = entities::tunnel(slice, tunnel.clone(), account, state)?;
    Some((base.clone().add_entities([entity], None).ok()?, open))
}
