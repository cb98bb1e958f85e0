//! The revocations that replicas share: each hears of them within a second.
//!
//! While they can't be read, those that are known stay in force. Not here: what a line says (`identify::revoked`), the rows
//! (`share::revocations`).

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::LOOK_FOR_REVOKED;
use super::cache::Generation;
use super::revoked::List;
use crate::caller::Caller;
use crate::share::revocations::{PAGE, Revocation};
use crate::share::{Away, Shared};

/// How long it is until a database is asked again that did not answer.
const AWAY: Duration = Duration::from_secs(1);

/// The revocations of all replicas that are known here.
#[derive(Debug)]
pub(super) struct Everywhere {
    list: RwLock<List>,
    trouble: Mutex<Option<String>>,
    generation: Arc<Generation>,
}

impl Everywhere {
    pub(super) fn new(generation: Arc<Generation>) -> Self {
        Self { list: RwLock::default(), trouble: Mutex::default(), generation }
    }

    /// Whether this caller's token is revoked.
    pub(super) fn names(&self, caller: &Caller) -> bool {
        self.list.read().unwrap_or_else(PoisonError::into_inner).names(caller)
    }

    /// Why new ones are not seen.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Follows them.
#[derive(Debug)]
pub(super) struct Follower {
    shared: Shared,
    revoked: Arc<Everywhere>,
    /// The last change that was read.
    last: i64,
}

impl Follower {
    pub(super) const fn new(shared: Shared, revoked: Arc<Everywhere>) -> Self {
        Self { shared, revoked, last: 0 }
    }

    /// Takes in what has changed.
    pub(super) async fn step(&mut self) -> Result<(), Away> {
        loop {
            let changes = self.shared.revocations(self.last).await?;
            self.take(&changes);
            if changes.len() < PAGE {
                return Ok(());
            }
        }
    }

    fn take(&mut self, changes: &[Revocation]) {
        let Some(last) = changes.last() else { return };
        let mut list = self.revoked.list.write().unwrap_or_else(PoisonError::into_inner);
        for Revocation { line, in_force, .. } in changes {
            let read = if *in_force { list.add(line) } else { list.remove(line) };
            if read.is_none() {
                tracing::warn!("a shared revocation is neither `jti <id>` nor `sub <issuer> <subject>`");
            }
        }
        drop(list);
        self.last = last.id;
        self.revoked.generation.advance();
    }

    /// Does so for ever.
    pub(super) async fn follow(mut self) {
        let mut pause = pause_after(None);
        loop {
            tokio::time::sleep(pause).await;
            // One question by the primary key.
            let trouble = self.step().await.err().map(|away| away.to_string());
            pause = pause_after(trouble.as_deref());
            *self.revoked.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
        }
    }
}

/// How long it is until the next look.
const fn pause_after(trouble: Option<&str>) -> Duration {
    if trouble.is_none() { LOOK_FOR_REVOKED } else { AWAY }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::revoked::tests::caller;
    use super::*;

    /// A database that nobody serves.
    fn away() -> Shared {
        let nobody = "postgres://a@127.0.0.1:1/none?sslmode=disable";
        Shared::open(&crate::store::Database::parse(nobody, Path::new("")).unwrap()).unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_shared_revocation_is_in_force_at_each_replica_and_stays_while_the_database_is_away() {
        let Some(database) = crate::store::record::postgres("a").await else { return };
        let shared = Shared::open(&database).unwrap().unwrap();
        let replicas = [0, 1].map(|_| Arc::new(Everywhere::new(Arc::default())));
        let mut followers = replicas.each_ref().map(|one| Follower::new(shared.clone(), Arc::clone(one)));
        let (token, bob) = (caller("alice", Some("7")), caller("bob", None));
        let state = || replicas.each_ref().map(|one| (one.names(&token), one.names(&bob)));
        shared.revoke("jti 7", true).await.unwrap();
        let generations = replicas.each_ref().map(|one| one.generation.current());
        for follower in &mut followers {
            follower.step().await.unwrap();
        }
        assert_eq!(state(), [(true, false); 2]);
        for (one, before) in replicas.iter().zip(generations) {
            assert!(one.generation.current() > before, "verified tokens are looked at anew");
        }

        shared.revoke("sub https://idp.example bob", true).await.unwrap();
        shared.revoke("jti 7", false).await.unwrap();
        followers[0].step().await.unwrap();
        assert_eq!(state(), [(false, true), (true, false)]);
        let away = away();
        followers.iter_mut().for_each(|follower| follower.shared = away.clone());
        for follower in &mut followers {
            assert_eq!(follower.step().await, Err(Away));
        }
        assert_eq!(state(), [(false, true), (true, false)]);
        for line in ["jti", "jti  7", "sub https://idp.example", "jti 7\njti 8", "7", ""] {
            assert!(shared.revoke(line, true).await.is_err(), "{line:?}");
        }
    }

    #[tokio::test]
    async fn a_database_that_is_away_is_told_of_as_long_as_it_is() {
        let away = away();
        let revoked = Arc::new(Everywhere::new(Arc::default()));
        assert_eq!(revoked.trouble(), None);
        let following = tokio::spawn(Follower::new(away, Arc::clone(&revoked)).follow());
        let until = tokio::time::Instant::now() + Duration::from_secs(30);
        while revoked.trouble() != Some(Away.to_string()) {
            assert!(tokio::time::Instant::now() < until, "nothing is told");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        following.abort();
        let Some(database) = crate::store::record::postgres("a").await else { return };
        let shared = Shared::open(&database).unwrap().unwrap();
        let following = tokio::spawn(Follower::new(shared, Arc::clone(&revoked)).follow());
        while revoked.trouble().is_some() {
            assert!(tokio::time::Instant::now() < until + Duration::from_secs(30), "it is still told");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        following.abort();
    }

    #[test]
    fn shared_revocations_are_looked_for_four_times_a_second() {
        assert_eq!(pause_after(None) * 4, Duration::from_secs(1));
        assert_eq!(pause_after(Some("away")), Duration::from_secs(1), "the log is not filled");
    }

    #[tokio::test]
    async fn no_shared_revocation_is_missed_however_many_are_made_at_once() {
        let Some(database) = crate::store::record::postgres("a").await else { return };
        let shared = Shared::open(&database).unwrap().unwrap();
        let revoked = Arc::new(Everywhere::new(Arc::default()));
        let mut follower = Follower::new(shared.clone(), Arc::clone(&revoked));
        let mut writes = tokio::task::JoinSet::new();
        for n in 0..100 {
            let shared = shared.clone();
            writes.spawn(async move { shared.revoke(&format!("jti {n}"), true).await });
        }
        while let Some(done) = writes.join_next().await {
            done.unwrap().unwrap();
            follower.step().await.unwrap();
        }
        for n in 0..100 {
            assert!(revoked.names(&caller("a", Some(&n.to_string()))), "{n}");
        }
    }
}
