//! The state before: reads the tunnels that a call is about, in the call's turn.
//!
//! What changes and what weakens is judged against it, the diff starts from it, and `If-Match` is held against
//! it. The `ETag` is a keyed digest of a tunnel's configuration without what changes by itself, so it tells
//! nothing of an `md5_key`. Not here: the judgment (`authorize`), the diff (`audit`).

pub mod precondition;
pub mod turns;

use std::sync::Arc;
use std::time::Duration;

use crate::forward::Upstream;
use crate::json::Object;
use crate::limit::Taken;
use crate::operation::{AccountId, Operation, TunnelId};
use crate::refusal::Refusal;
use crate::secret::Fingerprinter;
use crate::tunnel::state;

use uuid::Uuid;

use turns::{At, Turn, Turns};

/// Reads states, one call at a time on each tunnel.
#[derive(Debug)]
pub struct States {
    upstream: Arc<Upstream>,
    turns: Turns,
    fingerprinter: Fingerprinter,
    patience: Duration,
}

impl States {
    /// Reads from `upstream`; a call waits for its turn at most `patience`.
    #[must_use]
    pub fn new(
        upstream: Arc<Upstream>,
        fingerprinter: Fingerprinter,
        turns: Turns,
        patience: Duration,
    ) -> Self {
        Self { upstream, turns, fingerprinter, patience }
    }

    /// Waits until all turns that ended are given back, at most `patience`.
    pub async fn settled(&self, patience: Duration) {
        self.turns.settled(patience).await;
    }

    /// Waits for the turn at these tunnels and names.
    ///
    /// # Errors
    /// [`Refusal::TunnelBusy`], [`Refusal::AuditUnavailable`]
    pub async fn turn(
        &self,
        account: AccountId,
        places: impl IntoIterator<Item = At>,
    ) -> Result<Turn, Refusal> {
        self.turns.take(account, places, self.patience).await
    }

    /// The tunnels with these ids, in this order: one upstream call, whatever their number.
    ///
    /// # Errors
    /// [`Refusal::TunnelUnknown`] if one of them is not there, and whatever keeps them from being read.
    pub async fn read(
        &self,
        taken: &Taken,
        account: AccountId,
        ids: &[TunnelId],
        request_id: Uuid,
    ) -> Result<Vec<Object>, Refusal> {
        let (operation, tunnel) = match ids {
            [] => return Ok(Vec::new()),
            [one] => (Operation::Get, Some(*one)),
            _ => (Operation::List, None),
        };
        let read = self.upstream.read_state(taken, account, tunnel, Some(true), request_id).await?;
        let found = |id: &TunnelId| state::state_of(operation, &read.json, *id).cloned();
        ids.iter().map(|id| found(id).ok_or(Refusal::TunnelUnknown)).collect()
    }

    /// All tunnels of an account.
    ///
    /// # Errors
    /// Whatever keeps them from being read.
    pub async fn all(
        &self,
        taken: &Taken,
        account: AccountId,
        request_id: Uuid,
    ) -> Result<Vec<Object>, Refusal> {
        let read = self.upstream.read_state(taken, account, None, Some(true), request_id).await?;
        Ok(state::tunnels_in(Operation::List, &read.json).into_iter().cloned().collect())
    }

    /// A keyed digest of what of a tunnel a request can ask for: equal for equal settings only.
    #[must_use]
    pub fn settings(&self, tunnel: &Object) -> String {
        self.fingerprinter.of(state::settings_text(tunnel).as_bytes())
    }

    /// A tunnel's `ETag` (RFC 9110 section 8.8.3), with its quotes.
    #[must_use]
    pub fn etag(&self, tunnel: &Object) -> String {
        format!("\"{}\"", self.fingerprinter.of(state::etag_text(tunnel).as_bytes()))
    }
}
