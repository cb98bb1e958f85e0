//! Endpoints for tests in other processes, below `/__emulator/`: what happened, and what shall go wrong.
//!
//! They take no token, so they answer on loopback only, and not to a web page. Not here: the API.

use http::{Method, StatusCode, header};

use super::answer::{Answer, Problem, Refused, object};
use super::fault::{Fault, Place, Rule};
use super::fields::TargetForm;
use super::shared::{Arrived, Shared, lock};
use crate::json::{Json, MAX_DEPTH, Object, read};
use crate::operation::Operation;

/// Where the endpoints are.
pub(super) const PREFIX: &str = "/__emulator/";

/// Answers a call to a control endpoint.
pub(super) fn answer(shared: &Shared, arrived: &Arrived) -> Answer {
    serve(shared, arrived).unwrap_or_else(Answer::refused)
}

fn serve(shared: &Shared, arrived: &Arrived) -> Result<Answer, Refused> {
    let headers = &arrived.head.headers;
    // A browser names the page that asks, in one of these, on every call that could change something.
    let from_a_page = headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site");
    if from_a_page || !arrived.peer.ip().to_canonical().is_loopback() {
        let problem = Problem::new(1000, "control endpoints answer to programs on this host only");
        return Err(Refused::new(StatusCode::FORBIDDEN, problem));
    }
    let name = arrived.head.uri.path().strip_prefix(PREFIX).unwrap_or_default();
    let shown = match (&arrived.head.method, name) {
        (&Method::GET, "effects") => effects(shared),
        (&Method::GET, "calls") => calls(shared),
        (&Method::GET, "tunnels") => tunnels(shared),
        (&Method::POST, "faults") => {
            let rule = rule(&arrived.body)
                .map_err(|message| Refused::new(StatusCode::BAD_REQUEST, Problem::new(1000, message)))?;
            lock(&shared.faults).push(rule);
            object([("queued", Json::from(true))])
        }
        (&Method::POST, "reset") => {
            reset(shared);
            object([("reset", Json::from(true))])
        }
        _ => {
            let known =
                "unknown control endpoint; known are: GET effects, calls, tunnels; POST faults, reset";
            return Err(Refused::new(StatusCode::NOT_FOUND, Problem::new(7003, known)));
        }
    };
    Ok(Answer::plain(StatusCode::OK, &shown))
}

/// `{counts, total, effects}`: what the emulator really did.
fn effects(shared: &Shared) -> Json {
    let journal = lock(&shared.journal);
    let counts: Object = Operation::ALL
        .into_iter()
        .filter(|operation| operation.is_write())
        .map(|operation| (operation.name(), journal.counts().get(&operation).copied().unwrap_or_default()))
        .collect();
    let total: u64 = journal.counts().values().sum();
    let effects = journal.effects().map(super::journal::Effect::json).collect();
    object([("counts", Json::from(counts)), ("total", Json::from(total)), ("effects", Json::Array(effects))])
}

/// `{calls}`: what reached the emulator. A bearer token that it knows is shown as its id: a test learns that
/// the right one came, and a reader learns nothing.
fn calls(shared: &Shared) -> Json {
    let gate = lock(&shared.gate);
    let name = |sent: &str| gate.known(sent).map(|token| format!("Bearer token:{}", token.id()));
    let shown = lock(&shared.journal).calls().map(|call| call.json(name)).collect();
    object([("calls", Json::Array(shown))])
}

/// `{account: [tunnel]}`, in the newer form of `health_check.target`.
fn tunnels(shared: &Shared) -> Json {
    let now = shared.clock.now();
    let accounts = lock(&shared.accounts);
    let shown = accounts.iter().map(|(account, tunnels)| {
        let tunnels = tunnels.iter().map(|tunnel| tunnel.show(TargetForm::Object, now)).collect();
        (account.to_string(), Json::Array(tunnels))
    });
    shown.collect::<Object>().into()
}

/// Reads `{fault, operation?, times?}`; `times` is 1 where left out.
fn rule(body: &[u8]) -> Result<Rule, String> {
    let body = read(body, MAX_DEPTH).map_err(|error| format!("the body is not JSON: {error}"))?;
    let text = body.get("fault").and_then(Json::as_str).ok_or("`fault` is a text such as `status=503`")?;
    let place = match body.get("operation") {
        None | Some(Json::Null) => Place::Operations,
        Some(name) => Place::parse(name.as_str().ok_or("`operation` is a name")?)?,
    };
    let times = match body.get("times") {
        None | Some(Json::Null) => 1,
        Some(times) => {
            times.as_i64().and_then(|n| u32::try_from(n).ok()).ok_or("`times` is a whole number from 0")?
        }
    };
    Ok(Rule { fault: Fault::parse(text)?, place, times })
}

/// Forgets calls, effects, logs, faults and the use of quotas; tunnels stay.
pub(super) fn reset(shared: &Shared) {
    lock(&shared.faults).clear();
    lock(&shared.gate).forget_use();
    lock(&shared.logs).clear();
    lock(&shared.journal).clear();
}
