//! What waits for a receipt, and what follows when it has come. Nothing else in a shard acknowledges anything.

use super::client::Client;
use super::returned::HandOver;
use super::room::Held;
use super::wills::{Armed, OwedWill};
use super::{ConnectionKey, CrossingTarget, RetainedMessage, Shard};
use crate::message::Envelope;
use crate::router::Subscription;
use crate::store::{Keeper, MessageNumber, Reached, Receipt, Record};
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::{Durability, Notice, Packet, PacketId, Problem, Qos, Reason, Refusal, Retry, TopicFilter, property};
use candor_protocol::session::{Acceptance, Outcome, Record as Step, Session, Ticket, Token};

/// A session, whatever connection it has by the time that something is due to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Life {
    pub slot: u32,
    /// Its incarnation.
    pub life: u64,
}

/// What waits.
#[derive(Debug)]
pub(super) enum Then {
    /// The outcome of a message from a session; `is_matched`: somebody gets it, or it is retained.
    /// `promised`: what it survives at most, by the listener that it came through.
    Settle { of: Life, ticket: Ticket, is_matched: bool, promised: Durability },
    /// The same, and behind the receipt for room.
    Hold(Box<Held>),
    /// A step of a QoS 2 exchange of a session.
    Recorded { of: Life, step: Step },
    /// A delivery at QoS 2, or one behind it, that has its identifier, on the connection of this generation.
    Publish { slot: u32, generation: u64, id: PacketId },
    /// A message that is delivered only when it is as durable as promised, or that must not overtake one.
    Deliver(Box<HeldBack>),
    /// A will that could not be kept for those that are owed it.
    Will(Box<OwedWill>),
    /// A message that is retained.
    Retained(Box<RetainedMessage>),
    /// Nothing: a session that its client knows of already begins, or is held differently.
    Attached { of: Life },
    /// SUBACK or UNSUBACK, and what follows it.
    Answer(Box<Answer>),
    /// CONNACK of a session that is kept.
    Accept(Box<Accept>),
    /// A message that goes from one member of a group to another.
    HandOver(Box<HandOver>),
}

/// A message that is matched and not handed on yet.
#[derive(Debug)]
pub(super) struct HeldBack {
    pub envelope: Envelope,
    /// The publisher, whose next messages wait behind this one.
    pub from: Option<Life>,
    /// By shard.
    pub targets: Vec<(u16, Vec<CrossingTarget>)>,
    /// It is a will that the store has.
    pub armed: Option<Armed>,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub key: ConnectionKey,
    pub generation: u64,
    pub of: Life,
    pub packet: Packet,
    /// What the ledger knows is told behind it.
    pub listens: bool,
    /// What an operator asked is answered behind it.
    pub questions: Vec<(TopicFilter, Qos)>,
    /// Subscriptions that are taken back, or are again what they were, if they cannot be kept.
    pub changed: Vec<(TopicFilter, Subscription)>,
}

impl Answer {
    /// Whether it can say that nothing was done. An unsubscription holds whatever becomes of the store (see
    /// [`Record::survives_failure`]): no word of UNSUBACK would be true before it is kept.
    fn is_refusable(&self) -> bool {
        !matches!(self.packet, Packet::UnsubAck(_))
    }
}

#[derive(Debug)]
pub(super) struct Accept {
    pub key: ConnectionKey,
    pub generation: u64,
    pub of: Life,
    pub acceptance: Acceptance,
    /// Its connection has a will, which must be kept too.
    pub is_armed: bool,
}

/// A delivery above QoS 0 that has its identifier, on the connection of this generation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub slot: u32,
    pub generation: u64,
    pub message: MessageNumber,
    pub id: PacketId,
    pub qos: Qos,
}

/// Keeps under which identifier a delivery is sent, where its session is kept. Tells whether the delivery leaves only with the
/// receipt of that, as it does at QoS 2: under another identifier it would be taken for another message. Nothing overtakes it: both
/// ends count what is sent in the order in which it leaves.
#[inline]
pub(super) fn keep_sent(keeper: &mut Keeper<Then>, client: &mut Client, deliveries: &mut Session, sent: Sent) -> bool {
    let Sent { slot, generation, message, id, qos } = sent;
    let Some(session) = client.number else { return false };
    keeper.keep(Record::Sent { session, message, id });
    if qos != Qos::ExactlyOnce && client.unsent == 0 {
        return false;
    }
    client.unsent += 1;
    deliveries.waits_to_leave(id);
    keeper.then(Then::Publish { slot, generation, id });
    true
}

/// The refusal of what the store could not keep.
pub(super) fn not_kept() -> Refusal {
    let problem = Problem::titled("the server's store takes nothing now, so it could not be kept").rule("store");
    Refusal::new(Reason::STORAGE_FAILED, problem.retry(Retry::After { after_ms: 5000, jitter_ms: 5000 }))
}

impl Shard {
    /// A receipt came from the engine.
    pub fn receive_receipt(&mut self, receipt: &Receipt) {
        let was_kept = self.keeper.failure().is_none();
        self.keeper.receive(receipt);
        let is_kept = self.keeper.failure().is_none();
        if was_kept != is_kept {
            // Before anything is said under the other guarantee.
            self.tell_guarantee(is_kept);
        }
        if is_kept {
            for then in std::mem::take(&mut self.stalled) {
                self.keep_again(then);
            }
        }
        self.release();
    }

    /// Tells every extended client that was promised more what the server can keep now.
    fn tell_guarantee(&mut self, is_kept: bool) {
        let keys: Vec<ConnectionKey> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.tell_profile(key, is_kept);
            self.drain(key);
        }
    }

    /// A connection became extended: it was told the profile that was configured.
    pub(super) fn tell_lost_guarantee(&mut self, key: ConnectionKey) {
        if self.keeper.failure().is_some() {
            self.tell_profile(key, false);
        }
    }

    fn tell_profile(&mut self, key: ConnectionKey, is_kept: bool) {
        let Some(connection) = self.connections.get_mut(key).filter(|c| c.session.terms().dialect.is_extended()) else { return };
        let declared = &connection.session.terms().profile;
        let lost = declared.clone().without_guarantee();
        if lost == *declared {
            return;
        }
        let profile = if is_kept { declared.clone() } else { lost };
        let dictionary = Dictionary::with(property::PROFILE, &profile.to_dictionary());
        connection.session.answer(Packet::Notice(Notice { reason: Reason::PROFILE_CHANGED, dictionary }));
    }

    /// Carries out what waits no more.
    #[inline]
    pub(super) fn release(&mut self) {
        if self.keeper.has_due() || !self.ready.is_empty() {
            self.release_due();
        }
    }

    fn release_due(&mut self) {
        // What is carried out may itself come to something that is due: it goes behind.
        if std::mem::replace(&mut self.is_releasing, true) {
            return;
        }
        while let Some((then, reached)) = self.keeper.take_due() {
            self.go_on(then, reached);
        }
        self.is_releasing = false;
        while let Some(key) = self.ready.pop() {
            self.read_held(key);
            self.release();
        }
    }

    #[inline]
    fn go_on(&mut self, then: Then, reached: Reached) {
        match then {
            Then::Settle { of, ticket, is_matched, promised } => {
                let outcome = |reached: Durability| match is_matched {
                    false => Outcome { reason: Reason::NO_MATCHING_SUBSCRIBERS, ..Outcome::accepted() },
                    true => Outcome::kept(reached.min(promised)),
                };
                self.settle(of, ticket, reached.map(outcome));
            }
            Then::Hold(held) => self.hold(held, reached),
            Then::Deliver(held) => self.hand_out(*held, reached.is_some()),
            Then::Retained(message) => self.shared.retained_answered(*message, reached.is_some()),
            Then::Answer(answer) if reached.is_some() || answer.is_refusable() => self.send_answer(*answer, reached.is_some()),
            Then::Accept(accept) => self.accept(*accept, reached.is_some()),
            Then::Attached { of } => self.attached(of, reached.is_some()),
            Then::HandOver(over) => self.handed_over(*over, reached.is_some()),
            // These wait for nobody's patience: they are kept as soon as anything is.
            then if reached.is_none() => self.stalled.push(then),
            Then::Recorded { of, step } => self.recorded(of, step),
            Then::Publish { slot, generation, id } => self.publish_now(slot, generation, id),
            Then::Will(owed) => self.hand_out_owed_will(*owed),
            Then::Answer(answer) => self.send_answer(*answer, true),
        }
    }

    pub(super) fn life(&self, slot: u32) -> Option<Life> {
        self.clients.get(slot).map(|client| Life { slot, life: client.incarnation })
    }

    /// `outcome`: `None`: it was not kept.
    fn settle(&mut self, of: Life, ticket: Ticket, outcome: Option<Outcome>) {
        let Some(outcome) = outcome else { return self.refuse_settled(of, ticket, not_kept()) };
        let Some(client) = self.clients.get_mut(of.slot).filter(|client| client.incarnation == of.life) else { return };
        let connection = client.connection.and_then(|key| Some((key, self.connections.get_mut(key)?)));
        match (&mut client.parked, connection) {
            // The connection is gone, or the next one has not taken the session up yet.
            (Some(parked), _) => parked.settle(ticket, outcome),
            (None, Some((key, connection))) => {
                match connection.session.settle_directly(ticket, &outcome) {
                    Some(packet) => self.say(key, packet),
                    None => {
                        connection.session.settle(ticket, outcome);
                        self.drain(key);
                    }
                }
                // The window may have been full.
                self.read_held(key);
            }
            (None, None) => {}
        }
    }

    /// Whether what waits for nothing may be carried out while it is asked for, as a step of reading from this connection: nothing is
    /// before it, and reading goes on behind it.
    #[inline]
    pub(super) fn is_next(&self, key: ConnectionKey) -> bool {
        self.reading == Some(key) && !self.is_releasing && !self.keeper.has_due()
    }

    /// Acknowledges a message for which nothing was kept; `false`: that is not to be had directly, and nothing was done.
    #[inline]
    pub(super) fn accept_at_once(&mut self, key: ConnectionKey, ticket: Ticket) -> bool {
        if !self.is_next(key) {
            return false;
        }
        let Some(packet) = self.connections.get_mut(key).and_then(|connection| connection.session.accept_directly(ticket)) else {
            return false;
        };
        self.say(key, packet);
        true
    }

    /// Writes an acknowledgement that a session gave directly.
    #[inline]
    pub(super) fn say(&mut self, key: ConnectionKey, packet: [u8; 4]) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.out.tail(&mut self.spare).extend_from_slice(&packet);
            self.touch(key);
        }
    }

    /// A session says that a step of a QoS 2 exchange has to be kept.
    pub(super) fn keep_step(&mut self, key: ConnectionKey, step: Step) {
        let Some(connection) = self.connections.get(key) else { return };
        let Some(of) = connection.client.and_then(|slot| self.life(slot)) else { return };
        let message = match step {
            Step::Received(id) => {
                let token = connection.session.in_flight().get(id).map_or(0, |message| message.token);
                // It is committed to: what follows can refuse nothing.
                self.reports.settled(of.slot, token).into_iter().for_each(|report| report.accepted());
                number_of(token)
            }
            Step::Released(_) => None,
        };
        let session = self.clients.get(of.slot).and_then(|client| client.number);
        let record = match (session, step, message) {
            (Some(session), Step::Received(_), Some(message)) => Some(Record::Received { session, message }),
            (Some(session), Step::Released(id), _) => Some(Record::Released { session, id }),
            _ => None,
        };
        match record {
            None if self.is_next(key) => self.recorded(of, step),
            record => self.keep_then(record, Then::Recorded { of, step }),
        }
    }

    /// Keeps a record and lets something wait for it; without a record it waits for nothing.
    pub(super) fn keep_then(&mut self, record: Option<Record>, then: Then) {
        match record {
            Some(record) => {
                self.keeper.keep(record);
                self.keeper.then(then);
            }
            None => self.keeper.now(then),
        }
    }

    fn recorded(&mut self, of: Life, step: Step) {
        let Some(client) = self.clients.get_mut(of.slot).filter(|client| client.incarnation == of.life) else { return };
        match (&mut client.parked, client.connection) {
            (Some(parked), _) => parked.recorded(step),
            (None, Some(key)) => {
                let Some(connection) = self.connections.get_mut(key) else { return };
                match connection.session.recorded_directly(step) {
                    Some(packet) => self.say(key, packet),
                    None => {
                        connection.session.recorded(step);
                        self.drain(key);
                    }
                }
            }
            (None, None) => {}
        }
    }

    /// The store keeps again: what it could not keep is handed to it once more.
    fn keep_again(&mut self, then: Then) {
        let then = match then {
            Then::Will(owed) => return self.keep_owed_will(owed),
            // What it says has held all the time, and was kept when the store was mended.
            Then::Answer(answer) => return self.keeper.now(Then::Answer(answer)),
            other => other,
        };
        let slot = match &then {
            Then::Attached { of } => return self.attach_again(*of),
            Then::Recorded { of, .. } => of.slot,
            Then::Publish { slot, .. } => *slot,
            _ => return,
        };
        let Some(client) = self.clients.get(slot) else { return };
        let message = |id: PacketId| {
            let connection = self.connections.get(client.connection?)?;
            number_of(connection.session.in_flight().get(id)?.token)
        };
        let record = client.number.and_then(|session| match &then {
            Then::Recorded { step: Step::Received(id), .. } => Some(Record::Received { session, message: message(*id)? }),
            Then::Recorded { step: Step::Released(id), .. } => Some(Record::Released { session, id: *id }),
            Then::Publish { id, .. } => Some(Record::Sent { session, message: message(*id)?, id: *id }),
            _ => None,
        });
        self.keep_then(record, then);
    }

    fn send_answer(&mut self, mut answer: Answer, is_kept: bool) {
        if self.life(answer.of.slot) == Some(answer.of) {
            for (filter, subscription) in &answer.changed {
                self.subscription_answered(answer.of.slot, filter, *subscription, is_kept);
            }
        }
        if self.connections.get(answer.key).is_none_or(|connection| connection.generation != answer.generation) {
            return;
        }
        if !is_kept {
            self.refuse_all(answer.key, &mut answer.packet, not_kept());
        }
        let Some(connection) = self.connections.get_mut(answer.key) else { return };
        connection.session.answer(answer.packet);
        self.drain(answer.key);
        if answer.listens {
            self.replay_ledger(answer.of.slot);
        }
        for (filter, qos) in answer.questions {
            self.ask_all(answer.of.slot, &filter, qos);
        }
        self.begin_replay(answer.of.slot);
    }
}

/// The message that a session's token stands for; 0: it is not kept.
pub(super) fn number_of(token: Token) -> Option<MessageNumber> {
    (token != 0).then_some(MessageNumber(token))
}

pub(super) fn token_of(message: Option<MessageNumber>) -> Token {
    message.map_or(0, |message| message.0)
}
