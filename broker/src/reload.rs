//! SIGHUP: users, rights and certificates are read again. A reload happens as a whole or not at all: when anything in any
//! of the files is wrong, everything stays as it was.

use crate::access::Current;
use crate::auth::Access;
use crate::broker::Setup;
use crate::config::AccessFiles;
use crate::config::diagnostic::Diagnostics;
use crate::transport::tls::TlsSettings;
use std::fmt;
use std::sync::Arc;

/// What is read again, and where it goes.
#[derive(Debug)]
pub struct Reload {
    files: AccessFiles,
    access: Arc<Current>,
    /// The TLS listeners, by URL.
    tls: Vec<(String, Arc<TlsSettings>)>,
}

/// What is in force after a reload.
#[derive(Debug)]
pub struct Reloaded {
    pub users: Option<usize>,
    pub rules: Option<usize>,
    pub certificates: usize,
    /// What is doubtful in the files.
    pub warnings: Diagnostics,
}

/// Everything that is wrong with the files, each with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFiles(pub Vec<String>);

impl fmt::Display for BadFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for BadFiles {}

impl Reload {
    pub fn new(files: AccessFiles, access: Arc<Current>, setup: &Setup) -> Self {
        let tls = setup.listeners.iter().filter_map(|listener| Some((listener.url.to_string(), Arc::clone(listener.tls.as_ref()?))));
        Self { files, access, tls: tls.collect() }
    }

    /// Reads everything again; only when all of it is good, it takes the place of what was.
    ///
    /// # Errors
    /// Everything that is wrong with the files; nothing has changed then.
    pub fn run(&self) -> Result<Reloaded, BadFiles> {
        let mut wrong = Vec::new();
        let access =
            Access::load(&self.files, Some(&self.access.get())).map_err(|found| wrong.push(found.to_string().trim_end().to_owned()));
        let mut prepared = Vec::new();
        for (url, settings) in &self.tls {
            match settings.prepare() {
                Ok(loaded) => prepared.push((settings, loaded)),
                Err(error) => wrong.push(format!("listener {url}: {error}")),
            }
        }
        let (Ok((access, warnings)), true) = (access, wrong.is_empty()) else { return Err(BadFiles(wrong)) };
        let certificates = prepared.len();
        let (users, rules) = (access.users(), access.rules().map(|rules| rules.len()));
        prepared.into_iter().for_each(|(settings, loaded)| settings.install(loaded));
        self.access.replace(access);
        Ok(Reloaded { users, rules, certificates, warnings })
    }
}
