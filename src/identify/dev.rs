//! Keys that sign tokens: for development, the demo and tests. The service itself never signs one.
//!
//! Signing goes to the crypto library directly and verifying through `jsonwebtoken`, so a test that passes had two
//! implementations agree. Not here: the command line (`cli::token`).

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self as lc, KeyPair};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use zeroize::Zeroizing;

use super::token::algorithm_name;
use crate::config::Algorithm;
use crate::json::{Json, Object};
use crate::secret::SecretString;

/// Why a key can't be made or used.
#[derive(Debug, thiserror::Error)]
pub enum DevKeyError {
    /// The crypto library failed.
    #[error("the key can't be made or used")]
    Crypto,
    /// Not a private key in the form that is read.
    #[error(
        "no PKCS#8 private key (`-----BEGIN PRIVATE KEY-----`) of type EC P-256, EC P-384, Ed25519 or RSA"
    )]
    Form,
    /// The algorithm needs another kind of key.
    #[error("a key of this type can't sign with {0}")]
    Algorithm(&'static str),
}

/// A private key, and the name under which its public half is published.
pub struct DevKey {
    pair: Pair,
    algorithm: Algorithm,
    id: String,
    pkcs8: Zeroizing<Vec<u8>>,
}

enum Pair {
    Ec(Box<lc::EcdsaKeyPair>),
    Ed(Box<lc::Ed25519KeyPair>),
    Rsa(Box<lc::RsaKeyPair>),
}

impl std::fmt::Debug for DevKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DevKey")
            .field("algorithm", &self.algorithm)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl DevKey {
    /// A new key for an algorithm; RSA keys have 2048 bits. Its `kid` is its thumbprint (RFC 7638).
    ///
    /// # Errors
    /// [`DevKeyError::Crypto`]
    pub fn generate(algorithm: Algorithm) -> Result<Self, DevKeyError> {
        let random = SystemRandom::new();
        let pkcs8 = match algorithm {
            Algorithm::Es256 | Algorithm::Es384 => {
                lc::EcdsaKeyPair::generate_pkcs8(ec_algorithm(algorithm), &random)
                    .map(|document| document.as_ref().to_vec())
            }
            Algorithm::EdDsa => {
                lc::Ed25519KeyPair::generate_pkcs8(&random).map(|document| document.as_ref().to_vec())
            }
            Algorithm::Rs256 | Algorithm::Ps256 => lc::RsaKeyPair::generate(KeySize::Rsa2048)
                .and_then(|pair| pair.as_der())
                .map(|document| document.as_ref().to_vec()),
        };
        let pkcs8 = Zeroizing::new(pkcs8.map_err(|_| DevKeyError::Crypto)?);
        Self::from_pkcs8(pkcs8, Some(algorithm))
    }

    /// A key from PEM. An RSA key signs with RS256 unless `algorithm` says PS256.
    ///
    /// # Errors
    /// [`DevKeyError`]
    pub fn from_pem(pem: &[u8], algorithm: Option<Algorithm>) -> Result<Self, DevKeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| DevKeyError::Form)?;
        Self::from_pkcs8(Zeroizing::new(der.secret_pkcs8_der().to_vec()), algorithm)
    }

    fn from_pkcs8(pkcs8: Zeroizing<Vec<u8>>, algorithm: Option<Algorithm>) -> Result<Self, DevKeyError> {
        let ec = |algorithm| {
            let pair = lc::EcdsaKeyPair::from_pkcs8(ec_algorithm(algorithm), &pkcs8).ok()?;
            Some((Pair::Ec(Box::new(pair)), algorithm))
        };
        let (pair, own) = ec(Algorithm::Es256)
            .or_else(|| ec(Algorithm::Es384))
            .or_else(|| {
                let pair = lc::Ed25519KeyPair::from_pkcs8(&pkcs8).ok()?;
                Some((Pair::Ed(Box::new(pair)), Algorithm::EdDsa))
            })
            .or_else(|| {
                let pair = lc::RsaKeyPair::from_pkcs8(&pkcs8).ok()?;
                Some((Pair::Rsa(Box::new(pair)), Algorithm::Rs256))
            })
            .ok_or(DevKeyError::Form)?;
        let algorithm = match (own, algorithm) {
            (Algorithm::Rs256, Some(Algorithm::Ps256)) => Algorithm::Ps256,
            (own, Some(asked)) if own != asked => {
                return Err(DevKeyError::Algorithm(algorithm_name(asked)));
            }
            (own, _) => own,
        };
        let mut key = Self { pair, algorithm, id: String::new(), pkcs8 };
        key.id = key.thumbprint();
        Ok(key)
    }

    /// The same key under another `kid`.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// The `kid`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it signs with.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The private key as PEM, to be written to a file that only its owner reads.
    #[must_use]
    pub fn pem(&self) -> SecretString {
        let body = Zeroizing::new(BASE64.encode(&self.pkcs8));
        let mut pem = Zeroizing::new(String::from("-----BEGIN PRIVATE KEY-----\n"));
        // RFC 7468 section 2: lines of 64 characters.
        for (at, c) in body.chars().enumerate() {
            if at > 0 && at % 64 == 0 {
                pem.push('\n');
            }
            pem.push(c);
        }
        pem.push_str("\n-----END PRIVATE KEY-----\n");
        SecretString::from(pem.as_str())
    }

    /// The public key as a JWK (RFC 7517).
    #[must_use]
    pub fn jwk(&self) -> Object {
        let mut jwk = self.public();
        jwk.set("alg", algorithm_name(self.algorithm));
        jwk.set("use", "sig");
        jwk.set("kid", self.id.as_str());
        jwk
    }

    /// A JWK Set of this key alone.
    #[must_use]
    pub fn jwks(&self) -> Json {
        Object::from_iter([("keys", vec![self.jwk()])]).into()
    }

    /// The required members, in the order of RFC 7638.
    fn public(&self) -> Object {
        let b64 = |bytes: &[u8]| Json::from(BASE64URL_NOPAD.encode(bytes));
        match &self.pair {
            Pair::Ec(pair) => {
                // An uncompressed point: 4, then two coordinates of the same length.
                let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
                let (x, y) = point.split_at(point.len() / 2);
                let crv = if self.algorithm == Algorithm::Es384 { "P-384" } else { "P-256" };
                Object::from_iter([("crv", crv.into()), ("kty", "EC".into()), ("x", b64(x)), ("y", b64(y))])
            }
            Pair::Ed(pair) => Object::from_iter([
                ("crv", "Ed25519".into()),
                ("kty", "OKP".into()),
                ("x", b64(pair.public_key().as_ref())),
            ]),
            Pair::Rsa(pair) => {
                let parts = lc::RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                Object::from_iter([("e", b64(&parts.e)), ("kty", "RSA".into()), ("n", b64(&parts.n))])
            }
        }
    }

    fn thumbprint(&self) -> String {
        let text = Json::from(self.public()).to_string();
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        BASE64URL_NOPAD.encode(hash.as_ref())
    }

    /// A JWT with these claims. `extras` are set in its header after `alg`, `typ` and `kid`, and may replace them.
    ///
    /// # Errors
    /// [`DevKeyError::Crypto`]
    pub fn sign(&self, claims: &Json, extras: &[(&str, Json)]) -> Result<String, DevKeyError> {
        let mut header = Object::new();
        header.set("alg", algorithm_name(self.algorithm));
        header.set("typ", "JWT");
        header.set("kid", self.id.as_str());
        extras.iter().for_each(|(name, value)| header.set((*name).to_owned(), value.clone()));
        self.sign_texts(&Json::from(header).to_string(), &claims.to_string())
    }

    /// A token whose header and payload are these very texts, well-formed or not.
    ///
    /// # Errors
    /// [`DevKeyError::Crypto`]
    pub fn sign_texts(&self, header: &str, payload: &str) -> Result<String, DevKeyError> {
        let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        let mut token = format!("{}.{}", part(header), part(payload));
        let signature = self.signature(token.as_bytes())?;
        token.push('.');
        token.push_str(&BASE64URL_NOPAD.encode(&signature));
        Ok(token)
    }

    fn signature(&self, text: &[u8]) -> Result<Vec<u8>, DevKeyError> {
        let random = SystemRandom::new();
        let crypto = |_| DevKeyError::Crypto;
        match &self.pair {
            Pair::Ec(pair) => Ok(pair.sign(&random, text).map_err(crypto)?.as_ref().to_vec()),
            Pair::Ed(pair) => Ok(pair.try_sign(text).map_err(crypto)?.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let padding: &'static dyn lc::RsaEncoding = if self.algorithm == Algorithm::Ps256 {
                    &lc::RSA_PSS_SHA256
                } else {
                    &lc::RSA_PKCS1_SHA256
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, text, &mut signature).map_err(crypto)?;
                Ok(signature)
            }
        }
    }
}

fn ec_algorithm(algorithm: Algorithm) -> &'static lc::EcdsaSigningAlgorithm {
    if algorithm == Algorithm::Es384 {
        &lc::ECDSA_P384_SHA384_FIXED_SIGNING
    } else {
        &lc::ECDSA_P256_SHA256_FIXED_SIGNING
    }
}
