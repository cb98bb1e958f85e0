//! How far an export has come: a small file that survives it.
//!
//! It names the last entry of each log by its place and its id, so that the cursor of one record is not taken for that of another. It is
//! replaced in one step and fsynced: it is there whole, as it was or as it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::unreadable;
use crate::atomic_file;
use crate::cli::Stop;
use crate::inspect::read_entry;
use crate::json::{Json, Object};
use crate::store::{Position, Reader};

/// A cursor; one without a file is for this run only.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    file: Option<PathBuf>,
    position: Position,
    begun: bool,
}

/// The last entry in each log, by the log's name: its place and its id.
type Ends = BTreeMap<String, (u64, String)>;

impl Cursor {
    /// What a file says; one that is not there yet stands before the first entry.
    pub(super) async fn open(file: &Path, reader: &Reader) -> Result<Self, Stop> {
        let shown = file.display();
        let mut cursor = Self { file: Some(file.to_owned()), ..Self::default() };
        let text = match std::fs::read(file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(cursor),
            Err(e) => return Err(Stop::usage(format_args!("can't read the cursor `{shown}`: {e}"))),
        };
        let ends = read(&text).ok_or_else(|| Stop::usage(format_args!("`{shown}` is no cursor")))?;
        cursor.begun = true;
        for (log, (at, id)) in ends {
            let known = reader.id_at(&log, at).await.map_err(|error| unreadable(&error))?;
            if known.as_deref() != Some(id.as_str()) {
                return Err(Stop::usage(format_args!(
                    "the cursor `{shown}` is of another record: entry {at} has another id here; \
                     take another file to export this record from its beginning"
                )));
            }
            cursor.position.0.insert(log, at);
        }
        Ok(cursor)
    }

    /// The last entries that were handed out.
    pub(super) const fn position(&self) -> &Position {
        &self.position
    }

    /// Whether any were.
    pub(super) fn has_any(&self) -> bool {
        !self.position.0.is_empty()
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

    /// Notes that everything up to this position was handed out.
    pub(super) async fn note(&mut self, position: &Position, reader: &Reader) -> Result<(), Stop> {
        self.position = position.clone();
        if self.file.is_none() {
            return Ok(());
        }
        let (mut cursor, mut logs) = (Object::new(), Object::new());
        for (log, at) in &position.0 {
            let id = reader.id_at(log, *at).await.map_err(|error| unreadable(&error))?;
            if log.is_empty() {
                cursor.set("seq", *at);
                cursor.set("id", id.unwrap_or_default());
                continue;
            }
            let mut end = Object::new();
            end.set("index", *at);
            end.set("id", id.unwrap_or_default());
            logs.set(log.clone(), end);
        }
        if !logs.is_empty() {
            cursor.set("logs", logs);
        }
        self.write(&cursor)
    }

    fn write(&self, cursor: &Object) -> Result<(), Stop> {
        let Some(file) = &self.file else { return Ok(()) };
        let written =
            atomic_file::replace(file, format!("{}\n", Json::from(cursor.clone())).as_bytes(), 0o666);
        written.map_err(|e| Stop::failed(format_args!("can't write the cursor `{}`: {e}", file.display())))
    }
}

/// What a cursor's file says: the last entry of each log, of none where there was none yet.
fn read(text: &[u8]) -> Option<Ends> {
    let cursor = read_entry(text).ok()?;
    let place = |end: &Json, name: &str| {
        let at = u64::try_from(end.get(name)?.as_i64()?).ok()?;
        Some((at, end.get("id")?.as_str()?.to_owned()))
    };
    if let Some(logs) = cursor.get("logs") {
        let end = |(log, end): (&str, &Json)| Some((log.to_owned(), place(end, "index")?));
        return logs.as_object()?.iter().map(end).collect();
    }
    if cursor.get("seq")?.as_i64()? == -1 {
        return Some(Ends::new());
    }
    Some(Ends::from([(String::new(), place(&cursor, "seq")?)]))
}
