//! Takes the token out of the headers: from exactly one `Authorization: Bearer` (RFC 6750 section 2.1).
//!
//! Not here: what the token says (`token.rs`). There is no other way in: no query, no cookie, no body.

use http::header::{AUTHORIZATION, HeaderMap};

use crate::refusal::{Refusal, TokenFault};

/// What the Python SDK sends in place of a bearer when `CLOUDFLARE_EMAIL` or `CLOUDFLARE_API_KEY` is set.
const LEGACY: [&str; 2] = ["x-auth-key", "x-auth-email"];

/// The one token of these headers, still of unknown worth.
pub(super) fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        let legacy_headers = LEGACY.iter().any(|name| headers.contains_key(*name));
        return Err(Refusal::TokenMissing { legacy_headers });
    };
    if values.next().is_some() {
        return Err(Refusal::TokenAmbiguous);
    }
    let malformed = Refusal::TokenInvalid(TokenFault::Scheme);
    let Ok(text) = value.to_str() else { return Err(malformed) };
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && is_token(token) => Ok(token),
        _ => Err(malformed),
    }
}

/// RFC 6750's `b64token`. A comma or blank, with which two values could stand in one, is none of it.
fn is_token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !body.is_empty()
        && body
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/'))
}
