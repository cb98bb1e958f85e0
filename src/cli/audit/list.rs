//! `audit list`: the entries that fit, as a table or byte for byte.

use std::io::Write;

use jiff::Timestamp;

use super::lines::Lines;
use super::which::Which;
use super::{Database, unreadable};
use crate::cli::{Env, Exit, Stop};
use crate::store::Filter;

/// Entries that are read at once.
const PAGE: usize = 64;

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
    let mut lines = Lines::new(&reader, env, list.json);
    for page in seqs.chunks(PAGE) {
        let rows = reader.entries(page).await.map_err(|error| unreadable(&error))?;
        lines.write(&rows, out).await?;
    }
    reader.close().await;
    if seqs.is_empty() && !list.json {
        writeln!(out, "no entry fits")?;
    }
    Ok(Exit::Good)
}
