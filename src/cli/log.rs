//! The trace log: for those who run the process. It goes to standard error and is never the record.

use tracing_subscriber::EnvFilter;

use crate::config::Log;

/// Starts it, once a process.
///
/// # Errors
/// A filter that can't be read.
pub fn start(log: &Log) -> Result<(), String> {
    let filter = EnvFilter::try_new(&log.filter).map_err(|e| format!("log.filter: {e}"))?;
    let log_builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process keeps the first.
    let _ = if log.json { log_builder.json().try_init() } else { log_builder.try_init() };
    Ok(())
}
