//! Who calls, and from where.
//!
//! Not here: how a token becomes a caller (`identify`).

mod tally;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;

pub use tally::Tally;

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
    /// The certificate that the connection's client proved to have, where it was asked for one and has one.
    pub certificate: Option<Thumbprint>,
}

/// A certificate's SHA-256, over its DER: the `x5t#S256` of RFC 8705 section 3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// Of a certificate in DER.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, certificate).as_ref());
        Self(bytes)
    }

    /// As tokens have it: 43 characters of base64url without padding, in the one spelling that ends in zero bits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self(BASE64URL_NOPAD.decode(text.as_bytes()).ok()?.try_into().ok()?))
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl Origin {
    /// Bytes of a user agent that are kept: the SDKs send about 30, browsers about 120.
    pub const USER_AGENT_MAX: usize = 256;
}

/// What counts as one address: an IPv4 address, also where it came mapped into IPv6, and the first 64 bits of an
/// IPv6 address, as the rest is free for every host to choose (RFC 4291 section 2.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(u128);

impl Network {
    /// The network of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => Ipv6Addr::to_bits(v6) & !u128::from(u64::MAX),
        })
    }
}
