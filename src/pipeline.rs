//! A call's whole way: the one place that knows the order of the stages.
//!
//! Each stage takes what the one before made and gives what only it can make, so a stage that is left out does
//! not compile. Not here: what a stage does (its own file), how the parts are put together (`service`).

mod admit;
mod memo;
mod permit;
mod read;
mod rules;
mod sent;
mod write;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::Full;

use crate::audit::Auditor;
use crate::audit::call::{Call, Line};
use crate::caller::Origin;
use crate::clock::{Clock, Ids};
use crate::forward::Upstream;
use crate::limit::{AddressGate, Budget};
use crate::listen::{Arrived, Service, unless_it_panics};
use crate::measure::{Metrics, Stage};
use crate::operation::Operation;
use crate::otlp::Exporter;
use crate::refusal::Refusal;
use crate::resolve::Resolver;
use crate::respond::{self, Extras};
use crate::state::States;
use crate::trace::{self, Tag};

pub use memo::Memo;
pub use rules::Rules;

/// Every stage, ready to serve.
#[derive(Debug)]
pub struct Pipeline {
    /// Addresses that sent too much that was not identified wait.
    pub gate: AddressGate,
    /// What calls are judged by now.
    pub rules: RwLock<Arc<Rules>>,
    /// What the upstream allows all of us together.
    pub budget: Budget,
    /// The tunnels as they are before a change.
    pub states: Arc<States>,
    /// The record.
    pub auditor: Arc<Auditor>,
    /// The way out.
    pub upstream: Arc<Upstream>,
    /// Finds out what became of calls without an answer.
    pub resolver: Arc<Resolver>,
    /// What is counted and measured.
    pub metrics: Metrics,
    /// Where calls are told of in traces, if anywhere.
    pub traces: Option<Exporter>,
    /// What calls took out of answers that may come again.
    pub memo: Memo,
    /// Names calls.
    pub ids: Arc<Ids>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Service for Pipeline {
    async fn call(&self, arrived: Arrived) -> Option<Response<Full<Bytes>>> {
        let tag = self.begin(&arrived.headers);
        trace::within(tag, self.answer(tag, arrived)).await
    }

    async fn refuse(&self, origin: Origin, refusal: Refusal) -> Option<Response<Full<Bytes>>> {
        if !self.answers(&origin, &refusal) {
            self.metrics.unanswered(&refusal);
            return None;
        }
        let tag = self.begin(&HeaderMap::new());
        let answered = async {
            let mut call = Call::new(tag.request_id, origin, Line::unread(), Arc::clone(&self.clock));
            let name = refusal.name();
            call.enters(Stage::Listen);
            let response = self.refused(&mut call, refusal, Extras::default()).await;
            self.end(call, tag, Duration::ZERO, &response, Some(name));
            response
        };
        Some(trace::within(tag, answered).await)
    }
}

impl Pipeline {
    fn begin(&self, headers: &HeaderMap) -> Tag {
        let trace = self.traces.as_ref().and_then(|traces| traces.begin(headers));
        Tag { request_id: self.ids.next(), trace }
    }

    async fn answer(&self, tag: Tag, arrived: Arrived) -> Option<Response<Full<Bytes>>> {
        let listen = arrived.at.elapsed();
        let line = Line::new(&arrived.method, &arrived.target.path);
        let mut call = Call::new(tag.request_id, arrived.origin.clone(), line, Arc::clone(&self.clock));
        let mut extras = Extras::default();
        // Here, where the call is known: whatever the record has of it already must bear the id of its answer.
        let served = unless_it_panics(self.serve(&mut call, arrived, &mut extras)).await;
        let served = served.unwrap_or_else(|| {
            tracing::error!(
                request.id = %call.request_id,
                "a call panicked; it is answered as an internal fault"
            );
            Err(Refusal::Internal)
        });
        let (response, refusal) = match served {
            Ok(response) => (response, None),
            Err(refusal) if !self.hears(&call, &refusal) => {
                self.metrics.unanswered(&refusal);
                return None;
            }
            Err(refusal @ Refusal::Overloaded { .. }) if !self.auditor.tells_of_overload() => {
                self.metrics.unanswered(&refusal);
                return None;
            }
            Err(refusal) => {
                let name = refusal.name();
                (Box::pin(self.refused(&mut call, refusal, extras)).await, Some(name))
            }
        };
        self.metrics.request(call.operation(), refusal.is_none(), response.status());
        self.metrics.stage(Stage::Listen, listen);
        call.stages().iter().for_each(|(stage, took)| self.metrics.stage(*stage, *took));
        self.end(call, tag, listen, &response, refusal);
        Some(response)
    }

    /// Tells log and traces of a call that has its answer.
    fn end(
        &self,
        call: Call,
        tag: Tag,
        listen: Duration,
        response: &Response<Full<Bytes>>,
        refusal: Option<&'static str>,
    ) {
        let status = response.status();
        tracing::debug!(
            request.id = %call.request_id,
            operation = call.operation().map(Operation::name),
            status = status.as_u16(),
            refusal,
            "answered"
        );
        if let (Some(traces), Some(context)) = (&self.traces, tag.trace) {
            traces.end(call.ended(context, listen, status, refusal));
        }
    }

    async fn serve(
        &self,
        call: &mut Call,
        arrived: Arrived,
        extras: &mut Extras,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let known = self.admit(call, arrived, self.rules(), extras).await?;
        if known.route.operation.is_write() {
            // Apart, as it is far larger: whoever awaits a read need not carry it.
            Box::pin(self.write(call, known, extras)).await
        } else {
            self.read(call, known, extras).await
        }
    }

    /// The rules in force at this moment. INVARIANT: a call takes them once, and keeps to those it began with.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts other rules in force, for calls that begin from now on.
    pub fn put_in_force(&self, rules: Rules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// Whether what the listener refuses is answered and recorded: it counts against the address as any request of
    /// which nobody knows who sent it.
    fn answers(&self, origin: &Origin, refusal: &Refusal) -> bool {
        let address = origin.address;
        let fits = if *refusal == Refusal::Internal {
            // Of this somebody must hear, whoever caused it.
            Ok(())
        } else if matches!(refusal, Refusal::Overloaded { .. }) {
            self.gate.excuse(address)
        } else {
            self.gate.check(address).map(|()| self.gate.failed(address))
        };
        let answered = fits.is_ok() || self.gate.tells(address);
        answered && (*refusal == Refusal::Internal || self.gate.records())
    }

    /// Whether a call that is refused is answered and recorded: all are of which it is known who called, and of the others
    /// as many as the gate says. Where no entry can be written there is none to save.
    fn hears(&self, call: &Call, refusal: &Refusal) -> bool {
        if let Refusal::AddressLimited { .. } = refusal
            && !self.gate.tells(call.origin.address)
        {
            return false;
        }
        let free = matches!(refusal, Refusal::Internal | Refusal::AuditUnavailable { .. });
        call.caller.is_some() || free || self.gate.records()
    }

    async fn refused(&self, call: &mut Call, refusal: Refusal, extras: Extras) -> Response<Full<Bytes>> {
        self.metrics.refusal(&refusal);
        call.refused();
        let answer = match self.auditor.refuse(call, &refusal).await {
            Ok(recorded) => respond::refuse(&recorded, &refusal, call.operation(), extras),
            // What can't be recorded is refused, and then the store is what the client must hear of.
            Err(unrecorded) => {
                let recorded = self.auditor.unrecordable(call, &refusal);
                respond::refuse(&recorded, &unrecorded, call.operation(), extras)
            }
        };
        call.passed(Stage::Outcome);
        answer
    }
}
