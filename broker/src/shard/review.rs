//! After new rules came: who may not stay, and which subscriptions may not.

use super::Shard;
use crate::feedback::{Breaker, Verdict};
use candor_protocol::packet::{Kind, Refusal, TopicFilter};

impl Shard {
    /// Asks the rights of every session again, and looks again at what was refused too often. A connection that would not be let in any more is ended; a subscription that
    /// would be refused now ends with a verdict, since messages that its client may not read would go on to it otherwise.
    pub fn review_rights(&mut self) {
        self.forgive();
        let slots: Vec<u32> = self.directory.values().copied().collect();
        for slot in slots {
            let Some(client) = self.clients.get(slot) else { continue };
            if let Err(refusal) = client.rights.stay() {
                self.send_away(slot, refusal);
                continue;
            }
            self.review_subscriptions(slot);
        }
    }

    pub(super) fn review_subscriptions(&mut self, slot: u32) {
        let Some(client) = self.clients.get(slot) else { return };
        let filters = client.subscriptions.keys();
        let lost: Vec<(TopicFilter, Refusal)> =
            filters.filter_map(|filter| Some((filter.clone(), client.may_subscribe(filter).err()?))).collect();
        for (filter, refusal) in lost {
            self.lose_subscription(slot, &filter, refusal);
        }
    }

    /// What was refused again and again under the old rules may be allowed now.
    fn forgive(&mut self) {
        self.quarantine.release();
        for (_, connection) in &mut self.connections {
            if let Some(conduct) = &mut connection.conduct {
                conduct.breaker = Breaker::default();
            }
        }
    }

    fn send_away(&mut self, slot: u32, refusal: Refusal) {
        let Some(key) = self.clients.get(slot).and_then(|client| client.connection) else { return };
        self.end_connection(key, refusal);
        self.act(key);
    }

    fn lose_subscription(&mut self, slot: u32, filter: &TopicFilter, refusal: Refusal) {
        self.forget_subscription(slot, filter);
        self.verdict(slot, Verdict::new(self.now.unix_ms, Kind::Subscribe, refusal, Some(filter.as_str())));
    }
}
