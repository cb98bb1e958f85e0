//! What is known of one call, gathered stage by stage, and the members it gives to its entries.
//!
//! A [`Call`] starts with the connection and ends with the answer; whatever stage refuses, the entry tells all
//! that was known by then. Not here: bodies (`redact`), the entry's end (`outcome`).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use crate::caller::{Caller, Origin};
use crate::clock::Clock;
use crate::json::{Json, Object};
use crate::measure::Stage;
use crate::operation::{AccountId, Operation, Route, TunnelId};
use crate::tunnel::Change;

use super::secrets::Secrets;

/// One call, as far as it is known.
#[derive(Debug)]
pub struct Call {
    /// Names the call to the client, the record and the log.
    pub request_id: Uuid,
    /// When it arrived.
    pub arrived: Timestamp,
    /// Where it came from.
    pub origin: Origin,
    /// Who makes it, once identified.
    pub caller: Option<Arc<Caller>>,
    /// What it asks, once the route is known.
    pub route: Option<Route>,
    /// The tunnels it is about.
    pub tunnels: Vec<Named>,
    /// The ids of the policies that decided.
    pub policies: Vec<String>,
    /// What a write would change.
    pub change: Option<Change>,
    /// SHA-256 of the policy that decides, in hex.
    pub policy_digest: Option<String>,
    /// The member `request`.
    pub request: Option<Object>,
    /// Values that must not be in any entry of this call.
    pub secrets: Secrets,
    line: Line,
    clock: Arc<dyn Clock>,
    began: Duration,
    mark: Duration,
    stages: Vec<(Stage, Duration)>,
}

/// A tunnel that a call is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its id; none before it is created.
    pub id: Option<TunnelId>,
    /// Its name, where it is known.
    pub name: Option<String>,
}

/// The request line, as far as it may be stored.
#[derive(Debug)]
pub struct Line {
    /// The method, `?` if it is none that HTTP names.
    pub method: &'static str,
    /// The path's shape.
    pub path: String,
}

impl Line {
    /// Of a request whose line could not be read.
    #[must_use]
    pub const fn unread() -> Self {
        Self { method: "?", path: String::new() }
    }

    /// Bounds a request line for the record. Paths are outside text that may hold a secret, so only segments
    /// that belong to the API's own words, or are ids in an id's place, are kept; each other one is stored as `?` and its length.
    #[must_use]
    pub fn new(method: &http::Method, path: &str) -> Self {
        const KNOWN: [&str; 7] =
            ["client", "v4", "accounts", "magic", "ipsec_tunnels", "psk", "psk_generate"];
        const METHODS: [&str; 9] =
            ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
        const MAX_SEGMENTS: usize = 12;
        let mut shape = String::new();
        let mut before = "";
        for (i, segment) in path.split('/').skip(1).enumerate() {
            if i == MAX_SEGMENTS {
                shape.push_str("/...");
                break;
            }
            let id = AccountId::parse(segment).filter(|_| matches!(before, "accounts" | "ipsec_tunnels"));
            shape.push('/');
            if segment.is_empty() || KNOWN.contains(&segment) || id.is_some() {
                shape.push_str(segment);
            } else {
                shape.push_str(&format!("?{}", segment.len()));
            }
            before = segment;
        }
        let method = METHODS.into_iter().find(|known| *known == method.as_str()).unwrap_or("?");
        Self { method, path: shape }
    }
}

impl Call {
    /// A call that has just arrived.
    #[must_use]
    pub fn new(request_id: Uuid, origin: Origin, line: Line, clock: Arc<dyn Clock>) -> Self {
        let began = clock.monotonic();
        Self {
            request_id,
            arrived: clock.now(),
            origin,
            caller: None,
            route: None,
            tunnels: Vec::new(),
            policies: Vec::new(),
            change: None,
            policy_digest: None,
            request: None,
            secrets: Secrets::default(),
            line,
            clock,
            began,
            mark: began,
            stages: Vec::new(),
        }
    }

    /// The operation, once it is known.
    #[must_use]
    pub fn operation(&self) -> Option<Operation> {
        self.route.map(|route| route.operation)
    }

    /// When it arrived, on the monotonic clock.
    #[must_use]
    pub const fn began(&self) -> Duration {
        self.began
    }

    /// Notes that a stage has ended; what passed since the last one was its time.
    pub fn passed(&mut self, stage: Stage) {
        let now = self.clock.monotonic();
        self.stages.push((stage, now.saturating_sub(self.mark)));
        self.mark = now;
    }

    /// The stages that have ended, each with its time.
    #[must_use]
    pub fn stages(&self) -> &[(Stage, Duration)] {
        &self.stages
    }

    /// The members that every entry of this call has.
    #[must_use]
    pub fn members(&self) -> Object {
        let mut members = Object::new();
        if let Some(caller) = &self.caller {
            members.set("subject", caller.subject.as_str());
            members.set("teams", caller.teams.clone());
            members.set("roles", caller.roles.clone());
            members.set("issuer", caller.issuer.as_str());
            optional(&mut members, "jti", caller.jti.clone());
            optional(&mut members, "key_id", caller.key_id.clone());
        }
        members.set("client_address", self.origin.address.to_string());
        optional(&mut members, "user_agent", self.origin.user_agent.clone());
        if self.origin.retry_count > 0 {
            members.set("retry_count", self.origin.retry_count);
        }
        if let Some(route) = &self.route {
            members.set("operation", route.operation.name());
            members.set("account", route.account.as_str());
            if route.operation.is_write() {
                members.set("validate_only", route.validate_only);
            }
        } else {
            members.set("method", self.line.method);
            members.set("path", self.line.path.as_str());
        }
        if !self.tunnels.is_empty() {
            members.set("tunnels", Json::Array(self.tunnels.iter().map(Named::to_json).collect()));
        }
        members
    }

    /// The members that tell how long it took.
    pub fn time_members(&self, members: &mut Object) {
        members.set("duration_us", micros(self.clock.monotonic().saturating_sub(self.began)));
        let stages = self.stages.iter().map(|(stage, took)| (stage.name(), micros(*took)));
        members.set("stages_us", stages.collect::<Object>());
    }
}

impl Named {
    fn to_json(&self) -> Json {
        let mut named = Object::new();
        optional(&mut named, "id", self.id.map(|id| id.to_string()));
        optional(&mut named, "name", self.name.clone());
        Json::Object(named)
    }
}

/// Sets a member that is left out where it is not known.
pub fn optional(object: &mut Object, name: &str, value: Option<impl Into<Json>>) {
    if let Some(value) = value {
        object.set(name, value);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, shape: &str) {
        assert_eq!(Line::new(&http::Method::GET, path).path, shape);
    }

    #[test]
    fn a_path_is_stored_by_its_shape() {
        check(
            "/client/v4/accounts/a1/magic/ipsec_tunnels/0f",
            "/client/v4/accounts/a1/magic/ipsec_tunnels/0f",
        );
        check("/client/v4/accounts/a1/magic/gre_tunnels", "/client/v4/accounts/a1/magic/?11");
        check("/s3cret-in-the-path/0123abcd", "/?18/?8");
        check("*", "");
        check(&"/x".repeat(20), "/?1/?1/?1/?1/?1/?1/?1/?1/?1/?1/?1/?1/...");
    }
}
