//! What peers can make the real process write: nothing that ends a line or acts on a terminal, nothing without a bound, and not as
//! often as they like.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candor_protocol::packet::{Problem, Qos, Reason, Refusal};
use candor_protocol::session::{Outcome, Parked};
use candor_protocol::sim::Way;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use support::{Client, named};

const FORGED: &str = "\n2026-01-01T00:00:00Z ERROR forged\r\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\u{202e}";

struct Process {
    child: Child,
    address: String,
    /// Reads on, so that the process never waits for it.
    log: JoinHandle<String>,
}

impl Process {
    fn start(format: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_candor-broker"));
        command.args([
            "--listen",
            "mqtt://127.0.0.1:0",
            "--threads",
            "2",
            "--durability",
            "memory",
            "--log",
            "debug",
            "--log-format",
            format,
        ]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening mqtt://").expect("the broker listens").to_owned();
        let mut stderr = child.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            stderr.read_to_string(&mut log).unwrap();
            log
        });
        Self { child, address, log }
    }

    fn connect(&self, way: Way, id: &str) -> Client {
        Client::resume(&self.address, way.settings(id), Parked::default())
    }

    /// Everything that it has written, once it has ended as it was told to.
    fn end(mut self) -> String {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
        self.log.join().unwrap()
    }
}

#[test]
fn no_name_of_a_peer_ends_a_line_or_acts_on_a_terminal_or_has_no_end() {
    for format in ["text", "json"] {
        let process = Process::start(format);
        for way in Way::ALL {
            let id = format!("{FORGED}{}", "x".repeat(20_000));
            let mut client = process.connect(way, &id);
            let topic = format!("$SYS/{FORGED}{}", "y".repeat(20_000));
            client.publish(&topic, "refused", Qos::AtMostOnce);
            client.settle_down();
            assert!(client.closed.is_none(), "{way:?}: {:?}", client.closed);
            client.leave();
        }
        // A user whom nobody can verify.
        let settings = named(Way::Extended.settings("somebody"), FORGED);
        assert!(Client::resume(&process.address, settings, Parked::default()).closed.is_some());
        // A reason in a subscriber's own words.
        let (mut subscriber, mut publisher) = (process.connect(Way::Extended, "subscriber"), process.connect(Way::Plain, "publisher"));
        let problem = Problem::titled(FORGED).detail(FORGED).rule(FORGED).field(FORGED);
        subscriber.settles = Some(Outcome::refused(Refusal::new(Reason::REJECTED, problem)));
        subscriber.subscribe("a", Qos::AtLeastOnce);
        publisher.publish("a", "x", Qos::AtLeastOnce);
        subscriber.expect(1);
        subscriber.leave();
        publisher.leave();
        let log = process.end();
        assert!(log.contains("forged"), "nothing of it was logged: {log}");
        for line in log.lines() {
            let begins = if format == "json" { line.starts_with('{') } else { line.starts_with("20") && line.contains('T') };
            assert!(begins && !line.starts_with("2026-01-01T00:00:00Z ERROR"), "{line:?}");
            assert!(line.len() < 6000, "{} bytes: {line:?}", line.len());
            let acts = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            assert!(!line.contains(acts), "{line:?}");
        }
    }
}

#[test]
fn a_flood_of_refusals_is_told_as_a_number() {
    let process = Process::start("text");
    let mut client = process.connect(Way::Extended, "client");
    for n in 0..500 {
        let refusal = client.publish(&format!("$SYS/{n}"), "refused", Qos::AtLeastOnce).unwrap().refusal().unwrap();
        assert_eq!(refusal.reason, Reason::TOPIC_NAME_INVALID);
    }
    client.leave();
    let log = process.end();
    let (written, told): (Vec<&str>, Vec<&str>) = log
        .lines()
        .filter(|line| line.contains("verdicts: refused") || line.contains("`refused`"))
        .partition(|line| !line.contains("suppressed"));
    assert!((50..100).contains(&written.len()), "{} lines", written.len());
    let suppressed: u64 = told.iter().map(|line| line.split("suppressed=").nth(1).unwrap().trim().parse::<u64>().unwrap()).sum();
    assert_eq!(written.len() as u64 + suppressed, 500, "{told:?}");
}
