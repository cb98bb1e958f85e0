//! `audit list`: the entries that fit, as a table or byte for byte.

use std::io::Write;

use super::lines::Lines;
use super::which::{Which, parse_id};
use super::{Database, unreadable, views};
use crate::cli::{Env, Exit, Stop};
use crate::inspect::{place, plain};
use crate::store::{Filter, View};

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
    /// After the entry with this id, oldest first: what was listed up to there is not listed again.
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    pub after: Option<String>,
    /// The newest so many, or the oldest with --after; 0 for all. The rows that one entry has in a view stay together.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: u32,
    /// Rows of a view instead of entries, newest first: requests, changes, psk_events, refusals, tunnel_history, findings.
    #[arg(long, value_name = "NAME", value_parser = parse_view, conflicts_with_all = ["after", "kind"])]
    pub view: Option<View>,
    /// With --view changes only those of this field, such as `/customer_endpoint` or `customer_endpoint`.
    #[arg(long, value_name = "POINTER", requires = "view")]
    pub field: Option<String>,
    /// Print the stored entries, byte for byte, one a line; of a view an object a line.
    #[arg(long)]
    pub json: bool,
}

fn parse_view(name: &str) -> Result<View, String> {
    let names = || View::ALL.map(View::name).join(", ");
    View::ALL.into_iter().find(|view| view.name() == name).ok_or_else(|| format!("there are {}", names()))
}

impl List {
    fn filter(&self, env: &Env) -> Result<Filter, String> {
        Ok(Filter {
            no_heartbeats: !self.json,
            limit: (self.limit > 0).then_some(self.limit),
            ..self.which.filter(env)?
        })
    }
}

pub(super) async fn run(list: &List, env: &Env, out: &mut (dyn Write + Send)) -> Result<Exit, Stop> {
    let mut filter = list.filter(env).map_err(Stop::usage)?;
    let reader = list.database.open(env).await?;
    if let Some(view) = list.view {
        return views::run(list, view, filter, &reader, out).await;
    }
    if let Some(id) = &list.after {
        let place = place(&reader, id).await.map_err(|error| unreadable(&error))?;
        let unknown = || Stop::failed(format_args!("no entry has the id `{}`", plain(id)));
        filter.after = Some(place.ok_or_else(unknown)?);
    }
    let mut seqs = reader.find(&filter).await.map_err(|error| unreadable(&error))?;
    if filter.after.is_none() {
        seqs.reverse();
    }
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
