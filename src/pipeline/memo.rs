//! What calls took out of answers to reads. Tools look at the same tunnels again and again, and an answer that came
//! before, byte for byte, need not be parsed a second time.
//!
//! An answer is known by its keyed digest, which goes into the record anyway: nobody without the key can make two
//! answers of one digest. Not here: what is taken out of an answer (`read`).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crate::audit::call::Named;
use crate::operation::TunnelId;
use crate::secret::{ExposeSecret as _, SecretString};

/// Answers that are remembered: a thousand tunnels, each asked for in both forms of its health check.
const MAX: usize = 2048;

/// Bytes of names and secrets that are remembered of one answer, so that all of them stay under 4 MiB.
const MAX_BYTES: usize = 1024;

/// What a call takes out of the answer to a get.
#[derive(Debug)]
pub(super) struct Gist {
    /// The tunnel's `ETag`.
    pub(super) etag: Option<String>,
    /// The tunnel as the record names it.
    pub(super) tunnels: Vec<Named>,
    /// What may not get into the record.
    pub(super) secrets: Vec<SecretString>,
}

/// The tunnel that was asked for, and the answer's digest.
type Key = (Option<TunnelId>, String);

/// The last answers.
#[derive(Debug, Default)]
pub struct Memo {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    of: HashMap<Key, Arc<Gist>>,
    /// Oldest first.
    order: VecDeque<Key>,
}

impl Memo {
    pub(super) fn recall(&self, tunnel: Option<TunnelId>, digest: &str) -> Option<Arc<Gist>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.of.get(&(tunnel, digest.to_owned())).cloned()
    }

    pub(super) fn keep(&self, tunnel: Option<TunnelId>, digest: &str, gist: Gist) {
        let names = gist.tunnels.iter().filter_map(|named| named.name.as_deref()).map(str::len);
        let secrets = gist.secrets.iter().map(|secret| secret.expose_secret().len());
        if names.chain(secrets).sum::<usize>() > MAX_BYTES {
            return;
        }
        let key = (tunnel, digest.to_owned());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.of.insert(key.clone(), Arc::new(gist)).is_none() {
            known.order.push_back(key);
        }
        while known.order.len() > MAX {
            let oldest = known.order.pop_front();
            oldest.and_then(|oldest| known.of.remove(&oldest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gist(name: &str) -> Gist {
        let tunnels = vec![Named { id: None, name: Some(name.to_owned()) }];
        Gist { etag: Some("\"e\"".to_owned()), tunnels, secrets: Vec::new() }
    }

    #[test]
    fn an_answer_is_known_for_the_tunnel_that_was_asked_for() {
        let memo = Memo::default();
        let tunnel = TunnelId::parse("a1");
        memo.keep(tunnel, "d", gist("berlin"));
        assert_eq!(memo.recall(tunnel, "d").unwrap().tunnels[0].name.as_deref(), Some("berlin"));
        assert!(memo.recall(TunnelId::parse("a2"), "d").is_none());
        assert!(memo.recall(tunnel, "e").is_none());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let memo = Memo::default();
        memo.keep(None, "large", gist(&"x".repeat(MAX_BYTES + 1)));
        assert!(memo.recall(None, "large").is_none());
        (0..=MAX).for_each(|n| memo.keep(None, &n.to_string(), gist("x")));
        assert!(memo.recall(None, "0").is_none());
        assert!(memo.recall(None, "1").is_some());
        assert_eq!(memo.known.lock().unwrap().of.len(), MAX);
    }
}
