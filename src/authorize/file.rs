//! The policy's file: reading it, and what `check` says about it.
//!
//! Not here: what stands in it (`policy::text`), noticing that it changed (`pipeline`).

use std::io::Read as _;
use std::path::Path;

use super::{Authorizer, PolicyProblem};

/// Bytes of a policy file: a thousand policies of the shipped kind.
const MAX_POLICY_BYTES: u64 = 1024 * 1024;

/// Reads a policy file, bounded.
///
/// # Errors
/// In our words, what the matter is.
pub fn read_policy(path: &Path) -> Result<String, String> {
    let fault = |error: std::io::Error| format!("`{}` can't be read: {error}", path.display());
    let file = std::fs::File::open(path).map_err(fault)?;
    let mut bytes = Vec::new();
    file.take(MAX_POLICY_BYTES + 1).read_to_end(&mut bytes).map_err(fault)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_POLICY_BYTES {
        return Err(format!(
            "`{}` is larger than {MAX_POLICY_BYTES} bytes; split off what is not policy",
            path.display()
        ));
    }
    String::from_utf8(bytes).map_err(|_| format!("`{}` is not UTF-8; save it as UTF-8", path.display()))
}

/// Everything that is wrong with a policy file, as pairs of key path and text.
#[must_use]
pub fn check(path: &Path) -> Vec<(String, String)> {
    let key = || "policy.file".to_owned();
    match read_policy(path).map(|text| Authorizer::new(&text)) {
        Err(what) => vec![(key(), what)],
        Ok(Ok(_)) => Vec::new(),
        Ok(Err(problems)) => {
            let in_file = |problem: &PolicyProblem| format!("`{}`, {problem}", path.display());
            problems.iter().map(|problem| (key(), in_file(problem))).collect()
        }
    }
}
