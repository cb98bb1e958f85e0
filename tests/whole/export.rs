//! Exports that are killed again and again lose nothing, and write nothing half.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tunnelwarden::clock::{Ids, SystemClock};
use tunnelwarden::seal::{Signer, generate_key};
use tunnelwarden::secret::ExposeSecret as _;
use tunnelwarden::store::{Settings, Store};

/// How often it is killed.
const KILLS: u32 = 100;

fn export(folder: &Path) -> Child {
    let path = |name: &str| folder.join(name).display().to_string();
    Command::new(env!("CARGO_BIN_EXE_tunnelwarden"))
        .args(["audit", "export", "--follow", "--database", &path("audit.db")])
        .args(["--cursor", &path("cursor"), "--to", &path("out")])
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .env_clear()
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_is_killed_a_hundred_times_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (key, _) = generate_key("tunnelwarden/export").unwrap();
    let settings = Settings {
        database: folder.path().join("audit.db").into(),
        checkpoint_files: Vec::new(),
        append_timeout: Duration::from_secs(30),
    };
    let signer = Arc::new(Signer::new(key.expose_secret()).unwrap());
    let clock = SystemClock::new();
    let store = Arc::new(Store::open(settings, signer, clock.clone()).await.unwrap());
    let ids = Ids::new(clock);
    let mut written = Vec::new();
    for round in 0..KILLS {
        let mut child = export(folder.path());
        // From before it has begun to long after: some of these meet it in the middle of a page.
        let until = tokio::time::Instant::now() + Duration::from_millis(u64::from(round * 37 % 80));
        while tokio::time::Instant::now() < until {
            let batch: Vec<String> = (0..20).map(|_| entry(&ids)).collect();
            written.extend(batch.iter().cloned());
            store.append(batch).await.unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    store.close().await;
    let mut last = export(folder.path());
    let all = || std::fs::read_to_string(folder.path().join("out")).unwrap_or_default();
    let until = tokio::time::Instant::now() + Duration::from_secs(30);
    while all().lines().last() != written.last().map(String::as_str) {
        assert!(tokio::time::Instant::now() < until, "the export does not come to its end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    last.kill().unwrap();
    last.wait().unwrap();
    // Whole lines in their order; some may have come again, but none is missing.
    let out = all();
    let mut expected = written.iter().enumerate();
    let mut seen = std::collections::HashMap::new();
    for line in out.lines() {
        if !seen.contains_key(line) {
            let (at, want) = expected.next().unwrap();
            assert_eq!(line, want);
            seen.insert(line, at);
        }
    }
    assert_eq!(expected.next(), None);
    eprintln!("{} entries, {} lines", written.len(), out.lines().count());
}

fn entry(ids: &Ids) -> String {
    let id = ids.next();
    let text = "x".repeat(900);
    format!(
        r#"{{"kind":"refusal","id":"{id}","time":"2026-01-01T00:00:00.000000Z","request_id":"{id}","user_agent":"{text}"}}"#
    )
}
