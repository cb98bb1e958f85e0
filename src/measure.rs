//! What is counted and measured, by name; and how it is written for Prometheus.
//!
//! Label values come out of our own closed lists only (operations, refusals, stages): a client can't add a time
//! series, and no secret gets into one. Not here: when something is counted (`pipeline`, `audit`, `forward`).

use std::sync::Arc;
use std::time::Duration;

use metrics::{Unit, with_local_recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::operation::Operation;
use crate::refusal::Refusal;

/// Counter by `operation`, `decision` (`allow`, `deny`) and `status` (the class: `2xx`): calls answered.
pub const REQUESTS: &str = "tunnelwarden_requests_total";
/// Counter by `refusal`: calls refused, by the refusal's name.
pub const REFUSALS: &str = "tunnelwarden_refusals_total";
/// Counter by `refusal`: requests that got neither answer nor entry, because their address was told often enough.
pub const UNANSWERED: &str = "tunnelwarden_unanswered_total";
/// Histogram by `stage`: seconds in a stage.
pub const STAGE_SECONDS: &str = "tunnelwarden_stage_duration_seconds";
/// Histogram: seconds until an entry was durable.
pub const APPEND_SECONDS: &str = "tunnelwarden_audit_append_duration_seconds";
/// Counter: appends that failed.
pub const APPEND_FAILURES: &str = "tunnelwarden_audit_append_failures_total";
/// Histogram by `operation`: seconds until the upstream had answered.
pub const UPSTREAM_SECONDS: &str = "tunnelwarden_upstream_duration_seconds";
/// Gauge: connections open on the API listener.
pub const CONNECTIONS: &str = "tunnelwarden_connections";

/// Bounds of latencies in seconds: from a cached decision (some tens of microseconds) to the upstream's deadline,
/// by 1, 2.5 and 5 in each power of ten.
const SECONDS: [f64; 18] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0,
];

/// The stages that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[expect(missing_docs, reason = "each is the module of that name; `Intent` is recording one")]
pub enum Stage {
    Identify,
    Limit,
    Body,
    Authorize,
    State,
    Intent,
    Forward,
}

impl Stage {
    /// The name in metrics and in the record.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Holds what was counted. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    connections: Option<Arc<dyn Fn() -> usize + Send + Sync>>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics in which nothing is counted yet.
    #[must_use]
    pub fn new() -> Self {
        let builder = PrometheusBuilder::new();
        // The bounds are constants and not empty, which is all that the builder can object to.
        let builder = builder
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .unwrap_or_default();
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        with_local_recorder(&recorder, describe);
        Self { recorder: Arc::new(recorder), handle, connections: None }
    }

    /// The same, with a source for [`CONNECTIONS`], asked at each scrape.
    #[must_use]
    pub fn with_connections(mut self, open: impl Fn() -> usize + Send + Sync + 'static) -> Self {
        self.connections = Some(Arc::new(open));
        self
    }

    /// Sorts raw samples into their buckets. Must be called now and then: samples wait for it in memory.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// The text that Prometheus reads.
    #[must_use]
    pub fn render(&self) -> String {
        if let Some(open) = &self.connections {
            // More than 2^52 connections can't be: nothing is lost.
            let open = u32::try_from(open()).unwrap_or(u32::MAX);
            self.record(|| metrics::gauge!(CONNECTIONS).set(f64::from(open)));
        }
        // Histograms gather raw samples until somebody drains them.
        self.handle.run_upkeep();
        self.handle.render()
    }

    /// A call was answered with `status`; `allowed` by the policy or not.
    pub fn request(&self, operation: Option<Operation>, allowed: bool, status: http::StatusCode) {
        let operation = operation.map_or("none", Operation::name);
        let decision = if allowed { "allow" } else { "deny" };
        let class = match status.as_u16() / 100 {
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            5 => "5xx",
            _ => "other",
        };
        self.record(|| {
            let labels = [("operation", operation), ("decision", decision), ("status", class)];
            metrics::counter!(REQUESTS, &labels).increment(1);
        });
    }

    /// A call was refused.
    pub fn refusal(&self, refusal: &Refusal) {
        self.record(|| metrics::counter!(REFUSALS, "refusal" => refusal.name()).increment(1));
    }

    /// A refusal was neither answered nor recorded.
    pub fn unanswered(&self, refusal: &Refusal) {
        self.record(|| metrics::counter!(UNANSWERED, "refusal" => refusal.name()).increment(1));
    }

    /// A stage took so long.
    pub fn stage(&self, stage: Stage, took: Duration) {
        let stage: &'static str = stage.into();
        self.record(|| metrics::histogram!(STAGE_SECONDS, "stage" => stage).record(took.as_secs_f64()));
    }

    /// An entry took so long to be durable, or failed to become so.
    pub fn append(&self, took: Duration, good: bool) {
        self.record(|| {
            metrics::histogram!(APPEND_SECONDS).record(took.as_secs_f64());
            if !good {
                metrics::counter!(APPEND_FAILURES).increment(1);
            }
        });
    }

    /// The upstream took so long.
    pub fn upstream(&self, operation: Operation, took: Duration) {
        let name = operation.name();
        self.record(|| metrics::histogram!(UPSTREAM_SECONDS, "operation" => name).record(took.as_secs_f64()));
    }

    /// Lets `act` use the macros of `metrics` with these metrics and no global ones, so that two products can run
    /// in one test process.
    fn record(&self, act: impl FnOnce()) {
        with_local_recorder(&*self.recorder, act);
    }
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!(REQUESTS, "Calls answered, by operation, decision and class of status");
    describe_counter!(REFUSALS, "Calls refused, by the refusal's name");
    describe_counter!(UNANSWERED, "Requests without answer and record, from addresses that sent too many");
    describe_histogram!(STAGE_SECONDS, Unit::Seconds, "Time in a stage");
    describe_histogram!(APPEND_SECONDS, Unit::Seconds, "Time until an entry was durable");
    describe_counter!(APPEND_FAILURES, "Entries that could not be written");
    describe_histogram!(
        UPSTREAM_SECONDS,
        Unit::Seconds,
        "Time until the upstream had answered, by operation"
    );
    describe_gauge!(CONNECTIONS, "Connections open on the API listener");
}
