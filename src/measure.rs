//! What is counted and measured, by name; and how it is written for Prometheus.
//!
//! Label values come out of our own closed lists (operations, refusals, stages) and the configuration (issuers): a
//! client can't add a time series, and no secret gets into one. Not here: when something is counted (`pipeline`,
//! `audit`, `forward`), what is only looked at when somebody asks (`measure::states`).

pub mod states;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use metrics::{Counter, Histogram, Unit, with_local_recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use strum::EnumCount as _;

use crate::operation::Operation;
use crate::refusal::Refusal;

use states::States;

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
/// Histogram: entries in a commit of the record.
pub const BATCH_ENTRIES: &str = "tunnelwarden_audit_batch_entries";
/// Histogram: seconds of a commit of the record.
pub const COMMIT_SECONDS: &str = "tunnelwarden_audit_commit_duration_seconds";
/// Histogram by `operation`, `verify_token` among them: seconds of an exchange with the upstream, be it a call's own
/// or one that reads a state.
pub const UPSTREAM_SECONDS: &str = "tunnelwarden_upstream_duration_seconds";
/// Counter: spans that the collector took.
pub const SPANS_EXPORTED: &str = "tunnelwarden_trace_spans_exported_total";
/// Counter by `reason` (`queue_full`, `export_failed`): spans that the collector did not get.
pub const SPANS_DROPPED: &str = "tunnelwarden_trace_spans_dropped_total";
/// Counter by `result` (`taken`, `refused`): changes of the configuration or of a file that it names.
pub const RELOADS: &str = "tunnelwarden_reloads_total";
const TAKEN: &str = "taken";
const REFUSED: &str = "refused";

/// Bounds of latencies in seconds: from a cached decision (some tens of microseconds) to the upstream's deadline,
/// by 1, 2.5 and 5 in each power of ten.
const SECONDS: [f64; 18] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0,
];

/// Bounds of entries in a commit: powers of two, to the most that the writer takes.
const ENTRIES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// The stages that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::EnumCount)]
#[strum(serialize_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "each is the module of that name; `Intent` and `Outcome` are recording one, `Outcome` is also recording a refusal"
)]
pub enum Stage {
    Listen,
    Identify,
    Limit,
    Body,
    Authorize,
    State,
    Intent,
    Forward,
    Outcome,
}

/// Why spans did not get to the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Dropped {
    /// More came than the collector took.
    QueueFull,
    /// The collector did not take them.
    ExportFailed,
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
    series: Arc<Series>,
    handle: PrometheusHandle,
    states: Option<Arc<dyn Fn() -> States + Send + Sync>>,
}

/// The series that every call adds to, looked up once: looking one up by its name and labels costs more than
/// adding to it. Each comes into being when something is counted in it.
#[derive(Default)]
struct Series {
    requests: [[[OnceLock<Counter>; CLASSES.len()]; 2]; OPERATIONS],
    stages: [OnceLock<Histogram>; Stage::COUNT],
    append: OnceLock<Histogram>,
    commit: OnceLock<(Histogram, Histogram)>,
    upstream: RwLock<BTreeMap<&'static str, Histogram>>,
}

/// All operations, and none.
const OPERATIONS: usize = Operation::ALL.len() + 1;

/// Classes of status.
const CLASSES: [&str; 5] = ["other", "2xx", "3xx", "4xx", "5xx"];

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
            .and_then(|builder| {
                builder.set_buckets_for_metric(Matcher::Full(BATCH_ENTRIES.to_owned()), &ENTRIES)
            })
            .unwrap_or_default();
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        with_local_recorder(&recorder, || {
            describe();
            begin();
        });
        Self { recorder: Arc::new(recorder), series: Arc::default(), handle, states: None }
    }

    /// The same, with a source for what is a state and no sum, asked at each scrape.
    #[must_use]
    pub fn with_states(mut self, look: impl Fn() -> States + Send + Sync + 'static) -> Self {
        self.states = Some(Arc::new(look));
        self
    }

    /// Sorts raw samples into their buckets. Must be called now and then: samples wait for it in memory.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// The text that Prometheus reads.
    #[must_use]
    pub fn render(&self) -> String {
        if let Some(look) = &self.states {
            let states = look();
            self.record(|| states.set());
        }
        // Histograms gather raw samples until somebody drains them.
        self.handle.run_upkeep();
        self.handle.render()
    }

    /// A call was answered with `status`; `allowed` by the policy or not.
    pub fn request(&self, operation: Option<Operation>, allowed: bool, status: http::StatusCode) {
        let class = match status.as_u16() / 100 {
            class @ 2..=5 => usize::from(class) - 1,
            _ => 0,
        };
        let by_decision =
            self.series.requests.get(place(operation)).and_then(|of| of.get(usize::from(allowed)));
        let Some(series) = by_decision.and_then(|of| of.get(class)) else { return };
        let counter = series.get_or_init(|| {
            let operation = operation.map_or("none", Operation::name);
            let decision = if allowed { "allow" } else { "deny" };
            let class = CLASSES.get(class).copied().unwrap_or_default();
            let labels = [("operation", operation), ("decision", decision), ("status", class)];
            self.record(|| metrics::counter!(REQUESTS, &labels))
        });
        counter.increment(1);
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
        let Some(series) = self.series.stages.get(stage as usize) else { return };
        let name = stage.name();
        let histogram =
            series.get_or_init(|| self.record(|| metrics::histogram!(STAGE_SECONDS, "stage" => name)));
        histogram.record(took.as_secs_f64());
    }

    /// An entry took so long to be durable, or failed to become so.
    pub fn append(&self, took: Duration, good: bool) {
        let histogram =
            self.series.append.get_or_init(|| self.record(|| metrics::histogram!(APPEND_SECONDS)));
        histogram.record(took.as_secs_f64());
        if !good {
            self.record(|| metrics::counter!(APPEND_FAILURES).increment(1));
        }
    }

    /// A commit stored so many entries, and took so long.
    pub fn commit(&self, entries: usize, took: Duration) {
        let (batch, seconds) = self.series.commit.get_or_init(|| {
            self.record(|| (metrics::histogram!(BATCH_ENTRIES), metrics::histogram!(COMMIT_SECONDS)))
        });
        batch.record(states::count(entries));
        seconds.record(took.as_secs_f64());
    }

    /// The collector took so many spans.
    pub fn exported(&self, spans: usize) {
        self.record(|| metrics::counter!(SPANS_EXPORTED).increment(whole(spans)));
    }

    /// The collector did not get so many spans.
    pub fn dropped(&self, reason: Dropped, spans: usize) {
        let reason: &'static str = reason.into();
        self.record(|| metrics::counter!(SPANS_DROPPED, "reason" => reason).increment(whole(spans)));
    }

    /// A change of the configuration, or of a file that it names, was put in force or not.
    pub fn reload(&self, taken: bool) {
        let result = if taken { TAKEN } else { REFUSED };
        self.record(|| metrics::counter!(RELOADS, "result" => result).increment(1));
    }

    /// An exchange with the upstream took so long, answered or not. `name` is an operation's or one of our own.
    pub fn upstream(&self, name: &'static str, took: Duration) {
        let known = |series: &BTreeMap<&str, Histogram>| {
            series.get(name).map(|histogram| histogram.record(took.as_secs_f64())).is_some()
        };
        if known(&self.series.upstream.read().unwrap_or_else(PoisonError::into_inner)) {
            return;
        }
        let histogram = self.record(|| metrics::histogram!(UPSTREAM_SECONDS, "operation" => name));
        histogram.record(took.as_secs_f64());
        self.series.upstream.write().unwrap_or_else(PoisonError::into_inner).insert(name, histogram);
    }

    /// Lets `act` use the macros of `metrics` with these metrics and no global ones, so that two products can run
    /// in one test process.
    fn record<T>(&self, act: impl FnOnce() -> T) -> T {
        with_local_recorder(&*self.recorder, act)
    }
}

fn place(operation: Option<Operation>) -> usize {
    operation.map_or(0, |operation| operation as usize + 1)
}

fn whole(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Counters are there from the start, at 0, where it is known what they count: a first count is then a rise, too.
fn begin() {
    metrics::counter!(APPEND_FAILURES).absolute(0);
    metrics::counter!(SPANS_EXPORTED).absolute(0);
    for reason in [Dropped::QueueFull, Dropped::ExportFailed] {
        let reason: &'static str = reason.into();
        metrics::counter!(SPANS_DROPPED, "reason" => reason).absolute(0);
    }
    let told_often_enough = Refusal::AddressLimited { retry_after: Duration::ZERO };
    let too_slow = Refusal::Overloaded { retry_after: Duration::ZERO };
    for refusal in [told_often_enough, too_slow] {
        metrics::counter!(UNANSWERED, "refusal" => refusal.name()).absolute(0);
    }
    for result in [TAKEN, REFUSED] {
        metrics::counter!(RELOADS, "result" => result).absolute(0);
    }
}

fn describe() {
    use metrics::{describe_counter, describe_histogram};
    describe_counter!(REQUESTS, "Calls answered, by operation, decision and class of status");
    describe_counter!(REFUSALS, "Calls refused, by the refusal's name");
    describe_counter!(
        UNANSWERED,
        "Requests without answer and record, from addresses that sent too many, or that the record is too slow for"
    );
    describe_histogram!(STAGE_SECONDS, Unit::Seconds, "Time in a stage");
    describe_histogram!(APPEND_SECONDS, Unit::Seconds, "Time until an entry was durable");
    describe_counter!(APPEND_FAILURES, "Entries that could not be written");
    describe_histogram!(
        UPSTREAM_SECONDS,
        Unit::Seconds,
        "Time of an exchange with the upstream, by operation"
    );
    describe_histogram!(BATCH_ENTRIES, Unit::Count, "Entries in a commit of the record");
    describe_histogram!(
        COMMIT_SECONDS,
        Unit::Seconds,
        "Time of a commit of the record, until it was on disk"
    );
    describe_counter!(SPANS_EXPORTED, "Spans that the collector took");
    describe_counter!(SPANS_DROPPED, "Spans that the collector did not get, by reason");
    describe_counter!(RELOADS, "Changes of the configuration or of a file that it names, by result");
    states::describe();
}
