//! What every engine must pass. A new engine's whole test is a builder and one call:
//!
//! ```
//! use candor_broker::store::{memory::Memory, suite};
//! suite::run(|| Box::new(Memory::new()), None);
//! ```
//!
//! With `reopen`, each case ends with a restart, after which the same is owed and every message of it can be read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "it is made of tests")]

mod cases;

use super::record::{Owed, Whose};
use super::state::{KeptSession, Progress, State};
use super::{Batch, Engine, MessageNumber, Record, SessionNumber};
use crate::message::{Envelope, Stamps};
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::{Message, Qos};
use std::sync::Arc;

/// Ends an engine as a process ends, and begins one where it left off.
pub type Reopen<'a> = Option<&'a dyn Fn(Box<dyn Engine>) -> Box<dyn Engine>>;

/// Runs all cases, each on an engine of its own that has kept nothing yet.
///
/// # Panics
/// With the case and what it expected.
pub fn run(make: impl Fn() -> Box<dyn Engine>, reopen: Reopen<'_>) {
    for (name, case) in cases::CASES {
        let mut desk = Desk { name, engine: make(), turn: 0 };
        assert_eq!(desk.state(), &State::default(), "{name}: a new engine has kept something");
        case(&mut desk);
        if let Some(reopen) = reopen {
            let (state, read) = (remembered(desk.state()), desk.read_all());
            desk.engine = reopen(desk.engine);
            assert_eq!(desk.state(), &state, "{name}: another state after a restart");
            assert_eq!(desk.read_all(), read, "{name}: other messages after a restart");
        }
    }
}

/// An engine, and somebody who keeps things in it.
struct Desk {
    name: &'static str,
    engine: Box<dyn Engine>,
    turn: u64,
}

impl Desk {
    /// Keeps the records as one batch.
    fn keep(&mut self, records: impl IntoIterator<Item = Record>) {
        self.turn += 1;
        let batch = Batch { shard: 0, turn: self.turn, records: records.into_iter().collect(), ..Batch::default() };
        let reached = self.engine.keep(&[batch]);
        assert_eq!(reached, Ok(self.engine.durability()), "{}", self.name);
    }

    fn state(&self) -> &State {
        self.engine.state()
    }

    fn session(&self, number: u64) -> &KeptSession {
        self.state().sessions.get(&SessionNumber(number)).unwrap_or_else(|| panic!("{}: no session {number}", self.name))
    }

    /// What the session is owed, in order.
    fn owed(&self, number: u64) -> Vec<(u64, Progress)> {
        self.session(number).owed.iter().map(|owed| (owed.message.0, owed.progress)).collect()
    }

    fn read(&mut self, message: u64) -> Option<Envelope> {
        self.engine.read(MessageNumber(message)).unwrap_or_else(|error| panic!("{}: message {message}: {error}", self.name))
    }

    /// Every message that something refers to.
    fn read_all(&mut self) -> Vec<(u64, Envelope)> {
        let mut numbers: Vec<u64> = self.state().references.keys().map(|message| message.0).collect();
        numbers.sort_unstable();
        numbers
            .into_iter()
            .map(|number| (number, self.read(number).unwrap_or_else(|| panic!("{}: message {number} is owed and gone", self.name))))
            .collect()
    }
}

/// The state as it is after a restart: nothing is under way, so that no topic need be remembered as cleared.
fn remembered(state: &State) -> State {
    let mut state = state.clone();
    state.forget_all_cleared();
    state
}

fn envelope(topic: &str, payload: &str) -> Envelope {
    let stamps = Stamps { publisher: Some("somebody".into()), node: None, received_at_ms: 1_234, message_id: Some([7; 16]), report: None };
    Envelope {
        message: Message::publish(topic, payload).expect("a topic name"),
        qos: Qos::AtLeastOnce,
        retain: false,
        expires_at_ms: Some(9_999),
        stamps: Some(Arc::new(stamps)),
        hop: Dictionary::EMPTY,
    }
}

fn begun(number: u64, client_id: &str) -> Record {
    let session = SessionNumber(number);
    Record::SessionBegun { session, client_id: client_id.into(), principal: "somebody".into(), incarnation: number + 100 }
}

/// A message that these sessions are owed at QoS 1.
fn message(number: u64, topic: &str, sessions: &[u64]) -> Record {
    let owed = sessions.iter().map(|session| owed(*session)).collect();
    Record::Message { message: MessageNumber(number), envelope: envelope(topic, &format!("payload {number}")), owed }
}

fn owed(session: u64) -> Owed {
    Owed { session: SessionNumber(session), qos: Qos::AtLeastOnce, retain: false }
}

fn settled(session: u64, message: u64) -> Record {
    Record::Settled { session: SessionNumber(session), message: MessageNumber(message) }
}

fn whose(client_id: &str) -> Whose {
    Whose { principal: "somebody".into(), client_id: client_id.into() }
}
