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

use bytes::Bytes;
use http::Response;
use http_body_util::Full;

use crate::audit::Auditor;
use crate::audit::call::{Call, Line};
use crate::caller::Origin;
use crate::clock::{Clock, Ids};
use crate::forward::Upstream;
use crate::limit::{AddressGate, Budget};
use crate::listen::{Arrived, Service, unless_it_panics};
use crate::measure::Metrics;
use crate::refusal::Refusal;
use crate::resolve::Resolver;
use crate::respond::{self, Extras};
use crate::state::States;

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
    /// What calls took out of answers that may come again.
    pub memo: Memo,
    /// Names calls.
    pub ids: Arc<Ids>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Service for Pipeline {
    async fn call(&self, arrived: Arrived) -> Option<Response<Full<Bytes>>> {
        let line = Line::new(&arrived.method, &arrived.target.path);
        let mut call = Call::new(self.ids.next(), arrived.origin.clone(), line, Arc::clone(&self.clock));
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
        let (response, allowed) = match served {
            Ok(response) => (response, true),
            Err(refusal @ Refusal::AddressLimited { .. }) if !self.gate.tells(call.origin.address) => {
                self.metrics.unanswered(&refusal);
                return None;
            }
            Err(refusal) => (Box::pin(self.refused(&mut call, refusal, extras)).await, false),
        };
        self.metrics.request(call.operation(), allowed, response.status());
        call.stages().iter().for_each(|(stage, took)| self.metrics.stage(*stage, *took));
        Some(response)
    }

    async fn refuse(&self, origin: Origin, refusal: Refusal) -> Option<Response<Full<Bytes>>> {
        if !self.answers(&origin, &refusal) {
            self.metrics.unanswered(&refusal);
            return None;
        }
        let line = Line::unread();
        let mut call = Call::new(self.ids.next(), origin, line, Arc::clone(&self.clock));
        Some(self.refused(&mut call, refusal, Extras::default()).await)
    }
}

impl Pipeline {
    async fn serve(
        &self,
        call: &mut Call,
        arrived: Arrived,
        extras: &mut Extras,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        self.auditor.admits()?;
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
        fits.is_ok() || self.gate.tells(address)
    }

    async fn refused(&self, call: &mut Call, refusal: Refusal, extras: Extras) -> Response<Full<Bytes>> {
        self.metrics.refusal(&refusal);
        match self.auditor.refuse(call, &refusal).await {
            Ok(recorded) => respond::refuse(&recorded, &refusal, call.operation(), extras),
            // What can't be recorded is refused, and then the store is what the client must hear of.
            Err(unrecorded) => {
                let recorded = self.auditor.unrecordable(call, &refusal);
                respond::refuse(&recorded, &unrecorded, call.operation(), extras)
            }
        }
    }
}
