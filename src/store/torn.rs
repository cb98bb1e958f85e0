//! A machine that lost power: whatever is cut off the database's log, or was never written of it.
//!
//! Not here: what is found in files that somebody changed (`faults`), a process that ends at any step (`conformance`).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::conformance::{clock, entry, signer};
use super::*;

/// Entries, each in a transaction of its own.
const ENTRIES: usize = 3;

/// Bytes that a disk writes all of or nothing of.
const SECTOR: usize = 512;

/// What is left of the log's file, given what it was and from where on it is bad.
type Tear = fn(&mut Vec<u8>, usize);

fn settings(directory: &Path, checkpoint_files: Vec<PathBuf>) -> Settings {
    let database = directory.join("audit.db").into();
    Settings { database, checkpoint_files, append_timeout: Duration::from_secs(30) }
}

/// The database, its log and the newest checkpoint, as they are while the store is open.
async fn left_by_a_crash(signer: &Arc<Signer>) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let open = async || {
        let settings = settings(directory.path(), vec![file("checkpoint.txt")]);
        Store::open(settings, Arc::clone(signer), clock()).await.unwrap()
    };
    // The tables are in the database itself.
    open().await.close().await;
    let store = open().await;
    for n in 0..ENTRIES {
        store.append(vec![entry(n)]).await.unwrap();
    }
    let verifier = signer.verifier().unwrap();
    let signed = || {
        let note = std::fs::read(file("checkpoint.txt")).unwrap_or_default();
        crate::seal::Checkpoint::open(&note, &verifier).map_or(0, |checkpoint| checkpoint.size)
    };
    let until = tokio::time::Instant::now() + Duration::from_secs(30);
    while signed() < ENTRIES as u64 {
        assert!(tokio::time::Instant::now() < until, "the checkpoint file stays old");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let read = |name: &str| std::fs::read(file(name)).unwrap();
    let files = (read("audit.db"), read("audit.db-wal"), read("checkpoint.txt"));
    store.close().await;
    files
}

/// How many entries of the log are left, if it opens. Those that `check` is to look at are the first ones, and more can be
/// added.
async fn opened(
    files: (&[u8], &[u8], Option<&[u8]>),
    check: impl Fn(usize) -> bool,
    signer: &Arc<Signer>,
) -> Result<usize, OpenError> {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    std::fs::write(file("audit.db"), files.0).unwrap();
    std::fs::write(file("audit.db-wal"), files.1).unwrap();
    let checkpoint = files.2.map(|checkpoint| {
        std::fs::write(file("checkpoint.txt"), checkpoint).unwrap();
        file("checkpoint.txt")
    });
    let settings = settings(directory.path(), checkpoint.into_iter().collect());
    let store = Store::open(settings.clone(), Arc::clone(signer), clock()).await?;
    let left = usize::try_from(store.size()).unwrap();
    if !check(left) {
        store.close().await;
        return Ok(left);
    }
    store.append(vec![entry(100)]).await.unwrap();
    store.close().await;
    let reader = Reader::open(&settings.database).await.unwrap();
    let mut rows = reader.list(&Filter::default()).await.unwrap();
    rows.reverse();
    reader.close().await;
    let texts: Vec<_> = rows.into_iter().map(|row| row.entry).collect();
    assert_eq!(texts, (0..left).chain([100]).map(entry).collect::<Vec<_>>());
    Ok(left)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_cut_off_the_log_is_a_prefix_or_refused() {
    let signer = signer();
    let (database, log, checkpoint) = left_by_a_crash(&signer).await;
    let whole = opened((&database, &log, Some(&checkpoint)), |_| true, &signer).await;
    assert_eq!(whole.unwrap(), ENTRIES);
    let tears: [(&str, Tear); 3] = [
        ("cut off", |log, at| log.truncate(at)),
        ("never written", |log, at| log[at..].fill(0)),
        ("written wrong in one sector", |log, at| {
            let end = log.len().min(at + SECTOR);
            log[at..end].iter_mut().for_each(|byte| *byte ^= 0x5a);
        }),
    ];
    for (how, tear) in tears {
        let (mut last, mut refused) = (0, 0);
        for at in (0..log.len()).step_by(SECTOR) {
            let mut torn = log.clone();
            tear(&mut torn, at);
            let told = format!("{how}, at {at} of {}", log.len());
            let left = opened((&database, &torn, None), |left| left != last, &signer).await;
            let left = left.unwrap_or_else(|e| panic!("{told}: {e}"));
            assert!(left >= last, "{told}: {left} entries are left, and of a shorter one {last}");
            let is_next = at == 0 || left != last;
            last = left;
            if !is_next {
                continue;
            }
            // What a checkpoint proves to have been there is missed.
            match opened((&database, &torn, Some(&checkpoint)), |_| true, &signer).await {
                Ok(with) => assert_eq!((with, left), (ENTRIES, ENTRIES), "{told}"),
                Err(OpenError::Disagrees(Damage::CutOff { file, stored })) => {
                    assert_eq!((file, stored), (ENTRIES as u64, left as u64), "{told}");
                    refused += 1;
                }
                Err(other) => panic!("{told}: {other}"),
            }
        }
        assert!(last >= ENTRIES - 1 && refused >= ENTRIES, "{how}: {last} left, {refused} refused");
    }
}
