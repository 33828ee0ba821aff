//! A certificate authority of one process, and the certificate of `localhost` that it signed.

use crate::outcome::{Checked, Stop};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Certificates in PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    pub authority: String,
    pub certificate: String,
    pub key: String,
}

/// Where they lie for programs that read files.
#[derive(Debug, Clone)]
pub struct Files {
    pub authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Identity {
    /// Makes a new authority and certificate, both ECDSA P-256.
    ///
    /// # Errors
    /// The generator's.
    pub fn generate() -> Checked<Self> {
        generate().map_err(|error| Stop::failed(format!("cannot make certificates: {error}")))
    }

    /// Writes `ca.pem`, `cert.pem` and `key.pem`.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, dir: &Path) -> Checked<Files> {
        let files = Files { authority: dir.join("ca.pem"), certificate: dir.join("cert.pem"), key: dir.join("key.pem") };
        std::fs::write(&files.authority, &self.authority)?;
        std::fs::write(&files.certificate, &self.certificate)?;
        std::fs::write(&files.key, &self.key)?;
        Ok(files)
    }

    /// A server with this certificate, offering the ALPN ids given.
    ///
    /// # Errors
    /// The certificate is not taken.
    pub fn server_config(&self, alpn: &[&str]) -> Checked<Arc<rustls::ServerConfig>> {
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes()).map_err(tls)?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(tls)?;
        let builder = rustls::ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(tls)?;
        let mut config = builder.with_no_client_auth().with_single_cert(vec![certificate], key).map_err(tls)?;
        config.alpn_protocols = alpn.iter().map(|id| id.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }
}

/// A client that trusts the authority in this PEM text, offering the ALPN ids given.
///
/// # Errors
/// The text holds no certificate.
pub fn client_config(authority: &str, alpn: &[&str]) -> Checked<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).map_err(tls)?).map_err(tls)?;
    let builder = rustls::ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(tls)?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|id| id.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

fn generate() -> Result<Identity, rcgen::Error> {
    let mut authority = CertificateParams::new(vec![])?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.distinguished_name.push(DnType::CommonName, "candor-compat test authority");
    let authority_key = KeyPair::generate()?;
    let authority_pem = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);

    let mut server = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()])?;
    server.distinguished_name.push(DnType::CommonName, "localhost");
    // Python's TLS refuses a certificate that does not name its issuer's key.
    server.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &issuer)?;
    Ok(Identity { authority: authority_pem, certificate: certificate.pem(), key: key.serialize_pem() })
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn tls(error: impl std::fmt::Display) -> Stop {
    Stop::failed(format!("TLS: {error}"))
}
