//! Moves the bodies of old entries out of the record into a file that verifies by itself.
//!
//! ```text
//! file, whole on the disk ──▶ read back and verified ──▶ an entry says so ──▶ stubs take the place of the texts ──▶ no gaps
//! ```
//!
//! Cut short before the entry, nothing has changed but that there is a file. Cut short behind it, the record verifies
//! with some texts still whole, and the next run ends it, given the file. Not here: the file (`archive`), the stubs' way into the
//! tables (`store::put_stubs`).

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::rotate::sync_folder;
use super::{keys, settings, why};
use crate::archive::{self, Header, Proven, Writer};
use crate::atomic_file::beside;
use crate::clock::{Clock, Ids, rfc3339};
use crate::config::Audit;
use crate::entry::{Entry, Kind};
use crate::inspect::{self, Archived, Evidence, subtree_roots};
use crate::json::{Json, Object};
use crate::seal::{Signer, TILE, Verifier};
use crate::store::{Filter, LogId, OpenError, Reader, Settings, Store, compact, put_stubs};

/// Who archives what, and where to.
#[derive(Debug)]
pub struct ArchiveRequest {
    /// Only entries that were stored before the first one that is not older than this.
    pub before: Timestamp,
    /// The file, which must not exist.
    pub file: PathBuf,
    /// Who does it, for the record.
    pub operator: Object,
}

/// What came of it.
#[derive(Debug)]
pub struct ArchiveOutcome {
    /// The archive, if there was anything to archive.
    pub archived: Option<Proven>,
    /// The archive of an earlier run that was cut short, which this one ended; then nothing else was archived.
    pub ended: Option<Proven>,
    /// What kept the archive from going as far as the time allowed, if anything did.
    pub held_back: Option<&'static str>,
}

/// Archives, or ends what an earlier run began. `done` is told how many entries were gone through, each a few times.
///
/// # Errors
/// What stands in the way. Nothing is lost, and the same call can be made again.
pub async fn archive(
    audit: &Audit,
    request: ArchiveRequest,
    clock: Arc<dyn Clock>,
    done: &mut (dyn FnMut(u64) + Send),
) -> Result<ArchiveOutcome, String> {
    check_name(&request.file, [&audit.signing_key_file, &audit.fingerprint_key_file])?;
    archive_with(&settings(audit), keys::signer(audit)?, request, clock, done).await
}

async fn archive_with(
    settings: &Settings,
    signer: Arc<Signer>,
    request: ArchiveRequest,
    clock: Arc<dyn Clock>,
    done: &mut (dyn FnMut(u64) + Send),
) -> Result<ArchiveOutcome, String> {
    let record = settings.database.file().ok_or_else(|| OpenError::OnlyFiles("archive").to_string())?;
    check_name(&request.file, settings.checkpoint_files.iter().chain([&record.to_owned()]))?;
    if !record.try_exists().is_ok_and(|exists| exists) {
        return Err(format!("there is no record at `{}`", record.display()));
    }
    let key = signer.verifier().map_err(|e| e.to_string())?;
    // Takes the lock, and looks at the end of the log as a start does.
    let store = Store::open(settings.clone(), signer, Arc::clone(&clock)).await.map_err(|e| why(&e))?;
    let written = write(&store, settings, &key, &request, &clock, done).await;
    store.close().await;
    let Written { archived, begun, held_back, any } = written?;
    if let Some(proven) = archived.as_ref().or(begun.as_ref()) {
        // What is about to go from the record must be there, whatever happened since it was written.
        let now = read_back(&request.file, &proven.keys)?;
        if now != proven.of {
            return Err(format!("`{}` does not hold what was written to it", request.file.display()));
        }
        let range = proven.of.header.from()..proven.of.header.to();
        put_stubs(settings, range, done).await.map_err(|e| why(&e))?;
    }
    if any {
        compact(settings).await.map_err(|e| {
            format!(
                "the bodies were moved, but they may still be found in gaps of the database's file: {}; end what reads \
                 the database, and run this again",
                why(&e)
            )
        })?;
    }
    Ok(ArchiveOutcome {
        archived: archived.map(|archived| archived.of),
        ended: begun.map(|begun| begun.of),
        held_back,
    })
}

/// An archive and the keys it was read with.
struct Checked {
    of: Proven,
    keys: Vec<Verifier>,
}

struct Written {
    /// The archive that was written now.
    archived: Option<Checked>,
    /// The archive of an earlier run that was cut short.
    begun: Option<Checked>,
    held_back: Option<&'static str>,
    /// Whether there is any archive.
    any: bool,
}

/// Writes the file and the entry that says so, or finds the file of a run that was cut short.
async fn write(
    store: &Store,
    settings: &Settings,
    key: &Verifier,
    request: &ArchiveRequest,
    clock: &Arc<dyn Clock>,
    done: &mut (dyn FnMut(u64) + Send),
) -> Result<Written, String> {
    let newest = store.newest();
    let reader = Reader::open(&settings.database).await.map_err(|e| why(&e))?;
    // What the record says of keys and archives is worth something only if it is whole.
    let evidence = Evidence { entries_only: true, ..Evidence::of(key.clone()) };
    let report = inspect::verify(&reader, &evidence, &mut |_| {}).await.map_err(|e| why(&e))?;
    if !report.is_sound() {
        return Err("the record is not as it was recorded; run `tunnelwarden audit verify`".to_owned());
    }
    let keys: Vec<Verifier> = report.keys.iter().filter_map(|(key, _)| Verifier::new(key).ok()).collect();
    if let Some(begun) = report.archives.iter().find(|archive| archive.whole > 0) {
        let of = read_begun(&request.file, begun, &keys)?;
        let begun = Some(Checked { of, keys });
        return Ok(Written { archived: None, begun, held_back: None, any: true });
    }
    check_target(&request.file)?;
    let from = report.archives.last().map_or(0, |archive| archive.entries.end);
    let (end, held_back) = end(&reader, request.before, newest.0).await.map_err(|e| why(&e))?;
    let checkpoint = reader.checkpoint_up_to(end).await.map_err(|e| why(&e))?;
    let Some((_, note)) = checkpoint.filter(|(size, _)| *size > from) else {
        return Ok(Written { archived: None, begun: None, held_back, any: from > 0 });
    };
    let roots = subtree_roots(&reader, &LogId::single(), from).await.map_err(|e| why(&e))?;
    let roots = roots.ok_or("the record has not the hashes before the archive; run `audit verify`")?;
    let header = Header::new(from, roots, &note, &keys).map_err(|e| why(&e))?;
    let proven = write_file(&reader, header, &keys, &request.file, done).await?;
    // Whoever writes to the database meanwhile has no say in what is signed now: the log that the archive is of must be
    // the one that this process signs.
    let checkpoint = *proven.header.checkpoint();
    if !inspect::is_begin_of(&reader, &LogId::single(), (checkpoint.size, checkpoint.root), newest)
        .await
        .map_err(|e| why(&e))?
    {
        return Err(
            "the archive is of another log than the signed one; run `tunnelwarden audit verify`".to_owned()
        );
    }
    reader.close().await;
    store.append(vec![told(&proven, request, clock)]).await.map_err(|e| why(&e))?;
    let archived = Some(Checked { of: proven, keys });
    Ok(Written { archived, begun: None, held_back, any: true })
}

/// The archive of a run that was cut short, which must be given again.
fn read_begun(file: &Path, begun: &Archived, keys: &[Verifier]) -> Result<Proven, String> {
    let told = |pointer: &str| begun.told.pointer(pointer).and_then(Json::as_str);
    let (name, sha256) = (told("/file/name").unwrap_or("?"), told("/file/sha256").unwrap_or("?"));
    let request = format!(
        "the archive of entries {} to {} was cut short: give it with --to, to end it; its name was `{name}`, its sha256 is \
         {sha256}",
        begun.entries.start,
        begun.entries.end - 1
    );
    if !file.try_exists().is_ok_and(|exists| exists) {
        return Err(request);
    }
    let proven = read_back(file, keys).map_err(|e| format!("{request}; `{}`: {e}", file.display()))?;
    if proven.sha256 == sha256 { Ok(proven) } else { Err(request) }
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
        Ok(true) => Err(format!("`{shown}` is there already; give another name")),
        Err(e) => Err(format!("`{shown}` can't be looked at: {e}")),
    }
}

/// Files beside the record's own, whose names begin with theirs, are not safe from it.
fn check_name<'a>(file: &Path, own: impl IntoIterator<Item = &'a PathBuf>) -> Result<(), String> {
    let folder = |path: &Path| {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        parent.canonicalize().unwrap_or_else(|_| parent.to_owned())
    };
    let name = |path: &Path| path.file_name().unwrap_or_default().as_encoded_bytes().to_owned();
    let clash = own.into_iter().find(|own| folder(file) == folder(own) && name(file).starts_with(&name(own)));
    clash.map_or(Ok(()), |own| {
        let (file, own) = (file.display(), own.display());
        Err(format!(
            "`{file}` begins as `{own}` does, whose files the record makes and takes away; give another name"
        ))
    })
}

/// Writes the file beside its place, brings it to the disk, reads it back, and puts it in its place.
async fn write_file(
    reader: &Reader,
    header: Header,
    keys: &[Verifier],
    file: &Path,
    done: &mut (dyn FnMut(u64) + Send),
) -> Result<Proven, String> {
    let partial = beside(file, ".partial");
    let failed = |e: std::io::Error| format!("`{}` can't be written: {e}", partial.display());
    let mut options = OpenOptions::new();
    // What is in it is for its owner, as the database is. One that is there already may be of a run that was cut short.
    let out = options.write(true).create_new(true).mode(0o600).open(&partial).map_err(failed)?;
    let result = write_partial(reader, header, keys, (&partial, out), done).await;
    let placed = result.and_then(|proven| {
        check_target(file)?;
        std::fs::rename(&partial, file).map_err(failed)?;
        Ok(proven)
    });
    if placed.is_err() {
        // It has bodies, and is of no use.
        let _ = std::fs::remove_file(&partial);
    }
    sync_folder(file)?;
    placed
}

async fn write_partial(
    reader: &Reader,
    header: Header,
    keys: &[Verifier],
    (partial, mut out): (&Path, File),
    done: &mut (dyn FnMut(u64) + Send),
) -> Result<Proven, String> {
    let failed = |e: std::io::Error| format!("`{}` can't be written: {e}", partial.display());
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
    let read = read_back(partial, keys)?;
    if read == written {
        Ok(read)
    } else {
        Err(format!("`{}` does not hold what was written to it", partial.display()))
    }
}

fn read_back(file: &Path, keys: &[Verifier]) -> Result<Proven, String> {
    let input = File::open(file).map_err(|e| format!("`{}` can't be read: {e}", file.display()))?;
    let read = archive::Reader::open(BufReader::new(input), keys).and_then(archive::Reader::finish);
    read.map_err(|e| why(&e))
}

/// The entry that tells of the archive.
fn told(proven: &Proven, request: &ArchiveRequest, clock: &Arc<dyn Clock>) -> String {
    let mut file = Object::new();
    file.set("name", request.file.file_name().map(|name| name.to_string_lossy().into_owned()));
    file.set("sha256", proven.sha256.clone());
    file.set("bytes", proven.bytes);
    let mut members = Object::new();
    members.set("from", proven.header.from());
    members.set("to", proven.header.to());
    members.set("before", rfc3339(request.before));
    members.set("file", file);
    members.set("stubs", proven.stubs.to_string());
    members.set("operator", request.operator.clone());
    let (time, id) = (clock.now(), Ids::new(Arc::clone(clock)).next());
    let entry = Entry { kind: Kind::Archived, id, time, request_id: id, members };
    Json::to_text(&entry.into_json())
}

#[cfg(test)]
mod tests;
