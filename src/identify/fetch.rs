//! Fetches a JWK Set over HTTP.
//!
//! The answer is trusted no further than TLS vouches for it: no redirect is followed, the body is bounded, and
//! the whole exchange has a deadline. Not here: when to fetch (`keys.rs`), what is in it (`jwk.rs`).

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::jwk::SET_BYTES_MAX;
use crate::trust;

/// From the first packet to the last byte: a caller with an unknown key waits for it.
const DEADLINE: Duration = Duration::from_secs(5);

/// Fetches from one address.
#[derive(Debug)]
pub(super) struct Fetcher {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    url: Uri,
}

impl Fetcher {
    /// A fetcher that trusts the roots in `ca_file`, or else the platform's.
    pub(super) fn new(url: &Uri, ca_file: Option<&Path>) -> Result<Self, String> {
        let https = url.scheme() == Some(&http::uri::Scheme::HTTPS);
        let tls = trust::client(https, ca_file)?;
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls);
        let connector = if https { connector.https_only() } else { connector.https_or_http() };
        let client = Client::builder(TokioExecutor::new())
            // Minutes lie between two fetches: a kept connection would be dead by then.
            .pool_max_idle_per_host(0)
            .build(connector.enable_http1().build());
        Ok(Self { client, url: url.clone() })
    }

    /// Fetches the bytes, or says in our words why not.
    pub(super) async fn fetch(&self) -> Result<Bytes, String> {
        tokio::time::timeout(DEADLINE, self.exchange())
            .await
            .unwrap_or_else(|_| Err(format!("no whole answer within {} s", DEADLINE.as_secs())))
    }

    async fn exchange(&self) -> Result<Bytes, String> {
        let request = Request::get(&self.url)
            .header(ACCEPT, "application/jwk-set+json, application/json")
            .header(ACCEPT_ENCODING, "identity")
            .header(USER_AGENT, concat!("tunnelwarden/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|_| "its address can't be asked for".to_owned())?;
        let answer = self.client.request(request).await.map_err(|e| {
            if e.is_connect() { "no connection" } else { "the connection broke off" }.to_owned()
        })?;
        match answer.status() {
            StatusCode::OK => {}
            status if status.is_redirection() => {
                return Err(format!(
                    "it answered {}: redirects are not followed; configure the final address",
                    status.as_u16()
                ));
            }
            status => return Err(format!("it answered {}", status.as_u16())),
        }
        match Limited::new(answer.into_body(), SET_BYTES_MAX).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(_) => Err(format!("the answer broke off, or has more than {SET_BYTES_MAX} bytes")),
        }
    }
}
