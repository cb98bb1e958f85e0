//! Connections to the upstream: hyper's pooled client over rustls, HTTP/1.1 or HTTP/2 as the upstream chooses.
//!
//! Each connection carries a [`Marks`], which tells a connection that has served before from a fresh one: only
//! the former can have died of old age, and only that is worth a second try.
//!
//! Not here: what is sent over it (`forward::exchange`).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tower_service::Service;

use super::ForwardError;
use crate::{config, trust};

pub(super) type Client = hyper_util::client::legacy::Client<Dialer, Full<Bytes>>;

/// Idle connections that are kept: as many as calls that an upstream budget of 1,200 in 5 minutes starts in 8
/// seconds.
const MAX_IDLE: usize = 32;

/// Bytes and fields of an answer's head. Cloudflare sends about 20 fields, 2 KiB.
const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_HEADERS: usize = 100;

/// The pooled client.
pub(super) fn client(config: &config::Upstream) -> Result<Client, ForwardError> {
    let tls = trusting(config)?;
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls);
    let builder = if is_plain(config) { builder.https_or_http() } else { builder.https_only() };
    let inner = builder.enable_all_versions().wrap_connector(http);
    let head = u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX);
    Ok(hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(config.idle_timeout)
        .pool_max_idle_per_host(MAX_IDLE)
        .http1_max_buf_size(MAX_HEAD_BYTES)
        .http1_max_headers(MAX_HEADERS)
        .http2_max_header_list_size(head)
        // A second try is decided in `exchange`, by what is known of the first.
        .retry_canceled_requests(false)
        .build(Dialer { inner, timeout: config.connect_timeout }))
}

fn is_plain(config: &config::Upstream) -> bool {
    config.base_url.scheme_str() == Some("http")
}

/// TLS that takes the upstream's certificate, and others' that the same roots vouch for.
pub(super) fn trusting(config: &config::Upstream) -> Result<rustls::ClientConfig, ForwardError> {
    trust::client(!is_plain(config), config.ca_file.as_deref()).map_err(ForwardError::Roots)
}

/// What is known of a connection beyond its bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    answered: Arc<AtomicBool>,
}

impl Marks {
    /// An answer came over this connection.
    pub(super) fn set_answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// Whether an answer ever came over this connection.
    pub(super) fn answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }
}

/// Opens connections, TLS handshake included, within a time.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    inner: HttpsConnector<HttpConnector>,
    timeout: Duration,
}

impl Service<Uri> for Dialer {
    type Response = Wire;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Wire, io::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_ready(cx).map_err(io::Error::other)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (dialing, timeout) = (self.inner.call(to), self.timeout);
        Box::pin(async move {
            let stream = tokio::time::timeout(timeout, dialing)
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
                .map_err(io::Error::other)?;
            Ok(Wire { stream, marks: Marks::default() })
        })
    }
}

/// A connection with its marks.
pub(super) struct Wire {
    stream: MaybeHttpsStream<TokioIo<TcpStream>>,
    marks: Marks,
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        self.stream.connected().extra(self.marks.clone())
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, from)
    }
}
