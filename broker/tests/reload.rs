//! SIGHUP, with the real process: what is reloaded, when clients feel it, and what a bad file does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candor_protocol::packet::{Qos, Reason};
use candor_protocol::session::{Cause, Parked};
use candor_protocol::sim::Way;
use rcgen::{CertificateParams, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use support::{Client, DEADLINE};

/// A folder for one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("candor-reload-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A certificate for `localhost` and its key in the two files; what a client has to trust.
    fn certify(&self) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        self.write("server.pem", &certificate.pem());
        self.write("server.key", &key.serialize_pem());
        certificate.der().clone()
    }

    fn passwd(&self, user: &str, password: &str, flags: &[&str]) -> PathBuf {
        let file = self.0.join("passwords");
        let mut command = Command::new(env!("CARGO_BIN_EXE_candor-broker"));
        let mut child = command.arg("passwd").args(flags).arg(&file).arg(user).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
        assert!(child.wait().unwrap().success());
        file
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The process, and what it says.
struct Process {
    child: Child,
    /// The addresses it serves, without their scheme.
    addresses: Vec<String>,
    log: Receiver<String>,
}

impl Process {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_candor-broker"));
        let mut child =
            command.args(["--durability", "memory"]).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (say, log) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| say.send(line)));
        let listeners = arguments.iter().filter(|argument| **argument == "--listen").count();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let addresses = stdout.lines().take(listeners).map(|line| line.unwrap().split_once("://").unwrap().1.to_owned()).collect();
        Self { child, addresses, log }
    }

    /// Waits until a line of the log has all of `words`.
    fn until_log(&self, words: &[&str]) -> String {
        loop {
            let line = self.log.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("no line with {words:?}"));
            if words.iter().all(|word| line.contains(word)) {
                return line;
            }
        }
    }

    fn hang_up(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
    }

    fn reload(&self) {
        self.hang_up();
        self.until_log(&[" reloaded"]);
    }

    fn connect(&self, way: Way, id: &str, user: Option<(&str, &str)>) -> Client {
        let mut settings = way.settings(id);
        if let Some((user, password)) = user {
            (settings.connect.user_name, settings.connect.password) = (Some(user.to_owned()), Some(password.as_bytes().to_vec().into()));
        }
        Client::resume(&self.addresses[0], settings, Parked::default())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

const MAY: &str = "default = \"allow\"\n";
const MAY_NOT: &str = "default = \"allow\"\n[[rule]]\naction = \"deny\"\npublish = \"a/#\"\nsubscribe = \"s/#\"\n";

#[test]
fn new_rules_hold_for_the_next_packet_of_clients_that_are_connected() {
    let folder = Folder::new();
    let rules = folder.write("rules.toml", MAY);
    let process = Process::start(&["--listen", "mqtt://127.0.0.1:0", "--rules-file", path(&rules)]);
    let mut publisher = process.connect(Way::Extended, "publisher", None);
    let mut subscriber = process.connect(Way::Extended, "subscriber", None);
    assert_eq!(subscriber.subscribe("a/#", Qos::AtLeastOnce), Reason(1));
    assert_eq!(subscriber.subscribe("s/x", Qos::AtLeastOnce), Reason(1));
    assert_eq!(subscriber.subscribe("$feedback/#", Qos::AtLeastOnce), Reason(1));
    assert!(publisher.publish("a/b", "1", Qos::AtLeastOnce).unwrap().refusal().is_none());
    assert_eq!(subscriber.expect(1), ["a/b 1"]);

    folder.write("rules.toml", MAY_NOT);
    process.reload();
    let refusal = publisher.publish("a/b", "2", Qos::AtLeastOnce).unwrap().refusal().unwrap();
    assert_eq!(refusal.reason, Reason::NOT_AUTHORIZED);
    assert!(refusal.problem.rule.as_deref().unwrap().contains("rules.toml:2"), "{refusal}");
    // A subscription that would be refused now has ended, and its client is told.
    let told = subscriber.expect(1).remove(0);
    assert!(told.starts_with("$feedback/subscribe ") && told.contains("\"topic\":\"s/x\""), "{told}");

    folder.write("rules.toml", MAY);
    process.reload();
    assert!(publisher.publish("a/b", "3", Qos::AtLeastOnce).unwrap().refusal().is_none());
    assert_eq!(subscriber.expect(1), ["a/b 3"]);
}

#[test]
fn a_bad_file_changes_nothing_and_is_named_with_its_place() {
    let folder = Folder::new();
    let rules = folder.write("rules.toml", MAY);
    let passwords = folder.passwd("ann", "one", &[]);
    let process = Process::start(&["--listen", "mqtt://127.0.0.1:0", "--rules-file", path(&rules), "--password-file", path(&passwords)]);
    let mut client = process.connect(Way::Plain, "client", None);

    // The password file is good and has a new user; the rules file is bad: neither has an effect.
    folder.passwd("bob", "two", &[]);
    folder.write("rules.toml", "default = \"deny\"\n[[rule]]\naction = \"perhaps\"\n");
    process.hang_up();
    process.until_log(&["ERROR", "not reloaded, everything stays as it was", "rules.toml:3"]);
    assert!(client.publish("a/b", "1", Qos::AtLeastOnce).unwrap().refusal().is_none());
    assert!(process.connect(Way::Extended, "bob's", Some(("bob", "two"))).opened.is_none());

    folder.write("rules.toml", MAY);
    process.reload();
    assert!(process.connect(Way::Extended, "bob's", Some(("bob", "two"))).opened.is_some());
}

#[test]
fn a_user_who_was_taken_out_is_sent_away() {
    let folder = Folder::new();
    folder.passwd("ann", "one", &[]);
    let passwords = folder.passwd("bob", "two", &[]);
    let process = Process::start(&["--listen", "mqtt://127.0.0.1:0", "--password-file", path(&passwords)]);
    let mut ann = process.connect(Way::Extended, "ann's", Some(("ann", "one")));
    let mut bob = process.connect(Way::Extended, "bob's", Some(("bob", "two")));
    folder.passwd("bob", "", &["--delete"]);
    process.reload();
    let cause = bob.expect_close();
    assert!(matches!(&cause, Cause::PeerLeft { reason: Reason::NOT_AUTHORIZED, .. }), "{cause:?}");
    assert!(ann.publish("a/b", "1", Qos::AtLeastOnce).unwrap().refusal().is_none());
}

#[test]
fn a_new_certificate_is_shown_to_the_next_connection() {
    let folder = Folder::new();
    let old = folder.certify();
    let (certificate, key) = (folder.0.join("server.pem"), folder.0.join("server.key"));
    let process = Process::start(&["--listen", "mqtts://127.0.0.1:0", "--tls-cert", path(&certificate), "--tls-key", path(&key)]);
    assert!(is_trusted(&process, &old));
    let new = folder.certify();
    process.reload();
    assert!(is_trusted(&process, &new) && !is_trusted(&process, &old));

    // A key that does not belong to the certificate: the pair stays that was in force.
    folder.write("server.key", &KeyPair::generate().unwrap().serialize_pem());
    process.hang_up();
    process.until_log(&["ERROR", "not reloaded", "server.key does not belong to the first certificate"]);
    assert!(is_trusted(&process, &new));
}

/// Whether a client that trusts this certificate alone is content with what the broker shows.
fn is_trusted(process: &Process, certificate: &CertificateDer<'static>) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut stream = TcpStream::connect(&process.addresses[0]).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    while client.is_handshaking() {
        if client.complete_io(&mut stream).is_err() {
            return false;
        }
    }
    true
}
