//! Asks the upstream whether it takes a token.
//!
//! A user token is checked at `/user/tokens/verify`, an account token at `/accounts/{id}/tokens/verify`; the
//! prefix tells which it is, and an older token without one is tried at both. Source: Cloudflare API, "Verify
//! Token". Not here: what a token may look like (`forward::token`).

use http::{Method, StatusCode};
use uuid::Uuid;

use super::exchange::Call;
use super::token::Slot;
use super::{Answer, Upstream};
use crate::json::{self, Json};
use crate::limit::Taken;
use crate::operation::AccountId;
use crate::secret::ExposeSecret as _;

impl Upstream {
    /// Whether the upstream takes the token of that account, or the default token. An account token can't be
    /// checked without an account; then nothing is asked and nothing is wrong.
    ///
    /// # Errors
    /// A sentence that says what is wrong, without the token.
    pub async fn verify_token(
        &self,
        taken: &Taken,
        account: Option<AccountId>,
        request_id: Uuid,
    ) -> Result<(), String> {
        let Some(slot) = self.tokens.of(account) else {
            return Err("upstream: no token is configured for this account".into());
        };
        let token = slot.current();
        let text = token.secret.expose_secret();
        let (of_user, of_account) = (!text.starts_with("cfat_"), !text.starts_with("cfut_"));
        let paths = [
            of_user.then(|| "/user/tokens/verify".to_owned()),
            account.filter(|_| of_account).map(|account| format!("/accounts/{account}/tokens/verify")),
        ];
        let mut verdict = Ok(());
        for (nth, path) in paths.into_iter().flatten().enumerate() {
            if nth > 0 && taken.again().is_err() {
                break;
            }
            verdict = self.verify_at(slot, taken, path, request_id).await;
            if verdict.is_ok() {
                slot.note(false);
                break;
            }
        }
        verdict
    }

    async fn verify_at(
        &self,
        slot: &Slot,
        taken: &Taken,
        path: String,
        request_id: Uuid,
    ) -> Result<(), String> {
        let call = Call {
            name: "verify_token",
            method: Method::GET,
            path,
            body: None,
            new_hc_target: None,
            user_agent: None,
            request_id,
            is_read: true,
        };
        let answer = self.call(slot, taken, &call).await.map_err(|failure| {
            format!("{}: the token can't be checked: {}", slot.key(), failure.refusal.message())
        })?;
        verdict(&answer).map_err(|what| format!("{}: {what}", slot.key()))
    }
}

fn verdict(answer: &Answer) -> Result<(), String> {
    if answer.status != StatusCode::OK {
        return Err(format!("the upstream refuses the token (status {})", answer.status.as_u16()));
    }
    let envelope = json::read(&answer.body, json::MAX_DEPTH)
        .map_err(|error| format!("the upstream's verdict on the token is not JSON: {error}"))?;
    match envelope.pointer("/result/status").and_then(Json::as_str) {
        Some("active") => Ok(()),
        Some("disabled") => Err("the token is disabled".into()),
        Some("expired") => Err("the token has expired".into()),
        _ => Err("the upstream does not call the token active".into()),
    }
}
