//! What the record keeps of a call: redacted, and guarded once more.

pub mod guard;
pub mod redact;
