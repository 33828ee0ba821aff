//! A runtime on a thread of its own, for clients that are tasks. When it is dropped, its tasks and their sockets are gone
//! without a farewell, as after a crash.

use crate::outcome::{Checked, Stop};
use crate::wire::patience;
use std::future::Future;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

pub struct Engine {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// # Errors
    /// The system has no thread or socket left.
    pub fn start() -> Checked<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("client".into()).spawn(move || {
            // An error says that the engine was dropped without being stopped, which ends it too.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits for something that was promised.
    ///
    /// # Errors
    /// It does not happen within [`patience`].
    pub fn wait<T>(&self, what: &str, future: impl Future<Output = T>) -> Checked<T> {
        self.wait_within(patience(), future).ok_or_else(|| Stop::failed(format!("expected {what}, and nothing came in time")))
    }

    /// Waits for something that may happen; `None`: it did not.
    pub fn wait_within<T>(&self, patience: Duration, future: impl Future<Output = T>) -> Option<T> {
        self.handle.block_on(async { tokio::time::timeout(patience, future).await.ok() })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // The thread ends in any case.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
