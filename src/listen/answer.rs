//! From hyper's request to our service, and its answer back.
//!
//! Each call runs in a task of its own, so a client that hangs up stops nothing that has begun, and a panic
//! takes no other call with it. Not here: bytes (`gate`), what the service does (`pipeline`).

use std::convert::Infallible;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::body::Body;
use super::client::Trusted;
use super::line::{Line, Open};
use super::request;
use super::{Gone, Service};
use crate::caller::Thumbprint;
use crate::refusal::Refusal;

/// What an overloaded listener tells a client to wait for.
pub(super) const COME_BACK: Duration = Duration::from_secs(1);

/// Held by whatever must end before the listener may: when all are dropped, the drain is done.
#[derive(Clone, Debug)]
pub(super) struct Alive(#[expect(dead_code, reason = "only its drop counts")] mpsc::Sender<Infallible>);

impl Alive {
    pub(super) fn new() -> (Self, mpsc::Receiver<Infallible>) {
        let (send, receive) = mpsc::channel(1);
        (Self(send), receive)
    }
}

/// How many calls run at once. A call outlives its client, so connections and streams alone bound nothing: one
/// could send, reset and send again.
#[derive(Clone, Debug)]
pub(super) struct Room {
    calls: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    connection: Arc<Semaphore>,
}

/// Calls of one connection at once: as many as HTTP/2 has streams open, so only a client that resets meets it.
pub(super) const CALLS_OF_A_CONNECTION: usize = 64;

enum Place {
    Call(#[expect(dead_code, reason = "held until the call ends")] [OwnedSemaphorePermit; 2]),
    Refusal(#[expect(dead_code, reason = "held until the refusal is recorded")] OwnedSemaphorePermit),
}

impl Room {
    pub(super) fn new(calls: usize, refusals: Arc<Semaphore>) -> Self {
        let connection = Arc::new(Semaphore::new(CALLS_OF_A_CONNECTION));
        Self { calls: Arc::new(Semaphore::new(calls)), refusals, connection }
    }

    /// The same for another connection.
    pub(super) fn for_connection(&self) -> Self {
        Self { connection: Arc::new(Semaphore::new(CALLS_OF_A_CONNECTION)), ..self.clone() }
    }

    fn enter(&self) -> Option<Place> {
        let connection = Arc::clone(&self.connection).try_acquire_owned().ok()?;
        Arc::clone(&self.calls).try_acquire_owned().map_or_else(
            |_| Arc::clone(&self.refusals).try_acquire_owned().ok().map(Place::Refusal),
            |call| Some(Place::Call([connection, call])),
        )
    }
}

/// Our service as hyper calls it, for one connection.
#[derive(Debug)]
pub(super) struct Calls<S> {
    pub(super) service: Arc<S>,
    /// Who the connection is from.
    pub(super) peer: IpAddr,
    pub(super) trusted: Arc<Trusted>,
    pub(super) certificate: Option<Thumbprint>,
    pub(super) max_body_bytes: usize,
    pub(super) max_header_bytes: usize,
    pub(super) body_timeout: Duration,
    pub(super) line: Arc<Line>,
    pub(super) alive: Alive,
    pub(super) room: Room,
}

/// There is no answer, since there is no record: the service failed twice or wants none, or there is no room even to
/// refuse.
#[derive(Debug, thiserror::Error)]
#[error("there is no answer that has a record")]
pub(super) struct NoAnswer;

impl<S: Service> hyper::service::Service<Request<Incoming>> for Calls<S> {
    type Response = Response<Answer>;
    type Error = NoAnswer;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let gone = Gone::default();
        let (send, receive) = oneshot::channel();
        if self.line.is_over() {
            return Answering { receive, gone, open: None };
        }
        let open = self.line.begin();
        let (head, incoming) = request.into_parts();
        let answering = Answering { receive, gone: gone.clone(), open: Some(open) };
        let Some(place) = self.room.enter() else { return answering };
        let sender = self.trusted.sender(self.peer, &head.headers);
        let origin = request::origin(*sender.as_ref().unwrap_or(&self.peer), self.certificate, &head.headers);
        let refused = match &place {
            Place::Call(_) => sender.err().or_else(|| request::refused(&head, self.max_header_bytes)),
            Place::Refusal(_) => Some(Refusal::Overloaded { retry_after: COME_BACK }),
        };
        let arrived = refused.map_or_else(
            || {
                let body =
                    Body::incoming(incoming, self.max_body_bytes, self.body_timeout, Arc::clone(&self.line));
                Ok(request::arrived(head, origin.clone(), body, gone))
            },
            Err,
        );
        let (service, alive) = (Arc::clone(&self.service), self.alive.clone());
        // Of a connection that has the streams of many clients, one of them ends its own alone.
        let line = (!self.trusted.is_shared(self.peer)).then(|| Arc::clone(&self.line));
        tokio::spawn(async move {
            // Refusals apart: the task of a call is the smaller for it.
            let answer = match arrived {
                Ok(arrived) => caught(service.call(arrived)).await,
                Err(refusal) => caught(Box::pin(service.refuse(origin.clone(), refusal))).await,
            };
            let answer = match answer {
                Some(answer) => Some(answer),
                None => caught(Box::pin(service.refuse(origin, Refusal::Internal))).await,
            };
            if let Some(answer) = answer.flatten() {
                // The client may be gone; the call is complete either way.
                let _ = send.send(answer);
            } else if let Some(line) = line {
                // HTTP/1 closes by itself; HTTP/2 would reset the stream alone.
                line.end();
            }
            drop((place, alive));
        });
        answering
    }
}

/// Runs `work`; `None` where it panics, which is to be logged.
pub async fn unless_it_panics<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| {
        // What a panic leaves half-changed inside `work` is dropped with it and not seen again.
        catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx)))
            .map_or_else(|_| Poll::Ready(None), |poll| poll.map(Some))
    })
    .await
}

/// The same, where nobody knows which call it was.
pub(super) async fn caught<T>(work: impl Future<Output = T>) -> Option<T> {
    let done = unless_it_panics(work).await;
    if done.is_none() {
        tracing::error!("a call panicked; it is answered as an internal fault");
    }
    done
}

/// An answer that is being made. hyper drops it early when the client hangs up.
#[derive(Debug)]
pub(super) struct Answering {
    receive: oneshot::Receiver<Response<Full<Bytes>>>,
    gone: Gone,
    open: Option<Open>,
}

impl Future for Answering {
    type Output = Result<Response<Answer>, NoAnswer>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.receive).poll(cx)).map_err(|_| NoAnswer);
        let mut open = self.open.take();
        open.iter_mut().for_each(Open::handed_over);
        Poll::Ready(answer.map(|answer| answer.map(|body| Answer { body, _open: open })))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if self.open.is_some() {
            self.gone.set();
        }
    }
}

/// An answer's body. When hyper drops it, it has taken all of it.
#[derive(Debug)]
pub(super) struct Answer {
    body: Full<Bytes>,
    _open: Option<Open>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
