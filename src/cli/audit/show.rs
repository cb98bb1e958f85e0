//! `audit show`: everything that the record has of one call.

use std::io::Write;

use super::color::Paint;
use super::which::parse_id;
use super::{Database, unreadable};
use crate::cli::{Env, Exit, Stop};
use crate::inspect::{localized, plain, pretty, read_entry, story};

/// Shows a call.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Show {
    /// Which record.
    #[command(flatten)]
    pub database: Database,
    /// The call's request id, or the id of any of its entries.
    #[arg(value_parser = parse_id)]
    pub id: String,
    /// Print the stored entries, byte for byte, one a line.
    #[arg(long)]
    pub json: bool,
    /// Print every member of every entry, spread over lines.
    #[arg(long, conflicts_with = "json")]
    pub full: bool,
}

pub(super) async fn run(show: &Show, env: &Env, out: &mut (dyn Write + Send)) -> Result<Exit, Stop> {
    let reader = show.database.open(env).await?;
    let rows = reader.get(&show.id).await.map_err(|error| unreadable(&error))?;
    reader.close().await;
    if rows.is_empty() {
        let id = plain(&show.id);
        return Err(Stop::failed(format_args!(
            "no entry has `{id}` as its id or request id; look for it with `audit list`"
        )));
    }
    let zone = env.zone();
    let mut entries = Vec::with_capacity(rows.len());
    for row in rows {
        match read_entry(row.entry.as_bytes()) {
            _ if show.json => writeln!(out, "{}", row.entry)?,
            Ok(entry) if show.full => writeln!(out, "entry {}\n{}", row.seq, pretty(&entry))?,
            Ok(entry) => entries.push((row.seq, localized(entry, &zone))),
            Err(e) => writeln!(out, "entry {} can't be read: {e}; run `tunnelwarden audit verify`", row.seq)?,
        }
    }
    write!(out, "{}", Paint { colors: env.colors() }.story(&story(&entries)))?;
    Ok(Exit::Good)
}
