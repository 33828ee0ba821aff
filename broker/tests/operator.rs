//! The real process as whoever runs it meets it: a port that is taken, and an end that comes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candor_protocol::packet::{Qos, property};
use candor_protocol::session::Parked;
use candor_protocol::sim::Way;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;
use support::{Client, DEADLINE};

fn command(listen: &str, threads: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_candor-broker"));
    command.args(["--durability", "memory", "--listen", listen, "--threads", &threads.to_string()]);
    command
}

/// A broker in a process of its own, killed at the end.
struct Process {
    child: Option<Child>,
    address: String,
}

impl Process {
    fn start(threads: u16) -> Self {
        Self::start_with(threads, &[])
    }

    fn start_with(threads: u16, flags: &[&str]) -> Self {
        let mut child = command("mqtt://127.0.0.1:0", threads).args(flags).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening mqtt://").expect("the broker listens").to_owned();
        Self { child: Some(child), address }
    }

    /// Asks it to end, and waits until it has; `within` a time.
    fn end(mut self, within: Duration) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        let pid = Pid::from_child(&child);
        kill_process(pid, Signal::TERM).unwrap();
        let (tell, ended) = channel();
        let waiter = std::thread::spawn(move || tell.send(child.wait().unwrap()));
        let status = ended.recv_timeout(within);
        if status.is_err() {
            kill_process(pid, Signal::KILL).unwrap();
        }
        let _ = waiter.join();
        status.expect("it ends").code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

#[test]
fn a_port_is_served_by_one_broker_and_the_second_says_which_and_why() {
    for threads in [1, 3] {
        let first = Process::start(threads);
        let url = format!("mqtt://{}", first.address);
        let output = command(&url, threads).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{threads} threads: {said}");
        assert!(said.contains(&url) && said.contains("in use"), "{threads} threads: {said}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("listening"));
        assert!(Client::resume(&first.address, Way::Plain.settings("still-served"), Parked::default()).opened.is_some());
    }
}

#[test]
fn the_end_comes_although_a_subscriber_does_not_read() {
    const CONNECT_AND_SUBSCRIBE: &[u8] = &[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, b'd', 0x82, 6, 0, 1, 0, 1, b'a', 0];
    for threads in [1, 3] {
        let process = Process::start(threads);
        let mut deaf = TcpStream::connect(&process.address).unwrap();
        deaf.set_read_timeout(Some(DEADLINE)).unwrap();
        deaf.write_all(CONNECT_AND_SUBSCRIBE).unwrap();
        let mut answers = [0; 9];
        deaf.read_exact(&mut answers).unwrap();
        assert_eq!(answers, [0x20, 2, 0, 0, 0x90, 3, 0, 1, 0]);
        let mut publisher = Client::resume(&process.address, Way::Plain.settings("publisher"), Parked::default());
        // More than the sockets of both ends take.
        let payload = "x".repeat(256 * 1024);
        for _ in 0..64 {
            publisher.publish("a", &payload, Qos::AtLeastOnce);
        }
        assert_eq!(process.end(DEADLINE), Some(0), "{threads} threads");
        drop(deaf);
    }
}

#[test]
fn messages_are_stamped_where_the_operator_wants_it() {
    let process = Process::start_with(1, &["--node", "n1", "--stamps", "plant/#"]);
    for way in Way::ALL {
        let mut subscriber = Client::resume(&process.address, Way::Extended.settings("subscriber"), Parked::default());
        subscriber.subscribe("#", Qos::AtLeastOnce);
        let mut publisher = Client::resume(&process.address, way.settings("publisher"), Parked::default());
        for topic in ["plant/1", "office/1"] {
            publisher.publish(topic, "x", Qos::AtLeastOnce);
        }
        subscriber.until(|client| client.messages.len() == 2);
        let nodes: Vec<_> = subscriber.messages.iter().map(|message| message.dictionary.value(property::NODE)).collect();
        assert_eq!(nodes, [Some("n1".to_owned()), None], "{way:?}");
        [subscriber, publisher].into_iter().for_each(Client::leave);
    }
}
