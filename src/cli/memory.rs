//! Keeps the memory of this process to itself: tokens and keys pass through it.
//!
//! What is freed is wiped by the allocator (`main`). Not here: what is wiped sooner (`secret`), and what of this the machine
//! has to do (`SECURITY.md`).

use std::ffi::OsStr;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// The variable that leaves memory open to a debugger, where it is `1`.
pub const ALLOW_DUMPS: &str = "TUNNELWARDEN_ALLOW_DUMPS";

/// What `serve` says of an open memory.
pub(super) const OPEN: &str =
    "TUNNELWARDEN_ALLOW_DUMPS is set: a core file of this process would hold its tokens and keys";

/// Whether a value of [`ALLOW_DUMPS`] asks for it.
///
/// # Errors
/// It is neither word for it: whoever wrote it meant something.
pub fn is_open(value: Option<&OsStr>) -> Result<bool, String> {
    match value {
        None => Ok(false),
        Some(value) if value == "1" => Ok(true),
        Some(value) if value == "0" || value.is_empty() => Ok(false),
        Some(_) => Err(format!("{ALLOW_DUMPS} is 1 or 0")),
    }
}

/// From here on the kernel writes no core file of this process and gives none to a collector, and nobody but root reads its
/// memory or traces it: prctl(2), `PR_SET_DUMPABLE`; ptrace(2), "Ptrace access mode checking".
///
/// # Errors
/// The kernel, or a filter of system calls, does not let it.
pub fn close() -> Result<(), String> {
    // A second lock, for what an exec would make dumpable again. Alone it would not do: a collector of core files gets them
    // all the same (core(5), "Piping core dumps to a program"). Where it can't be set, the first one holds.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|e| {
        format!(
            "core files of this process can't be ruled out: {e}; let it call prctl(PR_SET_DUMPABLE), or set {ALLOW_DUMPS}=1"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_word_opens_the_memory() {
        assert_eq!(is_open(Some(OsStr::new("1"))), Ok(true));
        for closed in [None, Some(OsStr::new("")), Some(OsStr::new("0"))] {
            assert_eq!(is_open(closed), Ok(false), "{closed:?}");
        }
        for neither in ["true", "yes", "11", " 1"] {
            assert!(is_open(Some(OsStr::new(neither))).is_err(), "{neither}");
        }
    }
}
