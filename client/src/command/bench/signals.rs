//! Signals that end a measurement: nothing that was started lives on, and what is complete is told.

use crate::bench::{Interim, Report};
use std::io;
use std::process;
use std::sync::mpsc;
use std::thread;
use tokio::signal::unix::{SignalKind, signal};

/// Waits for such a signal in a thread of its own, since the one that measures waits for nothing else than its sockets. `tell` is given
/// what is complete, then the process ends with the status that a shell gives to one that a signal ended.
///
/// # Errors
/// There is no thread or no handler to be had.
pub(super) fn watch(interim: Interim, tell: impl FnOnce(&'static str, &Report) + Send + 'static) -> io::Result<()> {
    let (ready, is_ready) = mpsc::channel();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(error))),
        };
        runtime.block_on(wait(interim, tell, ready));
    })?;
    // Nothing is started before whoever has to stop it is there.
    is_ready.recv().map_err(io::Error::other)?
}

async fn wait(interim: Interim, tell: impl FnOnce(&'static str, &Report) + Send + 'static, ready: mpsc::Sender<io::Result<()>>) {
    let (came, mut next) = tokio::sync::mpsc::channel(1);
    let ignored = ignored();
    let kinds = [("SIGINT", SignalKind::interrupt()), ("SIGTERM", SignalKind::terminate()), ("SIGHUP", SignalKind::hangup())];
    for (name, kind) in kinds {
        let number = kind.as_raw_value();
        // As under `nohup`: who ignores it means all that he starts.
        if ignored >> (number - 1) & 1 == 1 {
            continue;
        }
        let mut signal = match signal(kind) {
            Ok(signal) => signal,
            Err(error) => return drop(ready.send(Err(error))),
        };
        let came = came.clone();
        tokio::spawn(async move { while signal.recv().await.is_some() && came.send((name, 128 + number)).await.is_ok() {} });
    }
    drop(came);
    let _ = ready.send(Ok(()));
    let Some((name, status)) = next.recv().await else { return };
    let complete = interim.stop();
    // In a thread of its own, so that a second signal ends a process whose output nobody takes.
    let told = thread::Builder::new().spawn(move || {
        if let Some(report) = complete {
            tell(name, &report);
        }
        process::exit(status);
    });
    if told.is_ok() {
        let _ = next.recv().await;
    }
    process::exit(status);
}

/// The signals that whoever started this process has it ignore, a bit each.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
