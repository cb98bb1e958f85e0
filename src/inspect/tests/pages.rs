//! Entries are read many at once; no length of theirs, and no hash of another length, may hide one behind another.

use super::*;

/// Beyond this an entry is read alone.
const SHORT: usize = 32 << 10;

fn of_length(n: u64, length: usize) -> String {
    let short = entry(n);
    let more = length.saturating_sub(short.len() + 9);
    format!(r#"{},"more":"{}"}}"#, &short[..short.len() - 1], "x".repeat(more))
}

async fn log() -> (tempfile::TempDir, PathBuf, crate::seal::Verifier) {
    let lengths = [0, SHORT, 0, SHORT + 1, SHORT - 1, 100_000, 100_000, 0];
    let entries = (0..1200u64).map(|n| match n % 97 {
        0 => of_length(n, lengths[usize::try_from(n / 97 % 8).unwrap()]),
        _ => entry(n),
    });
    sealed(entries.collect()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_of_all_lengths_are_read_in_their_order() {
    let (_directory, database, verifier) = log().await;
    let found = verified(&database, &Evidence::of(verifier.clone())).await;
    assert!(found.is_sound() && found.good == 1200, "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hash_of_another_length_is_its_own_entry_s_fault() {
    for (n, longer, shorter) in [(290, 33, 31), (290, 31, 33), (600, 33, 31), (600, 64, 0)] {
        let (_directory, database, verifier) = log().await;
        let cut = |n: u64, length: usize| {
            let hash = leaf_hash(entry(n).as_bytes()).0.repeat(2);
            format!("UPDATE entries SET leaf = {} WHERE seq = {n};", hex(&hash[..length]))
        };
        tamper(&database, &format!("{}{}", cut(n, longer), cut(n + 1, shorter))).await;
        let found = verified(&database, &Evidence::of(verifier.clone())).await;
        assert_eq!(found.first_bad.as_ref().map(|bad| bad.seq), Some(n), "{longer} {shorter}: {found:?}");
    }
}

/// In the middle of a page, the entry itself is named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_entry_that_is_damaged_is_named() {
    for n in [97 * 3, 97 * 5, 97 * 6] {
        let (_directory, database, verifier) = log().await;
        let change = "UPDATE entries SET entry = replace(entry, 'xxx\"}', 'xxy\"}') WHERE seq = ";
        tamper(&database, &format!("{change}{n}")).await;
        let found = verified(&database, &Evidence::of(verifier.clone())).await;
        assert_eq!(found.first_bad.as_ref().map(|bad| bad.seq), Some(n), "{found:?}");
    }
}
