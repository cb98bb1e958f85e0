//! One HTTP/1 connection, from its first byte to its last.
//!
//! Not here: what is strict HTTP (`framing`), what a call is (`answer`).

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Response;
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use super::answer::{Calls, caught};
use super::framing::MAX_FIELDS;
use super::gate::Gate;
use super::line::Phase;
use super::stream::Stream;
use super::{Bounds, Service, request};
use crate::refusal::Refusal;

/// Room for a head in hyper's buffer beside what `framing` lets through. hyper asks for 8 KiB at least.
const BUFFER: usize = 16 * 1024;

/// After our last byte, how long we still read and discard. Closing with unread bytes would reset the
/// connection, and the client might lose the answer (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(1);

/// How many bytes are discarded so: a body of the default limit.
const LINGER_BYTES: usize = 1024 * 1024;

/// Serves until the client or `stop` ends it.
pub(super) async fn serve<S: Service>(
    stream: Stream,
    calls: Calls<S>,
    bounds: &Bounds,
    stop: &mut watch::Receiver<bool>,
) {
    let (service, line, peer, certificate) =
        (calls.service.clone(), calls.line.clone(), calls.peer, calls.certificate);
    let gate = Gate::new(stream, bounds.max_header_bytes, line.clone());
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.header_timeout)
        .max_headers(MAX_FIELDS)
        .max_buf_size(bounds.max_header_bytes.saturating_add(BUFFER))
        .half_close(false)
        .serve_connection(TokioIo::new(gate), calls);
    let ended = tokio::select! {
        ended = Pin::new(&mut connection) => ended,
        () = super::stopped(stop) => {
            Pin::new(&mut connection).graceful_shutdown();
            Pin::new(&mut connection).await
        }
    };
    let gate = connection.into_parts().io.into_inner();
    let refusal = match line.phase() {
        Phase::Idle if gate.between_requests() => line.fault(),
        Phase::Head if ended.as_ref().is_err_and(hyper::Error::is_parse_too_large) => {
            Some(Refusal::HeadersTooLarge)
        }
        Phase::Head => Some(line.fault().unwrap_or(Refusal::MalformedRequest("the head can't be read"))),
        Phase::Idle | Phase::Called | Phase::Answered => None,
    };
    let timed_out = ended.as_ref().is_err_and(hyper::Error::is_timeout);
    let unread = refusal.is_some() || gate.has_unread();
    let mut stream = gate.into_inner();
    if let Some(refusal) = refusal {
        let origin = request::origin(peer, certificate, &http::HeaderMap::new());
        // No record, no answer.
        let Some(answer) = caught(service.refuse(origin, refusal)).await.flatten() else { return };
        write(&mut stream, answer).await;
    }
    if unread && !timed_out {
        linger(&mut stream).await;
    } else {
        let _ = stream.shutdown().await;
    }
}

/// Writes an answer that is the connection's last. Failing is the client's loss alone: its record is made.
pub(super) async fn write(stream: &mut Stream, answer: Response<Full<Bytes>>) {
    let (head, body) = answer.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let mut bytes = BytesMut::new();
    let reason = head.status.canonical_reason().unwrap_or_default();
    bytes.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", head.status.as_u16()).as_bytes());
    for (name, value) in &head.headers {
        if matches!(
            *name,
            http::header::CONTENT_LENGTH | http::header::CONNECTION | http::header::TRANSFER_ENCODING
        ) {
            continue;
        }
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
        .extend_from_slice(format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(&body);
    if stream.write_all(&bytes).await.is_ok() {
        let _ = stream.flush().await;
    }
}

/// Says that nothing more comes, and reads what is still on its way.
pub(super) async fn linger(stream: &mut Stream) {
    let discard = async {
        stream.shutdown().await?;
        let mut space = [0u8; 4096];
        let mut left = LINGER_BYTES;
        while left > 0 {
            let count = stream.read(&mut space).await?;
            if count == 0 {
                break;
            }
            left = left.saturating_sub(count);
        }
        std::io::Result::Ok(())
    };
    let _ = tokio::time::timeout(LINGER, discard).await;
}
