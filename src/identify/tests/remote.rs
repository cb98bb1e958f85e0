//! Keys from a URL whose server behaves as it likes.

use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::*;

/// A server that answers what it is told, and counts how often it was asked.
#[derive(Clone)]
struct Server {
    url: http::Uri,
    answer: Arc<Mutex<(StatusCode, String)>>,
    asked: Arc<AtomicUsize>,
    /// Answers wait for a permit.
    gate: Arc<Semaphore>,
}

impl Server {
    async fn new(set: &str) -> Self {
        Self::over(set, None).await
    }

    /// A server on `localhost`, over TLS where there is a configuration.
    async fn over(set: &str, tls: Option<rustls::ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let base = if tls.is_some() { "https://localhost" } else { "http://127.0.0.1" };
        let server = Self {
            url: format!("{base}:{port}/jwks").parse().unwrap(),
            answer: Arc::new(Mutex::new((StatusCode::OK, set.to_owned()))),
            asked: Arc::new(AtomicUsize::new(0)),
            gate: Arc::new(Semaphore::new(1 << 20)),
        };
        let this = server.clone();
        let tls = tls.map(|tls| tokio_rustls::TlsAcceptor::from(Arc::new(tls)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                match &tls {
                    None => tokio::spawn(this.clone().serve(stream)),
                    Some(tls) => {
                        let (tls, this) = (tls.clone(), this.clone());
                        tokio::spawn(async move {
                            if let Ok(stream) = tls.accept(stream).await {
                                this.serve(stream).await;
                            }
                        })
                    }
                };
            }
        });
        server
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service = service_fn(move |request| self.clone().reply(request));
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    async fn reply(
        self,
        request: http::Request<hyper::body::Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        let (status, body) = self.answer.lock().unwrap().clone();
        let status = if request.uri().path() == "/elsewhere" { StatusCode::OK } else { status };
        let answer = Response::builder().status(status).header("location", "/elsewhere");
        Ok(answer.body(Full::new(Bytes::from(body))).unwrap())
    }

    fn say(&self, status: u16, body: &str) {
        *self.answer.lock().unwrap() = (StatusCode::from_u16(status).unwrap(), body.to_owned());
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    async fn identifier(&self) -> (Arc<Identifier>, Arc<ManualClock>) {
        self.trusting(None).await
    }

    async fn trusting(&self, ca_file: Option<PathBuf>) -> (Arc<Identifier>, Arc<ManualClock>) {
        let issuers = [issuer(KeySource::Url {
            url: self.url.clone(),
            ca_file,
            refresh: Duration::from_secs(600),
            min_interval: Duration::from_secs(30),
        })];
        let clock = clock();
        let identifier =
            Identifier::start(&issuers, &Revocation { file: None }, clock.clone()).await.unwrap();
        (Arc::new(identifier), clock)
    }
}

fn token(algorithm: Algorithm) -> HeaderMap {
    // One hour is less than the tests' clock moves: ask for as much as is allowed.
    let claims = with("exp", Some(&(NOW + 43_200).to_string()));
    bearer(&key(algorithm).sign(&claims, &[]).unwrap())
}

/// What a token gets whose key is not known and may be new: only a look after it came can tell.
fn unavailable(seconds: u64) -> Result<(), Refusal> {
    Err(Refusal::KeysUnavailable { retry_after: Duration::from_secs(seconds) })
}

async fn ask(identifier: &Identifier, algorithm: Algorithm) -> Result<(), Refusal> {
    identifier.identify(&token(algorithm), None).await.map(drop)
}

#[tokio::test]
async fn keys_are_fetched_once_and_an_unknown_kid_asks_again_once_an_interval() {
    let server = Server::new(&jwks(&[key(Algorithm::Es256)])).await;
    let (identifier, clock) = server.identifier().await;
    assert_eq!(ask(&identifier, Algorithm::Es256).await, Ok(()));
    assert_eq!(server.asked(), 1);
    for _ in 0..20 {
        assert_eq!(ask(&identifier, Algorithm::EdDsa).await, unavailable(30));
    }
    assert_eq!(server.asked(), 1, "not within the interval");
    clock.advance(Duration::from_secs(30));
    assert_eq!(ask(&identifier, Algorithm::EdDsa).await, invalid(TokenFault::UnknownKey));
    clock.advance(Duration::from_secs(10));
    for _ in 0..20 {
        assert_eq!(ask(&identifier, Algorithm::EdDsa).await, unavailable(20));
    }
    assert_eq!(server.asked(), 2);
    server.say(200, &jwks(&[key(Algorithm::EdDsa)]));
    clock.advance(Duration::from_secs(20));
    assert_eq!(ask(&identifier, Algorithm::EdDsa).await, Ok(()));
    assert_eq!(server.asked(), 3);
    assert_eq!(ask(&identifier, Algorithm::Es256).await, unavailable(30));
    assert_eq!(server.asked(), 3);
}

#[tokio::test]
async fn an_issuer_whose_keys_stay_where_they_are_is_judged_by_its_new_rules() {
    let server = Server::new(&jwks(&[key(Algorithm::Es256)])).await;
    let (identifier, _) = server.identifier().await;
    assert_eq!(ask(&identifier, Algorithm::Es256).await, Ok(()));
    let rules = Issuer { audience: "another".into(), ..identifier.issuers[0].rules.clone() };
    let renewed = identifier.renewed(&[rules]).await.unwrap();
    assert_eq!(ask(&renewed, Algorithm::Es256).await, invalid(TokenFault::Audience));
    assert_eq!(server.asked(), 1, "its keys are those that were fetched");
    // Of no file there is anything to doubt.
    renewed.doubt(0, Some("half a file"));
    assert_eq!(renewed.health(), Vec::<String>::new());
}

#[tokio::test]
async fn many_who_wait_share_one_fetch_and_one_who_leaves_does_not_end_it() {
    let server = Server::new(&jwks(&[key(Algorithm::Es256)])).await;
    let (identifier, clock) = server.identifier().await;
    server.say(200, &jwks(&[key(Algorithm::Es256), key(Algorithm::EdDsa)]));
    clock.advance(Duration::from_secs(30));
    server.gate.forget_permits(1 << 20);
    let wait = || {
        let identifier = Arc::clone(&identifier);
        tokio::spawn(async move { ask(&identifier, Algorithm::EdDsa).await })
    };
    let first = wait();
    while server.asked() < 2 {
        tokio::task::yield_now().await;
    }
    let rest: Vec<_> = (0..50).map(|_| wait()).collect();
    first.abort();
    tokio::task::yield_now().await;
    server.gate.add_permits(1);
    for one in rest {
        assert_eq!(one.await.unwrap(), Ok(()));
    }
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn the_last_good_keys_stay_while_the_server_misbehaves() {
    let good = jwks(&[key(Algorithm::Es256)]);
    let server = Server::new(&good).await;
    let (identifier, clock) = server.identifier().await;
    let huge = format!("{{\"keys\":[],\"x\":\"{}\"}}", "y".repeat(2 << 20));
    let other = jwks(&[key(Algorithm::EdDsa)]);
    for (status, body, said) in [
        (500, "", "500"),
        (302, other.as_str(), "redirects are not followed"),
        (308, &other, "308"),
        (204, "", "204"),
        (200, "", "JSON"),
        (200, "<html>", "JSON"),
        (200, &good[..good.len() - 2], "JSON"),
        (200, "{\"keys\":1}", "no array"),
        (200, &huge, "more than"),
    ] {
        server.say(status, body);
        clock.advance(Duration::from_secs(30));
        assert_eq!(ask(&identifier, Algorithm::EdDsa).await, unavailable(30), "{said}");
        assert_eq!(ask(&identifier, Algorithm::Es256).await, Ok(()), "{said}");
        let health = identifier.health();
        assert!(health.len() == 1 && health[0].contains(said), "{said}: {health:?}");
        assert_eq!(health[0].contains("redirects"), (300..400).contains(&status), "{status}: {health:?}");
    }
    server.say(200, &good);
    clock.advance(Duration::from_secs(30));
    assert_eq!(ask(&identifier, Algorithm::EdDsa).await, invalid(TokenFault::UnknownKey));
    assert_eq!(identifier.health(), Vec::<String>::new());
}

#[tokio::test]
async fn keys_never_seen_are_unavailable_until_the_next_fetch_is_allowed() {
    let server = Server::new("").await;
    server.say(503, "");
    let (identifier, clock) = server.identifier().await;
    assert_eq!(ask(&identifier, Algorithm::Es256).await, unavailable(30));
    clock.advance(Duration::from_secs(20));
    assert_eq!(ask(&identifier, Algorithm::Es256).await, unavailable(10));
    assert_eq!(server.asked(), 1);
    server.say(200, &jwks(&[key(Algorithm::Es256)]));
    clock.advance(Duration::from_secs(10));
    assert_eq!(ask(&identifier, Algorithm::Es256).await, Ok(()));
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn old_keys_are_fetched_again_in_the_background() {
    let server = Server::new(&jwks(&[key(Algorithm::Es256)])).await;
    let (identifier, clock) = server.identifier().await;
    assert_eq!(ask(&identifier, Algorithm::Es256).await, Ok(()));
    server.say(200, &jwks(&[key(Algorithm::EdDsa)]));
    clock.advance(Duration::from_secs(599));
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(server.asked(), 1, "they are not old yet");
    clock.advance(Duration::from_secs(1));
    for _ in 0..200 {
        if ask(&identifier, Algorithm::Es256).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ask(&identifier, Algorithm::Es256).await, unavailable(30));
    assert_eq!(server.asked(), 2);
}

/// The very token, which is remembered: another one of the same caller would be verified anyway.
#[tokio::test]
async fn a_remembered_token_ends_when_the_set_that_is_fetched_has_its_key_no_more() {
    let server = Server::new(&jwks(&[key(Algorithm::Es256)])).await;
    let (identifier, clock) = server.identifier().await;
    let known = token(Algorithm::Es256);
    assert!(identifier.identify(&known, None).await.is_ok() && identifier.recall(&known, None).is_some());
    server.say(200, &jwks(&[key(Algorithm::EdDsa)]));
    clock.advance(Duration::from_secs(30));
    assert_eq!(ask(&identifier, Algorithm::EdDsa).await, Ok(()));
    assert!(identifier.recall(&known, None).is_none());
    assert_eq!(identifier.identify(&known, None).await.map(drop), unavailable(30));
}

#[tokio::test]
async fn a_look_that_began_before_a_token_came_does_not_tell_that_its_key_is_unknown() {
    let server = Server::new(&jwks(&[key(Algorithm::Es256)])).await;
    let (identifier, clock) = server.identifier().await;
    clock.advance(Duration::from_secs(30));
    server.gate.forget_permits(1 << 20);
    let first = Arc::clone(&identifier);
    let first = tokio::spawn(async move { ask(&first, Algorithm::EdDsa).await });
    while server.asked() < 2 {
        tokio::task::yield_now().await;
    }
    let second = Arc::clone(&identifier);
    let second = tokio::spawn(async move { ask(&second, Algorithm::EdDsa).await });
    tokio::task::yield_now().await;
    server.gate.add_permits(1);
    assert_eq!(first.await.unwrap(), invalid(TokenFault::UnknownKey));
    assert_eq!(second.await.unwrap(), unavailable(30));
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let server = Server::new(&jwks(&[key(Algorithm::Es256)])).await;
    let (identifier, clock) = server.identifier().await;
    server.gate.forget_permits(1 << 20);
    clock.advance(Duration::from_secs(30));
    let answer =
        tokio::time::timeout(Duration::from_secs(30), ask(&identifier, Algorithm::EdDsa)).await.unwrap();
    assert_eq!(answer, unavailable(30));
    assert_eq!(ask(&identifier, Algorithm::Es256).await, Ok(()));
    assert!(identifier.health()[0].contains("within 5 s"));
}

#[tokio::test]
async fn https_is_trusted_by_the_given_roots_only() {
    let folder = tempfile::tempdir().unwrap();
    let made = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (own, other) = (made(), made());
    let tls =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![own.cert.der().clone()],
                rustls_pki_types::PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()).into(),
            )
            .unwrap();
    let server = Server::over(&jwks(&[key(Algorithm::Es256)]), Some(tls)).await;
    for (name, made, trusted) in [("own", &own, true), ("other", &other, false)] {
        let file = folder.path().join(name);
        std::fs::write(&file, made.cert.pem()).unwrap();
        let (identifier, _) = server.trusting(Some(file)).await;
        let answer = ask(&identifier, Algorithm::Es256).await;
        if trusted {
            assert_eq!(answer, Ok(()), "{:?}", identifier.health());
            assert!(
                identifier.keys().iter().map(|keys| (&*keys.issuer, keys.is_usable)).eq([(ISSUER, true)])
            );
            // The same roots are no news, others are, though their file has the same name.
            let rules = [identifier.issuers[0].rules.clone()];
            let same = identifier.renewed(&rules).await.unwrap();
            assert_eq!((same.health(), server.asked()), (Vec::new(), 1));
            std::fs::write(folder.path().join(name), other.cert.pem()).unwrap();
            let changed = same.renewed(&rules).await.unwrap();
            assert!(changed.health()[0].contains("stale"), "{:?}", changed.health());
        } else {
            assert!(matches!(answer, Err(Refusal::KeysUnavailable { .. })), "{answer:?}");
        }
    }
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn a_renewed_identifier_fetches_no_known_keys_again_and_keeps_them_when_the_source_moves() {
    let server = Server::new(&jwks(&[key(Algorithm::Es256)])).await;
    let (identifier, clock) = server.identifier().await;
    let mut issuers = [identifier.issuers[0].rules.clone()];
    issuers[0].leeway = Duration::ZERO;
    let renewed = identifier.renewed(&issuers).await.unwrap();
    drop(identifier);
    assert_eq!((ask(&renewed, Algorithm::Es256).await, server.asked()), (Ok(()), 1));
    clock.advance(Duration::from_secs(30));
    server.say(200, &jwks(&[key(Algorithm::Es256), key(Algorithm::EdDsa)]));
    assert_eq!((ask(&renewed, Algorithm::EdDsa).await, server.asked()), (Ok(()), 2));
    let KeySource::Url { url, .. } = &mut issuers[0].keys else { panic!("a URL") };
    *url = "http://127.0.0.1:9/jwks".parse().unwrap();
    let moved = renewed.renewed(&issuers).await.unwrap();
    assert_eq!(ask(&moved, Algorithm::EdDsa).await, Ok(()), "the last good keys stay");
    assert!(moved.health()[0].contains("stale"), "{:?}", moved.health());
}

#[tokio::test]
async fn a_server_that_drips_its_answer_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap()).parse().unwrap();
    let dripping = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500000\r\n\r\n";
        stream.write_all(head).await.unwrap();
        // Each byte comes long before anybody would call the connection idle.
        while stream.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let source = KeySource::Url {
        url,
        ca_file: None,
        refresh: Duration::from_secs(600),
        min_interval: Duration::from_secs(30),
    };
    let (issuers, revocation) = ([issuer(source)], Revocation { file: None });
    let start = Identifier::start(&issuers, &revocation, clock());
    let identifier = tokio::time::timeout(Duration::from_secs(30), start).await.unwrap().unwrap();
    assert!(identifier.health()[0].contains("within 5 s"), "{:?}", identifier.health());
    dripping.await.unwrap();
}

/// Its one thread for such work is taken, so while it is, nothing can be read.
#[test]
fn a_set_is_not_read_where_calls_are_served() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let taken = tokio::task::spawn_blocking(move || wait.recv());
        let server = Server::new(&jwks(&[key(Algorithm::Es256)])).await;
        let mut starting = Box::pin(server.identifier());
        let early = tokio::time::timeout(Duration::from_millis(500), &mut starting).await;
        assert!(early.is_err() && server.asked() == 1, "it was read by the thread that serves");
        go.send(()).unwrap();
        taken.await.unwrap().unwrap();
        let (identifier, _) = starting.await;
        assert_eq!(ask(&identifier, Algorithm::Es256).await, Ok(()));
    });
}
