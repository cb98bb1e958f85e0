use http::{Request, Version};
use http_body_util::BodyExt;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;

use super::*;

pub(super) type Client = SendRequest<Full<Bytes>>;

pub(super) async fn client(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Client {
    let (client, connection) = handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    client
}

pub(super) fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(format!("http://a{path}")).body(Full::default()).unwrap()
}

pub(super) async fn ask(
    client: &mut Client,
    request: Request<Full<Bytes>>,
) -> Result<(u16, String), hyper::Error> {
    let answer = tokio::time::timeout(PATIENCE, client.send_request(request)).await.unwrap()?;
    assert!(answer.headers().contains_key("x-request-id"));
    assert_eq!(answer.version(), Version::HTTP_2);
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8(body.to_vec()).unwrap()))
}

#[tokio::test]
async fn http2_is_served_by_prior_knowledge() {
    let serving = serve(&limits());
    let mut client = client(serving.connect().await).await;
    assert_eq!(ask(&mut client, get("/x?y")).await.unwrap(), (200, "good".to_owned()));
    let put = Request::put("http://a/body").body(Full::new(Bytes::from_static(b"abc"))).unwrap();
    assert_eq!(ask(&mut client, put).await.unwrap(), (200, "3 bytes".to_owned()));
    assert_eq!(serving.double.asked()[0], Asked::Called("/x".to_owned()));
    assert_eq!(serving.stop().await, Drained::Whole);
}

#[tokio::test]
async fn http2_limits_are_refusals_with_a_record() {
    let serving = serve(&limits());
    let mut client = client(serving.connect().await).await;
    let put = Request::put("http://a/body").body(Full::new(Bytes::from(vec![b'x'; 1025]))).unwrap();
    assert_eq!(ask(&mut client, put).await.unwrap().0, 413);
    let mut long = get("/");
    long.headers_mut().insert("x", "y".repeat(9000).parse().unwrap());
    assert_eq!(ask(&mut client, long).await.unwrap().0, 431);
    assert_eq!(serving.double.refusals(), ["body_too_large", "headers_too_large"]);
    let connect = Request::connect("a:443").body(Full::default()).unwrap();
    assert_eq!(ask(&mut client, connect).await.unwrap().0, 400);
    assert_eq!(ask(&mut client, get("/panic")).await.unwrap().0, 500);
}

#[tokio::test]
async fn an_answer_of_the_library_itself_never_leaves() {
    let serving = serve(&limits());
    let mut client = client(serving.connect().await).await;
    ask(&mut client, get("/")).await.unwrap();
    let mut long = get("/");
    // Fewer fields than are refused for their number, and more bytes than the library takes.
    for _ in 0..20 {
        long.headers_mut().append("x", "y".repeat(15_000).parse().unwrap());
    }
    ask(&mut client, long).await.unwrap_err();
    assert_eq!(serving.double.asked().len(), 1);
}

#[tokio::test]
async fn a_service_that_wants_no_answer_resets_the_stream() {
    let serving = serve(&limits());
    let mut client = client(serving.connect().await).await;
    ask(&mut client, get("/silent")).await.unwrap_err();
    assert_eq!(serving.double.asked().len(), 1);
    assert_eq!(serving.stop().await, Drained::Whole);
}

#[tokio::test]
async fn a_connection_that_was_given_no_answer_gets_no_other_try_and_open_calls_their_answers() {
    let serving = serve(&limits());
    let mut client = client(serving.connect().await).await;
    let open = client.send_request(get("/wait"));
    serving.double.until(|asked| asked.len() == 1).await;
    ask(&mut client, get("/silent")).await.unwrap_err();
    let ended = async { while ask(&mut client, get("/")).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    assert_eq!(serving.double.asked().len(), 2, "nothing after it");
    serving.double.go.notify_one();
    assert_eq!(tokio::time::timeout(PATIENCE, open).await.unwrap().unwrap().status(), 200);
    let closed = async {
        while serving.connections.open() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.unwrap();
}

#[tokio::test]
async fn an_http2_connection_that_is_old_ends_and_its_calls_have_their_answers() {
    let short = Duration::from_millis(300);
    let serving = serve(&config::Listen { max_connection_age: short, body_timeout: short, ..limits() });
    let mut client = client(serving.connect().await).await;
    let open = client.send_request(get("/wait"));
    serving.double.until(|asked| asked.len() == 1).await;
    let ended = async { while ask(&mut client, get("/")).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    serving.double.go.notify_one();
    assert_eq!(tokio::time::timeout(PATIENCE, open).await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn too_many_or_too_long_fields_are_our_refusal_and_take_no_other_answer() {
    let serving = serve(&limits());
    let mut client = client(serving.connect().await).await;
    let open = client.send_request(get("/wait"));
    serving.double.until(|asked| asked.len() == 1).await;
    let mut many = get("/");
    for n in 0..=super::super::framing::MAX_FIELDS {
        many.headers_mut().append("x", n.into());
    }
    assert_eq!(ask(&mut client, many).await.unwrap().0, 431);
    let mut long = get("/");
    for _ in 0..16 {
        long.headers_mut().append("x", "y".repeat(15_000).parse().unwrap());
    }
    assert_eq!(ask(&mut client, long).await.unwrap().0, 431);
    serving.double.go.notify_one();
    assert_eq!(tokio::time::timeout(PATIENCE, open).await.unwrap().unwrap().status(), 200);
    assert_eq!(serving.double.refusals(), ["headers_too_large", "headers_too_large"]);
}

#[tokio::test]
async fn a_stream_that_is_reset_stops_nothing() {
    let serving = serve(&limits());
    let mut client = client(serving.connect().await).await;
    let asking = tokio::spawn(client.send_request(get("/wait")));
    serving.double.until(|asked| asked.len() == 1).await;
    asking.abort();
    serving.double.until_gone().await;
    serving.double.go.notify_one();
    serving.double.until(|asked| asked.contains(&Asked::Finished { gone: true })).await;
}

#[tokio::test]
async fn idle_http2_connections_are_closed() {
    let serving = serve(&config::Listen { header_timeout: Duration::from_millis(100), ..limits() });
    let mut client = client(serving.connect().await).await;
    ask(&mut client, get("/")).await.unwrap();
    let closed = async {
        while client.ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.unwrap();
}

#[tokio::test]
async fn the_drain_lets_http2_calls_end() {
    let serving = serve(&limits());
    let mut client = client(serving.connect().await).await;
    let asking = tokio::spawn(async move { ask(&mut client, get("/wait")).await.unwrap() });
    serving.double.until(|asked| asked.len() == 1).await;
    serving.stop.send_replace(true);
    serving.double.go.notify_one();
    assert_eq!(asking.await.unwrap(), (200, "waited".to_owned()));
    assert_eq!(serving.stop().await, Drained::Whole);
}

/// A connection that begins with HTTP/2 frames: no window to send into, and a `GET` of this path.
async fn without_a_window(serving: &Serving, path: &str) -> TcpStream {
    // RFC 7541 section 6.1 and 6.2.2: `:method: GET` and `:scheme: http` by index, the rest as literals.
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let block = [vec![0x82, 0x86, 0x04], text(path), vec![0x01], text("a")].concat();
    // RFC 9113 section 6.5.2: SETTINGS_INITIAL_WINDOW_SIZE (4) is 0.
    let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0];
    let head = [0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, 1];
    let mut stream = serving.connect().await;
    let frames = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &settings, &head, &block].concat();
    send(&mut stream, &frames).await;
    stream
}

async fn end(stream: &mut TcpStream) {
    let mut all = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("it ends");
}

#[tokio::test]
async fn an_http2_client_that_takes_no_answer_is_closed() {
    let serving = serve(&config::Listen { body_timeout: Duration::from_millis(100), ..limits() });
    let mut stream = without_a_window(&serving, "/").await;
    end(&mut stream).await;
    assert_eq!(serving.double.asked(), [Asked::Called("/".to_owned())]);
    assert_eq!(serving.stop().await, Drained::Whole);
}

#[tokio::test]
async fn an_http2_client_that_takes_no_answer_does_not_hold_up_the_stop() {
    let serving = serve(&config::Listen { body_timeout: Duration::from_millis(100), ..limits() });
    let _stream = without_a_window(&serving, "/wait").await;
    serving.double.until(|asked| asked.len() == 1).await;
    serving.stop.send_replace(true);
    serving.double.go.notify_one();
    assert_eq!(serving.stop().await, Drained::Whole);
}

pub(super) fn pair(directory: &std::path::Path) -> (config::Tls, rustls_pki_types::CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let tls = config::Tls {
        certificate_file: directory.join("certificate.pem"),
        private_key_file: directory.join("key.pem"),
        clients: None,
    };
    std::fs::write(&tls.certificate_file, made.cert.pem()).unwrap();
    std::fs::write(&tls.private_key_file, made.signing_key.serialize_pem()).unwrap();
    (tls, made.cert.der().clone())
}

async fn handshake_tls(
    serving: &Serving,
    trusted: &rustls_pki_types::CertificateDer<'static>,
    protocols: &[&str],
) -> tokio_rustls::client::TlsStream<TcpStream> {
    tls_over(serving.connect().await, trusted, protocols).await
}

pub(super) async fn tls_over(
    stream: TcpStream,
    trusted: &rustls_pki_types::CertificateDer<'static>,
    protocols: &[&str],
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut settings = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    settings.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(settings)).connect(name, stream).await.unwrap()
}

#[tokio::test]
async fn tls_serves_what_alpn_agrees_on() {
    let directory = tempfile::tempdir().unwrap();
    let (tls, trusted) = pair(directory.path());
    let serving = serve(&config::Listen { tls: Some(tls), ..limits() });
    let mut h2 = client(handshake_tls(&serving, &trusted, &["h2", "http/1.1"]).await).await;
    assert_eq!(ask(&mut h2, get("/")).await.unwrap().0, 200);
    for protocols in [["http/1.1"].as_slice(), &[]] {
        let mut stream = handshake_tls(&serving, &trusted, protocols).await;
        send(&mut stream, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert_eq!(statuses(&rest(&mut stream).await), [200]);
    }
    let mut plain = serving.connect().await;
    send(&mut plain, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, plain.read_to_end(&mut answer)).await.unwrap();
    assert!(!answer.starts_with(b"HTTP"));
}

#[tokio::test]
async fn a_certificate_and_another_ones_key_are_refused_and_the_old_pair_stays() {
    let directory = tempfile::tempdir().unwrap();
    let (tls, _) = pair(directory.path());
    let listener = Listener::bind(&config::Listen { tls: Some(tls.clone()), ..limits() }).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&tls.private_key_file, other.signing_key.serialize_pem()).unwrap();
    assert!(Listener::bind(&config::Listen { tls: Some(tls.clone()), ..limits() }).is_err());
    let certificate = listener.certificate().unwrap();
    assert_eq!(certificate.read(&tls).unwrap_err().0, "certificate_file");
    std::fs::write(&tls.certificate_file, other.cert.pem()).unwrap();
    certificate.take_up(certificate.read(&tls).unwrap());
    std::fs::write(&tls.certificate_file, "").unwrap();
    assert!(matches!(
        Listener::bind(&config::Listen { tls: Some(tls), ..limits() }),
        Err(crate::listen::ListenError::Tls(_))
    ));
}
