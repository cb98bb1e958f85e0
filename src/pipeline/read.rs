//! A read's way: permitted, forwarded, recorded, answered.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;

use crate::audit::call::Call;
use crate::audit::redact::collect_secrets;
use crate::authorize::Permit;
use crate::forward::{Answer, Failure, Outgoing};
use crate::json::Json;
use crate::limit::Taken;
use crate::measure::Stage;
use crate::operation::{Class, Operation, Route};
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
        call.enters(Stage::Forward);
        self.auditor.keeps_up()?;
        let taken = known.rules.budget.take(&known.caller, Class::Read).await?;
        let answer = self.send_read(call, &allowed.permit, &known, &taken).await?;
        let digest = sent::digest(&answer, self.auditor.fingerprinter());
        call.secrets.extend(self.upstream.secrets());
        let json = self.hear(call, &known, &answer, digest.as_deref(), extras);
        let end = sent::end(&answer, json.as_ref(), digest);
        let recorded = self.auditor.read(call, &allowed.permit, &end, known.gone.now()).await?;
        call.passed(Stage::Outcome);
        Ok(respond::pass(&recorded, answer, known.route.operation, false, std::mem::take(extras)))
    }

    /// Takes out of the answer what the call and its client are told of the tunnel: from the memo where such an
    /// answer came before. Gives the answer as JSON where somebody still needs it. A list has no `ETag`, and its
    /// body is kept only where the configuration says so: otherwise nobody parses it.
    fn hear(
        &self,
        call: &mut Call,
        known: &Within,
        answer: &Result<Answer, Failure>,
        digest: Option<&str>,
        extras: &mut Extras,
    ) -> Option<Json> {
        let Route { operation, tunnel, .. } = known.route;
        let keeps = self.auditor.keeps(&known.route);
        if operation != Operation::Get && !keeps {
            return None;
        }
        let good = answer.as_ref().is_ok_and(|answer| answer.status == StatusCode::OK && answer.is_json);
        let digest = digest.filter(|_| good && !keeps && operation == Operation::Get);
        if let Some(gist) = digest.and_then(|digest| self.memo.recall(tunnel, digest)) {
            call.secrets.extend(gist.secrets.iter().cloned());
            call.tunnels.clone_from(&gist.tunnels);
            extras.etag.clone_from(&gist.etag);
            return None;
        }
        let json = sent::json(answer)?;
        let secrets = collect_secrets(&json);
        call.secrets.extend(secrets.iter().cloned());
        call.learn(&json);
        extras.etag = self.etag(operation, &json).filter(|_| good);
        if let Some(digest) = digest {
            let gist = Gist { etag: extras.etag.clone(), tunnels: call.tunnels.clone(), secrets };
            self.memo.keep(tunnel, digest, gist);
        }
        Some(json)
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
            stage: Stage::Forward,
        };
        Ok(self.upstream.send(&cleared, taken, outgoing).await)
    }
}
