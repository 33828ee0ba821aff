//! Where bytes wait until everything that was recorded before them is kept.

use crate::store::Journal;
use bytes::BytesMut;
use std::collections::VecDeque;

/// Bytes in their order, in stretches that wait for the same record. Its length counts to the outbox's limits.
#[derive(Debug, Default)]
pub(super) struct Gate {
    held: BytesMut,
    /// How many records each stretch waits for, and where it starts, counted from the first byte that ever waited.
    stretches: VecDeque<(u64, u64)>,
    passed: u64,
}

impl Gate {
    /// Where the next bytes are to be put: straight into the outbox when nothing is waited for.
    pub(super) fn way<'a>(&'a mut self, journal: &Journal, outbox: &'a mut BytesMut) -> &'a mut BytesMut {
        let recorded = journal.recorded();
        if self.stretches.is_empty() && journal.has_kept(recorded) {
            return outbox;
        }
        if self.stretches.back().is_none_or(|(records, _)| *records != recorded) {
            self.stretches.push_back((recorded, self.passed + self.held.len() as u64));
        }
        &mut self.held
    }

    /// Lets through what waits for nothing any more.
    pub(super) fn open(&mut self, journal: &Journal, outbox: &mut BytesMut) {
        while let Some((records, _)) = self.stretches.front().copied()
            && journal.has_kept(records)
        {
            self.stretches.pop_front();
            let len = self.stretches.front().map_or(self.held.len(), |(_, start)| (start - self.passed) as usize);
            self.passed += len as u64;
            outbox.extend_from_slice(&self.held.split_to(len));
        }
    }

    /// How many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// With more than so many records kept something is let through; `None`: nothing waits.
    pub(super) fn waits_beyond(&self) -> Option<u64> {
        self.stretches.front().map(|(records, _)| records.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Record, SessionStore, StoreError, StoredSession};
    use std::sync::{Arc, Mutex, mpsc};

    /// A store that keeps nothing before it is told to.
    #[derive(Debug)]
    struct Slow(Mutex<mpsc::Receiver<()>>);

    impl SessionStore for Slow {
        fn load(&self) -> StoredSession {
            StoredSession::default()
        }

        fn keep(&self, _records: &[Record]) -> Result<(), StoreError> {
            self.0.lock().unwrap().recv().map_err(|error| StoreError::Broken { cause: error.to_string() })
        }
    }

    #[tokio::test]
    async fn bytes_leave_in_their_order_when_what_was_recorded_before_them_is_kept() {
        let (allow, allowed) = mpsc::channel();
        let (journal, _closer, _) = Journal::start(Arc::new(Slow(Mutex::new(allowed))), "me").unwrap();
        let (mut gate, mut outbox) = (Gate::default(), BytesMut::new());
        gate.way(&journal, &mut outbox).extend_from_slice(b"free ");
        journal.record(Record::Lost);
        gate.way(&journal, &mut outbox).extend_from_slice(b"one ");
        journal.flush();
        journal.record(Record::Lost);
        gate.way(&journal, &mut outbox).extend_from_slice(b"two ");
        gate.way(&journal, &mut outbox).extend_from_slice(b"three");
        gate.open(&journal, &mut outbox);
        assert_eq!((&outbox[..], gate.len(), gate.waits_beyond()), (&b"free "[..], 13, Some(0)));
        let mut kept = 0;
        while gate.len() > 0 {
            journal.flush();
            allow.send(()).unwrap();
            assert_eq!(journal.kept_beyond(kept).await.failed, None);
            kept += 1;
            gate.open(&journal, &mut outbox);
        }
        assert_eq!(&outbox[..], b"free one two three");
        gate.way(&journal, &mut outbox).extend_from_slice(b", free");
        assert_eq!(&outbox[..], b"free one two three, free");
    }

    #[tokio::test]
    async fn behind_a_store_that_failed_nothing_leaves() {
        let (journal, _closer, _) = Journal::start(Arc::new(Slow(Mutex::new(mpsc::channel().1))), "me").unwrap();
        let (mut gate, mut outbox) = (Gate::default(), BytesMut::new());
        journal.record(Record::Lost);
        gate.way(&journal, &mut outbox).extend_from_slice(b"never");
        assert!(journal.finish().await.is_err());
        gate.open(&journal, &mut outbox);
        assert!(outbox.is_empty());
    }
}
