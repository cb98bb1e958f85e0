//! Watches the frames of an HTTP/2 connection, both ways.
//!
//! Outward, for answers that are not ours: the `h2` library answers a far too long header list with a bare 431, without
//! asking us, so without envelope and record. Such an answer is one HEADERS frame with next to nothing in it; here it
//! ends the connection instead. It can't be taken out alone, as the compression of all that follows builds on it.
//!
//! Inward, for frames that ask for nothing: pings, settings, resets, windows, priorities, data without a byte. Each
//! costs us work and many of them an answer, and nothing in the protocol bounds them. A connection has a number of them
//! free, earns more by answers that it takes, and ends when it has none left (CVE-2019-9512 to 9518, CVE-2023-44487).
//!
//! Source: RFC 9113 sections 4.1 and 6. Not here: what is served (`http2`).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that a client's frames come after (RFC 9113 section 3.4).
const PREFACE: u32 = 24;

const HEADER: usize = 9;
const DATA_FRAME: u8 = 0;
const HEADERS_FRAME: u8 = 1;

const END_STREAM: u8 = 1;
const PADDED: u8 = 8;

/// The smallest header block of an answer of ours that has no body. Each has an `x-request-id` that was never
/// sent before, so HPACK can't shorten it below 36 characters of at least 5 bits: 23 bytes. The library's 431,
/// which has no body, takes 5 bytes, or 10 with a change of the table's size.
const SMALLEST: u32 = 16;

/// Frames that ask for nothing which a connection may send before its first answer, and save up at most. A call with the
/// largest body (4 MiB) costs none; a client that shows it is there by a ping a second lasts a quarter of an hour.
const FREE: u32 = 1024;

/// How many more each answer earns: it costs a HEADERS frame, and some clients a ping, a reset or a priority.
const PER_ANSWER: u32 = 64;

/// How many bytes of answers' bodies earn one more. Clients grant windows, two at a time, for what they took: the
/// eagerest that we know for every 4 KiB.
const BYTES_FOR_ONE: u32 = 1024;

/// DATA frames below this, other than a body's last, are as good as empty.
const SMALL: u32 = 64;

/// Where we are in bytes that go one way.
#[derive(Clone, Copy, Debug, Default)]
struct At {
    header: [u8; HEADER],
    have: usize,
    payload: u32,
}

/// What a frame begins with.
#[derive(Clone, Copy, Debug)]
struct Head {
    length: u32,
    kind: u8,
    flags: u8,
}

impl Head {
    /// Whether an answer of ours can have begun so.
    const fn can_be_ours(self) -> bool {
        !(self.kind == HEADERS_FRAME && self.flags & END_STREAM != 0 && self.length < SMALLEST)
    }

    /// What it takes of a client's credit. Frames of kinds that nobody knows cost, too.
    const fn costs(self) -> u32 {
        if self.kind == DATA_FRAME {
            let last = self.flags & END_STREAM != 0;
            let little = self.flags & PADDED != 0 || self.length < SMALL;
            return if little && !last { 1 } else { 0 };
        }
        1
    }

    /// What it adds to that on its way out.
    const fn earns(self) -> u32 {
        match self.kind {
            HEADERS_FRAME => PER_ANSWER,
            DATA_FRAME => self.length / BYTES_FOR_ONE,
            _ => 0,
        }
    }
}

impl At {
    /// Behind so many bytes that are no frame.
    fn behind(bytes: u32) -> Self {
        Self { payload: bytes, ..Self::default() }
    }

    /// Moves on over `bytes`, and tells of each frame whose head is complete with them.
    fn advance(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Head)) {
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
                seen(Head { length: self.payload, kind, flags });
            }
        }
    }
}

/// An HTTP/2 connection as hyper sees it.
#[derive(Debug)]
pub(super) struct Frames<S> {
    io: S,
    inward: At,
    outward: At,
    /// How many more frames may come that ask for nothing.
    credit: u32,
}

impl<S> Frames<S> {
    pub(super) fn new(io: S) -> Self {
        Self { io, inward: At::behind(PREFACE), outward: At::default(), credit: FREE }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Frames<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        let (mut credit, mut spent) = (this.credit, false);
        this.inward.advance(buf.filled().get(before..).unwrap_or_default(), |head| {
            spent |= head.costs() > credit;
            credit = credit.saturating_sub(head.costs());
        });
        this.credit = credit;
        if spent {
            return Poll::Ready(Err(io::Error::other("too many frames that ask for nothing")));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let (mut ahead, mut ours) = (this.outward, true);
        ahead.advance(bytes, |head| ours &= head.can_be_ours());
        if !ours {
            return Poll::Ready(Err(io::Error::other("an answer that has no record")));
        }
        let written = ready!(Pin::new(&mut this.io).poll_write(cx, bytes))?;
        let mut credit = this.credit;
        this.outward.advance(bytes.get(..written).unwrap_or_default(), |head| {
            credit = credit.saturating_add(head.earns()).min(FREE);
        });
        this.credit = credit;
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
                let mut got = true;
                all.chunks(piece).for_each(|bytes| at.advance(bytes, |head| got &= head.can_be_ours()));
                assert_eq!(got, ours, "{frames:?} by {piece}");
            }
        };
        check(&[frame(4, 0, 0), frame(4, 0, 18), frame(1, 4, 40), frame(0, 1, 5), frame(8, 0, 4)], true);
        check(&[frame(1, 5, 40), frame(1, 4, 5), frame(0, 1, 1)], true);
        check(&[frame(4, 0, 18), frame(1, 5, 5)], false);
        check(&[frame(1, 4, 40), frame(0, 1, 200), frame(1, 5, 10)], false);
    }

    #[test]
    fn what_asks_for_something_costs_nothing_but_its_head() {
        let costs = |kind, flags, length| Head { length, kind, flags }.costs();
        assert_eq!(costs(DATA_FRAME, 0, 16_384), 0);
        assert_eq!(costs(DATA_FRAME, END_STREAM, 0), 0);
        for (kind, flags, length) in [
            (DATA_FRAME, 0, 0),
            (DATA_FRAME, 0, SMALL - 1),
            (DATA_FRAME, PADDED, 16_384),
            (HEADERS_FRAME, END_STREAM, 40),
            (2, 0, 5),
            (3, 0, 4),
            (4, 0, 0),
            (6, 0, 8),
            (8, 0, 4),
            (9, 0, 100),
            (200, 0, 100),
        ] {
            assert_eq!(costs(kind, flags, length), 1, "{kind} {flags} {length}");
        }
    }

    #[test]
    fn frames_are_told_apart_behind_the_preface_however_they_are_cut() {
        let all = [vec![b'P'; 24], frame(4, 0, 6), frame(6, 1, 8), frame(0, 1, 0)].concat();
        for piece in [1, 2, 9, 23, 1000] {
            let (mut at, mut kinds) = (At::behind(PREFACE), Vec::new());
            all.chunks(piece).for_each(|bytes| at.advance(bytes, |head| kinds.push(head.kind)));
            assert_eq!(kinds, [4, 6, 0], "by {piece}");
        }
    }
}
