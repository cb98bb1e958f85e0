//! A write's way: permitted, its intent recorded, forwarded, its outcome recorded, answered.

use bytes::Bytes;
use http::Response;
use http_body_util::Full;

use crate::audit::Plan;
use crate::audit::call::Call;
use crate::audit::one_shot::Fate;
use crate::caller::Caller;
use crate::forward::{Failure, Outgoing};
use crate::json::{Json, Object};
use crate::limit::Taken;
use crate::measure::Stage;
use crate::operation::Operation;
use crate::refusal::Refusal;
use crate::respond::{self, Extras};
use crate::tunnel::state;

use super::admit::Within;
use super::permit::Allowed;
use super::{Pipeline, Rules, sent};

impl Pipeline {
    pub(super) async fn write(
        &self,
        call: &mut Call,
        known: Within,
        extras: &mut Extras,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let ready = self.ready(call, &known, extras).await;
        let ready = ready.inspect_err(|refusal| self.auditor.unsent(call, &known.asked, refusal))?;
        call.enters(Stage::Intent);
        let (Allowed { permit, before, mut turn }, taken) = ready;
        let Within { rules, caller, route, asked, new_hc_target, gone, .. } = known;
        call.secrets.extend(self.upstream.secrets());
        let expected = self.expected(call, &asked, &before);
        let mints = !route.validate_only && asked.mints();
        let token_until = if mints { rules.identifier.one_use(&caller)? } else { None };
        let plan = Plan { asked, before, expected, token_until };
        let owed = self.auditor.open(call, &permit, plan).await?;
        self.resolver.touched(owed.intent());
        let outgoing = Outgoing {
            route: owed.route(),
            body: owed.plan().asked.upstream_body(),
            new_hc_target,
            user_agent: call.origin.user_agent.as_deref(),
            request_id: call.request_id,
            stage: Stage::Forward,
        };
        // A process that stood still meanwhile may have lost its turn, and its call may be given up by others.
        let answer = match turn.lasts().await.and_then(|()| self.trusts(&rules, &caller)) {
            Ok(()) => self.upstream.send(&owed.cleared(), &taken, outgoing).await,
            Err(refusal) => Err(Failure::unsent(refusal)),
        };
        let json = sent::json(&answer);
        if let Some(json) = &json {
            call.secrets.extend(crate::audit::redact::collect_secrets(json));
            call.learn(json);
        }
        let heard = sent::digest(&answer, self.auditor.fingerprinter());
        let end = sent::end(&answer, json.as_ref(), heard);
        let ambiguous = end.is_ambiguous();
        let intent = owed.intent().clone();
        let recorded = owed.close(call, &end, gone.now()).await;
        call.passed(Stage::Outcome);
        drop(turn);
        if ambiguous && !route.validate_only {
            self.resolver.look_into(&intent);
        }
        if end.fate() == Fate::Happened && !route.validate_only {
            extras.etag = json.as_ref().and_then(|json| self.etag(route.operation, json));
        }
        let done = !route.validate_only && answer.as_ref().is_ok_and(|answer| answer.status.is_success());
        Ok(respond::pass(&recorded, answer, route.operation, ambiguous || done, std::mem::take(extras)))
    }

    /// Permitted, within the budget, with a turn that lasts, a record that keeps up, still awaited, and not revoked meanwhile.
    async fn ready(
        &self,
        call: &mut Call,
        known: &Within,
        extras: &mut Extras,
    ) -> Result<(Allowed, Taken), Refusal> {
        let mut allowed = self.permit(call, known, extras).await?;
        let taken = known.rules.budget.take(&known.caller, known.route.operation.class()).await?;
        // Last, as either may be over while something is waited for.
        allowed.turn.lasts().await?;
        self.auditor.keeps_up()?;
        awaited(known)?;
        self.trusts(&known.rules, &known.caller)?;
        Ok((allowed, taken))
    }

    /// A call goes by what was in force when it began, but for this: whoever revokes a stolen token stops also the call that
    /// waits for its body, its turn or its record meanwhile.
    fn trusts(&self, began_with: &Rules, caller: &Caller) -> Result<(), Refusal> {
        began_with.identifier.lasts(caller)?;
        self.rules().identifier.spares(caller)
    }

    /// What will tell later whether the call had its effect: one item an element.
    fn expected(&self, call: &Call, asked: &crate::tunnel::body::Asked, before: &[Object]) -> Vec<Object> {
        let operation = asked.operation();
        let item = |(at, element): (usize, &crate::tunnel::body::Element)| {
            let mut item = Object::new();
            let before = before.get(at);
            let named = call.tunnels.get(at);
            let mut set = |name: &'static str, value: Option<String>| {
                if let Some(value) = value {
                    item.set(name, value);
                }
            };
            set("tunnel", named.and_then(|named| named.id).map(|id| id.to_string()));
            set("name", named.and_then(|named| named.name.clone()));
            set("before", before.map(|tunnel| self.states.settings(tunnel)));
            if matches!(operation, Operation::Update | Operation::BulkUpdate) {
                let after = before.map(|tunnel| state::after_put(tunnel, &element.fields));
                set("after", after.map(|after| self.states.settings(&after)));
            }
            set("key_before", before.and_then(|tunnel| state::key_generated_on(tunnel)).map(str::to_owned));
            item.set("replaces_key", element.psk().is_some() || operation == Operation::GeneratePsk);
            item
        };
        asked.elements().iter().enumerate().map(item).collect()
    }

    pub(super) fn etag(&self, operation: Operation, answer: &Json) -> Option<String> {
        match (operation, state::tunnels_in(operation, answer).as_slice()) {
            (Operation::Create | Operation::Update | Operation::Get, [tunnel]) => {
                Some(self.states.etag(tunnel))
            }
            _ => None,
        }
    }
}

/// Who has hung up will call again, and would replace a key that reached nobody.
fn awaited(known: &Within) -> Result<(), Refusal> {
    let Within { route, gone, .. } = known;
    let is_one_shot = route.operation.is_one_shot() && !route.validate_only;
    if is_one_shot && gone.now() { Err(Refusal::ClientGone) } else { Ok(()) }
}
