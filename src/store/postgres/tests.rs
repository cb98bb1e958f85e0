//! What only a log on a server has: here, clocks that are apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::store::start::begin;
use crate::store::{Database, conformance, record};

/// The machine's clock, off by so many milliseconds.
#[derive(Debug)]
struct Off(Arc<SystemClock>, AtomicI64);

impl Clock for Off {
    fn now(&self) -> Timestamp {
        self.0.now() + SignedDuration::from_millis(self.1.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_whose_clock_is_apart_from_the_servers_writes_nothing() {
    let Some(Database::Postgres(server)) = record::postgres("a").await else { return };
    let clock = Arc::new(Off(SystemClock::new(), AtomicI64::new(0)));
    let mut backend = Postgres::new(server, Duration::from_secs(30));
    backend.clock = clock.clone();
    backend.load().await.unwrap();
    for off in [5_000, -5_000] {
        clock.1.store(off, Ordering::SeqCst);
        assert_eq!(backend.keep().await, Err(StoreError::Clock), "{off}");
        assert_eq!(backend.load().await.err(), Some(StoreError::Clock), "{off}");
        assert!(backend.open.is_none());
        clock.1.store(off / 10, Ordering::SeqCst);
        backend.load().await.unwrap();
        backend.keep().await.unwrap();
    }
    // What is under way when it is found out is stored; the next is not.
    clock.1.store(0, Ordering::SeqCst);
    let signer = conformance::signer();
    let stored = backend.load().await.unwrap();
    let state = begin(&mut backend, stored, &signer, &signer.verifier().unwrap()).await.unwrap();
    clock.1.store(-5_000, Ordering::SeqCst);
    let (batch, state) = state.next([conformance::entry(0).into()], false, &signer).unwrap();
    backend.commit(&batch).await.unwrap();
    let (batch, _) = state.next([conformance::entry(1).into()], false, &signer).unwrap();
    assert!(matches!(backend.commit(&batch).await, Err(CommitError::Nothing(_))));
    clock.1.store(0, Ordering::SeqCst);
    assert_eq!(backend.load().await.unwrap().size, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_logs_that_are_begun_at_the_same_moment_each_name_has_one() {
    const AT_ONCE: usize = 8;
    let Some(Database::Postgres(server)) = record::postgres("a").await else { return };
    for round in 0..4 {
        let begin = |n: usize, name: String| {
            let server = server.clone().for_replica(&name).unwrap();
            tokio::spawn(async move {
                let mut backend = Postgres::new(server, Duration::from_secs(30));
                let loaded = backend.load().await.map(|stored| stored.size);
                (n, loaded, backend)
            })
        };
        let others = (0..AT_ONCE).map(|n| begin(n, format!("r{round}-{n}")));
        let equal = (0..AT_ONCE).map(|n| begin(AT_ONCE + n, format!("r{round}")));
        let begun: Vec<_> = others.chain(equal).collect();
        let mut had = 0;
        for begun in begun {
            let (n, loaded, _backend) = begun.await.unwrap();
            match loaded {
                Ok(size) => {
                    assert_eq!(size, 0);
                    had += usize::from(n >= AT_ONCE);
                }
                Err(fault) => assert!(n >= AT_ONCE && fault == StoreError::Taken, "{n}: {fault:?}"),
            }
        }
        // Of one name, and of one process: whoever takes it last has it.
        assert!(had > 0, "nobody has it");
    }
}
