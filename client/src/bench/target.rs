//! What is measured: a server that runs already, one that is started for each run, or the built-in floor.

mod start;

pub(super) use start::Running;

use super::BenchError;
use super::process::{self, Sample};
use super::tls::{Resume, Tls};
use crate::address::{Address, BadAddress, Scheme, Url};
use crate::options::TlsOptions;
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};

/// Where a server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub address: SocketAddr,
    pub user_name: Option<String>,
    pub password: Option<String>,
    pub(super) tls: Option<Tls>,
}

impl Endpoint {
    pub fn at(address: SocketAddr) -> Self {
        Self { address, user_name: None, password: None, tls: None }
    }

    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The same over TLS.
    ///
    /// # Errors
    /// A file of the options cannot be used.
    pub fn secured(self, options: &TlsOptions) -> Result<Self, BenchError> {
        let address = Address::new(Scheme::Mqtts, self.address.ip().to_string(), self.address.port());
        Ok(Self { tls: Some(Tls::new(options, &address)?), ..self })
    }

    /// The same, with sessions of its own that are resumed or not.
    pub(super) fn resuming(&self, resume: Resume) -> Self {
        Self { tls: self.tls.as_ref().map(|tls| tls.resuming(resume)), ..self.clone() }
    }

    /// # Errors
    /// It is no URL, its host has no address, or its scheme is none that a load can use.
    pub fn of_url(url: &str, tls: &TlsOptions) -> Result<Self, BenchError> {
        let parsed: Url = url.parse().map_err(|error: BadAddress| BenchError::Usage(error.to_string()))?;
        let scheme = parsed.address.scheme();
        if scheme.is_websocket() {
            return Err(BenchError::Usage(format!("{}:// has no load generator; use mqtt:// or mqtts://", scheme.name())));
        }
        let (host, port) = (parsed.address.host().to_owned(), parsed.address.port());
        let found = (host.as_str(), port).to_socket_addrs().map_err(|error| BenchError::Connect(format!("{host}: {error}")))?;
        // Both families are tried by ordinary clients; a figure wants one, and IPv4 is what most brokers listen on.
        let address = found.min_by_key(SocketAddr::is_ipv6).ok_or_else(|| BenchError::Connect(format!("{host} has no address")))?;
        let tls = scheme.is_tls().then(|| Tls::new(tls, &parsed.address)).transpose()?;
        Ok(Self { address, user_name: parsed.user_name, password: parsed.password, tls })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.is_tls() { "mqtts" } else { "mqtt" }, self.address)
    }
}

/// How a target comes to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// It runs already; with its process identifier its cost is known.
    Running { endpoint: Endpoint, pid: Option<u32> },
    /// A command that is started for each run; `{port}` is a free port, `{config:FILE}` a copy of FILE with `{port}` filled in.
    Command { command: String, tls: Option<TlsOptions> },
    /// The built-in relay, in a process of its own.
    Floor,
}

/// A server with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub name: String,
    pub source: Source,
}

impl Target {
    /// Reads `floor`, `NAME=URL[,pid=N]` or `URL[,pid=N]`.
    ///
    /// # Errors
    /// It has another form; the text says which is right.
    pub fn parse(text: &str, tls: &TlsOptions) -> Result<Self, BenchError> {
        if text == "floor" {
            return Ok(Self { name: text.to_owned(), source: Source::Floor });
        }
        let (name, rest) = match text.split_once('=') {
            Some(("", _)) => return Err(nameless(text)),
            Some((name, rest)) if !name.contains("://") => (Some(name), rest),
            _ => (None, text),
        };
        let (url, pid) = match rest.rsplit_once(",pid=") {
            Some((url, text)) => {
                let pid = text.parse().ok().filter(|pid| *pid != 0);
                let pid = pid.ok_or_else(|| BenchError::Usage(format!("`,pid={text}`: a process identifier is a number from 1 on")))?;
                (url, Some(pid))
            }
            None => (rest, None),
        };
        let endpoint = Endpoint::of_url(url, tls)?;
        let name = name.map_or_else(|| without_credentials(url), str::to_owned);
        let target = Self { name, source: Source::Running { endpoint, pid: None } };
        pid.map_or(Ok(target.clone()), |pid| target.with_process(pid))
    }

    /// The same, with the process whose cost is wanted.
    ///
    /// # Errors
    /// It is no server that runs already, or the process is none that can be told from the load generator.
    pub fn with_process(mut self, process: u32) -> Result<Self, BenchError> {
        let Source::Running { pid, .. } = &mut self.source else {
            return Err(BenchError::Usage(format!("{} is started here, so its process is known: leave the process out", self.name)));
        };
        if process::is_own_family(process) {
            return Err(BenchError::Usage(format!(
                "process {process} of {} is this load generator or what it was started from: give the server's own",
                self.name
            )));
        }
        *pid = Some(process);
        Ok(self)
    }

    /// What can be known before it is measured.
    pub(super) fn check(&self) -> Result<(), BenchError> {
        match &self.source {
            Source::Running { pid: Some(pid), .. } if Sample::of(*pid).is_none() => {
                Err(BenchError::Usage(format!("process {pid} of {} is not there, or may not be read", self.name)))
            }
            Source::Running { .. } | Source::Floor => Ok(()),
            Source::Command { command, .. } => start::check(&self.name, command),
        }
    }

    /// Reads `NAME=COMMAND` or `COMMAND`; what it starts is spoken to over TLS where there are options for it.
    ///
    /// # Errors
    /// The command is empty, or has no place for the port.
    pub fn parse_command(text: &str, tls: Option<TlsOptions>) -> Result<Self, BenchError> {
        let (name, command) = match text.split_once('=') {
            Some(("", _)) => return Err(nameless(text)),
            Some((name, command)) if !name.contains([' ', '/']) => (name.to_owned(), command),
            _ => {
                let program = text.split_whitespace().next().unwrap_or_default();
                (program.rsplit('/').next().unwrap_or(program).to_owned(), text)
            }
        };
        if !command.contains("{port}") && !command.contains("{config:") {
            return Err(BenchError::Usage(format!("`{command}` has no `{{port}}`: the port to listen on is chosen for each run")));
        }
        Ok(Self { name, source: Source::Command { command: command.to_owned(), tls } })
    }
}

fn nameless(text: &str) -> BenchError {
    BenchError::Usage(format!("`{text}` begins with `=`, so its name is empty: the form is NAME=..., or without `=`"))
}

/// A URL as it was written, but for who logs in: it is printed, and stands in pages that are passed on.
fn without_credentials(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("mqtt", url));
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}://{}", host.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_called_what_it_was_written_as() {
        let name = |text: &str| Target::parse(text, &TlsOptions::default()).unwrap().name;
        assert_eq!(name("mqtt://localhost"), "mqtt://localhost");
        assert_eq!(name("mqtt://u:secret@localhost:1884/"), "mqtt://localhost:1884");
        assert_eq!(name("here=mqtt://localhost"), "here");
    }
}
