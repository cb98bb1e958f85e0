//! Callers, accounts and tunnels as Cedar entities.
//!
//! A caller's entities are built once and kept, bounded in number. Only what an action's policies mention is
//! built: a policy that does not name `resource.name` costs nothing for it. Not here: the request's context (`ask`).

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cedar_policy::{Entities, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};

use super::policy::{Action, Slice};
use crate::caller::Caller;
use crate::json::{Json, Object};
use crate::operation::{AccountId, TunnelId};

/// Attributes of a tunnel that are texts. Together with [`FLAGS`] these are the schema's, and a test holds that.
pub(super) const TEXTS: [&str; 6] = [
    "name",
    "description",
    "cloudflare_endpoint",
    "customer_endpoint",
    "interface_address",
    "interface_address6",
];

/// Attributes of a tunnel that are on or off; a tunnel that does not say is off (the API's default for each).
pub(super) const FLAGS: [&str; 3] = ["allow_null_cipher", "automatic_return_routing", "replay_protection"];

/// Callers in one of the two halves of the cache. One takes about 2 KiB and, if it looks at many tunnels, 20 KiB
/// for what it was permitted, so both halves take 4 MiB as a rule and 44 MiB at the very most.
const CACHED_CALLERS: usize = 1024;

/// The schema's entity types.
#[derive(Debug)]
pub(super) struct Types {
    user: EntityTypeName,
    role: EntityTypeName,
    team: EntityTypeName,
    account: EntityTypeName,
    tunnel: EntityTypeName,
    audit: EntityTypeName,
}

impl Types {
    pub(super) fn new() -> Option<Self> {
        let name = |text: &str| text.parse::<EntityTypeName>().ok();
        Some(Self {
            user: name("User")?,
            role: name("Role")?,
            team: name("Team")?,
            account: name("Account")?,
            tunnel: name("Tunnel")?,
            audit: name("Audit")?,
        })
    }

    pub(super) fn account(&self, id: &str) -> EntityUid {
        uid(&self.account, id)
    }

    pub(super) fn tunnel(&self, id: &str) -> EntityUid {
        uid(&self.tunnel, id)
    }

    pub(super) fn audit(&self) -> EntityUid {
        uid(&self.audit, "log")
    }
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

/// The id of a user. Injective: an issuer has no bare `|` after escaping, so the first one ends it.
pub(super) fn user_id(issuer: &str, subject: &str) -> String {
    format!("{}|{subject}", issuer.replace('%', "%25").replace('|', "%7C"))
}

/// A caller as entities.
#[derive(Debug)]
pub(super) struct Known {
    issuer: String,
    subject: String,
    teams: Vec<String>,
    roles: Vec<String>,
    pub(super) principal: EntityUid,
    /// The caller and one action each, made when first asked for.
    by_action: [OnceLock<Entities>; Action::COUNT],
    /// What was permitted before, and by which rules.
    permitted: Mutex<HashMap<Plain, Vec<usize>>>,
}

/// A question whose answer depends on nothing but this and the policy: not on the tunnel's state, not on the
/// source, not on the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Plain {
    pub(super) action: usize,
    pub(super) account: AccountId,
    pub(super) tunnel: Option<TunnelId>,
    pub(super) validate_only: bool,
    pub(super) sets_psk: bool,
}

/// Questions of one caller whose answers are remembered, about 150 bytes each: the tunnels that a tool looks at.
const REMEMBERED: usize = 128;

impl Known {
    fn new(caller: &Caller, types: &Types) -> Self {
        Self {
            issuer: caller.issuer.clone(),
            subject: caller.subject.clone(),
            teams: caller.teams.clone(),
            roles: caller.roles.clone(),
            principal: uid(&types.user, &user_id(&caller.issuer, &caller.subject)),
            by_action: Default::default(),
            permitted: Mutex::default(),
        }
    }

    /// The places of the rules that permitted this before.
    pub(super) fn recall(&self, question: &Plain) -> Option<Vec<usize>> {
        self.permitted.lock().unwrap_or_else(PoisonError::into_inner).get(question).cloned()
    }

    /// Remembers a permit. When there is no more room all are forgotten: each costs one more question.
    pub(super) fn remember(&self, question: Plain, places: &[usize]) {
        let mut permitted = self.permitted.lock().unwrap_or_else(PoisonError::into_inner);
        if permitted.len() >= REMEMBERED {
            permitted.clear();
        }
        permitted.insert(question, places.to_vec());
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.permitted.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn is(&self, caller: &Caller) -> bool {
        self.subject == caller.subject
            && self.issuer == caller.issuer
            && self.roles == caller.roles
            && self.teams == caller.teams
    }

    fn user(&self, types: &Types) -> Option<Entity> {
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let set = |texts: &[String]| RestrictedExpression::new_set(texts.iter().map(|each| text(each)));
        let attributes = HashMap::from([
            ("subject".to_owned(), text(&self.subject)),
            ("issuer".to_owned(), text(&self.issuer)),
            ("roles".to_owned(), set(&self.roles)),
            ("teams".to_owned(), set(&self.teams)),
        ]);
        let roles = self.roles.iter().map(|role| uid(&types.role, role));
        let teams = self.teams.iter().map(|team| uid(&types.team, team));
        Entity::new(self.principal.clone(), attributes, roles.chain(teams).collect()).ok()
    }

    /// The entities of an ask whose resource has none of its own. Roles, teams and accounts have no attributes,
    /// so they need no entity: membership stands in the member.
    pub(super) fn base(&self, slice: &Slice, types: &Types) -> Option<&Entities> {
        let cell = self.by_action.get(slice.action.index())?;
        if cell.get().is_none() {
            let both = [self.user(types)?, slice.entity.clone()];
            // Another thread may have been quicker, with the same value.
            let _ = cell.set(Entities::from_entities(both, None).ok()?);
        }
        cell.get()
    }
}

/// The tunnel's entity, with those attributes that the slice mentions. What is not known, because the state was
/// not read or holds a value of an unexpected type, is a Cedar unknown; the flag says whether one is in it.
pub(super) fn tunnel(
    slice: &Slice,
    tunnel: EntityUid,
    account: EntityUid,
    state: Option<&Object>,
) -> Option<(Entity, bool)> {
    let mut open = false;
    let mut attributes = HashMap::new();
    let mut put = |name: &str, known: Option<RestrictedExpression>| {
        open |= known.is_none();
        let value = known.unwrap_or_else(|| RestrictedExpression::new_unknown(format!("resource.{name}")));
        attributes.insert(name.to_owned(), value);
    };
    for name in TEXTS.into_iter().filter(|name| slice.mentions(name)) {
        put(name, state.and_then(|state| text(state.get(name))).map(RestrictedExpression::new_string));
    }
    for name in FLAGS.into_iter().filter(|name| slice.mentions(name)) {
        put(name, state.and_then(|state| flag(state.get(name))).map(RestrictedExpression::new_bool));
    }
    let entity = Entity::new(tunnel, attributes, HashSet::from([account])).ok()?;
    Some((entity, open))
}

fn text(value: Option<&Json>) -> Option<String> {
    match value {
        None | Some(Json::Null) => Some(String::new()),
        Some(Json::String(text)) => Some(text.clone()),
        Some(Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_)) => None,
    }
}

fn flag(value: Option<&Json>) -> Option<bool> {
    match value {
        None | Some(Json::Null) => Some(false),
        Some(Json::Bool(value)) => Some(*value),
        Some(Json::String(_) | Json::Number(_) | Json::Array(_) | Json::Object(_)) => None,
    }
}

/// Callers seen lately. Two halves: when the newer is full it becomes the older and the older is dropped, so what
/// is in use stays and memory is bounded.
#[derive(Debug, Default)]
pub(super) struct Callers {
    hasher: RandomState,
    halves: Mutex<Halves>,
}

#[derive(Debug, Default)]
struct Halves {
    newer: HashMap<u64, Arc<Known>>,
    older: HashMap<u64, Arc<Known>>,
}

impl Callers {
    pub(super) fn get(&self, caller: &Caller, types: &Types) -> Arc<Known> {
        let hash = self.hasher.hash_one((&caller.issuer, &caller.subject, &caller.teams, &caller.roles));
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        // The hash only finds the place. Who it is is compared in full, so a collision costs time and not safety.
        if let Some(known) = halves.newer.get(&hash).filter(|known| known.is(caller)) {
            return Arc::clone(known);
        }
        let known = match halves.older.remove(&hash).filter(|known| known.is(caller)) {
            Some(known) => known,
            None => Arc::new(Known::new(caller, types)),
        };
        if halves.newer.len() >= CACHED_CALLERS {
            halves.older = std::mem::take(&mut halves.newer);
        }
        halves.newer.insert(hash, Arc::clone(&known));
        known
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        halves.newer.len() + halves.older.len()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn caller(subject: &str) -> Caller {
        Caller {
            subject: subject.to_owned(),
            teams: vec!["network".into()],
            roles: vec!["viewer".into()],
            issuer: "https://idp.example".into(),
            jti: None,
            key_id: None,
            expires: Timestamp::MAX,
        }
    }

    /// Two callers whose hashes are one must not be taken for one.
    #[test]
    fn a_caller_is_known_by_all_that_a_policy_can_ask_of_it() {
        let types = Types::new().unwrap();
        let alice = caller("alice");
        let known = Known::new(&alice, &types);
        assert!(known.is(&alice));
        assert!(known.is(&Caller { jti: Some("another token".into()), ..alice.clone() }));
        for other in [
            caller("bob"),
            Caller { issuer: "https://other.example".into(), ..alice.clone() },
            Caller { roles: vec!["admin".into()], ..alice.clone() },
            Caller { teams: vec!["voice".into()], ..alice.clone() },
        ] {
            assert!(!known.is(&other), "{other:?}");
        }
    }

    #[test]
    fn who_comes_again_is_the_one_that_was_kept() {
        let (types, callers) = (Types::new().unwrap(), Callers::default());
        let first = callers.get(&caller("alice"), &types);
        for n in 0..5 {
            callers.get(&caller(&n.to_string()), &types);
        }
        assert!(Arc::ptr_eq(&first, &callers.get(&caller("alice"), &types)));
    }
}
