//! Remembers verified tokens by their SHA-256, so that a busy caller costs one hash and one look-up a call.
//!
//! An entry is good while its token is, and while keys and revocations are what they were when it was verified
//! (an age says so). After such a change it says only that the token was verified once. Only verified tokens get in, so nobody without a token can push others out.
//! Not here: refusals, which are never remembered.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};

use crate::caller::{Caller, Thumbprint};

/// Shards, so that 50,000 look-ups a second on many cores don't wait for one lock.
const SHARDS: usize = 16;

/// Tokens in half a shard: 16 shards of two halves hold 10,240 tokens.
const HALF: usize = 320;

/// Bytes of callers' texts in half a shard: all halves together hold at most 8 MiB.
const HALF_BYTES: usize = (8 << 20) / SHARDS / 2;

/// A count of the changes of keys that are fetched.
#[derive(Debug, Default)]
pub(super) struct Generation(AtomicU64);

impl Generation {
    /// The present one. INVARIANT: a verification reads it before it reads keys, so that what it
    /// stores under this number can't outlive a change that it did not see.
    pub(super) fn current(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Starts a new one. INVARIANT: called after the change can be seen.
    pub(super) fn advance(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// What was in force when a token was verified: which set of issuers and revocations, and the generation of the keys
/// that are fetched.
pub(super) type Age = (u64, u64);

/// A token's name in the cache. Never the token: memory holds no credential longer than its call.
pub(super) type Name = [u8; 32];

/// The name of a token.
pub(super) fn name(token: &str) -> Name {
    let mut name = [0; 32];
    name.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    name
}

/// The cache.
#[derive(Debug)]
pub(super) struct Cache {
    shards: [Mutex<Shard>; SHARDS],
}

/// Two halves: what was used lately, and what was used before that. When the first is full it becomes the
/// second, and the second goes. That is close to least-recently-used, at a constant price.
#[derive(Debug, Default)]
struct Shard {
    young: HashMap<Name, Entry>,
    young_bytes: usize,
    old: HashMap<Name, Entry>,
}

/// A verified token.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Whose it is.
    pub(super) caller: Arc<Caller>,
    /// The certificate that it is good with, where it is bound to one.
    pub(super) bound: Option<Thumbprint>,
    /// When it ends, in microseconds since 1970, leeway included.
    pub(super) ends: i64,
    /// Under which keys and revocations it was verified.
    pub(super) age: Age,
}

impl Entry {
    /// Whether it is good in the hands of who has this certificate.
    fn serves(&self, by: Option<Thumbprint>) -> bool {
        self.bound.is_none() || self.bound == by
    }
}

impl Cache {
    pub(super) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }

    /// The caller of a token that is still good at `now`, at this age, in the hands of who has this certificate.
    pub(super) fn find(
        &self,
        name: &Name,
        now: i64,
        age: Age,
        by: Option<Thumbprint>,
    ) -> Option<Arc<Caller>> {
        let mut shard = self.shard(name)?;
        let (entry, promote) = match shard.young.get(name) {
            Some(entry) => (entry, false),
            None => (shard.old.get(name)?, true),
        };
        if now >= entry.ends {
            shard.forget(name);
            return None;
        }
        if age != entry.age || !entry.serves(by) {
            return None;
        }
        let caller = Arc::clone(&entry.caller);
        if promote && let Some(entry) = shard.old.remove(name) {
            shard.keep(*name, entry);
        }
        Some(caller)
    }

    /// Whether a token was verified at any age, and is not over at `now`, nor bound to another certificate than this.
    pub(super) fn knows(&self, name: &Name, now: i64, by: Option<Thumbprint>) -> bool {
        let shard = self.shard(name);
        let entry = shard.as_ref().and_then(|shard| shard.young.get(name).or_else(|| shard.old.get(name)));
        entry.is_some_and(|entry| now < entry.ends && entry.serves(by))
    }

    /// Forgets a token that is not good any more.
    pub(super) fn forget(&self, name: &Name) {
        if let Some(mut shard) = self.shard(name) {
            shard.forget(name);
        }
    }

    /// Remembers a verified token.
    pub(super) fn keep(&self, name: Name, entry: Entry) {
        if let Some(mut shard) = self.shard(&name) {
            shard.keep(name, entry);
        }
    }

    /// The name is a hash, so any of its bits spread evenly.
    fn shard(&self, name: &Name) -> Option<MutexGuard<'_, Shard>> {
        let at = usize::from(*name.first()?) % SHARDS;
        Some(self.shards.get(at)?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many tokens are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap()).map(|s| s.young.len() + s.old.len()).sum()
    }
}

impl Shard {
    fn keep(&mut self, name: Name, entry: Entry) {
        let bytes = weight(&entry.caller);
        if self.young.len() >= HALF || self.young_bytes + bytes > HALF_BYTES {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        if let Some(former) = self.young.insert(name, entry) {
            self.young_bytes = self.young_bytes.saturating_sub(weight(&former.caller));
        }
    }

    fn forget(&mut self, name: &Name) {
        if let Some(former) = self.young.remove(name) {
            self.young_bytes = self.young_bytes.saturating_sub(weight(&former.caller));
        }
        self.old.remove(name);
    }
}

/// The bytes of a caller's texts, and of what holds them.
fn weight(caller: &Caller) -> usize {
    let texts = [&caller.subject, &caller.issuer];
    let lists = caller.teams.iter().chain(&caller.roles);
    let options = caller.jti.iter().chain(&caller.key_id);
    size_of::<Caller>()
        + texts
            .into_iter()
            .chain(lists)
            .chain(options)
            .map(|text| size_of::<String>() + text.len())
            .sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(subject: &str) -> Entry {
        let caller = Caller {
            subject: subject.to_owned(),
            teams: vec![],
            roles: vec![],
            issuer: String::new(),
            jti: None,
            key_id: None,
            expires: jiff::Timestamp::MAX,
        };
        Entry { caller: Arc::new(caller), bound: None, ends: 100, age: (1, 1) }
    }

    #[test]
    fn an_entry_is_good_until_it_ends_and_at_its_age() {
        let cache = Cache::new();
        let name = name("token");
        cache.keep(name, entry("alice"));
        assert!(cache.find(&name, 99, (1, 1), None).is_some());
        assert!(cache.find(&name, 100, (1, 1), None).is_none());
        assert_eq!(cache.len(), 0, "what is over is forgotten");
        cache.keep(name, entry("alice"));
        assert!(cache.find(&name, 99, (1, 2), None).is_none());
        assert!(cache.find(&name, 99, (2, 1), None).is_none());
        assert!(cache.knows(&name, 99, None), "it was verified once");
        assert!(!cache.knows(&name, 100, None) && !cache.knows(&super::name("other"), 0, None));
        cache.forget(&name);
        assert!(!cache.knows(&name, 99, None));
    }

    #[test]
    fn a_bound_token_is_known_with_its_certificate_only() {
        let (cache, name) = (Cache::new(), name("token"));
        let [own, other] = [b"own", b"oth"].map(|der| Some(Thumbprint::of(der)));
        cache.keep(name, Entry { bound: own, ..entry("alice") });
        for (by, good) in [(own, true), (other, false), (None, false)] {
            assert_eq!(cache.find(&name, 99, (1, 1), by).is_some(), good);
            assert_eq!(cache.knows(&name, 99, by), good);
        }
    }

    #[test]
    fn memory_is_bounded_by_count_and_by_bytes() {
        let cache = Cache::new();
        for i in 0..50_000 {
            cache.keep(name(&format!("{i}")), entry("alice"));
        }
        assert!((SHARDS * HALF..=SHARDS * 2 * HALF).contains(&cache.len()), "{}", cache.len());
        let long = "x".repeat(HALF_BYTES / 4);
        for i in 0..500 {
            cache.keep(name(&format!("long {i}")), entry(&long));
        }
        assert!(cache.len() <= SHARDS * 2 * 4, "{}", cache.len());
    }

    #[test]
    fn half_a_shard_is_full_by_the_last_token_or_byte_that_it_may_have() {
        let fills = |most: usize, subject: &str| {
            let mut shard = Shard::default();
            for n in 0..=most {
                assert_eq!((shard.young.len(), shard.old.len()), (n, 0));
                shard.keep(name(&n.to_string()), entry(subject));
            }
            assert_eq!((shard.young.len(), shard.old.len()), (1, most));
        };
        // Each text counts with what holds it; the issuer's is empty.
        assert_eq!(weight(&entry("abc").caller), size_of::<Caller>() + 2 * size_of::<String>() + 3);
        fills(HALF, "alice");
        fills(4, &"x".repeat(HALF_BYTES / 4 - weight(&entry("").caller)));
    }

    #[test]
    fn what_is_used_stays_while_others_come_and_go() {
        let cache = Cache::new();
        let busy = name("busy");
        cache.keep(busy, entry("busy"));
        for i in 0..50_000 {
            cache.keep(name(&format!("{i}")), entry("alice"));
            assert!(cache.find(&busy, 0, (1, 1), None).is_some());
        }
    }
}
