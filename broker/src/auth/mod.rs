//! Users and rights: who is admitted, and what each may do.
//!
//! ```text
//! CONNECT ─▶ Access::connect ─┬─▶ Decided ──────────────────────────────┐
//!                             └─▶ Verify: run() in a bounded pool ──────┴─▶ Admitted { principal, rights } or a Refusal
//! PUBLISH, SUBSCRIBE, will ─▶ Rights::{publish, subscribe, will} ─▶ Grant or a Refusal that names its rule
//! ```
//!
//! [`Access`] is made from the files and never changed; on a reload a new one takes its place, and [`Access::again`] says what that
//! means for clients that are connected.

pub mod against;
pub mod passwd;
pub mod password;
pub mod pattern;
pub mod rights;
pub mod rules;

use crate::config::diagnostic::{Diagnostic, Diagnostics, Origin};
use crate::config::listener::Anonymous;
use crate::config::resolve::Loaded;
use crate::config::source::Source;
use crate::config::{self, AccessFiles};
use candor_protocol::packet::id::Qos;
use candor_protocol::packet::problem::{Problem, Refusal, Retry};
use candor_protocol::packet::reason::Reason;
use candor_protocol::packet::topic::TopicFilter;
use candor_protocol::shown::Shown;
use password::{Check, Denial, Passwords, Verification};
pub use rights::{Grant, Rights};
use rules::{Action, Rules};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Who is at the other end. A session belongs to one; two are the same if they have the same name, however they proved it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Principal {
    Anonymous,
    User(Arc<str>),
}

impl Principal {
    /// The user name; `None` for an anonymous client.
    pub fn user(&self) -> Option<&str> {
        match self {
            Principal::Anonymous => None,
            Principal::User(name) => Some(name),
        }
    }

    /// The user name; empty for an anonymous client.
    pub fn name(&self) -> Arc<str> {
        match self {
            Principal::Anonymous => Arc::default(),
            Principal::User(name) => Arc::clone(name),
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Principal::Anonymous => f.write_str("anonymous"),
            Principal::User(name) => write!(f, "user {name:?}"),
        }
    }
}

/// How a client became its principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// It showed nothing, and the listener takes that.
    Anonymous,
    Password,
    /// The name is that of its TLS certificate.
    Certificate,
}

impl Method {
    /// The name in listings of clients.
    pub const fn name(self) -> &'static str {
        match self {
            Method::Anonymous => "anonymous",
            Method::Password => "password",
            Method::Certificate => "certificate",
        }
    }
}

/// What a client shows when it connects.
#[derive(Debug, Clone, Copy)]
pub struct Credentials<'a> {
    pub user: Option<&'a str>,
    pub password: Option<&'a [u8]>,
    /// The identifier that the session will have: where the client sent none, the one that the server chose.
    pub client_id: &'a str,
    /// Whether the address of the peer is a loopback address.
    pub peer_is_loopback: bool,
    /// The name in a client certificate that TLS has verified.
    pub tls_name: Option<&'a str>,
}

/// A client that was let in.
#[derive(Debug, Clone)]
pub struct Admitted {
    pub principal: Principal,
    pub method: Method,
    pub rights: Arc<Rights>,
}

/// The answer to a CONNECT, or the work that it takes.
#[derive(Debug)]
pub enum Connecting {
    Decided(Result<Admitted, Refusal>),
    /// To be run where it blocks no connection; see [`AdmissionJob`].
    Verify(AdmissionJob),
}

/// Verifies a password, then finds the rights. `Send`: for a bounded pool of threads; where its queue is full, answer [`busy`].
#[derive(Debug)]
#[must_use = "a client whose password is not verified is never answered"]
pub struct AdmissionJob {
    access: Arc<Access>,
    verification: Verification,
    client_id: Box<str>,
}

/// Users and rules, as the files have them.
#[derive(Debug)]
pub struct Access {
    passwords: Option<Arc<Passwords>>,
    rules: Option<Arc<Rules>>,
    /// What everybody may where there is no rules file.
    open: Arc<Rights>,
}

impl Default for Access {
    fn default() -> Self {
        Self { passwords: None, rules: None, open: Arc::new(Rights::open()) }
    }
}

impl Access {
    /// Reads the files. What `previous` has verified stays verified where the entry is the same.
    ///
    /// # Errors
    /// Everything that is wrong in them; then `previous` stays in force.
    pub fn load(files: &AccessFiles, previous: Option<&Access>) -> Result<(Access, Diagnostics), Diagnostics> {
        let mut access = Access::default();
        let mut found = Diagnostics::default();
        if let Some(path) = &files.password_file {
            let known = previous.and_then(|previous| previous.passwords.as_deref());
            let source = Source::read_secret(path, password::LEN_MAX).map_err(Diagnostics::from);
            match source.and_then(|source| Passwords::parse(&source, known)) {
                Ok(passwords) => access.passwords = Some(Arc::new(passwords)),
                Err(errors) => found.extend(errors),
            }
            found.extend(readable_by_others(path));
        }
        if let Some(path) = &files.rules_file {
            match Source::read(path, rules::LEN_MAX).map_err(Diagnostics::from).and_then(|source| Rules::parse(&source)) {
                Ok((rules, warnings)) => {
                    access.rules = Some(Arc::new(rules));
                    found.extend(warnings);
                }
                Err(errors) => found.extend(errors),
            }
        }
        found.unless_errors(access)
    }

    /// Access without files but with these rules, for programs that make them themselves, and for tests.
    pub fn with_rules(rules: Rules) -> Self {
        Self { rules: Some(Arc::new(rules)), ..Self::default() }
    }

    /// Decides whether a client is let in. A user name with a password is verified; a client certificate stands for the name in it;
    /// without either it is for `anonymous`, the listener's policy, to say.
    ///
    /// A user name that nobody can verify is refused, never taken for granted and never ignored.
    pub fn connect(self: &Arc<Self>, credentials: Credentials<'_>, anonymous: Anonymous) -> Connecting {
        let Credentials { user, password, client_id, peer_is_loopback, tls_name } = credentials;
        // An empty name is nobody's.
        let tls_name = tls_name.filter(|name| !name.is_empty());
        let principal = match (user, tls_name) {
            (None, None) => match anonymous {
                Anonymous::Always => (Principal::Anonymous, Method::Anonymous),
                Anonymous::Loopback if peer_is_loopback => (Principal::Anonymous, Method::Anonymous),
                policy => return Connecting::Decided(Err(no_credentials(policy))),
            },
            (None, Some(name)) => (Principal::User(name.into()), Method::Certificate),
            // The certificate has proved the name already.
            (Some(user), Some(name)) if user == name => (Principal::User(name.into()), Method::Certificate),
            (Some(user), _) => match (&self.passwords, password) {
                (None, _) => return Connecting::Decided(Err(no_passwords())),
                (Some(_), None) => return Connecting::Decided(Err(bad_credentials())),
                (Some(passwords), Some(password)) => match passwords.check(user, password) {
                    Check::Right => (Principal::User(user.into()), Method::Password),
                    Check::Unknown(verification) => {
                        let access = self.clone();
                        return Connecting::Verify(AdmissionJob { access, verification, client_id: client_id.into() });
                    }
                },
            },
        };
        Connecting::Decided(self.admit(principal, client_id))
    }

    fn admit(&self, (principal, method): (Principal, Method), client_id: &str) -> Result<Admitted, Refusal> {
        let rights = self.rights(&principal, client_id)?;
        Ok(Admitted { principal, method, rights })
    }

    /// The rights of a principal under a client identifier.
    ///
    /// # Errors
    /// A rule denies connecting, or none allows it.
    pub fn rights(&self, principal: &Principal, client_id: &str) -> Result<Arc<Rights>, Refusal> {
        let Some(rules) = &self.rules else { return Ok(self.open.clone()) };
        let decides = rules.iter().find(|rule| rule.connect && rule.is_about(principal.user(), client_id));
        let (action, label) = decides.map_or((rules.default, &rules.default_label), |rule| (rule.action, &rule.label));
        match action {
            Action::Allow => Ok(Arc::new(Rights::compile(rules, principal.user(), client_id))),
            Action::Deny => {
                let detail = if decides.is_some() { "the rule denies it" } else { "no rule allows it" };
                let problem = Problem::titled("this client may not connect").detail(detail).rule(&**label);
                let problem = problem.missing_scope(rights::scope("connect", client_id.as_bytes())).retry(Retry::Changed);
                Err(Refusal::new(Reason::NOT_AUTHORIZED, problem))
            }
        }
    }

    /// What a reload means for a client that is connected: its new rights, or why it would not be let in any more.
    ///
    /// A password that has changed does not end a connection; a user that was taken out does.
    ///
    /// # Errors
    /// The user is not in the password file any more, or the rules deny connecting.
    pub fn again(&self, principal: &Principal, method: Method, client_id: &str) -> Result<Arc<Rights>, Refusal> {
        let known = |user: &str| self.passwords.as_ref().is_some_and(|passwords| passwords.knows(user));
        if method == Method::Password && !principal.user().is_some_and(known) {
            let problem = Problem::titled("this user was taken out").retry(Retry::Changed);
            return Err(Refusal::new(Reason::NOT_AUTHORIZED, problem));
        }
        self.rights(principal, client_id)
    }

    /// What `client` has and does that would be refused here, each as the refusal it would get.
    pub fn denials(&self, client: &Client<'_>) -> Vec<Refusal> {
        let rights = match self.again(client.principal, client.method, client.client_id) {
            Ok(rights) => rights,
            Err(refusal) => return vec![refusal],
        };
        let published = client.publishes.iter().filter_map(|topic| rights.publish(topic.as_bytes(), Qos::AtMostOnce, false).err());
        let subscribed = client.subscriptions.iter().filter_map(|filter| rights.subscribe(filter).err());
        published.chain(subscribed).collect()
    }

    /// How many users the password file has; `None`: there is no file.
    pub fn users(&self) -> Option<usize> {
        self.passwords.as_ref().map(|passwords| passwords.len())
    }

    /// The rules; `None`: there is no file.
    pub fn rules(&self) -> Option<&Rules> {
        self.rules.as_deref()
    }

    /// What `--check` prints about users and rules.
    pub fn report(&self) -> String {
        let users = match self.users() {
            None => "users: no password file".to_owned(),
            Some(count) => format!("users: {count}"),
        };
        match self.rules() {
            None => format!("{users}\nrules: none; whoever is admitted may do everything but publish to topics that begin with $\n"),
            Some(rules) => format!("{users}\nrules: {}, default {}\n", rules.len(), rules.default),
        }
    }
}

/// A client as it is, for [`Access::denials`].
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    pub principal: &'a Principal,
    pub method: Method,
    pub client_id: &'a str,
    /// Topics that it has published to.
    pub publishes: &'a [&'a str],
    pub subscriptions: &'a [TopicFilter],
}

impl AdmissionJob {
    /// Bytes that [`AdmissionJob::run`] needs for as long as it runs, beside a few kilobytes.
    pub fn memory_bytes(&self) -> u64 {
        self.verification.memory_bytes()
    }

    /// Does the work: some 40 ms of a core with the usual parameters.
    ///
    /// # Errors
    /// The refusal; it is the same for a wrong password and for a user who does not exist.
    pub fn run(self) -> Result<Admitted, Refusal> {
        let user: Arc<str> = self.verification.user_name().into();
        match self.verification.run() {
            Ok(()) => self.access.admit((Principal::User(user), Method::Password), &self.client_id),
            Err(Denial::Failed) => {
                tracing::error!(user = %Shown::new(&user), "a password could not be verified for want of memory");
                Err(busy(1000))
            }
            Err(denial) => {
                tracing::info!(user = %Shown::new(&user), client = %Shown::new(&self.client_id), ?denial, "a password was refused");
                Err(bad_credentials())
            }
        }
    }
}

/// The refusal of a client whose password cannot be verified now, since as many as may wait are waiting.
pub fn busy(after_ms: u64) -> Refusal {
    let problem = Problem::titled("too many passwords are being verified").retry(Retry::After { after_ms, jitter_ms: after_ms });
    Refusal::new(Reason::SERVER_BUSY, problem)
}

fn bad_credentials() -> Refusal {
    let problem = Problem::titled("this user name with this password is not known").retry(Retry::Changed);
    Refusal::new(Reason::BAD_USER_NAME_OR_PASSWORD, problem)
}

fn no_passwords() -> Refusal {
    let problem = Problem::titled("this server verifies no passwords").detail("it has no password file, so no user name is taken");
    Refusal::new(Reason::BAD_USER_NAME_OR_PASSWORD, problem.rule("password_file").retry(Retry::Changed))
}

fn no_credentials(policy: Anonymous) -> Refusal {
    let (rule, detail) = match policy {
        Anonymous::Loopback => ("anonymous = loopback", "only clients of the server's own machine may connect without"),
        Anonymous::Never | Anonymous::Always => ("anonymous = never", "nobody may connect without"),
    };
    let problem = Problem::titled("a user name and password, or a client certificate, are needed").detail(detail).rule(rule);
    Refusal::new(Reason::NOT_AUTHORIZED, problem.retry(Retry::Changed))
}

/// What `--check` does: reads the files that a configuration names, and tells what would be served, and what the clients of `against`
/// would lose.
///
/// # Errors
/// Everything that is wrong in them.
pub fn check(loaded: &Loaded, against: Option<&Path>) -> Result<(String, Diagnostics), Diagnostics> {
    let (access, warnings) = Access::load(&loaded.config.access, None)?;
    let mut all = loaded.warnings.clone();
    all.extend(warnings);
    let against = against.map(|path| against::report(&access, path)).transpose()?;
    Ok((config::check::report(loaded) + &access.report() + &against.unwrap_or_default(), all))
}

fn readable_by_others(path: &Path) -> Diagnostics {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 == 0 {
        return Diagnostics::default();
    }
    let what = format!("others than its owner may read or write it (mode {:03o})", mode & 0o777);
    Diagnostic::warning(Origin::Path(path.display().to_string()), what).help(format!("chmod 600 {}", path.display())).into()
}

#[cfg(test)]
mod tests;
