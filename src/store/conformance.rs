//! One suite for every store: what an append promises, also when the database fails at any step.
//!
//! Each case runs over the store in memory, over `SQLite` and over PostgreSQL, all behind the double, and ends with a check of all
//! that is stored: every entry once and in order, hashes, tiles, checkpoints and head.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::backend::{Backend, Head, Row};
use super::double::{Contents, Double, Memory, Plan, Step};
use super::postgres::Postgres;
use super::sqlite::Sqlite;
use super::start::{begin, start};
use super::*;
use crate::clock::ManualClock;
use crate::seal::{self, Chain, Checkpoint, Hash, Tile, Tree, generate_key};
use crate::secret::ExposeSecret as _;

pub(super) const SHORT: Duration = Duration::from_millis(700);
const LONG: Duration = Duration::from_secs(20);

pub(super) fn signer() -> Arc<Signer> {
    Arc::new(Signer::new(generate_key("tunnelwarden/test").unwrap().0.expose_secret()).unwrap())
}

pub(super) fn clock() -> Arc<ManualClock> {
    ManualClock::at(jiff::Timestamp::from_second(1_790_000_000).unwrap())
}

/// The text of an entry that every store takes.
pub(super) fn entry(n: usize) -> String {
    let id = uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + n as u128);
    format!(
        r#"{{"kind":"refusal","id":"{id}","time":"2026-01-01T00:00:00.{n:06}Z","request_id":"{id}","n":{n}}}"#
    )
}

/// A running store over one of them, and a way to look at what it holds.
struct Bench {
    store: Store,
    plan: Plan,
    clock: Arc<ManualClock>,
    signer: Arc<Signer>,
    holds: Holds,
}

/// What holds the entries.
enum Holds {
    Memory(Memory),
    Database(
        Database,
        #[expect(dead_code, reason = "is there until it is dropped")] Option<tempfile::TempDir>,
    ),
}

impl Bench {
    async fn memory(append_timeout: Duration) -> Self {
        let memory = Memory::default();
        Self::over(memory.clone(), append_timeout, Holds::Memory(memory)).await
    }

    /// None where there is no server.
    async fn postgres(append_timeout: Duration) -> Option<Self> {
        let Database::Postgres(server) = record::postgres("a").await? else { unreachable!() };
        let backend = Postgres::new(server.clone(), append_timeout);
        backend.prepare().await.unwrap();
        Some(Self::over(backend, append_timeout, Holds::Database(Database::Postgres(server), None)).await)
    }

    async fn sqlite(append_timeout: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.db");
        lock::make_private(&path).unwrap();
        let backend = Sqlite::new(path.clone(), Duration::from_secs(1));
        backend.prepare().await.unwrap();
        Self::over(backend, append_timeout, Holds::Database(path.into(), Some(directory))).await
    }

    async fn over<B: backend::Backend>(backend: B, append_timeout: Duration, holds: Holds) -> Self {
        let (signer, clock) = (signer(), clock());
        let verifier = signer.verifier().unwrap();
        let mut double = Double::new(backend);
        let plan = double.plan.clone();
        let stored = double.load().await.unwrap();
        let state = begin(&mut double, stored, &signer, &verifier).await.unwrap();
        let settings =
            Settings { database: Path::new("unused").into(), checkpoint_files: Vec::new(), append_timeout };
        let store = start(double, state, settings, Arc::clone(&signer), verifier, clock.clone(), None);
        Self { store, plan, clock, signer, holds }
    }

    async fn append(&self, entries: std::ops::Range<usize>) -> Result<(), StoreError> {
        self.store.append(entries.map(entry).collect()).await
    }

    async fn until_writable(&self) {
        let mut health = self.store.health();
        tokio::time::timeout(LONG, health.wait_for(Health::is_writable)).await.unwrap().unwrap();
    }

    async fn until_faulty(&self) -> StoreError {
        let mut health = self.store.health();
        let health = health.wait_for(|health| !health.is_writable());
        tokio::time::timeout(LONG, health).await.unwrap().unwrap().fault.unwrap()
    }

    /// Waits until the writer has begun on the commits that were planned.
    async fn until_begun(&self) {
        while !self.plan.commits.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn commits(&self, steps: &[Step]) {
        self.plan.commits.lock().unwrap().extend(steps);
    }

    fn loads(&self, steps: &[Step]) {
        self.plan.loads.lock().unwrap().extend(steps);
    }

    /// Closes the store and checks everything that it holds; the entries are those numbers, in order.
    async fn holds(self, expected: impl IntoIterator<Item = usize>) {
        self.store.close().await;
        assert_eq!(self.store.append(vec![entry(0)]).await, Err(StoreError::Closed));
        let contents = self.holds.contents().await;
        let stored: Vec<_> = contents.rows.iter().map(|row| row.entry.clone()).collect();
        assert_eq!(stored, expected.into_iter().map(|n| entry(n).into()).collect::<Vec<Arc<str>>>());

        let verifier = self.signer.verifier().unwrap();
        let (mut tree, mut tiles, mut chain) = (Tree::new(), vec![], Chain::new());
        let mut roots = vec![tree.root()];
        for row in &contents.rows {
            assert_eq!(row.leaf, seal::leaf_hash(row.entry.as_bytes()));
            tiles.extend(tree.push(row.leaf));
            roots.push(tree.root());
        }
        assert_eq!(contents.tiles, tiles);
        for (n, (number, size, note)) in (0u64..).zip(&contents.checkpoints) {
            let checkpoint = Checkpoint::open(note.as_bytes(), &verifier).unwrap();
            assert_eq!((*number, checkpoint.size), (n, *size));
            assert_eq!(checkpoint.root, roots[usize::try_from(*size).unwrap()]);
            chain.push(note.as_bytes());
        }
        let head = contents.head.unwrap();
        let signed = Checkpoint::open(head.note.as_bytes(), &verifier).unwrap();
        assert_eq!(signed, Checkpoint { size: tree.size(), root: tree.root(), chain: Some(chain) });
        assert_eq!(head.edge, seal::hashes_to_bytes(tree.tail()));
    }
}

impl Holds {
    async fn contents(&self) -> Contents {
        match self {
            Self::Memory(memory) => memory.0.lock().unwrap().clone(),
            Self::Database(database, _) => read(database).await,
        }
    }
}

/// All that a database holds, which has one log.
async fn read(database: &Database) -> Contents {
    let reader = Reader::open(database).await.unwrap();
    let log = reader.logs().await.unwrap().pop().unwrap();
    let mut snapshot = reader.snapshot(&log).await.unwrap();
    let hash = |bytes: &[u8]| -> Hash { seal::hash_from(bytes).unwrap() };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let mut contents = Contents::default();
    loop {
        let page = snapshot.entries(contents.rows.len() as i64).await.unwrap();
        if page.is_empty() {
            break;
        }
        contents.rows.extend(
            page.into_iter()
                .map(|row| Row { leaf: hash(&row.leaf), entry: text(row.entry.unwrap().to_vec()).into() }),
        );
    }
    for index in 0..contents.rows.len() as u64 / 256 {
        for tile in snapshot.tile(0, index as i64).await.unwrap() {
            let hashes = seal::hashes_from(&tile.hashes).unwrap();
            contents.tiles.push(Tile { level: 0, index, root: hash(&tile.root), hashes });
        }
    }
    assert_eq!(snapshot.tile_count().await.unwrap(), contents.tiles.len() as i64);
    loop {
        let page = snapshot.checkpoints(contents.checkpoints.len() as i64).await.unwrap();
        if page.is_empty() {
            break;
        }
        contents.checkpoints.extend(page.into_iter().map(|c| (c.n as u64, c.size as u64, text(c.note))));
    }
    let head = snapshot.heads().await.unwrap().pop();
    contents.head = head.map(|head| Head { note: text(head.note), edge: head.edge });
    snapshot.end().await;
    contents
}

/// Runs a case over each store.
macro_rules! over_each {
    ($($(#[$doc:meta])* fn $name:ident($bench:ident: $patience:expr) $body:block)*) => {$(
        mod $name {
            use super::*;
            async fn case($bench: Bench) $body
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_memory() {
                tokio::time::timeout(2 * LONG, case(Bench::memory($patience).await)).await.unwrap();
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_sqlite() {
                tokio::time::timeout(2 * LONG, case(Bench::sqlite($patience).await)).await.unwrap();
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_postgres() {
                let Some(bench) = Bench::postgres($patience).await else { return };
                tokio::time::timeout(2 * LONG, case(bench)).await.unwrap();
            }
        }
    )*};
}

over_each! {
    fn appended_entries_are_stored_in_order(bench: LONG) {
        for n in 0..10 {
            bench.append(n * 60..(n + 1) * 60).await.unwrap();
            bench.clock.advance(Duration::from_millis(400));
        }
        bench.append(0..0).await.unwrap();
        bench.holds(0..600).await;
    }

    fn each_of_many_at_once_is_stored_once(bench: LONG) {
        let bench = Arc::new(bench);
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..300 {
            let bench = Arc::clone(&bench);
            tasks.spawn(async move { bench.append(n..n + 1).await.unwrap() });
        }
        tasks.join_all().await;
        let bench = Arc::into_inner(bench).unwrap();
        let order: Vec<usize> =
            bench.holds.contents().await.rows.iter().map(|row| number(&row.entry)).collect();
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..300).collect::<Vec<_>>());
        bench.holds(order).await;
    }

    fn a_commit_that_fails_stores_nothing_and_service_resumes(bench: LONG) {
        bench.append(0..3).await.unwrap();
        bench.commits(&[Step::Before(StoreError::Full)]);
        assert_eq!(bench.append(3..6).await, Err(StoreError::Full));
        bench.until_writable().await;
        bench.append(6..8).await.unwrap();
        bench.holds([0, 1, 2, 6, 7]).await;
    }

    fn while_the_store_does_not_work_appends_fail_at_once(bench: LONG) {
        bench.commits(&[Step::Before(StoreError::ReadOnly)]);
        bench.plan.probes.lock().unwrap().extend([Step::Before(StoreError::ReadOnly), Step::After(StoreError::Io)]);
        bench.loads(&[Step::Before(StoreError::Unopenable)]);
        assert_eq!(bench.append(0..1).await, Err(StoreError::ReadOnly));
        assert_eq!(bench.until_faulty().await, StoreError::ReadOnly);
        assert_eq!(bench.append(1..2).await, Err(StoreError::ReadOnly));
        bench.until_writable().await;
        bench.append(2..3).await.unwrap();
        bench.holds([2]).await;
    }

    fn a_commit_whose_answer_is_lost_is_reported_as_what_it_was(bench: LONG) {
        for (step, n) in [Step::After(StoreError::Io), Step::After(StoreError::Moved)].into_iter().zip(0..) {
            bench.commits(&[step]);
            bench.append(n * 2..n * 2 + 2).await.unwrap();
        }
        bench.commits(&[Step::Lost(StoreError::Io)]);
        assert_eq!(bench.append(90..95).await, Err(StoreError::Io));
        bench.until_writable().await;
        bench.append(4..6).await.unwrap();
        bench.holds(0..6).await;
    }

    fn a_commit_that_cant_be_looked_up_at_first_is_looked_up_later(bench: LONG) {
        bench.loads(&[Step::Before(StoreError::Unopenable)]);
        bench.commits(&[Step::After(StoreError::Io)]);
        bench.append(0..2).await.unwrap();
        bench.loads(&[Step::Before(StoreError::Unopenable)]);
        bench.commits(&[Step::Lost(StoreError::Io)]);
        assert_eq!(bench.append(90..91).await, Err(StoreError::Io));
        bench.until_writable().await;
        bench.append(2..3).await.unwrap();
        bench.holds(0..3).await;
    }

    fn a_commit_of_which_nothing_can_be_known_is_a_timeout_and_never_a_gap(bench: SHORT) {
        for (step, n) in [(Step::After(StoreError::Io), 0), (Step::Lost(StoreError::Io), 2)] {
            bench.loads(&[Step::Before(StoreError::Io); 6]);
            bench.commits(&[step]);
            assert_eq!(bench.append(n..n + 1).await, Err(StoreError::Timeout));
            bench.until_writable().await;
            bench.append(n + 1..n + 2).await.unwrap();
        }
        bench.holds([0, 1, 3]).await;
    }

    fn an_entry_that_is_refused_does_not_harm_its_neighbors(bench: LONG) {
        bench.commits(&[Step::Hangs]);
        let first = bench.append(0..1);
        // Queued while the first is under way, so these go into one batch.
        let others = async {
            bench.until_begun().await;
            let open = async { bench.plan.gate.notify_one() };
            tokio::join!(bench.append(1..3), bench.store.append(vec!["no entry".to_owned()]), open)
        };
        let (first, (good, bad, ())) = tokio::join!(first, others);
        assert_eq!((first, good, bad), (Ok(()), Ok(()), Err(StoreError::Invalid)));
        assert!(bench.store.health().borrow().is_writable());
        bench.append(3..4).await.unwrap();
        bench.holds(0..4).await;
    }

    fn what_nobody_waits_for_any_more_is_dropped_from_the_queue(bench: SHORT) {
        bench.commits(&[Step::Hangs]);
        let slow = bench.append(0..1);
        let queued = async {
            bench.until_begun().await;
            bench.append(1..2).await
        };
        assert_eq!(tokio::join!(slow, queued), (Err(StoreError::Timeout), Err(StoreError::Timeout)));
        assert_eq!(bench.append(2..3).await, Err(StoreError::Timeout));
        bench.plan.gate.notify_one();
        bench.until_writable().await;
        bench.append(3..4).await.unwrap();
        // The first was under way when its caller gave up; the second was not.
        bench.holds([0, 3]).await;
    }

    fn closing_writes_what_is_queued(bench: LONG) {
        bench.commits(&[Step::Hangs]);
        let others = async {
            bench.until_begun().await;
            let open = async { bench.plan.gate.notify_one() };
            tokio::join!(bench.append(1..2), bench.store.close(), open)
        };
        assert_eq!(tokio::join!(bench.append(0..1), others), (Ok(()), (Ok(()), (), ())));
        bench.holds(0..2).await;
    }

    fn closing_ends_also_while_the_store_does_not_work(bench: LONG) {
        bench.commits(&[Step::Before(StoreError::Full)]);
        bench.plan.probes.lock().unwrap().extend([Step::Before(StoreError::Full); 1000]);
        assert_eq!(bench.append(0..1).await, Err(StoreError::Full));
        bench.holds([]).await;
    }
}

fn number(entry: &str) -> usize {
    entry.rsplit_once(':').unwrap().1.trim_end_matches('}').parse().unwrap()
}

/// Every sequence of faults of a commit, the reads after it and the probes, two deep: whatever is answered with Ok
/// is stored once, whatever with a fault other than a timeout is not stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_sequence_of_faults_loses_or_repeats_an_entry() {
    const FAULT: StoreError = StoreError::Io;
    let steps = [Step::Works, Step::Before(FAULT), Step::Lost(FAULT), Step::After(FAULT)];
    let mut runs = tokio::task::JoinSet::new();
    for (commit, then) in steps.into_iter().flat_map(|first| steps.map(|second| (first, second))) {
        for load in [Step::Works, Step::Before(FAULT)] {
            for probe in [Step::Works, Step::After(FAULT)] {
                runs.spawn(async move {
                    let bench = Bench::memory(LONG).await;
                    bench.commits(&[commit, then]);
                    bench.loads(&[load]);
                    bench.plan.probes.lock().unwrap().push_back(probe);
                    let mut stored = vec![];
                    for n in 0..4 {
                        bench.until_writable().await;
                        match bench.append(n..n + 1).await {
                            Ok(()) => stored.push(n),
                            Err(fault) => assert_eq!(fault, FAULT),
                        }
                    }
                    assert!(stored.ends_with(&[2, 3]), "{stored:?}");
                    bench.holds(stored).await;
                });
            }
        }
    }
    runs.join_all().await;
}
