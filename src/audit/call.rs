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
use crate::trace::{Context, Ended};
use crate::tunnel::{Change, state};

use super::secrets::Secrets;

/// Members that an entry of a call has at most, about: room that is made once.
const MEMBERS: usize = 32;

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
    /// Whose token came with it, where that is good and not taken all the same: who sent it may be anybody, so this is told
    /// and counts for nothing else.
    pub refused_token: Option<Arc<Caller>>,
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
    /// Its intent was made, so its end is an outcome, recorded or owed, and no other entry may tell of it.
    pub has_intent: bool,
    /// The member `request`.
    pub request: Option<Object>,
    /// Values that must not be in any entry of this call.
    pub secrets: Secrets,
    line: Line,
    clock: Arc<dyn Clock>,
    began: Duration,
    mark: Duration,
    stages: Vec<(Stage, Duration)>,
    /// The stage that is under way, which is the one that refuses where one does.
    doing: Stage,
    refused_in: Option<(Stage, Duration)>,
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
        let mut shape = String::with_capacity(path.len().min(1024));
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
            refused_token: None,
            route: None,
            tunnels: Vec::new(),
            policies: Vec::new(),
            change: None,
            policy_digest: None,
            has_intent: false,
            request: None,
            secrets: Secrets::default(),
            line,
            clock,
            began,
            mark: began,
            // As many as there are, so that no call has to make room.
            stages: Vec::with_capacity(8),
            doing: Stage::Identify,
            refused_in: None,
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
        self.doing = match stage {
            Stage::Listen => Stage::Identify,
            Stage::Identify => Stage::Limit,
            Stage::Limit => Stage::Body,
            Stage::Body | Stage::State => Stage::Authorize,
            Stage::Authorize => Stage::State,
            Stage::Intent => Stage::Forward,
            Stage::Forward | Stage::Outcome => Stage::Outcome,
        };
    }

    /// Notes that another stage is under way than the one that follows the last.
    pub const fn enters(&mut self, stage: Stage) {
        self.doing = stage;
    }

    /// Notes that the stage under way refuses the call; what passed since the last one was its time. Where that is
    /// recording the outcome, the refusal's own record goes on with it.
    pub fn refused(&mut self) {
        if self.doing == Stage::Outcome {
            return;
        }
        let now = self.clock.monotonic();
        self.refused_in = Some((self.doing, now.saturating_sub(self.mark)));
        self.mark = now;
    }

    /// The stages that have ended, each with its time.
    #[must_use]
    pub fn stages(&self) -> &[(Stage, Duration)] {
        &self.stages
    }

    /// What is told of it in a trace, now that it has its answer.
    #[must_use]
    pub fn ended(
        self,
        context: Context,
        listen: Duration,
        status: http::StatusCode,
        refusal: Option<&'static str>,
    ) -> Ended {
        Ended {
            context,
            request_id: self.request_id,
            arrived: self.arrived,
            listen,
            operation: self.operation(),
            refused_in: self.refused_in,
            took: self.clock.monotonic().saturating_sub(self.began),
            method: self.line.method,
            status: status.as_u16(),
            refusal,
            stages: self.stages,
        }
    }

    /// Takes over what the upstream's answer tells of the tunnels: the ids of new ones, and names that were not known.
    ///
    /// To be told first of the secrets in the answer: ids stand in the record as they are, so an id that holds a
    /// secret of this call is not taken.
    pub fn learn(&mut self, answer: &Json) {
        let known = self.tunnels.iter().all(|named| named.id.is_some() && named.name.is_some());
        // What is only checked is not kept, and its id names nothing.
        let Some(route) = self.route.filter(|route| !known && !route.validate_only) else { return };
        let asked: Vec<_> = self.tunnels.iter().map(|named| (named.id, named.name.as_deref())).collect();
        let found = state::answered(&asked, &state::tunnels_in(route.operation, answer));
        let guard = self.secrets.guard();
        for (named, found) in self.tunnels.iter_mut().zip(found) {
            let Some(found) = found else { continue };
            named.id = named.id.or_else(|| state::tunnel_id(found).filter(|id| !guard.finds(id.as_str())));
            let name = || found.get("name").and_then(Json::as_str).map(str::to_owned);
            named.name = named.name.take().or_else(name);
        }
    }

    /// The members that every entry of this call has.
    #[must_use]
    pub fn members(&self) -> Object {
        let mut members = Object::with_capacity(MEMBERS);
        if let Some(caller) = &self.caller {
            caller_members(&mut members, caller);
        } else if let Some(owner) = &self.refused_token {
            refused_token(&mut members, owner);
        }
        members.set("client_address", self.origin.address.to_string());
        let certificate = self.origin.certificate.map(|certificate| certificate.to_string());
        optional(&mut members, "client_certificate", certificate);
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

/// Sets the members that tell who calls.
pub fn caller_members(members: &mut Object, caller: &Caller) {
    members.set("subject", caller.subject.as_str());
    members.set("teams", caller.teams.clone());
    members.set("roles", caller.roles.clone());
    members.set("issuer", caller.issuer.as_str());
    optional(members, "jti", caller.jti.clone());
    optional(members, "key_id", caller.key_id.clone());
}

/// Sets the member that tells whose token was not taken. Apart from the members of a caller, so that nothing that asks for
/// somebody's calls takes those of a thief for theirs.
pub fn refused_token(members: &mut Object, owner: &Caller) {
    let mut told = Object::new();
    told.set("subject", owner.subject.as_str());
    told.set("issuer", owner.issuer.as_str());
    optional(&mut told, "jti", owner.jti.clone());
    optional(&mut told, "key_id", owner.key_id.clone());
    members.set("refused_token", told);
}

/// Sets a member that is left out where it is not known.
pub fn optional(object: &mut Object, name: &'static str, value: Option<impl Into<Json>>) {
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

    #[test]
    fn an_id_that_holds_a_secret_of_the_call_is_not_taken() {
        let clock = crate::clock::SystemClock::new();
        let address = std::net::IpAddr::from([127, 0, 0, 1]);
        let origin = Origin { address, user_agent: None, retry_count: 0, certificate: None };
        let mut call = Call::new(Uuid::nil(), origin, Line::unread(), clock);
        let account = AccountId::parse("0a").unwrap();
        call.route =
            Some(Route { operation: Operation::Create, account, tunnel: None, validate_only: false });
        let new = |name: &str| Named { id: None, name: Some(name.to_owned()) };
        call.tunnels = vec![new("a"), new("b")];
        call.secrets.extend(["abc123".into()]);
        let answer = r#"{"result":{"ipsec_tunnels":[{"id":"0fabc123","name":"a"},{"id":"0e","name":"b"}]}}"#;
        call.learn(&crate::json::read(answer.as_bytes(), 8).unwrap());
        assert_eq!(call.tunnels, [new("a"), Named { id: TunnelId::parse("0e"), name: Some("b".to_owned()) }]);
    }
}
