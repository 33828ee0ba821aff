//! Certificate and key files, and errors that name the file, what is wrong with it and what it should hold.

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::path::{Path, PathBuf};

/// The largest certificate, key or CA file that is read, in bytes. A bundle of every public CA has a quarter of it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Which file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFile {
    Certificate,
    Key,
    ClientCa,
}

impl TlsFile {
    const fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate file",
            Self::Key => "private key file",
            Self::ClientCa => "client CA file",
        }
    }

    const fn expected(self) -> &'static str {
        match self {
            Self::Certificate => "PEM with the server's certificate first and intermediate ones after it (BEGIN CERTIFICATE)",
            Self::Key => "PEM with one private key without a passphrase (BEGIN PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY)",
            Self::ClientCa => "PEM with the certificates of the CAs that sign client certificates (BEGIN CERTIFICATE)",
        }
    }
}

/// Why TLS cannot be set up. Its text names the file or option, what is wrong, and what is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsSettingsError {
    /// The file cannot be read.
    Read { file: TlsFile, path: PathBuf, error: String },
    /// The file holds something else.
    Content { file: TlsFile, path: PathBuf, problem: String },
    /// The key is not the certificate's.
    KeyMismatch { certificate: PathBuf, key: PathBuf },
    /// Client certificates are required, but no CA is named that could vouch for them.
    RequiredWithoutCa,
    /// The TLS library refuses the settings.
    Library(String),
}

impl fmt::Display for TlsSettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { file, path, error } => {
                write!(f, "{} {}: cannot be read: {error}; expected {}", file.name(), path.display(), file.expected())
            }
            Self::Content { file, path, problem } => {
                write!(f, "{} {}: {problem}; expected {}", file.name(), path.display(), file.expected())
            }
            Self::KeyMismatch { certificate, key } => write!(
                f,
                "private key file {} does not belong to the first certificate in {}; expected the key that the certificate was made for",
                key.display(),
                certificate.display()
            ),
            Self::RequiredWithoutCa => write!(f, "client certificates are required, but client_ca names no file to verify them with"),
            Self::Library(error) => write!(f, "TLS cannot be set up: {error}"),
        }
    }
}

impl std::error::Error for TlsSettingsError {}

impl From<rustls::Error> for TlsSettingsError {
    fn from(error: rustls::Error) -> Self {
        Self::Library(error.to_string())
    }
}

/// Certificate chain and key, which belong together.
pub(in crate::transport) fn certified_key(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsSettingsError> {
    let chain = certificates(TlsFile::Certificate, certificate)?;
    let private_key = private_key(key)?;
    CertifiedKey::from_der(chain, private_key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => TlsSettingsError::KeyMismatch { certificate: certificate.to_owned(), key: key.to_owned() },
        rustls::Error::InvalidCertificate(_) => {
            content(TlsFile::Certificate, certificate, format!("the first certificate cannot be used: {error}"))
        }
        _ => content(TlsFile::Key, key, format!("the key cannot be used: {error}")),
    })
}

/// The CAs of a file, as roots.
pub(super) fn client_roots(path: &Path) -> Result<RootCertStore, TlsSettingsError> {
    let mut roots = RootCertStore::empty();
    for (at, ca) in certificates(TlsFile::ClientCa, path)?.into_iter().enumerate() {
        roots.add(ca).map_err(|error| content(TlsFile::ClientCa, path, format!("certificate {} is not a CA's: {error}", at + 1)))?;
    }
    Ok(roots)
}

fn certificates(file: TlsFile, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsSettingsError> {
    let text = read(file, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| content(file, path, damaged(&error)))?;
    if found.is_empty() {
        let problem = match PrivateKeyDer::from_pem_slice(&text) {
            Ok(_) => "it holds a private key and no certificate: the two files may be swapped",
            Err(_) => "it holds no certificate",
        };
        return Err(content(file, path, problem.to_owned()));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsSettingsError> {
    let text = read(TlsFile::Key, path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        let has = |label: &str| text.windows(label.len()).any(|window| window == label.as_bytes());
        let problem = match error {
            pem::Error::NoItemsFound if has("BEGIN ENCRYPTED PRIVATE KEY") => {
                "the key has a passphrase, which the broker cannot ask for: remove it with `openssl pkey -in FILE -out FILE`".to_owned()
            }
            pem::Error::NoItemsFound if has("BEGIN CERTIFICATE") => {
                "it holds a certificate and no private key: the two files may be swapped".to_owned()
            }
            pem::Error::NoItemsFound => "it holds no private key".to_owned(),
            error => damaged(&error),
        };
        content(TlsFile::Key, path, problem)
    })
}

fn read(file: TlsFile, path: &Path) -> Result<Vec<u8>, TlsSettingsError> {
    let unreadable = |error: std::io::Error| TlsSettingsError::Read { file, path: path.to_owned(), error: error.to_string() };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > FILE_BYTES_MAX {
        return Err(content(file, path, format!("it has {size} bytes, more than the {FILE_BYTES_MAX} that are read")));
    }
    std::fs::read(path).map_err(unreadable)
}

fn content(file: TlsFile, path: &Path, problem: String) -> TlsSettingsError {
    TlsSettingsError::Content { file, path: path.to_owned(), problem }
}

fn damaged(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            format!("it is damaged: the line \"-----END {}-----\" is missing", String::from_utf8_lossy(end_marker))
        }
        pem::Error::IllegalSectionStart { line } => {
            format!("it is damaged: the line {:?} is no section's start", String::from_utf8_lossy(line))
        }
        error => format!("it is damaged: {error}"),
    }
}
