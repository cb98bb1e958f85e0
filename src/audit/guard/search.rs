//! The secrets of one call, and where they stand in some bytes.
//!
//! Most calls have two or three secrets (the token, ours) and short texts: those are searched for one by one,
//! and what a free text has in common with them is looked up in a bit set that costs a step for each byte of
//! them. What a caller could make long, many secrets or long texts, is searched by an automaton and a set whose
//! cost does not multiply; they are built only when such a text comes. Both ways find the same bytes.
//! Not here: in which readings of a text is searched (`views`), what is done about what is found (`guard`).

use std::cell::OnceCell;
use std::collections::HashSet;
use std::ops::Range;

use memchr::memmem::Finder;

use super::RUN;
use super::needles::{self, Needles};

/// How many secrets are searched for one by one, of how many bytes together, and in texts of how many bytes at
/// most: the worst case, a text and secrets of one letter, is 4 x 1024 comparisons of 1024 bytes.
const FEW: usize = 4;
const FEW_BYTES: usize = 8 << 10;
const SHORT_TEXT: usize = 1 << 10;

/// Secrets of [`super::SHORT`] bytes and more.
pub(super) struct Secrets<'a> {
    all: Vec<&'a str>,
    /// Few enough to be searched for one by one.
    few: bool,
    shortest: usize,
    /// One for each of them, made when it is needed: that costs more than to search a text.
    finders: Vec<OnceCell<Finder<'a>>>,
    needles: OnceCell<Needles>,
    runs: OnceCell<HashSet<[u8; RUN]>>,
    sieve: OnceCell<Sieve>,
}

impl<'a> Secrets<'a> {
    pub(super) fn new(all: Vec<&'a str>) -> Self {
        let bytes: usize = all.iter().map(|secret| secret.len()).sum();
        Self {
            few: all.len() <= FEW && bytes <= FEW_BYTES,
            shortest: all.iter().map(|secret| secret.len()).min().unwrap_or(usize::MAX),
            finders: all.iter().map(|_| OnceCell::new()).collect(),
            all,
            needles: OnceCell::new(),
            runs: OnceCell::new(),
            sieve: OnceCell::new(),
        }
    }

    /// The length of the shortest of them. No encoding makes a text shorter.
    pub(super) const fn shortest(&self) -> usize {
        self.shortest
    }

    /// Whether one of them is long enough to have [`RUN`] bytes in common with a text.
    pub(super) fn have_runs(&self) -> bool {
        self.all.iter().any(|secret| secret.len() >= RUN)
    }

    /// Where they stand in these bytes, and in free text parts of them: a few ranges for each byte at most.
    pub(super) fn find(&self, bytes: &[u8], free: bool) -> Vec<Range<usize>> {
        let few = self.few && bytes.len() <= SHORT_TEXT;
        let mut found = Vec::new();
        if bytes.len() >= self.shortest {
            if few {
                let short = self.all.iter().zip(&self.finders);
                let short = short.filter(|(secret, _)| secret.len() <= bytes.len());
                short.for_each(|(secret, finder)| {
                    each(bytes, finder.get_or_init(|| Finder::new(*secret)), &mut found);
                });
            } else {
                let needles = self.needles.get_or_init(|| Needles::new(&self.all));
                needles.longest(bytes).for_each(|range| needles::add(&mut found, range));
            }
        }
        if free && bytes.len() >= RUN {
            let mut shared = Vec::new();
            bytes
                .windows(RUN)
                .enumerate()
                .filter(|(_, run)| if few { self.shares(run) } else { self.runs().contains(*run) })
                .for_each(|(at, _)| needles::add(&mut shared, at..at + RUN));
            found.append(&mut shared);
        }
        found
    }

    fn windows(&self) -> impl Iterator<Item = [u8; RUN]> {
        self.all
            .iter()
            .flat_map(|secret| secret.as_bytes().windows(RUN))
            .filter_map(|run| run.try_into().ok())
    }

    fn runs(&self) -> &HashSet<[u8; RUN]> {
        self.runs.get_or_init(|| self.windows().collect())
    }

    fn shares(&self, run: &[u8]) -> bool {
        let Ok(known) = <[u8; RUN]>::try_from(run) else { return false };
        let sieve = self.sieve.get_or_init(|| Sieve::of(self.windows()));
        sieve.lets_through(known)
            && self.all.iter().any(|secret| memchr::memmem::find(secret.as_bytes(), run).is_some())
    }
}

/// Every place of `secret` in `bytes`, also those that overlap.
fn each(bytes: &[u8], secret: &Finder<'_>, found: &mut Vec<Range<usize>>) {
    let mut from = 0;
    while let Some(at) = bytes.get(from..).and_then(|rest| secret.find(rest)) {
        let start = from + at;
        found.push(start..start + secret.needle().len());
        from = start + 1;
    }
}

/// A bit for each run, in 2^13 of them: 500 runs set a sixteenth, so one run in sixteen that is in no secret has
/// to be looked up. Who chooses runs that share a bit gains only that.
struct Sieve(Vec<u64>);

impl Sieve {
    const BITS: u32 = 13;

    fn of(runs: impl Iterator<Item = [u8; RUN]>) -> Self {
        let mut words = vec![0u64; 1 << (Self::BITS - 6)];
        for run in runs {
            let (word, bit) = Self::place(run);
            if let Some(word) = words.get_mut(word) {
                *word |= bit;
            }
        }
        Self(words)
    }

    fn lets_through(&self, run: [u8; RUN]) -> bool {
        let (word, bit) = Self::place(run);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Fibonacci hashing: 2^64 over the golden ratio, whose upper bits mix all of the run.
    fn place(run: [u8; RUN]) -> (usize, u64) {
        let hash = u64::from_le_bytes(run).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - Self::BITS);
        (usize::try_from(hash >> 6).unwrap_or(0), 1 << (hash & 63))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn covered(secrets: &Secrets<'_>, text: &str, free: bool) -> Vec<bool> {
        let mut covered = vec![false; text.len()];
        secrets.find(text.as_bytes(), free).into_iter().for_each(|range| covered[range].fill(true));
        covered
    }

    proptest! {
        #[test]
        fn both_ways_find_the_same_bytes(
            secrets in prop::collection::vec("[ab]{6,12}|[a-z]{8,20}", 0..=FEW),
            before in "[ab]{0,30}",
            which in 0usize..8,
            after in "[a-z]{0,30}",
            free: bool,
        ) {
            let text = format!("{before}{}{after}", secrets.get(which).map_or("", String::as_str));
            let all: Vec<&str> = secrets.iter().map(String::as_str).collect();
            let one_by_one = Secrets::new(all.clone());
            prop_assert!(one_by_one.few);
            let at_once = Secrets { few: false, ..Secrets::new(all) };
            prop_assert_eq!(covered(&one_by_one, &text, free), covered(&at_once, &text, free));
        }
    }

    #[test]
    fn what_a_caller_can_make_long_is_not_searched_one_by_one() {
        let many: Vec<String> = (0..=FEW).map(|i| format!("secret-{i}")).collect();
        assert!(!Secrets::new(many.iter().map(String::as_str).collect()).few);
        assert!(!Secrets::new(vec!["a".repeat(FEW_BYTES + 1).as_str()]).few);
    }
}
