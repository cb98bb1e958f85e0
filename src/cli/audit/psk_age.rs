//! `audit psk-age`: how old each tunnel's key is, oldest first, and which were replaced past us.

use std::io::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::which::parse_some_time;
use super::{Database, unreadable};
use crate::cli::{Env, Exit, Stop};
use crate::inspect::{KeyAge, KeyAges, local, plain, seconds};

/// Lists the ages of keys.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct PskAge {
    /// Which record.
    #[command(flatten)]
    pub database: Database,
    /// Only keys that were replaced before: `90d`, a date, RFC 3339. The exit code is 4 where there are any.
    #[arg(long, value_name = "TIME")]
    pub older_than: Option<String>,
    /// Print an object a line.
    #[arg(long)]
    pub json: bool,
}

pub(super) async fn run(asked: &PskAge, env: &Env, out: &mut (dyn Write + Send)) -> Result<Exit, Stop> {
    let now = env.clock.now();
    let before = parse_some_time(asked.older_than.as_deref(), env).map_err(Stop::usage)?;
    let reader = asked.database.open(env).await?;
    let mut known = KeyAges::default();
    let read = known.follow(&reader).await;
    reader.close().await;
    read.map_err(|error| unreadable(&error))?;
    let mut ages: Vec<_> = known.left().collect();
    let zone = env.zone();
    ages.retain(|(_, age)| age.changed().is_some_and(|changed| before.is_none_or(|before| changed < before)));
    ages.sort_by_key(|(_, age)| age.changed());
    for (tunnel, age) in &ages {
        if asked.json {
            writeln!(out, "{}", age.to_json(tunnel))?;
        } else {
            writeln!(out, "{}", line(tunnel, age, now, &zone))?;
        }
    }
    if ages.is_empty() && !asked.json {
        let none =
            if before.is_some() { "no key is that old" } else { "no key of a tunnel that is left is known" };
        writeln!(out, "{none}")?;
    }
    Ok(if before.is_some() && !ages.is_empty() { Exit::Found } else { Exit::Good })
}

/// `AGE  TIME  TUNNEL  WHO`
fn line(tunnel: &str, age: &KeyAge, now: Timestamp, zone: &TimeZone) -> String {
    let changed = age.changed().unwrap_or(now);
    let days = now.duration_since(changed).as_hours() / 24;
    let name = age.name.as_deref().map_or_else(|| tunnel.to_owned(), |name| format!("{name} ({tunnel})"));
    let who = age.ours.as_ref().and_then(|ours| ours.subject.as_deref());
    let who = match (age.bypassed(), who) {
        (true, _) => "NOT THROUGH THIS PROXY".to_owned(),
        (false, Some(who)) => format!("by {who}"),
        (false, None) => "by a call whose end is not known".to_owned(),
    };
    plain(&format!("{days:>5} d  {}  {name}  {who}", seconds(&local(changed, zone))))
}
