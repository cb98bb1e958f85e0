//! Writes a value as compact JSON text: members in their order, numbers by their digits.

use std::fmt::{Display, Formatter, Result, Write as _};

use super::Json;

impl Json {
    /// The value as compact JSON text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::with_capacity(2048);
        value(&mut out, self);
        out
    }
}

impl Display for Json {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(&self.to_text())
    }
}

fn value(out: &mut String, json: &Json) {
    match json {
        Json::Null => out.push_str("null"),
        Json::Bool(true) => out.push_str("true"),
        Json::Bool(false) => out.push_str("false"),
        Json::Number(number) => out.push_str(number.as_str()),
        Json::String(text) => string(out, text),
        Json::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                value(out, item);
            }
            out.push(']');
        }
        Json::Object(object) => {
            out.push('{');
            for (i, (name, member)) in object.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                string(out, name);
                out.push(':');
                value(out, member);
            }
            out.push('}');
        }
    }
}

/// Escapes what RFC 8259 section 7 requires, and U+007F to U+009F besides, which a terminal would obey.
pub(super) fn string(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    // All that is escaped begins with one of these bytes; most texts have none of them.
    while let Some(at) = rest.bytes().position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f | 0x7f | 0xc2)) {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        let mut chars = special.chars();
        match chars.next() {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(control) if control.is_control() => {
                // Writing to a `String` does not fail.
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            Some(other) => out.push(other),
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out.push('"');
}
