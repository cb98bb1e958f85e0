//! Whose certificates are taken: of whoever is called over TLS, and of clients that come with one.
//!
//! Not here: what is served over TLS (`listen`), the database's own settings (`store`).

use std::path::Path;
use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// A client's settings, with the roots in `ca_file`, or else the platform's, which are read only where `https` is spoken.
///
/// # Errors
/// The roots can't be used: why, in our words.
pub fn client(https: bool, ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let tls = match ca_file {
        Some(file) => tls.with_root_certificates(roots(file)?),
        None if https => {
            let none =
                |e| format!("this machine has no root certificates ({e}); install them or name a file");
            tls.with_native_roots().map_err(none)?
        }
        None => tls.with_root_certificates(RootCertStore::empty()),
    };
    Ok(tls.with_no_client_auth())
}

/// The certificates in a PEM file, as roots.
///
/// # Errors
/// What is wrong with the file, in our words.
pub fn roots(file: &Path) -> Result<RootCertStore, String> {
    let wrong = |what: &str| format!("`{}` {what}", file.display());
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file).map_err(|_| wrong("can't be read"))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|_| wrong("is not PEM"))?;
        roots.add(certificate).map_err(|_| wrong("has a certificate that can't be used as a root"))?;
    }
    if roots.is_empty() { Err(wrong("has no certificate in it")) } else { Ok(roots) }
}
