//! A connection's bytes: plain or TLS, and never waiting for a slow reader for longer than is allowed.
//!
//! Not here: what the bytes mean (`gate`, `http2`).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;

/// Plain or TLS.
#[derive(Debug)]
enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection whose other end must keep reading: once it falls behind, it has `patience` to catch up.
#[derive(Debug)]
pub(super) struct Stream {
    transport: Transport,
    /// Bytes that were read to tell the protocol; they are read again first.
    first: Bytes,
    patience: Duration,
    behind: Option<Pin<Box<Sleep>>>,
}

impl Stream {
    pub(super) const fn plain(tcp: TcpStream, first: Bytes, patience: Duration) -> Self {
        Self { transport: Transport::Plain(tcp), first, patience, behind: None }
    }

    pub(super) fn tls(tls: TlsStream<TcpStream>, patience: Duration) -> Self {
        Self { transport: Transport::Tls(Box::new(tls)), first: Bytes::new(), patience, behind: None }
    }

    fn with<T>(
        &mut self,
        cx: &mut Context<'_>,
        act: impl FnOnce(Pin<&mut dyn Transported>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let done = match &mut self.transport {
            Transport::Plain(tcp) => act(Pin::new(tcp), cx),
            Transport::Tls(tls) => act(Pin::new(tls.as_mut()), cx),
        };
        if done.is_pending() {
            let patience = self.patience;
            let behind = self.behind.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
            ready!(behind.as_mut().poll(cx));
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads too slowly")));
        }
        done
    }
}

trait Transported: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transported for T {}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.has_remaining() {
            let count = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first.split_to(count));
            return Poll::Ready(Ok(()));
        }
        match &mut self.transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Transport::Tls(tls) => Pin::new(tls.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with(cx, |io, cx| io.poll_write(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = self.with(cx, |io, cx| io.poll_flush(cx));
        if done.is_ready() {
            // hyper and h2 flush when they have written all they had: the client has caught up.
            self.behind = None;
        }
        done
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(cx, |io, cx| io.poll_shutdown(cx))
    }
}
