//! The upstream: a call that was authorized and recorded goes out, with the real token, and its answer comes back.
//!
//! What goes out is made from parsed values alone: the URL from `base_url` and the route, the headers from an
//! allow-list, the body from the JSON that was authorized. What comes back is bounded, decoded and stripped to
//! an allow-list. [`Failure`] says exactly what is known of a call that got no usable answer: whether no byte
//! of it went out, or whether the upstream may have acted.
//!
//! Not here: who may call (`authorize`), how often (`limit`), what the client is told (`respond`), what is
//! kept of it (`audit`).

mod answer;
mod dial;
mod exchange;
mod logs;
mod state;
mod token;
mod verify;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::Uri;

use crate::clock::Clock;
use crate::config;
use crate::measure::Metrics;
use crate::operation::AccountId;
use crate::secret::SecretString;

pub use crate::audit::Sent;
pub use answer::Answer;
pub use exchange::{Failure, Outgoing};
pub use logs::{LogPage, LogsAsked, LogsUnread};
pub use state::StateRead;
pub use token::token_problem;
pub use verify::Verdict;

use dial::Client;
use token::Tokens;

/// What keeps the upstream from being used, by the key path in the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// `base_url` can't be called.
    #[error("upstream.base_url: {0}")]
    BaseUrl(&'static str),
    /// The roots to trust can't be used.
    #[error("upstream.ca_file: {0}")]
    Roots(String),
    /// A token can't be used.
    #[error("{key}: {why}")]
    Token {
        /// Which one.
        key: String,
        /// What is wrong with it; never quotes it.
        why: String,
    },
    /// There is no token at all.
    #[error("upstream.token_file: no token; name a file, or set CLOUDFLARE_API_TOKEN")]
    NoToken,
}

/// The upstream, ready to be called.
#[derive(Debug)]
pub struct Upstream {
    client: Client,
    /// Scheme, authority and path, without a trailing slash.
    base: String,
    tokens: RwLock<Arc<Tokens>>,
    read_timeout: Duration,
    write_timeout: Duration,
    max_answer_bytes: usize,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

/// Tokens that are good by their form, to be used in place of others.
#[derive(Debug)]
pub struct NewTokens(Tokens);

impl NewTokens {
    /// Reads all tokens that a configuration names.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn load(config: &config::Upstream) -> Result<Self, Vec<ForwardError>> {
        Tokens::load(config).map(Self)
    }
}

/// Everything that would keep [`Upstream::start`] from succeeding, at once. Makes no connection.
#[must_use]
pub fn check(config: &config::Upstream) -> Vec<ForwardError> {
    let mut wrong: Vec<_> = base(&config.base_url).err().into_iter().collect();
    wrong.extend(dial::trusting(config).err());
    wrong.extend(Tokens::load(config).err().into_iter().flatten());
    wrong
}

impl Upstream {
    /// Loads roots and tokens; makes no connection yet.
    ///
    /// # Errors
    /// The first thing that is wrong; [`check`] tells all.
    pub fn start(
        config: &config::Upstream,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<Self, ForwardError> {
        let base = base(&config.base_url)?;
        let client = dial::client(config)?;
        let tokens = Tokens::load(config)
            .map_err(|wrong| wrong.into_iter().next().unwrap_or(ForwardError::NoToken))?;
        Ok(Self {
            client,
            base,
            tokens: RwLock::new(Arc::new(tokens)),
            read_timeout: config.read_timeout,
            write_timeout: config.write_timeout,
            max_answer_bytes: config.max_answer_bytes,
            clock,
            metrics,
        })
    }

    /// What is wrong with the tokens at present, a sentence each; empty when all is well.
    #[must_use]
    pub fn health(&self) -> Vec<String> {
        self.tokens().health()
    }

    /// The tokens in use, and those just replaced, which calls under way may still carry.
    #[must_use]
    pub fn secrets(&self) -> Vec<SecretString> {
        self.tokens().secrets()
    }

    /// Whose tokens there are: nobody's is the default.
    #[must_use]
    pub fn accounts(&self) -> Vec<Option<AccountId>> {
        self.tokens().accounts().collect()
    }

    /// Uses other tokens from now on, also for calls that have begun: those before may be refused by then.
    pub fn take_up(&self, tokens: NewTokens) {
        let mut present = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        *present = Arc::new(tokens.0.after(&present));
    }

    fn tokens(&self) -> Arc<Tokens> {
        Arc::clone(&self.tokens.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The base without its trailing slash. Plain HTTP is for loopback only: the token would go over the network.
fn base(url: &Uri) -> Result<String, ForwardError> {
    let wrong = |what| Err(ForwardError::BaseUrl(what));
    let (Some(scheme), Some(authority)) = (url.scheme_str(), url.authority()) else {
        return wrong("give a whole URL, such as https://api.cloudflare.com/client/v4");
    };
    if authority.as_str().contains('@') {
        return wrong("a user in the URL is not used; leave it out");
    }
    if url.query().is_some() {
        return wrong("a query is not used; leave it out");
    }
    match scheme {
        "https" => {}
        "http" if is_loopback(authority.host()) => {}
        "http" => return wrong("plain http is only for loopback, as it shows the token; use https"),
        _ => return wrong("use https"),
    }
    Ok(format!("{scheme}://{authority}{}", url.path().trim_end_matches('/')))
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
