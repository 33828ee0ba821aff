//! TLS: who the server is, which protocol it selected, and resumption, which a client must use.

use super::failed;
use crate::address::Address;
use crate::error::{Step, TransportError};
use crate::options::{Options, TlsOptions};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Servers whose sessions are kept for resumption, per configuration.
const RESUMABLE_SERVERS: usize = 256;
/// Configurations that are kept; one more makes all of them be made anew.
const CONFIGURATIONS: usize = 32;

/// TLS as it was agreed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFacts {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    pub cipher_suite: String,
    /// The protocol id that the server selected.
    pub alpn: Option<String>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// Whether the server proved who it is.
    pub verified: bool,
}

pub(super) async fn handshake(
    options: &Options,
    tcp: TcpStream,
    protocols: &[&str],
) -> Result<(TlsStream<TcpStream>, TlsFacts), TransportError> {
    let address = &options.address;
    let config = config(&options.tls, protocols, address)?;
    let name = options.tls.server_name.as_deref().unwrap_or(address.host());
    let server_name = ServerName::try_from(name.to_owned()).map_err(|error| failed(Step::Tls, address, &format!("`{name}`: {error}")))?;
    let stream = TlsConnector::from(config)
        .connect(server_name, tcp)
        .await
        .map_err(|error| failed(Step::Tls, address, &told(&error, &options.tls)))?;
    let (_, connection) = stream.get_ref();
    let facts = TlsFacts {
        version: match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "1.2",
            _ => "1.3",
        },
        cipher_suite: connection.negotiated_cipher_suite().map_or_else(String::new, |suite| format!("{:?}", suite.suite())),
        alpn: connection.alpn_protocol().map(|id| String::from_utf8_lossy(id).into_owned()),
        resumed: connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        verified: !options.tls.dangerously_accept_any_certificate,
    };
    Ok((stream, facts))
}

/// Why a handshake failed, and what to do where nothing that is trusted vouches for the server.
fn told(error: &std::io::Error, options: &TlsOptions) -> String {
    let cause = match error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
        // With a bad signature it has the name of the right one, as an old file of a CA that was made anew.
        Some(rustls::Error::InvalidCertificate(cause @ (CertificateError::UnknownIssuer | CertificateError::BadSignature))) => cause,
        _ => return error.to_string(),
    };
    let trusted = match &options.ca_file {
        Some(file) => format!("no certificate in {} has signed the server's", file.display()),
        None => "no root certificate of this system has signed the server's".to_owned(),
    };
    format!(
        "{trusted} ({cause:?}): name a PEM file with the CA that has, --cafile FILE or TlsOptions::ca_file; for a development \
         certificate of candor-broker it is ca.pem in the folder of --tls-development"
    )
}

/// What makes two configurations the same: options, protocols, and the files as they are now.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ConfigKey {
    options: TlsOptions,
    protocols: Vec<String>,
    modified: Vec<Option<SystemTime>>,
}

/// The configuration for these options, the same as long as nothing changes: sessions are resumed only within one, so that
/// nothing that was trusted under other options is trusted under these.
fn config(options: &TlsOptions, protocols: &[&str], address: &Address) -> Result<Arc<ClientConfig>, TransportError> {
    static CACHE: OnceLock<Mutex<HashMap<ConfigKey, Arc<ClientConfig>>>> = OnceLock::new();
    let identity = options.client_identity.as_ref();
    let files = [options.ca_file.as_ref(), identity.map(|(chain, _)| chain), identity.map(|(_, key)| key)];
    let key = ConfigKey {
        options: options.clone(),
        protocols: protocols.iter().map(|&protocol| protocol.to_owned()).collect(),
        modified: files.into_iter().flatten().map(modified).collect(),
    };
    let cache = CACHE.get_or_init(Mutex::default);
    if let Some(config) = cache.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Ok(Arc::clone(config));
    }
    let config = Arc::new(make_config(options, protocols, address)?);
    let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
    if cache.len() >= CONFIGURATIONS {
        cache.clear();
    }
    Ok(Arc::clone(cache.entry(key).or_insert(config)))
}

fn modified(path: &PathBuf) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// A configuration of its own, which shares no session with any other.
pub(crate) fn make_config(options: &TlsOptions, protocols: &[&str], address: &Address) -> Result<ClientConfig, TransportError> {
    let bad = |cause: String| failed(Step::TlsFiles, address, &cause);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(rustls::DEFAULT_VERSIONS).map_err(|error| bad(error.to_string()))?;
    let builder = if options.dangerously_accept_any_certificate {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        builder.with_root_certificates(roots(options.ca_file.as_deref()).map_err(bad)?)
    };
    let mut config = match &options.client_identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let certificates = certificates(chain).map_err(bad)?;
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(format!("the key in {}: {error}", key.display())))?;
            builder.with_client_auth_cert(certificates, private).map_err(|error| bad(format!("{}: {error}", chain.display())))?
        }
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(RESUMABLE_SERVERS)));
    // A first flight that can be replayed would publish twice.
    config.enable_early_data = false;
    Ok(config)
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| format!("a certificate in {}: {error}", path.display()))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            // One root that cannot be read is no reason to trust none.
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                let causes: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
                return Err(format!("the system has no root certificates ({}); name a file with them (ca file)", causes.join("; ")));
            }
        }
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("the certificates in {}: {error}", path.display());
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match found {
        Ok(certificates) if certificates.is_empty() => Err(wrong(&"none")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(wrong(&error)),
    }
}

/// Takes any certificate: for tests against servers that have none to show.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
