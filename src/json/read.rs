//! The strict reader. One pass, no recursion deeper than the limit, no allocation before a string is complete.

use super::{Json, Name, Number, Object, escape_token};

/// Why a text is not taken, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {offset}")]
pub struct Error {
    /// What is wrong.
    pub kind: ErrorKind,
    /// Where the reader stood, in bytes from the start.
    pub offset: usize,
    /// RFC 6901 pointer to the value being read.
    pub pointer: String,
}

/// What is wrong with a JSON text. None of them quotes the text, which may hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// Not UTF-8.
    #[error("not UTF-8")]
    Utf8,
    /// The text ends within the value.
    #[error("the text ends too early")]
    End,
    /// A character that can't stand there.
    #[error("an unexpected character")]
    Unexpected,
    /// More text after the value.
    #[error("text after the value")]
    Trailing,
    /// Deeper than the limit.
    #[error("nested too deeply")]
    Depth,
    /// A member name for the second time in one object.
    #[error("a duplicate name")]
    Duplicate,
    /// More members in one object than are taken.
    #[error("an object with too many members")]
    Members,
    /// A number that JSON does not know, such as `01`, `+1`, `1.` or `NaN`.
    #[error("a malformed number")]
    Number,
    /// A number of more than 64 characters.
    #[error("a number with too many digits")]
    LongNumber,
    /// An unknown escape, or half of a surrogate pair.
    #[error("a malformed escape")]
    Escape,
    /// A control character in a string.
    #[error("a control character in a string")]
    Control,
}

/// Bytes of a number that are taken: 2^64 has 20 digits, the longest shortest form of a double 24.
pub(super) const MAX_NUMBER: usize = 64;

/// Members of one object that are taken: ten times what an answer has that names as many tunnels as a body may.
/// Whoever looks for a member looks at all of them.
const MAX_MEMBERS: usize = 10_000;

/// Names beyond which duplicates are looked up by hash, so that many names don't cost a quadratic time.
pub(super) const MANY_NAMES: usize = 32;

/// Reads one JSON value that is the whole of `bytes`, nested at most `max_depth` deep.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn read(bytes: &[u8], max_depth: usize) -> Result<Json, Error> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => {
            return Err(Error { kind: ErrorKind::Utf8, offset: e.valid_up_to(), pointer: String::new() });
        }
    };
    let mut reader = Reader { text, at: 0, depth: 0, path: Vec::new(), max_depth };
    let value = reader.whole();
    value.map_err(|kind| Error { kind, offset: reader.at, pointer: reader.pointer() })
}

enum Step {
    Name(String),
    Index(usize),
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    /// The way to what is wrong, innermost first.
    path: Vec<Step>,
    max_depth: usize,
}

impl<'a> Reader<'a> {
    fn whole(&mut self) -> Result<Json, ErrorKind> {
        let value = self.value()?;
        self.space();
        if self.peek().is_some() { Err(ErrorKind::Trailing) } else { Ok(value) }
    }

    fn pointer(&self) -> String {
        self.path.iter().rev().fold(String::new(), |mut pointer, step| {
            pointer.push('/');
            match step {
                Step::Name(name) => pointer.push_str(&escape_token(name)),
                Step::Index(index) => pointer.push_str(&index.to_string()),
            }
            pointer
        })
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), ErrorKind> {
        match self.peek() {
            Some(found) if found == byte => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(ErrorKind::Unexpected),
            None => Err(ErrorKind::End),
        }
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, ErrorKind> {
        if self.rest().starts_with(word) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(ErrorKind::Unexpected)
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn value(&mut self) -> Result<Json, ErrorKind> {
        self.space();
        match self.peek().ok_or(ErrorKind::End)? {
            b'n' => self.word("null", Json::Null),
            b't' => self.word("true", Json::Bool(true)),
            b'f' => self.word("false", Json::Bool(false)),
            b'"' => self.string().map(Json::String),
            b'-' | b'0'..=b'9' => self.number(),
            b'[' => self.array(),
            b'{' => self.object(),
            _ => Err(ErrorKind::Unexpected),
        }
    }

    fn open(&mut self) -> Result<(), ErrorKind> {
        if self.depth >= self.max_depth {
            return Err(ErrorKind::Depth);
        }
        self.depth += 1;
        self.at += 1;
        self.space();
        Ok(())
    }

    const fn close(&mut self) {
        self.depth -= 1;
        self.at += 1;
    }

    fn array(&mut self) -> Result<Json, ErrorKind> {
        self.open()?;
        let mut items = Vec::new();
        if self.peek() == Some(b']') {
            self.close();
            return Ok(Json::Array(items));
        }
        loop {
            let value = self.value();
            items.push(value.inspect_err(|_| self.path.push(Step::Index(items.len())))?);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.close();
                    return Ok(Json::Array(items));
                }
                Some(_) => return Err(ErrorKind::Unexpected),
                None => return Err(ErrorKind::End),
            }
        }
    }

    fn object(&mut self) -> Result<Json, ErrorKind> {
        self.open()?;
        let mut members: Vec<(Name, Json)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        if self.peek() == Some(b'}') {
            self.close();
            return Ok(Json::Object(Object(members)));
        }
        loop {
            self.space();
            let name = self.string()?;
            if members.len() == MAX_MEMBERS {
                return Err(ErrorKind::Members);
            }
            let known = if members.len() < MANY_NAMES {
                members.iter().any(|(known, _)| *known == name)
            } else {
                if seen.is_empty() {
                    seen.extend(members.iter().map(|(known, _)| known.to_string()));
                }
                !seen.insert(name.clone())
            };
            let value = if known { Err(ErrorKind::Duplicate) } else { self.member() };
            match value {
                Ok(value) => members.push((name.into(), value)),
                Err(kind) => {
                    self.path.push(Step::Name(name));
                    return Err(kind);
                }
            }
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.close();
                    return Ok(Json::Object(Object(members)));
                }
                Some(_) => return Err(ErrorKind::Unexpected),
                None => return Err(ErrorKind::End),
            }
        }
    }

    /// What stands behind a name.
    fn member(&mut self) -> Result<Json, ErrorKind> {
        self.space();
        self.expect(b':')?;
        self.value()
    }

    fn digits(&mut self) -> Result<(), ErrorKind> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(ErrorKind::Number) } else { Ok(()) }
    }

    /// RFC 8259 section 6.
    fn number(&mut self) -> Result<Json, ErrorKind> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
            if matches!(self.peek(), Some(b'0'..=b'9')) {
                return Err(ErrorKind::Number);
            }
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
        if self.at - start > MAX_NUMBER {
            return Err(ErrorKind::LongNumber);
        }
        let digits = self.text.get(start..self.at).unwrap_or_default();
        Ok(Json::Number(Number(digits.into())))
    }

    fn string(&mut self) -> Result<String, ErrorKind> {
        self.expect(b'"')?;
        let mut out = String::new();
        loop {
            let rest = self.rest();
            let plain = plain(rest.as_bytes());
            if plain == rest.len() {
                return Err(ErrorKind::End);
            }
            out.push_str(rest.get(..plain).unwrap_or_default());
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    out.push(self.escape()?);
                }
                _ => return Err(ErrorKind::Control),
            }
        }
    }

    fn escape(&mut self) -> Result<char, ErrorKind> {
        let letter = self.peek().ok_or(ErrorKind::End)?;
        self.at += 1;
        Ok(match letter {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex4()?;
                let code = if (0xd800..0xdc00).contains(&first) {
                    if !self.rest().starts_with("\\u") {
                        return Err(ErrorKind::Escape);
                    }
                    self.at += 2;
                    let second = self.hex4()?;
                    if !(0xdc00..0xe000).contains(&second) {
                        return Err(ErrorKind::Escape);
                    }
                    0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                } else {
                    first
                };
                char::from_u32(code).ok_or(ErrorKind::Escape)?
            }
            _ => return Err(ErrorKind::Escape),
        })
    }

    fn hex4(&mut self) -> Result<u32, ErrorKind> {
        let digits = self.text.get(self.at..self.at + 4).ok_or(ErrorKind::Escape)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ErrorKind::Escape);
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).map_err(|_| ErrorKind::Escape)
    }
}

/// How many bytes stand before a quote, a backslash or a control character. Eight at a time: a byte that is one of
/// these, less one, borrows into its highest bit.
pub(super) fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let below = |word: u64, least: u64| word.wrapping_sub(ONES * least) & !word & HIGH;
    let mut at = 0;
    for chunk in bytes.chunks_exact(8) {
        let word = u64::from_le_bytes(chunk.try_into().unwrap_or_default());
        let special = below(word, 0x20)
            | below(word ^ (ONES * u64::from(b'"')), 1)
            | below(word ^ (ONES * u64::from(b'\\')), 1);
        if special != 0 {
            // Borrows go upwards only, so the lowest mark is a true one.
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::super::MAX_DEPTH;
    use super::*;

    #[track_caller]
    fn refused(text: &str, kind: ErrorKind, pointer: &str) {
        let error = read(text.as_bytes(), MAX_DEPTH).unwrap_err();
        assert_eq!((error.kind, error.pointer.as_str()), (kind, pointer), "{text}");
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        for text in [
            r#"{"a":[1,-0.5e+10,18446744073709551616,1.0],"b":{"c":null,"d":[true,false,[]]},"":{}}"#,
            r#""\"\\\n\r\t\u0000é😀""#,
            "0",
        ] {
            assert_eq!(read(text.as_bytes(), MAX_DEPTH).unwrap().to_string(), text);
        }
    }

    #[test]
    fn escapes_are_resolved() {
        let text = read(br#""\u0061\ud83d\ude00\/\b\f""#, MAX_DEPTH).unwrap();
        assert_eq!(text.as_str(), Some("a\u{1f600}/\u{8}\u{c}"));
    }

    #[test]
    fn texts_on_which_readers_disagree_are_refused() {
        refused(r#"{"a":1,"a":2}"#, ErrorKind::Duplicate, "/a");
        refused(r#"{"a":{"b":1,"\u0062":2}}"#, ErrorKind::Duplicate, "/a/b");
        refused("[1] 2", ErrorKind::Trailing, "");
        refused("[1,]", ErrorKind::Unexpected, "/1");
        refused("[01]", ErrorKind::Number, "/0");
        refused("[1.]", ErrorKind::Number, "/0");
        refused("[+1]", ErrorKind::Unexpected, "/0");
        refused("[NaN]", ErrorKind::Unexpected, "/0");
        refused(r#"["\ud800"]"#, ErrorKind::Escape, "/0");
        refused(r#"["\udc00"]"#, ErrorKind::Escape, "/0");
        refused(r#"["\x"]"#, ErrorKind::Escape, "/0");
        refused("[\"\n\"]", ErrorKind::Control, "/0");
        refused("", ErrorKind::End, "");
        refused("{\"a\"", ErrorKind::End, "/a");
        refused("/*c*/1", ErrorKind::Unexpected, "");
        refused("\u{feff}1", ErrorKind::Unexpected, "");
        refused(&"9".repeat(MAX_NUMBER + 1), ErrorKind::LongNumber, "");
        assert_eq!(read(b"\"\xff\"", MAX_DEPTH).unwrap_err().kind, ErrorKind::Utf8);
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(nested(MAX_DEPTH).as_bytes(), MAX_DEPTH).is_ok());
        let error = read(nested(MAX_DEPTH + 1).as_bytes(), MAX_DEPTH).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Depth);
        assert_eq!(read(&vec![b'['; 1 << 20], MAX_DEPTH).unwrap_err().kind, ErrorKind::Depth);
    }

    #[test]
    fn members_of_one_object_are_bounded() {
        let of = |count: usize| {
            let names: Vec<String> = (0..count).map(|i| format!("\"n{i}\":0")).collect();
            format!("[{{{}}},{{}}]", names.join(","))
        };
        assert!(read(of(MAX_MEMBERS).as_bytes(), MAX_DEPTH).is_ok());
        refused(&of(MAX_MEMBERS + 1), ErrorKind::Members, "/0");
    }

    #[test]
    fn duplicates_are_found_among_many_names() {
        let names: Vec<String> = (0..100).map(|i| format!("\"n{i}\":0")).collect();
        let text = format!("{{{},\"n99\":1}}", names.join(","));
        refused(&text, ErrorKind::Duplicate, "/n99");
    }
}
