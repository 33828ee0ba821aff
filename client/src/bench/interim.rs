//! A measurement that another thread can end: the runs that are complete, and what was started for the one that is not.

use super::report::{Report, Row};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What has come of a measurement so far. It is shared between the thread that measures and one that may have to end it.
#[derive(Debug, Clone, Default)]
pub struct Interim(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    report: Report,
    server: Started,
    is_over: bool,
}

/// What was started for a run. It is gone when nobody needs it any more.
#[derive(Debug, Default)]
struct Started {
    child: Option<Child>,
    folder: Option<PathBuf>,
}

impl Started {
    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It holds nothing that anybody needs.
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(folder) = self.folder.take() {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

impl Interim {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that panics leaves half of a change behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds rows; gives the place of the first.
    pub(super) fn begin(&self, rows: Vec<Row>) -> usize {
        let mut state = self.lock();
        let first = state.report.rows.len();
        if !state.is_over {
            state.report.rows.extend(rows);
        }
        first
    }

    /// Notes what a run came to. Once the measurement was ended, runs fail of that alone.
    pub(super) fn note(&self, at: usize, note: impl FnOnce(&mut Row)) {
        let mut state = self.lock();
        if !state.is_over
            && let Some(row) = state.report.rows.get_mut(at)
        {
            note(row);
        }
    }

    /// Makes a folder for what is to be started; `None` once the measurement was ended.
    pub(super) fn make_folder(&self, folder: &Path) -> Option<std::io::Result<()>> {
        let mut state = self.lock();
        if state.is_over {
            return None;
        }
        let made = std::fs::create_dir(folder);
        state.server.folder = made.is_ok().then(|| folder.to_owned());
        Some(made)
    }

    /// Starts a server and gives its process; `None` once the measurement was ended. There is no moment at which it runs and is not
    /// known here.
    pub(super) fn spawn(&self, spawn: impl FnOnce() -> std::io::Result<Child>) -> Option<std::io::Result<u32>> {
        let mut state = self.lock();
        if state.is_over {
            return None;
        }
        Some(spawn().map(|child| state.server.child.insert(child).id()))
    }

    /// Looks at the server that was started, where there is one.
    pub(super) fn with_child<T>(&self, look: impl FnOnce(&mut Child) -> T) -> Option<T> {
        self.lock().server.child.as_mut().map(look)
    }

    /// Ends what was started for a run.
    pub(super) fn end_server(&self) {
        self.lock().server.end();
    }

    /// All rows, now that the measurement is at its end; `None` when it was ended before, and another tells what came of it.
    pub fn end(&self) -> Option<Report> {
        let mut state = self.lock();
        (!std::mem::replace(&mut state.is_over, true)).then(|| std::mem::take(&mut state.report))
    }

    /// Ends the measurement: what was started stops at once, and nothing is started any more. Gives what is complete; `None` when the
    /// measurement has already come to its end.
    pub fn stop(&self) -> Option<Report> {
        let mut report = self.end()?;
        self.end_server();
        report.rows.retain(|row| !row.outcomes.is_empty() || !row.failures.is_empty() || row.not_measured.is_some());
        Some(report)
    }
}
