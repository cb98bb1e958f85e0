//! Values with a unit, as they are typed: `12h`, `60/m`, `1MiB`, `10%`.
//!
//! Every function takes the text alone and gives the value, or none; the reader says which key it was.
//! Not here: bounds (each key's own, in `read` and beside it).

use std::num::NonZeroU32;
use std::time::Duration;

use super::Rate;

/// How a duration is written, for messages.
pub(super) const DURATION: &str = "a duration such as \"500ms\", \"90s\", \"5m\", \"12h\" or \"30d\"";
/// How a rate is written.
pub(super) const RATE: &str =
    "a rate such as \"20/s\", \"60/m\" or \"100/5m\", from 1 to 1000000 in at most 1d";
/// How a size is written.
pub(super) const SIZE: &str = "bytes as an integer, or a size such as \"64KiB\" or \"1MiB\"";
/// How a share is written.
pub(super) const SHARE: &str = "a share such as \"10%\", or an integer";

/// Milliseconds of each unit.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Digits and what follows them; only plain digits, as `parse` alone would also take a sign.
fn digits(text: &str) -> Option<(u64, &str)> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit))
}

/// `500ms`, `90s`, `5m`, `12h`, `30d`: one number, one unit.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = digits(text)?;
    let (_, scale) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(scale).map(Duration::from_millis)
}

/// A duration in the largest unit that keeps it whole.
pub(super) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    let whole = |(_, scale): &(&str, u64)| millis.is_multiple_of(u128::from(*scale));
    let (name, scale) = UNITS.into_iter().rev().find(whole).unwrap_or(("ms", 1));
    format!("{}{name}", millis / u128::from(scale))
}

/// The longest time over which a rate counts: a counter older than a day helps nobody who waits for it.
const LONGEST_RATE: Duration = Duration::from_hours(24);

/// `20/s`, `60/m`, `100/5m`: from one to a million, in at most a day.
pub(super) fn rate(text: &str) -> Option<Rate> {
    let (requests, per) = text.split_once('/')?;
    let (requests, rest) = digits(requests)?;
    let requests = NonZeroU32::new(u32::try_from(requests).ok()?)?;
    let per = if per.starts_with(|c: char| c.is_ascii_digit()) {
        duration(per)?
    } else {
        duration(&format!("1{per}"))?
    };
    let fits = rest.is_empty() && requests.get() <= 1_000_000 && !per.is_zero() && per <= LONGEST_RATE;
    fits.then_some(Rate { requests, per })
}

/// A default's number of requests; a zero would be one.
pub(super) const fn per(requests: u32) -> NonZeroU32 {
    match NonZeroU32::new(requests) {
        Some(requests) => requests,
        None => NonZeroU32::MIN,
    }
}

/// A rate, as it is typed.
pub(super) fn show_rate(rate: Option<Rate>) -> String {
    rate.map_or_else(|| "none".to_owned(), |rate| format!("{}/{}", rate.requests, show_duration(rate.per)))
}

/// `64KiB`, `1MiB`, or bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = digits(text)?;
    let scale = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(scale)
}

/// A size in the largest unit that keeps it whole.
pub(super) fn show_size(bytes: u64) -> String {
    for (name, scale) in [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes > 0 && bytes.is_multiple_of(scale) {
            return format!("{}{name}", bytes / scale);
        }
    }
    bytes.to_string()
}

/// `10%` of a whole, rounded down, or a number of its own.
pub(super) fn share(text: &str, whole: u32) -> Option<u32> {
    let (number, unit) = digits(text)?;
    match unit {
        "" => u32::try_from(number).ok(),
        "%" if number <= 100 => u32::try_from(u64::from(whole) * number / 100).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_one_number_and_one_unit() {
        for (text, millis) in [
            ("500ms", Some(500)),
            ("90s", Some(90_000)),
            ("5m", Some(300_000)),
            ("12h", Some(43_200_000)),
            ("30d", Some(2_592_000_000)),
            ("0s", Some(0)),
            ("", None),
            ("5", None),
            ("h", None),
            ("-5s", None),
            ("+5s", None),
            ("1.5h", None),
            ("5 m", None),
            ("5M", None),
            ("1h30m", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(duration(text).map(|d| d.as_millis()), millis, "{text}");
        }
    }

    #[test]
    fn rates_are_a_number_and_a_time() {
        for (text, wanted) in [
            ("20/s", Some((20, 1))),
            ("60/m", Some((60, 60))),
            ("20/h", Some((20, 3600))),
            ("100/5m", Some((100, 300))),
            ("1/d", Some((1, 86_400))),
            ("0/s", None),
            ("20", None),
            ("20/", None),
            ("/s", None),
            ("20x/s", None),
            ("20/0s", None),
            ("20/2d", None),
            ("1000001/s", None),
            ("20/s/s", None),
        ] {
            let rate = rate(text).map(|r| (r.requests.get(), r.per.as_secs()));
            assert_eq!(rate, wanted, "{text}");
        }
    }

    #[test]
    fn sizes_and_shares_are_whole_numbers() {
        for (text, wanted) in [
            ("0", Some(0)),
            ("1024", Some(1024)),
            ("64KiB", Some(65_536)),
            ("1MiB", Some(1_048_576)),
            ("1MB", None),
            ("1 MiB", None),
            ("-1", None),
            ("99999999999GiB", None),
        ] {
            assert_eq!(size(text), wanted, "{text}");
        }
        for (text, wanted) in [
            ("10%", Some(120)),
            ("0%", Some(0)),
            ("100%", Some(1200)),
            ("101%", None),
            ("7", Some(7)),
            ("x", None),
        ] {
            assert_eq!(share(text, 1200), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_as_the_same() {
        for text in ["0s", "500ms", "90s", "5m", "12h", "30d"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
        for text in ["64KiB", "1MiB", "1000"] {
            assert_eq!(show_size(size(text).unwrap()), text);
        }
        assert_eq!(show_rate(rate("60/m")), "60/1m");
        assert_eq!(rate(&show_rate(rate("60/m"))), rate("60/m"));
    }
}
