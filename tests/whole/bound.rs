//! Tokens that are bound to their client's certificate, over TLS and with the record; and roots that a reload takes away.
//!
//! Not here: which certificates are good (`src/listen/tests/client_certificates.rs`), forms of the claim
//! (`src/identify/tests/bound.rs`).

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tunnelwarden::caller::Thumbprint;
use tunnelwarden::json::{Json, Object};

use crate::harness::{ISSUER, PATIENCE, Stored, Wishes, World, collection};

/// A certificate with its key, in DER.
type Pair = (CertificateDer<'static>, PrivateKeyDer<'static>);

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn client(authority: &CertifiedIssuer<'static, KeyPair>) -> Pair {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::default().signed_by(&key, authority).unwrap();
    (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
}

/// A proxy that asks its clients for a certificate, and what one must trust to call it.
struct Bench {
    world: World,
    trusted: CertificateDer<'static>,
}

impl Bench {
    async fn new(authority: &CertifiedIssuer<'static, KeyPair>) -> Self {
        let quoted = |text: &str| format!("{text:?}");
        let config = vec![
            ("listen.certificate_file", quoted("tls.crt")),
            ("listen.private_key_file", quoted("tls.key")),
            ("listen.client_ca_file", quoted("clients.crt")),
            ("listen.client_certificate", quoted("optional")),
        ];
        let mut world = World::prepared(Wishes { config, ..Wishes::default() }).await;
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let file = |name: &str, text: &str| std::fs::write(world.dir.path().join(name), text).unwrap();
        file("tls.crt", &own.pem());
        file("tls.key", &key.serialize_pem());
        file("clients.crt", &authority.pem());
        world.launch().await;
        Self { world, trusted: own.der().clone() }
    }

    /// What a client with this pair gets for a list; `None` where it is not let in.
    async fn list(&self, token: &str, pair: Option<&Pair>) -> Option<String> {
        let request = format!(
            "GET {} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n",
            collection()
        );
        over_tls(&self.world, self.trusted.clone(), pair, request.as_bytes()).await
    }

    async fn last(&self) -> Stored {
        self.world.entries().await.pop().unwrap()
    }
}

/// What a client with this pair, who trusts this certificate, gets for its bytes; `None` where it is not let in.
pub async fn over_tls(
    world: &World,
    trusted: CertificateDer<'static>,
    pair: Option<&Pair>,
    bytes: &[u8],
) -> Option<String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let settings = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let settings = match pair {
        Some((own, key)) => settings.with_client_auth_cert(vec![own.clone()], key.clone_key()).unwrap(),
        None => settings.with_no_client_auth(),
    };
    let exchange = async {
        let tcp = TcpStream::connect(world.proxy().api).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(settings));
        let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await.ok()?;
        stream.write_all(bytes).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    };
    tokio::time::timeout(PATIENCE, exchange).await.expect("an end in time")
}

#[tokio::test]
async fn a_token_works_with_the_certificate_that_it_is_bound_to_until_nobody_vouches_for_that() {
    let [own, other] = [authority(), authority()];
    let (owner, thief) = (client(&own), client(&own));
    let bench = Bench::new(&own).await;
    let bound = Thumbprint::of(&owner.0).to_string();
    let mut claims = bench.world.claims("viewer");
    claims.set("cnf", Object::from_iter([("x5t#S256", bound.as_str())]));
    let token = bench.world.key.sign(&Json::Object(claims), &[]).unwrap();
    let answer = bench.list(&token, Some(&owner)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let told = bench.last().await;
    assert_eq!((told.text("/kind"), told.text("/client_certificate")), ("outcome".into(), bound.clone()));
    for (pair, certificate) in [(Some(&thief), Thumbprint::of(&thief.0).to_string()), (None, String::new())] {
        let answer = bench.list(&token, pair).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("99224"), "{answer}");
        let told = bench.last().await;
        assert_eq!((told.text("/refusal/fault"), told.text("/subject")), ("binding".into(), String::new()));
        assert_eq!(told.text("/client_certificate"), certificate, "{}", told.raw);
        let owner = ["subject", "issuer", "key_id"].map(|of| told.text(&format!("/refused_token/{of}")));
        assert_eq!(owner, ["viewer@test".to_owned(), ISSUER.to_owned(), bench.world.key.id().to_owned()]);
    }

    std::fs::write(bench.world.dir.path().join("clients.crt"), other.pem()).unwrap();
    let until = tokio::time::Instant::now() + PATIENCE;
    while bench.list(&token, Some(&owner)).await.is_some() {
        assert!(tokio::time::Instant::now() < until, "the roots of before are still in force");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    // New connections see it first.
    let is_of_it = |entry: &Stored| entry.text("/kind") == "reloaded";
    let told = bench.world.wait_for("the reload", |entries| entries.iter().any(is_of_it)).await;
    assert_eq!(told.iter().find(|entry| is_of_it(entry)).unwrap().text("/parts/0"), "certificate");
}
