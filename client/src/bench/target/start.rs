//! Starting what is measured, and stopping it.

use super::{Endpoint, Source, Target};
use crate::bench::run::Pins;
use crate::bench::{BenchError, Interim, door};
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
    /// Holds what was started, so that another thread can end it.
    interim: Interim,
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
    pub(in crate::bench) fn new(target: &Target, pins: &Pins, dialect: Dialect, interim: &Interim) -> Result<Self, BenchError> {
        let again = |words, tls, dialect| Again { name: target.name.clone(), words, pins: *pins, dialect, tls };
        match &target.source {
            Source::Running { endpoint, pid } => {
                Ok(Self { endpoint: endpoint.clone(), pid: *pid, interim: interim.clone(), folder: None, again: None })
            }
            Source::Command { command, tls } => Self::start(again(words(command)?, tls.clone(), dialect), interim),
            Source::Floor => {
                let program = std::env::current_exe().map_err(BenchError::system("the path of this program"))?;
                let program = program.to_string_lossy().into_owned();
                let words = [&program, "bench", "floor", "--listen", "127.0.0.1:{port}"].map(str::to_owned).to_vec();
                // It answers CONNECT whatever it says.
                Self::start(again(words, None, Dialect::V311), interim)
            }
        }
    }

    fn start(mut again: Again, interim: &Interim) -> Result<Self, BenchError> {
        let folder = std::env::temp_dir().join(format!("candor-bench-{:016x}", crate::random::number()));
        let port = free_port()?;
        let endpoint = Endpoint::at(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        interim.make_folder(&folder).ok_or_else(over)?.map_err(BenchError::system(&folder.display().to_string()))?;
        let mut running = Self { endpoint, pid: None, interim: interim.clone(), folder: Some(folder.clone()), again: None };
        again.words = again.words.iter().map(|word| fill(word, port, &folder)).collect::<Result<_, _>>()?;
        running.again = Some(again);
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
        self.pid = Some(self.interim.spawn(|| again.pins.spawn(&mut command)).ok_or_else(over)?.map_err(bad)?);
        self.endpoint = Endpoint::at(self.endpoint.address);
        let up = self.wait(&again.name, again.dialect, again.tls.as_ref(), patience);
        self.again = Some(again);
        up
    }

    /// Stops it as an operator would, and starts it again in the same folder; how long each took.
    pub(in crate::bench) fn restart(&mut self) -> Result<(Duration, Duration), BenchError> {
        let begin = Instant::now();
        let gone = || BenchError::Start("it was not started here".to_owned());
        let tell =
            |child: &mut Child| rustix::process::kill_process(rustix::process::Pid::from_child(child), rustix::process::Signal::TERM);
        let told = self.interim.with_child(tell).ok_or_else(gone)?.map_err(std::io::Error::from);
        told.map_err(BenchError::system("SIGTERM"))?;
        while self.interim.with_child(Child::try_wait).ok_or_else(gone)?.map_err(BenchError::system("the server's end"))?.is_none() {
            if begin.elapsed() > COME_UP_FULL {
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
            let ended = self.interim.with_child(|child| child.try_wait().ok().flatten()).ok_or_else(over)?;
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
        self.last_line().unwrap_or_else(|| "nothing on standard error".to_owned())
    }

    /// The last that what was started said on standard error.
    pub(in crate::bench) fn last_line(&self) -> Option<String> {
        self.folder.as_ref()?;
        let said = std::fs::read(self.said()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        said.trim().lines().next_back().map(str::to_owned)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.interim.end_server();
    }
}

/// Of who would start something once the measurement was ended.
fn over() -> BenchError {
    BenchError::Start("the measurement was ended".to_owned())
}

/// What can be known of a command before it is started.
pub(super) fn check(name: &str, command: &str) -> Result<(), BenchError> {
    let words = words(command)?;
    if words.first().is_none_or(String::is_empty) {
        return Err(BenchError::Usage(format!("the command of {name} is empty")));
    }
    let mut has_port = command.contains("{port}");
    for word in &words {
        if let Some((_, file, _)) = config(word)? {
            has_port |= read_config(file)?.contains("{port}");
        }
    }
    if has_port {
        return Ok(());
    }
    Err(BenchError::Usage(format!("neither `{command}` nor its files have a `{{port}}`: the port to listen on is chosen for each run")))
}

/// What stands before, in and behind the `{config:FILE}` of a word.
fn config(word: &str) -> Result<Option<(&str, &str, &str)>, BenchError> {
    let Some((before, rest)) = word.split_once("{config:") else { return Ok(None) };
    let (file, after) = rest.split_once('}').ok_or_else(|| BenchError::Usage(format!("`{word}`: `{{config:FILE}}` has no end")))?;
    Ok(Some((before, file, after)))
}

fn read_config(file: &str) -> Result<String, BenchError> {
    std::fs::read_to_string(file).map_err(|error| BenchError::Usage(format!("`{{config:{file}}}` cannot be read: {error}")))
}

/// Another program can take it before ours does; then that one does not come up, and says why.
fn free_port() -> Result<u16, BenchError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(BenchError::system("a free port"))?;
    Ok(listener.local_addr().map_err(BenchError::system("a free port"))?.port())
}

/// Fills in `{port}`, `{dir}` and `{config:FILE}`.
fn fill(word: &str, port: u16, folder: &Path) -> Result<String, BenchError> {
    let plain = |text: &str| text.replace("{port}", &port.to_string()).replace("{dir}", &folder.display().to_string());
    let Some((before, file, after)) = config(word)? else { return Ok(plain(word)) };
    let text = read_config(file)?;
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
