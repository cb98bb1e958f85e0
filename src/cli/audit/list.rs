//! `audit list`: the entries that fit, as a table or byte for byte.

use std::collections::BTreeMap;
use std::io::Write;

use jiff::Timestamp;

use super::color::Paint;
use super::which::Which;
use super::{Database, unreadable};
use crate::cli::{Env, Exit, Stop};
use crate::inspect::{Line, Table, read_entry};
use crate::json::Json;
use crate::store::{Filter, ReadError, Reader, Row};

/// Entries that are read at once.
const PAGE: usize = 64;

/// Tunnels whose names are looked for: each costs a query.
const MAX_NAMES: usize = 500;

/// Entries of a tunnel that are looked at for its name.
const LOOKED_AT: u32 = 16;

/// Lists entries.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct List {
    /// Which record.
    #[command(flatten)]
    pub database: Database,
    /// Which entries. Heartbeats are in the table only where they are asked for.
    #[command(flatten)]
    pub which: Which,
    /// The newest so many; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: u32,
    /// Print the stored entries, byte for byte, one a line.
    #[arg(long)]
    pub json: bool,
}

impl List {
    fn filter(&self, now: Timestamp) -> Result<Filter, String> {
        Ok(Filter {
            no_heartbeats: !self.json,
            limit: (self.limit > 0).then_some(self.limit),
            ..self.which.filter(now)?
        })
    }
}

pub(super) async fn run(list: &List, env: &Env, out: &mut (dyn Write + Send)) -> Result<Exit, Stop> {
    let filter = list.filter(env.clock.now()).map_err(Stop::usage)?;
    let reader = list.database.open(env).await?;
    let mut seqs = reader.find(&filter).await.map_err(|error| unreadable(&error))?;
    seqs.reverse();
    let mut names = Names { reader: &reader, known: BTreeMap::new() };
    let mut table = None;
    let paint = Paint { colors: env.colors() };
    for page in seqs.chunks(PAGE) {
        let rows = reader.entries(page).await.map_err(|error| unreadable(&error))?;
        if list.json {
            rows.iter().try_for_each(|row| writeln!(out, "{}", row.entry))?;
            continue;
        }
        let mut lines = Vec::with_capacity(rows.len());
        for row in &rows {
            let entry = read_entry(row.entry.as_bytes()).map_err(|e| {
                let remedy = "run `tunnelwarden audit verify`";
                Stop::failed(format_args!("entry {} can't be read: {e}; {remedy}", row.seq))
            })?;
            names.learn(&entry).await?;
            lines.push(Line::of(&entry, &|id| names.known.get(id).cloned().flatten()));
        }
        if table.is_none() {
            let width = env.vars.get("COLUMNS").and_then(|columns| columns.parse().ok());
            let fit = Table::fit(&lines, width);
            writeln!(out, "{}", paint.heading(&fit.heading()))?;
            table = Some(fit);
        }
        if let Some(table) = &table {
            let painted = |line: &Line| paint.entry(&table.line(line), line.failed()).into_owned();
            lines.iter().try_for_each(|line| writeln!(out, "{}", painted(line)))?;
        }
    }
    reader.close().await;
    if seqs.is_empty() && !list.json {
        writeln!(out, "no entry fits")?;
    }
    Ok(Exit::Good)
}

/// What tunnels are called: calls that read no state have only their ids.
struct Names<'a> {
    reader: &'a Reader,
    known: BTreeMap<String, Option<String>>,
}

impl Names<'_> {
    /// Learns what the entry says, and looks in the record for what it does not.
    async fn learn(&mut self, entry: &Json) -> Result<(), Stop> {
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
