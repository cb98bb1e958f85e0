//! Escapes of single characters: JSON's and Go's, percent, form and HTML. Lenient: what is no escape stands for
//! itself.

use super::{At, View};

/// An escape: whether it stands at the start of these bytes, for which character or byte, and how long it is.
pub(super) type Escape = fn(&[u8]) -> Option<(Means, usize)>;

/// All of them, each a reading of its own (a text that mixes two is read by taking off one after the other),
/// and the byte without which each leaves a text as it is; form without a `+` is percent.
const ALL: [(u8, Escape); 4] = [(b'\\', backslash), (b'%', percent), (b'+', form), (b'&', html)];

/// The escapes that may stand in `text`.
pub(super) fn used_in(text: &[u8]) -> impl Iterator<Item = Escape> {
    ALL.into_iter().filter(|(mark, _)| memchr::memchr(*mark, text).is_some()).map(|(_, escape)| escape)
}

/// What an escape stands for.
pub(super) enum Means {
    /// A byte, which may be a part of a character.
    Byte(u8),
    /// A character.
    Char(char),
}

/// The text without its escapes; `None` where it has none.
pub(super) fn unescape(text: &[u8], escape: Escape) -> Option<View> {
    let (mut bytes, mut places) = (Vec::with_capacity(text.len()), Vec::with_capacity(text.len()));
    let mut push = |byte, place| {
        bytes.push(byte);
        places.push(place);
    };
    let (mut at, mut any) = (0, false);
    while let Some((first, _)) = text.get(at..).and_then(<[u8]>::split_first) {
        match escape(text.get(at..).unwrap_or_default()) {
            Some((means, length)) => {
                any = true;
                let span = at..at + length;
                match means {
                    Means::Byte(byte) => push(byte, span),
                    Means::Char(char) => {
                        let mut buffer = [0; 4];
                        char.encode_utf8(&mut buffer).bytes().for_each(|byte| push(byte, span.clone()));
                    }
                }
                at += length;
            }
            None => {
                push(*first, at..at + 1);
                at += 1;
            }
        }
    }
    any.then_some(View { bytes, at: At::Each(places) })
}

/// The number that `digits` hex digits at `from` are.
fn number(bytes: &[u8], from: usize, digits: usize) -> Option<u32> {
    let text = bytes.get(from..from + digits)?;
    text.iter()
        .try_fold(0, |number: u32, digit| Some(number.checked_mul(16)? + char::from(*digit).to_digit(16)?))
}

/// RFC 8259 section 7, and what Go and Python write beside it: `\'`, `\a`, `\v`, `\xHH`, `\UHHHHHHHH`.
fn backslash(bytes: &[u8]) -> Option<(Means, usize)> {
    let [b'\\', letter, ..] = bytes else { return None };
    let plain = |byte| Some((Means::Byte(byte), 2));
    match letter {
        b'"' | b'\'' | b'\\' | b'/' => plain(*letter),
        b'a' => plain(7),
        b'b' => plain(8),
        b't' => plain(9),
        b'n' => plain(10),
        b'v' => plain(11),
        b'f' => plain(12),
        b'r' => plain(13),
        b'x' => Some((Means::Byte(u8::try_from(number(bytes, 2, 2)?).ok()?), 4)),
        b'U' => Some((Means::Char(char::from_u32(number(bytes, 2, 8)?)?), 10)),
        b'u' => {
            let first = number(bytes, 2, 4)?;
            if let Some(char) = char::from_u32(first) {
                return Some((Means::Char(char), 6));
            }
            // The upper half of a surrogate pair; the lower one must follow.
            let second =
                bytes.get(6..).filter(|rest| rest.starts_with(b"\\u")).and_then(|_| number(bytes, 8, 4))?;
            let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
            let high = first.checked_sub(0xd800).filter(|high| *high < 0x400)?;
            Some((Means::Char(char::from_u32(0x10000 + (high << 10) + low)?), 12))
        }
        _ => None,
    }
}

/// RFC 3986 section 2.1, either case.
fn percent(bytes: &[u8]) -> Option<(Means, usize)> {
    if bytes.first() != Some(&b'%') {
        return None;
    }
    Some((Means::Byte(u8::try_from(number(bytes, 1, 2)?).ok()?), 3))
}

/// `application/x-www-form-urlencoded`: percent, and `+` for a space.
fn form(bytes: &[u8]) -> Option<(Means, usize)> {
    if bytes.first() == Some(&b'+') { Some((Means::Byte(b' '), 1)) } else { percent(bytes) }
}

/// Characters of an HTML entity that are looked at: `&#x10ffff;`.
const ENTITY: usize = 10;

/// The five named entities that encoders write, and numbers.
fn html(bytes: &[u8]) -> Option<(Means, usize)> {
    if bytes.first() != Some(&b'&') {
        return None;
    }
    let end = bytes.iter().take(ENTITY).position(|byte| *byte == b';')?;
    let name = std::str::from_utf8(bytes.get(1..end)?).ok()?;
    let char = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let digits = name.strip_prefix('#')?;
            let code = match digits.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => digits.parse(),
            };
            char::from_u32(code.ok()?)?
        }
    };
    Some((Means::Char(char), end + 1))
}
