//! Starting what is measured, and stopping it.

use super::{Endpoint, Source, Target};
use crate::bench::run::Pins;
use crate::bench::{BenchError, door};
use crate::options::TlsOptions;
use candor_protocol::dialect::Dialect;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// For a server that was started to take its first connection.
const COME_UP: Duration = Duration::from_secs(20);
/// For one that has much on the disk to do so, or to end.
const COME_UP_FULL: Duration = Duration::from_secs(120);

/// A target that can be connected to. What was started for it ends with this.
#[derive(Debug)]
pub(in crate::bench) struct Running {
    pub(in crate::bench) endpoint: Endpoint,
    pub(in crate::bench) pid: Option<u32>,
    child: Option<Child>,
    /// Of what was started: gone with it.
    pub(in crate::bench) folder: Option<PathBuf>,
    again: Option<Again>,
}

/// What it takes to start it once more.
#[derive(Debug)]
struct Again {
    name: String,
    words: Vec<String>,
    pins: Pins,
    dialect: Dialect,
    tls: Option<TlsOptions>,
}

impl Running {
    /// Starts what is to be started and waits until it takes connections.
    pub(in crate::bench) fn new(target: &Target, pins: &Pins, dialect: Dialect) -> Result<Self, BenchError> {
        match &target.source {
            Source::Running { endpoint, pid } => Ok(Self { endpoint: endpoint.clone(), pid: *pid, child: None, folder: None, again: None }),
            Source::Command { command, tls } => Self::start(target, words(command)?, tls.as_ref(), pins, dialect),
            Source::Floor => {
                let program = std::env::current_exe().map_err(BenchError::system("the path of this program"))?;
                let program = program.to_string_lossy().into_owned();
                let words = [&program, "bench", "floor", "--listen", "127.0.0.1:{port}"].map(str::to_owned).to_vec();
                // It answers CONNECT whatever it says.
                Self::start(target, words, None, pins, Dialect::V311)
            }
        }
    }

    fn start(target: &Target, words: Vec<String>, tls: Option<&TlsOptions>, pins: &Pins, dialect: Dialect) -> Result<Self, BenchError> {
        let folder = std::env::temp_dir().join(format!("candor-bench-{:016x}", crate::random::number()));
        std::fs::create_dir(&folder).map_err(BenchError::system(&folder.display().to_string()))?;
        let port = free_port()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut running = Self { endpoint: Endpoint::at(address), pid: None, child: None, folder: Some(folder.clone()), again: None };
        let words = words.into_iter().map(|word| fill(&word, port, &folder)).collect::<Result<Vec<_>, _>>()?;
        running.again = Some(Again { name: target.name.clone(), words, pins: *pins, dialect, tls: tls.cloned() });
        running.spawn(COME_UP)?;
        Ok(running)
    }

    fn spawn(&mut self, patience: Duration) -> Result<(), BenchError> {
        let Some(again) = self.again.take() else { return Err(BenchError::Start("it was not started here".to_owned())) };
        let Some((program, arguments)) = again.words.split_first() else {
            return Err(BenchError::Usage(format!("the command of {} is empty", again.name)));
        };
        let bad = |error| BenchError::Start(format!("{}: `{program}` cannot be started: {error}", again.name));
        let said = std::fs::File::create(self.said()).map_err(bad)?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        let child = again.pins.spawn(&mut command).map_err(bad)?;
        self.pid = Some(child.id());
        self.child = Some(child);
        self.endpoint = Endpoint::at(self.endpoint.address);
        let up = self.wait(&again.name, again.dialect, again.tls.as_ref(), patience);
        self.again = Some(again);
        up
    }

    /// Stops it as an operator would, and starts it again in the same folder; how long each took.
    pub(in crate::bench) fn restart(&mut self) -> Result<(Duration, Duration), BenchError> {
        let begin = Instant::now();
        let Some(mut child) = self.child.take() else { return Err(BenchError::Start("it was not started here".to_owned())) };
        let pid = rustix::process::Pid::from_child(&child);
        let told = rustix::process::kill_process(pid, rustix::process::Signal::TERM).map_err(std::io::Error::from);
        told.map_err(BenchError::system("SIGTERM"))?;
        while child.try_wait().map_err(BenchError::system("the server's end"))?.is_none() {
            if begin.elapsed() > COME_UP_FULL {
                self.child = Some(child);
                return Err(BenchError::Silent(format!("the server does not end within {} s of SIGTERM", COME_UP_FULL.as_secs())));
            }
            // There is no wait with a deadline.
            std::thread::sleep(Duration::from_millis(2));
        }
        let (stopped, begin) = (begin.elapsed(), Instant::now());
        self.spawn(COME_UP_FULL)?;
        Ok((stopped, begin.elapsed()))
    }

    fn said(&self) -> PathBuf {
        self.folder.as_deref().unwrap_or(Path::new("")).join("said")
    }

    fn wait(&mut self, name: &str, dialect: Dialect, tls: Option<&TlsOptions>, patience: Duration) -> Result<(), BenchError> {
        let start = Instant::now();
        let plain = self.endpoint.clone();
        loop {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                return Err(BenchError::Start(format!("{name} ended at once ({status}): {}", self.last_words())));
            }
            // The server may make the certificate that is to be trusted only now, so options are read anew.
            let secured = tls.map_or_else(|| Ok(plain.clone()), |tls| plain.clone().secured(&in_folder(tls, self.folder.as_deref())));
            let opened = secured.and_then(|endpoint| {
                door::open(&endpoint, dialect, "bench-first", true)?.leave()?;
                Ok(endpoint)
            });
            match opened {
                Ok(endpoint) => {
                    self.endpoint = endpoint;
                    return Ok(());
                }
                Err(error) if start.elapsed() > patience => {
                    let seconds = patience.as_secs();
                    return Err(BenchError::Start(format!(
                        "{name} takes no connection within {seconds} s: {error}; it said: {}",
                        self.last_words()
                    )));
                }
                // There is nothing that tells when a foreign program listens.
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    fn last_words(&self) -> String {
        let said = std::fs::read(self.said()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        match said.trim().lines().next_back() {
            Some(line) => line.to_owned(),
            None => "nothing on standard error".to_owned(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It holds nothing that anybody needs.
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// Another program can take it before ours does; then that one does not come up, and says why.
fn free_port() -> Result<u16, BenchError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(BenchError::system("a free port"))?;
    Ok(listener.local_addr().map_err(BenchError::system("a free port"))?.port())
}

/// Fills in `{port}`, `{dir}` and `{config:FILE}`.
fn fill(word: &str, port: u16, folder: &Path) -> Result<String, BenchError> {
    let plain = |text: &str| text.replace("{port}", &port.to_string()).replace("{dir}", &folder.display().to_string());
    let Some((before, rest)) = word.split_once("{config:") else { return Ok(plain(word)) };
    let (file, after) = rest.split_once('}').ok_or_else(|| BenchError::Usage(format!("`{word}`: `{{config:FILE}}` has no end")))?;
    let text = std::fs::read_to_string(file).map_err(|error| BenchError::Usage(format!("{file}: {error}")))?;
    let name = Path::new(file).file_name().unwrap_or_default();
    let copy = folder.join(name);
    std::fs::write(&copy, plain(&text)).map_err(BenchError::system(&copy.display().to_string()))?;
    Ok(format!("{}{}{}", plain(before), copy.display(), plain(after)))
}

/// The options with `{dir}` filled in, so that what a server makes there can be trusted.
fn in_folder(options: &TlsOptions, folder: Option<&Path>) -> TlsOptions {
    let Some(folder) = folder else { return options.clone() };
    let filled = |path: &PathBuf| PathBuf::from(path.to_string_lossy().replace("{dir}", &folder.display().to_string()));
    TlsOptions { ca_file: options.ca_file.as_ref().map(filled), ..options.clone() }
}

/// Splits a command at spaces; quotes keep them.
fn words(command: &str) -> Result<Vec<String>, BenchError> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in command.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    if let Some(open) = quote {
        return Err(BenchError::Usage(format!("`{command}`: a {open} is not closed")));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_as_a_shell_would() {
        let split = |text: &str| words(text).unwrap();
        assert_eq!(split("a  b 'c d' e\"f g\"h ''"), ["a", "b", "c d", "ef gh", ""]);
        assert!(words("a 'b").is_err());
    }
}
