//! Who may come in, and how often: tokens and the rate limit of the upstream.
//!
//! Not here: the calls themselves (`operations`).

use std::collections::HashMap;
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};

use super::answer::{Answer, Problem, Refused, object};
use super::route::Asked;
use crate::json::Json;
use crate::operation::AccountId;
use crate::secret::{ExposeSecret, SecretString};

/// A token that the emulator accepts.
#[derive(Clone, Debug)]
pub struct Token {
    id: String,
    secret: SecretString,
    account: Option<AccountId>,
    read_only: bool,
    status: &'static str,
}

impl Token {
    /// A user token: good for every account, verified at `/user/tokens/verify`.
    #[must_use]
    pub fn user(secret: SecretString) -> Self {
        let digest = digest(secret.expose_secret());
        let id = data_encoding::HEXLOWER.encode(digest.get(..16).unwrap_or_default());
        Self { id, secret, account: None, read_only: false, status: "active" }
    }

    /// An account token: good for that account, verified at `/accounts/{id}/tokens/verify`.
    #[must_use]
    pub fn account(secret: SecretString, account: AccountId) -> Self {
        Self { account: Some(account), ..Self::user(secret) }
    }

    /// The same token without the permission to write.
    #[must_use]
    pub fn read_only(self) -> Self {
        Self { read_only: true, ..self }
    }

    /// The same token, known but disabled: it verifies as such and opens nothing.
    #[must_use]
    pub fn disabled(self) -> Self {
        Self { status: "disabled", ..self }
    }

    /// What names the token in audit logs; it tells nothing of the secret that could be used.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The secret itself.
    #[must_use]
    pub const fn secret(&self) -> &SecretString {
        &self.secret
    }

    pub(super) const fn kind(&self) -> &'static str {
        if self.account.is_some() { "account" } else { "user" }
    }
}

fn digest(text: &str) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref().to_vec()
}

/// One token's use of its quota.
#[derive(Clone, Copy, Debug)]
struct Window {
    ends: Duration,
    used: u32,
    /// After a breach everything is refused until the window ends.
    breached: bool,
}

/// The gate: tokens, quota, and what was used of it.
#[derive(Debug)]
pub(super) struct Gate {
    tokens: Vec<Token>,
    rate: Option<(u32, Duration)>,
    windows: HashMap<String, Window>,
}

/// What the quota says to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quota {
    limit: u32,
    window: u64,
    remaining: u32,
    reset: u64,
    pub(super) refused: bool,
}

impl Gate {
    pub(super) fn new(tokens: Vec<Token>, rate: Option<(u32, Duration)>) -> Self {
        Self { tokens, rate, windows: HashMap::new() }
    }

    pub(super) fn forget_use(&mut self) {
        self.windows.clear();
    }

    /// The token that a bearer header carries. Each known token is compared, in constant time, by digest, so
    /// neither length nor position shows.
    pub(super) fn token(&self, headers: &HeaderMap) -> Result<Token, Refused> {
        if headers.contains_key("x-auth-key") || headers.contains_key("x-auth-email") {
            let problem = Problem::new(9103, "Unknown X-Auth-Key or X-Auth-Email");
            return Err(Refused::new(StatusCode::FORBIDDEN, problem));
        }
        let unknown = || Refused::new(StatusCode::UNAUTHORIZED, Problem::new(10000, "Authentication error"));
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Err(unknown()) };
        let sent = value.to_str().ok().and_then(|text| text.strip_prefix("Bearer ")).ok_or_else(unknown)?;
        self.known(sent).cloned().ok_or_else(unknown)
    }

    /// The token whose secret this is.
    pub(super) fn known(&self, sent: &str) -> Option<&Token> {
        let sent = digest(sent);
        let mut found = None;
        for token in &self.tokens {
            let known = digest(token.secret.expose_secret());
            if aws_lc_rs::constant_time::verify_slices_are_equal(&sent, &known).is_ok() {
                found = Some(token);
            }
        }
        found
    }

    /// Whether the token may do that.
    pub(super) fn permits(token: &Token, asked: &Asked) -> Result<(), Refused> {
        if matches!(asked, Asked::VerifyUser | Asked::VerifyAccount(_)) {
            return Ok(());
        }
        let forbidden = || Refused::new(StatusCode::FORBIDDEN, Problem::new(10000, "Authentication error"));
        let elsewhere = token.account.is_some() && token.account != asked.account();
        let writes = asked.operation().is_some_and(crate::operation::Operation::is_write);
        if elsewhere || token.status != "active" || (writes && token.read_only) {
            return Err(forbidden());
        }
        Ok(())
    }

    /// Counts a call of the token.
    pub(super) fn count(&mut self, token: &Token, now: Duration) -> Option<Quota> {
        let (limit, length) = self.rate?;
        let fresh = Window { ends: now + length, used: 0, breached: false };
        let window = self.windows.entry(token.id.clone()).or_insert(fresh);
        if now >= window.ends {
            *window = fresh;
        }
        if window.used >= limit && !window.breached {
            // The whole window is refused from the breach on, not from the window's start.
            *window = Window { ends: now + length, used: limit, breached: true };
        }
        if !window.breached {
            window.used += 1;
        }
        let left = window.ends.saturating_sub(now);
        Some(Quota {
            limit,
            window: length.as_secs(),
            remaining: limit.saturating_sub(window.used),
            reset: left.as_secs() + u64::from(left.subsec_nanos() > 0),
            refused: window.breached,
        })
    }
}

impl Quota {
    /// 429 with the time until the window ends.
    pub(super) fn refusal(&self) -> Answer {
        throttled(self.reset)
    }

    /// `Ratelimit` and `Ratelimit-Policy`, as the upstream spells them.
    pub(super) fn mark(&self, answer: &mut Answer) {
        answer.header("ratelimit", &format!("\"default\";r={};t={}", self.remaining, self.reset));
        answer.header("ratelimit-policy", &format!("\"default\";q={};w={}", self.limit, self.window));
    }
}

/// 429 with `retry-after`.
pub(super) fn throttled(seconds: u64) -> Answer {
    let problem = Problem::new(971, "Please wait and consider throttling your request speed");
    let mut answer = Answer::refused(Refused::new(StatusCode::TOO_MANY_REQUESTS, problem));
    answer.header("retry-after", &seconds.to_string());
    answer
}

/// The answer of a token verification endpoint.
pub(super) fn verified(token: &Token, asked: &Asked) -> Answer {
    let at = if let Asked::VerifyAccount(account) = asked { Some(*account) } else { None };
    if at != token.account {
        let problem = Problem::new(1000, "Invalid API Token");
        return Answer::refused(Refused::new(StatusCode::UNAUTHORIZED, problem));
    }
    let message = format!("This API Token is valid and {}", token.status);
    let message = object([("code", Json::from(10000u32)), ("message", Json::from(message))]);
    let result = object([("id", Json::from(token.id.as_str())), ("status", Json::from(token.status))]);
    Answer::envelope(StatusCode::OK, true, Vec::new(), vec![message], Some(result))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breach_refuses_every_call_for_a_whole_window() {
        let token = Token::user("not a real token".to_owned().into());
        let mut gate = Gate::new(vec![token.clone()], Some((2, Duration::from_secs(300))));
        let mut at = |second| {
            let quota = gate.count(&token, Duration::from_secs(second)).unwrap();
            (quota.refused, quota.remaining, quota.reset)
        };
        assert_eq!(at(0), (false, 1, 300));
        assert_eq!(at(100), (false, 0, 200));
        assert_eq!(at(200), (true, 0, 300));
        assert_eq!(at(499), (true, 0, 1));
        assert_eq!(at(500), (false, 1, 300));
    }
}
