//! That a session is kept, and that a connection holds it.

use super::Shard;
use super::keeping::{Life, Then};
use crate::store::{Record, SessionNumber};
use std::sync::Arc;

impl Shard {
    /// Keeps that a connection holds a session; a session that is to outlive its connection gets its number here. Tells whether
    /// anything was kept.
    pub(super) fn keep_attached(&mut self, slot: u32, expiry_s: u32) -> bool {
        let Some(client) = self.clients.get_mut(slot).filter(|client| self.keeper.keeps_for(client.durability)) else { return false };
        let session = match client.number {
            Some(session) => session,
            None if expiry_s == 0 => return false,
            None => {
                let session = self.shared.next_session();
                client.number = Some(session);
                if let Some(roll) = self.shared.roll(self.index) {
                    roll.set_session(slot, Some(session));
                }
                self.keep_begun(slot, session);
                session
            }
        };
        self.keeper.keep(Record::SessionAttached { session, expiry_s });
        true
    }

    fn keep_begun(&mut self, slot: u32, session: SessionNumber) {
        let Some(client) = self.clients.get(slot) else { return };
        let (client_id, principal, incarnation) = (Arc::clone(&client.id), Arc::clone(&client.principal), client.incarnation);
        self.keeper.keep(Record::SessionBegun { session, client_id, principal, incarnation });
        for (filter, subscription) in client.subscriptions.iter() {
            self.keeper.keep(Record::Subscribed { session, filter: filter.clone(), subscription: *subscription });
        }
        client.replays.iter().for_each(|replay| self.keeper.keep(replay.record(session)));
    }

    /// A session that its client knows of already was attached, or begun, in the store, or was not.
    pub(super) fn attached(&mut self, of: Life, is_kept: bool) {
        let Some(client) = self.clients.get_mut(of.slot).filter(|client| client.incarnation == of.life) else { return };
        client.is_begun |= is_kept;
        if is_kept {
            return;
        }
        if !client.is_begun {
            // Nobody may believe that something is kept for it: until it can begin anew, it is as one that is not kept.
            client.number = None;
            if let Some(roll) = self.shared.roll(self.index) {
                roll.set_session(of.slot, None);
            }
        }
        self.stalled.push(Then::Attached { of });
    }

    /// The store keeps again.
    pub(super) fn attach_again(&mut self, of: Life) {
        let Some(client) = self.clients.get(of.slot).filter(|client| client.incarnation == of.life) else { return };
        let (expiry_s, was_extended) = (client.expiry_s, client.parked.as_ref().map(|parked| parked.was_extended));
        if self.keep_attached(of.slot, expiry_s) {
            self.keeper.then(Then::Attached { of });
        }
        if let Some(was_extended) = was_extended {
            self.keep_session(of.slot, expiry_s, was_extended);
        }
    }
}
