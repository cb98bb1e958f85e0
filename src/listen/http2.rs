//! One HTTP/2 connection.
//!
//! Floods of resets, settings, pings and continuations are bounded by the `h2` library (its defaults for local
//! errors and early resets stand); streams, header lists, idle time and age are bounded here. Not here: what a
//! call is (`answer`).

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::watch;

use super::answer::{CALLS_OF_A_CONNECTION, Calls};
use super::frames::Frames;
use super::stream::Stream;
use super::{Bounds, Service};

/// What `h2` itself takes of a header list, in multiples of ours. Between the two the refusal is ours, with
/// envelope and record; above, `h2` answers by itself, which `Frames` makes a closed connection.
const LIST_FACTOR: usize = 2;

/// Bytes that are buffered towards the client for one stream.
const SEND_BUFFER: usize = 64 * 1024;

/// Bytes of a body that a client may send unasked, on a stream and on a connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Serves until the client, idleness or `stop` ends it, or an answer that the client does not take: whoever
/// grants no window lets nothing be written, so `Stream` has nothing to lose its patience over.
pub(super) async fn serve<S: Service>(
    stream: Stream,
    calls: Calls<S>,
    bounds: &Bounds,
    stop: &mut watch::Receiver<bool>,
) {
    let (line, open) = (Arc::clone(&calls.line), calls.line.open());
    let list = u32::try_from(bounds.max_header_bytes.saturating_mul(LIST_FACTOR)).unwrap_or(u32::MAX);
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(u32::try_from(CALLS_OF_A_CONNECTION).unwrap_or(1))
        .max_header_list_size(list)
        .max_send_buf_size(SEND_BUFFER)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .serve_connection(TokioIo::new(Frames::new(stream)), calls);
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = line.stuck(bounds.body_timeout) => return,
        () = super::stopped(stop) => {}
        () = idle(open.clone(), bounds.header_timeout) => {}
    }
    connection.as_mut().graceful_shutdown();
    // Streams that are open now may still get their answers; a client that does not read them has as long as
    // for a body, from the moment when no call is left.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = line.stuck(bounds.body_timeout) => {}
        () = idle(open, bounds.body_timeout) => {}
    }
}

/// Ends when no call was open for so long.
async fn idle(mut open: watch::Receiver<usize>, patience: Duration) {
    loop {
        if open.wait_for(|open| *open == 0).await.is_err() {
            return;
        }
        if tokio::time::timeout(patience, open.changed()).await.is_err() {
            return;
        }
    }
}
