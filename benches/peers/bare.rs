//! A proxy that does nothing but forward: what hyper alone costs. `peers-bare LISTEN UPSTREAM TOKEN_FILE`.
//!
//! HTTP/1.1 on both sides, one thread. It puts the upstream's token in place of the caller's, as every other
//! candidate does, and checks nothing. Not here: what it is measured with (`referee.py`).

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a benchmark stops at the first thing that is wrong"
)]

use http::header::{AUTHORIZATION, HOST, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

type Upstream = Client<HttpConnector, Incoming>;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [listen, upstream, token_file] = arguments.as_slice() else {
        // `cargo bench` runs this as well, without arguments.
        eprintln!("usage: peers-bare LISTEN UPSTREAM TOKEN_FILE (see benches/README.md)");
        return;
    };
    let upstream: Authority = upstream.parse().unwrap();
    let token = std::fs::read_to_string(token_file).unwrap();
    let token = HeaderValue::try_from(format!("Bearer {}", token.trim())).unwrap();
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Upstream = Client::builder(TokioExecutor::new()).build(connector);
    let listener = TcpListener::bind(listen).await.unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (client, upstream, token) = (client.clone(), upstream.clone(), token.clone());
        tokio::spawn(async move {
            let service =
                service_fn(move |request| forward(client.clone(), request, upstream.clone(), token.clone()));
            let serving = hyper::server::conn::http1::Builder::new();
            // A client that breaks its connection off is no fault of ours.
            let _ = serving.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn forward(
    client: Upstream,
    mut request: Request<Incoming>,
    upstream: Authority,
    token: HeaderValue,
) -> Result<Response<Incoming>, Error> {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(upstream);
    *request.uri_mut() = Uri::from_parts(parts).unwrap();
    request.headers_mut().remove(HOST);
    request.headers_mut().insert(AUTHORIZATION, token);
    client.request(request).await
}
