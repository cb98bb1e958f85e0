//! Where one HTTP/1 request ends and the next begins, read strictly: pure, bytes in and verdicts out.
//!
//! Request smuggling needs two readers that frame the same bytes differently. This one runs before hyper's and
//! takes only what leaves no choice (RFC 9112 sections 2 to 7): lines that end in CRLF, no folded lines, one
//! length, chunks without extensions or trailers. Not here: the sockets (`gate`), what a path or header means
//! (`operation`, `identify`).

mod head;

use bytes::{Bytes, BytesMut};

use crate::refusal::Refusal;

pub(super) use head::MAX_FIELDS;
use head::{Head, Length};

/// What the front of a buffer is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// These bytes are in order and belong to the request under way.
    Pass(Bytes),
    /// These bytes are a whole head: a new request begins.
    Begin(Bytes),
    /// Nothing can be said before more bytes come.
    More,
}

/// A reader of one connection's bytes.
#[derive(Debug)]
pub(super) struct Framing {
    max_header_bytes: usize,
    at: At,
}

#[derive(Debug)]
enum At {
    /// Before or in a head.
    Head(Head),
    /// In a body of known length: bytes to come.
    Body(u64),
    /// Before a chunk's size line.
    ChunkSize,
    /// In a chunk: bytes to come.
    Chunk(u64),
    /// Before the CRLF after a chunk's bytes.
    ChunkEnd,
    /// Before the CRLF after the last chunk.
    LastLine,
}

/// Digits of a chunk size: 16^8 - 1 is 4 GiB, more than any body that is taken.
const CHUNK_SIZE_DIGITS: usize = 8;

impl Framing {
    pub(super) const fn new(max_header_bytes: usize) -> Self {
        Self { max_header_bytes, at: At::Head(Head::new()) }
    }

    /// Whether a head is expected next, so that the request before it is complete.
    pub(super) const fn between_requests(&self) -> bool {
        matches!(self.at, At::Head(_))
    }

    /// Takes what it can from the front of `buffer`. Call it again after [`Step::Pass`] or [`Step::Begin`].
    ///
    /// # Errors
    /// Bytes that are not strict HTTP/1. Nothing may be read from this connection after that.
    pub(super) fn step(&mut self, buffer: &mut BytesMut) -> Result<Step, Refusal> {
        match &mut self.at {
            At::Head(head) => {
                let Some(length) = head.scan(buffer, self.max_header_bytes)? else { return Ok(Step::More) };
                let end = head.end();
                self.at = match length {
                    Length::None => At::Head(Head::new()),
                    Length::Known(bytes) => At::Body(bytes),
                    Length::Chunked => At::ChunkSize,
                };
                Ok(Step::Begin(buffer.split_to(end).freeze()))
            }
            At::Body(left) => {
                let Some(taken) = take(buffer, left) else { return Ok(Step::More) };
                if *left == 0 {
                    self.at = At::Head(Head::new());
                }
                Ok(Step::Pass(taken))
            }
            At::ChunkSize => self.chunk_size(buffer),
            At::Chunk(left) => {
                let Some(taken) = take(buffer, left) else { return Ok(Step::More) };
                if *left == 0 {
                    self.at = At::ChunkEnd;
                }
                Ok(Step::Pass(taken))
            }
            At::ChunkEnd => {
                crlf(buffer, "a chunk that is longer or shorter than its size", &mut self.at, At::ChunkSize)
            }
            At::LastLine => {
                crlf(buffer, "trailer fields, which are not taken", &mut self.at, At::Head(Head::new()))
            }
        }
    }

    fn chunk_size(&mut self, buffer: &mut BytesMut) -> Result<Step, Refusal> {
        let digits = buffer.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        if digits > CHUNK_SIZE_DIGITS {
            return Err(Refusal::MalformedRequest("a chunk size with too many digits"));
        }
        match (digits, buffer.get(digits), buffer.get(digits + 1)) {
            (0, Some(_), _) => Err(Refusal::MalformedRequest("a chunk without a size")),
            (_, None, _) | (_, Some(b'\r'), None) => Ok(Step::More),
            (_, Some(b'\r'), Some(b'\n')) => {
                let text = buffer.get(..digits).and_then(|digits| std::str::from_utf8(digits).ok());
                let size = text.and_then(|text| u64::from_str_radix(text, 16).ok());
                let size = size.ok_or(Refusal::MalformedRequest("a chunk without a size"))?;
                self.at = if size == 0 { At::LastLine } else { At::Chunk(size) };
                Ok(Step::Pass(buffer.split_to(digits + 2).freeze()))
            }
            (_, Some(b';' | b' ' | b'\t'), _) => {
                Err(Refusal::MalformedRequest("a chunk extension, which is not taken"))
            }
            _ => Err(Refusal::MalformedRequest("a chunk size that is not hex digits and CRLF")),
        }
    }
}

/// Takes at most `left` bytes, and counts them off.
fn take(buffer: &mut BytesMut, left: &mut u64) -> Option<Bytes> {
    if buffer.is_empty() {
        return None;
    }
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
    *left = left.saturating_sub(count as u64);
    Some(buffer.split_to(count).freeze())
}

/// Takes CRLF, and goes on to `then`.
fn crlf(buffer: &mut BytesMut, otherwise: &'static str, at: &mut At, then: At) -> Result<Step, Refusal> {
    match (buffer.first(), buffer.get(1)) {
        (None, _) | (Some(b'\r'), None) => Ok(Step::More),
        (Some(b'\r'), Some(b'\n')) => {
            *at = then;
            Ok(Step::Pass(buffer.split_to(2).freeze()))
        }
        _ => Err(Refusal::MalformedRequest(otherwise)),
    }
}

/// What became of the bytes of one connection.
#[cfg(any(test, fuzzing))]
#[derive(Debug, PartialEq, Eq)]
pub struct Framed {
    /// Each head that began a request.
    pub heads: Vec<Bytes>,
    /// All that passed.
    pub passed: Vec<u8>,
    /// Why no more did.
    pub refusal: Option<Refusal>,
}

/// Reads bytes that come in pieces of `piece`, with heads of at most `max_header_bytes`.
#[cfg(any(test, fuzzing))]
#[must_use]
pub fn framed(bytes: &[u8], piece: usize, max_header_bytes: usize) -> Framed {
    let mut framing = Framing::new(max_header_bytes);
    let mut buffer = BytesMut::new();
    let mut framed = Framed { heads: Vec::new(), passed: Vec::new(), refusal: None };
    for part in bytes.chunks(piece) {
        buffer.extend_from_slice(part);
        loop {
            match framing.step(&mut buffer) {
                Ok(Step::Pass(bytes)) => framed.passed.extend_from_slice(&bytes),
                Ok(Step::Begin(bytes)) => {
                    framed.passed.extend_from_slice(&bytes);
                    framed.heads.push(bytes);
                }
                Ok(Step::More) => break,
                Err(refusal) => {
                    framed.refusal = Some(refusal);
                    return framed;
                }
            }
        }
    }
    framed
}

#[cfg(test)]
mod tests;
