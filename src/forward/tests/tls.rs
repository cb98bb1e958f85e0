//! TLS: whom the client trusts, and which HTTP it speaks there.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::TlsAcceptor;

use super::*;

struct Authority {
    pem: tempfile::NamedTempFile,
    issuer: Issuer<'static, KeyPair>,
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let pem = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(pem.path(), certificate.pem()).unwrap();
    Authority { pem, issuer: Issuer::new(params, key) }
}

/// A server that answers with the HTTP version that it was called with.
async fn serve(authority: &Authority, alpn: &[&[u8]]) -> String {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .unwrap();
    tls.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(tcp).await else { return };
                let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let service = service_fn(async |request: http::Request<hyper::body::Incoming>| {
                    let seen = format!("{:?} {}", request.version(), request.uri().path());
                    Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from(seen))))
                });
                let io = TokioIo::new(stream);
                if is_h2 {
                    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(io, service)
                        .await;
                } else {
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
                }
            });
        }
    });
    base
}

async fn ask(base: &str, ca_file: &Path) -> Result<Answer, Failure> {
    let mut config = config(base);
    config.ca_file = Some(ca_file.into());
    send(&upstream(&config), Operation::Create).await
}

#[tokio::test]
async fn http_2_is_spoken_where_the_upstream_offers_it() {
    let authority = authority();
    let base = serve(&authority, &[b"h2", b"http/1.1"]).await;
    let answer = ask(&base, authority.pem.path()).await.unwrap();
    assert_eq!(answer.body, "HTTP/2.0 /client/v4/accounts/a1/magic/ipsec_tunnels");
}

#[tokio::test]
async fn calls_that_begin_together_share_one_http_2_connection_or_wait_for_it() {
    let authority = authority();
    let mut config = config(&serve(&authority, &[b"h2"]).await);
    config.ca_file = Some(authority.pem.path().into());
    let upstream = Arc::new(upstream(&config));
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let upstream = Arc::clone(&upstream);
            tokio::spawn(async move { send(&upstream, Operation::Create).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status, StatusCode::OK);
    }
}

#[tokio::test]
async fn http_1_is_spoken_otherwise() {
    let authority = authority();
    let base = serve(&authority, &[]).await;
    let answer = ask(&base, authority.pem.path()).await.unwrap();
    assert_eq!(answer.body, "HTTP/1.1 /client/v4/accounts/a1/magic/ipsec_tunnels");
}

#[tokio::test]
async fn an_upstream_under_another_authority_gets_nothing() {
    let (ours, theirs) = (authority(), authority());
    let base = serve(&theirs, &[]).await;
    check_failure(ask(&base, ours.pem.path()).await, Refusal::UpstreamUnreachable, Sent::No, None);
}

#[test]
fn a_file_without_certificates_is_refused() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    let mut config = config("https://api.example");
    config.ca_file = Some(empty.path().into());
    let error = dial::trusting(&config).unwrap_err().to_string();
    assert!(
        error.starts_with("upstream.ca_file: ") && error.ends_with(" has no certificate in it"),
        "{error}"
    );
}
