//! Finds many secrets in one pass: an Aho-Corasick automaton (1975) that tells, for each place where a secret
//! ends, only the longest one that ends there. That one covers all others, so nothing is lost, and a caller who
//! sends hundreds of secrets within each other gains nothing: the usual automaton lists them all, which costs
//! the square of their number in building it and their number in each byte of text.
//!
//! Building takes about 50 bytes and a few steps for each byte of each secret. Searching takes two steps at most
//! for each byte of text, whatever the number of secrets, and answers ranges that don't touch.
//! Not here: what is searched (`views`), what is done about what is found (`guard`).

use std::ops::Range;

/// The automaton. A state is a front of one or more secrets; they are numbered by length, then by text, so that
/// the states which lengthen one state by a byte stand side by side.
#[derive(Default)]
pub(super) struct Needles {
    states: Vec<State>,
    /// The last byte of each state.
    last: Vec<u8>,
}

impl std::fmt::Debug for Needles {
    /// Without the bytes, which are those of the secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Needles").field("states", &self.states.len()).finish_non_exhaustive()
    }
}

struct State {
    /// The states that are one byte longer.
    longer: Range<usize>,
    /// The longest other state that this one ends with.
    rest: usize,
    /// Bytes of the longest secret that this state ends with; 0 where it ends with none.
    ends: usize,
}

/// The empty front.
const ROOT: usize = 0;

impl Needles {
    /// An automaton for these secrets; an empty one is passed over.
    pub(super) fn new(secrets: &[&str]) -> Self {
        let mut sorted: Vec<&[u8]> =
            secrets.iter().map(|secret| secret.as_bytes()).filter(|secret| !secret.is_empty()).collect();
        sorted.sort_unstable();
        sorted.dedup();
        let mut needles = Self::default();
        needles.push(0, ROOT, 0);
        // What of `sorted` begins with each state that is still to be lengthened, in the order of the states.
        let mut level = vec![(ROOT, sorted.as_slice())];
        let mut depth = 0;
        while !level.is_empty() {
            let mut next = Vec::with_capacity(level.len());
            for (state, within) in level {
                needles.lengthen(state, within, depth, &mut next);
            }
            level = next;
            depth += 1;
        }
        needles
    }

    fn lengthen<'a>(
        &mut self,
        state: usize,
        within: &'a [&'a [u8]],
        depth: usize,
        next: &mut Vec<(usize, &'a [&'a [u8]])>,
    ) {
        // What is no longer than the state has no byte there.
        let byte = |secret: &&[u8]| secret.get(depth).copied();
        let first = self.states.len();
        for group in within.chunk_by(|a, b| byte(a) == byte(b)) {
            let Some(byte) = group.first().and_then(byte) else { continue };
            let ends_here = group.first().is_some_and(|secret| secret.len() == depth + 1);
            let rest = if state == ROOT { ROOT } else { self.step(self.rest(state), byte) };
            let ends = if ends_here { depth + 1 } else { self.states.get(rest).map_or(0, |rest| rest.ends) };
            next.push((self.states.len(), group));
            self.push(byte, rest, ends);
        }
        let longer = first..self.states.len();
        if let Some(state) = self.states.get_mut(state) {
            state.longer = longer;
        }
    }

    fn push(&mut self, byte: u8, rest: usize, ends: usize) {
        self.states.push(State { longer: 0..0, rest, ends });
        self.last.push(byte);
    }

    fn rest(&self, state: usize) -> usize {
        self.states.get(state).map_or(ROOT, |state| state.rest)
    }

    /// The longest state that the text so far ends with, one byte on. Each turn of the loop shortens a state
    /// that each byte of text lengthens by one, so there are at most two for a byte of text.
    fn step(&self, mut state: usize, byte: u8) -> usize {
        loop {
            let longer = self.states.get(state).map_or(0..0, |state| state.longer.clone());
            let found = self.last.get(longer.clone()).and_then(|bytes| memchr::memchr(byte, bytes));
            if let Some(at) = found {
                return longer.start + at;
            }
            if state == ROOT {
                return ROOT;
            }
            state = self.rest(state);
        }
    }

    /// For each place in `text` where a secret ends, where the longest one that ends there stands.
    pub(super) fn longest<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = Range<usize>> + 'a {
        let mut state = ROOT;
        (1..).zip(text).filter_map(move |(end, byte)| {
            state = self.step(state, *byte);
            let ends = self.states.get(state).map_or(0, |state| state.ends);
            (ends > 0).then(|| end - ends..end)
        })
    }
}

/// Adds a range to ranges that are in order and don't touch. It must end no sooner than the last of them; then
/// each range is added and taken away once at most.
pub(super) fn add(ranges: &mut Vec<Range<usize>>, mut range: Range<usize>) {
    while let Some(last) = ranges.pop_if(|last| last.end >= range.start) {
        range.start = range.start.min(last.start);
    }
    ranges.push(range);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(secrets: &[&str], text: &str) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        Needles::new(secrets).longest(text.as_bytes()).for_each(|range| add(&mut found, range));
        found
    }

    #[test]
    fn each_end_has_the_longest_secret_only() {
        let needles = Needles::new(&["a", "aa", "aaa", "ba", "", "aa"]);
        assert_eq!(needles.longest(b"aaaa").collect::<Vec<_>>(), [0..1, 0..2, 0..3, 1..4]);
        assert_eq!(needles.longest(b"ba-a").collect::<Vec<_>>(), [0..2, 3..4]);
        assert_eq!(found(&["abcd", "bc", "cdef", "x"], "-abcdef-x-bc"), [1..7, 8..9, 10..12]);
        assert!(found(&[], "abc").is_empty());
    }

    #[test]
    fn secrets_within_each_other_cost_no_more_than_their_bytes() {
        let nested: Vec<String> = (6..512).map(|length| "a".repeat(length)).collect();
        // Each of these ends, at each of its bytes, with all that are shorter.
        let ends = (0..200).map(|i| format!("{i:03}{}", "a".repeat(500)));
        let secrets: Vec<String> = nested.into_iter().chain(ends).collect();
        let needles = Needles::new(&secrets.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(needles.states.len() <= 1 + 511 + 200 * 503, "{}", needles.states.len());
        let text = "a".repeat(200_000);
        // One range for each end, where there were 506.
        assert_eq!(needles.longest(text.as_bytes()).count(), text.len() - 5);
        let mut merged = Vec::new();
        needles.longest(text.as_bytes()).for_each(|range| {
            add(&mut merged, range);
            assert_eq!(merged.len(), 1);
        });
        assert_eq!(merged.first(), Some(&(0..text.len())));
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_stands_there(
            secrets in prop::collection::vec("[ab]{1,4}|[abc]{1,6}", 0..8),
            text in "[abc]{0,40}",
        ) {
            let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
            let mut covered = vec![false; text.len()];
            for secret in &secrets {
                for at in (0..text.len()).filter(|at| text[*at..].starts_with(secret)) {
                    covered[at..at + secret.len()].fill(true);
                }
            }
            let mut marked = vec![false; text.len()];
            found(&secrets, &text).into_iter().for_each(|range| marked[range].fill(true));
            prop_assert_eq!(marked, covered);
        }
    }
}
