//! What is sent again when an earlier connection has left it open.

use super::{Again, IDS, InFlight, Outbound, Slot, Stage};
use crate::packet::id::{PacketId, Qos};
use crate::session::Token;
use std::num::NonZeroU64;

impl Outbound {
    /// The connection is gone: what was sent will be sent again, requests are forgotten and their tokens returned.
    pub fn disconnect(&mut self) -> Vec<Token> {
        let mut requests = Vec::new();
        for slot in &mut self.slots {
            match slot {
                Slot::Message(message) => {
                    message.stage = match message.stage {
                        Stage::Waiting(again) => Stage::Waiting(again),
                        // What its owner waited to keep may never be kept: it is as if it had not been admitted.
                        Stage::Published if message.is_unsent => {
                            (message.number, message.is_unsent) = (None, false);
                            Stage::Waiting(Again::New)
                        }
                        Stage::Published | Stage::Recording => Stage::Waiting(Again::Publish),
                        Stage::Received => Stage::Waiting(Again::Release),
                    }
                }
                Slot::Request(token) => {
                    requests.push(*token);
                    *slot = Slot::Free;
                }
                Slot::Free => {}
            }
        }
        self.drop_free();
        self.rest();
        self.open = 0;
        self.waiting = self.len() as u16;
        requests
    }

    /// The next message that has to be sent again, as far as the window allows, and whether its PUBLISH goes with DUP.
    pub fn resend(&mut self) -> Option<(PacketId, bool, &InFlight)> {
        if self.waiting == 0 || self.open >= self.window {
            return None;
        }
        let index = self.slots.iter().position(|slot| matches!(slot, Slot::Message(InFlight { stage: Stage::Waiting(_), .. })))?;
        let id = self.id_at(index);
        self.open += 1;
        self.waiting -= 1;
        let counted = self.next_number;
        let Some(Slot::Message(message)) = self.slots.get_mut(index) else { return None };
        let again = message.stage;
        message.stage = if again == Stage::Waiting(Again::Release) { Stage::Received } else { Stage::Published };
        // What comes without a number, on the first connection of a count, is counted by both ends as it goes.
        if message.stage == Stage::Published && message.number.is_none() && counted.is_some() {
            message.number = counted.map(NonZeroU64::get);
            self.next_number = counted.map(|number| number.saturating_add(1));
            message.is_older = again == Stage::Waiting(Again::Publish);
        }
        Some((id, again != Stage::Waiting(Again::New), message))
    }

    /// PUBREC was recorded: whether its PUBREL may leave on this connection.
    pub(in crate::session) fn recorded(&mut self, id: PacketId) -> bool {
        let Some(message) = self.get_mut(id) else { return false };
        match message.stage {
            Stage::Recording => message.stage = Stage::Received,
            // The connection that the PUBREC came on is gone.
            Stage::Waiting(Again::Publish) if message.delivery.qos == Qos::ExactlyOnce => message.stage = Stage::Waiting(Again::Release),
            _ => {}
        }
        message.stage == Stage::Received
    }

    /// PUBREC came for a message that has not been sent again yet.
    pub(in crate::session) fn is_received_early(&mut self, id: PacketId) {
        if let Some(message) = self.get_mut(id) {
            message.stage = Stage::Recording;
            self.waiting -= 1;
            self.open += 1;
        }
    }

    /// Puts a message that never arrived behind all others, under an identifier that it did not have before.
    pub(in crate::session) fn renew(&mut self, id: PacketId) {
        // In a ring that is full there is no other identifier; this one is as good, since the peer never saw it.
        let is_full = self.slots.len() >= IDS as usize;
        let Some(message) = self.get_mut(id) else { return };
        (message.stage, message.number) = (Stage::Waiting(Again::New), None);
        (message.is_older, message.is_unsent) = (false, false);
        if !is_full && let Some(slot) = self.free(id) {
            self.push(slot);
        }
    }

    /// The PUBLISH of a message waits for a record of its owner's.
    #[inline]
    pub(in crate::session) fn waits_to_leave(&mut self, id: PacketId) {
        if let Some(message) = self.get_mut(id) {
            message.is_unsent = true;
        }
    }

    /// What that PUBLISH waited for has come: the message; `None`: it has been given up, or goes under another identifier.
    #[inline]
    pub(in crate::session) fn leaves(&mut self, id: PacketId) -> Option<&InFlight> {
        let message = self.get_mut(id)?;
        std::mem::take(&mut message.is_unsent).then_some(&*message)
    }

    /// What has not left on this connection goes as new, when something may leave again.
    pub(in crate::session) fn take_back_unsent(&mut self) {
        let is_unsent = |(_, message): &(PacketId, &InFlight)| message.is_unsent && message.stage == Stage::Published;
        let unsent: Vec<PacketId> = self.messages().filter(is_unsent).map(|(id, _)| id).collect();
        for id in unsent {
            self.open -= 1;
            self.waiting += 1;
            self.renew(id);
        }
    }

    /// The count goes on from here: everything behind never arrived.
    pub(in crate::session) fn recount(&mut self, received: u64) {
        self.set_sent(self.next_number.map(|_| received));
    }

    /// Whether messages of an earlier connection have not been sent again yet.
    pub fn has_waiting(&self) -> bool {
        self.waiting > 0
    }
}
