//! Brokers that break one promise each, so that the harness can be shown to see it.

use candor_broker::message::Envelope;
use candor_broker::store::state::State;
use candor_broker::store::{Batch, Engine, MessageNumber, StoreError, Usage};
use candor_protocol::packet::Durability;
use clap::ValueEnum;

/// What a broker does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Mutant {
    /// Nothing.
    #[default]
    None,
    /// It never syncs a file.
    NoSync,
    /// It says that a group is kept, and syncs it when the next one comes.
    LateSync,
    /// It never syncs its directory.
    NoDirectorySync,
    /// After a start it does not know which identifiers of QoS 2 were taken.
    ForgetsTakenIdentifiers,
}

impl Mutant {
    /// As it is named on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// An engine that has forgotten which identifiers of QoS 2 were taken.
#[derive(Debug)]
pub struct Forgetful {
    engine: Box<dyn Engine>,
    /// As the engine was opened, without them.
    state: State,
}

impl Forgetful {
    pub fn new(engine: Box<dyn Engine>) -> Self {
        let mut state = engine.state().clone();
        state.sessions.values_mut().for_each(|session| session.taken.clear());
        Self { engine, state }
    }
}

impl Engine for Forgetful {
    fn durability(&self) -> Durability {
        self.engine.durability()
    }

    fn keep(&mut self, batches: &[Batch]) -> Result<Durability, StoreError> {
        self.engine.keep(batches)
    }

    fn mend(&mut self) -> Result<(), StoreError> {
        self.engine.mend()
    }

    fn read(&mut self, message: MessageNumber) -> Result<Option<Envelope>, StoreError> {
        self.engine.read(message)
    }

    fn state(&self) -> &State {
        &self.state
    }

    fn tidy(&mut self) -> Result<bool, StoreError> {
        self.engine.tidy()
    }

    fn usage(&self) -> Usage {
        self.engine.usage()
    }
}
