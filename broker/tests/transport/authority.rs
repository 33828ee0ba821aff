//! Certificates for one test, and clients that trust them.

use candor_broker::transport::tls::{TlsOptions, TlsSettings, TlsVersion};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A CA and a directory for its files, removed at the end.
pub(crate) struct Authority {
    pub(crate) directory: PathBuf,
    ca: Issuer<'static, KeyPair>,
    ca_pem: String,
    ca_der: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("candor-transport-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("test CA {number}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let authority = Self { directory, ca: Issuer::new(params, key), ca_pem: certificate.pem(), ca_der: certificate.der().clone() };
        authority.write("ca.pem", &authority.ca_pem);
        authority.renew_server();
        authority
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A new certificate and key for the server, in `server.pem` and `server-key.pem`.
    pub(crate) fn renew_server(&self) {
        let (certificate, key) = self.sign("server", vec!["localhost".to_owned()]);
        self.write("server.pem", &certificate.pem());
        self.write("server-key.pem", &key.serialize_pem());
    }

    fn sign(&self, common_name: &str, names: Vec<String>) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if !common_name.is_empty() {
            params.distinguished_name.push(DnType::CommonName, common_name);
        }
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        (params.signed_by(&key, &self.ca).unwrap(), key)
    }

    pub(crate) fn options(&self) -> TlsOptions {
        TlsOptions {
            certificate: self.directory.join("server.pem"),
            key: self.directory.join("server-key.pem"),
            client_ca: None,
            client_certificate_required: false,
            tls_min: TlsVersion::default(),
        }
    }

    pub(crate) fn settings(&self) -> TlsSettings {
        TlsSettings::load(self.options()).unwrap()
    }

    /// A client configuration that trusts this CA. Connections made from one configuration share tickets.
    pub(crate) fn client(&self, alpn: &[&str]) -> ClientConfig {
        let mut config = client_builder(rustls::DEFAULT_VERSIONS, self.ca_der.clone()).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|id| id.as_bytes().to_vec()).collect();
        config
    }

    pub(crate) fn client_of_version(&self, version: &'static rustls::SupportedProtocolVersion) -> ClientConfig {
        client_builder(&[version], self.ca_der.clone()).with_no_client_auth()
    }

    /// A client that has a certificate signed by `signer`.
    pub(crate) fn client_certified(&self, signer: &Authority, common_name: &str, names: &[&str]) -> ClientConfig {
        let (certificate, key) = signer.sign(common_name, names.iter().map(|name| (*name).to_owned()).collect());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        client_builder(rustls::DEFAULT_VERSIONS, self.ca_der.clone()).with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
    }
}

fn client_builder(
    versions: &[&'static rustls::SupportedProtocolVersion],
    ca: CertificateDer<'static>,
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let mut roots = RootCertStore::empty();
    roots.add(ca).unwrap();
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
}

/// A connection of a client to `localhost`.
pub(crate) fn connection(config: &Arc<ClientConfig>) -> Option<ClientConnection> {
    Some(ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost").unwrap()).unwrap())
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}
