//! `audit history`: what became of one tunnel, oldest first.

use std::io::Write;

use jiff::tz::TimeZone;

use super::which::parse_range;
use super::{Database, unreadable};
use crate::cli::{Env, Exit, Stop};
use crate::inspect::{localized, moment, plain, read_entry};
use crate::store::{Filter, Reader, Row};

/// Entries that are read at once.
const PAGE: usize = 64;

/// Tells a tunnel's history.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct History {
    /// Which record.
    #[command(flatten)]
    pub database: Database,
    /// The tunnel's id, or the name that it has or had.
    pub tunnel: String,
    /// Not before: a date, RFC 3339, or how long ago (`30m`, `2h`, `7d`).
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Before: a date, RFC 3339, or how long ago.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Print the stored entries, byte for byte, one a line.
    #[arg(long)]
    pub json: bool,
}

pub(super) async fn run(history: &History, env: &Env, out: &mut (dyn Write + Send)) -> Result<Exit, Stop> {
    let (since, until) =
        parse_range(history.since.as_deref(), history.until.as_deref(), env).map_err(Stop::usage)?;
    let zone = env.zone();
    let reader = history.database.open(env).await?;
    let ids = ids(&reader, &history.tunnel).await?;
    let mut any = false;
    for id in &ids {
        let filter = Filter { since, until, tunnel: Some(id.clone()), writes: true, ..Filter::default() };
        let mut seqs = reader.find(&filter).await.map_err(|error| unreadable(&error))?;
        seqs.reverse();
        any |= !seqs.is_empty();
        if ids.len() > 1 && !history.json && !seqs.is_empty() {
            writeln!(out, "tunnel {}", plain(id))?;
        }
        for page in seqs.chunks(PAGE) {
            let rows = reader.entries(page).await.map_err(|error| unreadable(&error))?;
            rows.iter().try_for_each(|row| write_row(row, id, (!history.json).then_some(&zone), out))?;
        }
    }
    reader.close().await;
    if !any && !history.json {
        writeln!(out, "no write on such a tunnel is recorded in this time")?;
    }
    Ok(Exit::Good)
}

/// For a person in a zone, or as it is stored.
fn write_row(row: &Row, tunnel: &str, zone: Option<&TimeZone>, out: &mut dyn Write) -> Result<(), Stop> {
    let Some(zone) = zone else {
        writeln!(out, "{}", row.entry)?;
        return Ok(());
    };
    let entry = read_entry(row.entry.as_bytes()).map_err(|e| {
        Stop::failed(format_args!("entry {} can't be read: {e}; run `tunnelwarden audit verify`", row.seq))
    })?;
    let moment = moment(&localized(entry, zone), tunnel);
    writeln!(out, "{}", moment.what)?;
    moment.changes.iter().try_for_each(|change| writeln!(out, "    {change}"))?;
    Ok(())
}

/// The tunnel's id; of a name, the ids of all tunnels that were called so.
pub(super) async fn ids(reader: &Reader, tunnel: &str) -> Result<Vec<String>, Stop> {
    if tunnel.len() == 32 && tunnel.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(vec![tunnel.to_ascii_lowercase()]);
    }
    let ids = reader.tunnels_named(tunnel).await.map_err(|error| unreadable(&error))?;
    if ids.is_empty() {
        let tunnel = plain(tunnel);
        return Err(Stop::failed(format_args!(
            "no entry tells of a tunnel with the id or the name `{tunnel}`"
        )));
    }
    Ok(ids)
}
