//! Moves a record from a file to a server: every entry, tile and checkpoint byte for byte, under the keys that signed them.
//!
//! The record is verified before, and again where it arrived. Cut short, the same call goes on. Not here: how a piece is stored
//! (`store::Import`).

use std::path::Path;

use super::why;
use crate::inspect::{self, Evidence};
use crate::seal::{Hash, TILE, Tile, Tree, Verifier, hash_from, hashes_from};
use crate::store::{Database, Import, Lock, LogId, Reader, Server, Snapshot};

/// Tiles and checkpoints that go over in one piece.
const PIECE: usize = 64;

/// What was moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Entries that the log has.
    pub entries: u64,
    /// How many of them were there from an earlier call.
    pub before: u64,
    /// Checkpoints that it has.
    pub checkpoints: u64,
}

/// Moves the record in a file, which nobody writes meanwhile, to a server, as a log of its own. `keys` are those that signed it.
/// `done` is told the number of entries that are there.
///
/// # Errors
/// The record does not verify, the server can't take it, or what arrived is not what was sent.
pub async fn copy(
    from: &Path,
    to: &Server,
    keys: (Verifier, Vec<Verifier>),
    done: &mut (dyn FnMut(u64) + Send),
) -> Result<Copied, String> {
    let _lock = Lock::take(from).map_err(|e| why(&e))?;
    let reader = Reader::open(from).await.map_err(|e| why(&e))?;
    let (key, other_keys) = keys;
    let evidence = Evidence { other_keys, ..Evidence::of(key.clone()) };
    let report = inspect::verify(&reader, &evidence, &mut |_| {}).await.map_err(|e| why(&e))?;
    if !report.is_sound() {
        return Err("the record is not as it was recorded; run `tunnelwarden audit verify`".to_owned());
    }
    let mut snapshot = reader.snapshot(&LogId::single()).await.map_err(|e| why(&e))?;
    let moved = send(&mut snapshot, to, key.origin(), done).await;
    snapshot.end().await;
    reader.close().await;
    let copied = moved?;
    // The server's word is no proof.
    let arrived = Reader::open(&Database::Postgres(to.clone())).await.map_err(|e| why(&e))?;
    let logs = arrived.logs().await.map_err(|e| why(&e))?;
    let log = logs.into_iter().find(|log| log.name.as_deref() == Some(to.replica()));
    let log = log.ok_or("the server has no such log")?;
    let found = inspect::verify_one(&arrived, &evidence, log).await.map_err(|e| why(&e))?;
    arrived.close().await;
    if !found.is_sound() || (found.good, &found.root) != (report.good, &report.root) {
        let what =
            found.first_bad.map(|bad| bad.what).or(found.problems.into_iter().next()).unwrap_or_default();
        return Err(format!("what arrived is not what was sent: {what}"));
    }
    Ok(copied)
}

async fn send(
    snapshot: &mut Snapshot,
    to: &Server,
    origin: &str,
    done: &mut (dyn FnMut(u64) + Send),
) -> Result<Copied, String> {
    let unreadable = |e: sqlx::Error| format!("the record can't be read: {e}");
    let mut import = Import::begin(to.clone(), origin).await.map_err(|e| why(&e))?;
    let before = import.entries();
    let checkpoints = import.has(0).await.map_err(|e| why(&e))?.1;
    if import.is_whole() {
        return Ok(Copied { entries: before, before, checkpoints });
    }
    loop {
        let page = snapshot.entries(import.entries().cast_signed()).await.map_err(unreadable)?;
        if page.is_empty() {
            break;
        }
        let row = |raw: &crate::store::RawEntry| -> Option<(Hash, String)> {
            Some((hash_from(&raw.leaf)?, String::from_utf8(raw.entry.as_ref()?.to_vec()).ok()?))
        };
        let rows = page.iter().map(row).collect::<Option<Vec<_>>>().ok_or("an entry can't be read")?;
        import.add_entries(&rows).await.map_err(|e| why(&e))?;
        done(import.entries());
    }
    let size = import.entries();
    for level in 0..u32::try_from(Tree::levels(size)).unwrap_or(0) {
        let full = size.checked_shr(8 * (level + 1)).unwrap_or(0);
        let mut next = import.has(level).await.map_err(|e| why(&e))?.0;
        while next < full {
            let mut tiles = Vec::new();
            while next < full && tiles.len() < PIECE {
                tiles.push(tile(snapshot, level, next).await?);
                next += 1;
            }
            import.add_tiles(tiles).await.map_err(|e| why(&e))?;
        }
    }
    let mut next = checkpoints;
    loop {
        let page = snapshot.checkpoints(next.cast_signed()).await.map_err(unreadable)?;
        if page.is_empty() {
            break;
        }
        let note = |raw: crate::store::RawCheckpoint| {
            let note = String::from_utf8(raw.note).ok()?;
            Some((raw.n.cast_unsigned(), raw.size.cast_unsigned(), note))
        };
        let page =
            page.into_iter().map(note).collect::<Option<Vec<_>>>().ok_or("a checkpoint can't be read")?;
        next += page.len() as u64;
        import.add_checkpoints(&page).await.map_err(|e| why(&e))?;
    }
    let head = snapshot.heads().await.map_err(unreadable)?.pop().ok_or("the record has no head")?;
    let head = String::from_utf8(head.note).map_err(|_| "the head can't be read")?;
    import.finish(&head).await.map_err(|e| why(&e))?;
    Ok(Copied { entries: size, before, checkpoints: next })
}

async fn tile(snapshot: &mut Snapshot, level: u32, index: u64) -> Result<Tile, String> {
    let missing = || "a tile can't be read".to_owned();
    let raw = snapshot
        .tile(level, index.cast_signed())
        .await
        .map_err(|e| e.to_string())?
        .pop()
        .ok_or_else(missing)?;
    let hashes = hashes_from(&raw.hashes).filter(|hashes| hashes.len() == TILE).ok_or_else(missing)?;
    Ok(Tile { level, index, root: hash_from(&raw.root).ok_or_else(missing)?, hashes })
}
