//! A certificate for trying TLS out: made by the broker itself, trusted by whoever is given its CA file.
//!
//! The CA signs one certificate and its key is forgotten at once: nobody can sign another one that clients would take.
//! The price is that new names, or the end of the year, need a new CA file at the clients.

use super::tls::files::certified_key;
use super::tls::{TlsOptions, TlsSettingsError, TlsVersion};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The names that every development certificate has.
const ALWAYS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
const DAY: Duration = Duration::from_secs(86_400);
/// How long a new certificate is valid.
const VALID: Duration = DAY.saturating_mul(365);
/// A certificate that ends sooner than this is made anew.
const LEFT_MIN: Duration = DAY;
/// Clocks of clients may be behind by so much.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);

/// A development certificate on disk. Its text is what the log has to say, loudly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevelopmentCertificate {
    /// What clients need (`--cafile`).
    pub ca: PathBuf,
    pub certificate: PathBuf,
    /// Readable by the broker's user alone.
    pub key: PathBuf,
    /// What clients may connect to: names and addresses.
    pub names: Vec<String>,
    /// Whether it was made just now, so that clients need the CA file anew.
    pub is_new: bool,
}

impl DevelopmentCertificate {
    /// Options that use it.
    pub fn options(&self) -> TlsOptions {
        TlsOptions {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            client_ca: None,
            client_certificate_required: false,
            tls_min: TlsVersion::default(),
        }
    }
}

impl fmt::Display for DevelopmentCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made = if self.is_new { "made just now, so clients need its CA anew" } else { "made at an earlier start" };
        write!(
            f,
            "DEVELOPMENT CERTIFICATE, NOT FOR PRODUCTION: {made}; it holds for {}; nobody trusts it but clients that are given {} (--cafile)",
            self.names.join(", "),
            self.ca.display()
        )
    }
}

/// Why there is no development certificate. Its text names the file or name, and the cause.
#[derive(Debug)]
#[non_exhaustive]
pub enum DevelopmentError {
    /// A name that a certificate cannot have.
    Name { name: String, error: String },
    /// A file or directory that cannot be read or written.
    File { path: PathBuf, error: io::Error },
    /// The cryptographic library refuses.
    Make(String),
}

impl fmt::Display for DevelopmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { name, error } => {
                write!(f, "development certificate: {name:?} is neither a DNS name nor an IP address: {error}")
            }
            Self::File { path, error } => write!(f, "development certificate: {}: {error}; its directory must be writable", path.display()),
            Self::Make(error) => write!(f, "development certificate: cannot be made: {error}"),
        }
    }
}

impl std::error::Error for DevelopmentError {}

impl From<rcgen::Error> for DevelopmentError {
    fn from(error: rcgen::Error) -> Self {
        Self::Make(error.to_string())
    }
}

/// Finds the development certificate of `directory`, or makes one there (`ca.pem`, `server.pem`, `server-key.pem`): ECDSA
/// P-256, valid a year, for localhost, 127.0.0.1, ::1 and the `names` given. One that is there is kept as long as it holds
/// for all names and for another day.
///
/// # Errors
/// A bad name; a directory that cannot be written; no randomness.
pub fn prepare(directory: &Path, names: &[String], now: SystemTime) -> Result<DevelopmentCertificate, DevelopmentError> {
    let mut wanted = wanted(directory, names)?;
    let since_1970 = since_1970(now);
    if holds(&wanted, since_1970) {
        keep_private(&wanted.key).map_err(|error| DevelopmentError::File { path: wanted.key.clone(), error })?;
        return Ok(wanted);
    }
    make(&wanted, since_1970)?;
    wanted.is_new = true;
    Ok(wanted)
}

/// The development certificate that [`prepare`] would use again; `None` if it would make one. Nothing is changed.
///
/// # Errors
/// A bad name.
pub fn find(directory: &Path, names: &[String], now: SystemTime) -> Result<Option<DevelopmentCertificate>, DevelopmentError> {
    let wanted = wanted(directory, names)?;
    Ok(holds(&wanted, since_1970(now)).then_some(wanted))
}

fn since_1970(now: SystemTime) -> Duration {
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// What has to be there.
fn wanted(directory: &Path, names: &[String]) -> Result<DevelopmentCertificate, DevelopmentError> {
    let mut all: Vec<String> = ALWAYS.map(str::to_owned).to_vec();
    for name in names {
        if !all.contains(name) {
            all.push(name.clone());
        }
    }
    for name in &all {
        ServerName::try_from(name.as_str()).map_err(|error| DevelopmentError::Name { name: name.clone(), error: error.to_string() })?;
    }
    Ok(DevelopmentCertificate {
        ca: directory.join("ca.pem"),
        certificate: directory.join("server.pem"),
        key: directory.join("server-key.pem"),
        names: all,
        is_new: false,
    })
}

/// Whether all three files are there, belong together, and hold for all names now and for another day.
fn holds(found: &DevelopmentCertificate, since_1970: Duration) -> bool {
    verify(found, since_1970).is_some()
}

fn verify(found: &DevelopmentCertificate, since_1970: Duration) -> Option<()> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key: Result<_, TlsSettingsError> = certified_key(&found.certificate, &found.key, &provider);
    let chain = key.ok()?.cert;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&found.ca).ok()?).ok()?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()?;
    for name in &found.names {
        let name = ServerName::try_from(name.as_str()).ok()?;
        for at in [since_1970, since_1970 + LEFT_MIN] {
            verifier.verify_server_cert(chain.first()?, &[], &name, &[], UnixTime::since_unix_epoch(at)).ok()?;
        }
    }
    Some(())
}

fn make(wanted: &DevelopmentCertificate, since_1970: Duration) -> Result<(), DevelopmentError> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let (not_before, not_after) = (epoch + since_1970.saturating_sub(CLOCK_SKEW), epoch + since_1970 + VALID);

    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "Candor development CA, not for production");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    (ca.not_before, ca.not_after) = (not_before, not_after);
    let ca_key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let ca_pem = ca.self_signed(&ca_key)?.pem();

    let mut server = CertificateParams::new(wanted.names.clone())?;
    server.distinguished_name.push(DnType::CommonName, "Candor development server, not for production");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.use_authority_key_identifier_extension = true;
    (server.not_before, server.not_after) = (not_before, not_after);
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let server_pem = server.signed_by(&key, &Issuer::new(ca, ca_key))?.pem();

    for (path, text, mode) in
        [(&wanted.key, key.serialize_pem(), PRIVATE), (&wanted.certificate, server_pem, PUBLIC), (&wanted.ca, ca_pem, PUBLIC)]
    {
        write(path, &text, mode).map_err(|error| DevelopmentError::File { path: path.clone(), error })?;
    }
    Ok(())
}

/// File modes.
const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// Writes a file as a whole or not at all. It never has a wider mode than it should, not even for a moment.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let unfinished = path.with_extension("pem.new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

/// Takes other users' rights away from a key file, should someone have given them.
fn keep_private(key: &Path) -> io::Result<()> {
    #[cfg(unix)]
    fs::set_permissions(key, std::os::unix::fs::PermissionsExt::from_mode(PRIVATE))?;
    #[cfg(not(unix))]
    let _ = key;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tls::TlsSettings;
    use super::*;

    /// A directory that is removed at the end of the test.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("candor-development-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn at(days: u32) -> SystemTime {
        SystemTime::UNIX_EPOCH + DAY * (20_000 + days)
    }

    #[test]
    fn a_certificate_is_made_once_and_used_again() {
        let directory = Directory::new("again");
        let made = prepare(&directory.0, &[], at(0)).unwrap();
        assert!(made.is_new);
        assert_eq!(made.names, ["localhost", "127.0.0.1", "::1"]);
        let ca = fs::read(&made.ca).unwrap();
        let again = prepare(&directory.0, &[], at(300)).unwrap();
        assert!(!again.is_new);
        assert_eq!(fs::read(&again.ca).unwrap(), ca);
        TlsSettings::load(again.options()).unwrap();
    }

    #[test]
    fn one_that_ends_or_lacks_a_name_is_made_anew() {
        let directory = Directory::new("anew");
        let names = ["broker.example".to_owned(), "10.1.2.3".to_owned(), "localhost".to_owned()];
        assert!(prepare(&directory.0, &[], at(0)).unwrap().is_new);
        let named = prepare(&directory.0, &names, at(0)).unwrap();
        assert!(named.is_new);
        assert_eq!(named.names, ["localhost", "127.0.0.1", "::1", "broker.example", "10.1.2.3"]);
        assert!(!prepare(&directory.0, &names, at(363)).unwrap().is_new);
        assert!(prepare(&directory.0, &names, at(365)).unwrap().is_new, "less than a day is left");
        assert!(!prepare(&directory.0, &[], at(365)).unwrap().is_new, "more names than needed do no harm");
        assert!(prepare(&directory.0, &[], at(0)).unwrap().is_new, "not valid yet");
    }

    #[test]
    fn files_that_do_not_belong_together_are_made_anew() {
        let directory = Directory::new("mixed");
        let first = prepare(&directory.0, &[], at(0)).unwrap();
        let key = fs::read(&first.key).unwrap();
        fs::remove_file(&first.ca).unwrap();
        assert!(prepare(&directory.0, &[], at(0)).unwrap().is_new);
        fs::write(&first.key, key).unwrap();
        assert!(prepare(&directory.0, &[], at(0)).unwrap().is_new);
        fs::write(&first.certificate, "nothing").unwrap();
        assert!(prepare(&directory.0, &[], at(0)).unwrap().is_new);
    }

    #[cfg(unix)]
    #[test]
    fn the_key_is_the_brokers_alone_and_the_cas_key_is_nowhere() {
        use std::os::unix::fs::PermissionsExt;
        let directory = Directory::new("mode");
        let made = prepare(&directory.0, &[], at(0)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&made.key), 0o600);
        fs::set_permissions(&made.key, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(!prepare(&directory.0, &[], at(0)).unwrap().is_new);
        assert_eq!(mode(&made.key), 0o600);
        let files: Vec<_> = fs::read_dir(&directory.0).unwrap().map(|entry| entry.unwrap().path()).collect();
        let private = |path: &&PathBuf| fs::read_to_string(path).unwrap().contains("PRIVATE KEY");
        assert_eq!(files.iter().filter(private).collect::<Vec<_>>(), [&made.key]);
        assert_eq!(files.len(), 3);
    }

    #[test]
    fn the_log_is_told_loudly_what_it_is_and_how_to_trust_it() {
        let directory = Directory::new("loud");
        let made = prepare(&directory.0, &[], at(0)).unwrap();
        let text = made.to_string();
        assert!(text.starts_with("DEVELOPMENT CERTIFICATE, NOT FOR PRODUCTION: "), "{text}");
        assert!(text.contains(&format!("{} (--cafile)", made.ca.display())), "{text}");
        assert!(text.contains("localhost, 127.0.0.1, ::1"), "{text}");
    }

    #[test]
    fn what_cannot_be_is_named() {
        let directory = Directory::new("bad");
        let error = prepare(&directory.0, &["no spaces".to_owned()], at(0)).unwrap_err().to_string();
        assert!(error.contains("\"no spaces\" is neither a DNS name nor an IP address"), "{error}");
        fs::write(&directory.0, "a file").unwrap();
        let error = prepare(&directory.0, &[], at(0)).unwrap_err().to_string();
        assert!(error.contains("server-key.pem"), "{error}");
        fs::remove_file(&directory.0).unwrap();
    }
}
