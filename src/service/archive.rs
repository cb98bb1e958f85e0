//! Moves the bodies of old entries out of the record into a file that verifies by itself.
//!
//! ```text
//! file, whole on the disk ──▶ read back and verified ──▶ an entry says so ──▶ stubs take the place of the texts ──▶ no gaps
//! ```
//!
//! Cut short before the entry, nothing has changed but that there is a file. Cut short behind it, the record verifies
//! with some texts still whole, and the next run ends it. Not here: the file (`archive`), the stubs' way into the
//! tables (`store::put_stubs`).

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Write as _};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::rotate::sync_folder;
use super::{keys, why};
use crate::archive::{self, Header, Proven, Writer};
use crate::clock::{Clock, Ids, rfc3339};
use crate::config::Audit;
use crate::entry::{self, Entry, Kind};
use crate::inspect::archive_begin;
use crate::json::{Json, Object};
use crate::seal::{Signer, TILE, Verifier};
use crate::store::{Filter, Reader, Settings, Store, compact, put_stubs};

/// Who archives what, and where to.
#[derive(Debug)]
pub struct Wanted {
    /// Only entries that were stored before the first one that is not older than this.
    pub before: Timestamp,
    /// The file, which must not exist.
    pub file: PathBuf,
    /// Who does it, for the record.
    pub operator: Object,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Entries of an earlier run whose stubs were put in place by this one, if they were not yet.
    pub earlier: Option<Range<u64>>,
    /// The archive, if there was anything to archive.
    pub archived: Option<Proven>,
    /// What kept the archive from going as far as the time allowed, if anything did.
    pub held_back: Option<&'static str>,
}

/// Archives. `done` is told how many entries were gone through, first for the file and again for the stubs.
///
/// # Errors
/// What stands in the way. Nothing is lost, and the same call can be made again.
pub async fn archive(
    audit: &Audit,
    wanted: Wanted,
    clock: Arc<dyn Clock>,
    done: &mut (dyn FnMut(u64) + Send),
) -> Result<Outcome, String> {
    let settings = Settings {
        database: audit.database.clone(),
        checkpoint_files: audit.checkpoint_files.clone(),
        append_timeout: audit.append_timeout,
    };
    archive_with(&settings, keys::signer(audit)?, wanted, clock, done).await
}

async fn archive_with(
    settings: &Settings,
    signer: Arc<Signer>,
    wanted: Wanted,
    clock: Arc<dyn Clock>,
    done: &mut (dyn FnMut(u64) + Send),
) -> Result<Outcome, String> {
    check_target(&wanted.file)?;
    if !settings.database.try_exists().is_ok_and(|exists| exists) {
        return Err(format!("there is no record at `{}`", settings.database.display()));
    }
    let key = signer.verifier().map_err(|e| e.to_string())?;
    // Takes the lock, and looks at the end of the log as a start does.
    let store = Store::open(settings.clone(), signer, Arc::clone(&clock)).await.map_err(|e| why(&e))?;
    let written = write(&store, settings, &key, &wanted, &clock, done).await;
    store.close().await;
    let (earlier, archived, held_back) = written?;
    let now = archived.as_ref().map(|proven| proven.header.from()..proven.header.to());
    for range in [&earlier, &now].into_iter().flatten() {
        put_stubs(settings, range.clone(), done).await.map_err(|e| why(&e))?;
    }
    if earlier.is_some() || archived.is_some() {
        compact(settings).await.map_err(|e| {
            format!("the bodies were moved, but they may still be found in gaps of the database's file; run this again: {}", why(&e))
        })?;
    }
    Ok(Outcome { earlier, archived, held_back })
}

type Written = (Option<Range<u64>>, Option<Proven>, Option<&'static str>);

/// Writes the file and the entry that says so.
async fn write(
    store: &Store,
    settings: &Settings,
    key: &Verifier,
    wanted: &Wanted,
    clock: &Arc<dyn Clock>,
    done: &mut (dyn FnMut(u64) + Send),
) -> Result<Written, String> {
    let reader = Reader::open(&settings.database).await.map_err(|e| why(&e))?;
    let earlier = last(&reader).await?;
    let from = earlier.as_ref().map_or(0, |range| range.end);
    let (end, held_back) = end(&reader, wanted.before, store.size()).await.map_err(|e| why(&e))?;
    let checkpoint = reader.checkpoint_up_to(end).await.map_err(|e| why(&e))?;
    let Some((_, note)) = checkpoint.filter(|(size, _)| *size > from) else {
        return Ok((earlier, None, held_back));
    };
    let begin = archive_begin(&reader, key, from).await.map_err(|e| why(&e))?;
    let (roots, keys) =
        begin.ok_or("the record has not the hashes before the archive; run `audit verify`")?;
    let header = Header::new(from, roots, &note, &keys).map_err(|e| why(&e))?;
    let proven = write_file(&reader, header, &keys, &wanted.file, done).await?;
    reader.close().await;
    let entry = told(&proven, wanted, clock);
    store.append(vec![entry]).await.map_err(|e| why(&e))?;
    Ok((earlier, Some(proven), held_back))
}

/// What the newest entry that tells of an archive says to be in it.
async fn last(reader: &Reader) -> Result<Option<Range<u64>>, String> {
    let Some(row) = reader.last_archived().await.map_err(|e| why(&e))? else { return Ok(None) };
    let read = entry::read(row.entry.as_bytes()).ok();
    let number = |name| read.as_ref().and_then(|entry| u64::try_from(entry.get(name)?.as_i64()?).ok());
    let range = number("from").zip(number("to")).map(|(from, to)| from..to);
    let told = range.ok_or_else(|| format!("entry {} tells of no archive; run `audit verify`", row.seq))?;
    Ok(Some(told))
}

/// Before which entry the archive must end, and what keeps it from a later one.
async fn end(
    reader: &Reader,
    before: Timestamp,
    size: u64,
) -> Result<(u64, Option<&'static str>), crate::store::ReadError> {
    let newer = reader.first_since(before).await?.unwrap_or(size);
    // A start reads these whole.
    let edge = size - size % TILE as u64;
    let mut open = reader.intents_without_outcome(reader.ended_before().await?).await?;
    open.extend(reader.intents_ambiguous().await?);
    let open = open.iter().map(|row| row.seq).min().unwrap_or(u64::MAX);
    let end = newer.min(edge).min(open);
    let why = if end == newer {
        None
    } else if end == open {
        Some("a call whose end is not known yet")
    } else {
        Some("the last few entries, which stay until there are 256")
    };
    Ok((end, why))
}

fn check_target(file: &Path) -> Result<(), String> {
    let shown = file.display();
    match file.try_exists() {
        Ok(false) => Ok(()),
        Ok(true) => Err(format!(
            "`{shown}` is there already; give another name, or take it away if no entry tells of it"
        )),
        Err(e) => Err(format!("`{shown}` can't be looked at: {e}")),
    }
}

/// Writes the file beside its place, brings it to the disk, reads it back, and puts it in its place.
async fn write_file(
    reader: &Reader,
    header: Header,
    keys: &[Verifier],
    file: &Path,
    done: &mut (dyn FnMut(u64) + Send),
) -> Result<Proven, String> {
    let mut partial = file.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let failed = |e: std::io::Error| format!("`{}` can't be written: {e}", partial.display());
    match std::fs::remove_file(&partial) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
        Ok(()) | Err(_) => {}
    }
    let mut options = OpenOptions::new();
    // What is in it is for its owner, as the database is.
    let mut out = options.write(true).create_new(true).mode(0o600).open(&partial).map_err(failed)?;
    let (from, to) = (header.from(), header.to());
    let mut writer = Writer::new(BufWriter::new(&mut out), header).map_err(|e| why(&e))?;
    let mut next = from;
    while next < to {
        let filter = Filter { after: next.checked_sub(1), before: Some(to), ..Filter::default() };
        let page = reader.page(&filter).await.map_err(|e| why(&e))?;
        let Some(last) = page.last() else { break };
        let last = last.seq;
        for row in &page {
            if row.seq != next {
                return Err(format!("entry {next} is missing; run `audit verify`"));
            }
            writer.push(&row.entry).map_err(|e| why(&e))?;
            next += 1;
        }
        done(last + 1 - (next - page.len() as u64));
    }
    let written = writer.finish().map_err(|e| why(&e))?;
    out.flush().and_then(|()| out.sync_all()).map_err(failed)?;
    let read = read_back(&partial, keys)?;
    if read != written {
        return Err(format!("`{}` does not hold what was written to it", partial.display()));
    }
    check_target(file)?;
    std::fs::rename(&partial, file).map_err(failed)?;
    sync_folder(file)?;
    Ok(read)
}

fn read_back(file: &Path, keys: &[Verifier]) -> Result<Proven, String> {
    let input = File::open(file).map_err(|e| format!("`{}` can't be read: {e}", file.display()))?;
    let read = archive::Reader::open(BufReader::new(input), keys).and_then(archive::Reader::finish);
    read.map_err(|e| why(&e))
}

/// The entry that tells of the archive.
fn told(proven: &Proven, wanted: &Wanted, clock: &Arc<dyn Clock>) -> String {
    let mut file = Object::new();
    file.set("name", wanted.file.file_name().map(|name| name.to_string_lossy().into_owned()));
    file.set("sha256", proven.sha256.clone());
    file.set("bytes", proven.bytes);
    let mut members = Object::new();
    members.set("from", proven.header.from());
    members.set("to", proven.header.to());
    members.set("before", rfc3339(wanted.before));
    members.set("file", file);
    members.set("stubs", proven.stubs.to_string());
    members.set("operator", wanted.operator.clone());
    let (time, id) = (clock.now(), Ids::new(Arc::clone(clock)).next());
    let entry = Entry { kind: Kind::Archived, id, time, request_id: id, members };
    Json::to_text(&entry.into_json())
}

#[cfg(test)]
mod tests;
