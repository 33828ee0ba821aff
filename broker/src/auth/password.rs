//! The password file, and the verification of passwords as jobs for a bounded pool.
//!
//! A line is `USER:HASH`; the hash is a PHC string of Argon2id (RFC 9106). Verifying takes some 40 ms of a core and some 20 MiB of
//! memory with the usual parameters, so it is a job ([`Verification`]) that is run away from the connections. What was verified is
//! remembered as a keyed hash in the user's own entry: a client that reconnects with the same password costs microseconds, and the
//! memory is bounded by the file. The key is random, of this process, and never leaves it.

use crate::config::diagnostic::{Diagnostic, Diagnostics, Origin};
use crate::config::kind::shown;
use crate::config::source::Source;
use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// The longest password file, in bytes.
pub const LEN_MAX: u64 = 64 << 20;

/// The longest line, in bytes: a user name of MQTT's greatest length and a hash.
const LINE_LEN_MAX: usize = 66_000;

/// The dearest hash that is taken: 1 GiB of memory. A dearer one would let a single login stop the server.
const MEMORY_KIB_MAX: u32 = 1 << 20;
const PASSES_MAX: u32 = 64;
const LANES_MAX: u32 = 16;

/// What a line is, in words.
const FORM: &str = "USER:HASH, the hash as `candor-broker passwd FILE USER` writes it: $argon2id$v=19$m=...,t=...,p=...$SALT$HASH";

/// The users of a password file.
pub struct Passwords {
    users: Vec<User>,
    by_name: HashMap<Box<str>, u32>,
    key: Key,
}

struct User {
    /// The PHC string.
    hash: Box<str>,
    /// The keyed hash of the password that was verified last.
    verified: Mutex<Option<[u8; 32]>>,
}

/// The key of the keyed hashes.
#[derive(Clone)]
struct Key([u8; 32]);

/// Whether a password is right, as far as that is known at once.
#[derive(Debug)]
pub enum Check {
    /// The same password was verified before.
    Right,
    /// It must be computed.
    Unknown(Verification),
}

impl Passwords {
    /// Reads a password file. What `previous` has verified stays verified for users whose entry is the same.
    ///
    /// # Errors
    /// Everything that is wrong in it. Lines of the file are never shown.
    pub fn parse(source: &Source, previous: Option<&Passwords>) -> Result<Passwords, Diagnostics> {
        let mut found = Diagnostics::default();
        let key = match previous {
            Some(previous) => previous.key.clone(),
            None => Key::random().map_err(|error| Diagnostic::error(Origin::Path(source.name().to_owned()), error))?,
        };
        let mut passwords = Passwords { users: Vec::new(), by_name: HashMap::new(), key };
        let mut lines: Vec<Range<usize>> = Vec::new();
        for (span, line) in numbered(source.text()) {
            match entry(line) {
                Ok(None) => {}
                Ok(Some((name, hash))) => match passwords.by_name.get(name) {
                    Some(&first) => {
                        let first = lines.get(first as usize).map_or(0, |span| source.line_of(span.start));
                        let what = format!("the user {} stands here for the second time; the first is in line {first}", shown(name));
                        found.push(Diagnostic::error(Origin::File(source.place(span)), what).allowed("each user once"));
                    }
                    None => {
                        // A file of at most 64 MiB has fewer users than a u32 counts.
                        passwords.by_name.insert(name.into(), passwords.users.len() as u32);
                        let verified = previous.and_then(|previous| previous.verified(name, hash));
                        passwords.users.push(User { hash: hash.into(), verified: Mutex::new(verified) });
                        lines.push(span);
                    }
                },
                Err(what) => found.push(Diagnostic::error(Origin::File(source.place(span)), what).allowed(FORM)),
            }
        }
        found.unless_errors(passwords).map(|(passwords, _)| passwords)
    }

    /// How many users there are.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Whether there is this user.
    pub fn knows(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Looks whether `password` is right. For a user who does not exist the answer is a job too, one that costs what the job of some
    /// user of the file costs, so that the time of an answer does not tell who exists.
    pub fn check(self: &Arc<Self>, name: &str, password: &[u8]) -> Check {
        let user = self.by_name.get(name).copied();
        let known = user.and_then(|at| self.users.get(at as usize));
        if known.is_some_and(|user| user.remembers(&self.key, name, password)) {
            return Check::Right;
        }
        Check::Unknown(Verification { passwords: self.clone(), user, name: name.into(), password: password.into() })
    }

    fn verified(&self, name: &str, hash: &str) -> Option<[u8; 32]> {
        let user = self.users.get(*self.by_name.get(name)? as usize)?;
        (*user.hash == *hash).then(|| *user.verified.lock().unwrap_or_else(PoisonError::into_inner))?
    }

    /// The hash that an unknown user is measured against: always the same one for the same name.
    fn stand_in(&self, name: &str) -> &str {
        let digest = self.key.hash(name, "", b"").finalize().into_bytes();
        let number = digest.iter().take(8).fold(0u64, |number, &byte| number << 8 | u64::from(byte));
        let at = number.checked_rem(self.users.len() as u64).unwrap_or(0);
        self.users.get(at as usize).map_or(STAND_IN, |user| &user.hash)
    }
}

/// What an unknown user is measured against in a file without users: a hash with the parameters that new entries get.
const STAND_IN: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Passwords({} users)", self.users.len())
    }
}

impl User {
    fn remembers(&self, key: &Key, name: &str, password: &[u8]) -> bool {
        let verified = *self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        // The comparison takes the same time wherever the first difference is.
        verified.is_some_and(|verified| key.hash(name, &self.hash, password).verify_slice(&verified).is_ok())
    }
}

impl Key {
    fn random() -> Result<Self, String> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| format!("the system gives no random bytes for a key: {error}"))?;
        Ok(Self(key))
    }

    /// Bound to the entry, so that a new password or a new salt forgets the old one.
    fn hash(&self, name: &str, hash: &str, password: &[u8]) -> Hmac<Sha256> {
        // An HMAC takes a key of any length; the fallback is never reached.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).unwrap_or_else(|_| Hmac::new(&Default::default()));
        for part in [name.as_bytes(), hash.as_bytes(), password] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

/// A password to be verified: some 40 ms of work for a thread that serves no connection. It may be run on any thread, or dropped.
#[must_use = "a password that is not verified admits nobody"]
pub struct Verification {
    passwords: Arc<Passwords>,
    user: Option<u32>,
    name: Box<str>,
    password: Box<[u8]>,
}

/// Why a password was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// For the log only: a client is never told whether the user exists.
    UnknownUser,
    WrongPassword,
    /// The hash could not be computed, for want of memory.
    Failed,
}

impl Verification {
    pub fn user_name(&self) -> &str {
        &self.name
    }

    /// Bytes that [`Verification::run`] needs for as long as it runs.
    pub fn memory_bytes(&self) -> u64 {
        PasswordHash::new(self.hash())
            .ok()
            .and_then(|hash| Params::try_from(&hash).ok())
            .map_or(0, |params| u64::from(params.m_cost()) << 10)
    }

    /// Verifies the password.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub fn run(self) -> Result<(), Denial> {
        let known = self.user.and_then(|at| self.passwords.users.get(at as usize));
        let hash = PasswordHash::new(self.hash()).map_err(|_| Denial::Failed)?;
        let right = match Argon2::default().verify_password(&self.password, &hash) {
            Ok(()) => true,
            Err(argon2::password_hash::Error::PasswordInvalid) => false,
            Err(_) => return Err(Denial::Failed),
        };
        // Even a password that fits the stand-in admits nobody.
        match (known, right) {
            (None, _) => Err(Denial::UnknownUser),
            (Some(_), false) => Err(Denial::WrongPassword),
            (Some(user), true) => {
                let digest = self.passwords.key.hash(&self.name, &user.hash, &self.password).finalize().into_bytes().into();
                *user.verified.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest);
                Ok(())
            }
        }
    }

    fn hash(&self) -> &str {
        let known = self.user.and_then(|at| self.passwords.users.get(at as usize));
        known.map_or_else(|| self.passwords.stand_in(&self.name), |user| &user.hash)
    }
}

impl fmt::Debug for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verification({})", shown(&self.name))
    }
}

/// The lines of a text, without their ends, each with its span.
pub(super) fn numbered(text: &str) -> impl Iterator<Item = (Range<usize>, &str)> {
    let mut at = 0;
    text.split('\n').map(move |line| {
        let span = at..at + line.len();
        at = span.end + 1;
        (span, line.strip_suffix('\r').unwrap_or(line))
    })
}

/// The user and the hash of a line; `None` for a comment and for a blank line.
fn entry(line: &str) -> Result<Option<(&str, &str)>, String> {
    if line.len() > LINE_LEN_MAX {
        return Err(format!("the line has more than {LINE_LEN_MAX} bytes"));
    }
    if line.trim().is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (name, hash) = line.split_once(':').ok_or_else(|| "the line has no `:`".to_owned())?;
    check_user_name(name)?;
    check_hash(hash)?;
    Ok(Some((name, hash)))
}

/// Whether a user name can stand in a password file.
///
/// # Errors
/// Why not.
pub fn check_user_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("the user name is empty".into());
    }
    if name.len() > 65_535 {
        return Err("the user name has more than 65535 bytes, which no CONNECT can carry".into());
    }
    if name.starts_with('#') {
        return Err("the user name begins with `#`, which makes its line a comment".into());
    }
    if name != name.trim() {
        return Err(format!("the user name {} has white space at an end, where nobody sees it", shown(name)));
    }
    match name.chars().find(|&c| c == ':' || c.is_control()) {
        Some(bad) => Err(format!("the user name {} holds {bad:?}", shown(name))),
        None => Ok(()),
    }
}

fn check_hash(text: &str) -> Result<(), String> {
    if !text.starts_with('$') {
        return Err("behind the `:` there is no hash; a password does not stand in this file".into());
    }
    let algorithm = text.split('$').nth(1).unwrap_or_default();
    if Algorithm::new(algorithm) != Ok(Algorithm::Argon2id) {
        return Err(format!("the hash is of {}, not of argon2id", shown(algorithm)));
    }
    let hash = PasswordHash::new(text).map_err(|error| format!("the hash is not a PHC string: {error}"))?;
    if hash.salt.is_none() || hash.hash.is_none() {
        return Err("the hash is not complete".into());
    }
    if hash.version.is_some_and(|version| version != 19) {
        return Err("the hash is of an Argon2 version other than 19".into());
    }
    let params = Params::try_from(&hash).map_err(|error| format!("the parameters of the hash are wrong: {error}"))?;
    if params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > PASSES_MAX || params.p_cost() > LANES_MAX {
        return Err(format!("the hash is too dear: at most m={MEMORY_KIB_MAX}, t={PASSES_MAX}, p={LANES_MAX} are verified"));
    }
    Ok(())
}

#[cfg(test)]
#[path = "password_tests.rs"]
mod tests;
