//! All that would keep the proxy from starting or from serving, found without starting it.
//!
//! The upstream is asked whether it takes each token. Not here: what is wrong within the configuration (`config`),
//! each check itself (the module that would stumble).

use std::sync::Arc;
use std::time::Duration;

use super::{keys, why};
use crate::clock::{Clock, Ids};
use crate::config::Config;
use crate::forward::{Upstream, Verdict};
use crate::limit::Budget;
use crate::measure::Metrics;
use crate::{authorize, forward, identify, listen, otlp, store};

/// How long the upstream is waited for: a person waits too.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is wrong, each with its key path.
#[derive(Debug, Default)]
pub struct Findings {
    /// What keeps the proxy from starting or from serving.
    pub problems: Vec<(String, String)>,
    /// What could not be found out from here.
    pub warnings: Vec<(String, String)>,
}

/// Looks at everything that a configuration names.
pub async fn check(mut config: Config, clock: Arc<dyn Clock>) -> Findings {
    let mut problems = authorize::check(&config.policy.file);
    problems.extend(identify::check(&config.issuers, &config.revocation));
    problems.extend(keys::check_keys(&config.audit));
    let audit = store::check(&config.audit.database, &config.audit.checkpoint_files);
    if audit.is_empty()
        && let Some(what) = record(&config).await
    {
        problems.push(("audit.database".to_owned(), what));
    }
    problems.extend(audit.into_iter().map(|(key, what)| (format!("audit.{key}"), what)));
    let tls = config.listen.tls.as_ref().and_then(listen::check);
    problems.extend(tls.map(|(key, error)| (format!("listen.{key}"), why(&error))));
    problems.extend(otlp::check(&config.trace).map(|what| ("trace".to_owned(), what)));
    let upstream = forward::check(&config.upstream);
    let mut findings = Findings { problems, warnings: Vec::new() };
    if upstream.is_empty() {
        config.upstream.read_timeout = config.upstream.read_timeout.min(PATIENCE);
        ask(&config, clock, &mut findings).await;
    }
    findings.problems.extend(upstream.iter().map(|error| keyed(error.to_string())));
    findings
}

/// What is wrong with the record that is there, if its key can be read.
async fn record(config: &Config) -> Option<String> {
    let verifier = keys::signer(&config.audit).ok()?.verifier().ok()?;
    store::check_record(&config.audit.database, &verifier).await.err().map(|error| why(&error))
}

/// Asks the upstream about our tokens. One that it refuses would fail every call; an upstream that is away now may
/// be there when it is needed.
async fn ask(config: &Config, clock: Arc<dyn Clock>, findings: &mut Findings) {
    let upstream = match Upstream::start(&config.upstream, Arc::clone(&clock), Metrics::new()) {
        Ok(upstream) => upstream,
        Err(error) => return findings.problems.push(keyed(error.to_string())),
    };
    let budget = Budget::new(&config.limits.upstream_budget, Arc::clone(&clock), None);
    let ids = Ids::new(clock);
    for account in upstream.accounts() {
        let Ok(taken) = budget.take_own().await else { return };
        match upstream.verify_token(&taken, account, ids.next()).await {
            Verdict::Good => {}
            Verdict::Refused(what) => findings.problems.push(keyed(what)),
            Verdict::Unanswered(what) | Verdict::Unasked(what) => findings.warnings.push(keyed(what)),
        }
    }
}

/// A sentence that begins with its key path, taken apart.
pub(super) fn keyed(told: String) -> (String, String) {
    let (key, what) = told.split_once(": ").unwrap_or(("upstream", &told));
    (key.to_owned(), what.to_owned())
}
