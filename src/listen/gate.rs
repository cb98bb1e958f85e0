//! Stands between an HTTP/1 connection and hyper, and lets through only what both sides agree on.
//!
//! Inward: bytes that [`Framing`] has found strict, one request at a time; the next one waits here until the
//! answer before it is flushed. Outward: our answers and nothing else. hyper answers some bad requests by
//! itself, without asking us, so without a record; those bytes end here. Not here: what is answered in their
//! place (`http1`).

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use zeroize::Zeroize as _;

use super::framing::{Framing, Step};
use super::line::{Line, Phase};
use crate::refusal::Refusal;

/// Bytes read from the socket at once; also what a client can have waiting here beyond its own head.
const READ: usize = 8 * 1024;

thread_local! {
    /// Where a read goes first: one for each thread, since a connection that idles should hold no room, and
    /// clearing such a room for each read would cost as much as the rest of the reading.
    static SPACE: RefCell<[u8; READ]> = const { RefCell::new([0; READ]) };
}

/// An HTTP/1 connection as hyper sees it.
#[derive(Debug)]
pub(super) struct Gate<S> {
    io: S,
    framing: Framing,
    /// From the socket, not looked at yet.
    inbound: BytesMut,
    /// Found good, not taken by hyper yet.
    good: Bytes,
    ended: bool,
    line: Arc<Line>,
    /// hyper's reader, where it waits for the answer before it to be flushed.
    waiting: Option<Waker>,
}

/// What a try to get more bytes from the socket came to.
enum Fill {
    Some,
    End,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Gate<S> {
    pub(super) fn new(io: S, max_header_bytes: usize, line: Arc<Line>) -> Self {
        Self {
            io,
            framing: Framing::new(max_header_bytes),
            inbound: BytesMut::new(),
            good: Bytes::new(),
            ended: false,
            line,
            waiting: None,
        }
    }

    /// Whether all requests that came are complete.
    pub(super) const fn between_requests(&self) -> bool {
        self.framing.between_requests()
    }

    /// Whether bytes came that nobody has taken.
    pub(super) fn has_unread(&self) -> bool {
        !self.inbound.is_empty() || !self.between_requests()
    }

    /// The connection itself.
    pub(super) fn into_inner(self) -> S {
        self.io
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Fill>> {
        if self.ended {
            return Poll::Ready(Ok(Fill::End));
        }
        let Self { io, inbound, ended, .. } = self;
        SPACE.with_borrow_mut(|space| {
            let mut space = ReadBuf::new(space);
            ready!(Pin::new(io).poll_read(cx, &mut space))?;
            if space.filled().is_empty() {
                *ended = true;
                return Poll::Ready(Ok(Fill::End));
            }
            inbound.extend_from_slice(space.filled());
            // It lies there until the thread reads again: a token, and a key where one was sent.
            space.filled_mut().zeroize();
            Poll::Ready(Ok(Fill::Some))
        })
    }

    /// While a request is under way, the next one is not looked at: only whether the client is still there.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.waiting = Some(cx.waker().clone());
        while self.inbound.len() < READ {
            match ready!(self.poll_fill(cx))? {
                Fill::Some => {}
                Fill::End => return Poll::Ready(Ok(())),
            }
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gate<S> {
    /// Gives an end of the stream for bytes that are refused between requests, and an error for those within a
    /// body; [`Line::fault`] tells what they were.
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.good.has_remaining() {
                let count = this.good.len().min(buf.remaining());
                buf.put_slice(&this.good.split_to(count));
                return Poll::Ready(Ok(()));
            }
            if this.line.fault().is_some() {
                return Poll::Ready(Ok(()));
            }
            let between = this.framing.between_requests();
            if between && this.line.phase() != Phase::Idle {
                return this.poll_wait(cx);
            }
            let Gate { framing, inbound, .. } = this;
            match framing.step(inbound) {
                Ok(Step::Pass(bytes)) => this.good = bytes,
                Ok(Step::Begin(bytes)) => {
                    this.good = bytes;
                    // INVARIANT: from here until the answer is flushed, no byte of another request goes in.
                    this.line.set_phase(Phase::Head);
                }
                Ok(Step::More) => match ready!(this.poll_fill(cx))? {
                    Fill::Some => {}
                    Fill::End => return Poll::Ready(Ok(())),
                },
                Err(refusal) => {
                    this.line.set_fault(refusal);
                    if !between {
                        return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                    }
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.line.phase() {
            Phase::Called | Phase::Answered => Pin::new(&mut self.io).poll_write(cx, bytes),
            Phase::Idle | Phase::Head => {
                self.line.set_fault(Refusal::MalformedRequest("the request line or a header can't be read"));
                Poll::Ready(Ok(bytes.len()))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let answered = self.line.phase() == Phase::Answered;
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        // hyper flushes the stream only when its own buffer is empty, so the whole answer is out.
        if answered {
            self.line.set_phase(Phase::Idle);
            // hyper of today looks for the next request by itself after a flush; nothing says that it must.
            if let Some(waiting) = self.waiting.take() {
                waiting.wake();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Flushes and no more: a refusal may still have to be written (`http1`).
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
