//! The trace log: for those who run the process. It goes to standard error and is never the record.
//!
//! Whatever the filter says, the libraries below us tell no more than [`LIBRARIES`]: beyond it they quote what
//! they were sent. `h2` at `debug` writes a path or an authority that it can't read, with the secrets in it. For the
//! same reason a panic is told by its place alone: its text may quote what was worked on. Not here: which ids stand on
//! a line (`log::lines`).

mod lines;

use std::io::Write as _;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, reload};

use crate::config::Log;

use lines::WithIds;

/// The most that code other than ours may tell: up to it libraries speak of themselves, not of their data.
const LIBRARIES: Level = Level::INFO;

/// Puts another filter in the place of the first.
pub type Refilter = Box<dyn Fn(&str) + Send + Sync>;

/// Starts it, once a process; with colours where a person reads it.
///
/// # Errors
/// A filter that can't be read.
pub fn start(log: &Log, colors: bool) -> Result<Refilter, String> {
    let filter = EnvFilter::try_new(&log.filter).map_err(|e| format!("log.filter: {e}"))?;
    let (filter, handle) = reload::Layer::new(filter);
    let log_builder = tracing_subscriber::registry().with(filter).with(filter_fn(may_be_told));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colors);
    // A second start in one process keeps the first.
    let _ = if log.json {
        let form = WithIds { lines: fmt::format().json(), json: true };
        log_builder.with(lines.json().event_format(form)).try_init()
    } else {
        let form = WithIds { lines: fmt::format().with_ansi(colors), json: false };
        log_builder.with(lines.event_format(form)).try_init()
    };
    Ok(Box::new(move |filter| {
        let put = |filter| handle.reload(filter).map_err(|e| e.to_string());
        if let Err(error) = EnvFilter::try_new(filter).map_err(|e| e.to_string()).and_then(put) {
            tracing::warn!(error, "the log's filter stays as it was");
        }
    }))
}

/// From here on a panic is told by its place alone: in the log, or before there is one, in a line on standard error. One of the
/// main thread ends the program, with 1: where the system has no more threads the runtime panics while it begins, and on its way
/// out waits forever for those that it has.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location();
        if tracing::dispatcher::has_been_set() {
            tracing::error!(panic.place = place.map(tracing::field::display), "a panic");
        } else {
            // Where even this can't be written, the exit code still tells.
            let _ = match place {
                Some(place) => writeln!(
                    std::io::stderr(),
                    "error: a fault of the program itself, at {place}; or the system has no memory or thread left for it"
                ),
                None => writeln!(std::io::stderr(), "error: a fault of the program itself"),
            };
        }
        if std::thread::current().name() == Some("main") {
            std::process::exit(1);
        }
    }));
}

/// Whether it is ours, or within what libraries may tell.
fn may_be_told(about: &Metadata<'_>) -> bool {
    let module = about.target().split("::").next();
    module == Some(env!("CARGO_CRATE_NAME")) || *about.level() <= LIBRARIES
}
