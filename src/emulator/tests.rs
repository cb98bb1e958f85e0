//! The emulator over a real socket.

mod faults;
mod gate;
mod operations;
mod witness;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::*;
use crate::clock::ManualClock;
use crate::json::read;
use crate::secret::ExposeSecret as _;

pub(super) const ACCOUNT: &str = "00000000000000000000000000000acc";
pub(super) const BASE: &str = "/client/v4/accounts/00000000000000000000000000000acc/magic/ipsec_tunnels";

/// An emulator, its clock, and a token that it takes.
pub(super) struct Rig {
    pub(super) emulator: Emulator,
    pub(super) clock: Arc<ManualClock>,
    pub(super) token: SecretString,
}

/// One answer, read whole.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

pub(super) fn account() -> AccountId {
    AccountId::parse(ACCOUNT).unwrap()
}

pub(super) fn id(text: &str) -> TunnelId {
    TunnelId::parse(text).unwrap()
}

pub(super) async fn rig() -> Rig {
    rig_with(|_| ()).await
}

pub(super) async fn rig_with(change: impl FnOnce(&mut Options)) -> Rig {
    let token = new_token().unwrap();
    let clock = ManualClock::at(Timestamp::from_second(1_790_000_000).unwrap());
    let mut options = Options::new(vec![Token::user(token.clone())]);
    change(&mut options);
    let ids = Arc::new(Ids::new(clock.clone()));
    let emulator = Emulator::start(options, clock.clone(), ids).await.unwrap();
    Rig { emulator, clock, token }
}

/// A body as sent, whose PSK is left to the test.
pub(super) fn body(name: &str) -> Json {
    json(&format!(
        r#"{{"name":"{name}","cloudflare_endpoint":"203.0.113.1","interface_address":"10.0.0.0/31",
            "customer_endpoint":"198.51.100.7","replay_protection":true}}"#
    ))
}

pub(super) fn json(text: &str) -> Json {
    read(text.as_bytes(), 32).unwrap()
}

impl Rig {
    pub(super) fn bearer(&self) -> String {
        format!("Bearer {}", self.token.expose_secret())
    }

    pub(super) async fn ask(&self, method: Method, path: &str, sent: &str) -> Answered {
        self.ask_with(method, path, sent, &[]).await.unwrap()
    }

    /// A call whose answer must be good; the result.
    pub(super) async fn good(&self, method: Method, path: &str, sent: &str) -> Json {
        let answered = self.ask(method, path, sent).await;
        assert_eq!(answered.status, 200, "{answered:?}");
        answered.at("/result")
    }

    pub(super) async fn ask_with(
        &self,
        method: Method,
        path: &str,
        sent: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answered, String> {
        let bearer = self.bearer();
        let mut all = vec![("authorization", bearer.as_str()), ("content-type", "application/json")];
        all.extend_from_slice(headers);
        self.raw(method, path, sent, &all).await
    }

    pub(super) async fn raw(
        &self,
        method: Method,
        path: &str,
        sent: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answered, String> {
        let stream = TcpStream::connect(self.emulator.address()).await.map_err(|e| e.to_string())?;
        over_http1(stream, request(method, path, sent, headers)).await
    }

    pub(super) async fn create(&self, name: &str) -> String {
        let made = self.good(Method::POST, BASE, &body(name).to_string()).await;
        made.get("id").and_then(Json::as_str).unwrap().to_owned()
    }
}

pub(super) fn request(
    method: Method,
    path: &str,
    sent: &str,
    headers: &[(&str, &str)],
) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(path).header("host", "emulator.test");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::from(sent.to_owned())).unwrap()
}

pub(super) async fn over_http1<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answered, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    tokio::spawn(connection);
    whole(sender.send_request(request)).await
}

pub(super) async fn over_http2<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answered, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|e| e.to_string())?;
    tokio::spawn(connection);
    whole(sender.send_request(request)).await
}

/// The answer with the whole of its body, within ten seconds.
async fn whole(answer: impl Future<Output = hyper::Result<Response<Incoming>>>) -> Result<Answered, String> {
    let read = async {
        let (head, body) = answer.await.map_err(|e| format!("no answer: {e:?}"))?.into_parts();
        let body = body.collect().await.map_err(|e| format!("half an answer: {e:?}"))?.to_bytes();
        Ok(Answered { status: head.status.as_u16(), headers: head.headers, body })
    };
    tokio::time::timeout(Duration::from_secs(10), read).await.map_err(|_| "timed out".to_owned())?
}

impl Answered {
    pub(super) fn json(&self) -> Json {
        read(&self.body, 32).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    #[track_caller]
    pub(super) fn at(&self, pointer: &str) -> Json {
        self.json().pointer(pointer).cloned().unwrap_or_else(|| panic!("no {pointer}: {self:?}"))
    }

    /// Status, first error's code and pointer.
    #[track_caller]
    pub(super) fn refusal(&self) -> (u16, i64, String) {
        assert_eq!(self.at("/success"), Json::from(false));
        let pointer =
            self.json().pointer("/errors/0/source/pointer").and_then(Json::as_str).map(str::to_owned);
        (self.status, self.at("/errors/0/code").as_i64().unwrap(), pointer.unwrap_or_default())
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Waits until it is so, at most ten seconds.
pub(super) async fn until(so: impl AsyncFn() -> bool) {
    let waited = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waited).await.expect("it never came about");
}

#[tokio::test]
async fn it_speaks_http_1_and_2_in_plain_and_over_tls() {
    let made = rcgen::generate_simple_self_signed(["emulator.test".to_owned()]).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    for tls in [false, true] {
        let rig = rig_with(|options| options.tls = tls.then(|| server.clone())).await;
        for h2 in [false, true] {
            let stream = TcpStream::connect(rig.emulator.address()).await.unwrap();
            let scheme = if tls { "https" } else { "http" };
            let uri = if h2 { format!("{scheme}://emulator.test{BASE}") } else { BASE.to_owned() };
            let bearer = rig.bearer();
            let ask = request(Method::GET, &uri, "", &[("authorization", &bearer)]);
            let answered = if tls {
                let mut client = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
                    .with_safe_default_protocol_versions()
                    .unwrap()
                    .with_root_certificates(roots.clone())
                    .with_no_client_auth();
                client.alpn_protocols = vec![if h2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
                let name = rustls_pki_types::ServerName::try_from("emulator.test").unwrap();
                let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
                let stream = connector.connect(name, stream).await.unwrap();
                if h2 { over_http2(stream, ask).await } else { over_http1(stream, ask).await }
            } else if h2 {
                over_http2(stream, ask).await
            } else {
                over_http1(stream, ask).await
            };
            assert_eq!(answered.unwrap().status, StatusCode::OK, "tls {tls}, h2 {h2}");
            let version = rig.emulator.calls().last().unwrap().version;
            assert_eq!(version, if h2 { http::Version::HTTP_2 } else { http::Version::HTTP_11 });
        }
    }
}

#[tokio::test]
async fn stopped_it_lets_a_call_end_and_dropped_it_does_not() {
    for gentle in [true, false] {
        let rig = rig_with(|options| options.latency = Duration::from_millis(300)).await;
        let bearer = rig.bearer();
        let stream = TcpStream::connect(rig.emulator.address()).await.unwrap();
        let ask = request(Method::GET, BASE, "", &[("authorization", &bearer)]);
        let call = tokio::spawn(over_http1(stream, ask));
        until(async || !rig.emulator.calls().is_empty()).await;
        let address = rig.emulator.address();
        if gentle {
            rig.emulator.stop().await;
        } else {
            drop(rig);
        }
        assert_eq!(call.await.unwrap().is_ok(), gentle);
        until(async || TcpStream::connect(address).await.is_err()).await;
    }
}
