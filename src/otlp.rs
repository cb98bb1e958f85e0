//! Traces on their way to an OpenTelemetry collector: OTLP over HTTP, in protobuf.
//!
//! A call decides at its beginning whether its spans are told of, and hands itself over when it has its answer. That
//! is all that happens in its way: from there on one task makes spans, gathers and sends them. What the collector does
//! not take in time is dropped and counted, and nobody waits for it.
//!
//! The OpenTelemetry crates serve for the form of spans and of the request. Their batching is not used, as it counts
//! what it drops for itself alone, and neither are their retries, which put a thread to sleep.
//!
//! Not here: what is told of a call (`trace::Ended`), the form of a span (`otlp::spans`).

mod client;
mod spans;

use std::time::Duration;

use http::HeaderMap;
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::trace::SpanExporter as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config;
use crate::measure::{Dropped, Metrics};
use crate::trace::parent::Parent;
use crate::trace::{Context, Ended};

/// Calls that wait to be sent, of about 300 bytes each: two seconds of a thousand calls a second.
const WAITING: usize = 2048;

/// Calls in one request to the collector: of ten spans each, which makes about 1 MiB.
const BATCH: usize = 512;

/// How long a call waits for company.
const GATHER: Duration = Duration::from_millis(500);

/// Between two lines in the log while the collector takes nothing.
const COMPLAIN_EVERY: Duration = Duration::from_mins(1);

/// Decides which calls are told of, and takes them when they have ended.
#[derive(Debug)]
pub struct Exporter {
    queue: mpsc::Sender<Ended>,
    sampled_percent: u32,
    follows_clients: bool,
    metrics: Metrics,
}

/// The task that sends.
#[derive(Debug)]
pub struct Sending {
    stop: watch::Sender<bool>,
    sent: JoinHandle<()>,
}

impl Sending {
    /// Sends what waits, for as long as that, and ends.
    pub async fn end(self, patience: Duration) {
        self.stop.send_replace(true);
        let sent = self.sent;
        let stopping = sent.abort_handle();
        if tokio::time::timeout(patience, sent).await.is_err() {
            tracing::warn!("the last spans did not get to the collector in time");
            stopping.abort();
        }
    }
}

/// Starts to export, if the configuration says where to.
///
/// # Errors
/// Roots that can't be used, or variables of OpenTelemetry's that ask for what is not built in.
pub fn start(
    config: &config::Trace,
    instance: &str,
    metrics: &Metrics,
) -> Result<Option<(Exporter, Sending)>, String> {
    let Some(endpoint) = &config.otlp_endpoint else { return Ok(None) };
    let mut spans = exporter(config, endpoint)?;
    spans.set_resource(&spans::resource(instance));
    let (queue, calls) = mpsc::channel(WAITING);
    let worker = Worker { calls, spans, timeout: config.timeout, metrics: metrics.clone(), complained: None };
    let exporter = Exporter {
        queue,
        sampled_percent: config.sampled_percent,
        follows_clients: config.follows_clients,
        metrics: metrics.clone(),
    };
    let (stop, stopped) = watch::channel(false);
    Ok(Some((exporter, Sending { stop, sent: tokio::spawn(worker.run(stopped)) })))
}

/// What is wrong with the section, without starting anything.
#[must_use]
pub fn check(config: &config::Trace) -> Option<String> {
    exporter(config, config.otlp_endpoint.as_ref()?).err()
}

/// What writes spans down and sends them. It takes headers for the collector, which may be secrets, from the variable
/// that OpenTelemetry has for them.
fn exporter(config: &config::Trace, endpoint: &http::Uri) -> Result<SpanExporter, String> {
    let client = client::Collector::new(endpoint, config.ca_file.as_deref(), config.timeout)?;
    SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", endpoint.to_string().trim_end_matches('/')))
        .with_timeout(config.timeout)
        .with_retry_policy(RetryPolicy::disabled())
        .build()
        .map_err(|e| e.to_string())
}

impl Exporter {
    /// A call's place in its trace. A trace that its client does not tell of is not told of here; one that it does tell
    /// of is told of as often as any other: the choice is made by chance, not by the trace's id, which the client
    /// chooses. `None` where there is no chance to be had.
    #[must_use]
    pub fn begin(&self, headers: &HeaderMap) -> Option<Context> {
        let mut chance = [0u8; 40];
        aws_lc_rs::rand::fill(&mut chance).ok()?;
        let (ids, drawn) = chance.split_first_chunk::<32>()?;
        let (trace, span) = ids.split_first_chunk::<16>()?;
        let ids = [u128::from_be_bytes(*trace), u128::from_be_bytes(span.try_into().ok()?)];
        let drawn = u64::from_be_bytes(drawn.try_into().ok()?) % 100;
        let parent = Parent::read(headers);
        let by_chance = drawn < u64::from(self.sampled_percent);
        let is_sampled = match parent {
            Some(parent) => parent.is_sampled && (by_chance || self.follows_clients),
            None => by_chance,
        };
        Some(Context::new(parent, ids, is_sampled))
    }

    /// Takes a call that has ended, or drops it at once.
    pub fn end(&self, call: Ended) {
        if !call.context.is_sampled {
            return;
        }
        if let Err(refused) = self.queue.try_send(call) {
            let (mpsc::error::TrySendError::Full(call) | mpsc::error::TrySendError::Closed(call)) = refused;
            self.metrics.dropped(Dropped::QueueFull, spans::count(&call));
        }
    }
}

struct Worker {
    calls: mpsc::Receiver<Ended>,
    spans: SpanExporter,
    timeout: Duration,
    metrics: Metrics,
    /// When the log was last told that the collector takes nothing.
    complained: Option<Instant>,
}

impl Worker {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut stopped = false;
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                () = gather(&mut self.calls, &mut batch) => {}
                _ = stop.wait_for(|stop| *stop), if !stopped => {
                    stopped = true;
                    self.calls.close();
                }
            }
            if !batch.is_empty() {
                self.send(&batch).await;
            } else if stopped && self.calls.is_empty() {
                return;
            }
        }
    }

    async fn send(&mut self, calls: &[Ended]) {
        let spans: Vec<_> = calls.iter().flat_map(spans::of).collect();
        let count = spans.len();
        let sent = tokio::time::timeout(self.timeout, self.spans.export(spans)).await;
        let why = match sent {
            Ok(Ok(())) => {
                self.metrics.exported(count);
                if self.complained.take().is_some() {
                    tracing::info!("the collector takes spans again");
                }
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} ms", self.timeout.as_millis()),
        };
        self.metrics.dropped(Dropped::ExportFailed, count);
        let now = Instant::now();
        if self.complained.is_none_or(|last| now.duration_since(last) >= COMPLAIN_EVERY) {
            self.complained = Some(now);
            tracing::warn!(error = why, "the collector does not take spans; they are dropped and counted");
        }
    }
}

/// Takes calls: those that come within a while of the first. Whenever it is dropped, what it has taken is in `batch`.
async fn gather(calls: &mut mpsc::Receiver<Ended>, batch: &mut Vec<Ended>) {
    calls.recv_many(batch, BATCH).await;
    let company =
        async { while batch.len() < BATCH && calls.recv_many(batch, BATCH - batch.len()).await > 0 {} };
    let _ = tokio::time::timeout(GATHER, company).await;
}

#[cfg(test)]
mod tests;
