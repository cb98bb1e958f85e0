//! Certificates of clients: who is let in, who they are told to be, and what becomes of it when others vouch.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::client::TlsStream;

use super::*;
use crate::caller::Thumbprint;
use crate::listen::Failed;

/// A certificate with its key, in DER.
type Pair = (CertificateDer<'static>, PrivateKeyDer<'static>);

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A client's pair by this authority, over at the end of that year.
fn client(authority: &CertifiedIssuer<'static, KeyPair>, year: i32) -> Pair {
    let mut params = CertificateParams::new(vec!["client".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(year, 12, 31);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
}

/// Whether a client gets an answer, over a connection of its own with this pair.
struct Bench {
    folder: tempfile::TempDir,
    files: config::Tls,
    certificate: Arc<Certificate>,
    serving: Serving,
    trusted: CertificateDer<'static>,
    /// Of clients that had an answer.
    handshakes: Mutex<Vec<rustls::HandshakeKind>>,
}

impl Bench {
    fn new(required: bool, authority: &CertifiedIssuer<'static, KeyPair>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (files, trusted) = super::http2::pair(folder.path());
        let ca_file = folder.path().join("clients.crt");
        std::fs::write(&ca_file, authority.pem()).unwrap();
        let files = config::Tls { clients: Some(config::ClientCertificates { ca_file, required }), ..files };
        let (serving, certificate) = serve_with(&config::Listen { tls: Some(files.clone()), ..limits() });
        Self {
            folder,
            files,
            certificate: certificate.unwrap(),
            serving,
            trusted,
            handshakes: Mutex::default(),
        }
    }

    fn settings(&self, pair: Option<&Pair>) -> Arc<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.trusted.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let settings = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match pair {
            Some((own, key)) => settings.with_client_auth_cert(vec![own.clone()], key.clone_key()).unwrap(),
            None => settings.with_no_client_auth(),
        })
    }

    /// A connection; with TLS 1.3 a client learns only from its first read that it is not let in.
    async fn connect(&self, settings: &Arc<rustls::ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(settings));
        connector.connect(ServerName::try_from("localhost").unwrap(), self.serving.connect().await).await
    }

    async fn ask(&self, settings: &Arc<rustls::ClientConfig>) -> Option<Origin> {
        let mut stream = self.connect(settings).await.ok()?;
        let asked = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        stream.write_all(asked.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
        self.handshakes.lock().unwrap().extend(stream.get_ref().1.handshake_kind());
        self.serving.double.origins.lock().unwrap().pop()
    }

    /// Puts another authority in the place of the one before, as a reload does.
    fn replace(&self, authority: &CertifiedIssuer<'static, KeyPair>) {
        std::fs::write(self.folder.path().join("clients.crt"), authority.pem()).unwrap();
        self.certificate.take_up(self.certificate.read(&self.files).unwrap());
    }
}

#[tokio::test]
async fn a_client_is_let_in_with_a_good_certificate_and_told_of_by_it() {
    let (own, foreign) = (authority(), authority());
    let (good, old, strange) = (client(&own, 2090), client(&own, 2020), client(&foreign, 2090));
    for required in [true, false] {
        let bench = Bench::new(required, &own);
        let ask = async |pair: Option<&Pair>| {
            let origin = bench.ask(&bench.settings(pair)).await;
            origin.map(|origin| origin.certificate)
        };
        assert_eq!(ask(Some(&good)).await, Some(Some(Thumbprint::of(&good.0))));
        assert_eq!(ask(Some(&old)).await, None, "it has expired");
        assert_eq!(ask(Some(&strange)).await, None, "nobody here vouches for it");
        assert_eq!(ask(None).await, if required { None } else { Some(None) });
        let connections = bench.serving.connections.clone();
        assert_eq!(bench.serving.stop().await, Drained::Whole);
        assert_eq!(connections.failed(Failed::Tls), if required { 3 } else { 2 });
    }
}

/// The same settings again hold whatever session could be resumed.
#[tokio::test]
async fn no_session_is_resumed_where_clients_are_asked() {
    let own = authority();
    let bench = Bench::new(false, &own);
    for settings in [bench.settings(Some(&client(&own, 2090))), bench.settings(None)] {
        for _ in 0..3 {
            assert!(bench.ask(&settings).await.is_some());
        }
    }
    let handshakes = bench.handshakes.lock().unwrap().clone();
    assert_eq!(handshakes, [rustls::HandshakeKind::Full; 6]);
}

#[tokio::test]
async fn who_came_by_an_authority_that_is_taken_away_is_out() {
    let (before, after) = (authority(), authority());
    let (leaver, stays) = (client(&before, 2090), client(&after, 2090));
    let bench = Bench::new(true, &before);
    let leaver = bench.settings(Some(&leaver));
    assert!(bench.ask(&leaver).await.is_some());
    let mut open = bench.connect(&leaver).await.unwrap();
    open.write_all(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    bench.serving.double.until(|asked| asked.contains(&Asked::Called("/wait".to_owned()))).await;
    bench.replace(&after);
    assert!(bench.ask(&leaver).await.is_none());
    assert!(bench.ask(&bench.settings(Some(&stays))).await.is_some());
    // What had begun is answered, and then the line is closed, though the client would go on.
    bench.serving.double.go.notify_one();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, open.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("waited"), "{answer}");
    assert_eq!(bench.serving.stop().await, Drained::Whole);
}

#[test]
fn roots_that_cant_be_used_are_named_by_their_key() {
    let folder = tempfile::tempdir().unwrap();
    let (files, _) = super::http2::pair(folder.path());
    for text in ["", "what"] {
        let ca_file: &Path = &folder.path().join("clients.crt");
        std::fs::write(ca_file, text).unwrap();
        let clients = config::ClientCertificates { ca_file: ca_file.to_owned(), required: false };
        let (key, _) =
            crate::listen::check(&config::Tls { clients: Some(clients), ..files.clone() }).unwrap();
        assert_eq!(key, "client_ca_file");
    }
}
