//! Whoever can write to the database, or reads it, while something is archived.

use super::*;

/// The note of a checkpoint over the first of these texts.
fn note(texts: &[String], size: u64, signer: &Signer) -> String {
    let mut tree = crate::seal::Tree::new();
    for text in texts.iter().take(usize::try_from(size).unwrap()) {
        let _ = tree.push(leaf_hash(text.as_bytes()));
    }
    crate::seal::Checkpoint { size, root: tree.root(), chain: None }.sign(signer).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_was_changed_for_the_time_of_an_archive_is_not_signed() {
    let bench = Bench::make().await;
    let own = Signer::new(generate_key("tunnelwarden/test").unwrap().0.expose_secret()).unwrap();
    let reader = Reader::open(&bench.path("log.db")).await.unwrap();
    let (size, _) = reader.checkpoint_up_to(100).await.unwrap().unwrap();
    reader.close().await;
    let mut texts = bench.texts().await;
    texts[9] = entry(9).replace("s9\"", "forged\"");
    let id = |n: u64| entry(n).split('"').nth(7).unwrap().to_owned();
    let (old, new) = (own.public_key(), bench.signer.public_key());
    let rotated = format!(
        r#"{{"kind":"key_rotated","id":"{0}","time":"2026-01-01T00:00:00.000000Z","request_id":"{0}","old_key":"{old}","new_key":"{new}"}}"#,
        id(300)
    );
    let archived = format!(
        r#"{{"kind":"archived","id":"{0}","time":"2026-01-01T00:00:00.000000Z","request_id":"{0}","from":0,"to":50,"stubs":"{1}"}}"#,
        id(300),
        crate::seal::Hash([1; 32])
    );
    let forged = note(&texts, size, &own);
    for sql in [
        format!(
            "UPDATE entries SET entry = '{}' WHERE seq = 9; UPDATE entries SET entry = '{rotated}' WHERE seq = 300;
             UPDATE checkpoints SET note = '{forged}' WHERE size = {size}",
            texts[9]
        ),
        format!("UPDATE entries SET entry = '{archived}' WHERE seq = 300"),
    ] {
        let copy = bench.tampered(&sql).await;
        std::fs::rename(bench.path("log.db"), bench.path("whole.db")).unwrap();
        std::fs::rename(bench.path(copy), bench.path("log.db")).unwrap();
        let told = bench.archive(100, "all.gz").await.unwrap_err();
        assert!(told.contains("is not as it was recorded"), "{told}");
        assert!(!bench.path("all.gz").exists() && bench.has_bodies());
        std::fs::rename(bench.path("whole.db"), bench.path("log.db")).unwrap();
    }
    // Nor is one whose root is not that of the log that this process signs, whatever the database says meanwhile.
    let reader = Reader::open(&bench.path("log.db")).await.unwrap();
    let texts = bench.texts().await;
    let root = |texts: &[String], size| {
        let note = note(texts, size, &bench.signer);
        crate::seal::Checkpoint::open(note.as_bytes(), &bench.signer.verifier().unwrap()).unwrap().root
    };
    let whole = (ENTRIES, root(&texts, ENTRIES));
    for size in [1, 100, 255, 256, 300, 512, 699, ENTRIES] {
        assert!(
            inspect::is_begin_of(&reader, &LogId::single(), (size, root(&texts, size)), whole).await.unwrap(),
            "{size}"
        );
        let mut other = texts.clone();
        other[0] = entry(5000);
        assert!(
            !inspect::is_begin_of(&reader, &LogId::single(), (size, root(&other, size)), whole)
                .await
                .unwrap(),
            "{size}"
        );
        let another = (ENTRIES, root(&other, ENTRIES));
        assert!(
            !inspect::is_begin_of(&reader, &LogId::single(), (size, root(&texts, size)), another)
                .await
                .unwrap(),
            "{size}"
        );
    }
    reader.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_out_of_the_log_tells_of_no_archive() {
    let bench = Bench::make().await;
    let texts = bench.texts().await;
    let id = uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + 999_999);
    let mark = format!(
        r#"{{"kind":"archived","id":"{id}","time":"2026-01-01T00:00:00.000000Z","request_id":"{id}","from":0,"to":9000000000000000000,"stubs":"{}"}}"#,
        crate::seal::Hash([1; 32])
    );
    let lie = archive::stub(&entry(650)).unwrap().replace("s650\"", "lie\"");
    for seq in [-5, 5000] {
        let copy = bench
            .tampered(&format!(
                "PRAGMA ignore_check_constraints = ON;
                 INSERT INTO entries (seq, leaf, entry) VALUES ({seq}, zeroblob(32), '{mark}');
                 UPDATE entries SET entry = '{lie}' WHERE seq = 650"
            ))
            .await;
        assert!(!bench.find(copy, None).await.is_sound());
        for size in [1, 512] {
            let from = Kept { name: "from".to_owned(), note: note(&texts, size, &bench.signer).into_bytes() };
            let report = bench.find(copy, Some(from)).await;
            assert!(!report.is_sound(), "{seq} {size}: {report:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_somebody_reads_the_database_the_bodies_are_not_said_to_be_gone() {
    let bench = Bench::make().await;
    let mut reader = connect(&bench.path("log.db")).await;
    sqlx::query("BEGIN").execute(&mut reader).await.unwrap();
    sqlx::query("SELECT count(*) FROM entries").fetch_all(&mut reader).await.unwrap();
    let told = bench.archive(100_000, "all.gz").await.unwrap_err();
    assert!(told.contains("they may still be found"), "{told}");
    sqlx::query("COMMIT").execute(&mut reader).await.unwrap();
    reader.close().await.unwrap();
    assert!(bench.archive(10, "next.gz").await.unwrap().archived.is_none());
    let stays = format!("{BODY} 1\"");
    let bytes = std::fs::read(bench.path("log.db")).unwrap();
    assert!(memchr::memmem::find(&bytes, stays.as_bytes()).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_has_no_name_that_the_record_uses() {
    let bench = Bench::make().await;
    for name in ["checkpoint.txt.new", "log.db", "log.db-journal", "log.db-wal", "checkpoint.txt"] {
        let told = bench.archive(100_000, name).await.unwrap_err();
        assert!(told.contains("give another name"), "{name}: {told}");
    }
    std::fs::write(bench.path("all.gz.partial"), "a letter").unwrap();
    assert!(bench.archive(100_000, "all.gz").await.is_err());
    assert_eq!(std::fs::read(bench.path("all.gz.partial")).unwrap(), b"a letter");
    assert!(bench.has_bodies());
}
