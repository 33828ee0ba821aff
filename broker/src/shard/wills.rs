//! Wills: kept while their connection lives, published when it is lost. A will is owed until the batch that publishes it has its
//! receipt: it is handed out behind that, and if the store could not keep the batch, once more when it keeps again.

use super::keeping::{HeldBack, Then};
use super::publish::experiment_keys;
use super::route::{Source, retain};
use super::{CrossingTarget, RetainedMessage, Rights, Shard};
use crate::message::Envelope;
use crate::router::Subscriber;
use crate::store::record::{Owed, Whose};
use crate::store::{MessageNumber, Record, SessionNumber};
use candor_protocol::codec::dictionary::MapBuilder;
use candor_protocol::packet::{Connect, Durability, Qos, Will, property};
use candor_protocol::shown::Shown;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A will as the store has it.
#[derive(Debug, Clone)]
pub(super) struct Armed {
    pub client_id: Arc<str>,
    pub message: MessageNumber,
    /// It goes to those who get it in an envelope: what is retained, others see to.
    pub is_carried: bool,
}

/// A will whose publication could not be kept: for those that are owed it.
#[derive(Debug)]
pub(super) struct OwedWill {
    armed: Armed,
    envelope: Envelope,
    targets: Vec<(Subscriber, SessionNumber, CrossingTarget)>,
}

impl Shard {
    /// A connection was lost. The will's rights were checked when it was armed; they are checked again, since rules may have changed.
    pub(super) fn publish_will(&mut self, will: &Will, rights: &dyn Rights, principal: Arc<str>, armed: Option<Armed>) {
        if let Err(refusal) = rights.will(will.message.topic(), will.qos, will.retain) {
            tracing::warn!(topic = %Shown::new(will.message.topic_str()), refusal = %refusal, "will withheld");
            return self.disarm(armed);
        }
        let envelope = self.will_envelope(will, Arc::clone(&principal));
        self.publish_will_envelope(envelope, principal, armed);
    }

    /// A will is not to be published.
    pub(super) fn disarm(&mut self, armed: Option<Armed>) {
        if let Some(Armed { client_id, message, .. }) = armed {
            self.keeper.keep(Record::WillDisarmed { client_id, message });
        }
    }

    /// A will is published now: now its interval begins, and now is when this server has it.
    pub(super) fn publish_will_envelope(&mut self, will: Envelope, principal: Arc<str>, armed: Option<Armed>) {
        let expires_at_ms = self.now.expiry_of(&will.hop);
        let (hop, stamps) = (experiment_keys(&will.hop), self.stamps(will.message.topic_str(), || Some(principal)));
        // A will has no publisher to be refused.
        let _ = self.route(&Envelope { expires_at_ms, hop, stamps, ..will }, Source { armed, ..Source::default() });
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
            stamps: self.stamps(will.message.topic_str(), || Some(principal)),
            hop: hop.finish(),
        }
    }

    /// Keeps the will of a connection that begins, so that it is published should the process end before the connection does.
    /// `promised`: what a message survives that this connection publishes.
    pub(super) fn keep_will(&mut self, slot: u32, connect: &Connect, promised: Durability) -> bool {
        let Some(will) = connect.will.as_ref().filter(|_| self.keeper.keeps_for(promised)) else { return false };
        let Some(client) = self.clients.get_mut(slot) else { return false };
        let message = self.shared.next_message();
        client.will = Some(message);
        let whose = Whose { principal: Arc::clone(&client.principal), client_id: Arc::clone(&client.id) };
        let envelope = self.will_envelope(will, Arc::clone(&whose.principal)).compact();
        self.keeper.keep(Record::Message { message, envelope, owed: Vec::new() });
        self.keeper.keep(Record::WillArmed { whose, message });
        true
    }

    /// The batch that publishes a will was not kept. Who is owed nothing gets it all the same; who is owed it, when it is kept.
    pub(super) fn will_not_kept(&mut self, held: HeldBack, armed: Armed) {
        let mut owed = Vec::new();
        let is_shared = held.targets.iter().map(|(_, targets)| targets.len()).sum::<usize>() > 1;
        self.frames.start();
        for (shard, targets) in held.targets {
            let mut others = Vec::new();
            for target in targets {
                let subscriber = Subscriber { shard, slot: target.slot };
                let session = self.shared.session(subscriber).filter(|_| target.message.is_some() && target.qos != Qos::AtMostOnce);
                match session {
                    Some(session) => owed.push((subscriber, session, target)),
                    None => others.push(target),
                }
            }
            self.hand_on(shard, others.into_iter(), &held.envelope, is_shared);
        }
        self.stalled.push(Then::Will(Box::new(OwedWill { armed, envelope: held.envelope, targets: owed })));
    }

    /// The store keeps again: a will that is owed is published to those sessions that are still there.
    pub(super) fn keep_owed_will(&mut self, mut owed: Box<OwedWill>) {
        let shared = Arc::clone(&self.shared);
        owed.targets.retain(|(subscriber, session, _)| shared.session(*subscriber) == Some(*session));
        let envelope = &owed.envelope;
        // Under new numbers: those of the batch that failed may still be found, should the power be lost before all this is kept.
        let is_retained = envelope.retain && !envelope.message.payload().is_empty() && !owed.armed.is_carried;
        let number = is_retained.then(|| shared.next_message());
        let mut unused = number;
        let mut batches: BTreeMap<Option<MessageNumber>, (MessageNumber, Vec<Owed>)> = BTreeMap::new();
        for (_, session, target) in &mut owed.targets {
            let entry =
                batches.entry(target.message).or_insert_with(|| (unused.take().unwrap_or_else(|| shared.next_message()), Vec::new()));
            entry.1.push(Owed { session: *session, qos: target.qos, retain: target.retain });
            target.message = Some(entry.0);
        }
        batches.extend(unused.map(|message| (Some(message), (message, Vec::new()))));
        for (message, owed) in batches.into_values() {
            self.keeper.keep(Record::Message { message, envelope: envelope.clone(), owed });
        }
        if let Some(message) = number {
            let version = retain(&mut shared.retained_mut(), &shared, envelope, Some(message));
            self.keeper.keep(Record::Retained { message, version });
            self.keeper.then(Then::Retained(Box::new(RetainedMessage::new(envelope.clone(), Some(message)))));
        }
        let Armed { client_id, message, .. } = owed.armed.clone();
        self.keeper.keep(Record::WillPublished { client_id, message });
        self.keeper.then(Then::Will(owed));
    }

    /// A will that was owed is kept for those that get it.
    pub(super) fn hand_out_owed_will(&mut self, owed: OwedWill) {
        self.frames.start();
        for (Subscriber { shard, .. }, _, target) in owed.targets {
            self.hand_on(shard, std::iter::once(target), &owed.envelope, false);
        }
    }
}
