//! The attacks on identification, each with the very refusal that it gets.

mod attacks;
mod bound;
mod changes;
mod headers;
mod remote;
mod sets;
mod standing;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;

use super::dev::DevKey;
use super::*;
use crate::clock::ManualClock;
use crate::config::{Algorithm, Claims};
use crate::json::{self, Object};

pub(super) const ISSUER: &str = "https://idp.example";
pub(super) const NOW: i64 = 1_790_000_000;
pub(super) const ALL: [Algorithm; 5] =
    [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Ps256];

/// One key for each algorithm, made once: RSA keys take their time.
pub(super) fn key(algorithm: Algorithm) -> &'static DevKey {
    static KEYS: OnceLock<Vec<DevKey>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| ALL.iter().map(|alg| DevKey::generate(*alg).unwrap()).collect());
    keys.iter().find(|key| key.algorithm() == algorithm).unwrap()
}

pub(super) fn clock() -> Arc<ManualClock> {
    ManualClock::at(Timestamp::from_second(NOW).unwrap())
}

pub(super) fn issuer(keys: KeySource) -> Issuer {
    Issuer {
        issuer: ISSUER.into(),
        audience: "tunnelwarden".into(),
        keys,
        algorithms: ALL.to_vec(),
        max_lifetime: Duration::from_hours(12),
        leeway: Duration::from_secs(30),
        max_token_bytes: 8192,
        bound_tokens_only: false,
        one_use_for_secrets: false,
        claims: Claims { subject: "/sub".into(), teams: "/team".into(), roles: "/role".into() },
    }
}

pub(super) fn claims() -> Object {
    Object::from_iter([
        ("iss", Json::from(ISSUER)),
        ("aud", "tunnelwarden".into()),
        ("sub", "alice".into()),
        ("iat", NOW.into()),
        ("exp", (NOW + 3600).into()),
        ("jti", "token-1".into()),
        ("team", "net".into()),
        ("role", vec!["viewer", "operator", "viewer"].into()),
    ])
}

/// The usual claims with one of them replaced (by JSON text) or, where there is no text, taken out.
pub(super) fn with(name: &'static str, text: Option<&str>) -> Json {
    let mut claims = claims();
    match text {
        Some(text) => claims.set(name, json::read(text.as_bytes(), 8).unwrap()),
        None => drop(claims.remove(name)),
    }
    claims.into()
}

pub(super) fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    headers
}

pub(super) fn jwks(keys: &[&DevKey]) -> String {
    Json::from(Object::from_iter([("keys", keys.iter().map(|key| key.jwk()).collect::<Vec<_>>())]))
        .to_string()
}

pub(super) fn invalid<T>(fault: TokenFault) -> Result<T, Refusal> {
    Err(Refusal::TokenInvalid(fault))
}

pub(super) fn claim<T>(pointer: &str) -> Result<T, Refusal> {
    invalid(TokenFault::Claim { pointer: pointer.into() })
}

/// An identifier over files in a folder of its own, with all five keys.
pub(super) struct Bench {
    pub(super) folder: tempfile::TempDir,
    pub(super) clock: Arc<ManualClock>,
    pub(super) identifier: Identifier,
    issuers: Vec<Issuer>,
    revocation: Revocation,
}

impl Bench {
    pub(super) async fn new() -> Self {
        Self::with(&jwks(&ALL.map(key)), |_| {}).await
    }

    pub(super) async fn with(set: &str, change: impl FnOnce(&mut Issuer)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwks.json");
        std::fs::write(&path, set).unwrap();
        let mut issuer = issuer(KeySource::File(path));
        change(&mut issuer);
        let clock = clock();
        let revocation = Revocation { file: Some(folder.path().join("revoked")) };
        let issuers = vec![issuer];
        let identifier = Identifier::start(&issuers, &revocation, clock.clone()).await.unwrap();
        Self { folder, clock, identifier, issuers, revocation }
    }

    /// Takes the key file as it is now, or says what is wrong with it.
    pub(super) async fn renew(&mut self) -> Result<(), Vec<(String, String)>> {
        self.identifier = self.identifier.renewed(&self.issuers).await?;
        Ok(())
    }

    /// Takes the revocations as they are now.
    pub(super) fn revoke(&mut self) -> Result<(), String> {
        self.identifier = self.identifier.revoking(&Revocations::read(&self.revocation)?).unwrap();
        Ok(())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) async fn ask(&self, token: &str) -> Result<Arc<Caller>, Refusal> {
        self.identifier.identify(&bearer(token), None).await.map(|known| known.caller)
    }
}
