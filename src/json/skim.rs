//! Says of a text that it is strict JSON, and what a few of its members are, without making a value of it.
//!
//! For whoever reads millions of texts that were written here: one pass, nothing is copied. It never takes what the
//! strict reader refuses; what it is not made for (an escape in a name, an object with very many members) it leaves to
//! that reader, as all that is wrong. Not here: what is wrong with a text (`json::read`).

use super::Text;
use super::read::{MAX_NUMBER, plain};

/// Members of one object that are taken here. Each name is compared with all before it.
const MAX_MEMBERS: usize = 64;

/// The wanted members of the object that `bytes` is, nested at most `max_depth` deep.
///
/// Nothing at all where only the strict reader can tell, and where it is not in the form in which `json::write` writes it:
/// then ask that reader.
#[must_use]
pub fn skim<'a, const N: usize>(
    bytes: &'a [u8],
    max_depth: usize,
    wanted: &[&str; N],
) -> Option<[Option<Text<'a>>; N]> {
    let mut found = [None; N];
    let skimmer = whole(bytes, max_depth, &mut |name, value| {
        if let Some(at) = wanted.iter().position(|wanted| *wanted == name)
            && let Some(place) = found.get_mut(at)
        {
            *place = Some(value);
        }
    })?;
    skimmer.written().then_some(found)
}

/// The text that `bytes` is, if it is an object in the very form in which `json::write` writes it.
pub(super) fn skim_written(bytes: &[u8], max_depth: usize) -> Option<&str> {
    let skimmer = whole(bytes, max_depth, &mut |_, _| {})?;
    skimmer.written().then_some(skimmer.text)
}

/// Skims an object that is all of `bytes`.
fn whole<'a>(
    bytes: &'a [u8],
    max_depth: usize,
    found: &mut impl FnMut(&str, Text<'a>),
) -> Option<Skimmer<'a>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let names = Vec::with_capacity(MAX_MEMBERS);
    let mut skimmer = Skimmer { text, bytes, at: 0, names, is_written: true };
    skimmer.space();
    if skimmer.peek()? != b'{' || max_depth == 0 {
        return None;
    }
    skimmer.object(max_depth, found)?;
    skimmer.space();
    skimmer.peek().is_none().then_some(skimmer)
}

struct Skimmer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// Names of the objects that are open, with what tells most of them apart at once.
    names: Vec<(u64, &'a str)>,
    /// Whether there was no space outside of texts, and no escape but those that are written.
    is_written: bool,
}

impl<'a> Skimmer<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
            self.is_written = false;
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.bytes.get(self.at..)?.starts_with(word).then(|| self.at += word.len())
    }

    /// Whether all of it is in the form that is written.
    fn written(&self) -> bool {
        // U+007F to U+009F are escaped there; in UTF-8 all but the first of them are 0xc2 and a byte below 0xa0.
        let is_escaped = |at: usize| {
            self.bytes.get(at) == Some(&0x7f) || self.bytes.get(at + 1).is_none_or(|next| *next < 0xa0)
        };
        self.is_written && !memchr::memchr2_iter(0x7f, 0xc2, self.bytes).any(is_escaped)
    }

    /// Skips a value.
    fn value(&mut self, depth: usize) -> Option<()> {
        self.space();
        match self.peek()? {
            b'"' => drop(self.string()?),
            b'-' | b'0'..=b'9' => self.number()?,
            b'{' if depth > 0 => self.object(depth, &mut |_, _| {})?,
            b'[' if depth > 0 => self.array(depth)?,
            b'n' => self.word(b"null")?,
            b't' => self.word(b"true")?,
            b'f' => self.word(b"false")?,
            _ => return None,
        }
        Some(())
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.at += 1;
        self.space();
        if self.peek()? == b']' {
            self.at += 1;
            return Some(());
        }
        loop {
            self.value(depth - 1)?;
            self.space();
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b',' => {}
                b']' => return Some(()),
                _ => return None,
            }
        }
    }

    fn object(&mut self, depth: usize, found: &mut impl FnMut(&str, Text<'a>)) -> Option<()> {
        self.at += 1;
        self.space();
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        let first = self.names.len();
        loop {
            self.space();
            if self.peek()? != b'"' {
                return None;
            }
            let name = self.string()??;
            self.add(name, first)?;
            self.space();
            if self.peek()? != b':' {
                return None;
            }
            self.at += 1;
            self.space();
            let start = self.at;
            self.value(depth - 1)?;
            found(name, Text::of(self.text.get(start..self.at)?));
            self.space();
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b',' => {}
                b'}' => {
                    self.names.truncate(first);
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    /// Notes a name; nothing where the object that began at `first` has it already, or many.
    fn add(&mut self, name: &'a str, first: usize) -> Option<()> {
        let mark = mark(name.as_bytes());
        let of_object = self.names.get(first..)?;
        if of_object.len() == MAX_MEMBERS
            || of_object.iter().any(|(other, known)| *other == mark && *known == name)
        {
            return None;
        }
        self.names.push((mark, name));
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn number(&mut self) -> Option<()> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        // A digit that follows a leading zero is no end of a value: whoever called finds it there.
        (self.at - start <= MAX_NUMBER).then_some(())
    }

    /// Skips a string; its text, where it has no escapes.
    fn string(&mut self) -> Option<Option<&'a str>> {
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += plain(self.bytes.get(self.at..)?);
            match self.peek()? {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return None,
            }
        }
        let text = if escaped { None } else { Some(self.text.get(start..self.at)?) };
        self.at += 1;
        Some(text)
    }

    fn escape(&mut self) -> Option<()> {
        let letter = *self.bytes.get(self.at + 1)?;
        self.at += 2;
        match letter {
            b'"' | b'\\' | b'n' | b'r' | b't' => Some(()),
            b'/' | b'b' | b'f' => {
                self.is_written = false;
                Some(())
            }
            b'u' => match self.hex4()? {
                // Tabs and ends of lines have escapes of their own.
                0..0x9 | 0xb | 0xc | 0xe..0x20 | 0x7f..0xa0 => Some(()),
                0xd800..0xdc00 => {
                    self.is_written = false;
                    self.word(b"\\u")?;
                    (0xdc00..0xe000).contains(&self.hex4()?).then_some(())
                }
                0xdc00..0xe000 => None,
                _ => {
                    self.is_written = false;
                    Some(())
                }
            },
            _ => None,
        }
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        self.is_written &= !digits.bytes().any(|b| b.is_ascii_uppercase());
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }
}

/// A name's first eight bytes and its length.
fn mark(name: &[u8]) -> u64 {
    let begin = match name.first_chunk() {
        Some(first) => u64::from_le_bytes(*first),
        None => name.iter().fold(0, |begin, byte| begin << 8 | u64::from(*byte)),
    };
    begin.rotate_left(8) ^ name.len() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::arbitrary::json;
    use super::super::differential::edits;
    use super::super::{Json, read};
    use super::*;

    const DEPTH: usize = 5;

    const WANTED: [&str; 3] = ["a", "kind", ""];

    /// Whether it agrees with the strict reader; whether it took the text.
    #[track_caller]
    fn agrees(text: &[u8]) -> bool {
        let shown = String::from_utf8_lossy(text);
        let Some(found) = skim(text, DEPTH, &WANTED) else { return false };
        let value = read(text, DEPTH).unwrap_or_else(|e| panic!("{shown}: {e}"));
        let object = value.as_object().unwrap_or_else(|| panic!("{shown}: no object"));
        for (name, found) in WANTED.iter().zip(found) {
            let known = object.get(name).map(Json::to_text);
            assert_eq!(found.map(Text::as_str), known.as_deref(), "{shown}: {name}");
        }
        true
    }

    /// Whether the strict reader takes an object, in which nothing needs an escape, as it is written.
    fn is_plain(text: &[u8]) -> bool {
        let taken = read(text, DEPTH)
            .is_ok_and(|value| value.as_object().is_some() && value.to_text().as_bytes() == text);
        taken && !text.contains(&b'\\')
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_skimmed_is_what_the_strict_reader_takes(value in json(), edits in edits()) {
            let mut text = format!(r#"{{"kind":"x","a":{value}}}"#).into_bytes();
            prop_assert!(agrees(&text) || !is_plain(&text));
            for (at, gone, new) in edits {
                let at = at.index(text.len() + 1);
                let end = (at + gone).min(text.len());
                text.splice(at..end, new);
                prop_assert!(agrees(&text) || !is_plain(&text), "{}", String::from_utf8_lossy(&text));
            }
        }

        #[test]
        fn the_end_of_a_plain_text_is_found(bytes in prop::collection::vec(prop_oneof![0x1e..0x24u8, 0x5b..0x5eu8, 0x7e..0xa3u8, any::<u8>()], 0..40)) {
            let expected = bytes.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20)).unwrap_or(bytes.len());
            prop_assert_eq!(plain(&bytes), expected);
        }
    }

    #[test]
    fn texts_on_which_readers_disagree_are_left_to_the_strict_one() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"abcdefgh1":1,"abcdefgh2":1,"abcdefgh1":1}"#,
            r#"{"\u0061":1}"#,
            "{\"a\":1}x",
            "[1]",
            r#"{"a":01}"#,
            r#"{"a":1.}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\udc00"}"#,
            r#"{"a":"\x"}"#,
            "{\"a\":\"\n\"}",
            r#"{"a":[1,]}"#,
            r#"{"a":1,}"#,
            "{\"a\"",
            "\u{feff}{}",
            "",
        ] {
            assert_eq!(skim(text.as_bytes(), DEPTH, &WANTED), None, "{text}");
        }
        assert_eq!(skim(b"{\"a\":\"\xff\"}", DEPTH, &WANTED), None);
        assert_eq!(
            skim(br#"{"a":[[[[1]]]],"kind":"k"}"#, DEPTH, &WANTED),
            Some([Some(Text::of("[[[[1]]]]")), Some(Text::of("\"k\"")), None])
        );
        assert_eq!(skim(br#"{"a":[[[[[1]]]]]}"#, DEPTH, &WANTED), None);
        let long = format!(r#"{{"a":{}}}"#, "9".repeat(MAX_NUMBER + 1));
        assert_eq!(skim(long.as_bytes(), DEPTH, &WANTED), None);
    }
}
