//! A process of somebody else: started, its lines captured, ended for certain.

use crate::outcome::{Checked, Stop};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How many lines of its output a process keeps, for all the cases that share it, and how many a failure shows.
const LINES_MAX: usize = 2000;
const LINES_SHOWN: usize = 30;

/// The most bytes of one line: a message of a megabyte, in base64 or hex, with room.
const LINE_MAX: u64 = 16 << 20;

/// How long a process may take to end after SIGTERM.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// How often an ending process is looked at; std has no wait with a deadline.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A running process. It is killed when this is dropped, and by a guard if this program dies first.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    log: Arc<Log>,
}

/// What becomes of a line on standard output: `true` if it was taken and is not for the log.
pub type Sink = Box<dyn FnMut(&str) -> bool + Send>;

impl Process {
    /// Starts `command` with piped input and captured output.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(name: &str, command: &mut Command, sink: Sink) -> Checked<Self> {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let program = piped.get_program().to_string_lossy().into_owned();
        let mut child = piped.spawn().map_err(|error| Stop::failed(format!("{name}: cannot start {program}: {error}")))?;
        guard('+', child.id());
        let log = Arc::new(Log::default());
        let stdin = child.stdin.take();
        if let Some(stdout) = child.stdout.take() {
            follow(stdout, log.clone(), sink);
        }
        if let Some(stderr) = child.stderr.take() {
            follow(stderr, log.clone(), Box::new(|_| false));
        }
        Ok(Self { name: name.to_owned(), child, stdin, log })
    }

    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Writes one line to its standard input.
    ///
    /// # Errors
    /// It has ended.
    pub fn write_line(&mut self, line: &str) -> Checked {
        let written = self.stdin.as_mut().map(|stdin| stdin.write_all(line.as_bytes()).and_then(|()| stdin.write_all(b"\n")));
        match written {
            Some(Ok(())) => Ok(()),
            _ => Err(self.failure("it takes no more input")),
        }
    }

    /// Ends its standard input, which tells many programs to finish.
    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// It does not within `patience`.
    pub fn wait(&mut self, patience: Duration) -> Checked<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Err(self.failure("it does not end"));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&mut self) {
        guard('-', self.child.id());
        // What is not read shall not be taken: a program that another thread starts at this moment holds the other end
        // of the pipe until it runs.
        self.end_input();
        // It may have ended already; waiting also collects it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end (SIGTERM), and kills it if it does not.
    ///
    /// # Errors
    /// It had to be killed.
    pub fn terminate(&mut self) -> Checked {
        self.end_input();
        if self.is_running() {
            // The process is not yet waited for, so the number is still its own.
            let id = self.child.id();
            Command::new("sh").args(["-c", &format!("kill -TERM {id}")]).status()?;
        }
        let ended = self.wait(END_PATIENCE).map(|_| ());
        self.kill();
        ended
    }

    /// A failure with the last lines of the log.
    pub fn failure(&self, what: &str) -> Stop {
        Stop::failed(format!("{}: {what}{}", self.name, self.log.tail()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines that a process wrote.
#[derive(Debug, Default)]
pub struct Log {
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<String>,
    ended: usize,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: String) {
        let mut lines = self.lock();
        if lines.kept.len() == LINES_MAX {
            lines.kept.pop_front();
        }
        lines.kept.push_back(line);
        self.changed.notify_all();
    }

    fn end(&self) {
        self.lock().ended += 1;
        self.changed.notify_all();
    }

    /// Waits until what was written so far satisfies `enough`.
    ///
    /// # Errors
    /// It does not within `patience`, or both outputs ended before.
    pub fn wait_for<T>(&self, what: &str, patience: Duration, mut enough: impl FnMut(&VecDeque<String>) -> Option<T>) -> Checked<T> {
        let deadline = Instant::now() + patience;
        let mut lines = self.lock();
        loop {
            if let Some(found) = enough(&lines.kept) {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || lines.ended == 2 {
                let how = if lines.ended == 2 { "it ended" } else { "it did not in time" };
                drop(lines);
                return Err(Stop::failed(format!("expected {what}, {how}{}", self.tail())));
            }
            lines = self.changed.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether the last lines are as `is` wants them.
    pub fn is(&self, is: impl FnOnce(&VecDeque<String>) -> bool) -> bool {
        is(&self.lock().kept)
    }

    /// The last lines, indented, to stand behind a failure.
    pub fn tail(&self) -> String {
        self.tail_of(|_| true)
    }

    /// The last lines that are wanted, indented.
    pub fn tail_of(&self, wanted: impl Fn(&str) -> bool) -> String {
        let lines = self.lock();
        let chosen: Vec<&String> = lines.kept.iter().filter(|line| wanted(line)).collect();
        let from = chosen.len().saturating_sub(LINES_SHOWN);
        chosen[from..].iter().map(|line| format!("\n    | {line}")).collect()
    }
}

/// Reads lines until the end of `output`.
fn follow(output: impl Read + Send + 'static, log: Arc<Log>, mut sink: Sink) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(output);
        loop {
            let mut line = vec![];
            match reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) => {
                    let text = String::from_utf8_lossy(&line);
                    let text = text.trim_end_matches(['\n', '\r']);
                    if !text.is_empty() && !sink(text) {
                        log.push(text.to_owned());
                    }
                }
            }
        }
        log.end();
    });
}

/// Tells the guard of a process that lives (`+`) or was ended (`-`). The guard is a shell that reads these lines; when
/// this program ends in whatever way, the guard's input ends, and it kills what is left.
fn guard(change: char, id: u32) {
    const SCRIPT: &str = "trap '' INT TERM HUP
        while read change id; do
          case $change in +) eval live_$id=1 ;; -) unset live_$id ;; esac
        done
        set | sed -n 's/^live_\\([0-9]*\\)=.*/\\1/p' | while read id; do kill -9 $id; done 2>/dev/null";
    static GUARD: OnceLock<Option<Mutex<ChildStdin>>> = OnceLock::new();
    let guard = GUARD.get_or_init(|| {
        let mut shell = Command::new("sh");
        let quiet = shell.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        quiet.spawn().ok().and_then(|mut child| child.stdin.take()).map(Mutex::new)
    });
    if let Some(stdin) = guard {
        // Without the guard everything still ends in the ordinary way.
        let _ = writeln!(stdin.lock().unwrap_or_else(PoisonError::into_inner), "{change} {id}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        Process::spawn("shell", Command::new("sh").args(["-c", script]), Box::new(|line| line.starts_with("taken"))).unwrap()
    }

    #[test]
    fn lines_are_captured_and_waited_for() {
        let process = shell("echo one; echo taken; echo two >&2; read _");
        let log = process.log().clone();
        log.wait_for("two lines", END_PATIENCE, |lines| (lines.len() == 2).then_some(())).unwrap();
        assert!(!log.tail().contains("taken"));
        drop(process);
    }

    #[test]
    fn a_process_that_ends_before_its_line_is_a_failure_that_shows_its_output() {
        let process = shell("echo broken configuration");
        let seen = process.log().wait_for("readiness", END_PATIENCE, |_| None::<()>).unwrap_err().to_string();
        assert_eq!(seen, "expected readiness, it ended\n    | broken configuration");
    }

    #[test]
    fn a_process_is_asked_to_end_and_killed_if_it_does_not_hear() {
        let mut polite = shell("trap 'exit 0' TERM; echo ready; while :; do read _ || sleep 0.01; done");
        polite.log().wait_for("ready", END_PATIENCE, |lines| lines.front().map(|_| ())).unwrap();
        polite.terminate().unwrap();
        assert!(!polite.is_running());
        let mut crashed = shell("read _");
        crashed.kill();
        assert!(!crashed.is_running());
        let seen = crashed.write_line("x").unwrap_err().to_string();
        assert!(seen.starts_with("shell: it takes no more input"), "{seen}");
    }
}
