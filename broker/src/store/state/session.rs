//! What steps do to one session.

use super::{KeptSession, OwedMessage, Progress};
use crate::store::record::{MessageNumber, Owed};
use candor_protocol::packet::PacketId;

impl KeptSession {
    /// A message more is owed, behind all others.
    pub(super) fn owe(&mut self, message: MessageNumber, body: MessageNumber, owed: &Owed) {
        let Owed { qos, retain, .. } = *owed;
        self.owed.push_back(OwedMessage { message, body, qos, retain, progress: Progress::Waiting, redelivery_count: 0 });
    }

    /// Behind what was sent, before what waits: also where it goes once more, under another identifier, so that identifiers stand in
    /// the order in which they were given out.
    pub(super) fn sent(&mut self, message: MessageNumber, id: PacketId) {
        let Some(at) = self.find(message, |progress| !matches!(progress, Progress::Received(_))) else { return };
        if self.owed[at].progress == Progress::Sent(id) {
            return;
        }
        if let Some(owed) = self.owed.remove(at) {
            let place = self.sent_len();
            self.owed.insert(place, OwedMessage { progress: Progress::Sent(id), ..owed });
        }
    }

    pub(super) fn received(&mut self, message: MessageNumber) {
        let Some(at) = self.find(message, |progress| matches!(progress, Progress::Sent(_))) else { return };
        if let Progress::Sent(id) = self.owed[at].progress {
            self.owed[at].progress = Progress::Received(id);
        }
    }

    /// Before everything that waits and was not handed out yet, behind what was given back before it.
    pub(super) fn returned(&mut self, message: MessageNumber, redelivery_count: u32) {
        let sent = self.find(message, |progress| progress != Progress::Waiting);
        let Some(at) = sent.or_else(|| self.find(message, |_| true)) else { return };
        if let Some(owed) = self.owed.remove(at) {
            let waiting = self.owed.iter().skip(self.sent_len());
            let place = self.sent_len() + waiting.take_while(|other| other.redelivery_count > 0).count();
            self.owed.insert(place, OwedMessage { progress: Progress::Waiting, redelivery_count, ..owed });
        }
    }

    /// The message is owed no more; what was.
    pub(super) fn settle(&mut self, message: MessageNumber) -> Option<OwedMessage> {
        self.find(message, |_| true).and_then(|at| self.owed.remove(at))
    }

    fn find(&self, message: MessageNumber, is_meant: impl Fn(Progress) -> bool) -> Option<usize> {
        self.owed.iter().position(|owed| owed.message == message && is_meant(owed.progress))
    }

    /// How many messages at the front were sent: at most a window.
    fn sent_len(&self) -> usize {
        self.owed.iter().take_while(|owed| owed.progress != Progress::Waiting).count()
    }
}
