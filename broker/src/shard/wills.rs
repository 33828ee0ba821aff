//! Wills: kept while their connection lives, published when it is lost.

use super::publish::experiment_keys;
use super::{Rights, Shard};
use crate::message::Envelope;
use crate::store::Record;
use crate::store::record::Whose;
use candor_protocol::codec::dictionary::MapBuilder;
use candor_protocol::packet::{Connect, Will, property};
use candor_protocol::shown::Shown;
use std::sync::Arc;

impl Shard {
    /// The will's rights were checked when it was armed; they are checked again, since rules may have changed.
    pub(super) fn publish_will(&mut self, will: &Will, rights: &dyn Rights, principal: Arc<str>) {
        if let Err(refusal) = rights.will(will.message.topic(), will.qos, will.retain) {
            tracing::warn!(topic = %Shown::new(will.message.topic_str()), refusal = %refusal, "will withheld");
            return;
        }
        let envelope = self.will_envelope(will, Arc::clone(&principal));
        self.publish_will_envelope(envelope, principal);
    }

    /// A will is published now: now its interval begins, and now is when this server has it.
    pub(super) fn publish_will_envelope(&mut self, will: Envelope, principal: Arc<str>) {
        let expires_at_ms = self.now.expiry_of(&will.hop);
        let (hop, stamps) = (experiment_keys(&will.hop), self.stamps(Some(principal)));
        // A will has no publisher to be refused.
        let _ = self.route(&Envelope { expires_at_ms, hop, stamps, ..will }, None, None);
    }

    /// The will as it is kept: with the interval of its expiry, since the time of that is not known before it is published.
    fn will_envelope(&self, will: &Will, principal: Arc<str>) -> Envelope {
        let mut hop = MapBuilder::new();
        hop.merge(&experiment_keys(&will.dictionary));
        hop.set_some(property::MESSAGE_EXPIRY_INTERVAL, will.dictionary.value(property::MESSAGE_EXPIRY_INTERVAL).as_ref());
        Envelope {
            message: will.message.clone(),
            qos: will.qos,
            retain: will.retain,
            expires_at_ms: None,
            stamps: self.stamps(Some(principal)),
            hop: hop.finish(),
        }
    }

    /// Keeps the will of a connection that begins, so that it is published should the process end before the connection does.
    pub(super) fn keep_will(&mut self, slot: u32, connect: &Connect) -> bool {
        let Some(will) = connect.will.as_ref().filter(|_| self.keeper.keeps()) else { return false };
        let Some(client) = self.clients.get_mut(slot) else { return false };
        client.has_will = true;
        let whose = Whose { principal: Arc::clone(&client.principal), client_id: Arc::clone(&client.id) };
        let envelope = self.will_envelope(will, Arc::clone(&whose.principal)).compact();
        let message = self.shared.next_message();
        self.keeper.keep(Record::Message { message, envelope, owed: Vec::new() });
        self.keeper.keep(Record::WillArmed { whose, message });
        true
    }
}
