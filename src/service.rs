//! Puts the parts together from a configuration, runs them, and stops them in order.
//!
//! `serve`, `demo` and the tests start the same thing. Not here: what the parts do.

mod keys;
mod reload;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::audit::Auditor;
use crate::authorize::Authorizer;
use crate::clock::{Clock, Ids};
use crate::config::Config;
use crate::entry::Kind;
use crate::forward::Upstream;
use crate::identify::Identifier;
use crate::json::{Json, Object};
use crate::limit::{AddressGate, Budget, Limiter};
use crate::listen::Listener;
use crate::ops;
use crate::pipeline::Pipeline;
use crate::resolve::Resolver;
use crate::state::States;
use crate::store::{Reader, Store};

/// A running proxy.
#[derive(Debug)]
pub struct Running {
    api: SocketAddr,
    admin: SocketAddr,
    stop: watch::Sender<bool>,
    listener: JoinHandle<()>,
    pipeline: Arc<Pipeline>,
    store: Arc<Store>,
}

/// Why the proxy can't start: what we were doing, and why it failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {why}")]
pub struct StartError {
    doing: &'static str,
    why: String,
}

fn failed<E: std::fmt::Display>(doing: &'static str) -> impl FnOnce(E) -> StartError {
    move |why| StartError { doing, why: why.to_string() }
}

/// How long a call waits for its turn at a tunnel: two whole writes of the default deadline would be longer
/// than any client waits.
const PATIENCE: Duration = Duration::from_secs(10);

impl Running {
    /// Starts everything that the configuration names; when this returns, calls are served.
    ///
    /// # Errors
    /// The first thing that keeps it from starting. `check` tells of all of them.
    pub async fn start(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let ids = Arc::new(Ids::new(Arc::clone(&clock)));
        let signer = keys::signer(&config.audit).map_err(failed("reading the audit signing key"))?;
        let fingerprinter = keys::fingerprinter(&config.audit).map_err(failed("reading the fingerprint key"))?;
        let policy = reload::read(&config.policy.file).map_err(failed("reading the policy"))?;
        let authorizer = Authorizer::new(&policy).map_err(|problems| StartError {
            doing: "reading the policy",
            why: problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        })?;
        let upstream = Arc::new(
            Upstream::start(&config.upstream, Arc::clone(&clock)).map_err(failed("preparing the upstream client"))?,
        );
        let identifier = Identifier::start(&config.issuers, &config.revocation, Arc::clone(&clock))
            .await
            .map_err(failed("preparing identification"))?;
        let listener = Listener::bind(&config.listen).await.map_err(failed("listening"))?;
        let store = Store::open((&config.audit).into(), signer, Arc::clone(&clock))
            .await
            .map_err(failed("opening the audit store"))?;
        let store = Arc::new(store);
        let reader = Reader::open(&config.audit.database).await.map_err(failed("reading the audit store"))?;

        let budget = Budget::new(&config.limits.upstream_budget, Arc::clone(&clock));
        let auditor = Auditor::new(
            Arc::clone(&store),
            fingerprinter.clone(),
            Arc::clone(&ids),
            Arc::clone(&clock),
            config.audit.bodies,
            config.audit.one_shot_window,
        );
        let states = Arc::new(States::new(Arc::clone(&upstream), fingerprinter, PATIENCE));
        let resolver = Resolver::start(
            Arc::clone(&auditor),
            Arc::clone(&states),
            budget.clone(),
            Arc::clone(&clock),
            config.audit.resolve_after,
        );
        resume(&reader, &auditor, &resolver, clock.as_ref(), config.audit.one_shot_window).await?;
        let mut started = Object::new();
        started.set("version", env!("CARGO_PKG_VERSION"));
        started.set("config_digest", config.digest.as_str());
        started.set("policy_digest", &**authorizer.digest());
        auditor
            .note(Kind::Started, started)
            .await
            .map_err(|refusal| StartError { doing: "recording the start", why: refusal.message() })?;

        let pipeline = Arc::new(Pipeline {
            gate: AddressGate::new(config.listen.unidentified_per_address, Arc::clone(&clock)),
            identifier,
            limiter: Limiter::new(&config.limits, Arc::clone(&clock)),
            budget,
            policy: std::sync::RwLock::new(Arc::new(authorizer)),
            states,
            auditor,
            upstream,
            resolver,
            ids,
            clock,
        });
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(reload::follow(config.policy.file.clone(), Arc::clone(&pipeline), stopped.clone()));
        let health = Arc::clone(&pipeline);
        let health_store = Arc::clone(&store);
        let admin = ops::serve(config.admin.address, Arc::new(move || reload::health(&health, &health_store)), stopped.clone())
            .await
            .map_err(failed("listening for health and metrics"))?;
        let api = listener.address();
        let listener = tokio::spawn(listener.serve(Arc::clone(&pipeline), stopped));
        Ok(Self { api, admin, stop, listener, pipeline, store })
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

    /// Stops taking calls, lets those under way end, records the stop and closes the log.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        if self.listener.await.is_err() {
            tracing::error!("the listener ended by a fault");
        }
        let settled = self.pipeline.auditor.settled(Duration::from_secs(5)).await;
        if !settled {
            tracing::error!("outcomes are still owed to the record; they will be resolved at the next start");
        }
        if self.pipeline.auditor.note(Kind::Stopped, Object::new()).await.is_err() {
            tracing::error!("the stop could not be recorded");
        }
        self.store.close().await;
    }
}

/// Takes up what the last run left: calls without an outcome, and one-shot calls that may be repeated.
async fn resume(
    reader: &Reader,
    auditor: &Auditor,
    resolver: &Resolver,
    clock: &dyn Clock,
    window: Duration,
) -> Result<(), StartError> {
    let read = |text: &String| crate::json::read(text.as_bytes(), crate::json::MAX_DEPTH).ok();
    let now = clock.now();
    let since = now.checked_sub(window).unwrap_or(now);
    let recent = reader.one_shots_since(since).await.map_err(failed("reading the audit store"))?;
    for (intent, ending) in &recent {
        let Some(intent) = read(intent) else { continue };
        auditor.remember(&intent, ending.as_ref().and_then(read).as_ref(), now);
    }
    let open = reader.intents_without_outcome().await.map_err(failed("reading the audit store"))?;
    open.iter().filter_map(read).for_each(|intent: Json| resolver.look_into(&intent));
    Ok(())
}
