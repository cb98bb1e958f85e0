//! Times as a person reads them: in their own zone, to the second, with the offset from UTC.
//!
//! What is stored and what is JSON is UTC. Not here: which zone it is (`cli::Env`).

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::clock::rfc3339;
use crate::json::Json;

/// A time in a zone, in the form of the record: `2026-01-31T13:00:00.000000+01:00`, with `Z` where that is UTC.
#[must_use]
pub fn local(time: Timestamp, zone: &TimeZone) -> String {
    let offset = zone.to_offset(time);
    if offset.is_zero() { rfc3339(time) } else { format!("{:.6}", time.display_with_offset(offset)) }
}

/// A time as it is stored, in a zone; a text that is none stays as it is.
#[must_use]
pub fn local_text(time: &str, zone: &TimeZone) -> String {
    time.parse().map_or_else(|_| time.to_owned(), |time| local(time, zone))
}

/// An entry whose own time is told in a zone: to be shown, and for nothing else.
#[must_use]
pub fn localized(mut entry: Json, zone: &TimeZone) -> Json {
    if let Some(time) = entry.as_object_mut().and_then(|entry| entry.get_mut("time"))
        && let Some(shown) = time.as_str().map(|text| local_text(text, zone))
    {
        *time = shown.into();
    }
    entry
}

/// A time of the form of the record without its fraction.
#[must_use]
pub fn seconds(time: &str) -> String {
    let Some((seconds, rest)) = time.split_at_checked(19) else { return time.to_owned() };
    let offset = rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    format!("{seconds}{}", if offset.is_empty() { "Z" } else { offset })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_a_zone_with_its_offset() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        for (stored, shown) in [
            ("2026-01-31T12:00:00.123456Z", "2026-01-31T13:00:00+01:00"),
            ("2026-07-31T23:30:00.000000Z", "2026-08-01T01:30:00+02:00"),
            // The hour that is there twice.
            ("2026-10-25T00:30:00.000000Z", "2026-10-25T02:30:00+02:00"),
            ("2026-10-25T01:30:00.000000Z", "2026-10-25T02:30:00+01:00"),
            ("no time", "no time"),
        ] {
            assert_eq!(seconds(&local_text(stored, &zone)), shown);
        }
        let utc = TimeZone::posix("UTC0").unwrap();
        assert_eq!(seconds(&local_text("2026-01-31T12:00:00.123456Z", &utc)), "2026-01-31T12:00:00Z");
        assert_eq!(seconds("2026-01-31T12:00:00Z"), "2026-01-31T12:00:00Z");
        let entry =
            crate::inspect::read_entry(br#"{"kind":"k","time":"2026-01-31T12:00:00.123456Z"}"#).unwrap();
        let shown = r#"{"kind":"k","time":"2026-01-31T13:00:00.123456+01:00"}"#;
        assert_eq!(localized(entry, &zone).to_text(), shown);
    }
}
