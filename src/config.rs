//! The configuration, as valid values only.
//!
//! `config/read.rs` takes the file as typed and makes a [`Config`] of it or a list of everything that is wrong,
//! each with its key path; nothing checks these values again later. Every key is documented where a user reads
//! it, in `config/tunnelwarden.toml`. Not here: the policy's text (`authorize`), the keys' bytes (`identify`,
//! `seal`).

mod audit;
mod cidr;
mod digest;
mod issuer;
mod limits;
mod locate;
mod nearest;
mod overrides;
mod problem;
mod read;
mod table;
#[cfg(test)]
mod tests;
mod trace;
mod tree;
mod units;
mod upstream;
mod url;

pub use cidr::Cidr;
pub use locate::{Record, admin_address, issuers, policy_file, record};
pub use problem::{Problem, Problems};
pub use read::load;
pub use units::duration;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;

use crate::operation::{AccountId, Class};
use crate::secret::SecretString;
use crate::store::Database;

/// The whole configuration.
#[derive(Debug)]
pub struct Config {
    /// `[listen]`: the API.
    pub listen: Listen,
    /// `[admin]`: health, metrics, audit.
    pub admin: Admin,
    /// `[upstream]`: where calls go, and with which token.
    pub upstream: Upstream,
    /// `[[issuer]]`: whose tokens are taken; at least one.
    pub issuers: Vec<Issuer>,
    /// `[revocation]`: which tokens are not taken any more.
    pub revocation: Revocation,
    /// `[policy]`
    pub policy: Policy,
    /// `[limits]`
    pub limits: Limits,
    /// `[audit]`: the record.
    pub audit: Audit,
    /// `[log]`: the trace log, which is not the record.
    pub log: Log,
    /// `[trace]`: traces of calls.
    pub trace: Trace,
    /// SHA-256 of the resolved configuration without its secrets, in hex: what entries name it by.
    pub digest: String,
    /// What the digest is made of: every key's value by its path, without secrets.
    resolved: BTreeMap<String, String>,
}

impl Config {
    /// Whether a key path is one of this configuration, and no text that somebody made up.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.resolved.contains_key(key)
    }

    /// The paths of the keys that have another value in `other`, or are only in one of both.
    #[must_use]
    pub fn differences<'a>(&'a self, other: &'a Self) -> BTreeSet<&'a str> {
        let only = |these: &'a BTreeMap<String, String>, those: &'a BTreeMap<String, String>| {
            these.iter().filter(|(key, value)| those.get(*key) != Some(*value)).map(|(key, _)| key.as_str())
        };
        only(&self.resolved, &other.resolved).chain(only(&other.resolved, &self.resolved)).collect()
    }
}

/// `[listen]`
#[derive(Clone, Debug)]
pub struct Listen {
    /// Where the API is served.
    pub address: SocketAddr,
    /// `certificate_file` and `private_key_file`, PEM: both or neither.
    pub tls: Option<Tls>,
    /// Peers whose connections begin with the header of PROXY protocol, version 2.
    pub proxy_protocol: Vec<Cidr>,
    /// Peers whose word in `X-Forwarded-For` is taken.
    pub trusted_hops: Vec<Cidr>,
    /// Connections at once; more are refused.
    pub max_connections: usize,
    /// Connections of one address at once; a quarter of that while more than half of all places are taken.
    pub connections_per_address: usize,
    /// From accepting to the last byte of a request's headers; also how long a connection may idle.
    pub header_timeout: Duration,
    /// For a whole body.
    pub body_timeout: Duration,
    /// How long a connection of HTTP/2 takes calls, at most.
    pub max_connection_age: Duration,
    /// Bytes of a request's headers.
    pub max_header_bytes: usize,
    /// Bytes of a request's body.
    pub max_body_bytes: usize,
    /// From SIGTERM to the end, at most.
    pub drain_timeout: Duration,
    /// Requests that one address may send which turn out not to be identified.
    pub unidentified_per_address: Rate,
    /// Requests of all addresses together that turn out not to be identified and are still answered and recorded.
    pub unidentified_in_all: Rate,
}

/// A server certificate.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The chain, PEM.
    pub certificate_file: PathBuf,
    /// The key, PEM.
    pub private_key_file: PathBuf,
    /// `client_ca_file` and `client_certificate`: whether clients are asked for a certificate.
    pub clients: Option<ClientCertificates>,
}

/// Certificates of clients.
#[derive(Clone, Debug)]
pub struct ClientCertificates {
    /// The roots that vouch for them, PEM.
    pub ca_file: PathBuf,
    /// Whether a client without one is turned away.
    pub required: bool,
}

/// `[admin]`
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where health, metrics, the audit API and the console are served.
    pub address: SocketAddr,
    /// The header in which an access proxy in front hands over the token, where there is one.
    pub token_header: Option<HeaderName>,
}

/// `[upstream]`
#[derive(Debug)]
pub struct Upstream {
    /// Scheme, authority and path below which `/accounts/...` lies; without a trailing slash, query or user.
    pub base_url: http::Uri,
    /// The token for accounts that have none of their own.
    pub token: Option<TokenSource>,
    /// `[upstream.accounts.<id>]`: tokens for single accounts.
    pub accounts: BTreeMap<AccountId, TokenSource>,
    /// PEM file of roots to trust instead of the platform's.
    pub ca_file: Option<PathBuf>,
    /// To an open connection.
    pub connect_timeout: Duration,
    /// For a whole read.
    pub read_timeout: Duration,
    /// For a whole write.
    pub write_timeout: Duration,
    /// How long a call waits for others on the same tunnel.
    pub turn_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// Bytes of an answer, after decoding.
    pub max_answer_bytes: usize,
}

/// Where an upstream token comes from.
#[derive(Debug)]
pub enum TokenSource {
    /// A file, watched; surrounding white space is cut.
    File(PathBuf),
    /// The environment, read at start.
    Environment(SecretString),
}

/// `[[issuer]]`
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The claim `iss`, exactly.
    pub issuer: String,
    /// What `aud` must name.
    pub audience: String,
    /// Where its keys are.
    pub keys: KeySource,
    /// What its tokens may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// `exp` minus `iat` (or minus now, without `iat`), at most.
    pub max_lifetime: Duration,
    /// By how much clocks may differ.
    pub leeway: Duration,
    /// Bytes of a token, at most.
    pub max_token_bytes: usize,
    /// Whether each token must be bound to its client's certificate.
    pub bound_tokens_only: bool,
    /// Whether each token is good for one secret only: for one call that makes or sets a key.
    pub one_use_for_secrets: bool,
    /// Where a token says who it speaks for.
    pub claims: Claims,
}

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// `jwks_file`: a JWKS, watched.
    File(PathBuf),
    /// `jwks_url`
    Url {
        /// `https`, or `http` to loopback or where `allow_insecure_jwks` says so.
        url: http::Uri,
        /// PEM file of roots to trust instead of the platform's (`jwks_ca_file`).
        ca_file: Option<PathBuf>,
        /// How old keys may get before they are fetched again in the background.
        refresh: Duration,
        /// The shortest time between two fetches, also for an unknown `kid`.
        min_interval: Duration,
    },
}

/// The signature algorithms that can be allowed (RFC 7518 section 3.1, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// ECDSA, P-256, SHA-256.
    Es256,
    /// ECDSA, P-384, SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
    /// RSASSA-PKCS1-v1_5, SHA-256.
    Rs256,
    /// RSASSA-PSS, SHA-256.
    Ps256,
}

/// JSON pointers (RFC 6901) into a token's claims; each leads to a string or an array of strings.
#[derive(Clone, Debug)]
pub struct Claims {
    /// Required; a string.
    pub subject: String,
    /// May be missing.
    pub teams: String,
    /// May be missing.
    pub roles: String,
}

/// `[revocation]`
#[derive(Clone, Debug)]
pub struct Revocation {
    /// One revocation a line, `jti <id>` or `sub <issuer> <subject>`; watched. A missing file is an empty one.
    pub file: Option<PathBuf>,
}

/// `[policy]`
#[derive(Clone, Debug)]
pub struct Policy {
    /// Cedar policies.
    pub file: PathBuf,
}

/// So many in such a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub requests: NonZeroU32,
    /// In how long.
    pub per: Duration,
}

/// One rate for each class of operations; `None` is without limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quota {
    /// Operations that change nothing.
    pub read: Option<Rate>,
    /// Operations that change a tunnel.
    pub write: Option<Rate>,
    /// Operations that mint or replace a key.
    pub secret: Option<Rate>,
}

impl Quota {
    /// The rate for a class.
    #[must_use]
    pub const fn of(&self, class: Class) -> Option<Rate> {
        match class {
            Class::Read => self.read,
            Class::Write => self.write,
            Class::Secret => self.secret,
        }
    }
}

/// `[limits]`
#[derive(Clone, Debug)]
pub struct Limits {
    /// For each subject.
    pub subject: Quota,
    /// For each team.
    pub team: Quota,
    /// For all together.
    pub upstream_budget: Budget,
}

/// `upstream_budget`: what the upstream allows all of us together.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Calls in a window.
    pub requests: u32,
    /// The window, sliding.
    pub window: Duration,
    /// Calls of these that only `reserve_roles` may use.
    pub reserve: u32,
    /// Roles that may use the reserve.
    pub reserve_roles: Vec<String>,
}

/// `[audit]`
#[derive(Clone, Debug)]
pub struct Audit {
    /// Where the record is.
    pub database: Database,
    /// The Ed25519 key that signs checkpoints.
    pub signing_key_file: PathBuf,
    /// The HMAC key of fingerprints.
    pub fingerprint_key_file: PathBuf,
    /// Where the newest checkpoint is written for others to keep.
    pub checkpoint_files: Vec<PathBuf>,
    /// Whose bodies are kept.
    pub bodies: Bodies,
    /// How long an append may take before it counts as failed.
    pub append_timeout: Duration,
    /// How long a repeated one-shot call is recognized once it is known what became of the first.
    pub one_shot_window: Duration,
    /// How often an entry says that the program is alive.
    pub heartbeat: Duration,
    /// How long after a lost call the upstream may still act on it; then its state tells what became of the call.
    pub resolve_after: Duration,
    /// Comparing the record with the upstream's own audit logs.
    pub reconcile: Reconcile,
}

/// `[audit.reconcile]`
#[derive(Clone, Debug)]
pub struct Reconcile {
    /// How often `serve` does it; `None` is never.
    pub every: Option<Duration>,
    /// How old a call of ours is before it must be in the upstream's logs.
    pub grace: Duration,
    /// How far each run looks back beyond where the last one ended: rows may come as late as this.
    pub look_back: Duration,
    /// Which accounts, besides those that have a token of their own or that the record tells of.
    pub accounts: Vec<AccountId>,
}

/// `[audit] bodies`: whether redacted bodies are kept, by class; digests always are.
#[derive(Clone, Copy, Debug)]
pub struct Bodies {
    /// Default false.
    pub read: bool,
    /// Default true.
    pub write: bool,
    /// Default true.
    pub secret: bool,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    /// `text` or `json`.
    pub json: bool,
    /// A filter as `tracing_subscriber::EnvFilter` reads it.
    pub filter: String,
}

/// `[trace]`
#[derive(Clone, Debug)]
pub struct Trace {
    /// The collector, below which `/v1/traces` lies; `None` turns traces off.
    pub otlp_endpoint: Option<http::Uri>,
    /// PEM file of roots to trust instead of the platform's.
    pub ca_file: Option<PathBuf>,
    /// How many of a hundred calls are told of.
    pub sampled_percent: u32,
    /// Whether all calls are told of whose client says that it tells of its part.
    pub follows_clients: bool,
    /// How long the collector may take for a batch.
    pub timeout: Duration,
}
