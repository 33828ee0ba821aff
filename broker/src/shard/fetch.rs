//! Messages that wait for a session and are only in the store: asked for a few at a time, when their turn comes.

use super::Shard;
use crate::message::Envelope;
use crate::store::MessageNumber;
use candor_protocol::shown::Shown;

/// How many messages of one session are asked for at once.
const FETCH_MAX: usize = 64;

/// Messages that a session is owed, asked for.
#[derive(Debug)]
pub struct Fetching {
    pub slot: u32,
    pub life: u64,
    pub messages: Vec<MessageNumber>,
}

/// Messages that were asked for; `None`: nobody is owed it.
#[derive(Debug)]
pub struct Fetched {
    pub slot: u32,
    pub life: u64,
    pub messages: Vec<(MessageNumber, Option<Envelope>)>,
}

impl Shard {
    /// Asks for the next messages of a session, unless that was done.
    pub(super) fn fetch(&mut self, slot: u32) {
        let Some(client) = self.clients.get_mut(slot).filter(|client| !client.is_fetching) else { return };
        let messages = client.queue.stored(FETCH_MAX);
        client.is_fetching = true;
        self.fetching.push_back(Fetching { slot, life: client.incarnation, messages });
    }

    /// What is asked of the engine next: behind the batch of the turn, so that the engine has what it is asked for.
    pub fn take_fetching(&mut self) -> Option<Fetching> {
        self.fetching.pop_front()
    }

    /// Messages came from the engine.
    pub fn receive_fetched(&mut self, fetched: Fetched) {
        let Fetched { slot, life, messages } = fetched;
        let Some(client) = self.clients.get_mut(slot).filter(|client| client.incarnation == life) else { return };
        client.is_fetching = false;
        for (number, envelope) in messages {
            let is_lost = envelope.is_none();
            if client.queue.load(number, envelope) && is_lost {
                tracing::warn!(client = %Shown::new(&client.id), message = number.0, "a message that waited is not in the store; it was refused, or lost");
            }
        }
        self.pump(slot);
        self.release();
    }

    /// Leaves what waits for a session to the store, as far as it need not be at hand.
    pub(super) fn unload(&mut self, slot: u32) {
        if !self.keeper.can_fetch() {
            return;
        }
        if let Some(client) = self.clients.get_mut(slot) {
            client.queue.unload(client.near(), &self.settings.experiments);
        }
    }
}
