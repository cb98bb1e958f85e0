//! How far long work is, on a terminal that somebody looks at; nothing anywhere else.
//!
//! Not here: the work.

use std::io::Write;

use crate::cli::Env;

/// To its beginning, and what stands there goes.
const CLEAR_LINE: &str = "\r\u{1b}[K";

/// A line that says how many there were so far, and is gone when the work is done.
pub(super) struct Progress<'a> {
    to: Option<&'a mut (dyn Write + Send)>,
    what: &'static str,
    count: u64,
}

impl<'a> Progress<'a> {
    /// Counts `what`, in words such as `entries`, on standard error.
    pub(super) fn new(env: &Env, errors: &'a mut (dyn Write + Send), what: &'static str) -> Self {
        Self { to: env.terminal.errors.then_some(errors), what, count: 0 }
    }

    /// So many more were done.
    pub(super) fn add(&mut self, more: u64) {
        self.count += more;
        if let Some(to) = &mut self.to {
            // Who can't see how far it is misses nothing else, so what can't be written here is no fault.
            let _ = write!(to, "\r{} {}", self.count, self.what).and_then(|()| to.flush());
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(to) = self.to.as_mut().filter(|_| self.count > 0) {
            let _ = write!(to, "{CLEAR_LINE}").and_then(|()| to.flush());
        }
    }
}
