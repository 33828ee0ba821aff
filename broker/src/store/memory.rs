//! The engine that keeps everything in memory: it survives connections, not the process. The reference for all others.

use super::state::State;
use super::{Batch, Engine, MessageNumber, Record, StoreError, Usage};
use crate::message::Envelope;
use candor_protocol::packet::Durability;
use std::collections::HashMap;

#[derive(Debug, Default)]
pub struct Memory {
    state: State,
    envelopes: HashMap<MessageNumber, Envelope, foldhash::fast::RandomState>,
    bytes: u64,
}

impl Memory {
    pub fn new() -> Self {
        Self::default()
    }
}

impl Engine for Memory {
    fn durability(&self) -> Durability {
        Durability::Memory
    }

    fn keep(&mut self, batches: &[Batch]) -> Result<Durability, StoreError> {
        for record in batches.iter().flat_map(|batch| &batch.records) {
            if let Record::Message { message, envelope, .. } = record {
                // In memory of its own: the buffer that it was read into holds more.
                if let Some(old) = self.envelopes.insert(*message, envelope.compact()) {
                    self.bytes -= old.len() as u64;
                }
                self.bytes += envelope.len() as u64;
            }
            self.state.apply(record);
        }
        for message in self.state.end_group() {
            self.bytes -= self.envelopes.remove(&message).map_or(0, |envelope| envelope.len() as u64);
        }
        Ok(Durability::Memory)
    }

    fn mend(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn read(&mut self, message: MessageNumber) -> Result<Option<Envelope>, StoreError> {
        Ok(self.envelopes.get(&self.state.body(message)).cloned())
    }

    fn state(&self) -> &State {
        &self.state
    }

    fn tidy(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn usage(&self) -> Usage {
        let bytes = self.bytes + self.state.weight();
        Usage { bytes, owed_bytes: bytes, messages: self.envelopes.len() as u64, sessions: self.state.sessions.len() as u64, segments: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_passes_the_suite() {
        crate::store::suite::run(|| Box::new(Memory::new()), None);
    }
}
