//! The server's certificate and TLS settings: TLS 1.2 and 1.3, `aws-lc-rs`, HTTP/2 and HTTP/1.1 by ALPN.
//!
//! Versions and cipher suites are named one by one, so that no other version of a library brings others. All have forward
//! secrecy and authenticated encryption (RFC 9325 section 4.2). No early data: who records it could send it again
//! (RFC 8446 section 8).
//!
//! The settings are looked up at each handshake, so that the certificate can be replaced while serving, and the roots that
//! vouch for clients ([`Certificate::take_up`]). Where clients are asked for a certificate, no session is resumed: each
//! handshake is judged by the roots of its time, and who came by those of before is asked to come again. Not here: when they
//! are replaced (`service::reload`), what a client's certificate is good for (`identify`).

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;

use crate::{config, trust};

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
    /// The roots that vouch for clients.
    #[error("{0}; give the roots that vouch for clients, in PEM")]
    Clients(String),
    /// The settings as a whole.
    #[error("can't set up TLS")]
    Settings(#[source] rustls::Error),
}

/// A certificate with its key, and the roots that vouch for clients, that can be replaced while serving.
#[derive(Debug)]
pub struct Certificate {
    provider: Arc<CryptoProvider>,
    current: RwLock<Current>,
}

#[derive(Debug)]
struct Current {
    settings: Arc<ServerConfig>,
    /// Told when others take their place, if clients are asked for a certificate.
    replaced: watch::Sender<bool>,
}

/// A pair that can be used, to take the place of another.
#[derive(Debug)]
pub struct NewCertificate(Arc<ServerConfig>);

impl Certificate {
    /// Loads what is served with at first.
    pub(super) fn load(files: &config::Tls) -> Result<Self, TlsError> {
        let provider = Arc::new(provider());
        let settings = Arc::new(settings(files, &provider)?);
        let current = RwLock::new(Current { settings, replaced: watch::Sender::new(false) });
        Ok(Self { provider, current })
    }

    /// What a connection is served with that begins now, and who tells it that it is to end.
    pub(super) fn current(&self) -> (Arc<ServerConfig>, watch::Receiver<bool>) {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        (Arc::clone(&current.settings), current.replaced.subscribe())
    }

    /// Reads a pair.
    ///
    /// # Errors
    /// Files that can't be used; by which key in `[listen]`, too.
    pub fn read(&self, files: &config::Tls) -> Result<NewCertificate, (&'static str, TlsError)> {
        let settings = settings(files, &self.provider).map_err(|error| (key_of(&error, files), error))?;
        Ok(NewCertificate(Arc::new(settings)))
    }

    /// Gives another one to new connections.
    pub fn take_up(&self, new: NewCertificate) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        current.settings = new.0;
        let before = std::mem::replace(&mut current.replaced, watch::Sender::new(false));
        before.send_replace(true);
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

fn settings(files: &config::Tls, provider: &Arc<CryptoProvider>) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Settings)?;
    let builder = match &files.clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let roots = Arc::new(trust::roots(&clients.ca_file).map_err(TlsError::Clients)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
            let verifier = if clients.required { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build().map_err(|e| TlsError::Clients(e.to_string()))?)
        }
    };
    let pair = SingleCertAndKey::from(read(files, provider)?);
    let mut settings = builder.with_cert_resolver(Arc::new(pair));
    settings.max_early_data_size = 0;
    settings.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if files.clients.is_some() {
        // A session that is resumed brings its certificate along without its being looked at again.
        settings.session_storage = Arc::new(NoServerSessionStorage {});
        settings.send_tls13_tickets = 0;
    }
    Ok(settings)
}

/// What keeps TLS from being served, and by which key in `[listen]`.
#[must_use]
pub fn check(files: &config::Tls) -> Option<(&'static str, TlsError)> {
    let error = Certificate::load(files).err()?;
    Some((key_of(&error, files), error))
}

fn key_of(error: &TlsError, files: &config::Tls) -> &'static str {
    match error {
        TlsError::Clients(_) => "client_ca_file",
        TlsError::Pem { path, .. } if *path == files.private_key_file => "private_key_file",
        TlsError::Pem { .. } | TlsError::Empty(_) | TlsError::Pair(_) | TlsError::Settings(_) => {
            "certificate_file"
        }
    }
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
