//! `audit list`: the entries that fit, as a table or byte for byte.

use std::collections::BTreeMap;
use std::io::Write;

use jiff::{SignedDuration, Timestamp};

use super::color::Paint;
use super::{Database, unreadable};
use crate::cli::{Env, Exit, Stop};
use crate::entry::Kind;
use crate::inspect::{Line, Table, plain, read_entry};
use crate::json::Json;
use crate::operation::Operation;
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
    /// Not before: RFC 3339, or how long ago (`30m`, `2h`, `7d`).
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Before: RFC 3339, or how long ago.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Whose calls.
    #[arg(long)]
    pub subject: Option<String>,
    /// Calls by members of this team.
    #[arg(long)]
    pub team: Option<String>,
    /// Calls about this tunnel, by its id or its name.
    #[arg(long, value_name = "ID|NAME")]
    pub tunnel: Option<String>,
    /// Calls of this operation.
    #[arg(long, value_parser = parse_operation)]
    pub operation: Option<Operation>,
    /// Entries of this kind; heartbeats are in the table only where they are asked for.
    #[arg(long, value_parser = parse_kind)]
    pub kind: Option<Kind>,
    /// The newest so many; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: u32,
    /// Print the stored entries, byte for byte, one a line.
    #[arg(long)]
    pub json: bool,
}

fn parse_operation(name: &str) -> Result<Operation, String> {
    let names = || Operation::ALL.map(Operation::name).join(", ");
    Operation::from_name(name).ok_or_else(|| format!("there are {}", names()))
}

fn parse_kind(name: &str) -> Result<Kind, String> {
    let names = || Kind::ALL.map(Kind::name).join(", ");
    Kind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| format!("there are {}", names()))
}

/// A time, given as one or as how long before `now`.
pub(super) fn parse_time(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let wrong = || format!("`{}` is no time; write 2026-01-31T12:00:00Z, or 30m, 2h, 7d", plain(text));
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        'w' => 7 * 24 * 3600,
        _ => return Err(wrong()),
    };
    let digits = text.strip_suffix(unit).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    let count: i64 = digits.and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
    let ago = count.checked_mul(seconds).ok_or_else(wrong)?;
    now.checked_sub(SignedDuration::from_secs(ago)).map_err(|_| wrong())
}

impl List {
    fn filter(&self, now: Timestamp) -> Result<Filter, String> {
        let time = |text: &Option<String>| text.as_deref().map(|text| parse_time(text, now)).transpose();
        Ok(Filter {
            since: time(&self.since)?,
            until: time(&self.until)?,
            subject: self.subject.clone(),
            team: self.team.clone(),
            tunnel: self.tunnel.clone(),
            operation: self.operation,
            kind: self.kind,
            writes: false,
            no_heartbeats: !self.json,
            after: None,
            limit: (self.limit > 0).then_some(self.limit),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let now = "2026-03-10T12:00:00Z".parse().unwrap();
        assert_eq!(parse_time(text, now).ok().map(|time| time.to_string()).as_deref(), expected, "{text}");
    }

    #[test]
    fn a_time_is_a_moment_or_how_long_ago() {
        check("2026-01-31T12:00:00Z", Some("2026-01-31T12:00:00Z"));
        check("2026-01-31T12:00:00+02:00", Some("2026-01-31T10:00:00Z"));
        check("90s", Some("2026-03-10T11:58:30Z"));
        check("2h", Some("2026-03-10T10:00:00Z"));
        check("7d", Some("2026-03-03T12:00:00Z"));
        for wrong in
            ["", "d", "-1d", "+1d", "1.5h", "7y", "99999999999999999999d", "9223372036854775807w", "7é"]
        {
            check(wrong, None);
        }
    }
}
