//! The words of a no: which policies decided, and what would help.
//!
//! Not here: the decision (`authorize`, `ask`), the text for the client (`refusal`).

use cedar_policy::{Effect, EntityUid, PrincipalConstraint};

use super::policy::Action;
use super::{Authorizer, entities};
use crate::caller::Caller;
use crate::refusal::{Forbidden, Refusal};

impl Authorizer {
    /// The refusal that names the deciding policies and tells what would help.
    pub(super) fn refusal(
        &self,
        caller: &Caller,
        action: Action,
        pointer: Option<&str>,
        forbids: &[usize],
        failed: &[usize],
    ) -> Refusal {
        let named = if forbids.is_empty() { failed } else { forbids };
        let advice = match named.first() {
            Some(first) if failed.contains(first) => {
                Some("it can't be evaluated here; ask those who run this proxy to correct it".to_owned())
            }
            Some(_) => named.iter().find_map(|place| self.policies.rules.get(*place)?.advice.clone()),
            None => self.near_miss(caller, action),
        };
        Refusal::Forbidden(Box::new(Forbidden {
            action: action.name(),
            policies: named.iter().filter_map(|place| self.id(*place)).collect(),
            advice,
            pointer: pointer.map(str::to_owned),
        }))
    }

    /// The advice of a `permit` for this action: of one that is meant for this caller, else of the first.
    fn near_miss(&self, caller: &Caller, action: Action) -> Option<String> {
        let slice = self.policies.slice(action)?;
        let permits = || {
            let rules = slice.rules.iter().filter_map(|place| self.policies.rules.get(*place));
            rules.filter(|rule| rule.effect == Effect::Permit && rule.advice.is_some())
        };
        let meant = permits().find(|rule| is_meant(&rule.principal, caller)).or_else(|| permits().next());
        meant.and_then(|rule| rule.advice.clone())
    }
}

/// Whether the scope of a policy takes this caller in. For advice only; Cedar decides.
fn is_meant(principal: &PrincipalConstraint, caller: &Caller) -> bool {
    let has = |uid: &EntityUid| {
        let id: &str = uid.id().unescaped();
        match uid.type_name().to_string().as_str() {
            "Role" => caller.roles.iter().any(|role| role == id),
            "Team" => caller.teams.iter().any(|team| team == id),
            _ => id == entities::user_id(&caller.issuer, &caller.subject),
        }
    };
    match principal {
        PrincipalConstraint::Any | PrincipalConstraint::Is(_) => true,
        PrincipalConstraint::In(uid) | PrincipalConstraint::Eq(uid) | PrincipalConstraint::IsIn(_, uid) => {
            has(uid)
        }
    }
}
