//! What is a state and no sum: looked at when somebody asks, so that no call pays for it.
//!
//! Not here: where the states come from (`service::observe`), what is counted call by call (`measure`).

use std::time::Duration;

use metrics::{counter, gauge};

/// Gauge, always 1, by `version`.
pub const BUILD_INFO: &str = "tunnelwarden_build_info";
/// Gauge: connections open on the API listener.
pub const CONNECTIONS: &str = "tunnelwarden_connections";
/// Counter by `reason`: connections of the API listener that ended before anything could be asked on them.
pub const CONNECTIONS_FAILED: &str = "tunnelwarden_connections_failed_total";
/// Gauge: appends that wait for the writer of the record.
pub const QUEUE_APPENDS: &str = "tunnelwarden_audit_queue_appends";
/// Gauge: bytes of entries that wait for the writer or are being written.
pub const QUEUE_BYTES: &str = "tunnelwarden_audit_queue_bytes";
/// Gauge: entries of the record.
pub const RECORD_ENTRIES: &str = "tunnelwarden_audit_entries";
/// Gauge: 1 while the record can be written, and so calls are served; else 0.
pub const WRITABLE: &str = "tunnelwarden_audit_writable";
/// Gauge: ends of calls that the record could not take yet.
pub const OWED: &str = "tunnelwarden_audit_owed_entries";
/// Gauge: seconds since a checkpoint was stored; since the start, where none was.
pub const CHECKPOINT_AGE: &str = "tunnelwarden_audit_checkpoint_age_seconds";
/// Gauge by `file`, its place in `audit.checkpoint_file` from 0 on: seconds since it was written; since the start,
/// where it was not.
pub const CHECKPOINT_FILE_AGE: &str = "tunnelwarden_audit_checkpoint_file_age_seconds";
/// Gauge: calls whose outcome is not known yet.
pub const UNRESOLVED: &str = "tunnelwarden_unresolved_intents";
/// Gauge: seconds since the intent of the oldest of them; 0 without any.
pub const UNRESOLVED_AGE: &str = "tunnelwarden_unresolved_intents_oldest_age_seconds";
/// Gauge: upstream calls that may be made at once.
pub const BUDGET_LEFT: &str = "tunnelwarden_upstream_budget_remaining";
/// Gauge: upstream calls that the configuration allows in a window.
pub const BUDGET_LIMIT: &str = "tunnelwarden_upstream_budget_limit";
/// Gauge by `issuer`: seconds since its keys were confirmed by their source; since the start, where they never were.
pub const JWKS_AGE: &str = "tunnelwarden_jwks_age_seconds";
/// Gauge by `issuer`: 1 where there are keys to verify with, be they old; else 0.
pub const JWKS_USABLE: &str = "tunnelwarden_jwks_usable";

/// How everything is at one moment.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each field is the gauge of its name, above")]
pub struct States {
    pub connections: usize,
    /// By reason.
    pub connections_failed: Vec<(&'static str, u64)>,
    pub queue_appends: usize,
    pub queue_bytes: usize,
    pub record_entries: u64,
    pub is_writable: bool,
    pub owed: usize,
    pub checkpoint_age: Duration,
    pub checkpoint_file_ages: Vec<Duration>,
    pub unresolved: usize,
    pub unresolved_age: Duration,
    pub budget_left: u32,
    pub budget_limit: u32,
    pub issuers: Vec<IssuerKeys>,
}

/// How the keys of one issuer are.
#[derive(Clone, Debug)]
pub struct IssuerKeys {
    /// The issuer, as it is configured.
    pub issuer: String,
    /// Since its keys were confirmed.
    pub age: Duration,
    /// Whether there are any.
    pub is_usable: bool,
}

impl States {
    /// Sets the gauges of the recorder in scope.
    pub(super) fn set(&self) {
        gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        gauge!(CONNECTIONS).set(count(self.connections));
        for (reason, failed) in &self.connections_failed {
            counter!(CONNECTIONS_FAILED, "reason" => *reason).absolute(*failed);
        }
        gauge!(QUEUE_APPENDS).set(count(self.queue_appends));
        gauge!(QUEUE_BYTES).set(count(self.queue_bytes));
        gauge!(RECORD_ENTRIES).set(count(usize::try_from(self.record_entries).unwrap_or(usize::MAX)));
        gauge!(WRITABLE).set(yes(self.is_writable));
        gauge!(OWED).set(count(self.owed));
        gauge!(CHECKPOINT_AGE).set(self.checkpoint_age.as_secs_f64());
        for (file, age) in self.checkpoint_file_ages.iter().enumerate() {
            gauge!(CHECKPOINT_FILE_AGE, "file" => file.to_string()).set(age.as_secs_f64());
        }
        gauge!(UNRESOLVED).set(count(self.unresolved));
        gauge!(UNRESOLVED_AGE).set(self.unresolved_age.as_secs_f64());
        gauge!(BUDGET_LEFT).set(f64::from(self.budget_left));
        gauge!(BUDGET_LIMIT).set(f64::from(self.budget_limit));
        for keys in &self.issuers {
            gauge!(JWKS_AGE, "issuer" => keys.issuer.clone()).set(keys.age.as_secs_f64());
            gauge!(JWKS_USABLE, "issuer" => keys.issuer.clone()).set(yes(keys.is_usable));
        }
    }
}

/// A count as Prometheus has numbers. There is no lossless way from `u64`, and none needed: nothing here comes near
/// the 2^32 at which this stops counting.
pub(super) fn count(count: usize) -> f64 {
    u32::try_from(count).unwrap_or(u32::MAX).into()
}

fn yes(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

pub(super) fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge};
    describe_gauge!(BUILD_INFO, "Always 1; which version runs");
    describe_gauge!(CONNECTIONS, "Connections open on the API listener");
    describe_counter!(
        CONNECTIONS_FAILED,
        "Connections of the API listener that ended before anything could be asked on them"
    );
    describe_gauge!(QUEUE_APPENDS, "Appends that wait for the writer of the record");
    describe_gauge!(
        QUEUE_BYTES,
        Unit::Bytes,
        "Entries that wait for the writer or are being written, in bytes"
    );
    describe_gauge!(RECORD_ENTRIES, "Entries of the record");
    describe_gauge!(WRITABLE, "Whether the record can be written, and so calls are served");
    describe_gauge!(OWED, "Ends of calls that the record could not take yet");
    describe_gauge!(CHECKPOINT_AGE, Unit::Seconds, "Time since a checkpoint was stored");
    describe_gauge!(
        CHECKPOINT_FILE_AGE,
        Unit::Seconds,
        "Time since a checkpoint file was written, by its place in audit.checkpoint_file"
    );
    describe_gauge!(UNRESOLVED, "Calls whose outcome is not known yet");
    describe_gauge!(UNRESOLVED_AGE, Unit::Seconds, "Age of the oldest call whose outcome is not known yet");
    describe_gauge!(BUDGET_LEFT, "Upstream calls that may be made at once");
    describe_gauge!(BUDGET_LIMIT, "Upstream calls that are allowed in a window");
    describe_gauge!(JWKS_AGE, Unit::Seconds, "Time since an issuer's keys were confirmed by their source");
    describe_gauge!(JWKS_USABLE, "Whether there are keys of an issuer to verify with");
}
