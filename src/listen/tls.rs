//! The server's certificate and TLS settings: TLS 1.2 and 1.3, `aws-lc-rs`, HTTP/2 and HTTP/1.1 by ALPN.
//!
//! Versions and cipher suites are named one by one, so that no other version of a library brings others. All have forward
//! secrecy and authenticated encryption (RFC 9325 section 4.2). No early data: who records it could send it again
//! (RFC 8446 section 8).
//!
//! The certificate is looked up at each handshake, so that it can be replaced while serving
//! ([`Certificate::take_up`]). Not here: when it is replaced (`service::reload`).

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config;

/// Why TLS can't be served. Quotes paths, never what is in the files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file.
    #[error("can't read `{}` as PEM; give a file that this process may read and that holds the {what}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was sought in it.
        what: &'static str,
        /// Why not.
        source: rustls_pki_types::pem::Error,
    },
    /// No certificate in the file.
    #[error("no certificate in `{}`; give the chain in PEM, the server's own first", .0.display())]
    Empty(PathBuf),
    /// Certificate and key don't go together, or are of a kind that is not served.
    #[error("certificate and private key can't be used together; check that they are a pair")]
    Pair(#[source] rustls::Error),
    /// The settings as a whole.
    #[error("can't set up TLS")]
    Settings(#[source] rustls::Error),
}

/// A certificate with its key that can be replaced while serving.
#[derive(Debug)]
pub struct Certificate {
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<CertifiedKey>>,
}

/// A pair that can be used, to take the place of another.
#[derive(Debug)]
pub struct NewCertificate(Arc<CertifiedKey>);

impl Certificate {
    fn load(files: &config::Tls) -> Result<Self, TlsError> {
        let provider = Arc::new(provider());
        let current = RwLock::new(Arc::new(read(files, &provider)?));
        Ok(Self { provider, current })
    }

    /// Reads a pair.
    ///
    /// # Errors
    /// Files that can't be used; by which key in `[listen]`, too.
    pub fn read(&self, files: &config::Tls) -> Result<NewCertificate, (&'static str, TlsError)> {
        let pair = read(files, &self.provider).map_err(|error| (key_of(&error, files), error))?;
        Ok(NewCertificate(Arc::new(pair)))
    }

    /// Gives another one to new connections.
    pub fn take_up(&self, new: NewCertificate) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new.0;
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// What the handshake is made with.
fn provider() -> CryptoProvider {
    let cipher_suites = vec![
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ];
    CryptoProvider { cipher_suites, ..default_provider() }
}

/// The certificate, and the settings that use it.
pub(super) fn load(files: &config::Tls) -> Result<(Arc<Certificate>, Arc<rustls::ServerConfig>), TlsError> {
    let certificate = Arc::new(Certificate::load(files)?);
    let mut settings = rustls::ServerConfig::builder_with_provider(Arc::clone(&certificate.provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Settings)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&certificate) as Arc<dyn ResolvesServerCert>);
    settings.max_early_data_size = 0;
    settings.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((certificate, Arc::new(settings)))
}

/// What keeps TLS from being served, and by which key in `[listen]`.
#[must_use]
pub fn check(files: &config::Tls) -> Option<(&'static str, TlsError)> {
    let error = load(files).err()?;
    Some((key_of(&error, files), error))
}

fn key_of(error: &TlsError, files: &config::Tls) -> &'static str {
    let of_key = matches!(error, TlsError::Pem { path, .. } if *path == files.private_key_file);
    if of_key { "private_key_file" } else { "certificate_file" }
}

fn read(files: &config::Tls, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let pem = |path: &PathBuf, what| {
        let path = path.clone();
        move |source| TlsError::Pem { path, what, source }
    };
    let path = &files.certificate_file;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let chain = chain.map_err(pem(path, "certificate chain"))?;
    if chain.is_empty() {
        return Err(TlsError::Empty(path.clone()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.private_key_file)
        .map_err(pem(&files.private_key_file, "private key"))?;
    CertifiedKey::from_der(chain, key, provider).map_err(TlsError::Pair)
}
