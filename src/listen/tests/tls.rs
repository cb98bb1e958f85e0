//! Which TLS is spoken.

use rustls_pki_types::{CertificateDer, ServerName};

use super::http2::pair;
use super::*;

/// RFC 5246 section 7.2 and RFC 8446 section 6.
const HANDSHAKE_FAILURE: u8 = 40;
const PROTOCOL_VERSION: u8 = 70;

fn served() -> (tempfile::TempDir, Serving, CertificateDer<'static>) {
    let directory = tempfile::tempdir().unwrap();
    let (tls, trusted) = pair(directory.path());
    (directory, serve(&config::Listen { tls: Some(tls), ..limits() }), trusted)
}

#[tokio::test]
async fn clients_of_tls_1_2_alone_and_of_1_3_alone_are_served() {
    let (_directory, serving, trusted) = served();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(trusted.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let settings = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(settings));
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = connector.connect(name, serving.connect().await).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        send(&mut stream, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert_eq!(statuses(&rest(&mut stream).await), [200]);
    }
}

fn counted(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// A ClientHello of that version with these cipher suites, and what else a client of today would say.
fn hello(version: u16, suites: &[u16]) -> Vec<u8> {
    let numbers = |all: &[u16]| counted(&all.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<_>>());
    let extension = |kind: u16, body: &[u8]| [kind.to_be_bytes().to_vec(), counted(body)].concat();
    let extensions = [
        extension(10, &numbers(&[0x1d, 0x17])),
        extension(11, &[1, 0]),
        extension(13, &numbers(&[0x0403, 0x0804, 0x0401])),
        extension(23, &[]),
    ];
    let body = [
        version.to_be_bytes().to_vec(),
        vec![7; 32],
        vec![0],
        numbers(suites),
        vec![1, 0],
        counted(&extensions.concat()),
    ];
    let body = body.concat();
    let handshake = [vec![1, 0], counted(&body)].concat();
    [vec![0x16, 3, 1], counted(&handshake)].concat()
}

/// What comes back, whole.
async fn answer(serving: &Serving, hello: &[u8]) -> Vec<u8> {
    let mut stream = serving.connect().await;
    send(&mut stream, hello).await;
    stream.shutdown().await.unwrap();
    let mut all = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await.unwrap();
    all
}

#[tokio::test]
async fn old_versions_and_weak_suites_get_an_alert() {
    let (_directory, serving, _) = served();
    for (what, version, suites, alert) in [
        ("TLS 1.0", 0x0301, [0xc02b, 0xc009].as_slice(), PROTOCOL_VERSION),
        ("TLS 1.1", 0x0302, &[0xc02b, 0xc009], PROTOCOL_VERSION),
        ("CBC", 0x0303, &[0xc009, 0xc00a, 0xc023, 0xc024], HANDSHAKE_FAILURE),
        ("RSA key exchange", 0x0303, &[0x009c, 0x009d, 0x002f], HANDSHAKE_FAILURE),
        ("no forward secrecy on P-256", 0x0303, &[0xc02d, 0xc031], HANDSHAKE_FAILURE),
        ("RC4 and 3DES", 0x0303, &[0x0005, 0x000a], HANDSHAKE_FAILURE),
    ] {
        let got = answer(&serving, &hello(version, suites)).await;
        assert_eq!(got.first(), Some(&0x15), "{what}: {got:?}");
        assert_eq!(got[5..], [2, alert], "{what}");
    }
    // The same hello with a suite of ours is not refused: it was for the suites.
    let got = answer(&serving, &hello(0x0303, &[0xc02b])).await;
    assert_eq!(got.first(), Some(&0x16), "{got:?}");
}
