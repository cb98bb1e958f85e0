//! One HTTP/2 connection.
//!
//! Streams, header lists, resets, idle time and age are bounded here; continuations by the `h2` library, which takes a
//! quarter more of them than a header list needs. Not here: floods of other frames (`frames`), what a call is (`answer`).

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::watch;

use super::answer::{CALLS_OF_A_CONNECTION, Calls};
use super::frames::Frames;
use super::line::Line;
use super::stream::Stream;
use super::{Bounds, Service};

/// What `h2` itself takes of a header list at least, and in multiples of ours. Between ours and this the refusal is ours,
/// with envelope and record, and takes nothing from other streams. Above, `h2` answers by itself, which `Frames` makes a
/// closed connection: no client sends more than the settings say but to attack. 64 streams of them are 16 MiB, for a
/// moment.
const LIST: usize = 256 * 1024;
const LIST_FACTOR: usize = 2;

/// Streams that were reset before we looked at them, and streams that we reset for an error, for which a connection may
/// make us keep room: `h2` ends it beyond (CVE-2023-44487, RUSTSEC-2024-0003). What clients give up by chance is less.
const RESETS_WAITING: usize = 20;
const RESETS_OF_ERRORS: usize = 256;

/// From when nothing more is taken on a connection to its end, once no call is open.
const LAST: Duration = Duration::from_secs(1);

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
    let list = bounds.max_header_bytes.saturating_mul(LIST_FACTOR).max(LIST);
    let list = u32::try_from(list).unwrap_or(u32::MAX);
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(u32::try_from(CALLS_OF_A_CONNECTION).unwrap_or(1))
        .max_pending_accept_reset_streams(RESETS_WAITING)
        .max_local_error_reset_streams(RESETS_OF_ERRORS)
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
        () = line.over() => {}
        () = tokio::time::sleep(bounds.max_connection_age) => {}
    }
    connection.as_mut().graceful_shutdown();
    // Streams that are open now may still get their answers; a client that does not read them has as long as
    // for a body, from the moment when no call is left.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = line.stuck(bounds.body_timeout) => {}
        () = idle(open.clone(), bounds.body_timeout) => {}
        () = over(&line, open, bounds.body_timeout) => {}
    }
}

/// Ends when nothing is left of a connection that takes no more calls, as it will, whoever goes on opening streams after
/// it was told.
async fn over(line: &Line, open: watch::Receiver<usize>, patience: Duration) {
    let _ = tokio::time::timeout(patience, line.over()).await;
    line.end();
    idle(open, LAST).await;
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
