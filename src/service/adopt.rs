//! Looks into the calls that replicas which died left without an end.
//!
//! Every living replica sees them; which one looks into a call they settle among themselves. Not here: what became of it
//! (`resolve`).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::inspect::read_entry;
use crate::pipeline::Pipeline;
use crate::store::Reader;

/// How often it is looked for.
const EVERY: Duration = Duration::from_secs(5);

/// Until `stop`.
pub(super) async fn follow(
    replica: String,
    pipeline: Arc<Pipeline>,
    reader: Reader,
    mut stop: watch::Receiver<bool>,
) {
    while tokio::time::timeout(EVERY, stop.wait_for(|stop| *stop)).await.is_err() {
        let left = match reader.left_by_the_dead(&replica).await {
            Ok(left) => left,
            Err(error) => {
                tracing::warn!(error = %error, "what other replicas left can't be read");
                continue;
            }
        };
        let now = pipeline.clock.now();
        for intent in left.iter().filter_map(|row| read_entry(row.entry.as_bytes()).ok()) {
            pipeline.auditor.remember(&intent, None, now);
            pipeline.resolver.look_into(&intent);
        }
    }
}
