//! The way to a store: records are queued by the task of a client and kept by a thread, as many at once as queued while it was busy.

use super::{Record, SessionStore, StoreError, StoredSession};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// How far a store has come.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Progress {
    /// So many records, from the first on, are kept.
    pub(crate) kept: u64,
    /// Nothing more is kept.
    pub(crate) failed: Option<StoreError>,
}

/// A journal; a clone is the same one. Without a store nothing is recorded, and everything counts as kept.
///
/// What waits in it is bounded by what it is about: messages by the limits of the client's queue, steps of exchanges by both windows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Journal(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    desk: Mutex<Desk>,
    due: Condvar,
    progress: watch::Receiver<Progress>,
}

#[derive(Debug, Default)]
struct Desk {
    waiting: Vec<Record>,
    recorded: u64,
    /// What waits is to be kept now.
    due: bool,
    /// The client has ended.
    closed: bool,
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the thread, when it is closed or dropped.
#[derive(Debug)]
pub(crate) struct Closer(Arc<Shared>);

impl Closer {
    /// Ends the thread and waits until it uses the store no more.
    pub(crate) async fn close(self) {
        let mut progress = self.0.progress.clone();
        drop(self);
        while progress.changed().await.is_ok() {}
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.desk().closed = true;
        self.0.due.notify_one();
    }
}

impl Journal {
    /// Starts the thread of a store, and says what is kept there.
    ///
    /// # Errors
    /// The session in the store is another client's, or there is no thread to be had.
    pub(crate) fn start(store: Arc<dyn SessionStore>, client_id: &str) -> Result<(Self, Closer, StoredSession), StoreError> {
        let session = store.load();
        if session.has_begun() && session.client_id != client_id {
            return Err(StoreError::OtherClient { kept: session.client_id, asked: client_id.to_owned() });
        }
        let (teller, progress) = watch::channel(Progress::default());
        let shared = Arc::new(Shared { desk: Mutex::default(), due: Condvar::new(), progress });
        let thread_shared = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("candor-store".to_owned());
        let started = thread.spawn(move || {
            keep_all(&*store, &thread_shared, &teller);
            // Whoever waits for the end of the teller finds the store free.
            drop(store);
            drop(teller);
        });
        started.map_err(|error| StoreError::Broken { cause: format!("its thread cannot start: {error}") })?;
        Ok((Self(Some(Arc::clone(&shared))), Closer(shared), session))
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Queues a record: bytes that are made from here on wait for it.
    pub(crate) fn record(&self, record: Record) {
        if let Some(shared) = &self.0 {
            let mut desk = shared.desk();
            desk.waiting.push(record);
            desk.recorded += 1;
        }
    }

    /// Has everything kept that is queued.
    pub(crate) fn flush(&self) {
        if let Some(shared) = &self.0 {
            let mut desk = shared.desk();
            if !desk.waiting.is_empty() {
                desk.due = true;
                shared.due.notify_one();
            }
        }
    }

    /// How many records there were so far.
    pub(crate) fn recorded(&self) -> u64 {
        self.0.as_ref().map_or(0, |shared| shared.desk().recorded)
    }

    /// Whether so many records are kept.
    pub(crate) fn has_kept(&self, records: u64) -> bool {
        self.0.as_ref().is_none_or(|shared| shared.progress.borrow().kept >= records)
    }

    /// Waits until more than `records` are kept or nothing is any more; for ever without a store. It may be dropped at any await.
    pub(crate) async fn kept_beyond(&self, records: u64) -> Progress {
        let Some(shared) = &self.0 else { return std::future::pending().await };
        let mut progress = shared.progress.clone();
        let ended = || Progress { kept: 0, failed: Some(StoreError::Broken { cause: "the thread of the store has ended".to_owned() }) };
        let waited = progress.wait_for(|progress| progress.kept > records || progress.failed.is_some()).await;
        waited.map_or_else(|_| ended(), |progress| progress.clone())
    }

    /// Has everything kept and waits for it.
    pub(crate) async fn finish(&self) -> Result<(), StoreError> {
        self.flush();
        match self.recorded() {
            0 => Ok(()),
            recorded => self.kept_beyond(recorded - 1).await.failed.map_or(Ok(()), Err),
        }
    }
}

/// The thread of a store.
fn keep_all(store: &dyn SessionStore, shared: &Shared, progress: &watch::Sender<Progress>) {
    loop {
        let group = {
            let mut desk = shared.desk();
            while !desk.due && !desk.closed {
                desk = shared.due.wait(desk).unwrap_or_else(PoisonError::into_inner);
            }
            desk.due = false;
            if desk.waiting.is_empty() && desk.closed {
                return;
            }
            std::mem::take(&mut desk.waiting)
        };
        match store.keep(&group) {
            Ok(()) => progress.send_modify(|progress| progress.kept += group.len() as u64),
            Err(error) => {
                progress.send_modify(|progress| progress.failed = Some(error));
                return;
            }
        }
    }
}
