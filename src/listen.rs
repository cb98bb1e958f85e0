//! Takes connections and makes requests of them: HTTP/1.1 and HTTP/2, over TCP or TLS.
//!
//! Everything that a client can get for an answer comes out of a [`Service`], so that it has its record: what
//! hyper or `h2` would answer by themselves is held back (`gate`, `frames`). A call that has begun is finished,
//! whether its client is still there or not, and the listener ends only when all calls have ended or the time
//! for that is up. Not here: what a request means (`operation`), who sends it (`identify`), what refusals look
//! like (`respond`).

mod answer;
mod body;
mod client;
mod failed;
mod frames;
mod framing;
mod gate;
pub mod headers;
mod http1;
mod http2;
mod line;
mod places;
mod proxied;
mod request;
mod server;
mod stream;
mod tls;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, Version};
use http_body_util::Full;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::caller::Origin;
use crate::refusal::Refusal;

pub use answer::unless_it_panics;
pub use body::Body;
#[cfg(any(test, fuzzing))]
pub use client::{behind_balancer, behind_hops};
pub use failed::Failed;
#[cfg(any(test, fuzzing))]
pub use framing::{Framed, framed};
pub use server::{Connections, Drained, ListenError, Listener};
pub use tls::{Certificate, NewCertificate, TlsError, check};

use server::Bounds;

/// What the listener serves. Both ways make the record of what they answer before they answer, or give `None`: then
/// there is no answer and the connection, or the stream of HTTP/2, is closed. Every answer
/// has an `x-request-id` of its own: an HTTP/2 answer with neither that nor a body is taken for the library's.
pub trait Service: Send + Sync + 'static {
    /// Answers a request. Runs in its own task to its end. A panic that gets out of it becomes
    /// [`Refusal::Internal`], under an id that nothing else of the call has.
    fn call(&self, arrived: Arrived) -> impl Future<Output = Option<Response<Full<Bytes>>>> + Send;

    /// Records and answers what is no request to call with: bytes that are not HTTP, or what the listener itself
    /// refuses.
    fn refuse(
        &self,
        origin: Origin,
        refusal: Refusal,
    ) -> impl Future<Output = Option<Response<Full<Bytes>>>> + Send;
}

/// A request as it came in. The headers are within their bounds; nothing else has been checked.
pub struct Arrived {
    /// The method; `CONNECT` never gets here.
    pub method: Method,
    /// What is asked for.
    pub target: Target,
    /// All header fields, in order.
    pub headers: HeaderMap,
    /// HTTP/1.0, 1.1 or 2.
    pub version: Version,
    /// Who sends it, before any token is looked at.
    pub origin: Origin,
    /// The body, still to be read.
    pub body: Body,
    /// Whether the client has hung up.
    pub gone: Gone,
    /// When its head was read.
    pub at: Instant,
}

impl std::fmt::Debug for Arrived {
    /// Without what a client sent: a token stands in the headers, and keys in the body.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arrived")
            .field("version", &self.version)
            .field("origin", &self.origin.address)
            .field("headers", &self.headers.len())
            .finish_non_exhaustive()
    }
}

/// A request's target, not decoded or cleaned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The path as sent; of other forms than [`Form::Origin`], what there is of one.
    pub path: String,
    /// What follows the `?`.
    pub query: Option<String>,
    /// How it was put.
    pub form: Form,
}

/// The forms of a request target (RFC 9112 section 3.2). Only the first asks for something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `/path?query`
    Origin,
    /// `http://host/path?query`, as sent to a forward proxy.
    Absolute,
    /// `host:port`, as sent with `CONNECT`.
    Authority,
    /// `*`
    Asterisk,
}

/// Tells whether the client has hung up.
#[derive(Clone, Debug, Default)]
pub struct Gone(Arc<AtomicBool>);

impl Gone {
    /// Whether it has, as far as is known now. Stays `false` once an answer was handed over.
    #[must_use]
    pub fn now(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Ends when the process is to stop; a sender that is gone means the same.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests;
