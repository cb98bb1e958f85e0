//! The name of a configuration in the record: a hash of every value that it came to, without secrets.
//!
//! Not here: which values (each is written down where it is read, in `table`).

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;

use crate::json::Json;

/// SHA-256 in hex over one line a key, sorted: `key = "value"`, the value as a JSON string, so that no value can
/// look like a further line.
pub(super) fn of(resolved: &BTreeMap<String, String>) -> String {
    let text: String =
        resolved.iter().map(|(key, value)| format!("{key} = {}\n", Json::from(value.as_str()))).collect();
    HEXLOWER.encode(digest(&SHA256, text.as_bytes()).as_ref())
}
