//! What stands in the way of the checkpoint's files: folders that are gone, links, pipes, a file system that hangs.

use std::process::Command;

use super::super::conformance::{clock, entry, signer};
use super::super::double::Lines;
use super::super::{OpenError, Settings, Store};
use super::*;

const LONG: Duration = Duration::from_secs(30);

fn settings(directory: &Path, checkpoint_files: Vec<PathBuf>) -> Settings {
    Settings {
        database: directory.join("audit.db").into(),
        checkpoint_files,
        append_timeout: Duration::from_secs(2),
    }
}

/// A runtime that does not wait for a thread that hangs, also where a test fails.
struct Detached(Option<tokio::runtime::Runtime>);

impl Detached {
    fn new(blocking_threads: usize) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).max_blocking_threads(blocking_threads).enable_all();
        Self(Some(builder.build().unwrap()))
    }

    fn block_on(&self, future: impl Future<Output = ()>) {
        self.0.as_ref().unwrap().block_on(future);
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        self.0.take().unwrap().shutdown_background();
    }
}

fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[tokio::test]
async fn a_checkpoint_file_that_cant_be_written_is_a_warning() {
    let (lines, _told) = Lines::told();
    let (directory, signer) = (tempfile::tempdir().unwrap(), signer());
    let gone = directory.path().join("gone");
    std::fs::create_dir(&gone).unwrap();
    let other = directory.path().join("other.txt");
    let checkpoint_files = vec![gone.join("c.txt"), other.clone()];
    let settings = settings(directory.path(), checkpoint_files);
    let store = Store::open(settings, Arc::clone(&signer), clock()).await.unwrap();
    std::fs::remove_dir_all(&gone).unwrap();
    store.append(vec![entry(0)]).await.unwrap();
    let mut health = store.health();
    let warned = health.wait_for(|health| health.checkpoint_files == [0]);
    let warned = tokio::time::timeout(LONG, warned).await.unwrap().unwrap().is_writable();
    assert!(warned);
    store.append(vec![entry(1)]).await.unwrap();
    // The other file goes on meanwhile.
    for _ in 0..200 {
        if size_in(&other, &signer) == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(size_in(&other, &signer), 2);
    assert_eq!(health.borrow().checkpoint_files, [0]);
    std::fs::create_dir(&gone).unwrap();
    let well = health.wait_for(|health| health.checkpoint_files.is_empty());
    tokio::time::timeout(LONG, well).await.unwrap().unwrap();
    store.close().await;
    // Once for each change, and not for each try.
    let shown = format!("checkpoint_file.place=0 checkpoint_file.path={}", gone.join("c.txt").display());
    let of_file: Vec<String> = lines.all().into_iter().filter(|line| line.contains(&shown)).collect();
    let [cant, can] = of_file.as_slice() else { panic!("{of_file:#?}") };
    assert!(
        cant.contains("WARN") && cant.contains("can't be written") && cant.contains("No such file"),
        "{cant}"
    );
    assert!(can.contains("INFO") && can.contains("can be written again"), "{can}");
    for file in [gone.join("c.txt"), other] {
        assert_eq!(size_in(&file, &signer), 2);
    }
}

fn size_in(file: &Path, signer: &Signer) -> u64 {
    let note = std::fs::read(file).unwrap();
    Checkpoint::open(&note, &signer.verifier().unwrap()).unwrap().size
}

/// A pipe that nobody writes to is one that a reader waits for.
#[test]
fn a_checkpoint_file_that_is_no_file_is_refused_and_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("checkpoint.txt");
    make_pipe(&pipe);
    let (said, says) = std::sync::mpsc::channel();
    std::thread::spawn(move || said.send(super::super::start::read_checkpoint(&pipe, &[])));
    let OpenError::File { doing, source, .. } = says.recv_timeout(LONG).unwrap().unwrap_err() else {
        panic!()
    };
    assert_eq!((doing, source.to_string().as_str()), ("read the checkpoint file", "it is no regular file"));
}

/// As a file system does that hangs: whatever is to be done with a file waits for a thread that is taken.
#[test]
fn a_stop_waits_for_a_checkpoint_file_only_so_long() {
    let (directory, signer) = (tempfile::tempdir().unwrap(), signer());
    let (_free, hangs) = std::sync::mpsc::channel::<()>();
    Detached::new(1).block_on(async {
        let settings = settings(directory.path(), vec![directory.path().join("checkpoint.txt")]);
        let store = Store::open(settings, signer, clock()).await.unwrap();
        tokio::task::spawn_blocking(move || hangs.recv());
        store.append(vec![entry(0)]).await.unwrap();
        tokio::time::timeout(LONG, store.close()).await.unwrap();
    });
}
