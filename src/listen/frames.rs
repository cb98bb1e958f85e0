//! Watches the frames that go out on HTTP/2, for answers that are not ours.
//!
//! The `h2` library answers a far too long header list with a bare 431, without asking us, so without envelope
//! and record. Such an answer is one HEADERS frame with next to nothing in it; here it ends the connection
//! instead. Source: RFC 9113 sections 4.1 and 6.2. Not here: what is served (`http2`).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const HEADER: usize = 9;
const HEADERS_FRAME: u8 = 1;

const END_STREAM: u8 = 1;

/// The smallest header block of an answer of ours that has no body. Each has an `x-request-id` that was never
/// sent before, so HPACK can't shorten it below 36 characters of at least 5 bits: 23 bytes. The library's 431,
/// which has no body, takes 5 bytes, or 10 with a change of the table's size.
const SMALLEST: u32 = 16;

/// Where we are in the bytes that go out.
#[derive(Clone, Copy, Debug, Default)]
struct At {
    header: [u8; HEADER],
    have: usize,
    payload: u32,
}

impl At {
    /// Moves on over `bytes`; whether all HEADERS frames that begin there can be ours.
    fn advance(&mut self, mut bytes: &[u8]) -> bool {
        let mut ours = true;
        while let Some((first, rest)) = bytes.split_first() {
            if self.payload > 0 {
                let skip = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
                self.payload = self.payload.saturating_sub(u32::try_from(skip).unwrap_or(u32::MAX));
                bytes = bytes.get(skip..).unwrap_or_default();
                continue;
            }
            if let Some(slot) = self.header.get_mut(self.have) {
                *slot = *first;
            }
            self.have += 1;
            bytes = rest;
            if self.have == HEADER {
                let [a, b, c, kind, flags, ..] = self.header;
                self.payload = u32::from_be_bytes([0, a, b, c]);
                self.have = 0;
                let bare = kind == HEADERS_FRAME && flags & END_STREAM != 0 && self.payload < SMALLEST;
                ours &= !bare;
            }
        }
        ours
    }
}

/// An HTTP/2 connection as hyper sees it.
#[derive(Debug)]
pub(super) struct Frames<S> {
    io: S,
    at: At,
}

impl<S> Frames<S> {
    pub(super) fn new(io: S) -> Self {
        Self { io, at: At::default() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Frames<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut ahead = self.at;
        if !ahead.advance(bytes) {
            return Poll::Ready(Err(io::Error::other("an answer that has no record")));
        }
        let written = std::task::ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.at.advance(bytes.get(..written).unwrap_or_default());
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, payload, kind, flags, 0, 0, 0, 1];
        frame.resize(HEADER + usize::from(payload), HEADERS_FRAME);
        frame
    }

    #[test]
    fn only_an_answer_without_body_and_request_id_is_not_ours() {
        let check = |frames: &[Vec<u8>], ours: bool| {
            for piece in [1, 2, 9, 1000] {
                let mut at = At::default();
                let all = frames.concat();
                let got = all.chunks(piece).all(|bytes| at.advance(bytes));
                assert_eq!(got, ours, "{frames:?} by {piece}");
            }
        };
        check(&[frame(4, 0, 0), frame(4, 0, 18), frame(1, 4, 40), frame(0, 1, 5), frame(8, 0, 4)], true);
        check(&[frame(1, 5, 40), frame(1, 4, 5), frame(0, 1, 1)], true);
        check(&[frame(4, 0, 18), frame(1, 5, 5)], false);
        check(&[frame(1, 4, 40), frame(0, 1, 200), frame(1, 5, 10)], false);
    }
}
