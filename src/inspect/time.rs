//! Times as people write them.
//!
//! Not here: times as the record has them (`clock::rfc3339`).

use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};

use super::plain;

/// A time, given as one, as a day (its beginning in `zone`), or as how long before `now`.
///
/// # Errors
/// In our words, what may be written.
pub fn parse_time(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, String> {
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
