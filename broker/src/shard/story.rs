//! What becomes of a client's connections, for its story.

use super::{ConnectionKey, Shard};
use crate::feedback::entry::End;
use crate::feedback::{Entry, Page};
use candor_protocol::session::{Cause, SessionState};

impl Shard {
    /// A connection has its session.
    pub(super) fn note_connected(&mut self, key: ConnectionKey, state: SessionState) {
        let Some((page, by)) = self.who_by(key) else { return };
        self.write_down(page, Entry::connected(self.now.unix_ms, by, state));
    }

    /// A connection that had its session ends. What it was in the end counts: a negotiation comes behind its beginning.
    pub(super) fn note_disconnected(&mut self, key: ConnectionKey, cause: &Cause) {
        let Some((page, by)) = self.who_by(key) else { return };
        self.ledger.end(page, by, End::new(self.now.unix_ms, cause));
        self.keep_ledger_later();
    }

    /// A session ended while its client was away.
    pub(super) fn note_expired(&mut self, slot: u32) {
        let Some(client) = self.clients.get(slot) else { return };
        if let Some(page) = Page::of(&client.principal, &client.id) {
            self.write_down(page, Entry::expired(self.now.unix_ms));
        }
    }

    fn who_by(&self, key: ConnectionKey) -> Option<(Page, String)> {
        let connection = self.connections.get(key)?;
        let page = Page::of(&connection.principal, &connection.client_id)?;
        let by = format!("{} from {}", connection.session.terms().dialect, connection.address.ip().to_canonical());
        Some((page, by))
    }
}
