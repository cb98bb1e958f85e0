//! Puts the parts together from a configuration, runs them, and stops them in order.
//!
//! `serve`, `demo` and the tests start the same thing. Not here: what the parts do.

mod adopt;
mod archive;
mod check;
mod copy;
mod fingerprints;
mod keys;
mod observe;
mod reconcile;
mod reload;
mod rotate;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::access::Desk;
use crate::api;
use crate::audit::{self, Auditor};
use crate::authorize::{self, Authorizer};
use crate::clock::{Clock, Ids};
use crate::config::{self, Config};
use crate::console::{self, Console};
use crate::entry::Kind;
use crate::forward::{Upstream, Verdict};
use crate::identify::Identifier;
use crate::json::{Json, Object};
use crate::limit::{AddressGate, Budget, Limiter};
use crate::listen::{Drained, Listener};
use crate::measure::Metrics;
use crate::ops::{self, Health};
use crate::otlp::{self, Sending};
use crate::pipeline::{Memo, Pipeline, Rules};
use crate::refusal::Refusal;
use crate::resolve::Resolver;
use crate::resolve::elsewhere::Elsewhere;
use crate::share::Shared;
use crate::state::States;
use crate::state::turns::Turns;
use crate::store::{Reader, Settings, Store};

use observe::Observed;

pub use archive::{ArchiveOutcome, ArchiveRequest, archive};
pub use check::{Findings, check};
pub use copy::{Copied, copy};
pub use keys::{Made, fingerprinter, make_keys, public_file};
pub use reconcile::reconciler;
pub use reload::Source;
pub use rotate::{Rotated, rotate_key};

/// A running proxy.
#[derive(Debug)]
pub struct Running {
    api: SocketAddr,
    admin: SocketAddr,
    stop: watch::Sender<bool>,
    listener: JoinHandle<std::io::Result<Drained>>,
    /// Asks for a reload.
    reload: Arc<Notify>,
    pipeline: Arc<Pipeline>,
    store: Arc<Store>,
    reader: Reader,
    spans: Option<Sending>,
}

/// How long questions that are being answered are waited for at the end, and spans that are being sent.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Why the proxy can't start: what we were doing, and why it failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {why}")]
pub struct StartError {
    doing: &'static str,
    why: String,
}

/// Says the whole chain: of a file that can't be opened, only the last link says why.
fn failed<E: Into<Box<dyn std::error::Error>>>(doing: &'static str) -> impl FnOnce(E) -> StartError {
    move |error| StartError { doing, why: why(error.into().as_ref()) }
}

/// An error with all that caused it.
#[must_use]
pub fn why(error: &(dyn std::error::Error + 'static)) -> String {
    let mut why = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        // Some say in their own words what caused them.
        if !why.ends_with(&text) {
            why += &format!(": {text}");
        }
        source = error.source();
    }
    why
}

/// What the store needs to know.
fn settings(audit: &config::Audit) -> Settings {
    Settings {
        database: audit.database.clone(),
        checkpoint_files: audit.checkpoint_files.clone(),
        append_timeout: audit.append_timeout,
    }
}

impl Running {
    /// Starts everything that the configuration names; when this returns, calls are served. From then on the source is
    /// followed, and so are the files that it names.
    ///
    /// # Errors
    /// The first thing that keeps it from starting. `check` tells of all of them.
    pub async fn start(config: Config, source: Source, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let config = Arc::new(config);
        // Before anything is read: what changes meanwhile is seen as a change.
        let files = reload::Files::look(&config);
        let ids = Arc::new(Ids::new(Arc::clone(&clock)));
        let signer = keys::signer(&config.audit).map_err(failed("reading the audit signing key"))?;
        let verifier = keys::read_signer(&config.audit.signing_key_file)
            .and_then(|key| key.verifier().map_err(|e| e.to_string()));
        let verifier = verifier.map_err(failed("reading the audit signing key"))?;
        let fingerprinter = fingerprinter(&config.audit.fingerprint_key_file)
            .map_err(failed("reading the fingerprint key"))?;
        let policy = authorize::read_policy(&config.policy.file).map_err(failed("reading the policy"))?;
        let authorizer = Authorizer::new(&policy).map_err(|problems| StartError {
            doing: "reading the policy",
            why: problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        })?;
        let metrics = Metrics::new();
        let traces = otlp::start(&config.trace, &ids.next().to_string(), &metrics);
        let (traces, spans) = traces.map_err(failed("preparing traces"))?.unzip();
        let upstream = Arc::new(
            Upstream::start(&config.upstream, Arc::clone(&clock), metrics.clone())
                .map_err(failed("preparing the upstream client"))?,
        );
        let identifier = Identifier::start(&config.issuers, &config.revocation, Arc::clone(&clock))
            .await
            .map_err(failed("preparing identification"))?;
        let listener = Listener::bind(&config.listen).map_err(failed("listening"))?;
        let store = Store::open(settings(&config.audit), signer, Arc::clone(&clock))
            .await
            .map_err(failed("opening the audit store"))?;
        let store = Arc::new(store);
        let reader = Reader::open(&config.audit.database).await.map_err(failed("reading the audit store"))?;
        let other_key = fingerprints::other_key(&reader, &fingerprinter).await;
        let other_key = other_key.map_err(failed("reading the audit store"))?;

        let shared = Shared::open(&config.audit.database).map_err(failed("opening what replicas share"))?;
        let identifier =
            identifier.sharing(shared.as_ref()).await.map_err(failed("preparing identification"))?;
        let connections = listener.connections();
        let observed = Observed::of(&store, metrics.clone(), &config.audit, Arc::clone(&clock));
        let budget = Budget::new(&config.limits.upstream_budget, Arc::clone(&clock), shared.clone());
        let auditor = Auditor::new(
            Arc::clone(&store),
            fingerprinter.clone(),
            Arc::clone(&ids),
            Arc::clone(&clock),
            &config.audit,
            shared.as_ref().map(|of| audit::Elsewhere::new(of, config.audit.append_timeout)),
            metrics.clone(),
        );
        let turns = Turns::new(shared.as_ref(), &clock, &config);
        turns.begin().await;
        let states =
            Arc::new(States::new(Arc::clone(&upstream), fingerprinter, turns, config.upstream.turn_timeout));
        let resolver = Resolver::new(
            Arc::clone(&auditor),
            Arc::clone(&states),
            budget.clone(),
            config.audit.resolve_after,
            shared.clone().map(|shared| Elsewhere::new(reader.clone(), shared)),
        );
        let window = (config.audit.one_shot_window, identifier.used_tokens_last());
        resume(&reader, &auditor, &resolver, clock.as_ref(), window).await?;
        let mut started = Object::new();
        started.set("version", env!("CARGO_PKG_VERSION"));
        started.set("config_digest", config.digest.as_str());
        started.set("policy_digest", authorizer.digest());
        fingerprints::tell(&mut started, auditor.fingerprinter());
        auditor
            .alive(Kind::Started, started)
            .await
            .map_err(|refusal| StartError { doing: "recording the start", why: refusal.message() })?;

        let pipeline = Arc::new(Pipeline {
            gate: gate(&config.listen, &clock),
            rules: std::sync::RwLock::new(Arc::new(Rules {
                identifier: Arc::new(identifier),
                limiter: Arc::new(Limiter::new(&config.limits, Arc::clone(&clock), shared.clone())),
                budget: budget.pinned(),
                policy: Arc::new(authorizer),
            })),
            budget,
            states,
            auditor,
            upstream,
            resolver,
            memo: Memo::default(),
            metrics: metrics.clone(),
            traces,
            ids,
            clock,
        });
        let (stop, stopped) = watch::channel(false);
        let (changed, reload) = (reload::Warnings::default(), Arc::new(Notify::new()));
        let follower = reload::Follower {
            source,
            pipeline: Arc::clone(&pipeline),
            certificate: listener.certificate(),
            config: Arc::clone(&config),
            files,
            warnings: Arc::clone(&changed),
            looks: reload::Looks::default(),
        };
        tokio::spawn(follower.follow(Arc::clone(&reload), stopped.clone()));
        tokio::spawn(upkeep(metrics.clone(), stopped.clone()));
        tokio::spawn(heartbeat(Arc::clone(&pipeline.auditor), config.audit.heartbeat, stopped.clone()));
        if let Some(shared) = &shared {
            tokio::spawn(shared.clone().sweep());
            let replica = shared.replica().to_owned();
            tokio::spawn(adopt::follow(replica, Arc::clone(&pipeline), reader.clone(), stopped.clone()));
        }
        let of_start = warn_of_start(&pipeline, other_key);
        let token = TokenCheck::default();
        tokio::spawn(check_tokens(Arc::clone(&pipeline), Arc::clone(&token), stopped.clone()));
        let past_us = reconcile::start(&config, &pipeline, reader.clone(), stopped.clone());
        let health = Health {
            problems: findings(&pipeline, problems),
            warnings: findings(&pipeline, move |pipeline| {
                of_start.iter().cloned().chain(warnings(pipeline, &changed, &token, &past_us)).collect()
            }),
            metrics: observed.told_at_scrapes(&pipeline, Arc::clone(&store), connections),
        };
        let desk = {
            let gate = gate(&config.listen, &pipeline.clock);
            let header = config.admin.token_header.clone();
            Desk::new(Arc::clone(&pipeline), reader.clone(), verifier, header, gate)
        };
        let console = Console { desk: Arc::new(desk), health: health.clone() };
        let more = api::router(Arc::clone(&console.desk)).merge(console::router(console));
        let admin = ops::serve(config.admin.address, health, more, stopped.clone())
            .await
            .map_err(failed("listening for health and metrics"))?
            .address;
        let api = listener.address();
        let listener = tokio::spawn(listener.serve(Arc::clone(&pipeline), stopped));
        Ok(Self { api, admin, stop, listener, reload, pipeline, store, reader, spans })
    }

    /// Where the API is served.
    #[must_use]
    pub const fn api(&self) -> SocketAddr {
        self.api
    }

    /// Where health and metrics are served.
    #[must_use]
    pub const fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Has the configuration and all that it names read again soon. How it went is told in the log, in readiness, and in
    /// the record.
    pub fn reload(&self) {
        self.reload.notify_one();
    }

    /// Stops taking calls, lets those under way end, records the stop and closes the log.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        match self.listener.await {
            Ok(Ok(Drained::Whole)) => {}
            Ok(Ok(Drained::Cut)) => {
                tracing::error!("calls were still under way when the time to stop was over")
            }
            Ok(Err(_)) | Err(_) => tracing::error!("the listener ended by a fault"),
        }
        self.pipeline.states.settled(Duration::from_secs(2)).await;
        let settled = self.pipeline.auditor.settled(Duration::from_secs(5)).await;
        if !settled {
            tracing::error!("outcomes are still owed to the record; they will be resolved at the next start");
        }
        if self.pipeline.auditor.note(Kind::Stopped, Object::new()).await.is_err() {
            tracing::error!("the stop could not be recorded");
        }
        // Whoever lets go of the database last brings its log into its file; who only reads can't.
        if tokio::time::timeout(LAST_ANSWERS, self.reader.close()).await.is_err() {
            tracing::warn!(
                "somebody still reads the record: the end of it stays in the database's log until the next start"
            );
        }
        self.store.close().await;
        if let Some(spans) = self.spans {
            spans.end(LAST_ANSWERS).await;
        }
    }
}

/// Takes up what the last run left: calls without an outcome, and one-shot calls that may be repeated.
async fn resume(
    reader: &Reader,
    auditor: &Auditor,
    resolver: &Arc<Resolver>,
    clock: &dyn Clock,
    (window, used_tokens_last): (Duration, Duration),
) -> Result<(), StartError> {
    let read = |text: &String| crate::inspect::read_entry(text.as_bytes()).ok();
    let now = clock.now();
    // A call is remembered for a window after it was looked into, however long that took.
    let since = window.saturating_add(resolver.patience()).max(used_tokens_last);
    let since = now.checked_sub(since).unwrap_or(now);
    let recent = reader.one_shot_since(since).await.map_err(failed("reading the audit store"))?;
    for (intent, ending) in &recent {
        let Some(intent) = read(intent) else { continue };
        let ending = ending.as_ref().and_then(read);
        auditor.remember(&intent, ending.as_ref(), now);
        if !used_tokens_last.is_zero() {
            auditor.remember_token(&intent, ending.as_ref(), used_tokens_last);
        }
    }
    let ended = reader.ended_before().await.map_err(failed("reading the audit store"))?;
    let open = reader.intents_without_outcome(ended).await.map_err(failed("reading the audit store"))?;
    let ambiguous = reader.intents_ambiguous().await.map_err(failed("reading the audit store"))?;
    for row in &open {
        let id = read(&row.entry).and_then(|intent| intent.get("id")?.as_str()?.parse().ok());
        // One that can't be read is looked at again by each start.
        auditor.left(id.unwrap_or_default(), row.seq);
    }
    let oldest = open.iter().chain(&ambiguous).map(|row| row.seq).min();
    let lost: Vec<Json> = open.iter().chain(&ambiguous).filter_map(|row| read(&row.entry)).collect();
    // However old they are.
    lost.iter().for_each(|intent| auditor.remember(intent, None, now));
    if let Some(oldest) = oldest {
        let since = reader.intents_from(oldest).await.map_err(failed("reading the audit store"))?;
        since.iter().filter_map(|row| read(&row.entry)).for_each(|intent| resolver.touched(&intent));
    }
    lost.iter().for_each(|intent| resolver.look_into(intent));
    Ok(())
}

/// Says again and again that the process is alive. While the store is at fault there is none, which is the truth.
async fn heartbeat(auditor: Arc<Auditor>, every: Duration, mut stop: watch::Receiver<bool>) {
    while tokio::time::timeout(every, stop.wait_for(|stop| *stop)).await.is_err() {
        if let Err(refusal) = auditor.alive(Kind::Heartbeat, Object::new()).await {
            tracing::warn!(refusal.name = refusal.name(), "the heartbeat could not be recorded");
        }
    }
}

/// How often samples are sorted into their buckets: at ten thousand calls a second about a megabyte waits.
const UPKEEP: Duration = Duration::from_secs(5);

async fn upkeep(metrics: Metrics, mut stop: watch::Receiver<bool>) {
    while tokio::time::timeout(UPKEEP, stop.wait_for(|stop| *stop)).await.is_err() {
        metrics.upkeep();
    }
}

/// What the upstream said of our tokens when it was asked at the start; nothing where it was content.
type TokenCheck = Arc<Mutex<Vec<String>>>;

/// How long to wait after the token could not be checked, or was refused: it may be mended meanwhile.
const CHECK_AGAIN: Duration = Duration::from_secs(30);

/// Asks the upstream about our tokens until it is content with it once. From then on each answer tells.
async fn check_tokens(pipeline: Arc<Pipeline>, found: TokenCheck, mut stop: watch::Receiver<bool>) {
    loop {
        let mut wrong = Vec::new();
        for account in pipeline.upstream.accounts() {
            let verdict = match pipeline.budget.take_own().await {
                Ok(taken) => pipeline.upstream.verify_token(&taken, account, pipeline.ids.next()).await,
                Err(refusal) => Verdict::Unanswered(refusal.message()),
            };
            match verdict {
                // That a token can't be asked about is told by the upstream's own health.
                Verdict::Good | Verdict::Unasked(_) => {}
                Verdict::Refused(what) | Verdict::Unanswered(what) => wrong.push(what),
            }
        }
        let good = wrong.is_empty();
        *found.lock().unwrap_or_else(PoisonError::into_inner) = wrong;
        if good || tokio::time::timeout(CHECK_AGAIN, stop.wait_for(|stop| *stop)).await.is_ok() {
            return;
        }
    }
}

/// The bounds on who is not known, one for each door.
fn gate(listen: &config::Listen, clock: &Arc<dyn Clock>) -> AddressGate {
    let (each, all) = (listen.unidentified_per_address, listen.unidentified_in_all);
    AddressGate::new(each, all, listen.max_connections, Arc::clone(clock))
}

fn findings(
    pipeline: &Arc<Pipeline>,
    find: impl Fn(&Pipeline) -> Vec<String> + Send + Sync + 'static,
) -> ops::Findings {
    let pipeline = Arc::clone(pipeline);
    Arc::new(move || find(&pipeline))
}

/// What keeps calls from being served.
fn problems(pipeline: &Pipeline) -> Vec<String> {
    pipeline.auditor.admits().err().iter().map(Refusal::message).collect()
}

/// Tells the log what somebody should know of this start, and gives what stays so until the next one.
fn warn_of_start(pipeline: &Pipeline, other_key: Option<String>) -> Option<String> {
    if pipeline.rules().policy.permits_nothing() {
        tracing::warn!("{PERMITS_NOTHING}");
    }
    other_key.inspect(|other_key| tracing::warn!("{other_key}"))
}

const PERMITS_NOTHING: &str =
    "policy.file: the policy permits nothing, so every call is refused; write a `permit`";

/// What somebody should look at while calls are served.
fn warnings(
    pipeline: &Pipeline,
    changed: &reload::Warnings,
    token: &TokenCheck,
    past_us: &reconcile::Warnings,
) -> Vec<String> {
    let rules = pipeline.rules();
    let mut warnings = rules.identifier.health();
    warnings.extend(rules.policy.permits_nothing().then(|| PERMITS_NOTHING.to_owned()));
    warnings.extend(pipeline.upstream.health());
    warnings.extend(token.lock().unwrap_or_else(PoisonError::into_inner).clone());
    warnings.extend(past_us.lock().unwrap_or_else(PoisonError::into_inner).clone());
    warnings.extend(changed.lock().unwrap_or_else(PoisonError::into_inner).clone());
    let unwritten = pipeline.auditor.unwritten_checkpoint_files();
    warnings.extend(unwritten.iter().map(|place| {
        format!("file {place} of `audit.checkpoint_file` (counted from 0) can't be written; the log says why")
    }));
    let open = pipeline.resolver.open();
    if open > 0 {
        warnings.push(format!("{open} calls whose outcome is not known yet"));
    }
    warnings
}
