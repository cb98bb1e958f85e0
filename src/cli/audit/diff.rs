//! `audit diff`: changed fields, oldest first, a line each.
//!
//! Not here: what a call or a tunnel went through (`show`, `history`).

use std::io::Write;

use jiff::tz::TimeZone;

use super::lines::Names;
use super::which::{Which, parse_id};
use super::{Database, history, unreadable};
use crate::cli::{Env, Exit, Stop};
use crate::inspect::{change_json, change_line, local_text, plain, pointer, read_entry};
use crate::store::{Change, Changes, Filter, Reader};

/// Entries that are looked through at once where all changes are wanted: a tenth of them changes, by a few hundred bytes each.
const STRETCH: u64 = 50_000;

/// Lists changed fields.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Diff {
    /// Which record.
    #[command(flatten)]
    pub database: Database,
    /// One call's, by its request id or the id of any of its entries.
    #[arg(value_name = "ID", value_parser = parse_id)]
    pub id: Option<String>,
    /// Which calls.
    #[command(flatten)]
    pub which: Which,
    /// Only this field, or what is in it, as in `/bgp/customer_asn`, `customer_endpoint` or `/psk`.
    #[arg(long, value_name = "POINTER")]
    pub field: Option<String>,
    /// The newest so many; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: u32,
    /// Print an object a line.
    #[arg(long)]
    pub json: bool,
}

pub(super) async fn run(diff: &Diff, env: &Env, out: &mut (dyn Write + Send)) -> Result<Exit, Stop> {
    let which = diff.which.filter(env).map_err(Stop::usage)?;
    let limit = (diff.limit > 0 && diff.id.is_none()).then_some(diff.limit);
    let field = diff.field.as_deref().map(pointer);
    let reader = diff.database.open(env).await?;
    let tunnels = match &which.tunnel {
        Some(tunnel) => history::ids(&reader, tunnel).await?.into_iter().map(Some).collect(),
        None => vec![None],
    };
    if let Some(id) = &diff.id
        && reader.get(id).await.map_err(|error| unreadable(&error))?.is_empty()
    {
        return Err(Stop::failed(format_args!("no entry has `{}` as its id or request id", plain(id))));
    }
    let ask = |tunnel| Changes {
        which: Filter { tunnel, limit, ..which.clone() },
        call: diff.id.clone(),
        field: field.clone(),
        places: None,
    };
    let mut writer = Writer::new(&reader, env.zone(), diff.json);
    if limit.is_none() && diff.id.is_none() && which.tunnel.is_none() && which.subject.is_none() {
        all(&reader, &ask(None), &mut writer, out).await?;
    } else {
        let mut found = Vec::new();
        for tunnel in tunnels {
            found.extend(reader.changes(&ask(tunnel)).await.map_err(|error| unreadable(&error))?);
        }
        found.sort_by_key(|change| change.seq);
        let surplus = limit.map_or(0, |limit| found.len().saturating_sub(limit as usize));
        writer.write(found.get(surplus..).unwrap_or_default(), out).await?;
    }
    let any = writer.any;
    reader.close().await;
    if !any && !diff.json {
        writeln!(out, "no change fits")?;
    }
    Ok(Exit::Good)
}

/// All changes, a stretch of the record at a time: they need not fit into memory.
async fn all(
    reader: &Reader,
    changes: &Changes,
    writer: &mut Writer<'_>,
    out: &mut (dyn Write + Send),
) -> Result<(), Stop> {
    let failed = |error| unreadable(&error);
    let Some(last) = reader.last().await.map_err(failed)? else { return Ok(()) };
    let mut from = match changes.which.since {
        Some(since) => reader.first_since(since).await.map_err(failed)?.unwrap_or(last),
        None => 0,
    };
    while from <= last {
        let places = Some((from, from + STRETCH));
        let found = reader.changes(&Changes { places, ..changes.clone() }).await.map_err(failed)?;
        writer.write(&found, out).await?;
        from += STRETCH;
    }
    Ok(())
}

struct Writer<'a> {
    reader: &'a Reader,
    names: Names<'a>,
    zone: TimeZone,
    json: bool,
    any: bool,
}

impl<'a> Writer<'a> {
    const fn new(reader: &'a Reader, zone: TimeZone, json: bool) -> Self {
        Self { reader, names: Names::new(reader), zone, json, any: false }
    }

    async fn write(&mut self, found: &[Change], out: &mut (dyn Write + Send)) -> Result<(), Stop> {
        self.any |= !found.is_empty();
        for of_entry in found.chunk_by(|one, other| one.seq == other.seq) {
            let Some(first) = of_entry.first().filter(|_| !self.json) else {
                of_entry.iter().try_for_each(|change| writeln!(out, "{}", change_json(change)))?;
                continue;
            };
            if of_entry.iter().any(|change| self.may_name(change)) {
                self.learn(first.seq).await?;
            }
            for change in of_entry {
                let name = change.tunnel.as_deref().and_then(|id| self.names.known(id));
                let time = local_text(&change.time, &self.zone);
                writeln!(out, "{}", change_line(&Change { time, ..change.clone() }, name))?;
            }
        }
        Ok(())
    }

    /// Whether its entry may say another name than is known.
    fn may_name(&self, change: &Change) -> bool {
        let names = matches!(change.field.as_deref(), Some("" | "/name"));
        names || change.tunnel.as_deref().is_some_and(|id| self.names.known(id).is_none())
    }

    /// Learns what tunnels were called then, which an entry says itself as a rule.
    async fn learn(&mut self, seq: u64) -> Result<(), Stop> {
        for row in self.reader.entries(&[seq]).await.map_err(|error| unreadable(&error))? {
            // One that can't be read is told of by `audit verify`.
            if let Ok(entry) = read_entry(row.entry.as_bytes()) {
                self.names.learn(&entry).await?;
            }
        }
        Ok(())
    }
}
