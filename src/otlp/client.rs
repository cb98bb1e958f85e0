//! Sends requests to the collector, with hyper over rustls as all that goes out.
//!
//! Not here: what is in them (`otlp::spans`), when they go (`otlp`).

use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::USER_AGENT;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_http::{HttpClient, HttpError};

use crate::trust;

/// Bytes of an answer: it says how many spans were not taken, and why.
const ANSWER_MAX: usize = 64 << 10;

/// How long a connection is kept that nothing is sent over.
const IDLE: Duration = Duration::from_secs(30);

/// The collector.
#[derive(Clone, Debug)]
pub(super) struct Collector {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Collector {
    /// A client that trusts the roots in `ca_file`, or else the platform's.
    pub(super) fn new(url: &Uri, ca_file: Option<&Path>, timeout: Duration) -> Result<Self, String> {
        let https = url.scheme() == Some(&http::uri::Scheme::HTTPS);
        let tls = trust::client(https, ca_file)?;
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls);
        let connector = if https { connector.https_only() } else { connector.https_or_http() };
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(timeout));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector.enable_http1().wrap_connector(http));
        Ok(Self { client })
    }

    async fn exchange(self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let agent = HeaderValue::from_static(concat!("tunnelwarden/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, agent);
        let (head, body) = self.client.request(request.map(Full::new)).await?.into_parts();
        let body = Limited::new(body, ANSWER_MAX).collect().await?.to_bytes();
        Ok(Response::from_parts(head, body))
    }
}

impl HttpClient for Collector {
    fn send_bytes<'a, 'sent>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'sent>>
    where
        'a: 'sent,
        Self: 'sent,
    {
        Box::pin(self.clone().exchange(request))
    }
}
