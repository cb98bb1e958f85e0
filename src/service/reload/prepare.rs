//! Reads the parts that changed, so that they only have to be put in place.
//!
//! Not here: which parts changed (`parts`), what becomes of it (`reload`).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Problem;
use super::parts::{Changes, Part};
use crate::authorize::{self, Authorizer};
use crate::config::Config;
use crate::forward::NewTokens;
use crate::identify::{Identifier, Revocations};
use crate::listen::{Certificate, NewCertificate};
use crate::pipeline::Rules;
use crate::service::why;

/// Parts that are good and not yet in force.
#[derive(Debug, Default)]
pub(super) struct Next {
    /// Whether it is all of the configuration, and not only what stands alone.
    pub(super) whole: bool,
    /// Those that were read. One of them may be as it was.
    pub(super) read: BTreeSet<Part>,
    /// Those that are other than what is in force.
    pub(super) parts: BTreeSet<Part>,
    pub(super) policy: Option<Arc<Authorizer>>,
    pub(super) identifier: Option<Arc<Identifier>>,
    pub(super) certificate: Option<NewCertificate>,
    pub(super) tokens: Option<NewTokens>,
}

impl Next {
    fn add(&mut self, part: Part) {
        self.read.insert(part);
        self.parts.insert(part);
    }

    /// Reads what calls are judged by.
    pub(super) async fn judging(
        &mut self,
        rules: &Rules,
        config: &Arc<Config>,
        changes: &Changes<'_>,
    ) -> Vec<Problem> {
        let mut wrong = Vec::new();
        for part in changes.parts.iter().copied().filter(|part| !part.stands_alone()) {
            match part {
                Part::Policy => match policy(Arc::clone(config)).await {
                    Ok(policy) => self.policy = Some(Arc::new(policy)),
                    Err(why) => wrong.push(Problem::of("policy.file", why)),
                },
                Part::Issuers => match rules.identifier.renewed(&config.issuers).await {
                    Ok(identifier) => self.identifier = Some(Arc::new(identifier)),
                    Err(all) => wrong.extend(all.into_iter().map(|(key, why)| Problem::of(&key, why))),
                },
                // They are in the configuration itself.
                Part::Limits | Part::Log => {}
                Part::Revocation | Part::Certificate | Part::UpstreamToken => continue,
            }
            self.add(part);
        }
        wrong
    }

    /// Reads what stands alone, each for itself.
    pub(super) async fn alone(
        &mut self,
        rules: &Rules,
        config: &Arc<Config>,
        certificate: Option<&Arc<Certificate>>,
        changes: &Changes<'_>,
    ) -> Vec<Problem> {
        let has = |part| changes.parts.contains(&part);
        let (config, certificate) = (Arc::clone(config), certificate.map(Arc::clone));
        let (revokes, tokens, pair) =
            (has(Part::Revocation), has(Part::UpstreamToken), has(Part::Certificate));
        // A network file system may block; the calls in this runtime must not wait for it.
        let read = tokio::task::spawn_blocking(move || {
            let tls = certificate.zip(config.listen.tls.as_ref()).filter(|_| pair);
            (
                revokes.then(|| Revocations::read(&config.revocation)),
                tokens.then(|| NewTokens::load(&config.upstream)),
                tls.map(|(certificate, files)| certificate.read(files)),
            )
        });
        let Ok((revocations, tokens, pair)) = read.await else {
            return vec![Problem::of("", "reading the files was broken off".to_owned())];
        };
        let mut wrong = Vec::new();
        match revocations {
            Some(Ok(revocations)) => {
                self.read.insert(Part::Revocation);
                let before = self.identifier.as_ref().unwrap_or(&rules.identifier);
                if let Some(identifier) = before.revoking(&revocations) {
                    self.identifier = Some(Arc::new(identifier));
                    self.parts.insert(Part::Revocation);
                }
            }
            Some(Err(why)) => wrong.push(Problem::of("revocation.file", why)),
            None => {}
        }
        match tokens {
            Some(Ok(tokens)) => {
                self.tokens = Some(tokens);
                self.add(Part::UpstreamToken);
            }
            Some(Err(all)) => wrong.extend(all.iter().map(|error| Problem::keyed(&error.to_string()))),
            None => {}
        }
        match pair {
            Some(Ok(pair)) => {
                self.certificate = Some(pair);
                self.add(Part::Certificate);
            }
            Some(Err((key, error))) => wrong.push(Problem::of(&format!("listen.{key}"), why(&error))),
            None => {}
        }
        wrong
    }
}

async fn policy(config: Arc<Config>) -> Result<Authorizer, String> {
    let read = tokio::task::spawn_blocking(move || {
        let text = authorize::read_policy(&config.policy.file)?;
        let all = |problems: Vec<_>| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        Authorizer::new(&text).map_err(|problems: Vec<authorize::PolicyProblem>| all(problems))
    });
    read.await.map_err(|e| e.to_string())?
}
