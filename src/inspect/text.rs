//! Text from the record, made fit for a terminal.
//!
//! An entry holds words that a client chose: a user agent, a path, a tunnel's name. On a terminal these must not
//! move the cursor, change colors or turn the reading order around. `--json` output is not changed, since JSON
//! text as this product writes it escapes control characters anyway. Not here: tables (`inspect::table`).

use std::fmt::Write as _;

use crate::json::Json;

/// Text without anything that a terminal obeys: such characters are written as `\u{..}`.
#[must_use]
pub fn plain(text: &str) -> String {
    if text.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return text.to_owned();
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_format(c) {
            // Writing to a `String` does not fail.
            let _ = write!(plain, "\\u{{{:x}}}", u32::from(c));
        } else {
            plain.push(c);
        }
    }
    plain
}

/// Characters that are invisible or turn the reading order: zero width, bidirectional controls, line and paragraph
/// separators, fillers, selectors, byte order mark, tags, private use, non-characters. The same that no subject may have.
const fn is_format(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{e000}'..='\u{f8ff}'
            | '\u{fdd0}'..='\u{fdef}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{ffff}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{10ffff}'
    )
}

/// JSON over several lines, two spaces a level.
#[must_use]
pub fn pretty(value: &Json) -> String {
    let mut text = String::new();
    write_value(&mut text, value, 0);
    text
}

fn write_value(text: &mut String, value: &Json, level: usize) {
    match value {
        Json::Array(items) if !items.is_empty() => {
            let items = items.iter().map(|item| (None, item));
            write_members(text, ('[', ']'), items, level);
        }
        Json::Object(object) if !object.is_empty() => {
            let members = object.iter().map(|(name, value)| (Some(name), value));
            write_members(text, ('{', '}'), members, level);
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) | Json::Object(_) => {
            text.push_str(&plain(&value.to_string()));
        }
    }
}

fn write_members<'a>(
    text: &mut String,
    (open, close): (char, char),
    members: impl Iterator<Item = (Option<&'a str>, &'a Json)>,
    level: usize,
) {
    text.push(open);
    for (i, (name, value)) in members.enumerate() {
        text.push_str(if i == 0 { "\n" } else { ",\n" });
        text.push_str(&"  ".repeat(level + 1));
        if let Some(name) = name {
            text.push_str(&plain(&Json::from(name).to_string()));
            text.push_str(": ");
        }
        write_value(text, value, level + 1);
    }
    text.push('\n');
    text.push_str(&"  ".repeat(level));
    text.push(close);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_comes_through() {
        for (text, expected) in [
            ("plain text, ü and 日本", "plain text, ü and 日本"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("a\r\nb\tc", "a\\u{d}\\u{a}b\\u{9}c"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("abc\u{202e}fed\u{200b}", "abc\\u{202e}fed\\u{200b}"),
        ] {
            assert_eq!(plain(text), expected);
        }
    }

    #[test]
    fn json_is_spread_over_lines_and_keeps_its_numbers_and_order() {
        let value = crate::json::read(br#"{"b":1.10,"a":[],"c":[{"x":"\u202e"},null]}"#, 8).unwrap();
        let expected = "{\n  \"b\": 1.10,\n  \"a\": [],\n  \"c\": [\n    {\n      \"x\": \"\\u{202e}\"\n    },\n    null\n  ]\n}";
        assert_eq!(pretty(&value), expected);
    }
}
