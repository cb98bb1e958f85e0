//! The upstream's tokens: loaded, and replaced all together by others.
//!
//! A global API key is never taken: it can do everything in every account, and the upstream takes it in other headers.
//!
//! Source: Cloudflare, "API token formats". Not here: asking the upstream about a token (`forward::verify`), when tokens
//! are replaced (`service::reload`).

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

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

/// Tokens that were replaced and may still be under way, besides one for each that is in use: a call takes a minute or
/// so, and nobody replaces tokens more often than that for long.
const MAX_PREVIOUS: usize = 4;

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
    default: Option<Arc<Slot>>,
    accounts: BTreeMap<AccountId, Arc<Slot>>,
    /// Those before: calls under way may still carry them. The newest first.
    previous: Vec<SecretString>,
}

/// A place that a token comes from.
#[derive(Debug)]
pub(super) struct Slot {
    /// How health and errors name it.
    key: String,
    /// For calls on any account that has no token of its own.
    is_default: bool,
    token: Token,
    /// Whether the upstream answered 401 to it, once it has answered.
    refused: Mutex<Option<bool>>,
}

impl Tokens {
    pub(super) fn load(config: &config::Upstream) -> Result<Self, Vec<ForwardError>> {
        let mut wrong = Vec::new();
        let mut slot = |key: &str, source: &TokenSource| {
            Slot::load(key, source).map(Arc::new).map_err(|error| wrong.push(error)).ok()
        };
        let default = config.token.as_ref().and_then(|source| slot("upstream", source));
        let accounts = config
            .accounts
            .iter()
            .filter_map(|(id, source)| Some((*id, slot(&format!("upstream.accounts.{id}"), source)?)))
            .collect();
        if config.token.is_none() && config.accounts.is_empty() {
            wrong.push(ForwardError::NoToken);
        }
        if wrong.is_empty() { Ok(Self { default, accounts, previous: Vec::new() }) } else { Err(wrong) }
    }

    /// These in place of those: what is known of a token that stays is kept, and one that goes is a secret for a while.
    pub(super) fn after(mut self, before: &Self) -> Self {
        for slot in self.default.iter_mut().chain(self.accounts.values_mut()) {
            if let Some(known) = before.slots().find(|known| known.key == slot.key && known.is(slot)) {
                *slot = Arc::clone(known);
            }
        }
        let before = before.slots().map(|slot| &slot.token.secret).chain(&before.previous);
        let mut previous: Vec<SecretString> = Vec::new();
        for secret in before {
            let is = |other: &SecretString| other.expose_secret() == secret.expose_secret();
            if !previous.iter().any(is) && !self.slots().any(|slot| is(&slot.token.secret)) {
                previous.push(secret.clone());
            }
        }
        previous.truncate(MAX_PREVIOUS + self.slots().count());
        Self { previous, ..self }
    }

    /// The token for calls on that account, or the default one.
    pub(super) fn of(&self, account: Option<AccountId>) -> Option<&Arc<Slot>> {
        account.and_then(|account| self.accounts.get(&account)).or(self.default.as_ref())
    }

    /// Whose they are: nobody's is the default.
    pub(super) fn accounts(&self) -> impl Iterator<Item = Option<AccountId>> {
        self.default.iter().map(|_| None).chain(self.accounts.keys().copied().map(Some))
    }

    fn slots(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.default.iter().chain(self.accounts.values())
    }

    pub(super) fn health(&self) -> Vec<String> {
        self.slots().filter_map(|slot| slot.health()).collect()
    }

    pub(super) fn secrets(&self) -> Vec<SecretString> {
        self.slots().map(|slot| &slot.token.secret).chain(&self.previous).cloned().collect()
    }
}

impl Slot {
    fn load(key: &str, source: &TokenSource) -> Result<Self, ForwardError> {
        let is_default = key == "upstream";
        let (key, token) = match source {
            TokenSource::File(path) => {
                (format!("{key}.token_file"), read(path).and_then(|text| Ok(Token::new(&text)?)))
            }
            TokenSource::Environment(secret) => {
                let key = if is_default { "CLOUDFLARE_API_TOKEN".into() } else { format!("{key}.token") };
                (key, Token::new(secret.expose_secret().trim()).map_err(String::from))
            }
        };
        let token = token.map_err(|why| ForwardError::Token { key: key.clone(), why })?;
        Ok(Self { key, is_default, token, refused: Mutex::default() })
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) const fn token(&self) -> &Token {
        &self.token
    }

    fn is(&self, other: &Self) -> bool {
        self.token.secret.expose_secret() == other.token.secret.expose_secret()
    }

    /// Keeps in mind whether the upstream takes the token.
    pub(super) fn note(&self, refused: bool) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(refused);
    }

    fn health(&self) -> Option<String> {
        let of_account = self.token.secret.expose_secret().starts_with(OF_ACCOUNT);
        match *self.refused.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(true) => Some(format!("{}: the upstream refuses this token (401)", self.key)),
            None if of_account && self.is_default => Some(format!("{}: {UNASKED}", self.key)),
            Some(false) | None => None,
        }
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
