//! Asks the upstream whether it takes a token.
//!
//! A user token is checked at `/user/tokens/verify`, an account token at `/accounts/{id}/tokens/verify`; the
//! prefix tells which it is, and an older token without one is tried at both. Source: Cloudflare API, "Verify
//! Token". Not here: what a token may look like (`forward::token`).

use http::{Method, StatusCode};
use uuid::Uuid;

use super::Upstream;
use super::exchange::Call;
use super::state::unanswered;
use super::token::{OF_ACCOUNT, Slot, UNASKED};
use crate::json::{self, Json};
use crate::limit::Taken;
use crate::operation::AccountId;
use crate::secret::ExposeSecret as _;

/// What is known of a token. Each sentence begins with its key path and does not hold the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The upstream takes it.
    Good,
    /// The upstream refuses it.
    Refused(String),
    /// The upstream was asked, and gave no answer that tells.
    Unanswered(String),
    /// The upstream can't be asked.
    Unasked(String),
}

impl Upstream {
    /// Whether the upstream takes the token of that account, or the default token. An account token can't be asked
    /// about without its account.
    pub async fn verify_token(&self, taken: &Taken, account: Option<AccountId>, request_id: Uuid) -> Verdict {
        let tokens = self.tokens();
        let Some(slot) = tokens.of(account) else {
            return Verdict::Refused("upstream: no token is configured for this account".into());
        };
        let token = slot.token();
        let text = token.secret.expose_secret();
        let (of_user, of_account) = (!text.starts_with(OF_ACCOUNT), !text.starts_with("cfut_"));
        let paths = [
            of_user.then(|| "/user/tokens/verify".to_owned()),
            account.filter(|_| of_account).map(|account| format!("/accounts/{account}/tokens/verify")),
        ];
        let mut verdict = Verdict::Unasked(format!("{}: {UNASKED}", slot.key()));
        for (nth, path) in paths.into_iter().flatten().enumerate() {
            if nth > 0 && taken.again().await.is_err() {
                break;
            }
            verdict = self.verify_at(slot, taken, path, request_id).await;
            if verdict == Verdict::Good {
                slot.note(false);
                break;
            }
        }
        verdict
    }

    async fn verify_at(&self, slot: &Slot, taken: &Taken, path: String, request_id: Uuid) -> Verdict {
        let call = Call {
            name: "verify_token",
            method: Method::GET,
            path,
            body: None,
            new_hc_target: None,
            user_agent: None,
            request_id,
            traceparent: None,
            is_read: true,
        };
        let key = slot.key();
        let base = &self.base;
        let open =
            |why: &str| Verdict::Unanswered(format!("{key}: the token can't be checked at {base}: {why}"));
        let answer = match self.call(slot, taken, &call).await {
            Ok(answer) => answer,
            Err(failure) => {
                let why = unanswered(&failure.refusal).map(str::to_owned);
                return open(&why.unwrap_or_else(|| failure.refusal.message()));
            }
        };
        let status = answer.status;
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return open(&format!("the upstream answered with status {}", status.as_u16()));
        }
        let verdict =
            json::read(&answer.body, json::MAX_DEPTH).ok().filter(|read| read.as_object().is_some());
        if is_elsewhere(status, verdict.as_ref()) {
            return Verdict::Refused(format!(
                "upstream.base_url: `{base}` does not answer as Cloudflare's API does (status {} at `{}`); give the \
                 whole address, such as `https://api.cloudflare.com/client/v4`, and look whether each account's id is right",
                status.as_u16(),
                call.path
            ));
        }
        let fault = fault(status, verdict.as_ref());
        fault.map_or(Verdict::Good, |what| Verdict::Refused(format!("{key}: {what}")))
    }
}

/// Whether this is not where the API tells of tokens. Who refuses one may do so by a page.
fn is_elsewhere(status: StatusCode, verdict: Option<&Json>) -> bool {
    match status {
        StatusCode::NOT_FOUND => true,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => false,
        _ => verdict.is_none(),
    }
}

/// What the upstream has against the token.
fn fault(status: StatusCode, verdict: Option<&Json>) -> Option<String> {
    if status != StatusCode::OK {
        return Some(format!(
            "the upstream refuses the token (status {}); give one with the permission `Magic WAN Write`",
            status.as_u16()
        ));
    }
    match verdict.and_then(|verdict| verdict.pointer("/result/status")).and_then(Json::as_str) {
        Some("active") => None,
        Some("disabled") => Some("the token is disabled".into()),
        Some("expired") => Some("the token has expired".into()),
        _ => Some("the upstream does not call the token active".into()),
    }
}
