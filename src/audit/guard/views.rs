//! The readings of a text: as it is, and with one or two layers of a usual encoding taken off.
//!
//! A text is decoded and then searched, in place of being searched for every way to write a secret, so that a
//! mix of spellings (`%2f` and `%2F`, some characters escaped and others not) makes no difference. Decoding is
//! lenient: what is no escape stands for itself. Layers: JSON and Go escapes, percent, form (`+`), HTML, hex,
//! and Base64 in both alphabets at each alignment.
//! Not here: what is searched for (`guard`).

mod escapes;

use std::ops::Range;

/// How many layers are taken off: an error message within JSON within a percent-encoded URL has two.
const LAYERS: usize = 2;

/// Bytes beyond which one layer only is taken off, so that a long text can't cost its length many times over:
/// 64 KiB is more than any text that a person reads.
const LONG: usize = 64 << 10;

/// What finds secrets in bytes.
pub(super) type Find<'a> = dyn Fn(&[u8]) -> Vec<Range<usize>> + 'a;

/// A reading: bytes, and where they stand in what it was read from.
struct View {
    bytes: Vec<u8>,
    at: At,
}

/// Where each byte of a reading stands.
enum At {
    /// Two hex digits a byte, from here on.
    Hex(usize),
    /// Base64 from here on.
    Base64(usize),
    /// One place for each byte.
    Each(Vec<Range<usize>>),
}

impl View {
    /// Where bytes `range` of this view stand in what it was read from.
    fn span(&self, range: &Range<usize>) -> Option<Range<usize>> {
        let last =
            range.end.checked_sub(1).filter(|last| *last >= range.start && *last < self.bytes.len())?;
        Some(self.at.of(range.start)?.start..self.at.of(last)?.end)
    }
}

impl At {
    fn of(&self, byte: usize) -> Option<Range<usize>> {
        let (start, length) = match self {
            Self::Hex(from) => (from + 2 * byte, 2),
            // Each byte has bits of two characters.
            Self::Base64(from) => (from + byte / 3 * 4 + byte % 3, 2),
            Self::Each(places) => return places.get(byte).cloned(),
        };
        Some(start..start + length)
    }
}

/// Where `find` finds something in any reading of `text`, as ranges of `text` itself. Readings shorter than
/// `shortest` are not looked at.
pub(super) fn search(text: &[u8], shortest: usize, find: &Find<'_>) -> Vec<Range<usize>> {
    below(text, shortest, if text.len() > LONG { 1 } else { LAYERS }, find)
}

fn below(text: &[u8], shortest: usize, layers: usize, find: &Find<'_>) -> Vec<Range<usize>> {
    let mut found = find(text);
    if layers > 0 {
        let mut look = |view: View| {
            if view.bytes.len() >= shortest {
                let inner = below(&view.bytes, shortest, layers - 1, find);
                found.extend(inner.iter().filter_map(|range| view.span(range)));
            }
        };
        escapes::used_in(text).filter_map(|escape| escapes::unescape(text, escape)).for_each(&mut look);
        runs(text, |byte| nibble(byte).is_some())
            .filter(|run| run.len() / 2 >= shortest)
            .flat_map(|run| [hex(text, run.clone()), hex(text, run.start + 1..run.end)])
            .for_each(&mut look);
        runs(text, |byte| sextet(byte).is_some())
            .filter(|run| run.len() * 3 / 4 >= shortest)
            .flat_map(|run| (0..4).map(move |skip| base64(text, run.start + skip..run.end)))
            .for_each(&mut look);
    }
    found
}

/// The longest stretches of bytes that `belongs` takes.
fn runs(text: &[u8], belongs: impl Fn(u8) -> bool) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = text.get(at..)?;
        let start = at + rest.iter().position(|byte| belongs(*byte))?;
        let run = text.get(start..)?.iter().take_while(|byte| belongs(**byte)).count();
        at = start + run;
        Some(start..at)
    })
}

/// What no digit of an encoding says.
const NONE: u8 = 0xff;

/// The worth of each byte as a digit, where the digits of an encoding are these.
#[expect(clippy::indexing_slicing, reason = "what is wrong here does not compile")]
const fn digits(alphabets: &[&[u8]]) -> [u8; 256] {
    let mut worth = [NONE; 256];
    let mut which = 0;
    while which < alphabets.len() {
        let mut at = 0;
        while at < alphabets[which].len() {
            worth[alphabets[which][at] as usize] = at as u8;
            at += 1;
        }
        which += 1;
    }
    worth
}

/// RFC 4648 section 8.
const HEX: [u8; 256] = digits(&[b"0123456789abcdef", b"0123456789ABCDEF"]);

/// RFC 4648 sections 4 and 5: both alphabets at once, since no text has both and no harm is done if one has.
const BASE64: [u8; 256] = digits(&[
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
]);

fn worth(of: &[u8; 256], byte: u8) -> Option<u8> {
    of.get(usize::from(byte)).copied().filter(|worth| *worth != NONE)
}

fn nibble(byte: u8) -> Option<u8> {
    worth(&HEX, byte)
}

/// Two digits a byte; an odd one at the end is left.
fn hex(text: &[u8], run: Range<usize>) -> View {
    let pairs = text.get(run.clone()).unwrap_or_default().chunks_exact(2);
    let byte = |pair: &[u8]| pair.iter().fold(0, |byte, digit| byte << 4 | nibble(*digit).unwrap_or(0));
    View { bytes: pairs.map(byte).collect(), at: At::Hex(run.start) }
}

fn sextet(byte: u8) -> Option<u8> {
    worth(&BASE64, byte)
}

/// Four characters are three bytes; two or three at the end are one or two.
fn base64(text: &[u8], run: Range<usize>) -> View {
    let mut bytes = Vec::with_capacity(run.len() / 4 * 3 + 2);
    for four in text.get(run.clone()).unwrap_or_default().chunks(4) {
        let bits = four.iter().fold(0u32, |bits, c| bits << 6 | u32::from(sextet(*c).unwrap_or(0)));
        // As if there were four characters, of which the first byte has the upper 8 bits.
        let [_, decoded @ ..] = (bits << (24 - 6 * four.len())).to_be_bytes();
        bytes.extend_from_slice(decoded.get(..four.len() - 1).unwrap_or_default());
    }
    View { bytes, at: At::Base64(run.start) }
}
