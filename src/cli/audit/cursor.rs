//! How far an export has come: a small file that survives it.
//!
//! It names the last entry by its place and its id, so that the cursor of one record is not taken for that of another. It is
//! replaced in one step and fsynced: it is there whole, as it was or as it is.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::unreadable;
use crate::cli::Stop;
use crate::inspect::read_entry;
use crate::json::{Json, Object};
use crate::store::{Reader, Row};

/// A cursor; one without a file is for this run only.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    file: Option<PathBuf>,
    seq: Option<u64>,
    begun: bool,
}

impl Cursor {
    /// What a file says; one that is not there yet stands before the first entry.
    pub(super) async fn open(file: &Path, reader: &Reader) -> Result<Self, Stop> {
        let shown = file.display();
        let text = match std::fs::read(file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { file: Some(file.to_owned()), seq: None, begun: false });
            }
            Err(e) => return Err(Stop::usage(format_args!("can't read the cursor `{shown}`: {e}"))),
        };
        let cursor = read(&text).ok_or_else(|| Stop::usage(format_args!("`{shown}` is no cursor")))?;
        let Some((seq, id)) = cursor else {
            return Ok(Self { file: Some(file.to_owned()), seq: None, begun: true });
        };
        let rows = reader.entries(&[seq]).await.map_err(|error| unreadable(&error))?;
        if rows.first().and_then(id_of).as_deref() != Some(id.as_str()) {
            return Err(Stop::usage(format_args!(
                "the cursor `{shown}` is of another record: entry {seq} has another id here; \
                 take another file to export this record from its beginning"
            )));
        }
        Ok(Self { file: Some(file.to_owned()), seq: Some(seq), begun: true })
    }

    /// The last entry that was handed out.
    pub(super) const fn seq(&self) -> Option<u64> {
        self.seq
    }

    /// Whether an export has begun with this cursor, and may have been killed since.
    pub(super) const fn begun(&self) -> bool {
        self.begun
    }

    /// Notes that an export begins, before it writes anything.
    pub(super) fn begin(&mut self) -> Result<(), Stop> {
        if self.begun {
            return Ok(());
        }
        self.begun = true;
        self.write(&Object::from_iter([("seq", -1)]))
    }

    /// Notes that everything up to this entry was handed out.
    pub(super) fn note(&mut self, last: &Row) -> Result<(), Stop> {
        self.seq = Some(last.seq);
        let mut cursor = Object::new();
        cursor.set("seq", last.seq);
        cursor.set("id", id_of(last).unwrap_or_default());
        self.write(&cursor)
    }

    fn write(&self, cursor: &Object) -> Result<(), Stop> {
        let Some(file) = &self.file else { return Ok(()) };
        let written = replace(file, &format!("{}\n", Json::from(cursor.clone())));
        written.map_err(|e| Stop::failed(format_args!("can't write the cursor `{}`: {e}", file.display())))
    }
}

/// What a cursor's file says: the last entry's place and id, or that there was none yet.
#[expect(
    clippy::option_option,
    reason = "a file that is no cursor, and one that stands before the first entry"
)]
fn read(text: &[u8]) -> Option<Option<(u64, String)>> {
    let cursor = read_entry(text).ok()?;
    let seq = cursor.get("seq")?.as_i64()?;
    if seq == -1 {
        return Some(None);
    }
    Some(Some((u64::try_from(seq).ok()?, cursor.get("id")?.as_str()?.to_owned())))
}

fn id_of(row: &Row) -> Option<String> {
    read_entry(row.entry.as_bytes()).ok()?.get("id")?.as_str().map(str::to_owned)
}

fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let mut written = std::fs::File::create(&new)?;
    written.write_all(text.as_bytes())?;
    written.sync_all()?;
    std::fs::rename(&new, file)
}
