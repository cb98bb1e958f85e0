//! A request's head: its line and its fields, checked line by line as they come.
//!
//! Lines are checked when they are complete, so a client that talks another protocol (TLS on the plain port,
//! say) is told so with its first line, not after a timeout. Not here: the body (`framing`).

use bytes::{Buf, BytesMut};

use crate::refusal::Refusal;

/// Fields of a head. The SDKs send about 20, a browser about 30; hyper's own limit is the same 100.
pub(in crate::listen) const MAX_FIELDS: usize = 100;

/// Bytes of a method. The longest registered one, `UPDATEREDIRECTREF`, has 17.
const MAX_METHOD: usize = 20;

/// Digits of a length: 10^18 - 1 fits in 64 bits.
const MAX_LENGTH_DIGITS: usize = 18;

/// How long the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// There is none.
    None,
    /// So many bytes.
    Known(u64),
    /// It says so itself.
    Chunked,
}

/// A head that is being read.
#[derive(Debug)]
pub(super) struct Head {
    /// Start of the line that is not complete yet.
    line: usize,
    /// Bytes that are known to hold no end of a line.
    seen: usize,
    version: Option<Version>,
    fields: usize,
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
    blank_before: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

impl Head {
    pub(super) const fn new() -> Self {
        Self {
            line: 0,
            seen: 0,
            version: None,
            fields: 0,
            hosts: 0,
            length: None,
            chunked: false,
            blank_before: false,
        }
    }

    /// Where the head ends in the buffer, once [`Head::scan`] has found its last line.
    pub(super) const fn end(&self) -> usize {
        self.line
    }

    /// Looks at what has come; `None` until the head is whole.
    ///
    /// # Errors
    /// [`Refusal::MalformedRequest`] and [`Refusal::HeadersTooLarge`].
    pub(super) fn scan(&mut self, buffer: &mut BytesMut, max: usize) -> Result<Option<Length>, Refusal> {
        loop {
            let rest = buffer.get(self.seen..).unwrap_or_default();
            let Some(at) = memchr::memchr(b'\n', rest) else {
                let tail = buffer.get(self.line..).unwrap_or_default();
                if buffer.len() > max {
                    return Err(Refusal::HeadersTooLarge);
                }
                self.check_tail(tail)?;
                self.seen = buffer.len();
                return Ok(None);
            };
            let end = self.seen + at;
            if end >= max {
                return Err(Refusal::HeadersTooLarge);
            }
            let line = buffer.get(self.line..end).unwrap_or_default();
            let Some(line) = line.strip_suffix(b"\r") else {
                return malformed("a line that ends in a bare LF; lines end in CRLF");
            };
            if line.contains(&b'\r') {
                return malformed("a bare CR; lines end in CRLF");
            }
            if line.is_empty() {
                if self.version.is_some() {
                    self.line = end + 1;
                    return self.whole().map(Some);
                }
                // RFC 9112 section 2.2: some clients send one CRLF too many after a body.
                if self.blank_before {
                    return malformed("empty lines before the request line");
                }
                self.blank_before = true;
                buffer.advance(end + 1);
                self.seen = 0;
                continue;
            }
            match self.version {
                None => self.version = Some(request_line(line)?),
                Some(version) => self.field(version, line)?,
            }
            self.line = end + 1;
            self.seen = end + 1;
        }
    }

    /// What can't become a good line however it goes on.
    fn check_tail(&self, tail: &[u8]) -> Result<(), Refusal> {
        let fresh = tail.get(self.seen.saturating_sub(self.line).saturating_sub(1)..).unwrap_or_default();
        let bare_cr = fresh.iter().position(|b| *b == b'\r').is_some_and(|at| at + 1 < fresh.len());
        if bare_cr {
            return malformed("a bare CR; lines end in CRLF");
        }
        if self.version.is_none()
            && fresh.iter().any(|b| !(b.is_ascii_graphic() || matches!(b, b' ' | b'\r')))
        {
            return malformed("a request line with a byte that is not printable ASCII");
        }
        Ok(())
    }

    fn field(&mut self, version: Version, line: &[u8]) -> Result<(), Refusal> {
        self.fields += 1;
        if self.fields > MAX_FIELDS {
            return Err(Refusal::HeadersTooLarge);
        }
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return malformed("a folded header line, or white space before the first one");
        }
        let Some(colon) = memchr::memchr(b':', line) else {
            return malformed("a header line without a colon");
        };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default();
        if name.is_empty() || !name.iter().copied().all(is_token) {
            return malformed("a header name that is not a token; no space goes before the colon");
        }
        if value.iter().any(|b| b.is_ascii_control() && *b != b'\t') {
            return malformed("a header value with a control character");
        }
        let value = value.trim_ascii();
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            if self.length.is_some() {
                return malformed("more than one `content-length`");
            }
            self.length = Some(length(value)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if version == Version::Http10 {
                return malformed("`transfer-encoding` in HTTP/1.0");
            }
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return malformed("a `transfer-encoding` other than `chunked`, once");
            }
            self.chunked = true;
        }
        Ok(())
    }

    /// What holds for the head as a whole.
    fn whole(&self) -> Result<Length, Refusal> {
        match (self.version, self.hosts) {
            (_, 2..) => return malformed("more than one `host`"),
            (Some(Version::Http11), 0) => return malformed("no `host`"),
            _ => {}
        }
        match (self.chunked, self.length) {
            (true, Some(_)) => malformed("both `content-length` and `transfer-encoding`"),
            (true, None) => Ok(Length::Chunked),
            (false, None | Some(0)) => Ok(Length::None),
            (false, Some(bytes)) => Ok(Length::Known(bytes)),
        }
    }
}

/// RFC 9112 section 3: three words, one space between each.
fn request_line(line: &[u8]) -> Result<Version, Refusal> {
    if line.iter().any(|b| !(b.is_ascii_graphic() || *b == b' ')) {
        return malformed("a request line with a byte that is not printable ASCII");
    }
    let mut words = line.split(|b| *b == b' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let (Some(method), Some(target), Some(version), None) = (method, target, version, words.next()) else {
        return malformed("a request line that is not method, target and version, one space apart");
    };
    if method.is_empty() || method.len() > MAX_METHOD || !method.iter().copied().all(is_token) {
        return malformed("a method that is not a token");
    }
    if target.is_empty() {
        return malformed("an empty target");
    }
    // A fragment is never sent (RFC 9110 section 4.2.5), and hyper would cut it off unseen.
    if target.contains(&b'#') {
        return malformed("a target with a fragment (`#`)");
    }
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        _ => malformed("a version other than HTTP/1.1 and HTTP/1.0"),
    }
}

fn length(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || value.len() > MAX_LENGTH_DIGITS || !value.iter().all(u8::is_ascii_digit) {
        return malformed("a `content-length` that is not one number");
    }
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or(Refusal::MalformedRequest("a `content-length` that is not one number"))
}

/// `tchar` of RFC 9110 section 5.6.2.
const fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(
            b,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

const fn malformed<T>(what: &'static str) -> Result<T, Refusal> {
    Err(Refusal::MalformedRequest(what))
}
