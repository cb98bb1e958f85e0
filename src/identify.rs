//! Identify: from a request's headers to a caller whose token was verified.
//!
//! The token is a JWT in one `Authorization: Bearer` header. Its `iss` picks the configured issuer, which alone
//! says what keys, algorithms, audience and lifetime count; nothing in a token's header is followed, and what a
//! token brings along to be trusted by is refused. A verified token is remembered until it ends, or until keys
//! or revocations change. An [`Identifier`] never changes but for keys that it fetches: other issuers, files or revocations
//! make another one, so that a call goes by one of them from beginning to end. Not here: when that is
//! (`service::reload`), what a caller may do (`authorize`), how often (`limit`), and how many
//! unidentified requests an address may send (`listen`).
//!
//! Sources: RFC 7515, 7517, 7518, 7519, 7800, 8037, 8705, 8725, 9068.

mod bearer;
mod cache;
mod claims;
pub mod dev;
mod everywhere;
mod fetch;
mod file;
mod jwk;
mod keys;
mod not_taken;
mod revoked;
mod standing;
mod text;
mod token;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio::task::JoinSet;

use crate::caller::{Caller, Thumbprint};
use crate::clock::Clock;
use crate::config::{Issuer, KeySource, Revocation};
use crate::json::Json;
use crate::measure::states::IssuerKeys;
use crate::refusal::{Refusal, TokenFault};
use crate::share::{Away, Shared};

pub use not_taken::NotTaken;
pub use revoked::{revoking_line, without_line};
pub use text::is_unseen;

use cache::{Age, Cache, Entry, Generation};
use everywhere::{Everywhere, Follower};
use jwk::NoKey;
use keys::Keys;
use revoked::List;

/// How often it is looked for new revocations, so that each counts within a second: the longest pause, reading it, its entry on
/// disk, and half a second to spare.
pub const LOOK_FOR_REVOKED: Duration = Duration::from_millis(250);

/// Verifies tokens. When the last one that fetches an issuer's keys is dropped, they are fetched no more.
#[derive(Debug)]
pub struct Identifier {
    issuers: Vec<Trusted>,
    /// The greatest `max_token_bytes`: a longer token is not even hashed.
    longest: usize,
    revoked: Arc<List>,
    /// What is revoked at all replicas, and who looks for more of it.
    everywhere: Option<(Arc<Everywhere>, Arc<JoinSet<()>>)>,
    /// What one of them remembers counts for no other.
    edition: u64,
    /// Shared with those that came before and come after.
    cache: Arc<Cache>,
    generation: Arc<Generation>,
    clock: Arc<dyn Clock>,
}

#[derive(Clone, Debug)]
struct Trusted {
    rules: Issuer,
    keys: Arc<Keys>,
    /// Keeps the keys new; aborted when dropped.
    tending: Arc<JoinSet<()>>,
}

/// Revocations as a file had them at one time.
#[derive(Clone, Debug)]
pub struct Revocations(Arc<List>);

impl Revocations {
    /// Reads the file that is named, if any; a missing one is an empty one.
    ///
    /// # Errors
    /// In our words, why it can't be used.
    pub fn read(revocation: &Revocation) -> Result<Self, String> {
        match Self::read_good(revocation)? {
            (revocations, None) => Ok(revocations),
            (_, Some(why)) => Err(why),
        }
    }

    /// The same, but what is good of a file that is not: what else is wrong with it is told beside. Of such a file nobody knows
    /// whom it was to leave out, so it may revoke and must not take back.
    ///
    /// # Errors
    /// In our words, why nothing of it can be read.
    pub fn read_good(revocation: &Revocation) -> Result<(Self, Option<String>), String> {
        let (list, wrong) =
            revocation.file.as_deref().map_or_else(|| Ok((List::default(), None)), List::of)?;
        Ok((Self(Arc::new(list)), wrong))
    }

    /// What would keep a file of this text from being used.
    #[must_use]
    pub fn fault(text: &[u8]) -> Option<String> {
        List::read(text).1
    }
}

/// Proof that a token was verified. Only this module makes one.
#[derive(Clone, Debug)]
pub struct Identified {
    caller: Arc<Caller>,
}

impl Identified {
    /// Who it is.
    #[must_use]
    pub const fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }
}

/// Why nobody can be identified at all.
#[derive(Debug, thiserror::Error)]
pub enum IdentifyError {
    /// Two issuers of one name: no token could tell which of them it is from.
    #[error("issuer `{0}` is configured twice; join the two entries")]
    Twice(String),
    /// The client for an issuer's keys can't be set up.
    #[error("the keys of issuer `{issuer}` can't be fetched: {why}; correct `jwks_url` or `jwks_ca_file`")]
    Client {
        /// Which issuer.
        issuer: String,
        /// Why not.
        why: String,
    },
    /// Nobody knows who is revoked.
    #[error("the revocation file can't be used: {0}; correct it")]
    Revocation(String),
    /// Nobody knows who is revoked at all replicas.
    #[error("the revocations that replicas share can't be read")]
    Shared(#[source] Away),
}

impl Identifier {
    /// Reads or fetches the keys of all issuers once, and keeps new from then on what it fetches. An
    /// issuer whose keys can't be had is no error: its tokens get [`Refusal::KeysUnavailable`] until they can,
    /// and [`Identifier::health`] says so.
    ///
    /// # Errors
    /// What makes it unsafe or pointless to start.
    pub async fn start(
        issuers: &[Issuer],
        revocation: &Revocation,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, IdentifyError> {
        // Without a last good list nobody knows who is revoked.
        let Revocations(revoked) = Revocations::read(revocation).map_err(IdentifyError::Revocation)?;
        let generation = Arc::new(Generation::default());
        let mut trusted: Vec<Trusted> = Vec::new();
        for rules in issuers {
            if trusted.iter().any(|known| known.rules.issuer == rules.issuer) {
                return Err(IdentifyError::Twice(rules.issuer.clone()));
            }
            let keys = Keys::new(rules, Arc::clone(&generation), Arc::clone(&clock))
                .map_err(|why| IdentifyError::Client { issuer: rules.issuer.clone(), why })?;
            trusted.push(Trusted { rules: rules.clone(), keys: Arc::new(keys), tending: Arc::default() });
        }
        begin(&mut trusted.iter_mut().collect::<Vec<_>>()).await;
        let cache = Arc::new(Cache::new());
        Ok(Self {
            longest: longest(issuers),
            issuers: trusted,
            revoked,
            everywhere: None,
            edition: 0,
            cache,
            generation,
            clock,
        })
    }

    /// Reads the revocations that all replicas share. From then on this one and those that come after it keep them new.
    ///
    /// # Errors
    /// [`IdentifyError::Shared`]
    pub async fn sharing(mut self, shared: Option<&Shared>) -> Result<Self, IdentifyError> {
        if let Some(shared) = shared {
            let everywhere = Arc::new(Everywhere::new(Arc::clone(&self.generation)));
            let mut follower = Follower::new(shared.clone(), Arc::clone(&everywhere));
            follower.step().await.map_err(IdentifyError::Shared)?;
            let mut following = JoinSet::new();
            following.spawn(follower.follow());
            self.everywhere = Some((everywhere, Arc::new(following)));
        }
        Ok(self)
    }

    /// One for other issuers, or for the same with their files read again. What is fetched from where it was goes on; an
    /// issuer with another source keeps the keys that it had until the new source has been heard.
    ///
    /// # Errors
    /// Every file that can't be used, with its key path. One that never could is none.
    pub async fn renewed(&self, issuers: &[Issuer]) -> Result<Self, Vec<(String, String)>> {
        let (mut wrong, mut trusted, mut fresh) = (Vec::new(), Vec::new(), Vec::new());
        for (at, rules) in issuers.iter().enumerate() {
            let known = self.issuers.iter().find(|known| known.rules.issuer == rules.issuer);
            if let Some(known) = known.filter(|known| known.keys.are_fetched_from(&rules.keys)) {
                trusted.push(Trusted { rules: rules.clone(), ..known.clone() });
                continue;
            }
            match Keys::new(rules, Arc::clone(&self.generation), Arc::clone(&self.clock)) {
                Ok(keys) => {
                    let keys = match known {
                        Some(known) => keys.after(&known.keys),
                        None => keys,
                    };
                    trusted.push(Trusted {
                        rules: rules.clone(),
                        keys: Arc::new(keys),
                        tending: Arc::default(),
                    });
                    fresh.push((at, known.is_some_and(|known| known.keys.are_awaited_in(&rules.keys))));
                }
                Err(why) => wrong.push((format!("issuer.{at}.jwks_ca_file"), why)),
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let at_all = trusted.iter_mut().enumerate();
        let fresh_ones = at_all.filter(|(at, _)| fresh.iter().any(|(fresh, _)| fresh == at));
        let troubles = begin(&mut fresh_ones.map(|(_, fresh)| fresh).collect::<Vec<_>>()).await;
        for ((at, awaited), trouble) in fresh.iter().zip(troubles) {
            wrong.extend(trouble.filter(|_| !awaited).map(|why| (format!("issuer.{at}.jwks_file"), why)));
        }
        if wrong.is_empty() {
            Ok(Self { issuers: trusted, longest: longest(issuers), ..self.next() })
        } else {
            Err(wrong)
        }
    }

    /// One for the same issuers and these revocations; `None` where they are the same.
    #[must_use]
    pub fn revoking(&self, revocations: &Revocations) -> Option<Self> {
        let others = *revocations.0 != *self.revoked;
        others.then(|| Self { revoked: Arc::clone(&revocations.0), ..self.next() })
    }

    /// One for the same issuers that revokes all that it did and these; `None` where these are no more.
    #[must_use]
    pub fn revoking_also(&self, revocations: &Revocations) -> Option<Self> {
        let both = self.revoked.joined(&revocations.0);
        (both != *self.revoked).then(|| Self { revoked: Arc::new(both), ..self.next() })
    }

    fn next(&self) -> Self {
        Self {
            issuers: self.issuers.clone(),
            longest: self.longest,
            revoked: Arc::clone(&self.revoked),
            everywhere: self.everywhere.clone(),
            edition: self.edition.saturating_add(1),
            cache: Arc::clone(&self.cache),
            generation: Arc::clone(&self.generation),
            clock: Arc::clone(&self.clock),
        }
    }

    /// Notes why the key file of the issuer at that place can't be used as it is; nothing where it can. While there is
    /// something, nobody knows that a key is not published.
    pub fn doubt(&self, at: usize, why: Option<&str>) {
        if let Some(trusted) = self.issuers.get(at) {
            trusted.keys.doubt(why);
        }
    }

    fn age(&self) -> Age {
        (self.edition, self.generation.current())
    }

    /// Identifies the sender of a request by its headers and its certificate: from memory, else by examining the token.
    ///
    /// # Errors
    /// The refusal: a missing, ambiguous, invalid, revoked or another client's token, or keys that can't be had.
    pub async fn identify(&self, headers: &HeaderMap, by: Option<Thumbprint>) -> Result<Identified, Refusal> {
        match self.recall(headers, by) {
            Some(known) => Ok(known),
            None => Ok(self.examine(headers, by).await?),
        }
    }

    /// The sender, if this very token was verified before and nothing has changed since: one hash and one look-up.
    #[must_use]
    pub fn recall(&self, headers: &HeaderMap, by: Option<Thumbprint>) -> Option<Identified> {
        let token = bearer::bearer(headers).ok().filter(|token| token.len() <= self.longest)?;
        let now = self.clock.now().as_microsecond();
        let caller = self.cache.find(&cache::name(token), now, self.age(), by)?;
        Some(Identified { caller })
    }

    /// Whether this very token was verified before, be it under keys and revocations of then, and did not end yet.
    /// It is worth another examination whatever others at the same address did.
    #[must_use]
    pub fn knew(&self, headers: &HeaderMap, by: Option<Thumbprint>) -> bool {
        let token = bearer::bearer(headers).ok().filter(|token| token.len() <= self.longest);
        let now = self.clock.now().as_microsecond();
        token.is_some_and(|token| self.cache.knows(&cache::name(token), now, by))
    }

    /// Verifies the token, and remembers it if it is good. One that is bad now is forgotten, too.
    ///
    /// # Errors
    /// As [`Identifier::identify`], with the owner of a token that is good and not taken all the same.
    pub async fn examine(&self, headers: &HeaderMap, by: Option<Thumbprint>) -> Result<Identified, NotTaken> {
        let token = bearer::bearer(headers)?;
        if token.len() > self.longest {
            return Err(Refusal::TokenInvalid(TokenFault::TooLarge).into());
        }
        let name = cache::name(token);
        let examined = self.examine_token(token, name, by).await;
        examined.inspect_err(|NotTaken { refusal, .. }| {
            // Of a token that is good in other hands its owner is not to suffer.
            let is_good = matches!(refusal, Refusal::TokenInvalid(TokenFault::Binding));
            if !is_good && !matches!(refusal, Refusal::KeysUnavailable { .. }) {
                self.cache.forget(&name);
            }
        })
    }

    async fn examine_token(
        &self,
        token: &str,
        name: cache::Name,
        by: Option<Thumbprint>,
    ) -> Result<Identified, NotTaken> {
        let age = self.age();
        let unverified = token::read(token).map_err(Refusal::TokenInvalid)?;
        let trusted = self.issuer_of(&unverified.claims).map_err(Refusal::TokenInvalid)?;
        if token.len() > trusted.rules.max_token_bytes {
            return Err(Refusal::TokenInvalid(TokenFault::TooLarge).into());
        }
        if !trusted.rules.algorithms.contains(&unverified.algorithm) {
            return Err(Refusal::TokenInvalid(TokenFault::Algorithm).into());
        }
        // Read again: while keys were fetched, their generation moved on.
        let (key_id, age) = self.verify(trusted, &unverified, age).await?;
        let caller = claims::judge(&unverified.claims, &trusted.rules, key_id.as_deref(), self.clock.now())
            .map_err(Refusal::TokenInvalid)?;
        let caller = Arc::new(caller);
        let not_taken = |refusal| NotTaken { refusal, owner: Some(Arc::clone(&caller)) };
        self.spares(&caller).map_err(not_taken)?;
        let bound = claims::binding(&unverified.claims, &trusted.rules).and_then(|bound| {
            if bound.is_some() && bound != by { Err(TokenFault::Binding) } else { Ok(bound) }
        });
        let bound = bound.map_err(|fault| not_taken(Refusal::TokenInvalid(fault)))?;
        let ends = claims::end(caller.expires, &trusted.rules);
        self.cache.keep(name, Entry { caller: Arc::clone(&caller), bound, ends, age });
        Ok(Identified { caller })
    }

    /// The configured issuer that a token claims to be from.
    fn issuer_of(&self, claims: &Json) -> Result<&Trusted, TokenFault> {
        let issuer = claims
            .get("iss")
            .and_then(Json::as_str)
            .ok_or_else(|| TokenFault::Claim { pointer: "/iss".to_owned() })?;
        self.issuers.iter().find(|trusted| trusted.rules.issuer == issuer).ok_or(TokenFault::Issuer)
    }

    /// Verifies the signature with the issuer's keys; looks for newer ones, once, where the token's is unknown.
    /// Gives the key's `kid`, and the age that was current before the keys were read.
    async fn verify(
        &self,
        trusted: &Trusted,
        token: &token::Unverified<'_>,
        age: Age,
    ) -> Result<(Option<String>, Age), Refusal> {
        let fault = |no: NoKey| match no {
            NoKey::Unknown => Refusal::TokenInvalid(TokenFault::UnknownKey),
            NoKey::Fault(fault) => Refusal::TokenInvalid(fault),
        };
        if let Some(set) = trusted.keys.current() {
            match set.verify(token) {
                Ok(id) => return Ok((id.map(ToOwned::to_owned), age)),
                Err(NoKey::Unknown) => {}
                Err(no @ NoKey::Fault(_)) => return Err(fault(no)),
            }
        }
        let looked = trusted.keys.look_again().await;
        let age = self.age();
        // Whole seconds, as `Retry-After` has them, and never "at once".
        let unavailable =
            |wait: Duration| Refusal::KeysUnavailable { retry_after: wait.max(Duration::from_secs(1)) };
        let Some(set) = trusted.keys.current() else {
            return Err(unavailable(looked.err().unwrap_or_default()));
        };
        match (set.verify(token), looked) {
            (Ok(id), _) => Ok((id.map(ToOwned::to_owned), age)),
            // The key may be new: nobody could look since the token came.
            (Err(NoKey::Unknown), Err(wait)) => Err(unavailable(wait)),
            (Err(no), _) => Err(fault(no)),
        }
    }

    /// How old the keys of each issuer are, in the order of the configuration.
    #[must_use]
    pub fn keys(&self) -> Vec<IssuerKeys> {
        self.issuers.iter().map(|trusted| trusted.keys.standing()).collect()
    }

    /// What is wrong with the keys and the shared revocations; empty where all is well.
    #[must_use]
    pub fn health(&self) -> Vec<String> {
        let keys = self.issuers.iter().flat_map(|trusted| trusted.keys.health(&trusted.rules.algorithms));
        let trouble = self.everywhere.as_ref().and_then(|(everywhere, _)| everywhere.trouble());
        let shared = trouble.map(|why| format!("new revocations of other replicas are not seen: {why}"));
        keys.chain(shared).collect()
    }
}

fn longest(issuers: &[Issuer]) -> usize {
    issuers.iter().map(|issuer| issuer.max_token_bytes).max().unwrap_or(0)
}

/// The first look for each one's keys, and what went wrong with each; from then on they are tended. All at once: one slow
/// issuer is waited for, at most for a fetch's deadline, but not in a row.
async fn begin(trusted: &mut [&mut Trusted]) -> Vec<Option<String>> {
    let begin = |trusted: &&mut Trusted| {
        let keys = Arc::clone(&trusted.keys);
        tokio::spawn(async move { keys.begin().await })
    };
    let begun: Vec<_> = trusted.iter().map(begin).collect();
    let mut troubles = Vec::with_capacity(begun.len());
    for begun in begun {
        troubles.push(begun.await.unwrap_or_else(|_| Some("reading it was broken off".to_owned())));
    }
    for trusted in trusted {
        let mut tending = JoinSet::new();
        tending.spawn(Arc::clone(&trusted.keys).tend());
        trusted.tending = Arc::new(tending);
    }
    troubles
}

/// What is wrong with the files that identification needs, each with its key path, without starting anything.
#[must_use]
pub fn check(issuers: &[Issuer], revocation: &Revocation) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    for (at, issuer) in issuers.iter().enumerate() {
        match &issuer.keys {
            KeySource::File(path) => wrong.extend(
                keys::check_file(path, &issuer.algorithms)
                    .into_iter()
                    .map(|what| (format!("issuer.{at}.jwks_file"), what)),
            ),
            KeySource::Url { ca_file: Some(file), .. } => wrong.extend(
                crate::trust::roots(file).err().map(|what| (format!("issuer.{at}.jwks_ca_file"), what)),
            ),
            KeySource::Url { ca_file: None, .. } => {}
        }
    }
    let list = Revocations::read(revocation).err();
    wrong.extend(list.map(|what| ("revocation.file".to_owned(), what)));
    wrong
}

/// A token taken apart for people to look at. Nothing in it is verified.
#[derive(Debug)]
pub struct Shown {
    /// The header.
    pub header: Json,
    /// The claims.
    pub claims: Json,
    /// What makes [`Identifier::identify`] refuse the token by its form alone.
    pub fault: Option<TokenFault>,
}

/// Takes a token apart.
///
/// # Errors
/// [`TokenFault::Malformed`]: it is no JWT at all.
pub fn show(token: &str) -> Result<Shown, TokenFault> {
    let [header, payload, _] = token::split(token).ok_or(TokenFault::Malformed)?;
    let (header, claims) = (token::part(header)?, token::part(payload)?);
    Ok(Shown { header, claims, fault: token::read(token).err() })
}

/// How many keys of a JWK Set are used, and what is wrong with the others.
///
/// # Errors
/// In our words, why it is no JWK Set.
#[cfg(fuzzing)]
pub fn check_set(jwks: &[u8]) -> Result<(usize, Vec<String>), String> {
    jwk::read(jwks).map(|set| (set.len(), set.complaints))
}

/// Verifies a token's signature, and nothing else, with a JWK Set; the key's `kid`.
///
/// # Errors
/// In our words, why not.
pub fn verify_signature(token: &str, jwks: &[u8]) -> Result<Option<String>, String> {
    let refusal = |fault| Refusal::TokenInvalid(fault).message();
    let unverified = token::read(token).map_err(refusal)?;
    let set = jwk::read(jwks)?;
    match set.verify(&unverified) {
        Ok(id) => Ok(id.map(ToOwned::to_owned)),
        Err(NoKey::Unknown) => Err(refusal(TokenFault::UnknownKey)),
        Err(NoKey::Fault(fault)) => Err(refusal(fault)),
    }
}
