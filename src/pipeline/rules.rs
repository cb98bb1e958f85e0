//! What calls are judged by at one time: who counts, how much they may, and what.
//!
//! They are one value, so that a call is judged by the old rules or by the new ones and never by some of each. Not here:
//! where other rules come from (`service::reload`); certificates and upstream tokens, which judge nobody and are used as
//! they are when they are needed.

use std::sync::Arc;

use crate::authorize::Authorizer;
use crate::identify::Identifier;
use crate::limit::{Budget, Limiter};

/// The rules that a call goes by from its beginning to its end.
#[derive(Clone, Debug)]
pub struct Rules {
    /// From a token to a caller.
    pub identifier: Arc<Identifier>,
    /// The callers' quotas.
    pub limiter: Arc<Limiter>,
    /// What the upstream allows all of us together, and who may use the reserve.
    pub budget: Budget,
    /// Who may do what.
    pub policy: Arc<Authorizer>,
}
