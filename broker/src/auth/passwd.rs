//! `candor-broker passwd`: entries of a password file, made, replaced and taken out.

use super::password::{Passwords, check_user_name, numbered};
use crate::config::command::Passwd;
use crate::config::diagnostic::Diagnostics;
use crate::config::source::Source;
use argon2::{Argon2, PasswordHasher};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The longest password that a CONNECT can carry, in bytes.
const PASSWORD_LEN_MAX: usize = 65_535;

/// Why a password file was not changed; it is as it was.
#[derive(Debug)]
#[non_exhaustive]
pub enum PasswdError {
    /// The name cannot stand in the file.
    UserName(String),
    /// There is no such user to take out.
    NoSuchUser { file: PathBuf, user: String },
    /// The password is empty or too long.
    Password(&'static str),
    /// The two passwords that were typed differ.
    Differ,
    /// The file is wrong elsewhere, so that the broker would not take it.
    File(Diagnostics),
    /// The password could not be hashed.
    Hash(String),
    /// Reading or writing failed.
    Io { doing: &'static str, path: PathBuf, error: std::io::Error },
}

impl PasswdError {
    /// The exit status of the command: 2 where what was asked for cannot be, 1 where the machine failed.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::UserName(_) | Self::NoSuchUser { .. } | Self::Password(_) | Self::Differ | Self::File(_) => 2,
            Self::Hash(_) | Self::Io { .. } => 1,
        }
    }
}

impl fmt::Display for PasswdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UserName(why) => write!(f, "{why}\n  allowed: a name without `:` and control characters that does not begin with `#`"),
            Self::NoSuchUser { file, user } => write!(f, "{} has no user {user:?}", file.display()),
            Self::Password(why) => write!(f, "{why}\n  allowed: 1 to {PASSWORD_LEN_MAX} bytes, on the first line of standard input"),
            Self::Differ => f.write_str("the two passwords differ; nothing was changed"),
            Self::File(found) => write!(f, "{found}\nnothing was changed"),
            Self::Hash(why) => write!(f, "the password could not be hashed: {why}"),
            Self::Io { doing, path, error } => write!(f, "{}: {doing}: {error}", path.display()),
        }
    }
}

impl std::error::Error for PasswdError {}

/// Does what `candor-broker passwd` was asked to, with the password from standard input, and says what was done.
///
/// # Errors
/// See [`PasswdError`]; the file is as it was.
pub fn run(request: &Passwd) -> Result<String, PasswdError> {
    let stdin = std::io::stdin();
    let terminal = match stdin.is_terminal() {
        true => Some(OpenOptions::new().read(true).write(true).open(TERMINAL).map_err(io("opening the terminal", Path::new(TERMINAL)))?),
        false => None,
    };
    run_with(request, stdin.lock(), terminal.as_ref(), &Argon2::default())
}

/// The terminal of the process, wherever its standard output goes.
const TERMINAL: &str = "/dev/tty";

fn run_with(request: &Passwd, input: impl Read, terminal: Option<&File>, argon2: &Argon2<'_>) -> Result<String, PasswdError> {
    let Passwd { file, user, delete } = request;
    let change = if *delete {
        remove(file, user)?
    } else {
        // Before anybody types a password for nothing.
        check_user_name(user).map_err(PasswdError::UserName)?;
        let password = match terminal {
            Some(terminal) => ask_password(terminal, user)?,
            None => read_password(input)?,
        };
        set(file, user, &password, argon2)?
    };
    Ok(match change {
        Change::Added => format!("added {user:?} to {}", file.display()),
        Change::Replaced => format!("gave {user:?} a new password in {}", file.display()),
        Change::Removed => format!("took {user:?} out of {}", file.display()),
    })
}

/// Reads a password from `input`, as the first line without its end.
///
/// # Errors
/// It cannot be read, is empty, or is longer than a CONNECT can carry.
pub fn read_password(input: impl Read) -> Result<Vec<u8>, PasswdError> {
    let mut line = Vec::new();
    // One byte more than may be, and the two of a line end, tell a line that is too long.
    BufReader::new(input.take(PASSWORD_LEN_MAX as u64 + 3))
        .read_until(b'\n', &mut line)
        .map_err(io("reading the password", Path::new("-")))?;
    if line.ends_with(b"\n") {
        line.pop();
        if line.ends_with(b"\r") {
            line.pop();
        }
    }
    match line.len() {
        0 => Err(PasswdError::Password("the password is empty")),
        1..=PASSWORD_LEN_MAX => Ok(line),
        _ => Err(PasswdError::Password("the password is too long")),
    }
}

/// Asks for a password twice on a terminal, which shows nothing of it meanwhile.
///
/// # Errors
/// As [`read_password`]; or the two differ.
pub fn ask_password(terminal: &File, user: &str) -> Result<Vec<u8>, PasswdError> {
    let _quiet = Quiet::new(terminal)?;
    let mut out = terminal;
    let mut lines = BufReader::new(terminal);
    let mut ask = |prompt: &str| {
        out.write_all(prompt.as_bytes()).map_err(io("writing to the terminal", Path::new("-")))?;
        let password = read_password_line(&mut lines);
        // The line end that was typed was not shown either.
        out.write_all(b"\n").map_err(io("writing to the terminal", Path::new("-")))?;
        password
    };
    let first = ask(&format!("Password for {user:?}: "))?;
    let second = ask("The same again: ")?;
    if first == second { Ok(first) } else { Err(PasswdError::Differ) }
}

fn read_password_line(lines: &mut impl BufRead) -> Result<Vec<u8>, PasswdError> {
    let mut line = Vec::new();
    lines.take(PASSWORD_LEN_MAX as u64 + 3).read_until(b'\n', &mut line).map_err(io("reading the password", Path::new("-")))?;
    read_password(&*line)
}

/// Switches the echo of a terminal off, and on again when it is dropped.
struct Quiet<'a> {
    terminal: &'a File,
    before: rustix::termios::Termios,
}

impl<'a> Quiet<'a> {
    fn new(terminal: &'a File) -> Result<Self, PasswdError> {
        let failed = |error: rustix::io::Errno| io("switching the terminal's echo off", Path::new("-"))(error.into());
        let before = tcgetattr(terminal.as_fd()).map_err(failed)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL);
        tcsetattr(terminal.as_fd(), OptionalActions::Flush, &quiet).map_err(failed)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = tcsetattr(self.terminal.as_fd(), OptionalActions::Flush, &self.before);
    }
}

/// What was done to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Added,
    Replaced,
    Removed,
}

/// Gives `user` a password: adds the entry, or replaces the one that is there. Every other line stays as it is.
///
/// `argon2` has the parameters; `Argon2::default()` takes 19 MiB and some 40 ms.
///
/// # Errors
/// See [`PasswdError`]; the file is as it was.
pub fn set(file: &Path, user: &str, password: &[u8], argon2: &Argon2<'_>) -> Result<Change, PasswdError> {
    check_user_name(user).map_err(PasswdError::UserName)?;
    let hash = argon2.hash_password(password).map_err(|error| PasswdError::Hash(error.to_string()))?;
    edit(file, user, Some(format!("{user}:{hash}")))
}

/// Takes `user` out.
///
/// # Errors
/// See [`PasswdError`]; the file is as it was.
pub fn remove(file: &Path, user: &str) -> Result<Change, PasswdError> {
    edit(file, user, None)
}

fn edit(file: &Path, user: &str, entry: Option<String>) -> Result<Change, PasswdError> {
    // A link stays a link: what it points to is replaced.
    let file = &std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = File::open(folder).map_err(io("opening its folder", file))?;
    // Two of us at once would each write a file without the other's change.
    folder.lock().map_err(io("locking its folder", file))?;
    let old = match std::fs::metadata(file) {
        Ok(metadata) => {
            Some((Source::read_secret(file, super::password::LEN_MAX).map_err(|error| PasswdError::File(error.into()))?, metadata))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(io("looking for it", file)(error)),
    };
    let (text, change) = edited(old.as_ref().map_or("", |(source, _)| source.text()), user, entry);
    if change == Change::Removed && old.as_ref().is_none_or(|(source, _)| source.text() == text) {
        return Err(PasswdError::NoSuchUser { file: file.clone(), user: user.to_owned() });
    }
    Passwords::parse(&Source::secret(file.display().to_string(), &*text), None).map_err(PasswdError::File)?;
    replace(file, &folder, text.as_bytes(), old.as_ref().map(|(_, metadata)| metadata))?;
    Ok(change)
}

/// The text with the entry in place of every line of this user, or at the end; without an entry those lines are gone.
fn edited(text: &str, user: &str, entry: Option<String>) -> (String, Change) {
    let is_theirs = |line: &str| !line.starts_with('#') && line.split_once(':').is_some_and(|(name, _)| name == user);
    let mut change = if entry.is_some() { Change::Added } else { Change::Removed };
    let mut pending = entry;
    let mut lines: Vec<String> = Vec::new();
    for (_, line) in numbered(text.strip_suffix('\n').unwrap_or(text)).filter(|_| !text.is_empty()) {
        if !is_theirs(line) {
            lines.push(line.to_owned());
        } else if let Some(entry) = pending.take() {
            lines.push(entry);
            change = Change::Replaced;
        }
    }
    lines.extend(pending);
    let end = if lines.is_empty() { "" } else { "\n" };
    (lines.join("\n") + end, change)
}

/// Writes a new file beside the old one, makes it durable, and puts it in its place.
fn replace(file: &Path, folder: &File, bytes: &[u8], old: Option<&std::fs::Metadata>) -> Result<(), PasswdError> {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let beside = file.with_file_name(format!(".{name}.{}.new", std::process::id()));
    let write = || -> Result<(), PasswdError> {
        let mut new =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).map_err(io("making a new file", &beside))?;
        if let Some(old) = old {
            let mine = new.metadata().map_err(io("looking at the new file", &beside))?;
            if (mine.uid(), mine.gid()) != (old.uid(), old.gid()) {
                std::os::unix::fs::fchown(&new, Some(old.uid()), Some(old.gid())).map_err(io("giving the new file its owner", &beside))?;
            }
        }
        new.write_all(bytes).and_then(|()| new.sync_all()).map_err(io("writing the new file", &beside))?;
        std::fs::rename(&beside, file).map_err(io("putting the new file in its place", file))?;
        folder.sync_all().map_err(io("making the change durable", file))
    };
    let result = write();
    if result.is_err() {
        // It may not exist; then there is nothing to take away.
        let _ = std::fs::remove_file(&beside);
    }
    result
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> PasswdError {
    let path = path.to_owned();
    move |error| PasswdError::Io { doing, path, error }
}

#[cfg(test)]
#[path = "passwd_tests.rs"]
mod tests;
