//! The tunnels of an account as they are now: what they are called, and when each got its key.
//!
//! Their states hold secrets, which are handed on to be looked for in all that is kept. Not here: which key is explained
//! (`judge`).

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::judge::KeyTold;
use super::row::outside;
use crate::audit::guard::Guard;
use crate::clock::Ids;
use crate::forward::Upstream;
use crate::json::{Json, Object};
use crate::limit::Budget;
use crate::operation::{AccountId, Operation, TunnelId};
use crate::secret::{ExposeSecret as _, SecretString};
use crate::tunnel::state;

/// What was read of an account's tunnels.
#[derive(Debug)]
pub(super) struct Keys {
    /// From when on they are looked at.
    pub(super) since: Timestamp,
    /// Keys that are not older.
    pub(super) told: Vec<KeyTold>,
    pub(super) names: BTreeMap<TunnelId, String>,
    /// Why nothing could be read.
    pub(super) unread: Option<String>,
    /// What must not be kept of any text: our tokens, and what the states hold.
    pub(super) secrets: Vec<SecretString>,
}

impl Keys {
    pub(super) async fn read(
        upstream: &Upstream,
        budget: &Budget,
        ids: &Arc<Ids>,
        account: AccountId,
        since: Timestamp,
    ) -> Self {
        let mut keys = Self {
            since,
            told: Vec::new(),
            names: BTreeMap::new(),
            unread: None,
            secrets: upstream.secrets(),
        };
        let read = match budget.take_own().await {
            Ok(taken) => upstream.read_state(&taken, account, None, Some(true), ids.next()).await,
            Err(refusal) => {
                keys.unread = Some(refusal.message());
                return keys;
            }
        };
        match read {
            Ok(read) => keys.take(&state::tunnels_in(Operation::List, &read.json)),
            Err(failure) => keys.unread = Some(failure.refusal.message()),
        }
        keys
    }

    fn take(&mut self, tunnels: &[&Object]) {
        let md5_key =
            |tunnel: &&Object| Some(SecretString::from(tunnel.get("bgp")?.get("md5_key")?.as_str()?));
        self.secrets.extend(tunnels.iter().filter_map(md5_key));
        let guard = guard(&self.secrets);
        for state in tunnels {
            let Some(tunnel) = state::tunnel_id(state) else { continue };
            if let Some(name) = state.get("name").and_then(Json::as_str) {
                let name = outside(name, &guard);
                self.names.extend(name.as_str().map(|name| (tunnel, name.to_owned())));
            }
            let time = state::key_generated_on(state).and_then(|time| time.parse().ok());
            self.told.extend(time.filter(|time| *time >= self.since).map(|time| KeyTold { tunnel, time }));
        }
    }
}

/// A guard against these.
pub(super) fn guard(secrets: &[SecretString]) -> Guard<'_> {
    Guard::new(secrets.iter().map(|secret| secret.expose_secret()))
}
