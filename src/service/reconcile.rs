//! Compares the record with the upstream's audit logs again and again, and records what is found.
//!
//! Not here: the comparison (`reconcile`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::{StartError, failed};
use crate::clock::{Clock, Ids};
use crate::config::Config;
use crate::entry::Kind;
use crate::forward::Upstream;
use crate::limit::Budget;
use crate::measure::Metrics;
use crate::pipeline::Pipeline;
use crate::reconcile::{OfAccount, Reconciler, Report};
use crate::store::Reader;

/// What the last run could not read.
pub(super) type Warnings = Arc<Mutex<Vec<String>>>;

/// One that stands alone, with an upstream client and a budget of its own: it reads the record and can't write to it.
///
/// # Errors
/// The upstream client can't be prepared, or the record can't be read.
pub async fn reconciler(config: &Config, clock: Arc<dyn Clock>) -> Result<Reconciler, StartError> {
    let upstream = Upstream::start(&config.upstream, Arc::clone(&clock), Metrics::new())
        .map_err(failed("preparing the upstream client"))?;
    let budget = Budget::new(&config.limits.upstream_budget, Arc::clone(&clock), None);
    let reader = Reader::open(&config.audit.database).await.map_err(failed("reading the audit store"))?;
    let ids = Arc::new(Ids::new(Arc::clone(&clock)));
    Ok(Reconciler::new(Arc::new(upstream), budget, reader, ids, clock, config))
}

/// Starts it, where it is configured.
pub(super) fn start(
    config: &Config,
    pipeline: &Arc<Pipeline>,
    reader: Reader,
    stop: watch::Receiver<bool>,
) -> Warnings {
    let warnings = Warnings::default();
    if let Some(every) = config.audit.reconcile.every {
        let (upstream, budget) = (Arc::clone(&pipeline.upstream), pipeline.budget.clone());
        let (ids, clock) = (Arc::clone(&pipeline.ids), Arc::clone(&pipeline.clock));
        let reconciler = Reconciler::new(upstream, budget, reader, ids, clock, config);
        tokio::spawn(repeat(reconciler, Arc::clone(pipeline), every, Arc::clone(&warnings), stop));
    }
    warnings
}

async fn repeat(
    reconciler: Reconciler,
    pipeline: Arc<Pipeline>,
    every: Duration,
    warnings: Warnings,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let told = tokio::select! {
            told = once(&reconciler, &pipeline) => told,
            // Nothing is lost with a run that is broken off: the next one begins where the last whole one ended.
            _ = stop.wait_for(|stop| *stop) => return,
        };
        *warnings.lock().unwrap_or_else(PoisonError::into_inner) = told;
        if tokio::time::timeout(every, stop.wait_for(|stop| *stop)).await.is_ok() {
            return;
        }
    }
}

/// Compares once and records it; what could not be read.
async fn once(reconciler: &Reconciler, pipeline: &Pipeline) -> Vec<String> {
    let report = match reconciler.run(None, &mut |_| {}).await {
        Ok(report) => report,
        Err(error) => {
            tracing::warn!(error = %error, "the record could not be compared with the upstream's audit logs");
            return vec![format!("the record could not be compared with the upstream's audit logs: {error}")];
        }
    };
    for members in report.entries() {
        if let Err(refusal) = pipeline.auditor.note(Kind::Reconciled, members).await {
            tracing::warn!(refusal.name = refusal.name(), "a comparison could not be recorded");
            return vec!["a comparison with the upstream's audit logs could not be recorded".to_owned()];
        }
    }
    tell(&report);
    report.accounts.iter().filter_map(unread).collect()
}

/// One line for each new finding, so that who watches the log sees it at once.
fn tell(report: &Report) {
    for found in report.new_findings() {
        let tunnels: Vec<&str> = found.tunnels.iter().map(|named| named.id.as_str()).collect();
        tracing::warn!(
            finding.what = found.what.name(),
            finding.key = %found.key,
            finding.account = %found.account,
            finding.tunnels = %tunnels.join(" "),
            "the upstream and the record do not fit together; `tunnelwarden audit reconcile` tells more"
        );
    }
}

fn unread(of: &OfAccount) -> Option<String> {
    let account = of.account;
    let hole = of.holes.first().map(|hole| {
        format!(
            "the upstream's audit logs of account {account} could not be read since {}: {}",
            hole.span.since, hole.why
        )
    });
    let keys = || {
        Some(format!("the keys of account {account} could not be looked at: {}", of.keys_unread.as_ref()?))
    };
    hole.or_else(keys)
}
