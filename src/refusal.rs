//! Every way in which this product says no, as one closed list.
//!
//! A stage returns a [`Refusal`]; `respond` writes it for the client and `audit` for the record, each by a
//! total match in `refusal/terms.rs` and `refusal/words.rs`, so a new refusal does not compile until both
//! audiences are served. Not here: what leads to a refusal (each stage's own file).

mod terms;
mod words;

use std::time::Duration;

use strum::{IntoStaticStr, VariantNames};
use uuid::Uuid;

use crate::json;
use crate::operation::{Class, RouteError};

pub use terms::{Retry, Terms, whole_seconds};

/// Why a call is not made, or why its answer can't be given. Texts in it are ours; those that hold a client's
/// words say so.
#[derive(Clone, Debug, PartialEq, Eq, VariantNames, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Refusal {
    /// The bytes are not HTTP, or HTTP that two parsers may read differently.
    MalformedRequest(&'static str),
    /// Too many header bytes or fields.
    HeadersTooLarge,
    /// This address caused too much work before it was identified.
    AddressLimited {
        /// When a slot is free again.
        retry_after: Duration,
    },
    /// More connections or calls at once than are served.
    Overloaded {
        /// When to come back.
        retry_after: Duration,
    },
    /// The path is not spelled in the one way that is served.
    TargetSpelling(&'static str),
    /// No operation has this path.
    UnknownRoute,
    /// The path is served with other methods only.
    MethodNotAllowed {
        /// The value of `Allow`.
        allow: &'static str,
    },
    /// A query that is not served.
    BadQuery(&'static str),
    /// A header whose value is not served.
    BadHeader {
        /// Its name.
        name: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// More body than is taken.
    BodyTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The body did not arrive in time.
    BodyTimeout,
    /// The body ended early.
    BodyIncomplete,
    /// The body is not declared as JSON.
    ContentType,
    /// The body is compressed or otherwise encoded.
    ContentEncoding,
    /// A body where there is none to be.
    BodyUnexpected,
    /// The body is not strict JSON.
    BadJson(json::Error),
    /// The body is JSON of a shape that is not known.
    BadBody {
        /// RFC 6901 pointer; may hold names that the client chose.
        pointer: String,
        /// What is wrong there.
        what: &'static str,
    },
    /// No token.
    TokenMissing {
        /// `X-Auth-Key` or `X-Auth-Email` came instead.
        legacy_headers: bool,
    },
    /// More than one `Authorization` header.
    TokenAmbiguous,
    /// A token that is not accepted.
    TokenInvalid(TokenFault),
    /// A token, or all of a subject's tokens, revoked.
    TokenRevoked,
    /// The issuer's keys were never seen, or not since a token came whose key is not among them, and can't be fetched
    /// now.
    KeysUnavailable {
        /// When the next fetch is allowed.
        retry_after: Duration,
    },
    /// A quota of the caller's is spent.
    QuotaSpent {
        /// Whose it is: `subject` or `team`.
        of: &'static str,
        /// Which operations it covers.
        class: Class,
        /// When the next call fits.
        retry_after: Duration,
    },
    /// The budget of upstream calls that all callers share is spent.
    BudgetSpent {
        /// When the next call fits.
        retry_after: Duration,
    },
    /// The policy does not allow it.
    Forbidden(Box<Forbidden>),
    /// The state that the decision needs can't be read.
    StateUnreadable {
        /// Why not, in our words.
        why: &'static str,
    },
    /// The upstream does not know the tunnel.
    TunnelUnknown,
    /// `If-Match` names another state than the present one.
    PreconditionFailed,
    /// Another call on the same tunnel is still under way, or its outcome is still being found.
    TunnelBusy {
        /// When to try again.
        retry_after: Duration,
    },
    /// A retry of a one-shot call whose first try may have happened.
    Repeat {
        /// The first call's request id.
        first: Uuid,
    },
    /// The client of a one-shot call has hung up before anything was sent.
    ClientGone,
    /// The record can't be written, so nothing may happen.
    AuditUnavailable {
        /// What the store said, in our words.
        why: &'static str,
    },
    /// The token for the upstream is missing, unreadable or refused.
    UpstreamToken(&'static str),
    /// No connection to the upstream: nothing was sent.
    UpstreamUnreachable,
    /// The upstream did not answer in time; it may have acted.
    UpstreamTimeout,
    /// The upstream closed the connection without a whole answer; it may have acted.
    UpstreamDropped,
    /// The upstream's answer can't be given on; it may have acted.
    UpstreamAnswer(&'static str),
    /// A fault of ours.
    Internal,
}

/// A policy's no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forbidden {
    /// The action that was asked for: an operation's name.
    pub action: &'static str,
    /// The `@id`s of the `forbid` policies that decided; empty where no policy permits.
    pub policies: Vec<String>,
    /// The `@advice` of the first of them, or of a `permit` that would have matched with less asked.
    pub advice: Option<String>,
    /// For bulk bodies: pointer to the element that is refused.
    pub pointer: Option<String>,
}

/// What is wrong with a token. None of these quotes it.
#[derive(Clone, Debug, PartialEq, Eq, VariantNames, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum TokenFault {
    /// The header is not `Bearer` and a token.
    Scheme,
    /// Longer than is taken.
    TooLarge,
    /// Not a JWT in compact form with strict JSON parts.
    Malformed,
    /// `crit`, or another header parameter that must not be ignored.
    CriticalHeader,
    /// An algorithm that this issuer does not use, or one that does not fit the key.
    Algorithm,
    /// No such issuer is configured.
    Issuer,
    /// The issuer has no key of that `kid`.
    UnknownKey,
    /// The signature does not verify.
    Signature,
    /// `exp` has passed.
    Expired,
    /// `nbf` or `iat` lies ahead.
    NotYetValid,
    /// `aud` does not name this service.
    Audience,
    /// Valid for longer than this issuer's tokens may be.
    Lifetime,
    /// Bound to a key of its client in a way that is not served here (`cnf`).
    BindingKind,
    /// Bound to another certificate than the client's, or the client has none.
    Binding,
    /// Bound to nothing, where its issuer's tokens must be bound to their client's certificate.
    Unbound,
    /// Good for one secret, and used up by another call.
    Used {
        /// That call's request id.
        first: Uuid,
    },
    /// A claim is missing or of the wrong type.
    Claim {
        /// JSON pointer to the claim: from the configuration, never from the token.
        pointer: String,
    },
}

impl From<RouteError> for Refusal {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::Spelling(what) => Self::TargetSpelling(what),
            RouteError::Unknown => Self::UnknownRoute,
            RouteError::Method(allow) => Self::MethodNotAllowed { allow },
            RouteError::Query(what) => Self::BadQuery(what),
        }
    }
}

impl Refusal {
    /// The name in record, metrics and documentation.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.into()
    }
}
