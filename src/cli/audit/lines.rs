//! Entries on a terminal: a table whose columns fit the first of them, or the stored texts byte for byte.

use std::collections::BTreeMap;
use std::io::Write;

use jiff::tz::TimeZone;

use super::color::Paint;
use super::unreadable;
use crate::cli::{Env, Stop};
use crate::inspect::{Line, Table, localized, read_entry};
use crate::json::Json;
use crate::store::{Filter, ReadError, Reader, Row};

/// Tunnels whose names are looked for: each costs a query.
const MAX_NAMES: usize = 500;

/// Entries of a tunnel that are looked at for its name.
const LOOKED_AT: u32 = 16;

/// Writes entries as they come.
pub(super) struct Lines<'a> {
    names: Names<'a>,
    table: Option<Table>,
    width: Option<usize>,
    paint: Paint,
    zone: TimeZone,
    json: bool,
}

impl<'a> Lines<'a> {
    pub(super) fn new(reader: &'a Reader, env: &Env, json: bool) -> Self {
        Self {
            names: Names::new(reader),
            table: None,
            width: env.vars.get("COLUMNS").and_then(|columns| columns.parse().ok()),
            paint: Paint { colors: env.colors() },
            zone: env.zone(),
            json,
        }
    }

    /// Writes a page of entries; the first one has the heading above it.
    pub(super) async fn write(&mut self, rows: &[Row], out: &mut (dyn Write + Send)) -> Result<(), Stop> {
        if self.json {
            rows.iter().try_for_each(|row| writeln!(out, "{}", row.entry))?;
            return Ok(());
        }
        let mut lines = Vec::with_capacity(rows.len());
        for row in rows {
            let entry = read_entry(row.entry.as_bytes()).map_err(|e| {
                let remedy = "run `tunnelwarden audit verify`";
                Stop::failed(format_args!("entry {} can't be read: {e}; {remedy}", row.seq))
            })?;
            self.names.learn(&entry).await?;
            lines.push(Line::of(&localized(entry, &self.zone), &|id| {
                self.names.known.get(id).cloned().flatten()
            }));
        }
        if self.table.is_none() {
            let fit = Table::fit(&lines, self.width);
            writeln!(out, "{}", self.paint.heading(&fit.heading()))?;
            self.table = Some(fit);
        }
        if let Some(table) = &self.table {
            let painted = |line: &Line| self.paint.entry(&table.line(line), line.failed()).into_owned();
            lines.iter().try_for_each(|line| writeln!(out, "{}", painted(line)))?;
        }
        Ok(())
    }
}

/// What tunnels are called: calls that read no state have only their ids.
pub(super) struct Names<'a> {
    reader: &'a Reader,
    known: BTreeMap<String, Option<String>>,
}

impl<'a> Names<'a> {
    pub(super) const fn new(reader: &'a Reader) -> Self {
        Self { reader, known: BTreeMap::new() }
    }

    /// What the tunnel with this id is called, as far as it was learned.
    pub(super) fn known(&self, id: &str) -> Option<&str> {
        self.known.get(id).and_then(Option::as_deref)
    }

    /// Learns what the entry says, and looks in the record for what it does not.
    pub(super) async fn learn(&mut self, entry: &Json) -> Result<(), Stop> {
        for tunnel in entry.get("tunnels").and_then(Json::as_array).unwrap_or_default() {
            let Some(id) = text_of(tunnel, "id") else { continue };
            if let Some(name) = text_of(tunnel, "name") {
                self.known.insert(id, Some(name));
            } else if !self.known.contains_key(&id) && self.known.len() < MAX_NAMES {
                let name = self.look_up(&id).await.map_err(|error| unreadable(&error))?;
                self.known.insert(id, name);
            }
        }
        Ok(())
    }

    async fn look_up(&self, id: &str) -> Result<Option<String>, ReadError> {
        let filter = Filter { tunnel: Some(id.to_owned()), limit: Some(LOOKED_AT), ..Filter::default() };
        let rows = self.reader.list(&filter).await?;
        let name = |row: &Row| {
            let entry = read_entry(row.entry.as_bytes()).ok()?;
            let mut tunnels = entry.get("tunnels")?.as_array()?.iter();
            tunnels
                .find(|tunnel| text_of(tunnel, "id").as_deref() == Some(id))
                .and_then(|one| text_of(one, "name"))
        };
        Ok(rows.iter().find_map(name))
    }
}

fn text_of(object: &Json, name: &str) -> Option<String> {
    object.get(name).and_then(Json::as_str).map(str::to_owned)
}
