//! A stand-in for Cloudflare's Magic IPsec API, for the demo and for tests: stateful, strict, and as nasty as
//! it is asked to be.
//!
//! It keeps tunnels per account, checks tokens and fields, limits rates, answers in Cloudflare's envelope with
//! Cloudflare's headers (and those that a proxy must not pass on), and fails on demand. It also bears witness:
//! what reached it and what it really did can be asked in process ([`Emulator::calls`], [`Emulator::effects`])
//! and, by tests of other processes, below `/__emulator/`. It shares only words with the product, so that it
//! can't share its mistakes. Not here: the command that runs it (`cli::emulator`).

mod answer;
mod call;
mod control;
mod fault;
mod feed;
mod fields;
mod gate;
mod journal;
mod logs;
mod operations;
mod route;
mod serve;
mod shared;
mod tunnels;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use self::fault::{Fault, Place, Rule};
use self::fields::TargetForm;
use self::gate::Gate;
pub use self::gate::Token;
pub use self::journal::{Call, Effect};
use self::shared::{Shared, lock};
use crate::clock::{Clock, Ids};
use crate::json::Json;
use crate::operation::{AccountId, Operation, TunnelId};
use crate::secret::SecretString;

/// How an emulator is to be.
#[derive(Debug)]
pub struct Options {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// The tokens that it accepts.
    pub tokens: Vec<Token>,
    /// TLS, if it shall speak that. ALPN is filled in where it is empty.
    pub tls: Option<ServerConfig>,
    /// Requests in a window, per token; `None` is no limit, and no headers of one.
    pub rate: Option<(u32, Duration)>,
    /// What every call waits first.
    pub latency: Duration,
    /// Faults that wait from the start.
    pub faults: Vec<Rule>,
}

impl Options {
    /// The real limit: 1,200 requests in five minutes.
    pub const RATE: (u32, Duration) = (1200, Duration::from_secs(300));

    /// An emulator on a free port of loopback that accepts these tokens and is otherwise as the real one.
    #[must_use]
    pub fn new(tokens: Vec<Token>) -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            tokens,
            tls: None,
            rate: Some(Self::RATE),
            latency: Duration::ZERO,
            faults: Vec::new(),
        }
    }
}

/// A running emulator. Dropped, it breaks off every connection at once; [`Emulator::stop`] is the gentle way.
#[derive(Debug)]
pub struct Emulator {
    address: SocketAddr,
    secure: bool,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Emulator {
    /// Binds and serves, in tasks of the current tokio runtime.
    ///
    /// # Errors
    /// The address can't be bound.
    pub async fn start(options: Options, clock: Arc<dyn Clock>, ids: Arc<Ids>) -> std::io::Result<Self> {
        let listener = TcpListener::bind(options.address).await?;
        let address = listener.local_addr()?;
        let tls = options.tls.map(|mut config| {
            if config.alpn_protocols.is_empty() {
                config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            }
            tokio_rustls::TlsAcceptor::from(Arc::new(config))
        });
        let secure = tls.is_some();
        let shared = Arc::new(Shared {
            clock,
            ids,
            gate: Mutex::new(Gate::new(options.tokens, options.rate)),
            accounts: Mutex::default(),
            journal: Mutex::default(),
            logs: Mutex::default(),
            faults: Mutex::new(fault::Queue::new(options.faults)),
            latency: options.latency,
        });
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(serve::serve(listener, tls, Arc::clone(&shared), stopped));
        Ok(Self { address, secure, shared, stop, task })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS/client/v4`, or `https` with TLS: what goes into `CLOUDFLARE_BASE_URL`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("{}/client/v4", self.origin())
    }

    /// `http://ADDRESS/__emulator`: the endpoints for tests in other processes.
    #[must_use]
    pub fn control_url(&self) -> String {
        format!("{}/__emulator", self.origin())
    }

    fn origin(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Requests that reached it, oldest first: the newest 20,000, or as many as hold 64 MiB of bodies.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.shared.journal).calls().cloned().collect()
    }

    /// How often each operation changed something that was kept; an operation that never did is left out.
    #[must_use]
    pub fn effects(&self) -> BTreeMap<Operation, u64> {
        lock(&self.shared.journal).counts().clone()
    }

    /// Each change that was kept, oldest first: the newest 100,000.
    #[must_use]
    pub fn effect_list(&self) -> Vec<Effect> {
        lock(&self.shared.journal).effects().cloned().collect()
    }

    /// The tunnels of an account as a list would answer them, with `health_check.target` in the object form.
    #[must_use]
    pub fn tunnels(&self, account: AccountId) -> Vec<Json> {
        let now = self.shared.clock.now();
        let accounts = lock(&self.shared.accounts);
        let tunnels = accounts.get(&account).map(|tunnels| tunnels.iter());
        tunnels.into_iter().flatten().map(|tunnel| tunnel.show(TargetForm::Object, now)).collect()
    }

    /// The PSK that a tunnel has, which no call can ask for.
    #[must_use]
    pub fn psk(&self, account: AccountId, tunnel: TunnelId) -> Option<SecretString> {
        lock(&self.shared.accounts).get(&account)?.find(tunnel.as_str())?.psk.clone()
    }

    /// Puts a tunnel there without a call, and counts no effect: a new one, or in place of the one with the
    /// `id` that it names. `health_check.target` may have either form.
    ///
    /// # Errors
    /// What a create would say is wrong with it.
    pub fn put_tunnel(&self, account: AccountId, tunnel: &Json) -> Result<TunnelId, String> {
        let text = |refused: answer::Refused| problems(&refused.problems);
        let target = tunnel.get("health_check").and_then(|health| health.get("target"));
        let form = if target.is_some_and(|target| target.as_object().is_some()) {
            TargetForm::Object
        } else {
            TargetForm::Text
        };
        let wanted = fields::wanted(tunnel, "", form, account).map_err(|found| problems(&found))?;
        let id = match tunnel.get("id") {
            Some(id) => id.as_str().and_then(TunnelId::parse).ok_or("id must be 1 to 32 hex digits")?,
            None => TunnelId::parse(&self.shared.ids.next().simple().to_string()).ok_or("no id")?,
        };
        let now = self.shared.clock.now();
        let mut accounts = lock(&self.shared.accounts);
        let kept = accounts.entry(account).or_default();
        let mut draft = kept.clone();
        if draft.find(id.as_str()).is_some() {
            draft.replace(id.as_str(), wanted, now).map_err(text)?;
        } else {
            draft.add(id.as_str().to_owned(), wanted, now).map_err(text)?;
        }
        draft.check(id.as_str(), "").map_err(text)?;
        *kept = draft;
        Ok(id)
    }

    /// Lets a fault wait for the next `times` calls of that place; `u32::MAX` is for ever. `None` for the place
    /// is each of the eight operations.
    pub fn fault(&self, fault: Fault, place: impl Into<Place>, times: u32) {
        lock(&self.shared.faults).push(Rule { fault, place: place.into(), times });
    }

    /// Forgets calls, effects, audit logs, faults and the use of quotas; tunnels stay.
    pub fn reset(&self) {
        control::reset(&self.shared);
    }

    /// Stops listening, lets calls under way end for five seconds, then breaks off the rest.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        let _ = (&mut self.task).await;
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // The task owns every connection, so all of them end with it.
        self.task.abort();
    }
}

fn problems(found: &[answer::Problem]) -> String {
    found.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; ")
}

/// A new token that looks like a user token of the upstream and is none: `cfut_` and 40 random letters and
/// digits.
///
/// # Errors
/// The random source fails.
pub fn new_token() -> Result<SecretString, aws_lc_rs::error::Unspecified> {
    use crate::secret::ExposeSecret as _;
    let random = operations::random(40).ok_or(aws_lc_rs::error::Unspecified)?;
    Ok(SecretString::from(format!("cfut_{}", random.expose_secret())))
}

#[cfg(test)]
mod tests;
