//! Stretches of time: which were read, and which are still to be.
//!
//! Not here: what is read in them (`gather`).

use jiff::{SignedDuration, Timestamp};

/// From a time on, up to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first moment in it.
    pub since: Timestamp,
    /// The first moment after it.
    pub until: Timestamp,
}

impl Span {
    pub(super) fn length(self) -> SignedDuration {
        self.until.duration_since(self.since)
    }

    /// Two halves of it, the later one first.
    pub(super) fn halves(self) -> [Self; 2] {
        let middle = self.since.checked_add(self.length() / 2).unwrap_or(self.until);
        [Self { since: middle, until: self.until }, Self { since: self.since, until: middle }]
    }
}

/// Stretches in their order that do not meet each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spans(Vec<Span>);

impl FromIterator<Span> for Spans {
    fn from_iter<I: IntoIterator<Item = Span>>(spans: I) -> Self {
        let mut sorted: Vec<Span> = spans.into_iter().filter(|span| span.since < span.until).collect();
        sorted.sort_unstable();
        let mut merged: Vec<Span> = Vec::with_capacity(sorted.len());
        for span in sorted {
            match merged.last_mut() {
                Some(last) if span.since <= last.until => last.until = last.until.max(span.until),
                _ => merged.push(span),
            }
        }
        Self(merged)
    }
}

impl Spans {
    pub(super) fn iter(&self) -> impl Iterator<Item = Span> {
        self.0.iter().copied()
    }

    /// The same in pieces that are no longer than this, the latest first.
    pub(super) fn pieces(&self, longest: SignedDuration) -> Vec<Span> {
        let mut pieces = Vec::new();
        for span in self.0.iter().rev() {
            let mut until = span.until;
            while until > span.since {
                let since = until.checked_sub(longest).unwrap_or(span.since).max(span.since);
                pieces.push(Span { since, until });
                until = since;
            }
        }
        pieces
    }

    /// What is left of it without those.
    pub(super) fn without(&self, others: &Self) -> Self {
        let mut left = Vec::new();
        for span in &self.0 {
            let mut since = span.since;
            for other in others.0.iter().filter(|other| other.until > span.since && other.since < span.until)
            {
                left.push(Span { since, until: other.since });
                since = since.max(other.until);
            }
            left.push(Span { since, until: span.until });
        }
        left.into_iter().collect()
    }

    /// Whether all of it lies in one stretch.
    pub(super) fn hold(&self, span: Span) -> bool {
        self.0.iter().any(|one| one.since <= span.since && span.until <= one.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(pairs: &[(i64, i64)]) -> Spans {
        pairs.iter().map(|pair| span(*pair)).collect()
    }

    fn span((since, until): (i64, i64)) -> Span {
        let at = |second| Timestamp::from_second(second).unwrap();
        Span { since: at(since), until: at(until) }
    }

    #[test]
    fn stretches_are_merged_cut_and_taken_apart() {
        assert_eq!(spans(&[(5, 9), (0, 2), (2, 3), (8, 12), (7, 7)]), spans(&[(0, 3), (5, 12)]));
        let pieces = spans(&[(0, 3), (10, 25)]).pieces(SignedDuration::from_secs(10));
        assert_eq!(pieces, [span((15, 25)), span((10, 15)), span((0, 3))]);
        assert_eq!(spans(&[(0, 20)]).without(&spans(&[(3, 5), (18, 30)])), spans(&[(0, 3), (5, 18)]));
        assert_eq!(spans(&[(0, 20)]).without(&spans(&[(0, 20)])), spans(&[]));
        assert!(spans(&[(0, 3), (5, 9)]).hold(span((5, 9))) && !spans(&[(0, 3), (5, 9)]).hold(span((2, 6))));
        assert_eq!(span((0, 10)).halves(), [span((5, 10)), span((0, 5))]);
    }
}
