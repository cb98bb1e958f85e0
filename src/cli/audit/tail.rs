//! `audit tail`: the newest entries, and with `--follow` each one as it comes.

use std::io::Write;
use std::time::Duration;

use super::lines::Lines;
use super::which::Which;
use super::{Database, unreadable};
use crate::cli::{Env, Exit, Stop};
use crate::store::{Filter, Position, Reader};

/// How often a record that has no more entries is looked at again.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Entries that are read at once.
const PAGE: usize = 64;

/// Shows the end of the record.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Tail {
    /// Which record.
    #[command(flatten)]
    pub database: Database,
    /// Which entries. Heartbeats are in the table only where they are asked for.
    #[command(flatten)]
    pub which: Which,
    /// The newest so many, to begin with.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    pub lines: u32,
    /// Show each entry as it comes, until stopped.
    #[arg(short, long)]
    pub follow: bool,
    /// Print the stored entries, byte for byte, one a line.
    #[arg(long)]
    pub json: bool,
}

pub(super) async fn run(tail: &Tail, env: &Env, out: &mut (dyn Write + Send)) -> Result<Exit, Stop> {
    let which = tail.which.filter(env).map_err(Stop::usage)?;
    let which = Filter { no_heartbeats: !tail.json, ..which };
    let reader = tail.database.open(env).await?;
    // Before the newest are looked for: what comes meanwhile is behind it, or among them.
    let after = reader.ends().await.map_err(|error| unreadable(&error))?;
    let newest = Filter { limit: Some(tail.lines), ..which.clone() };
    let mut seqs = reader.find(&newest).await.map_err(|error| unreadable(&error))?;
    seqs.reverse();
    let mut shown = Vec::new();
    for seq in seqs {
        if reader.has_within(&after, seq).await.map_err(|error| unreadable(&error))? {
            shown.push(seq);
        }
    }
    let mut lines = Lines::new(&reader, env, tail.json);
    for page in shown.chunks(PAGE) {
        let rows = reader.entries(page).await.map_err(|error| unreadable(&error))?;
        lines.write(&rows, out).await?;
    }
    if tail.follow {
        follow(&reader, which, after, &mut lines, out).await?;
    }
    reader.close().await;
    Ok(Exit::Good)
}

/// Shows what comes, and ends only where something fails: the reader, or who reads on.
async fn follow(
    reader: &Reader,
    which: Filter,
    mut position: Position,
    lines: &mut Lines<'_>,
    out: &mut (dyn Write + Send),
) -> Result<(), Stop> {
    loop {
        out.flush()?;
        let (rows, next) = reader.beyond(&position, &which).await.map_err(|error| unreadable(&error))?;
        if next == position {
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        }
        if !rows.is_empty() {
            lines.write(&rows, out).await?;
        }
        position = next;
    }
}
