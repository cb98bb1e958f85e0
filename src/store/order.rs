//! Where an entry stands among those of all replicas.
//!
//! Each replica's log has its own places, from 0 without gaps, and those are proven. Readers see one record: there an entry's
//! `seq` is the eighth of a millisecond in which it was made, or the one after its log's last entry's if that is later; times
//! 128, and the number of its log. So it follows from the log alone, and whoever moves an entry is found. It stays below
//! 2^53, which every reader of JSON takes, until the year 2248. Not here: the single log of a file, where the two are one.

use jiff::Timestamp;

/// How many logs there can be.
pub(super) const LOGS: i64 = 128;

/// Microseconds in an eighth of a millisecond.
const TICK: i64 = 125;

/// What an entry of this time has behind one that has `last`, if there is one; none where there is no number for it.
pub(super) fn after(last: Option<i64>, log: i16, time: Timestamp) -> Option<i64> {
    let own = first_of(time)?.checked_add(i64::from(log))?;
    Some(match last {
        Some(last) if last >= own => last.checked_add(LOGS)?,
        Some(_) | None => own,
    })
}

/// No entry of this time or later has a smaller one.
pub(super) fn first_of(time: Timestamp) -> Option<i64> {
    time.as_microsecond().checked_div_euclid(TICK)?.checked_mul(LOGS).filter(|seq| *seq >= 0)
}

/// The log that a number is of.
#[cfg(test)]
const fn log_of(seq: i64) -> i64 {
    seq.rem_euclid(LOGS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn entries_are_ordered_by_time_and_within_a_log_by_place() {
        let (early, late) = (at("2026-11-27T10:00:00.000100Z"), at("2026-11-27T10:00:00.000250Z"));
        let first = after(None, 3, early).unwrap();
        let second = after(Some(first), 3, early).unwrap();
        let late_elsewhere = after(None, 0, late).unwrap();
        assert!(first < second && second < late_elsewhere, "{first} {second} {late_elsewhere}");
        // Made before its log's last one, stored behind it.
        assert!(after(Some(late_elsewhere), 0, early).unwrap() > late_elsewhere);
        for seq in [first, second] {
            assert_eq!(log_of(seq), 3);
            assert!(seq < 1 << 53);
        }
        assert_eq!(after(None, 0, at("1969-12-31T00:00:00Z")), None);
        assert!(first_of(at("2248-01-01T00:00:00Z")).unwrap() < 1 << 53);
    }
}
