//! Values as the texts that they are: for whoever copies most of what it reads, as an export does.
//!
//! All of it is text in the form in which `json::write` writes it, so a value's text is what writing the value would give,
//! and nothing is to be checked again. Not here: whether a text is strict JSON (`json::read`, `json::skim`).

use std::borrow::Cow;

use super::read::{MAX_NUMBER, plain};
use super::skim::skim_written;
use super::{Error, Json, MAX_DEPTH, read};

/// The value that `bytes` is, nested at most `max_depth` deep, as it is written: mostly as it is there.
///
/// # Errors
/// As of [`read`].
pub fn written(bytes: &[u8], max_depth: usize) -> Result<Cow<'_, str>, Error> {
    match skim_written(bytes, max_depth) {
        Some(text) => Ok(Cow::Borrowed(text)),
        None => Ok(Cow::Owned(read(bytes, max_depth)?.to_text())),
    }
}

/// A value within a text that is [`written`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    /// The value that all of a text is, which [`written`] gave.
    #[must_use]
    pub const fn of(written: &'a str) -> Self {
        Self(written)
    }

    /// Its text.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether it is a string.
    #[must_use]
    pub fn is_string(self) -> bool {
        self.0.starts_with('"')
    }

    /// What it says, if it is a string.
    #[must_use]
    pub fn string(self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if !inner.contains('\\') {
            return Some(Cow::Borrowed(inner));
        }
        match read(self.0.as_bytes(), MAX_DEPTH) {
            Ok(Json::String(text)) => Some(Cow::Owned(text)),
            _ => None,
        }
    }

    /// The integer, if it is a number written as one that fits.
    #[must_use]
    pub fn as_i64(self) -> Option<i64> {
        if self.0.len() > MAX_NUMBER { None } else { self.0.parse().ok() }
    }

    /// The items, if it is an array.
    #[must_use]
    pub fn items(self) -> Option<Vec<Self>> {
        let mut rest = self.0.strip_prefix('[')?;
        let mut items = Vec::new();
        while !rest.is_empty() && rest != "]" {
            let item = first(rest);
            items.push(Self(item));
            rest = behind(rest, item);
        }
        Some(items)
    }

    /// The members, in order, if it is an object.
    #[must_use]
    pub fn members(self) -> Option<Members<'a>> {
        let mut rest = self.0.strip_prefix('{')?;
        let mut members = Vec::with_capacity(32);
        while !rest.is_empty() && rest != "}" {
            let name = first(rest);
            rest = behind(rest, name);
            let value = first(rest);
            rest = behind(rest, value);
            members.push((Self(name), Self(value)));
        }
        Some(Members(members))
    }
}

/// The members of an object, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members<'a>(Vec<(Text<'a>, Text<'a>)>);

impl<'a> Members<'a> {
    /// The member of a name that needs no escape.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Text<'a>> {
        let inner = |text: &'a str| text.strip_prefix('"')?.strip_suffix('"');
        self.0.iter().find(|(known, _)| inner(known.0) == Some(name)).map(|(_, value)| *value)
    }

    /// What the member of that name says, if it is a string.
    #[must_use]
    pub fn string(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name)?.string()
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Text<'a>, Text<'a>)> {
        self.0.iter().copied()
    }
}

/// The value that a text begins with.
fn first(text: &str) -> &str {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = end_of_string(bytes, at + 1);
                if depth == 0 {
                    break;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => break,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    at += 1;
                    break;
                }
            }
            b',' | b':' if depth == 0 => break,
            _ => {}
        }
        at += 1;
    }
    text.get(..at).unwrap_or(text)
}

/// Where a string ends, behind its quote.
fn end_of_string(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        at += plain(rest);
        match bytes.get(at) {
            // Whatever is escaped, its second byte ends no string.
            Some(b'\\') => at += 2,
            Some(_) => return at + 1,
            None => return bytes.len(),
        }
    }
}

/// What stands behind a value, without what parts it from that.
fn behind<'a>(text: &'a str, value: &str) -> &'a str {
    text.get(value.len() + 1..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Object;
    use super::super::arbitrary::json;
    use super::super::differential::edits;
    use super::*;

    #[track_caller]
    fn same(text: Text<'_>, value: &Json) {
        assert_eq!(text.as_str(), value.to_text());
        assert_eq!(text.string().as_deref(), value.as_str());
        assert_eq!(text.is_string(), value.as_str().is_some());
        assert_eq!(text.as_i64(), value.as_i64());
        assert_eq!(text.items().map(|items| items.len()), value.as_array().map(<[Json]>::len));
        for (text, value) in text.items().iter().flatten().zip(value.as_array().unwrap_or_default()) {
            same(*text, value);
        }
        let members = text.members();
        assert_eq!(members.as_ref().map(|members| members.0.len()), value.as_object().map(Object::len));
        let (Some(members), Some(object)) = (members, value.as_object()) else { return };
        for ((name, text), (known, value)) in members.iter().zip(object.iter()) {
            assert_eq!(name.string().as_deref(), Some(known));
            same(text, value);
            if name.as_str() == format!("\"{known}\"") {
                assert_eq!(members.get(known), Some(text));
            }
        }
    }

    #[track_caller]
    fn agrees(text: &[u8]) {
        match (written(text, MAX_DEPTH), read(text, MAX_DEPTH)) {
            (Ok(written), Ok(value)) => same(Text::of(&written), &value),
            (written, value) => assert_eq!(written.err(), value.err()),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_text_is_taken_apart_as_the_value_that_it_is(value in json(), edits in edits()) {
            let mut text = format!(r#"{{"kind":"x","a":{value}}}"#).into_bytes();
            prop_assert!(matches!(written(&text, MAX_DEPTH), Ok(Cow::Borrowed(_))) || text.contains(&b'\\'));
            agrees(&text);
            for (at, gone, new) in edits {
                let at = at.index(text.len() + 1);
                let end = (at + gone).min(text.len());
                text.splice(at..end, new);
                agrees(&text);
            }
        }
    }

    #[test]
    fn what_is_not_in_the_form_that_is_written_is_written_anew() {
        for (text, expected) in [
            (r#"{"a": 1}"#, r#"{"a":1}"#),
            ("{\"a\":1}\n", r#"{"a":1}"#),
            (r#"{"\u0061":"\u0062\/\b\f"}"#, r#"{"a":"b/\u0008\u000c"}"#),
            (r#"{"a":"\u000A\u0009\u001F\u00e9\ud83d\ude00"}"#, "{\"a\":\"\\n\\t\\u001f\u{e9}\u{1f600}\"}"),
            ("{\"a\":\"\u{7f}\u{85}\u{a0}\"}", "{\"a\":\"\\u007f\\u0085\u{a0}\"}"),
            ("[ ]", "[]"),
        ] {
            assert_eq!(written(text.as_bytes(), MAX_DEPTH).as_deref(), Ok(expected), "{text}");
            agrees(text.as_bytes());
        }
        let plain = "{\"a\":\"\\u001f\\u007f\\u009f\\n\\\\\\\"\u{a9}\u{e9}\",\"b\":[{},[],-1.50e+3]}";
        assert!(matches!(written(plain.as_bytes(), MAX_DEPTH), Ok(Cow::Borrowed(_))));
        agrees(plain.as_bytes());
    }
}
