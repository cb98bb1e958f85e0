//! One call's way through the emulator: noted, struck by faults, let in, carried out, answered.
//!
//! Not here: sockets (`serve`), each operation (`operations`), the endpoints for tests (`control`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use jiff::Timestamp;

use super::answer::{Answer, Problem, Refused};
use super::control;
use super::fault::{Fault, Logged, Plan};
use super::feed::{Broken, Feed};
use super::fields::TargetForm;
use super::gate::{self, Gate, Quota, Token};
use super::journal::{Call, Effect};
use super::logs::{Row, without_psk};
use super::operations::Ask;
use super::route::{self, Asked};
use super::shared::{Arrived, Shared, lock};
use super::tunnels::Tunnels;
use crate::json::{MAX_DEPTH, read};

/// 4 MiB: over every limit of the product, so that it is the product's limit that a test meets.
const BODY_MAX: usize = 4 << 20;
/// Half a minute for the body to come.
const BODY_WAIT: Duration = Duration::from_secs(30);

/// Answers one request, or breaks the connection off.
pub(super) async fn answer(
    shared: Arc<Shared>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Feed>, Broken> {
    let (head, body) = request.into_parts();
    let collected = tokio::time::timeout(BODY_WAIT, Limited::new(body, BODY_MAX).collect()).await;
    let body = match collected {
        Ok(Ok(whole)) => Some(whole.to_bytes()),
        Ok(Err(_)) | Err(_) => None,
    };
    let arrived = Arrived { head, whole: body.is_some(), body: body.unwrap_or_default(), peer };
    if arrived.head.uri.path().starts_with(control::PREFIX) {
        return Ok(control::answer(&shared, &arrived).send(&Plan::default(), false));
    }
    // A task of its own: the upstream goes on with a call whose client has hung up.
    match tokio::spawn(async move { shared.call(arrived).await }).await {
        Ok(answer) => answer,
        Err(_) => Err(Broken),
    }
}

impl Shared {
    /// Sixteen hex digits and an airport, as the edge writes it. The digits are the random half of an id.
    fn ray(&self) -> String {
        let (_, low) = self.ids.next().as_u64_pair();
        format!("{low:016x}-TST")
    }

    async fn call(&self, arrived: Arrived) -> Result<Response<Feed>, Broken> {
        let ray = self.ray();
        let head = &arrived.head;
        let asked = route::asked(&head.method, head.uri.path());
        let number = lock(&self.journal).arrived(Call {
            method: head.method.clone(),
            path: head.uri.path_and_query().map_or_else(|| head.uri.to_string(), ToString::to_string),
            version: head.version,
            headers: head.headers.clone(),
            body: arrived.body.clone(),
            received_at: self.clock.now(),
            operation: asked.as_ref().ok().and_then(Asked::operation),
            ray: ray.clone(),
            status: None,
            acted: false,
        });
        let plan = self.plan(&arrived, asked.as_ref().ok());
        let (plan, answer) = match plan {
            Ok(plan) => {
                tokio::time::sleep(self.latency.saturating_add(plan.latency)).await;
                let answer = match before(&plan, &arrived, &ray).await? {
                    Some(answer) => answer,
                    None => self.act(number, &arrived, asked, &ray, plan.log),
                };
                (plan, after(&plan, answer, &ray).await?)
            }
            Err(refused) => (Plan::default(), Answer::refused(refused)),
        };
        lock(&self.journal).ended(number, answer.status.as_u16());
        let mut answer = answer;
        answer.dress(&ray);
        Ok(answer.send(&plan, accepts_gzip(&head.headers)))
    }

    /// The faults for this call: those that it asks for itself go before those that wait.
    fn plan(&self, arrived: &Arrived, asked: Option<&Asked>) -> Result<Plan, Refused> {
        if !arrived.whole {
            let problem = Problem::new(1000, "the request's body is too large, too slow or broken off");
            return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, problem));
        }
        let mut plan = asked.map_or_else(Plan::default, |asked| lock(&self.faults).take(asked.place()));
        for value in arrived.head.headers.get_all(CONTROL) {
            let text = value.to_str().unwrap_or_default();
            for part in text.split(',').filter(|part| !part.trim().is_empty()) {
                let fault = Fault::parse(part)
                    .map_err(|message| Refused::new(StatusCode::BAD_REQUEST, Problem::new(1000, message)))?;
                plan.add(fault);
            }
        }
        Ok(plan)
    }

    /// The call itself: token, quota, route, operation.
    fn act(
        &self,
        number: u64,
        arrived: &Arrived,
        asked: Result<Asked, Refused>,
        ray: &str,
        logged: Logged,
    ) -> Answer {
        if !arrived.head.uri.path().starts_with("/client/v4/") {
            return Answer::page(StatusCode::NOT_FOUND, ray);
        }
        let (token, quota) = {
            let mut gate = lock(&self.gate);
            match gate.token(&arrived.head.headers) {
                Ok(token) => {
                    let quota = gate.count(&token, self.clock.monotonic());
                    (token, quota)
                }
                Err(refused) => return Answer::refused(refused),
            }
        };
        let mut answer = if quota.is_some_and(|quota| quota.refused) {
            quota.as_ref().map_or_else(|| gate::throttled(1), Quota::refusal)
        } else {
            self.admitted(number, arrived, asked, ray, (&token, logged)).unwrap_or_else(Answer::refused)
        };
        if let Some(quota) = quota {
            quota.mark(&mut answer);
        }
        answer
    }

    fn admitted(
        &self,
        number: u64,
        arrived: &Arrived,
        asked: Result<Asked, Refused>,
        ray: &str,
        (token, logged): (&Token, Logged),
    ) -> Result<Answer, Refused> {
        let asked = asked?;
        Gate::permits(token, &asked)?;
        let query = arrived.head.uri.query();
        match &asked {
            Asked::VerifyUser | Asked::VerifyAccount(_) => Ok(gate::verified(token, &asked)),
            Asked::AuditLogs(account) => lock(&self.logs).page(*account, query, self.clock.now()),
            Asked::Operation { operation, account, tunnel } => {
                let now = self.clock.now();
                let outcome = self.operate(number, arrived, &asked, ray, now);
                if operation.is_write() {
                    let row = Row {
                        account: *account,
                        operation: *operation,
                        tunnel: tunnel.clone(),
                        time: now,
                        status: outcome.as_ref().map_or_else(|refused| refused.status, |_| StatusCode::OK),
                        ray: ray.to_owned(),
                        uri: arrived.head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
                        user_agent: user_agent(&arrived.head.headers),
                        address: arrived.peer.ip().to_string(),
                        token: token.clone(),
                        request: read(&arrived.body, MAX_DEPTH).ok().map(without_psk),
                    };
                    lock(&self.logs).add(row, logged);
                }
                outcome
            }
        }
    }

    fn operate(
        &self,
        number: u64,
        arrived: &Arrived,
        asked: &Asked,
        ray: &str,
        now: Timestamp,
    ) -> Result<Answer, Refused> {
        let Asked::Operation { operation, account, tunnel } = asked else {
            return Err(Refused::new(StatusCode::NOT_FOUND, Problem::new(7003, "No route for the URI")));
        };
        let headers = &arrived.head.headers;
        readable(headers, &arrived.body)?;
        let validate_only = operation.is_write() && route::validate_only(arrived.head.uri.query())?;
        let ask = Ask {
            operation: *operation,
            account: *account,
            tunnel: tunnel.as_deref(),
            form: target_form(headers)?,
            body: &arrived.body,
            now,
            ids: &self.ids,
        };
        let mut accounts = lock(&self.accounts);
        if !operation.is_write() {
            let mut none = Tunnels::default();
            let tunnels = accounts.get_mut(account).unwrap_or(&mut none);
            return ask.run(tunnels).map(|done| Answer::good(done.result));
        }
        let mut draft = accounts.get(account).cloned().unwrap_or_default();
        let done = ask.run(&mut draft)?;
        if !validate_only && !done.touched.is_empty() {
            accounts.insert(*account, draft);
            // Noted while the tunnels are still locked: nobody sees the change without its effect.
            let effect = Effect {
                operation: *operation,
                account: *account,
                tunnels: done.touched,
                ray: ray.to_owned(),
                user_agent: user_agent(headers),
                time: now,
            };
            lock(&self.journal).acted(number, effect);
        }
        Ok(Answer::good(done.result))
    }
}

/// The header by which a call asks for its own faults.
pub(super) const CONTROL: &str = "x-emulator-fault";

/// Faults that strike before anything is done; `Some` is an answer in place of the call's own.
async fn before(plan: &Plan, arrived: &Arrived, ray: &str) -> Result<Option<Answer>, Broken> {
    match plan.main {
        Some(Fault::DropBefore) => Err(Broken),
        Some(Fault::Hang(wait)) => {
            tokio::time::sleep(wait).await;
            Err(Broken)
        }
        Some(Fault::Status(code)) => Ok(Some(Answer::failed(code))),
        Some(Fault::Html) => Ok(Some(Answer::page(StatusCode::BAD_GATEWAY, ray))),
        Some(Fault::Throttle(seconds)) => Ok(Some(gate::throttled(u64::from(seconds)))),
        Some(Fault::EchoBody) => {
            let echo = String::from_utf8_lossy(&arrived.body);
            let problem = Problem::new(1001, format!("validation failed for request: {echo}"));
            Ok(Some(Answer::refused(Refused::new(StatusCode::BAD_REQUEST, problem))))
        }
        _ => Ok(None),
    }
}

/// Faults that strike when the call is done: its answer is lost, or another takes its place.
async fn after(plan: &Plan, answer: Answer, ray: &str) -> Result<Answer, Broken> {
    match plan.main {
        Some(Fault::DropAfter) => Err(Broken),
        Some(Fault::HangAfter(wait)) => {
            tokio::time::sleep(wait).await;
            Err(Broken)
        }
        Some(Fault::StatusAfter(code)) => Ok(Answer::failed(code)),
        Some(Fault::HtmlAfter) => Ok(Answer::page(StatusCode::BAD_GATEWAY, ray)),
        Some(Fault::UnknownField) => Ok(answer.with_unknown_members()),
        _ => Ok(answer),
    }
}

fn readable(headers: &HeaderMap, body: &[u8]) -> Result<(), Refused> {
    let refused =
        |message| Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Problem::new(1000, message)));
    let is = |name, known: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or(known);
        value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(known))
    };
    if !is(header::CONTENT_ENCODING, "identity") {
        return refused("the request's body must not be encoded");
    }
    if !body.is_empty()
        && (!headers.contains_key(header::CONTENT_TYPE) || !is(header::CONTENT_TYPE, "application/json"))
    {
        return refused("the request's content-type must be application/json");
    }
    Ok(())
}

fn target_form(headers: &HeaderMap) -> Result<TargetForm, Refused> {
    match headers.get("x-magic-new-hc-target").map(|value| value.as_bytes()) {
        None | Some(b"false") => Ok(TargetForm::Text),
        Some(b"true") => Ok(TargetForm::Object),
        Some(_) => {
            let problem = Problem::new(1001, "header x-magic-new-hc-target must be a boolean");
            Err(Refused::new(StatusCode::BAD_REQUEST, problem))
        }
    }
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT_ENCODING).iter().any(|value| {
        let text = value.to_str().unwrap_or_default();
        text.split(',').any(|part| matches!(part.trim(), "gzip" | "*"))
    })
}

/// The `user-agent`, cut to 512 bytes, as logs keep it.
fn user_agent(headers: &HeaderMap) -> String {
    let bytes = headers.get(header::USER_AGENT).map_or(&[][..], |value| value.as_bytes());
    String::from_utf8_lossy(bytes.get(..512).unwrap_or(bytes)).into_owned()
}
