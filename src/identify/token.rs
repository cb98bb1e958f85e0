//! Reads a JWT in compact form (RFC 7515 section 3.1, RFC 7519), strictly, and believes nothing of it.
//!
//! Two readers that disagree on one token are how a signature over one text vouches for another, so each part
//! has one spelling: base64url without padding and with zero trailing bits, strict JSON without duplicate
//! names. Not here: whether it is true (`jwk.rs`, `claims.rs`).

use data_encoding::BASE64URL_NOPAD;

use super::text::is_name;
use crate::config::Algorithm;
use crate::json::{self, Json};
use crate::refusal::TokenFault;

/// Bytes of a `kid`: thumbprints have 43 characters, certificate names rarely 200.
pub(super) const KEY_ID_MAX: usize = 256;

/// Header parameters that a verifier either obeys or must not overlook. `crit` and `b64` change what is signed
/// (RFC 7797), `enc` and `zip` what the payload is; the others carry or name a key to trust. Keys come from the
/// configured issuer alone; a token that brings one is refused, not quietly ignored, so that the record shows it.
const REFUSED: [&str; 8] = ["crit", "b64", "enc", "zip", "jwk", "jku", "x5c", "x5u"];

/// A token's parts, as they stand in it. Nothing here is verified.
pub(super) struct Unverified<'a> {
    /// What the signature is over: header, dot, payload.
    pub(super) signed: &'a str,
    /// The signature, in base64url whose spelling was checked.
    pub(super) signature: &'a str,
    /// What the token says it is signed with; one that we know.
    pub(super) algorithm: Algorithm,
    /// Which key it says it is signed with: only ever compared.
    pub(super) key_id: Option<String>,
    /// The payload: an object.
    pub(super) claims: Json,
}

impl std::fmt::Debug for Unverified<'_> {
    /// Without what is signed and the signature, which together are the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unverified").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// Reads a token.
pub(super) fn read(token: &str) -> Result<Unverified<'_>, TokenFault> {
    let [header, payload, signature] = split(token).ok_or(TokenFault::Malformed)?;
    let header_json = part(header)?;
    let algorithm = header_json.get("alg").and_then(Json::as_str).ok_or(TokenFault::Malformed)?;
    if REFUSED.iter().any(|name| header_json.get(name).is_some()) {
        return Err(TokenFault::CriticalHeader);
    }
    if !header_json.get("typ").is_none_or(is_jwt) {
        return Err(TokenFault::Malformed);
    }
    let algorithm = algorithm_named(algorithm).ok_or(TokenFault::Algorithm)?;
    let key_id = match header_json.get("kid") {
        None => None,
        Some(Json::String(id)) if is_name(id, KEY_ID_MAX) => Some(id.clone()),
        Some(_) => return Err(TokenFault::Malformed),
    };
    let claims = part(payload)?;
    if !is_base64url(signature) {
        return Err(TokenFault::Malformed);
    }
    let signed = token.get(..header.len() + 1 + payload.len()).ok_or(TokenFault::Malformed)?;
    Ok(Unverified { signed, signature, algorithm, key_id, claims })
}

/// Header, payload and signature: exactly three parts, none of them empty.
pub(super) fn split(token: &str) -> Option<[&str; 3]> {
    let mut parts = token.split('.');
    let three = [parts.next()?, parts.next()?, parts.next()?];
    (parts.next().is_none() && three.iter().all(|part| !part.is_empty())).then_some(three)
}

/// One part as a JSON object.
pub(super) fn part(text: &str) -> Result<Json, TokenFault> {
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| TokenFault::Malformed)?;
    match json::read(&bytes, json::MAX_DEPTH) {
        Ok(object @ Json::Object(_)) => Ok(object),
        _ => Err(TokenFault::Malformed),
    }
}

fn is_base64url(text: &str) -> bool {
    BASE64URL_NOPAD.decode(text.as_bytes()).is_ok()
}

/// RFC 7519 section 5.1 and RFC 9068 section 2.1: media types, case-insensitive, `application/` may be left out.
/// Other kinds of JWT (logout tokens, DPoP proofs, security events) are not access tokens.
fn is_jwt(typ: &Json) -> bool {
    let Some(typ) = typ.as_str() else { return false };
    let typ = typ.to_ascii_lowercase();
    matches!(typ.strip_prefix("application/").unwrap_or(&typ), "jwt" | "at+jwt")
}

/// The algorithm of that name, spelled exactly (RFC 7518 section 3.1, RFC 8037 section 3.1).
pub(super) fn algorithm_named(name: &str) -> Option<Algorithm> {
    [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Ps256]
        .into_iter()
        .find(|algorithm| algorithm_name(*algorithm) == name)
}

/// The name in a token's `alg`.
pub(super) const fn algorithm_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Es256 => "ES256",
        Algorithm::Es384 => "ES384",
        Algorithm::EdDsa => "EdDSA",
        Algorithm::Rs256 => "RS256",
        Algorithm::Ps256 => "PS256",
    }
}
