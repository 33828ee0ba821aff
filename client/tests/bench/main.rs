//! `candor bench` against servers that do right, and against a relay that does wrong on purpose: every count is seen to count.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod broker;
mod command;
mod faults;
mod loads;
#[path = "../client/support/place.rs"]
mod place;

use candor_client::bench::{BenchError, Endpoint, Fault, Floor, Pins, Plan, Report, Row, Source, Target, run};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A relay in a thread of its own.
struct Relay {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    fn start(fault: Fault) -> Self {
        let floor = Floor::bind((Ipv4Addr::LOCALHOST, 0).into(), fault).unwrap();
        let (address, stop) = (floor.address().unwrap(), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || floor.run(&stop).unwrap()
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))) || std::thread::panicking(), "the relay ended in a panic");
    }
}

/// A plan of so many messages, which ends when they have come and not when a time has passed.
fn plan(kind: candor_client::bench::Kind, qos: u8, count: u64) -> Plan {
    Plan { kind, qos, count, time: Duration::from_secs(60), stall: Duration::from_secs(20), ..Plan::default() }
}

fn target(address: SocketAddr) -> Target {
    Target { name: "it".into(), source: Source::Running { endpoint: Endpoint::at(address), pid: Some(std::process::id()) } }
}

fn measure(plan: &Plan, address: SocketAddr) -> Result<Report, BenchError> {
    run(std::slice::from_ref(plan), &[target(address)], Pins::default(), 1, &mut |_, _| {})
}

/// The one row of a run that came to something.
fn row(plan: &Plan, address: SocketAddr) -> Row {
    let mut report = measure(plan, address).unwrap();
    let row = report.rows.remove(0);
    assert_eq!(row.failures, Vec::<String>::new());
    assert_eq!(row.outcomes.len(), 1);
    row
}
