//! From an arrived request to a call that is identified, understood and within its quota.

use std::sync::Arc;

use http::HeaderMap;

use crate::audit::call::{Call, Named};
use crate::audit::guard;
use crate::caller::{Caller, Origin};
use crate::identify::{Identified, NotTaken};
use crate::json;
use crate::limit::{AddressGate, Admitted, Refused};
use crate::listen::{Arrived, Gone, headers as request};
use crate::measure::Stage;
use crate::operation::{Class, Operation, Route, route};
use crate::refusal::Refusal;
use crate::respond::Extras;
use crate::state::precondition::IfMatch;
use crate::tunnel::body::Asked;

use super::{Pipeline, Rules};

/// A call that is identified, understood and within its quota.
#[derive(Debug)]
pub(super) struct Within {
    pub rules: Arc<Rules>,
    pub caller: Arc<Caller>,
    pub route: Route,
    pub asked: Asked,
    pub if_match: Option<IfMatch>,
    pub new_hc_target: Option<bool>,
    pub gone: Gone,
}

impl Pipeline {
    pub(super) async fn admit(
        &self,
        call: &mut Call,
        arrived: Arrived,
        rules: Arc<Rules>,
        extras: &mut Extras,
    ) -> Result<Within, Refusal> {
        let Arrived { method, target, headers, body, gone, .. } = arrived;
        call.secrets.in_headers(request::credentials(&headers));
        // Noted at once so that every refusal's entry names it; it decides nothing before identity.
        let route =
            request::check(&target).and_then(|()| Ok(route(&method, &target.path, target.query.as_deref())?));
        call.route = route.as_ref().ok().copied();
        // Not before the entry of a refusal is safe from what the headers hold, and before all that costs anything.
        self.auditor.admits()?;
        self.auditor.keeps_up().inspect_err(|refusal| {
            let known = rules.identifier.recall(&headers, call.origin.certificate);
            call.caller = known.map(|known| Arc::clone(known.caller()));
            route.iter().for_each(|route| self.note_unsent(call, route, refusal));
        })?;
        let identified =
            self.identify(&rules, &self.gate, &call.origin, &headers).await.map_err(|not_taken| {
                call.refused_token = not_taken.owner;
                not_taken.refusal
            })?;
        let caller = Arc::clone(identified.caller());
        call.caller = Some(Arc::clone(&caller));
        call.passed(Stage::Identify);
        // What is no operation costs a durable entry all the same, so it counts as the cheapest.
        let class = route.as_ref().map_or(Class::Read, |route| route.operation.class());
        let admitted = within(extras, rules.limiter.admit(&caller, class).await);
        admitted
            .inspect_err(|refusal| route.iter().for_each(|route| self.note_unsent(call, route, refusal)))?;
        let route = route?;
        call.passed(Stage::Limit);
        let if_match = IfMatch::read(&headers, route.operation)?;
        let new_hc_target = request::new_hc_target(&headers, route.operation)?;
        let raw = request::body(&headers, body).await?;
        let json = match raw.as_ref() {
            [] => None,
            raw => Some(json::read(raw, json::MAX_DEPTH).map_err(Refusal::BadJson)?),
        };
        let asked = Asked::read(route.operation, route.tunnel, json).map_err(Refusal::from)?;
        call.secrets.in_body(&asked);
        call.tunnels = asked
            .elements()
            .iter()
            .map(|e| Named { id: e.tunnel.or(route.tunnel), name: e.name().map(str::to_owned) })
            .collect();
        if !raw.is_empty() {
            call.request = Some(self.auditor.request(&route, &raw, &asked));
        }
        let tunnels = call.tunnels.iter().filter_map(|tunnel| tunnel.id);
        if guard::secret_in_identity(
            asked.secrets().into_iter().map(|(_, secret)| secret),
            &caller,
            route.account,
            tunnels,
        ) {
            return Err(Refusal::BadBody {
                pointer: String::new(),
                what: "a secret in it is part of the caller's own name; choose a random one",
            });
        }
        call.secrets.apart_from(&asked, call.origin.user_agent.as_deref())?;
        // A key in a body mints as much as the operations that are named for it.
        if route.operation.class() == Class::Write && asked.mints() {
            let charged = within(extras, rules.limiter.charge(&caller, Class::Secret).await);
            charged.inspect_err(|refusal| self.auditor.unsent(call, &asked, refusal))?;
        }
        call.passed(Stage::Body);
        Ok(Within { rules, caller, route, asked, if_match, new_hc_target, gone })
    }
}

impl Pipeline {
    /// Of a call whose body was not read yet, this is known only where there is nothing in it.
    fn note_unsent(&self, call: &Call, route: &Route, refusal: &Refusal) {
        if route.operation == Operation::GeneratePsk
            && let Ok(asked) = Asked::read(route.operation, route.tunnel, None)
        {
            self.auditor.unsent(call, &asked, refusal);
        }
    }

    /// A token that was verified before costs next to nothing, so its bearer is not held up by what others at the
    /// same address did, also when it must be verified again after keys or revocations changed; all other work, and
    /// every refusal's record, counts against the address, if apart where it is for want of keys. It is bounded, too, how
    /// much of such work goes on at once: it may wait for keys, and holds a place meanwhile that known callers need.
    ///
    /// # Errors
    /// Why nobody is identified.
    pub async fn identify(
        &self,
        rules: &Rules,
        gate: &AddressGate,
        origin: &Origin,
        headers: &HeaderMap,
    ) -> Result<Identified, NotTaken> {
        let (address, by) = (origin.address, origin.certificate);
        if let Some(known) = rules.identifier.recall(headers, by) {
            return Ok(known);
        }
        let _stranger = if rules.identifier.knew(headers, by) {
            None
        } else {
            gate.check(address)?;
            Some(gate.begin(address)?)
        };
        let examined = rules.identifier.examine(headers, by).await;
        match &examined {
            Ok(_) => {}
            Err(NotTaken { refusal: Refusal::KeysUnavailable { .. }, .. }) => gate.excuse(address)?,
            Err(_) => gate.failed(address),
        }
        examined
    }
}

/// Takes what is left of the quotas into the answer's headers, whether there was enough or not.
pub(super) fn within(extras: &mut Extras, admitted: Result<Admitted, Refused>) -> Result<(), Refusal> {
    let (standing, result) = match admitted {
        Ok(admitted) => (admitted.standing().clone(), Ok(())),
        Err(refused) => (refused.standing, Err(refused.refusal)),
    };
    extras.standing.merge(standing);
    result
}
