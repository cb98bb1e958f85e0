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
use super::memo::Gist;
use super::sent;

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
        let heard = sent::digest(&answer, self.auditor.fingerprinter());
        // A list has no ETag, and its body is kept only where the configuration says so: then nobody parses it.
        let keeps = self.auditor.keeps(&known.route);
        let json = match (known.route.operation, &heard) {
            (_, Some(_)) if keeps => sent::json(&answer),
            (Operation::Get, Some(digest)) => match self.memo.recall(known.route.tunnel, digest) {
                Some(gist) => {
                    call.secrets.extend(gist.secrets.iter().cloned());
                    call.tunnels.clone_from(&gist.tunnels);
                    extras.etag.clone_from(&gist.etag);
                    None
                }
                None => sent::json(&answer),
            },
            _ => None,
        };
        call.secrets.extend(self.upstream.secrets());
        if let Some(json) = &json {
            let secrets = crate::audit::redact::collect_secrets(json);
            call.secrets.extend(secrets.iter().cloned());
            call.learn(json);
            let good = answer.as_ref().is_ok_and(|answer| answer.status == http::StatusCode::OK);
            extras.etag = self.etag(known.route.operation, json).filter(|_| good);
            if let (true, false, Operation::Get, Some(digest)) = (good, keeps, known.route.operation, &heard)
            {
                let gist = Gist { etag: extras.etag.clone(), tunnels: call.tunnels.clone(), secrets };
                self.memo.keep(known.route.tunnel, digest, gist);
            }
        }
        let end = sent::end(&answer, json.as_ref(), heard);
        let recorded = self.auditor.read(call, &allowed.permit, &end, known.gone.now()).await?;
        Ok(respond::pass(&recorded, answer, known.route.operation, false, std::mem::take(extras)))
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
