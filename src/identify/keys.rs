//! One issuer's keys: where they are, how new they are, and when to look again.
//!
//! What was good last stays in force while the source is down or broken. A file is read once, and again by whoever
//! takes its place (`service::reload`); a URL in the background when its keys get old, and when a token names a key
//! that is not known, by one fetch for all who wait and never more often than the issuer's `min_interval`. Only who
//! began a good look knows that a key is not published. Not here: the exchange (`fetch.rs`), the keys (`jwk.rs`).

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use tokio::sync::watch;

use super::cache::Generation;
use super::fetch::Fetcher;
use super::file;
use super::jwk::{self, KeySet};
use crate::clock::Clock;
use crate::config::{Algorithm, Issuer, KeySource};
use crate::measure::states::IssuerKeys;

/// How often old keys are looked for, and how long it is until a file is looked at again.
const EVERY: Duration = Duration::from_secs(1);

/// What is wrong with a file that is not there.
const MISSING: &str = "the file is missing";

/// The keys of one issuer.
#[derive(Debug)]
pub(super) struct Keys {
    issuer: String,
    source: KeySource,
    origin: Origin,
    held: RwLock<Held>,
    generation: Arc<Generation>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
enum Origin {
    File,
    Url(Box<Remote>),
}

#[derive(Debug)]
struct Remote {
    fetcher: Fetcher,
    /// Of the file of roots, where there is one.
    roots: Option<Vec<u8>>,
    refresh: Duration,
    min_interval: Duration,
    flight: Mutex<Flight>,
    /// Told after each fetch, however it went: whether it was good.
    landed: watch::Sender<bool>,
}

/// The one fetch that may be under way. Times are the clock's monotonic ones.
#[derive(Debug, Default)]
struct Flight {
    flying: bool,
    /// Whether it brought a good set.
    is_good: bool,
    began: Option<Duration>,
}

impl Flight {
    /// How long it is until the next one may begin.
    fn wait(&self, min_interval: Duration, now: Duration) -> Duration {
        self.began.map_or(Duration::ZERO, |began| min_interval.saturating_sub(now.saturating_sub(began)))
    }
}

#[derive(Debug, Default)]
struct Held {
    set: Option<Arc<KeySet>>,
    digest: Vec<u8>,
    /// When the source last confirmed the set.
    confirmed: Duration,
    /// What went wrong at the last look.
    trouble: Option<String>,
}

impl Keys {
    /// Nothing is read yet.
    pub(super) fn new(
        issuer: &Issuer,
        generation: Arc<Generation>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let origin = match &issuer.keys {
            KeySource::File(_) => Origin::File,
            KeySource::Url { url, ca_file, refresh, min_interval } => Origin::Url(Box::new(Remote {
                roots: ca_file.as_deref().and_then(bytes_of),
                fetcher: Fetcher::new(url, ca_file.as_deref())?,
                refresh: *refresh,
                min_interval: *min_interval,
                flight: Mutex::default(),
                landed: watch::Sender::new(false),
            })),
        };
        Ok(Self {
            issuer: issuer.issuer.clone(),
            source: issuer.keys.clone(),
            origin,
            held: RwLock::default(),
            generation,
            clock,
        })
    }

    /// The same, with what another source of this issuer had: it stays in force until this one has been read.
    pub(super) fn after(self, before: &Self) -> Self {
        let before = before.held.read().unwrap_or_else(PoisonError::into_inner);
        let held = Held { set: before.set.clone(), digest: before.digest.clone(), ..Held::default() };
        Self { held: RwLock::new(held), ..self }
    }

    /// Whether they are fetched, and from there, by those roots as they are now.
    pub(super) fn are_fetched_from(&self, source: &KeySource) -> bool {
        let (Origin::Url(remote), KeySource::Url { ca_file, .. }) = (&self.origin, source) else {
            return false;
        };
        self.source == *source && remote.roots == ca_file.as_deref().and_then(bytes_of)
    }

    /// Whether they ought to be in that file, and never were.
    pub(super) fn are_awaited_in(&self, source: &KeySource) -> bool {
        matches!(self.origin, Origin::File) && self.source == *source && self.current().is_none()
    }

    /// The keys in force; `None` until some were seen.
    pub(super) fn current(&self) -> Option<Arc<KeySet>> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).set.clone()
    }

    /// Looks for newer keys, if that is allowed now, and waits until the look is over. Where it is good, what the
    /// issuer does not publish is known; a look that began before was of what it published then.
    ///
    /// # Errors
    /// How long it is until a look is allowed again: this one failed, or was another's, or is not allowed yet.
    pub(super) async fn look_again(self: &Arc<Self>) -> Result<(), Duration> {
        let Origin::Url(remote) = &self.origin else {
            // Whoever follows the file looks at it as it is.
            let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
            return if held.trouble.is_none() { Ok(()) } else { Err(EVERY) };
        };
        let (mut landed, is_own) = self.depart(remote)?;
        // Only the end of the process drops the sender, and then there is nothing newer.
        let is_good = landed.changed().await.is_ok() && *landed.borrow();
        if is_own && is_good {
            return Ok(());
        }
        let flight = remote.flight.lock().unwrap_or_else(PoisonError::into_inner);
        Err(flight.wait(remote.min_interval, self.clock.monotonic()))
    }

    /// Joins the fetch that is under way, or starts one, and says whether it did. It runs as a task of its own: a
    /// caller who hangs up does not break it off for others.
    fn depart(self: &Arc<Self>, remote: &Remote) -> Result<(watch::Receiver<bool>, bool), Duration> {
        let mut flight = remote.flight.lock().unwrap_or_else(PoisonError::into_inner);
        // Subscribed under the lock, so the end of this very fetch can't be missed.
        let landed = remote.landed.subscribe();
        if flight.flying {
            return Ok((landed, false));
        }
        let now = self.clock.monotonic();
        let wait = flight.wait(remote.min_interval, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        *flight = Flight { flying: true, began: Some(now), is_good: false };
        drop(flight);
        let landing = Landing(Arc::clone(self));
        tokio::spawn(async move {
            let Origin::Url(remote) = &landing.0.origin else { return };
            let is_good = match remote.fetcher.fetch().await {
                Ok(body) => landing.0.read(body).await,
                Err(why) => landing.0.fail(&why),
            };
            remote.flight.lock().unwrap_or_else(PoisonError::into_inner).is_good = is_good;
        });
        Ok((landed, true))
    }

    /// Takes them where they hold up no call: of what strangers send, reading takes milliseconds.
    async fn read(self: &Arc<Self>, bytes: Bytes) -> bool {
        let this = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || this.take(&bytes)).await;
        read.unwrap_or_else(|_| self.fail("reading them was broken off"))
    }

    /// Takes the bytes of a JWK Set, if they are one.
    fn take(&self, bytes: &[u8]) -> bool {
        let set = match jwk::read(bytes) {
            Ok(set) => set,
            Err(why) => return self.fail(&why),
        };
        let digest = digest(&SHA256, bytes).as_ref().to_vec();
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.confirmed = self.clock.monotonic();
        held.trouble = None;
        if held.set.is_some() && held.digest == digest {
            return true;
        }
        held.set = Some(Arc::new(set));
        held.digest = digest;
        drop(held);
        self.generation.advance();
        tracing::info!(issuer = %self.issuer, "the issuer's keys are new");
        true
    }

    /// What keeps the file as it is now from being in force; nothing where it is in force.
    pub(super) fn doubt(&self, why: Option<&str>) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(self.origin, Origin::File) && held.set.is_some() {
            held.confirmed = if why.is_none() { self.clock.monotonic() } else { held.confirmed };
            held.trouble = why.map(str::to_owned);
        }
    }

    /// `false`, for whoever asks whether it went well.
    fn fail(&self, why: &str) -> bool {
        let told = match &self.source {
            KeySource::File(path) => of_file(path, why),
            KeySource::Url { .. } => why.to_owned(),
        };
        tracing::warn!(issuer = %self.issuer, error = told, "the issuer's keys can't be had; the last good ones stay");
        self.held.write().unwrap_or_else(PoisonError::into_inner).trouble = Some(why.to_owned());
        false
    }

    /// The first look, before any token comes: what went wrong with a file. A URL may answer later.
    pub(super) async fn begin(self: &Arc<Self>) -> Option<String> {
        let KeySource::File(path) = &self.source else {
            // A refused look means that one was made.
            let _ = self.look_again().await;
            return None;
        };
        let named = path.clone();
        let read = tokio::task::spawn_blocking(move || file::read(&named, jwk::SET_BYTES_MAX)).await;
        match read.unwrap_or_else(|_| Err("reading it was broken off".to_owned())) {
            Ok(Some(bytes)) => drop(self.read(bytes.into()).await),
            Ok(None) => drop(self.fail(MISSING)),
            Err(why) => drop(self.fail(&why)),
        }
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.trouble.as_deref().map(|why| of_file(path, why))
    }

    /// Keeps what is fetched new, for ever.
    pub(super) async fn tend(self: Arc<Self>) {
        let Origin::Url(remote) = &self.origin else { return };
        loop {
            tokio::time::sleep(EVERY).await;
            if self.is_due(remote) {
                // Nobody waits for it; where it is not allowed yet, the next round asks again.
                let _ = self.depart(remote);
            }
        }
    }

    fn is_due(&self, remote: &Remote) -> bool {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.set.is_none() || self.clock.monotonic().saturating_sub(held.confirmed) >= remote.refresh
    }

    /// How old the keys are, and whether there are any, for metrics.
    pub(super) fn standing(&self) -> IssuerKeys {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let age = self.clock.monotonic().saturating_sub(held.confirmed);
        IssuerKeys { issuer: self.issuer.clone(), age, is_usable: held.set.is_some() }
    }

    /// What is wrong, for readiness.
    pub(super) fn health(&self, algorithms: &[Algorithm]) -> Vec<String> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let issuer = &self.issuer;
        let mut wrong = Vec::new();
        match (&held.set, &held.trouble) {
            (None, trouble) => {
                let why = trouble.as_deref().unwrap_or("they were not fetched yet");
                wrong.push(format!("issuer `{issuer}` has no keys: {why}"));
            }
            (Some(_), Some(why)) => {
                let age = self.clock.monotonic().saturating_sub(held.confirmed).as_secs();
                wrong.push(format!("issuer `{issuer}` has stale keys, confirmed {age} s ago: {why}"));
            }
            (Some(_), None) => {}
        }
        if let Some(set) = &held.set {
            wrong.extend(complaints(set, algorithms).map(|what| format!("issuer `{issuer}`: {what}")));
        }
        wrong
    }
}

/// Ends a fetch, however it ended: by an answer, an error or a panic.
struct Landing(Arc<Keys>);

impl Drop for Landing {
    fn drop(&mut self) {
        if let Origin::Url(remote) = &self.0.origin {
            let mut flight = remote.flight.lock().unwrap_or_else(PoisonError::into_inner);
            flight.flying = false;
            remote.landed.send_replace(flight.is_good);
        }
    }
}

fn complaints(set: &KeySet, algorithms: &[Algorithm]) -> impl Iterator<Item = String> {
    let useless = (!set.serves(algorithms)).then(|| "no key fits the issuer's `algorithms`".to_owned());
    useless.into_iter().chain(set.complaints.iter().cloned())
}

/// What is wrong with the JWK Set in a file: for `check`, which starts nothing.
pub(super) fn check_file(path: &Path, algorithms: &[Algorithm]) -> Vec<String> {
    match file::read(path, jwk::SET_BYTES_MAX) {
        Ok(Some(bytes)) => match jwk::read(&bytes) {
            Ok(set) => complaints(&set, algorithms).collect(),
            Err(why) => vec![of_file(path, &why)],
        },
        Ok(None) => vec![of_file(path, MISSING)],
        Err(why) => vec![of_file(path, &why)],
    }
}

/// What is wrong with a file, for who may know its name: readiness, which anybody reads, does without.
fn of_file(path: &Path, why: &str) -> String {
    let path = path.display();
    let wrong = if why == MISSING {
        format!("`{path}` is missing")
    } else {
        format!("`{path}` can't be used: {why}")
    };
    format!("{wrong}; put the issuer's public keys there, as a JWK Set, or correct `jwks_file`")
}

/// What stands in a file of roots, to tell whether it is another one.
fn bytes_of(path: &Path) -> Option<Vec<u8>> {
    file::read(path, jwk::SET_BYTES_MAX).ok().flatten()
}
