//! The upstream's tokens: loaded, watched, replaced when their file changes.
//!
//! A file that becomes unreadable or wrong does not stop the service: the last good token stays in use, and
//! health says what is wrong. A global API key is never taken: it can do everything in every account, and the
//! upstream takes it in other headers.
//!
//! Source: Cloudflare, "API token formats". Not here: asking the upstream about a token (`forward::verify`).

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::Duration;

use http::HeaderValue;
use zeroize::Zeroizing;

use super::ForwardError;
use crate::config::{self, TokenSource};
use crate::operation::AccountId;
use crate::secret::{ExposeSecret, SecretString};

/// Characters of a token, at least and at most. Today's are 40 to 60; shorter than 16 is a cut one, and too
/// short to be searched for in a record without masking other text.
const MIN: usize = 16;
const MAX: usize = 256;

/// Characters of an old global API key: hex digits, without a prefix.
const OLD_GLOBAL_KEY: usize = 37;

/// How an account's own token begins.
pub(super) const OF_ACCOUNT: &str = "cfat_";

/// What is said of such a token as the default one.
pub(super) const UNASKED: &str = "not checked: the upstream tells of an account token (cfat_) only with its account; \
     name it in [upstream.accounts.<id>], or see how the first call fares";

/// Bytes of a token file that are read: a token and any white space around it.
const MAX_FILE: u64 = 1024;

/// What is wrong with a text as an upstream token, if anything. Never quotes it.
#[must_use]
pub fn token_problem(token: &str) -> Option<&'static str> {
    let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if token.is_empty() {
        Some("the token is empty; put a Cloudflare API token there")
    } else if token.starts_with("cfk_") || (token.len() == OLD_GLOBAL_KEY && token.bytes().all(lower_hex)) {
        Some("this is a global API key, which can do everything; create an API token for Magic WAN instead")
    } else if token.split('.').count() == 3 && token.starts_with("ey") {
        Some("this is a JWT; the upstream wants a Cloudflare API token")
    } else if !token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        Some("the token holds characters that no Cloudflare API token has; copy it again")
    } else if token.len() < MIN {
        Some("the token is too short; copy all of it")
    } else if token.len() > MAX {
        Some("the token is too long; put one Cloudflare API token there and nothing else")
    } else {
        None
    }
}

/// A token and the header that carries it.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) secret: SecretString,
    /// `Bearer` and the token, marked sensitive.
    pub(super) header: HeaderValue,
}

impl Token {
    fn new(text: &str) -> Result<Self, &'static str> {
        if let Some(problem) = token_problem(text) {
            return Err(problem);
        }
        let bearer = Zeroizing::new(format!("Bearer {text}"));
        let mut header = HeaderValue::from_str(&bearer).map_err(|_| "the token can't be sent in a header")?;
        header.set_sensitive(true);
        Ok(Self { secret: SecretString::from(text), header })
    }
}

/// The default token and those of single accounts.
#[derive(Debug)]
pub(super) struct Tokens {
    default: Option<Slot>,
    accounts: BTreeMap<AccountId, Slot>,
}

/// A place that a token comes from.
#[derive(Debug)]
pub(super) struct Slot {
    /// How health and errors name it.
    key: String,
    file: Option<PathBuf>,
    /// For calls on any account that has no token of its own.
    is_default: bool,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    current: Token,
    /// The one before: calls under way may still carry it.
    previous: Option<SecretString>,
    /// Why the file's present content is not in use.
    problem: Option<String>,
    /// Whether the upstream answered 401 to the token in use, once it has answered.
    refused: Option<bool>,
}

impl Tokens {
    pub(super) fn load(config: &config::Upstream) -> Result<Self, Vec<ForwardError>> {
        let mut wrong = Vec::new();
        let mut slot =
            |key: &str, source: &TokenSource| Slot::load(key, source).map_err(|error| wrong.push(error)).ok();
        let default = config.token.as_ref().and_then(|source| slot("upstream", source));
        let accounts = config
            .accounts
            .iter()
            .filter_map(|(id, source)| Some((*id, slot(&format!("upstream.accounts.{id}"), source)?)))
            .collect();
        if config.token.is_none() && config.accounts.is_empty() {
            wrong.push(ForwardError::NoToken);
        }
        if wrong.is_empty() { Ok(Self { default, accounts }) } else { Err(wrong) }
    }

    /// The token for calls on that account, or the default one.
    pub(super) fn of(&self, account: Option<AccountId>) -> Option<&Slot> {
        account.and_then(|account| self.accounts.get(&account)).or(self.default.as_ref())
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.default.iter().chain(self.accounts.values())
    }

    pub(super) fn reload(&self) {
        self.slots().for_each(Slot::reload);
    }

    pub(super) fn health(&self) -> Vec<String> {
        self.slots().flat_map(Slot::health).collect()
    }

    pub(super) fn secrets(&self) -> Vec<SecretString> {
        let of = |slot: &Slot| {
            let state = slot.read();
            [Some(state.current.secret.clone()), state.previous.clone()]
        };
        self.slots().flat_map(of).flatten().collect()
    }
}

impl Slot {
    fn load(key: &str, source: &TokenSource) -> Result<Self, ForwardError> {
        let is_default = key == "upstream";
        let (key, file, token) = match source {
            TokenSource::File(path) => {
                let text = read(path);
                (
                    format!("{key}.token_file"),
                    Some(path.clone()),
                    text.and_then(|text| Ok(Token::new(&text)?)),
                )
            }
            TokenSource::Environment(secret) => {
                let key = if is_default { "CLOUDFLARE_API_TOKEN".into() } else { format!("{key}.token") };
                (key, None, Token::new(secret.expose_secret().trim()).map_err(String::from))
            }
        };
        let current = token.map_err(|why| ForwardError::Token { key: key.clone(), why })?;
        let state = State { current, previous: None, problem: None, refused: None };
        Ok(Self { key, file, is_default, state: RwLock::new(state) })
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn current(&self) -> Token {
        self.read().current.clone()
    }

    /// Keeps in mind whether the upstream takes the token.
    pub(super) fn note(&self, refused: bool) {
        if self.read().refused != Some(refused) {
            self.write().refused = Some(refused);
        }
    }

    fn reload(&self) {
        let Some(path) = &self.file else { return };
        let text = read(path);
        let unchanged =
            text.as_ref().is_ok_and(|text| text.as_str() == self.read().current.secret.expose_secret());
        let fresh = text.and_then(|text| Ok(Token::new(&text)?));
        let mut state = self.write();
        match fresh {
            Ok(_) if unchanged => state.problem = None,
            Ok(token) => {
                let old = std::mem::replace(&mut state.current, token);
                state.previous = Some(old.secret);
                state.problem = None;
                state.refused = None;
                tracing::info!(token.key = self.key, "the upstream token was replaced from its file");
            }
            Err(problem) => {
                if state.problem.as_ref() != Some(&problem) {
                    tracing::warn!(
                        token.key = self.key,
                        problem,
                        "the last good upstream token stays in use"
                    );
                }
                state.problem = Some(problem);
            }
        }
    }

    fn health(&self) -> Vec<String> {
        let state = self.read();
        let file = state
            .problem
            .as_ref()
            .map(|why| format!("{}: {why}; the last good token stays in use", self.key));
        let of_account = state.current.secret.expose_secret().starts_with(OF_ACCOUNT);
        let refused = match state.refused {
            Some(true) => Some(format!("{}: the upstream refuses this token (401)", self.key)),
            None if of_account && self.is_default => Some(format!("{}: {UNASKED}", self.key)),
            Some(false) | None => None,
        };
        file.into_iter().chain(refused).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The text of a token file, without the white space around it.
fn read(path: &Path) -> Result<Zeroizing<String>, String> {
    let failed = |e: std::io::Error| format!("can't read `{}`: {e}", path.display());
    // A pipe or device would block, or answer something else each time.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(format!("`{}` is not a regular file", path.display()));
    }
    // Room for all of it at once: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(MAX_FILE).unwrap_or(0) + 1));
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| format!("`{}` is not text", path.display()))?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// Looks at the token files again and again, until nobody uses them any more.
pub(super) async fn watch(tokens: Weak<Tokens>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(tokens) = tokens.upgrade() else { return };
        // A network file system may block; the calls in this runtime must not wait for it. Nothing is lost if the
        // task fails: the next tick looks again.
        let _ = tokio::task::spawn_blocking(move || tokens.reload()).await;
    }
}
