//! What reached the emulator and what it really did: the witness that tests ask.
//!
//! Not here: the API's own audit logs (`logs`), which show the same to the product.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use http::{HeaderMap, Method};
use jiff::Timestamp;

use super::answer::object;
use crate::clock::rfc3339;
use crate::json::Json;
use crate::operation::{AccountId, Operation};

/// A request that reached the emulator, whatever became of it.
#[derive(Clone)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// Path and query as they came.
    pub path: String,
    /// The HTTP version.
    pub version: http::Version,
    /// The headers as they came, secrets and all.
    pub headers: HeaderMap,
    /// The body as it came, secrets and all.
    pub body: Bytes,
    /// When the whole of it was here.
    pub received_at: Timestamp,
    /// The operation, where it is one.
    pub operation: Option<Operation>,
    /// The `cf-ray` of the answer, also of an answer that was never sent.
    pub ray: String,
    /// The status that was answered; `None` for no answer (yet).
    pub status: Option<u16>,
    /// Whether it changed anything that is kept.
    pub acted: bool,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("body_bytes", &self.body.len())
            .field("status", &self.status)
            .field("acted", &self.acted)
            .finish_non_exhaustive()
    }
}

impl Call {
    /// A header as text, if it came exactly once.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    }

    /// The call as JSON; `name_bearer` says what stands for a bearer token.
    pub(super) fn json(&self, name_bearer: impl Fn(&str) -> Option<String>) -> Json {
        let header = |value: &http::HeaderValue| {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            let named = text.strip_prefix("Bearer ").and_then(&name_bearer);
            Json::from(named.unwrap_or(text))
        };
        let headers: Vec<Json> = self
            .headers
            .iter()
            .map(|(name, value)| Json::Array(vec![Json::from(name.as_str()), header(value)]))
            .collect();
        object([
            ("method", Json::from(self.method.as_str())),
            ("path", Json::from(self.path.as_str())),
            ("version", Json::from(format!("{:?}", self.version))),
            ("headers", Json::Array(headers)),
            ("body", Json::from(String::from_utf8_lossy(&self.body).into_owned())),
            ("received_at", Json::from(rfc3339(self.received_at))),
            ("operation", Json::from(self.operation.map(Operation::name))),
            ("cf_ray", Json::from(self.ray.as_str())),
            ("status", Json::from(self.status)),
            ("acted", Json::from(self.acted)),
        ])
    }
}

/// A change that the emulator kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// What was done.
    pub operation: Operation,
    /// In which account.
    pub account: AccountId,
    /// Id and name of each tunnel that changed.
    pub tunnels: Vec<(String, String)>,
    /// The `cf-ray` of the call.
    pub ray: String,
    /// The `user-agent` of the call.
    pub user_agent: String,
    /// When.
    pub time: Timestamp,
}

impl Effect {
    pub(super) fn json(&self) -> Json {
        let (ids, names): (Vec<&str>, Vec<&str>) =
            self.tunnels.iter().map(|(id, name)| (id.as_str(), name.as_str())).unzip();
        object([
            ("operation", Json::from(self.operation.name())),
            ("account", Json::from(self.account.as_str())),
            ("tunnels", Json::from(ids)),
            ("names", Json::from(names)),
            ("cf_ray", Json::from(self.ray.as_str())),
            ("user_agent", Json::from(self.user_agent.as_str())),
            ("time", Json::from(rfc3339(self.time))),
        ])
    }
}

/// Calls and effects, the newest of each.
#[derive(Debug, Default)]
pub(super) struct Journal {
    calls: VecDeque<Call>,
    effects: VecDeque<Effect>,
    counts: BTreeMap<Operation, u64>,
    /// Bytes of bodies in `calls`.
    held: usize,
    /// Calls that were let go, so that the number of a call names it for ever.
    gone: u64,
}

/// Calls that are kept, and bytes of their bodies: at most some 100 MiB in a long run.
const CALLS: usize = 20_000;
const HELD: usize = 64 << 20;
/// Effects that are kept, some 300 bytes each; the counts go on for ever.
const EFFECTS: usize = 100_000;

impl Journal {
    /// Notes a call; the number names it in [`Journal::ended`].
    pub(super) fn arrived(&mut self, call: Call) -> u64 {
        self.held += call.body.len();
        self.calls.push_back(call);
        while self.calls.len() > CALLS || (self.held > HELD && self.calls.len() > 1) {
            let Some(oldest) = self.calls.pop_front() else { break };
            self.held -= oldest.body.len();
            self.gone += 1;
        }
        self.gone + self.calls.len() as u64 - 1
    }

    fn call(&mut self, number: u64) -> Option<&mut Call> {
        let at = usize::try_from(number.checked_sub(self.gone)?).ok()?;
        self.calls.get_mut(at)
    }

    pub(super) fn acted(&mut self, number: u64, effect: Effect) {
        if let Some(call) = self.call(number) {
            call.acted = true;
        }
        *self.counts.entry(effect.operation).or_default() += 1;
        self.effects.push_back(effect);
        if self.effects.len() > EFFECTS {
            self.effects.pop_front();
        }
    }

    pub(super) fn ended(&mut self, number: u64, status: u16) {
        if let Some(call) = self.call(number) {
            call.status = Some(status);
        }
    }

    pub(super) fn calls(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter()
    }

    pub(super) fn effects(&self) -> impl Iterator<Item = &Effect> {
        self.effects.iter()
    }

    pub(super) const fn counts(&self) -> &BTreeMap<Operation, u64> {
        &self.counts
    }

    /// Forgets everything; numbers of calls still under way stay apart from those to come.
    pub(super) fn clear(&mut self) {
        let gone = self.gone + self.calls.len() as u64;
        *self = Self { gone, ..Self::default() };
    }
}
