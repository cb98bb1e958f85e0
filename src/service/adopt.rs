//! Looks into the calls that replicas which died left without an end.
//!
//! Every living replica sees them; which one looks into a call they settle among themselves. Not here: what became of it
//! (`resolve`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::inspect::read_entry;
use crate::pipeline::Pipeline;
use crate::store::{ReadError, Reader};

/// How often it is looked for.
const EVERY: Duration = Duration::from_secs(5);

/// Until `stop`.
pub(super) async fn follow(
    replica: String,
    pipeline: Arc<Pipeline>,
    reader: Reader,
    mut stop: watch::Receiver<bool>,
) {
    // The logs in which nothing was left, with the entries that they had then.
    let mut clean: HashMap<String, u64> = HashMap::new();
    while tokio::time::timeout(EVERY, stop.wait_for(|stop| *stop)).await.is_err() {
        if let Err(error) = look(&replica, &pipeline, &reader, &mut clean).await {
            tracing::warn!(error = %error, "what other replicas left can't be read");
        }
    }
}

async fn look(
    replica: &str,
    pipeline: &Pipeline,
    reader: &Reader,
    clean: &mut HashMap<String, u64>,
) -> Result<(), ReadError> {
    for (name, size) in reader.dead(replica).await? {
        if clean.get(&name) == Some(&size) {
            continue;
        }
        let Ok(of_it) = reader.of_replica(&name) else { continue };
        let mut left = of_it.intents_without_outcome(of_it.ended_before().await?).await?;
        left.extend(of_it.intents_ambiguous().await?);
        if left.is_empty() {
            clean.insert(name, size);
            continue;
        }
        let now = pipeline.clock.now();
        for intent in left.iter().filter_map(|row| read_entry(row.entry.as_bytes()).ok()) {
            pipeline.auditor.remember(&intent, None, now);
            pipeline.resolver.look_into(&intent);
        }
    }
    Ok(())
}
