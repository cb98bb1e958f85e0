//! A policy, put together: rules with their names and advice, and for each action those that can bear on it.
//!
//! Not here: reading and validating its text (`policy::text`), what the rules say about a call (`ask`).

mod text;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Display;

use cedar_policy::{
    ActionConstraint, Effect, Entity, EntityId, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet,
    PrincipalConstraint, Schema,
};

use super::Depth;
use crate::operation::Operation;

pub use text::PolicyProblem;
use text::plain;

const SCHEMA: &str = include_str!("schema.cedarschema");

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Call(Operation),
    ReadAudit(Depth),
}

impl Action {
    pub(super) const COUNT: usize = Operation::ALL.len() + Depth::ALL.len();

    fn all() -> impl Iterator<Item = Self> {
        Operation::ALL.into_iter().map(Self::Call).chain(Depth::ALL.into_iter().map(Self::ReadAudit))
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Call(operation) => operation.name(),
            Self::ReadAudit(depth) => depth.action(),
        }
    }

    /// Its place in a table of [`Action::COUNT`].
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Call(operation) => operation as usize,
            Self::ReadAudit(depth) => Operation::ALL.len() + depth as usize,
        }
    }
}

/// One policy, by what is said of it.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) effect: Effect,
    pub(super) advice: Option<String>,
    pub(super) principal: PrincipalConstraint,
}

/// The policies that can bear on one action.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) action: Action,
    pub(super) entity: Entity,
    pub(super) policies: PolicySet,
    /// Places in [`Policies::rules`], ascending.
    pub(super) rules: Vec<usize>,
    /// Every text in these policies: names of attributes, texts they compare with, everything.
    words: HashSet<String>,
}

impl Slice {
    /// Whether an attribute of that name can play a part. Says yes too often (when a policy compares with such a
    /// text), never too rarely: there is no way to look at an attribute without writing its name.
    pub(super) fn mentions(&self, name: &str) -> bool {
        self.words.contains(name)
    }
}

/// A valid policy text.
#[derive(Debug)]
pub(super) struct Policies {
    /// In the order of the text.
    pub(super) rules: Vec<Rule>,
    places: HashMap<PolicyId, usize>,
    slices: Vec<Slice>,
    /// Roles that the policy names, sorted.
    pub(super) roles: BTreeSet<String>,
}

impl Policies {
    pub(super) fn slice(&self, action: Action) -> Option<&Slice> {
        self.slices.get(action.index())
    }

    pub(super) fn place(&self, id: &PolicyId) -> Option<usize> {
        self.places.get(id).copied()
    }

    /// Reads a policy text.
    pub(super) fn read(text: &str) -> Result<Self, Vec<PolicyProblem>> {
        let schema = match Schema::from_cedarschema_str(SCHEMA) {
            Ok((schema, _)) => schema,
            Err(error) => return Err(vec![plain(format!("the built-in schema can't be read: {error}"))]),
        };
        let policies = text::read(text, &schema)?;
        Self::sliced(policies, &schema).map_err(|what| vec![plain(what)])
    }

    fn sliced(policies: Vec<Policy>, schema: &Schema) -> Result<Self, String> {
        let fault = |what: &dyn Display| format!("the policies can't be put together: {what}");
        let actions = schema.action_entities().map_err(|e| fault(&e))?;
        let kind: EntityTypeName = "Action".parse().map_err(|e| fault(&e))?;
        let places =
            policies.iter().enumerate().map(|(place, policy)| (policy.id().clone(), place)).collect();
        let mut json = Vec::with_capacity(policies.len());
        for policy in &policies {
            json.push(policy.to_json().map_err(|e| fault(&e))?);
        }
        let mut slices = Vec::with_capacity(Action::COUNT);
        for action in Action::all() {
            let uid = EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(action.name()));
            let entity = actions.get(&uid).ok_or_else(|| fault(&uid))?.clone();
            let bears = |of: &EntityUid| of == &uid || actions.is_ancestor_of(of, &uid);
            let rules: Vec<usize> = (0..policies.len())
                .filter(|place| match policies.get(*place).map(Policy::action_constraint) {
                    Some(ActionConstraint::Any) => true,
                    Some(ActionConstraint::In(any)) => any.iter().any(bears),
                    Some(ActionConstraint::Eq(one)) => one == uid,
                    None => false,
                })
                .collect();
            let chosen = rules.iter().filter_map(|place| policies.get(*place).cloned());
            let set = PolicySet::from_policies(chosen).map_err(|e| fault(&e))?;
            let mut words = HashSet::new();
            rules
                .iter()
                .filter_map(|place| json.get(*place))
                .for_each(|json| collect_words(json, &mut words));
            slices.push(Slice { action, entity, policies: set, rules, words });
        }
        let mut roles = BTreeSet::new();
        json.iter().for_each(|json| collect_roles(json, &mut roles));
        let rule = |policy: &Policy| Rule {
            id: policy.id().to_string(),
            effect: policy.effect(),
            advice: policy.annotation("advice").map(str::to_owned),
            principal: policy.principal_constraint(),
        };
        Ok(Self { rules: policies.iter().map(rule).collect(), places, slices, roles })
    }
}

fn collect_words(json: &serde_json::Value, words: &mut HashSet<String>) {
    match json {
        serde_json::Value::String(text) => {
            words.insert(text.clone());
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect_words(item, words)),
        serde_json::Value::Object(members) => members.iter().for_each(|(name, value)| {
            words.insert(name.clone());
            collect_words(value, words);
        }),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}

fn collect_roles(json: &serde_json::Value, roles: &mut BTreeSet<String>) {
    match json {
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect_roles(item, roles)),
        serde_json::Value::Object(members) => {
            let text = |name| members.get(name).and_then(serde_json::Value::as_str);
            if let (Some("Role"), Some(id)) = (text("type"), text("id")) {
                roles.insert(id.to_owned());
            }
            members.values().for_each(|value| collect_roles(value, roles));
        }
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}
