//! Reads a tunnel's state, or that of all tunnels of an account, for the proxy itself.
//!
//! The decision on a write rests on it, so nothing is guessed: an answer that is not a whole, successful
//! envelope of strict JSON is no state. Not here: what the state says (`tunnel`).

use http::StatusCode;
use uuid::Uuid;

use super::exchange::{Failure, Outgoing};
use super::{Answer, Upstream};
use crate::json::{self, Json};
use crate::limit::Taken;
use crate::measure::Stage;
use crate::operation::{AccountId, Operation, Route, TunnelId};
use crate::refusal::Refusal;
use crate::tunnel::state::MAX_TUNNELS;

/// A state as the upstream told it.
#[derive(Clone)]
pub struct StateRead {
    /// The envelope, parsed: `success` is true.
    pub json: Json,
    /// The answer that it came in.
    pub answer: Answer,
}

impl std::fmt::Debug for StateRead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the state, which may hold an `md5_key`.
        f.debug_struct("StateRead").field("answer", &self.answer).finish_non_exhaustive()
    }
}

/// Cloudflare: "IPsec tunnel not found".
const TUNNEL_NOT_FOUND: i64 = 1032;

impl Upstream {
    /// Reads one tunnel, or the whole collection.
    ///
    /// # Errors
    /// [`Refusal::TunnelUnknown`] where the upstream knows no such tunnel, [`Refusal::UpstreamToken`], and
    /// [`Refusal::StateUnreadable`] for all else.
    pub async fn read_state(
        &self,
        taken: &Taken,
        account: AccountId,
        tunnel: Option<TunnelId>,
        new_hc_target: Option<bool>,
        request_id: Uuid,
    ) -> Result<StateRead, Failure> {
        let operation = if tunnel.is_some() { Operation::Get } else { Operation::List };
        let route = Route { operation, account, tunnel, validate_only: false };
        let (body, user_agent, stage) = (None, None, Stage::State);
        let outgoing = Outgoing { route: &route, body, new_hc_target, user_agent, request_id, stage };
        let answer = self
            .send_route(taken, outgoing)
            .await
            .map_err(|failure| Failure { refusal: unreadable(failure.refusal), ..failure })?;
        match state(&answer, tunnel.is_some()) {
            Ok(json) => Ok(StateRead { json, answer }),
            Err(refusal) => Err(Failure {
                refusal,
                sent: super::Sent::Yes,
                status: Some(answer.status),
                cf_ray: answer.cf_ray().map(str::to_owned),
            }),
        }
    }
}

/// A failed exchange, told as what it means for the decision: nothing of the call itself was sent yet.
fn unreadable(refusal: Refusal) -> Refusal {
    match unanswered(&refusal) {
        Some(why) => Refusal::StateUnreadable { why },
        None => refusal,
    }
}

/// Why a question of our own got no usable answer, where that lies with the upstream.
pub(super) fn unanswered(refusal: &Refusal) -> Option<&'static str> {
    if let Refusal::UpstreamAnswer(what) = refusal {
        Some(what)
    } else if *refusal == Refusal::UpstreamUnreachable {
        Some("no connection to the upstream")
    } else if *refusal == Refusal::UpstreamTimeout {
        Some("the upstream did not answer in time")
    } else if *refusal == Refusal::UpstreamDropped {
        Some("the upstream broke off without an answer")
    } else {
        None
    }
}

fn state(answer: &Answer, of_one: bool) -> Result<Json, Refusal> {
    let no = |why| Err(Refusal::StateUnreadable { why });
    let read = json::read(&answer.body, json::MAX_DEPTH);
    match answer.status {
        status if status.is_success() => {}
        StatusCode::NOT_FOUND if of_one => {
            let codes = read.as_ref().map(error_codes).unwrap_or_default();
            // Another code than the tunnel's own says that something else is missing: the account, the route.
            return if codes.is_empty() || codes.contains(&TUNNEL_NOT_FOUND) {
                Err(Refusal::TunnelUnknown)
            } else {
                no("the upstream does not know this account or path")
            };
        }
        StatusCode::NOT_FOUND => return no("the upstream does not know this account"),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return no("the upstream does not let this proxy read it");
        }
        StatusCode::TOO_MANY_REQUESTS => return no("the upstream throttles"),
        status if status.is_server_error() => return no("the upstream has a fault of its own"),
        _ => return no("the upstream refused to show it"),
    }
    let Ok(envelope) = read else { return no("the upstream's answer is not strict JSON") };
    if envelope.get("success").and_then(Json::as_bool) != Some(true) {
        return no("the upstream's answer is not a success");
    }
    let Some(result) = envelope.get("result").and_then(Json::as_object) else {
        return no("the upstream's answer holds no result");
    };
    // That a tunnel is not there is evidence, so a list must say so itself. `null` is Go's empty list.
    let listed = match result.get("ipsec_tunnels") {
        Some(Json::Array(items)) => {
            items.len() <= MAX_TUNNELS && items.iter().all(|item| item.as_object().is_some())
        }
        other => other == Some(&Json::Null),
    };
    if !of_one && !listed {
        return no("the upstream's answer holds no list of tunnels");
    }
    Ok(envelope)
}

/// The codes of an envelope's errors.
fn error_codes(envelope: &Json) -> Vec<i64> {
    let errors = envelope.get("errors").and_then(Json::as_array).unwrap_or_default();
    errors.iter().filter_map(|error| error.get("code")?.as_i64()).collect()
}
