//! `audit stats`: how many calls there were, by what, by whom, and how they ended.

use std::io::Write;

use super::which::Which;
use super::{Database, unreadable};
use crate::cli::{Env, Exit, Stop};
use crate::inspect::plain;
use crate::json::{Json, Object};
use crate::store::{By, Count, Filter};

/// What is counted by, and the table's title.
const TABLES: [(By, &str); 4] =
    [(By::Operation, "OPERATION"), (By::Subject, "WHO"), (By::Team, "TEAM"), (By::Refusal, "WHY NOT")];

/// Counts calls.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Stats {
    /// Which record.
    #[command(flatten)]
    pub database: Database,
    /// Which calls.
    #[command(flatten)]
    pub which: Which,
    /// The most frequent so many of each; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub limit: u32,
    /// Print the counts as JSON.
    #[arg(long)]
    pub json: bool,
}

pub(super) async fn run(stats: &Stats, env: &Env, out: &mut (dyn Write + Send)) -> Result<Exit, Stop> {
    let which = stats.which.filter(env).map_err(Stop::usage)?;
    let filter = Filter { limit: (stats.limit > 0).then_some(stats.limit), ..which };
    let reader = stats.database.open(env).await?;
    let mut json = Object::new();
    for (at, (by, title)) in TABLES.into_iter().enumerate() {
        let counts = reader.counts(&filter, by).await.map_err(|error| unreadable(&error))?;
        if stats.json {
            let name = format!("{by:?}").to_lowercase();
            json.set(name, Json::Array(counts.iter().map(count).collect()));
        } else if !counts.is_empty() || at == 0 {
            write_table(title, &counts, at > 0, out)?;
        }
    }
    reader.close().await;
    if stats.json {
        writeln!(out, "{}", Json::from(json))?;
    }
    Ok(Exit::Good)
}

fn count(count: &Count) -> Json {
    let mut object = Object::new();
    object.set("name", count.name.as_str());
    object.set("calls", count.calls);
    object.set("refused", count.refused);
    object.set("failed", count.failed);
    object.into()
}

fn write_table(title: &str, counts: &[Count], gap: bool, out: &mut dyn Write) -> std::io::Result<()> {
    let names: Vec<String> = counts.iter().map(|count| plain(&count.name)).collect();
    // One long name would fill all other lines with blanks.
    let longest = names.iter().map(|name| name.chars().count()).chain([title.len()]).max().unwrap_or(0);
    let width = longest.min(200);
    if gap {
        writeln!(out)?;
    }
    writeln!(out, "{title:width$}  {:>9}  {:>9}  {:>9}", "CALLS", "REFUSED", "FAILED")?;
    names.iter().zip(counts).try_for_each(|(name, count)| {
        writeln!(out, "{name:width$}  {:>9}  {:>9}  {:>9}", count.calls, count.refused, count.failed)
    })
}
