//! Who calls, and from where.
//!
//! Not here: how a token becomes a caller (`identify`).

use std::net::IpAddr;

use jiff::Timestamp;

/// A caller whose token was verified. Only `identify` makes one for a real request; every text in it came out
/// of a signed token and is bounded in length by `identify`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The subject, by default the claim `sub`.
    pub subject: String,
    /// Teams, sorted, each once.
    pub teams: Vec<String>,
    /// Roles, sorted, each once.
    pub roles: Vec<String>,
    /// The claim `iss`.
    pub issuer: String,
    /// The claim `jti`, where the token has one.
    pub jti: Option<String>,
    /// The `kid` of the key that verified the token.
    pub key_id: Option<String>,
    /// The claim `exp`.
    pub expires: Timestamp,
}

/// What is known of a request's sender before its token is looked at. Texts are cut to a bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The address of the connection's other end.
    pub address: IpAddr,
    /// The `User-Agent`, at most [`Origin::USER_AGENT_MAX`] bytes, `?` in place of what is not printable ASCII.
    pub user_agent: Option<String>,
    /// `X-Stainless-Retry-Count`: what the official SDKs say on each attempt; 0 where absent.
    pub retry_count: u32,
}

impl Origin {
    /// Bytes of a user agent that are kept: the SDKs send about 30, browsers about 120.
    pub const USER_AGENT_MAX: usize = 256;
}
