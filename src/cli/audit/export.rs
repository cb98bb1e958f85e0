//! `audit export`: the record for other systems, oldest entry first, and on demand for as long as it grows.
//!
//! What was handed out is noted in the cursor's file after it was written, so a reader that is killed at any moment
//! goes on behind what it noted last: each entry comes at least once. Not here: the cursor itself (`cursor`), the forms
//! (`inspect`).

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cursor::Cursor;
use super::progress::Progress;
use super::which::Which;
use super::{Database, unreadable};
use crate::cli::{Env, Exit, Stop};
use crate::inspect::{csv, csv_heading, ocsf, plain, written_entry};
use crate::json::Text;
use crate::store::Row;

/// How often a record that has no more entries is looked at again.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Exports entries.
#[derive(clap::Args, Clone, Debug)]
pub struct Export {
    /// Which record.
    #[command(flatten)]
    pub database: Database,
    /// Which entries.
    #[command(flatten)]
    pub which: Which,
    /// The form: the entries byte for byte, rows for a spreadsheet, or OCSF 1.8.0 API Activity.
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    pub format: Format,
    /// Where it was left, and is noted again: the next export goes on there.
    #[arg(long, value_name = "FILE")]
    pub cursor: Option<PathBuf>,
    /// Go on with what is recorded from now on, until stopped.
    #[arg(long)]
    pub follow: bool,
    /// Append to this file; to standard output otherwise.
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
}

/// A form of entries, one a line.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As they are stored.
    Jsonl,
    /// RFC 4180.
    Csv,
    /// OCSF events.
    Ocsf,
}

impl Format {
    /// Writes an entry's line behind what `text` holds.
    fn line(self, row: &Row, text: &mut String) -> Result<(), Stop> {
        if self == Self::Jsonl {
            text.push_str(&row.entry);
        } else {
            let entry = written_entry(row.entry.as_bytes()).map_err(|e| {
                Stop::failed(format_args!(
                    "entry {} can't be read: {e}; run `tunnelwarden audit verify`",
                    row.seq
                ))
            })?;
            let write = if self == Self::Csv { csv } else { ocsf };
            write(text, row.seq, Text::of(&entry));
        }
        text.push('\n');
        Ok(())
    }
}

pub(super) async fn run(
    export: &Export,
    env: &Env,
    out: &mut (dyn Write + Send),
    errors: &mut (dyn Write + Send),
) -> Result<Exit, Stop> {
    let filter = export.which.filter(env).map_err(Stop::usage)?;
    let reader = export.database.open(env).await?;
    let mut cursor = match &export.cursor {
        Some(file) => Cursor::open(file, &reader).await?,
        None => Cursor::default(),
    };
    let ours = export.database.place(env)?;
    let mut to = export.to.as_deref().map(|to| Target::open(to, ours.file(), cursor.begun())).transpose()?;
    cursor.begin()?;
    let begun = to.as_ref().map_or(cursor.has_any(), |target| !target.is_empty);
    if export.format == Format::Csv && !begun {
        write(&format!("{}\n", csv_heading()), to.as_mut(), out)?;
    }
    let mut position = cursor.position().clone();
    if let Some(since) = filter.since {
        position = reader.not_before(since, &position).await.map_err(|error| unreadable(&error))?;
    }
    // What goes to a terminal itself shows how far it is.
    let mut progress = Progress::new(env, errors, "entries");
    loop {
        let (rows, next) = reader.beyond(&position, &filter).await.map_err(|error| unreadable(&error))?;
        let is_end = next == position;
        position = next;
        if rows.is_empty() {
            if is_end && !export.follow {
                break;
            }
            if is_end {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            continue;
        }
        let mut text = String::new();
        for row in &rows {
            export.format.line(row, &mut text)?;
        }
        write(&text, to.as_mut(), out)?;
        cursor.note(&position, &reader).await?;
        if to.is_some() {
            progress.add(rows.len() as u64);
        }
    }
    drop(progress);
    reader.close().await;
    Ok(Exit::Good)
}

/// Whatever takes it has it when this returns.
fn write(text: &str, to: Option<&mut Target>, out: &mut (dyn Write + Send)) -> Result<(), Stop> {
    match to {
        Some(target) => target.append(text),
        None => Ok(out.write_all(text.as_bytes()).and_then(|()| out.flush())?),
    }
}

/// A file that is appended to, whole lines only, and by nobody else meanwhile.
struct Target {
    file: File,
    shown: String,
    is_empty: bool,
}

impl Target {
    /// Where an export goes on, a line that was begun when it was killed goes: the cursor does not cover it, so it
    /// comes again. Any other file that does not end with a line is not one of ours.
    fn open(path: &Path, database: Option<&Path>, goes_on: bool) -> Result<Self, Stop> {
        let shown = plain(&path.display().to_string());
        let failed = |e: std::io::Error| Stop::failed(format_args!("can't append to `{shown}`: {e}"));
        let mut file = File::options().read(true).append(true).create(true).open(path).map_err(failed)?;
        let identity = |about: std::fs::Metadata| (about.dev(), about.ino());
        let known = database.and_then(|file| std::fs::metadata(file).map(identity).ok());
        if known == Some(identity(file.metadata().map_err(failed)?)) {
            return Err(Stop::usage(format_args!("`{shown}` is the record itself")));
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Stop::failed(format_args!("another export appends to `{shown}`")));
            }
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        let length = file.metadata().map_err(failed)?.len();
        let whole = end_of_lines(&mut file).map_err(failed)?;
        if whole < length {
            if !goes_on {
                return Err(Stop::usage(format_args!(
                    "`{shown}` does not end with a line, so no export wrote it to its end; take another file"
                )));
            }
            file.set_len(whole).map_err(failed)?;
        }
        Ok(Self { file, shown, is_empty: whole == 0 })
    }

    fn append(&mut self, text: &str) -> Result<(), Stop> {
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|e| Stop::failed(format_args!("can't append to `{}`: {e}", self.shown)))
    }
}

/// Bytes up to the end of the last whole line.
fn end_of_lines(file: &mut File) -> std::io::Result<u64> {
    const BLOCK: u64 = 64 << 10;
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        let mut block = Vec::new();
        std::io::Read::by_ref(file).take(end - start).read_to_end(&mut block)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}
