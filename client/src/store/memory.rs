//! A session that outlives its client and ends with the process.

use super::{Record, SessionStore, StoreError, StoredSession};
use std::sync::{Mutex, PoisonError};

/// Keeps a session in memory: the next client that gets the same store carries on where this one ended. Nothing is left of it when the
/// process ends.
#[derive(Debug, Default)]
pub struct InMemory(Mutex<StoredSession>);

impl SessionStore for InMemory {
    fn load(&self) -> StoredSession {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, records: &[Record]) -> Result<(), StoreError> {
        let mut session = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.iter().for_each(|record| session.apply(record));
        Ok(())
    }
}
