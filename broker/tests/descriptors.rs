//! The real process and its limit of open files: idle connections leave the store what it needs, and a listener without descriptors
//! serves again when there are some.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candor_protocol::packet::Qos;
use candor_protocol::session::Parked;
use candor_protocol::sim::Way;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use support::{Client, DEADLINE, Folder, stored_everywhere};

struct Process {
    child: Child,
    address: String,
    log: Receiver<String>,
}

impl Process {
    /// A broker that may have `files` open, and no more by its own will.
    fn start(files: u32, arguments: &[&str]) -> Self {
        let shell = format!("ulimit -S -n {}; ulimit -H -n {files}; exec \"$0\" \"$@\"", files.min(40));
        let mut command = Command::new("sh");
        command.args(["-c", &shell, env!("CARGO_BIN_EXE_candor-broker"), "--listen", "mqtt://127.0.0.1:0"]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (said, log) = channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(said.send(line))));
        let address = line.trim().strip_prefix("listening mqtt://").map(str::to_owned);
        let address = address.unwrap_or_else(|| panic!("{:?}", log.iter().collect::<Vec<_>>()));
        Self { child, address, log }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn connect(&self, way: Way, id: &str) -> Client {
        Client::resume(&self.address, stored_everywhere(way, id), Parked::default())
    }

    fn open_files(&self) -> u64 {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count() as u64
    }

    fn segments(data_dir: &Path) -> usize {
        let names = std::fs::read_dir(data_dir).unwrap().map(|entry| entry.unwrap().path());
        names.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).count()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn idle_connections_leave_the_store_the_files_that_it_needs() {
    const FILES: u32 = 150;
    let folder = Folder::new();
    let data_dir = folder.0.join("data");
    let arguments = ["--threads", "1", "--connections-max", "20", "--connections-pending-max", "40", "--data-dir"];
    let process = Process::start(FILES, &[&arguments[..], &[data_dir.to_str().unwrap()]].concat());
    let _flood: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(&process.address).unwrap()).collect();
    // More connections than there may be files wait already, and each has its second.
    let mut absent = process.connect(Way::Extended, "absent");
    absent.subscribe("kept/#", Qos::AtLeastOnce);
    absent.lose_connection();
    let mut publisher = process.connect(Way::Offer, "publisher");
    let (before, payload) = (Process::segments(&data_dir), "x".repeat(1024 * 1024));
    let mut count = 0;
    while Process::segments(&data_dir) == before {
        let outcome = publisher.publish("kept/a", &payload, Qos::AtLeastOnce).unwrap();
        assert_eq!(outcome.refusal(), None, "after {count} messages");
        count += 1;
        assert!(count < 500, "no segment was begun");
    }
    assert!(process.open_files() < u64::from(FILES));
}

#[test]
fn a_listener_without_descriptors_serves_again_when_there_are_some() {
    let process = Process::start(200, &["--threads", "1", "--durability", "memory", "--log", "debug"]);
    // Once it has served somebody it has all files open that it needs for itself.
    process.connect(Way::Plain, "before").leave();
    let few = Rlimit { current: Some(process.open_files() + 3), maximum: Some(200) };
    let raised = prlimit(Some(process.pid()), Resource::Nofile, few).unwrap();
    assert_eq!((raised.current, raised.maximum), (Some(200), Some(200)), "the process has raised its limit as far as it may");
    let crowd: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(&process.address).unwrap()).collect();
    let until = std::time::Instant::now() + DEADLINE;
    while !process.log.recv_timeout(DEADLINE).expect("the log says so").contains("cannot accept") {
        assert!(std::time::Instant::now() < until);
    }
    drop(crowd);
    process.connect(Way::Plain, "after").leave();
    let told = process.log.try_iter().filter(|line| line.contains("cannot accept")).count();
    assert!(told < 60, "the listener spins: {told} lines in a moment");
}
