//! Which entries are asked for: the flags that `list` and `export` have in common.

use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};

use crate::cli::Env;
use crate::entry::Kind;
use crate::inspect::plain;
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
        Ok(Filter {
            since: parse_some_time(self.since.as_deref(), env)?,
            until: parse_some_time(self.until.as_deref(), env)?,
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

/// A time, if one is given.
pub(super) fn parse_some_time(text: Option<&str>, env: &Env) -> Result<Option<Timestamp>, String> {
    text.map(|text| parse_time(text, env.clock.now(), &env.zone())).transpose()
}

/// A time, given as one, as a day (its beginning, in this zone), or as how long before `now`.
fn parse_time(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, String> {
    let wrong =
        || format!("`{}` is no time; write 2026-01-31, 2026-01-31T12:00:00Z, or 30m, 2h, 7d", plain(text));
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    if let Ok(day) = text.parse::<civil::Date>() {
        let begins = day.to_datetime(civil::Time::midnight());
        return zone.to_timestamp(begins).map_err(|_| wrong());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        check_in("UTC0", text, expected);
    }

    #[track_caller]
    fn check_in(zone: &str, text: &str, expected: Option<&str>) {
        let now = "2026-03-10T12:00:00Z".parse().unwrap();
        let zone = TimeZone::posix(zone).unwrap();
        assert_eq!(
            parse_time(text, now, &zone).ok().map(|time| time.to_string()).as_deref(),
            expected,
            "{text}"
        );
    }

    #[test]
    fn a_time_is_a_moment_a_day_or_how_long_ago() {
        check("2026-01-31T12:00:00Z", Some("2026-01-31T12:00:00Z"));
        check("2026-01-31T12:00:00+02:00", Some("2026-01-31T10:00:00Z"));
        check("2026-01-31", Some("2026-01-31T00:00:00Z"));
        check_in("CET-1CEST,M3.5.0,M10.5.0/3", "2026-01-31", Some("2026-01-30T23:00:00Z"));
        check_in("CET-1CEST,M3.5.0,M10.5.0/3", "2026-07-31", Some("2026-07-30T22:00:00Z"));
        check_in("EST5", "2026-01-31T12:00:00Z", Some("2026-01-31T12:00:00Z"));
        check("90s", Some("2026-03-10T11:58:30Z"));
        check("2h", Some("2026-03-10T10:00:00Z"));
        check("7d", Some("2026-03-03T12:00:00Z"));
        for wrong in [
            "",
            "d",
            "-1d",
            "+1d",
            "1.5h",
            "7y",
            "99999999999999999999d",
            "9223372036854775807w",
            "7é",
            "2026-02-30",
        ] {
            check(wrong, None);
        }
    }
}
