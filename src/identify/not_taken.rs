//! Why a token is not taken, and whose it is where that is known all the same.
//!
//! Not here: what is recorded of it (`audit::call`).

use std::sync::Arc;

use crate::caller::Caller;
use crate::refusal::Refusal;

/// A token that is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotTaken {
    /// Why not.
    pub refusal: Refusal,
    /// Whose it is, where its issuer signed it and its claims are good: it is revoked, or in the wrong hands. Who sent it may be
    /// anybody, so this is for the record and for nothing else: no policy is asked about it, and no quota pays for it.
    pub owner: Option<Arc<Caller>>,
}

impl From<Refusal> for NotTaken {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, owner: None }
    }
}

impl From<NotTaken> for Refusal {
    fn from(NotTaken { refusal, .. }: NotTaken) -> Self {
        refusal
    }
}
