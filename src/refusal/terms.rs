//! What a refusal is in HTTP: status, code, whether a retry helps.
//!
//! Codes are ours, five digits that begin with 99, so that they never meet one of Cloudflare's: 991xx the
//! request itself, 992xx identity, 993xx limits, 994xx policy and state, 995xx the record, 996xx the upstream.

use std::time::Duration;

use http::StatusCode;

use super::{Refusal, TokenFault};

/// A refusal's terms for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The response status.
    pub status: StatusCode,
    /// The code in the envelope.
    pub code: u32,
    /// Whether a retry may be made.
    pub retry: Retry,
}

/// Whether a client may send the same call again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It would be refused again: `x-should-retry: false`.
    Useless,
    /// Nothing was sent, and it may go through later: `x-should-retry: true` and `Retry-After`.
    After(Duration),
    /// The upstream may have acted: `x-should-retry: false` on one-shot operations, the client's own rule on
    /// others.
    MayRepeat,
}

/// What a client is told to wait: whole seconds, rounded up, so that who waits so long is not early. Never 0, which
/// SDKs take for none.
#[must_use]
pub fn whole_seconds(wait: Duration) -> u64 {
    let up = u64::from(wait.subsec_nanos() > 0);
    wait.as_secs().saturating_add(up).max(1)
}

/// What is told to wait for where nothing better is known.
const SOON: Duration = Duration::from_secs(1);

impl Refusal {
    /// Status, code and retry, of each refusal.
    #[must_use]
    pub fn terms(&self) -> Terms {
        use Retry::{After, MayRepeat, Useless};
        let (status, code, retry) = match self {
            Self::MalformedRequest(_) => (StatusCode::BAD_REQUEST, 99100, Useless),
            Self::HeadersTooLarge => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, 99101, Useless),
            Self::AddressLimited { retry_after } => {
                (StatusCode::TOO_MANY_REQUESTS, 99102, After(*retry_after))
            }
            Self::Overloaded { retry_after } => (StatusCode::SERVICE_UNAVAILABLE, 99103, After(*retry_after)),
            Self::TargetSpelling(_) => (StatusCode::BAD_REQUEST, 99110, Useless),
            Self::UnknownRoute => (StatusCode::NOT_FOUND, 99111, Useless),
            Self::MethodNotAllowed { .. } => (StatusCode::METHOD_NOT_ALLOWED, 99112, Useless),
            Self::BadQuery(_) => (StatusCode::BAD_REQUEST, 99113, Useless),
            Self::BadHeader { .. } => (StatusCode::BAD_REQUEST, 99114, Useless),
            Self::BodyTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, 99120, Useless),
            Self::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, 99121, After(SOON)),
            Self::BodyIncomplete => (StatusCode::BAD_REQUEST, 99122, Useless),
            Self::ContentType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, 99123, Useless),
            Self::ContentEncoding => (StatusCode::UNSUPPORTED_MEDIA_TYPE, 99124, Useless),
            Self::BodyUnexpected => (StatusCode::BAD_REQUEST, 99125, Useless),
            Self::BadJson(_) => (StatusCode::BAD_REQUEST, 99126, Useless),
            Self::BadBody { .. } => (StatusCode::BAD_REQUEST, 99127, Useless),
            Self::TokenMissing { .. } => (StatusCode::UNAUTHORIZED, 99200, Useless),
            Self::TokenAmbiguous => (StatusCode::UNAUTHORIZED, 99201, Useless),
            Self::TokenInvalid(fault) => (StatusCode::UNAUTHORIZED, token_code(fault), Useless),
            Self::TokenRevoked => (StatusCode::UNAUTHORIZED, 99203, Useless),
            Self::KeysUnavailable { retry_after } => {
                (StatusCode::SERVICE_UNAVAILABLE, 99204, After(*retry_after))
            }
            Self::QuotaSpent { retry_after, .. } => {
                (StatusCode::TOO_MANY_REQUESTS, 99300, After(*retry_after))
            }
            Self::BudgetSpent { retry_after } => (StatusCode::TOO_MANY_REQUESTS, 99301, After(*retry_after)),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, 99400, Useless),
            Self::StateUnreadable { .. } => (StatusCode::BAD_GATEWAY, 99401, After(SOON)),
            Self::TunnelUnknown => (StatusCode::NOT_FOUND, 99402, Useless),
            Self::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, 99403, Useless),
            Self::TunnelBusy { retry_after } => (StatusCode::SERVICE_UNAVAILABLE, 99404, After(*retry_after)),
            Self::Repeat { .. } => (StatusCode::CONFLICT, 99405, Useless),
            Self::ClientGone => (StatusCode::REQUEST_TIMEOUT, 99406, After(SOON)),
            Self::AuditUnavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, 99500, After(SOON)),
            Self::UpstreamToken(_) => (StatusCode::SERVICE_UNAVAILABLE, 99600, After(SOON)),
            Self::UpstreamUnreachable => (StatusCode::BAD_GATEWAY, 99601, After(SOON)),
            Self::UpstreamTimeout => (StatusCode::GATEWAY_TIMEOUT, 99602, MayRepeat),
            Self::UpstreamDropped => (StatusCode::BAD_GATEWAY, 99603, MayRepeat),
            Self::UpstreamAnswer(_) => (StatusCode::BAD_GATEWAY, 99604, MayRepeat),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, 99900, MayRepeat),
        };
        Terms { status, code, retry }
    }
}

const fn token_code(fault: &TokenFault) -> u32 {
    match fault {
        TokenFault::Scheme => 99210,
        TokenFault::TooLarge => 99211,
        TokenFault::Malformed => 99212,
        TokenFault::CriticalHeader => 99213,
        TokenFault::Algorithm => 99214,
        TokenFault::Issuer => 99215,
        TokenFault::UnknownKey => 99216,
        TokenFault::Signature => 99217,
        TokenFault::Expired => 99218,
        TokenFault::NotYetValid => 99219,
        TokenFault::Audience => 99220,
        TokenFault::Lifetime => 99221,
        TokenFault::Claim { .. } => 99222,
        TokenFault::BindingKind => 99223,
        TokenFault::Binding => 99224,
        TokenFault::Unbound => 99225,
        TokenFault::Used { .. } => 99226,
    }
}
