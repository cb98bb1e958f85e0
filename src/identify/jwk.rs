//! Reads a JWK Set (RFC 7517, RFC 7518 section 6, RFC 8037), and verifies signatures with its keys.
//!
//! Each key is checked once, here: its type, curve, sizes, use, and that it is a point or modulus worth the
//! name. A key that fails is left out and reported; its neighbors stay. Not here: where a set comes from
//! (`keys.rs`).

use aws_lc_rs::signature as lc;
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::DecodingKey;

use super::text::is_name;
use super::token::{KEY_ID_MAX, Unverified, algorithm_named};
use crate::config::Algorithm;
use crate::json::{self, Json};
use crate::refusal::TokenFault;

/// Bytes of a JWK Set: 100 RSA keys of 8192 bits with certificate chains stay below.
pub(super) const SET_BYTES_MAX: usize = 1 << 20;

/// Keys of one set that are used: an issuer in rotation has two or three.
pub(super) const KEYS_MAX: usize = 100;

/// Keys of one set that are looked at, usable or not: 1 MiB holds 6,000 points, and to check one takes 50 us.
const LOOKED_AT_MAX: usize = 1000;

/// Complaints about one set that are kept.
const COMPLAINTS_MAX: usize = 8;

/// RFC 7518 section 3.3: 2048 bits or more. Above 8192 a verification costs more than a caller may cause.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Members that only private and symmetric keys have (RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// An issuer's keys: those that can be used, and what is wrong with others.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    /// What is wrong with keys that were left out, in our words.
    pub(super) complaints: Vec<String>,
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    material: Material,
    /// The JWK's `alg`: a key that has one is used for that only.
    only: Option<Algorithm>,
    decoding: DecodingKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Material {
    P256,
    P384,
    Ed25519,
    Rsa,
}

/// Why a key is left out.
enum Unfit {
    /// Meant for something else: no fault.
    Foreign,
    /// Wrong, and somebody should know.
    Wrong(&'static str),
}

/// Why no key of a set verifies a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// The set has none of that `kid`, or none that fits: a newer set may.
    Unknown,
    /// The set has what the token names, and it does not fit.
    Fault(TokenFault),
}

/// Reads a JWK Set. A text that is no JWK Set at all is an error, so that half a file changes nothing; a set
/// whose keys are unfit, or which is empty, is obeyed: keys that an issuer took away are gone.
pub(super) fn read(bytes: &[u8]) -> Result<KeySet, String> {
    if bytes.len() > SET_BYTES_MAX {
        return Err(format!("it has more than {SET_BYTES_MAX} bytes"));
    }
    let set = json::read(bytes, json::MAX_DEPTH).map_err(|e| format!("it is not strict JSON: {e}"))?;
    let items = set.get("keys").and_then(Json::as_array).ok_or("it has no array `keys`")?;
    let mut found = KeySet::default();
    let mut more = 0_usize;
    for (at, item) in items.iter().enumerate().take(LOOKED_AT_MAX) {
        let complaint = match key(item) {
            Ok(_) if found.keys.len() >= KEYS_MAX => "only the first 100 usable keys are used",
            Ok(key) if found.keys.iter().any(|known| known.same_name(&key)) => {
                "an earlier key has the same `kid` and type"
            }
            Ok(key) => {
                found.keys.push(key);
                continue;
            }
            Err(Unfit::Foreign) => continue,
            Err(Unfit::Wrong(what)) => what,
        };
        if found.complaints.len() < COMPLAINTS_MAX {
            found.complaints.push(format!("key {at} of the set is not used: {complaint}"));
        } else {
            more += 1;
        }
        // Nothing behind the bound is worth the work of checking it.
        if found.keys.len() >= KEYS_MAX {
            break;
        }
    }
    if items.len() > LOOKED_AT_MAX && found.keys.len() < KEYS_MAX {
        found.complaints.push(format!("only the first {LOOKED_AT_MAX} keys of the set are looked at"));
    }
    if more > 0 {
        found.complaints.push(format!("{more} more keys of the set are not used"));
    }
    Ok(found)
}

impl KeySet {
    /// How many keys are used.
    #[cfg(fuzzing)]
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether some key can verify what is signed with one of `algorithms`.
    pub(super) fn serves(&self, algorithms: &[Algorithm]) -> bool {
        self.keys.iter().any(|key| algorithms.iter().any(|algorithm| key.fits(*algorithm)))
    }

    /// Verifies a token's signature with the one key that it can be from; that key's `kid`.
    pub(super) fn verify(&self, token: &Unverified<'_>) -> Result<Option<&str>, NoKey> {
        let key = self.choose(token)?;
        let verified = jsonwebtoken::crypto::verify(
            token.signature,
            token.signed.as_bytes(),
            &key.decoding,
            jsonwebtoken_name(token.algorithm),
        );
        match verified {
            Ok(true) => Ok(key.id.as_deref()),
            Ok(false) | Err(_) => Err(NoKey::Fault(TokenFault::Signature)),
        }
    }

    fn choose(&self, token: &Unverified<'_>) -> Result<&Key, NoKey> {
        if let Some(wanted) = token.key_id.as_deref() {
            let mut named = self.keys.iter().filter(|key| key.id.as_deref() == Some(wanted)).peekable();
            if named.peek().is_none() {
                return Err(NoKey::Unknown);
            }
            return named.find(|key| key.fits(token.algorithm)).ok_or(NoKey::Fault(TokenFault::Algorithm));
        }
        // Without a `kid` there is no telling which of several it is, and trying all is work for free.
        let mut fitting = self.keys.iter().filter(|key| key.fits(token.algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(NoKey::Unknown),
            (Some(_), Some(_)) => Err(NoKey::Fault(TokenFault::UnknownKey)),
        }
    }
}

impl Key {
    fn fits(&self, algorithm: Algorithm) -> bool {
        self.only.is_none_or(|only| only == algorithm) && self.material == material_for(algorithm)
    }

    /// Whether a token that names the one could mean the other.
    fn same_name(&self, other: &Self) -> bool {
        self.id.is_some()
            && self.id == other.id
            && self.material == other.material
            && (self.only == other.only || self.only.is_none() || other.only.is_none())
    }
}

const fn material_for(algorithm: Algorithm) -> Material {
    match algorithm {
        Algorithm::Es256 => Material::P256,
        Algorithm::Es384 => Material::P384,
        Algorithm::EdDsa => Material::Ed25519,
        Algorithm::Rs256 | Algorithm::Ps256 => Material::Rsa,
    }
}

const fn jsonwebtoken_name(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::Es384 => jsonwebtoken::Algorithm::ES384,
        Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
        Algorithm::Ps256 => jsonwebtoken::Algorithm::PS256,
    }
}

fn key(jwk: &Json) -> Result<Key, Unfit> {
    if jwk.as_object().is_none() {
        return Err(Unfit::Wrong("it is no object"));
    }
    let kty = text(jwk, "kty")?.ok_or(Unfit::Wrong("it has no `kty`"))?;
    if kty == "oct" {
        return Err(Unfit::Wrong("it is symmetric (`oct`): whoever reads it can sign; take it out"));
    }
    if PRIVATE.iter().any(|name| jwk.get(name).is_some()) {
        return Err(Unfit::Wrong(
            "it holds private parts; publish the public ones only, and replace the key",
        ));
    }
    for_signatures(jwk)?;
    let id = text(jwk, "kid")?;
    if id.is_some_and(|id| !is_name(id, KEY_ID_MAX)) {
        return Err(Unfit::Wrong("its `kid` is empty, too long, or holds unseen characters"));
    }
    let (material, decoding) = match (kty, text(jwk, "crv")?) {
        ("EC", Some("P-256")) => (Material::P256, ec(jwk, 32, &lc::ECDSA_P256_SHA256_FIXED)?),
        ("EC", Some("P-384")) => (Material::P384, ec(jwk, 48, &lc::ECDSA_P384_SHA384_FIXED)?),
        ("OKP", Some("Ed25519")) => (Material::Ed25519, ed25519(jwk)?),
        ("RSA", _) => (Material::Rsa, rsa(jwk)?),
        _ => return Err(Unfit::Foreign),
    };
    let only = match text(jwk, "alg")? {
        None => None,
        Some(name) => Some(algorithm_named(name).ok_or(Unfit::Foreign)?),
    };
    if only.is_some_and(|only| material_for(only) != material) {
        return Err(Unfit::Wrong("its `alg` does not fit its type"));
    }
    Ok(Key { id: id.map(ToOwned::to_owned), material, only, decoding })
}

/// RFC 7517 sections 4.2 and 4.3: a key for something else is not for signatures.
fn for_signatures(jwk: &Json) -> Result<(), Unfit> {
    if text(jwk, "use")?.is_some_and(|usage| usage != "sig") {
        return Err(Unfit::Foreign);
    }
    match jwk.get("key_ops") {
        None => Ok(()),
        Some(Json::Array(ops)) if ops.iter().any(|op| op.as_str() == Some("verify")) => Ok(()),
        Some(Json::Array(_)) => Err(Unfit::Foreign),
        Some(_) => Err(Unfit::Wrong("its `key_ops` is no array")),
    }
}

fn text<'a>(jwk: &'a Json, name: &str) -> Result<Option<&'a str>, Unfit> {
    match jwk.get(name) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(_) => Err(Unfit::Wrong("a member that names something is no string")),
    }
}

fn bytes(jwk: &Json, name: &str) -> Result<Vec<u8>, Unfit> {
    let text = text(jwk, name)?.ok_or(Unfit::Wrong("a part of it is missing"))?;
    BASE64URL_NOPAD
        .decode(text.as_bytes())
        .map_err(|_| Unfit::Wrong("a part of it is not base64url without padding"))
}

/// RFC 7518 section 6.2.1: coordinates have the curve's full length. The parser refuses points off the curve.
fn ec(
    jwk: &Json,
    size: usize,
    algorithm: &'static lc::EcdsaVerificationAlgorithm,
) -> Result<DecodingKey, Unfit> {
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    if x.len() != size || y.len() != size {
        return Err(Unfit::Wrong("its coordinates do not have the curve's length"));
    }
    // SEC 1 section 2.3.3: an uncompressed point starts with 4.
    let point = [&[4], x.as_slice(), y.as_slice()].concat();
    lc::UnparsedPublicKey::new(algorithm, &point)
        .parse()
        .map_err(|_| Unfit::Wrong("its point is not on the curve"))?;
    Ok(DecodingKey::from_ec_der(&point))
}

/// Under a key of small order one signature fits many texts, so anyone could sign.
fn ed25519(jwk: &Json) -> Result<DecodingKey, Unfit> {
    let x = bytes(jwk, "x")?;
    let point: &[u8; 32] =
        x.as_slice().try_into().map_err(|_| Unfit::Wrong("its coordinate has not 32 bytes"))?;
    let sound = ed25519_dalek::VerifyingKey::from_bytes(point).is_ok_and(|key| !key.is_weak());
    if !sound {
        return Err(Unfit::Wrong("its point is not on the curve, or of small order"));
    }
    Ok(DecodingKey::from_ed_der(&x))
}

/// RFC 7518 sections 3.3 and 6.3.1, and FIPS 186-5 for the exponent: odd, above 2^16, here also below 2^32.
fn rsa(jwk: &Json) -> Result<DecodingKey, Unfit> {
    let (n, e) = (bytes(jwk, "n")?, bytes(jwk, "e")?);
    let (Some(first), Some(last)) = (n.first(), n.last()) else {
        return Err(Unfit::Wrong("its modulus is empty"));
    };
    let bits = n.len() * 8 - first.leading_zeros() as usize;
    if *first == 0 || last % 2 == 0 {
        return Err(Unfit::Wrong("its modulus has leading zeros or is even"));
    }
    if !RSA_BITS.contains(&bits) {
        return Err(Unfit::Wrong("its modulus has not 2048 to 8192 bits; make a stronger key"));
    }
    let exponent = e.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    if e.len() > 4 || e.first() == Some(&0) || exponent < 65_537 || exponent % 2 == 0 {
        return Err(Unfit::Wrong("its exponent is not an odd number from 65537 to 2^32"));
    }
    lc::RsaPublicKeyComponents { n: &n, e: &e }
        .to_parsed_public_key(&lc::RSA_PKCS1_2048_8192_SHA256)
        .map_err(|_| Unfit::Wrong("it is no RSA key"))?;
    Ok(DecodingKey::from_rsa_raw_components(&n, &e))
}
