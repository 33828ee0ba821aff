//! The end of a connection, and of a session.

use super::pending::Standing;
use super::timers::Timer;
use super::wills::Armed;
use super::{ConnectionKey, Shard};
use crate::store::Record;
use candor_protocol::packet::{Reason, Will};
use candor_protocol::session::{Cause, SessionState};
use candor_protocol::shown::Shown;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Shard {
    /// A session's connection ended: keep the session, or end it, and publish its will.
    pub(super) fn session_closed(&mut self, key: ConnectionKey, cause: Cause, will: Option<Box<Will>>) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.is_closing = true;
        connection.has_peer_left = matches!(cause, Cause::PeerLeft { .. });
        connection.held = None;
        let client = connection.client.take();
        let terms = connection.session.terms();
        let (agreed_expiry_s, was_extended) = (terms.session_expiry_s, terms.dialect.is_extended());
        let parked = connection.session.take_parked();
        tracing::debug!(client = %Shown::new(&connection.client_id), peer = %connection.address, cause = %Shown::new(&format!("{cause:?}")), "disconnected");
        self.touch(key);
        let Some(slot) = client else { return };
        self.set_standing(key, Standing::Pending);
        if self.clients.get(slot).is_some_and(|client| client.parked.is_none()) {
            self.note_disconnected(key, &cause);
        }
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        let Some(client) = self.clients.get_mut(slot) else { return };
        let (rights, principal) = (Arc::clone(&client.rights), Arc::clone(&client.principal));
        client.connection = None;
        // Feedback is a view of a connection; the ledger keeps what happens meanwhile.
        client.feedback.take();
        client.unsent = 0;
        // Where the connection was not accepted yet, the session stays what it was before.
        if client.parked.is_none() {
            client.expiry_s = agreed_expiry_s;
            // A session that ends here needs nothing of it any more.
            client.parked = (agreed_expiry_s > 0).then(|| Box::new(parked));
        }
        let (expiry_s, id) = (client.expiry_s, Arc::clone(&client.id));
        let armed = client.will.take().map(|message| Armed { client_id: id, message, is_carried: false });
        if expiry_s == 0 {
            // What was dropped while its client did not read could not be told to it.
            self.tell_gap(slot);
            self.end_session(slot, SessionState::New);
        } else {
            self.set_available(slot, false);
            self.keep_session(slot, expiry_s, was_extended);
            self.unload(slot);
            self.count_session(slot);
            self.note_room(slot);
        }
        match will {
            Some(will) => self.publish_will(&will, &*rights, principal, armed),
            None => self.disarm(armed),
        }
    }

    pub(super) fn keep_session(&mut self, slot: u32, expiry_s: u32, was_extended: bool) {
        let Some(client) = self.clients.get_mut(slot) else { return };
        if let Some(session) = client.number {
            let expires_at_ms = (expiry_s != u32::MAX).then(|| self.now.unix_ms.saturating_add(1000 * u64::from(expiry_s)));
            self.keeper.keep(Record::SessionParked { session, expires_at_ms, was_extended });
        }
        if expiry_s != u32::MAX {
            let at_ms = self.now.ms.saturating_add(1000 * u64::from(expiry_s));
            client.expires_at_ms = NonZeroU64::new(at_ms);
            self.timers.at(at_ms, Timer::Session(slot, client.generation));
        }
    }

    pub(super) fn session_due(&mut self, slot: u32, generation: u64) {
        let Some(client) = self.clients.get(slot) else { return };
        if client.generation != generation || client.expires_at_ms.is_none_or(|at_ms| at_ms.get() > self.now.ms) {
            return;
        }
        let (id, waiting, is_kept) = (Arc::clone(&client.id), client.queue.len() as u64, client.number.is_some());
        tracing::info!(client = %Shown::new(&id), waiting, "session expired");
        self.tell_gap(slot);
        if waiting > 0 {
            self.lose(slot, Reason::MESSAGE_EXPIRED, waiting, "the session expired with messages that waited for it");
        }
        self.note_expired(slot);
        self.end_session(slot, SessionState::Expired);
        self.ended.note(id, SessionState::Expired, is_kept);
    }

    /// Forgets a session and everything that was kept for it.
    pub(super) fn end_session(&mut self, slot: u32, why: SessionState) {
        let Some(client) = self.clients.remove(slot, self.now.ms) else { return };
        self.account.release(client.counted_bytes);
        self.reports.end(slot);
        self.directory.remove(&client.id);
        if let Some(session) = client.number {
            self.keeper.keep(Record::SessionEnded { session, why, unix_ms: self.now.unix_ms });
        }
        if why == SessionState::New && client.incarnation >> 32 != u64::from(self.epoch) {
            // It outlived a restart, so that its name does not say that it was known here to the end.
            self.ended.note(Arc::clone(&client.id), why, false);
        }
        if let Some(roll) = self.shared.roll(self.index) {
            roll.clear(slot);
        }
        self.end_room(slot, &client);
        if client.subscriptions.is_empty() {
            return;
        }
        let subscriber = self.subscriber(slot);
        let shared = Arc::clone(&self.shared);
        let mut router = shared.routers_mut();
        client.subscriptions.keys().for_each(|filter| {
            router.unsubscribe(filter, subscriber);
        });
    }

    /// Tells shared groups whether a member can be handed messages at once.
    pub(super) fn set_available(&mut self, slot: u32, available: bool) {
        let subscriber = self.subscriber(slot);
        let Some(client) = self.clients.get(slot) else { return };
        if client.subscriptions.keys().any(|filter| filter.group().is_some()) {
            let router = self.shared.routers();
            for filter in client.subscriptions.keys().filter(|filter| filter.group().is_some()) {
                router.set_available(filter, subscriber, available);
            }
        }
    }
}
