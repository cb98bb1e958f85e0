//! A read's way: permitted, forwarded, recorded, answered.

use bytes::Bytes;
use http::Response;
use http_body_util::Full;

use crate::audit::call::Call;
use crate::authorize::Permit;
use crate::forward::{Answer, Failure, Outgoing};
use crate::limit::Taken;
use crate::operation::Operation;
use crate::refusal::Refusal;
use crate::respond::{self, Extras};

use super::Pipeline;
use super::admit::Within;
use super::sent;

fn is_success(answer: &Answer) -> bool {
    answer.status.is_success()
}

impl Pipeline {
    pub(super) async fn read(
        &self,
        call: &mut Call,
        known: Within,
        extras: &mut Extras,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let allowed = self.permit(call, &known, extras).await?;
        let taken = self.budget.take(&known.caller)?;
        let answer = self.send_read(call, &allowed.permit, &known, &taken).await?;
        // A list has no ETag, and its body is kept only where the configuration says so: then nobody parses it.
        let operation = known.route.operation;
        let wanted = operation == Operation::Get || self.auditor.keeps(&known.route);
        let json = wanted.then(|| sent::json(&answer)).flatten();
        if let Some(json) = &json {
            call.secrets.extend(self.upstream.secrets());
            call.secrets.extend(crate::audit::redact::collect_secrets(json));
            extras.etag = self.etag(operation, json).filter(|_| answer.as_ref().is_ok_and(is_success));
        }
        let recorded = self.auditor.read(call, &allowed.permit, &sent::end(&answer, json.as_ref())).await?;
        Ok(respond::pass(&recorded, answer, operation, false, std::mem::take(extras)))
    }

    async fn send_read(
        &self,
        call: &Call,
        permit: &Permit,
        known: &Within,
        taken: &Taken,
    ) -> Result<Result<Answer, Failure>, Refusal> {
        let cleared = self.auditor.clear_read(call, permit).ok_or(Refusal::Internal)?;
        let outgoing = Outgoing {
            route: &known.route,
            body: None,
            new_hc_target: known.new_hc_target,
            user_agent: call.origin.user_agent.as_deref(),
            request_id: call.request_id,
        };
        Ok(self.upstream.send(&cleared, taken, outgoing).await)
    }
}
