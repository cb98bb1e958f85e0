//! What a verified token's claims must say (RFC 7519 section 4.1), and the caller that they make.
//!
//! Types are exact: a time is an integer, a name a string. Not here: the signature (`jwk.rs`), revocation
//! (`revoked.rs`).

use jiff::Timestamp;

use super::text::is_name;
use crate::caller::{Caller, Thumbprint};
use crate::config::Issuer;
use crate::json::Json;
use crate::refusal::TokenFault;

/// Bytes of a subject or a `jti`: an e-mail address has at most 254, a UUID 36.
pub(super) const NAME_MAX: usize = 256;

/// Bytes of a team or role.
const GROUP_MAX: usize = 128;

/// Teams, and roles, of one caller: each costs a policy entity.
const GROUPS_MAX: usize = 64;

/// Judges the claims of a token that `issuer` signed, at `now`.
pub(super) fn judge(
    claims: &Json,
    issuer: &Issuer,
    key_id: Option<&str>,
    now: Timestamp,
) -> Result<Caller, TokenFault> {
    audience(claims, &issuer.audience)?;
    let expires = times(claims, issuer, now)?;
    let subject = name_at(claims, &issuer.claims.subject)?.ok_or_else(|| fault(&issuer.claims.subject))?;
    Ok(Caller {
        subject,
        teams: groups(claims, &issuer.claims.teams)?,
        roles: groups(claims, &issuer.claims.roles)?,
        issuer: issuer.issuer.clone(),
        jti: name_at(claims, "/jti")?,
        key_id: key_id.map(ToOwned::to_owned),
        expires,
    })
}

/// The certificate that a token is bound to (RFC 7800 section 3.1, RFC 8705 section 3.1); `None` for one that is good in
/// anybody's hands. Whoever bound a token relies on its being looked at, so what can't be held against a client is refused.
pub(super) fn binding(claims: &Json, issuer: &Issuer) -> Result<Option<Thumbprint>, TokenFault> {
    const KIND: &str = "x5t#S256";
    let wrong = || fault("/cnf/x5t#S256");
    match claims.get("cnf") {
        None if issuer.bound_tokens_only => Err(TokenFault::Unbound),
        None => Ok(None),
        Some(Json::Object(ways)) => {
            if ways.iter().any(|(way, _)| way != KIND) {
                return Err(TokenFault::BindingKind);
            }
            let text = ways.get(KIND).and_then(Json::as_str).ok_or_else(wrong)?;
            Thumbprint::parse(text).map(Some).ok_or_else(wrong)
        }
        Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_)) => {
            Err(fault("/cnf"))
        }
    }
}

/// The last moment, in microseconds since 1970, at which a token that ends at `expires` is taken.
pub(super) fn end(expires: Timestamp, issuer: &Issuer) -> i64 {
    i64::try_from(micros(expires.as_second()) + leeway(issuer)).unwrap_or(i64::MAX)
}

fn fault(pointer: &str) -> TokenFault {
    TokenFault::Claim { pointer: pointer.to_owned() }
}

fn audience(claims: &Json, ours: &str) -> Result<(), TokenFault> {
    let named = match claims.get("aud") {
        Some(Json::String(one)) => one == ours,
        Some(Json::Array(several)) => {
            if several.iter().any(|item| item.as_str().is_none()) {
                return Err(fault("/aud"));
            }
            several.iter().any(|item| item.as_str() == Some(ours))
        }
        Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_)) | None => {
            return Err(fault("/aud"));
        }
    };
    if named { Ok(()) } else { Err(TokenFault::Audience) }
}

/// Judges `exp`, `nbf` and `iat`. All sums are 128 bits wide: no 64-bit claim can overflow them.
fn times(claims: &Json, issuer: &Issuer, now: Timestamp) -> Result<Timestamp, TokenFault> {
    let exp = seconds_at(claims, "/exp")?.ok_or_else(|| fault("/exp"))?;
    let nbf = seconds_at(claims, "/nbf")?;
    let iat = seconds_at(claims, "/iat")?;
    let now = i128::from(now.as_microsecond());
    let leeway = leeway(issuer);
    if now >= micros(exp) + leeway {
        return Err(TokenFault::Expired);
    }
    if [nbf, iat].into_iter().flatten().any(|from| micros(from) > now + leeway) {
        return Err(TokenFault::NotYetValid);
    }
    // Without `iat` the token counts as made now, by a clock that may go ahead of ours.
    let lived = iat.map_or(micros(exp) - now - leeway, |iat| micros(exp) - micros(iat));
    if lived > i128::try_from(issuer.max_lifetime.as_micros()).unwrap_or(i128::MAX) {
        return Err(TokenFault::Lifetime);
    }
    // A year that has more than four digits is no time: only a lifetime without bound lets it come so far.
    Timestamp::from_second(exp).map_err(|_| TokenFault::Lifetime)
}

fn micros(seconds: i64) -> i128 {
    i128::from(seconds) * 1_000_000
}

fn leeway(issuer: &Issuer) -> i128 {
    i128::try_from(issuer.leeway.as_micros()).unwrap_or(i128::MAX / 4)
}

/// RFC 7519 allows fractions in a `NumericDate`; we don't: no issuer needs them, and readers round differently.
fn seconds_at(claims: &Json, pointer: &str) -> Result<Option<i64>, TokenFault> {
    claims.pointer(pointer).map(|value| value.as_i64().ok_or_else(|| fault(pointer))).transpose()
}

fn name_at(claims: &Json, pointer: &str) -> Result<Option<String>, TokenFault> {
    claims.pointer(pointer).map(|value| name(value, NAME_MAX).ok_or_else(|| fault(pointer))).transpose()
}

fn name(value: &Json, max: usize) -> Option<String> {
    value.as_str().filter(|text| is_name(text, max)).map(ToOwned::to_owned)
}

/// A string or an array of strings, sorted, each once; a missing claim is none.
fn groups(claims: &Json, pointer: &str) -> Result<Vec<String>, TokenFault> {
    let items = match claims.pointer(pointer) {
        None => return Ok(Vec::new()),
        Some(Json::Array(items)) => items.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    if items.len() > GROUPS_MAX {
        return Err(fault(pointer));
    }
    let mut groups: Vec<String> = items
        .iter()
        .map(|item| name(item, GROUP_MAX))
        .collect::<Option<_>>()
        .ok_or_else(|| fault(pointer))?;
    groups.sort_unstable();
    groups.dedup();
    Ok(groups)
}
