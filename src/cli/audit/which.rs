//! Which entries are asked for: the flags that `list` and `export` have in common.

use std::convert::Infallible;

use jiff::Timestamp;
use uuid::Uuid;

use crate::cli::Env;
use crate::entry::Kind;
use crate::inspect::parse_time;
use crate::operation::Operation;
use crate::store::Filter;

/// What entries must fit; flags combine.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Which {
    /// Not before: a date, RFC 3339, or how long ago (`30m`, `2h`, `7d`).
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Before: a date, RFC 3339, or how long ago.
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
    /// Entries of this kind.
    #[arg(long, value_parser = parse_kind)]
    pub kind: Option<Kind>,
}

impl Which {
    /// The filter that the flags make.
    pub(super) fn filter(&self, env: &Env) -> Result<Filter, String> {
        let (since, until) = parse_range(self.since.as_deref(), self.until.as_deref(), env)?;
        Ok(Filter {
            since,
            until,
            subject: self.subject.clone(),
            team: self.team.clone(),
            tunnel: self.tunnel.clone(),
            operation: self.operation,
            kind: self.kind,
            ..Filter::default()
        })
    }
}

fn parse_operation(name: &str) -> Result<Operation, String> {
    let names = || Operation::ALL.map(Operation::name).join(", ");
    Operation::from_name(name).ok_or_else(|| format!("there are {}", names()))
}

fn parse_kind(name: &str) -> Result<Kind, String> {
    let names = || Kind::ALL.map(Kind::name).join(", ");
    Kind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| format!("there are {}", names()))
}

/// An id of an entry or a call, as the record writes it: UUIDs have several spellings (RFC 9562 section 4). What is none is
/// taken as it is, and found nowhere.
pub(super) fn parse_id(text: &str) -> Result<String, Infallible> {
    Ok(Uuid::parse_str(text).map_or_else(|_| text.to_owned(), |id| id.to_string()))
}

/// From when on and before when, where they are given. Nothing would fit a time that ends before it begins, and that would look
/// as though nothing had happened.
pub(super) fn parse_range(
    since: Option<&str>,
    until: Option<&str>,
    env: &Env,
) -> Result<(Option<Timestamp>, Option<Timestamp>), String> {
    let (since, until) = (parse_some_time(since, env)?, parse_some_time(until, env)?);
    if since.is_some_and(|since| until.is_some_and(|until| until <= since)) {
        return Err(
            "--until is not after --since, so nothing could fit; give the earlier time as --since".to_owned()
        );
    }
    Ok((since, until))
}

/// A time, if one is given.
pub(super) fn parse_some_time(text: Option<&str>, env: &Env) -> Result<Option<Timestamp>, String> {
    text.map(|text| parse_time(text, env.clock.now(), &env.zone())).transpose()
}
