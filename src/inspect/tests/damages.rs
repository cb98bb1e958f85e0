//! The table of damages that are tried, and what each must show.

use std::path::Path;

use sqlx::{Connection as _, Row as _};

use super::*;

/// What a damage is expected to show.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shows {
    /// Exactly this entry is named.
    Entry(u64),
    /// An entry is named that no good signature covers, at or before this one.
    AtMost(u64),
    /// No entry is bad; a line says this, and the first entry is named that the damaged evidence was to prove.
    Doubt(&'static str, u64),
}

/// Does one damage to a copy; says what must be found.
#[expect(clippy::too_many_lines, reason = "a table of damages, one arm each")]
pub(super) async fn damage(
    log: &Log,
    kind: u64,
    random: &mut Random,
    path: &Path,
) -> Option<(&'static str, Shows)> {
    let n = random.below(ENTRIES);
    let row = usize::try_from(n).unwrap();
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let forged = entry(5000 + n);
    let forged_leaf = leaf_hash(forged.as_bytes());
    Some(match kind {
        0 => {
            // In the file itself: the database would refuse a text that is no JSON.
            let mut file = std::fs::read(path).unwrap();
            let text = log.rows[row].0.as_bytes();
            let at = memchr::memmem::find(&file, text).unwrap();
            random.flip(&mut file[at..at + text.len()]);
            std::fs::write(path, file).unwrap();
            ("a byte of an entry", Shows::Entry(n))
        }
        1 => {
            let mut leaf = log.rows[row].1.clone();
            random.flip(&mut leaf);
            tamper(path, &format!("UPDATE entries SET leaf = {} WHERE seq = {n}", hex(&leaf))).await;
            ("a byte of a leaf hash", Shows::Entry(n))
        }
        2 => {
            let mut hashes = blob(path, "SELECT hashes FROM tiles").await;
            let at = random.flip(&mut hashes);
            tamper(path, &format!("UPDATE tiles SET hashes = {}", hex(&hashes))).await;
            ("a byte of a tile", Shows::Entry(at as u64 / 32))
        }
        3 => {
            let mut root = blob(path, "SELECT root FROM tiles").await;
            random.flip(&mut root);
            tamper(path, &format!("UPDATE tiles SET root = {}", hex(&root))).await;
            ("a byte of a tile's root", Shows::Entry(0))
        }
        4 => {
            let mut note = blob(path, "SELECT CAST(note AS BLOB) FROM head").await;
            random.flip(&mut note);
            tamper(path, &format!("UPDATE head SET note = CAST({} AS TEXT)", hex(&note))).await;
            ("a byte of the head", Shows::Doubt("the head", ENTRIES))
        }
        5 => {
            let mut edge = blob(path, "SELECT edge FROM head").await;
            let at = random.flip(&mut edge);
            tamper(path, &format!("UPDATE head SET edge = {}", hex(&edge))).await;
            ("a byte of the head's edge", Shows::Entry(256 + at as u64 / 32))
        }
        6 => {
            let checkpoint = random.below(25);
            let mut connection = connect(path).await;
            let query = sqlx::query("SELECT CAST(note AS BLOB) FROM checkpoints WHERE n = ?");
            let query = query.bind(i64::try_from(checkpoint).unwrap());
            let mut note: Vec<u8> = query.fetch_one(&mut connection).await.unwrap().get(0);
            connection.close().await.unwrap();
            random.flip(&mut note);
            let sql =
                format!("UPDATE checkpoints SET note = CAST({} AS TEXT) WHERE n = {checkpoint}", hex(&note));
            let first = covered_before(path, checkpoint).await;
            tamper(path, &sql).await;
            ("a byte of a checkpoint", Shows::Doubt("checkpoint ", first))
        }
        7 => {
            tamper(path, &format!("DELETE FROM entries WHERE seq = {n}")).await;
            ("an entry deleted", Shows::Entry(n))
        }
        8 => {
            tamper(path, &format!("DELETE FROM entries WHERE seq = {n}; {}", shift(n, -1))).await;
            ("an entry deleted and the gap closed", Shows::Entry(n))
        }
        9 => {
            let insert = format!(
                "INSERT INTO entries (seq, leaf, entry) VALUES ({n}, {}, {})",
                hex(&forged_leaf.0),
                quoted(&forged)
            );
            tamper(path, &format!("{}; {insert}", shift(n, 1))).await;
            ("an entry inserted", Shows::Entry(n))
        }
        10 => {
            let insert = format!(
                "DROP INDEX entries_id;
                 INSERT INTO entries (seq, leaf, entry) SELECT {n} + 1, leaf, entry FROM entries WHERE seq = {n}"
            );
            tamper(path, &format!("{}; {insert}", shift(n + 1, 1))).await;
            ("an entry duplicated", Shows::Entry(n + 1))
        }
        11 => {
            let other = random.below(ENTRIES);
            if other == n {
                return None;
            }
            let swap = format!(
                "UPDATE entries SET seq = -1 WHERE seq = {n}; UPDATE entries SET seq = {n} WHERE seq = {other};
                 UPDATE entries SET seq = {other} WHERE seq = -1"
            );
            tamper(path, &swap).await;
            ("two entries swapped", Shows::Entry(n.min(other)))
        }
        12 => {
            tamper(path, &format!("DELETE FROM entries WHERE seq >= {n}")).await;
            ("the end cut off", Shows::Entry(n))
        }
        13 => {
            let rewrite = format!(
                "UPDATE entries SET entry = {}, leaf = {} WHERE seq = {n}",
                quoted(&forged),
                hex(&forged_leaf.0)
            );
            tamper(path, &rewrite).await;
            ("an entry rewritten with its leaf", Shows::Entry(n))
        }
        14 => {
            // With everything that follows from it, but for the signatures.
            let mut leaves: Vec<_> = log.rows.iter().map(|row| hash_from(&row.1).unwrap()).collect();
            leaves[row] = forged_leaf;
            let bytes = crate::seal::hashes_to_bytes(&leaves);
            let rewrite = format!(
                "UPDATE entries SET entry = {}, leaf = {} WHERE seq = {n};
                 UPDATE tiles SET hashes = {}, root = {}; UPDATE head SET edge = {}",
                quoted(&forged),
                hex(&forged_leaf.0),
                hex(&bytes[..8192]),
                hex(&perfect_root(&leaves[..256]).0),
                hex(&bytes[8192..])
            );
            tamper(path, &rewrite).await;
            ("an entry rewritten with all hashes", Shows::AtMost(n))
        }
        15 => {
            std::fs::copy(log.directory.path().join("older.db"), path).unwrap();
            ("the end cut off with head and checkpoints", Shows::Entry(OLDER))
        }
        16 => {
            let checkpoint = random.below(25);
            let sql = format!(
                "DELETE FROM checkpoints WHERE n = {checkpoint};
                 UPDATE checkpoints SET n = n - 1 WHERE n > {checkpoint}"
            );
            tamper(path, &sql).await;
            // Which one it was, nothing tells any more.
            ("a checkpoint deleted", Shows::Doubt("checkpoints", 0))
        }
        17 => {
            let first = covered_before(path, 3).await;
            tamper(path, "UPDATE checkpoints SET size = size + 1000 WHERE n = 3").await;
            ("a checkpoint's size", Shows::Doubt("checkpoint 3", first))
        }
        18 => {
            let size = format!(
                "INSERT INTO entries (seq, leaf, entry) VALUES ({ENTRIES}, {}, {})",
                hex(&forged_leaf.0),
                quoted(&forged)
            );
            tamper(path, &size).await;
            ("an entry added behind the end", Shows::Entry(ENTRIES))
        }
        19 => {
            tamper(path, "DELETE FROM head").await;
            ("the head deleted", Shows::Doubt("the head", ENTRIES))
        }
        20 => {
            tamper(path, "DELETE FROM tiles").await;
            ("a tile deleted", Shows::Entry(0))
        }
        _ => return None,
    })
}

pub(super) const KINDS: u64 = 21;
