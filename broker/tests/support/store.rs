//! A store that outlives a broker in this process, and that fails when a test wants it to.

use candor_broker::message::Envelope;
use candor_broker::shard::Storage;
use candor_broker::store::memory::Memory;
use candor_broker::store::state::State;
use candor_broker::store::{Batch, Engine, MessageNumber, OpenEngine, Record, StoreError, Usage};
use candor_protocol::packet::Durability;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

#[derive(Debug, Default)]
struct Disk {
    memory: Mutex<Memory>,
    /// Everything that was ever kept.
    log: Mutex<Vec<Batch>>,
    fails: AtomicBool,
    holds: (Mutex<Hold>, Condvar),
}

#[derive(Debug, Default)]
struct Hold {
    /// Nothing is kept for now.
    is_on: bool,
    /// How many groups are kept all the same, each by one sync.
    let_through: usize,
    /// Something waits to be kept.
    is_waited_on: bool,
}

impl Disk {
    fn keep(&self, batches: &[Batch]) {
        let mut log = self.log.lock().unwrap();
        log.extend_from_slice(batches);
        self.memory.lock().unwrap().keep(batches).unwrap();
    }
}

/// What a broker keeps in it is there for the next one.
#[derive(Debug, Clone, Default)]
pub struct TestStore(Arc<Disk>);

impl TestStore {
    pub fn storage(&self) -> Storage {
        Storage::Engine(Arc::new(self.clone()))
    }

    /// From here on nothing is kept, or everything again.
    pub fn fail(&self, fails: bool) {
        self.0.fails.store(fails, Ordering::SeqCst);
    }

    /// From here on nothing is kept, and nothing refused either, or what waited is kept.
    pub fn hold(&self, holds: bool) {
        let (state, changed) = &self.0.holds;
        *state.lock().unwrap() = Hold { is_on: holds, ..Hold::default() };
        changed.notify_all();
    }

    /// What waits, and what came meanwhile, is kept in so many groups, and nothing more.
    pub fn let_through(&self, groups: usize) {
        let (state, changed) = &self.0.holds;
        state.lock().unwrap().let_through = groups;
        changed.notify_all();
    }

    /// Until something waits to be kept.
    pub fn until_it_holds(&self) {
        let (state, changed) = &self.0.holds;
        let mut state = state.lock().unwrap();
        while !state.is_waited_on {
            let (next, timeout) = changed.wait_timeout(state, super::DEADLINE).unwrap();
            assert!(!timeout.timed_out(), "nothing came that had to be kept");
            state = next;
        }
    }

    /// Until what is owed is as the test wants it.
    pub fn until(&self, done: impl Fn(&State) -> bool) {
        let (state, changed) = &self.0.holds;
        let mut state = state.lock().unwrap();
        while !self.look(&done) {
            let (next, timeout) = changed.wait_timeout(state, super::DEADLINE).unwrap();
            assert!(!timeout.timed_out(), "what was to be kept did not come");
            state = next;
        }
    }

    /// What a process would find that began now, as another store.
    pub fn snapshot(&self) -> Self {
        let other = Disk::default();
        other.keep(&self.0.log.lock().unwrap());
        Self(Arc::new(other))
    }

    /// As [`TestStore::snapshot`], kept by a clock that was ahead: whoever opens it finds the clock set back by `ms`.
    pub fn ahead_by(&self, ms: u64) -> Self {
        let mut log = self.0.log.lock().unwrap().clone();
        for record in log.iter_mut().flat_map(|batch| &mut batch.records) {
            match record {
                Record::SessionParked { expires_at_ms: Some(at_ms), .. } | Record::SessionEnded { unix_ms: at_ms, .. } => *at_ms += ms,
                Record::Message { envelope: Envelope { expires_at_ms: Some(at_ms), .. }, .. } => *at_ms += ms,
                _ => {}
            }
        }
        let other = Disk::default();
        other.keep(&log);
        Self(Arc::new(other))
    }

    /// Everything that was kept behind the first `count` records.
    pub fn since(&self, count: usize) -> Vec<Record> {
        self.0.log.lock().unwrap().iter().flat_map(|batch| &batch.records).skip(count).cloned().collect()
    }

    /// What is owed.
    pub fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(self.0.memory.lock().unwrap().state())
    }
}

impl OpenEngine for TestStore {
    fn open(&self) -> Result<Box<dyn Engine>, StoreError> {
        Ok(Box::new(Opened { disk: Arc::clone(&self.0), state: self.look(State::clone), failed: Vec::new() }))
    }
}

#[derive(Debug)]
struct Opened {
    disk: Arc<Disk>,
    /// As it was when the store was opened.
    state: State,
    /// What holds although it could not be kept, for later.
    failed: Vec<Batch>,
}

fn full() -> StoreError {
    StoreError::Full { file: "test".to_owned(), what: "the test wants it so".to_owned() }
}

impl Engine for Opened {
    fn durability(&self) -> Durability {
        Durability::Disk
    }

    fn keep(&mut self, batches: &[Batch]) -> Result<Durability, StoreError> {
        let (state, changed) = &self.disk.holds;
        let mut holds = state.lock().unwrap();
        while holds.is_on && holds.let_through == 0 {
            holds.is_waited_on = true;
            changed.notify_all();
            // A test that fails before it lets everything through must not wait for ever for the end of its broker.
            let (next, timeout) = changed.wait_timeout(holds, 3 * super::DEADLINE).unwrap();
            holds = next;
            holds.is_on &= !timeout.timed_out();
        }
        holds.let_through = holds.let_through.saturating_sub(1);
        drop(holds);
        if self.disk.fails.load(Ordering::SeqCst) || !self.failed.is_empty() {
            for batch in batches {
                let records = batch.records.iter().filter(|record| record.survives_failure()).cloned().collect();
                self.failed.push(Batch { records, ..*batch });
            }
            return Err(full());
        }
        self.disk.keep(batches);
        drop(state.lock().unwrap());
        changed.notify_all();
        Ok(Durability::Disk)
    }

    fn mend(&mut self) -> Result<(), StoreError> {
        if self.disk.fails.load(Ordering::SeqCst) {
            return Err(full());
        }
        self.disk.keep(&std::mem::take(&mut self.failed));
        Ok(())
    }

    fn read(&mut self, message: MessageNumber) -> Result<Option<Envelope>, StoreError> {
        self.disk.memory.lock().unwrap().read(message)
    }

    fn state(&self) -> &State {
        &self.state
    }

    fn tidy(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn usage(&self) -> Usage {
        self.disk.memory.lock().unwrap().usage()
    }
}
