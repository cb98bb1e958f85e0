//! A change of key that stops after each of its steps: nothing is signed by the wrong key, and the next call ends it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::clock::ManualClock;
use crate::seal::{Checkpoint, generate_key};
use crate::store::{Store, check_record};

struct Bench {
    directory: tempfile::TempDir,
    old: SecretString,
    new: SecretString,
}

fn key() -> SecretString {
    generate_key("tunnelwarden/test").unwrap().0
}

fn signer(key: &SecretString) -> Signer {
    Signer::new(key.expose_secret()).unwrap()
}

fn verifier(key: &SecretString) -> Verifier {
    signer(key).verifier().unwrap()
}

fn entry(n: u128, kind: &str, members: &str) -> String {
    let id = uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + n);
    format!(
        r#"{{"kind":"{kind}","id":"{id}","time":"2026-01-01T00:00:00.000000Z","request_id":"{id}"{members}}}"#
    )
}

fn rotation(old: &Signer, new: &Signer) -> String {
    let (old, new) = (old.public_key(), new.public_key());
    entry(1000, "key_rotated", &format!(r#","old_key":"{old}","new_key":"{new}""#))
}

impl Bench {
    async fn make() -> Self {
        let bench = Self { directory: tempfile::tempdir().unwrap(), old: key(), new: key() };
        let store = bench.open(&bench.old).await.unwrap();
        store.append((0..300).map(|n| entry(n, "heartbeat", "")).collect()).await.unwrap();
        store.close().await;
        bench
    }

    fn settings(&self) -> Settings {
        let path = |name: &str| self.directory.path().join(name);
        Settings {
            database: path("log.db").into(),
            checkpoint_files: vec![path("one.txt"), path("two.txt")],
            append_timeout: Duration::from_secs(10),
        }
    }

    async fn open(&self, key: &SecretString) -> Result<Store, OpenError> {
        let clock = ManualClock::at(jiff::Timestamp::from_second(1_790_000_000).unwrap());
        Store::open(self.settings(), Arc::new(signer(key)), clock).await
    }

    fn change(&self) -> Change<'static> {
        Change { old: signer(&self.old), new: signer(&self.new), entry: &rotation }
    }

    /// Does as many of the steps as there are between two crashes.
    async fn steps(&self, count: u32) {
        let settings = self.settings();
        let _lock = Lock::take(settings.database.file().unwrap()).unwrap();
        let mut backend = Sqlite::new(settings.database.file().unwrap().to_owned(), Duration::from_secs(5));
        let Change { old, new, entry } = self.change();
        let stored = backend.load().await.unwrap();
        let (mut state, begun) = find(stored, &verifier(&self.old), &verifier(&self.new)).unwrap();
        assert!(!begun);
        if count > 0 {
            state = super::store(&mut backend, &state, Some(entry(&old, &new)), &old).await.unwrap();
        }
        if count > 1 {
            let one =
                Settings { checkpoint_files: vec![settings.checkpoint_files[0].clone()], ..settings.clone() };
            write_files(&one, &state, &new).await.unwrap();
        }
        if count > 2 {
            write_files(&settings, &state, &new).await.unwrap();
        }
        if count > 3 {
            super::store(&mut backend, &state, None, &new).await.unwrap();
        }
        backend.close().await;
    }

    async fn rotate(&self) -> Result<u64, OpenError> {
        let at = Rotation::begin(self.settings()).await?;
        let logs = at.hand_over(&self.old, &self.new, &rotation).await?;
        assert_eq!(logs.len(), 1);
        Ok(logs[0].1)
    }
}

#[tokio::test]
async fn a_change_of_key_that_stopped_anywhere_is_ended_by_the_next_call() {
    for count in 0..=4 {
        let bench = Bench::make().await;
        bench.steps(count).await;
        if count > 0 {
            // By then the old key signs nothing more.
            let told = bench.open(&bench.old).await.err().map(|e| e.to_string()).unwrap();
            assert!(told.contains("signing key was replaced"), "{count}: {told}");
            let checked = check_record(&bench.settings().database, &verifier(&bench.old)).await;
            assert!(matches!(checked, Err(OpenError::Disagrees(Damage::Rotated))), "{count}");
        }
        assert_eq!(bench.rotate().await.unwrap(), 301, "{count}");
        // Once more does nothing more.
        assert_eq!(bench.rotate().await.unwrap(), 301, "{count}");
        assert!(bench.open(&bench.old).await.is_err());
        let store = bench.open(&bench.new).await.unwrap();
        assert_eq!(store.size(), 301, "{count}");
        store.append(vec![entry(2000, "heartbeat", "")]).await.unwrap();
        store.close().await;
        for file in bench.settings().checkpoint_files {
            let note = std::fs::read(file).unwrap();
            assert_eq!(Checkpoint::open(&note, &verifier(&bench.new)).unwrap().size, 302);
        }
    }
}

#[tokio::test]
async fn a_key_is_replaced_by_its_holder_only_and_while_nobody_writes() {
    let bench = Bench::make().await;
    let thief = Bench { directory: bench.directory, old: key(), new: key() };
    assert!(matches!(thief.rotate().await, Err(OpenError::Disagrees(Damage::Signature))));
    let bench = Bench { directory: thief.directory, old: bench.old, new: bench.new };
    let store = bench.open(&bench.old).await.unwrap();
    assert!(matches!(bench.rotate().await, Err(OpenError::InUse(_))));
    store.close().await;
    bench.rotate().await.unwrap();
    // The key that is out of use replaces none.
    let late = Bench { directory: bench.directory, old: bench.old, new: key() };
    assert!(matches!(late.rotate().await, Err(OpenError::Disagrees(Damage::Rotated))));
}

#[tokio::test]
async fn a_checkpoint_file_that_cannot_be_written_or_proves_more_keeps_the_old_key() {
    let bench = Bench::make().await;
    let settings = bench.settings();
    let file: &PathBuf = &settings.checkpoint_files[1];
    let good = std::fs::read(file).unwrap();
    std::fs::remove_file(file).unwrap();
    std::fs::create_dir(file).unwrap();
    assert!(matches!(bench.rotate().await, Err(OpenError::File { .. })));
    std::fs::remove_dir(file).unwrap();
    let more = Checkpoint { size: 900, root: crate::seal::Hash([1; 32]), chain: None };
    std::fs::write(file, more.sign(&signer(&bench.old)).unwrap()).unwrap();
    assert!(matches!(bench.rotate().await, Err(OpenError::Disagrees(Damage::CutOff { .. }))));
    std::fs::write(file, good).unwrap();
    bench.open(&bench.old).await.unwrap().close().await;
    bench.rotate().await.unwrap();
}
