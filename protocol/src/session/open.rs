//! The packets of an open connection. What may come at all is decided here; each packet then goes to its concern.

use super::inbound::{Arrival, Asked};
use super::outbound::{Again, InFlight, Stage};
use super::policy::check_requirement;
use super::{Answer, Cause, Outcome, Output, Phase, Record, Session, Ticket};
use crate::codec::dictionary::Dictionary;
use crate::codec::frame::Frame;
use crate::extension::Context;
use crate::packet::ack::Disconnect;
use crate::packet::id::{PacketId, Qos};
use crate::packet::kind::Kind;
use crate::packet::legality::{Role, check_keys};
use crate::packet::property;
use crate::packet::publish::MessageOnly;
use crate::packet::subscribe::{SubAck, Subscribe, UnsubAck, Unsubscribe};
use crate::packet::{Ack, Packet, Ping, Problem, Publish, Reason, Refusal, Retry};
use std::sync::Arc;

impl Session {
    pub(super) fn receive_open(&mut self, packet: Packet, frame: &Frame) {
        let mut packet = packet;
        if matches!(self.phase, Phase::Trial(_)) {
            match self.receive_in_trial(packet, frame) {
                Some(ordinary) => packet = ordinary,
                None => return,
            }
        }
        if let Err(refusal) = self.check(&mut packet) {
            return self.refuse_packet(packet, refusal);
        }
        match (self.role(), packet) {
            (_, Packet::Publish(publish)) => self.receive_publish(publish),
            (_, Packet::PubAck(ack)) => self.receive_final(&ack, Qos::AtLeastOnce),
            (_, Packet::PubRec(ack)) => self.receive_pubrec(&ack),
            (_, Packet::PubRel(ack)) => self.receive_pubrel(&ack),
            (_, Packet::PubComp(ack)) => self.receive_final(&ack, Qos::ExactlyOnce),
            (Role::Server, Packet::Subscribe(packet)) => self.outputs.push_back(Output::Subscribe(packet)),
            (Role::Server, Packet::Unsubscribe(packet)) => self.outputs.push_back(Output::Unsubscribe(packet)),
            (Role::Server, Packet::PingReq(packet)) if self.terms.dialect.is_extended() => {
                self.outputs.push_back(Output::Ping(packet.dictionary));
            }
            (Role::Server, Packet::PingReq(_)) => self.send(Packet::PingResp(Default::default())),
            (Role::Client, Packet::SubAck(packet)) => self.receive_answer_to_request(packet.id, Answer::Subscribed(*packet), frame),
            (Role::Client, Packet::UnsubAck(packet)) if packet.accept.is_empty() => {
                self.receive_answer_to_request(packet.id, Answer::Unsubscribed(*packet), frame);
            }
            // A plain UNSUBACK ends behind its identifier, but for the answer to an offer.
            (Role::Client, Packet::UnsubAck(_)) => self.malformed(crate::codec::error::Malformed::TrailingBytes),
            (Role::Client, Packet::PingResp(packet)) => self.outputs.push_back(Output::Pong(packet.dictionary)),
            (Role::Server, Packet::Disconnect(packet)) => self.receive_disconnect(&packet),
            (Role::Client, Packet::Disconnect(packet)) if self.terms.dialect.is_extended() => self.receive_disconnect(&packet),
            (_, Packet::Notice(notice)) if notice.reason != Reason::CONFIRM => self.outputs.push_back(Output::Notice(notice)),
            _ => self.unexpected(frame),
        }
    }

    /// Judges the keys of a packet.
    pub(super) fn check_dictionary(&self, kind: Kind, dictionary: &Dictionary) -> Result<(), Refusal> {
        if dictionary.is_empty() || kind == Kind::Publish && MessageOnly::is(dictionary) {
            return Ok(());
        }
        let registry = self.registry();
        check_keys(kind, self.role().other(), dictionary, &|number| registry.key(self.terms.experiments, number))
    }

    /// Judges the keys of a packet, then shows it to the experiments in force.
    fn check(&mut self, packet: &mut Packet) -> Result<(), Refusal> {
        let experiments = self.terms.experiments;
        self.check_dictionary(packet.kind(), packet.dictionary())?;
        if experiments != 0 {
            let registry = self.registry().clone();
            let context = Context { role: self.role(), terms: &self.terms };
            for extension in registry.in_force(experiments) {
                extension.inbound(&context, packet)?;
            }
        }
        if let (Packet::Subscribe(packet), Role::Server) = (&*packet, self.role()) {
            check_requirement(&packet.dictionary, &self.terms.profile.of_subscriptions())?;
        }
        Ok(())
    }

    /// Answers a packet that was refused before anybody looked at what it wants: with its acknowledgement where it has
    /// one, by its owner's notice where it has none and the connection can go on, else with a close.
    pub(super) fn refuse_packet(&mut self, packet: Packet, refusal: Refusal) {
        let publish = if let Packet::Publish(publish) = &packet { Some(publish) } else { None };
        let refusal = self.judged(packet.kind(), publish, refusal);
        let refusal = self.disclosed(&refusal);
        let problem = Dictionary::with(property::PROBLEM, &refusal.problem.to_dictionary());
        match packet {
            Packet::Publish(Publish { qos: Qos::AtMostOnce, .. }) => {}
            Packet::Publish(Publish { qos, id: Some(id), dictionary, .. }) => {
                let ack = Outcome::refused(refusal).to_ack(id, &Asked::of(&dictionary));
                self.send(if qos == Qos::AtLeastOnce { Packet::PubAck(ack) } else { Packet::PubRec(ack) });
            }
            Packet::Subscribe(packet) => {
                let reasons = vec![refusal.reason; packet.items.len()];
                self.send(Packet::SubAck(Box::new(SubAck { id: packet.id, reasons, dictionary: problem })));
            }
            Packet::Unsubscribe(packet) => {
                let reasons = vec![refusal.reason; packet.filters.len()];
                let answer = UnsubAck { id: packet.id, reasons, dictionary: problem, accept: Default::default() };
                self.send(Packet::UnsubAck(Box::new(answer)));
            }
            _ => self.refuse_connection(refusal),
        }
    }

    pub(super) fn receive_publish(&mut self, publish: Publish) {
        if let Some(ticket) = self.arrived(&publish) {
            self.outputs.push_back(Output::Message { ticket, publish });
        }
    }

    /// A message came: it is to be handed on, above QoS 0 under the ticket. `None`: it is not, and all that follows was said.
    #[inline]
    pub(super) fn arrived(&mut self, publish: &Publish) -> Option<Option<Ticket>> {
        match publish.id {
            None => Some(None),
            Some(id) => self.arrived_under(id, publish).map(Some),
        }
    }

    fn arrived_under(&mut self, id: PacketId, publish: &Publish) -> Option<Ticket> {
        // What a plain peer was never told it cannot break: there the driver stops reading instead.
        let is_at_end = self.terms.dialect.is_extended() && self.inbound.open() >= usize::from(self.terms.receive_window);
        if is_at_end && !self.inbound.is_open(id, publish.qos) {
            let window = u64::from(self.terms.receive_window);
            let problem = Problem::titled("more messages were sent at once than agreed").field("receive-maximum").limit(window, window + 1);
            self.end_for(Refusal::new(Reason::RECEIVE_MAXIMUM_EXCEEDED, problem.retry(Retry::Changed)), Cause::Refused);
            return None;
        }
        self.uncounted_if_plain();
        match self.inbound.arrive(id, publish.qos, publish.dup, Asked::of(&publish.dictionary)) {
            Arrival::New(ticket) => return Some(ticket),
            Arrival::Repeated(reason) => self.send(Packet::PubRec(Ack::new(id, reason, Dictionary::EMPTY))),
            Arrival::InProgress => {}
            Arrival::Settled => self.answer_messages(|inbound, in_order, answer| inbound.settled_meanwhile(id, in_order, answer)),
        }
        None
    }

    /// PUBACK or PUBCOMP: the end of a delivery.
    pub(super) fn receive_final(&mut self, ack: &Ack, qos: Qos) {
        let Some(message) = self.outbound.get(ack.id) else { return };
        let is_due = match qos {
            Qos::AtLeastOnce => message.stage != Stage::Waiting(Again::New),
            _ => matches!(message.stage, Stage::Received | Stage::Waiting(Again::Release)),
        };
        if message.delivery.qos != qos || !is_due {
            return;
        }
        let Some(message) = self.outbound.finish(ack.id) else { return };
        let outcome = match (qos, &message.committed) {
            (Qos::ExactlyOnce, Some(committed)) => (**committed).clone(),
            // What was committed with PUBREC is not taken back: PUBCOMP only ends the exchange.
            (Qos::ExactlyOnce, None) => Outcome::accepted(),
            _ => Outcome::of_ack(ack),
        };
        self.settled(message, outcome);
    }

    fn settled(&mut self, message: InFlight, outcome: Outcome) {
        let returned = outcome.reason.is_error().then(|| Box::new(message.delivery));
        self.outputs.push_back(Output::Settled { token: message.token, outcome, returned });
        self.send_again();
    }

    pub(super) fn receive_pubrec(&mut self, ack: &Ack) {
        let Some(message) = self.outbound.get_mut(ack.id).filter(|message| message.delivery.qos == Qos::ExactlyOnce) else {
            // The peer waits for a PUBREL, or it would ask for ever.
            let unknown = Ack::new(ack.id, Reason::PACKET_IDENTIFIER_NOT_FOUND, Dictionary::EMPTY);
            return self.send(Packet::PubRel(unknown));
        };
        if ack.reason.is_error() {
            if !matches!(message.stage, Stage::Published | Stage::Waiting(Again::Publish)) {
                return;
            }
            if let Some(message) = self.outbound.finish(ack.id) {
                self.settled(message, Outcome::of_ack(ack));
            }
            return;
        }
        match message.stage {
            Stage::Published | Stage::Waiting(Again::Publish) => {
                let outcome = Outcome::of_ack(ack);
                message.committed = (outcome != Outcome::accepted()).then(|| Box::new(outcome));
                if message.stage == Stage::Published {
                    message.stage = Stage::Recording;
                } else {
                    // Not sent again on this connection yet, but the peer has it all the same.
                    self.outbound.is_received_early(ack.id);
                }
                self.outputs.push_back(Output::Record(Record::Received(ack.id)));
            }
            Stage::Received => self.send(Packet::PubRel(Ack::success(ack.id))),
            Stage::Recording | Stage::Waiting(_) => {}
        }
    }

    pub(super) fn receive_pubrel(&mut self, ack: &Ack) {
        if self.inbound.release(ack.id) {
            self.outputs.push_back(Output::Record(Record::Released(ack.id)));
        } else {
            let unknown = Ack::new(ack.id, Reason::PACKET_IDENTIFIER_NOT_FOUND, Dictionary::EMPTY);
            self.send(Packet::PubComp(unknown));
        }
    }

    fn receive_answer_to_request(&mut self, id: crate::packet::PacketId, answer: Answer, frame: &Frame) {
        match self.outbound.answered(id) {
            Some(token) => self.outputs.push_back(Output::Answered { token, answer }),
            None if self.terms.dialect.is_extended() => self.unexpected(frame),
            // MQTT 3.1.1 does not call it a violation, and there are servers that answer each filter by itself: like an acknowledgement of
            // an unknown message it changes nothing.
            None => {
                let kind = if matches!(answer, Answer::Subscribed(_)) { Kind::SubAck } else { Kind::UnsubAck };
                let problem = Problem::titled("it answers nothing that was asked").field("packet-identifier");
                let refusal = Refusal::new(Reason::PACKET_IDENTIFIER_NOT_FOUND, problem);
                self.judged(kind, None, refusal);
            }
        }
    }

    fn receive_disconnect(&mut self, packet: &Disconnect) {
        if let Some(seconds) = packet.dictionary.value(property::SESSION_EXPIRY_INTERVAL) {
            // A session that was to end with its connection cannot be kept by saying so at the end.
            if self.role() == Role::Server && self.terms.session_expiry_s != 0 {
                let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
                self.terms.session_expiry_s = seconds.min(self.terms.profile.session_expiry_s_max);
            }
        }
        let problem = packet.dictionary.value(property::PROBLEM).map(|map: Dictionary| Arc::new(Problem::of_dictionary(&map)));
        let retry_after_ms = packet.dictionary.value(property::RETRY_AFTER);
        self.close(Cause::PeerLeft { reason: packet.reason, problem, retry_after_ms });
    }

    /// Client: subscribes. `None`: not now, the connection is not ready or every identifier is in use.
    pub fn subscribe(&mut self, items: Vec<crate::packet::SubscribeItem>, dictionary: Dictionary, token: super::Token) -> Option<()> {
        let id = self.is_ready().then(|| self.outbound.request(token)).flatten()?;
        self.send(Packet::Subscribe(Box::new(Subscribe { id, items, dictionary })));
        Some(())
    }

    /// Client: unsubscribes. `None`: not now.
    pub fn unsubscribe(&mut self, filters: Vec<crate::packet::TopicFilter>, dictionary: Dictionary, token: super::Token) -> Option<()> {
        let id = self.is_ready().then(|| self.outbound.request(token)).flatten()?;
        let filters = filters.into_iter().map(Ok).collect();
        self.send(Packet::Unsubscribe(Box::new(Unsubscribe { id, filters, dictionary })));
        Some(())
    }

    /// Server: an answer that was asked for, or advice. A client's notices go this way too.
    pub fn answer(&mut self, packet: Packet) {
        if self.is_open() && matches!(packet.kind(), Kind::SubAck | Kind::UnsubAck | Kind::PingResp | Kind::Notice) {
            self.send(packet);
        }
    }

    /// Client: asks the server for a sign of life now.
    pub fn ping(&mut self) {
        self.ask(Dictionary::EMPTY);
    }

    /// Client: as [`Session::ping`], and asks with it what stands in the dictionary; a plain peer is asked for the sign of life alone.
    pub fn ask(&mut self, dictionary: Dictionary) {
        if self.is_ready() {
            self.send(Packet::PingReq(Ping { dictionary }));
        }
    }
}
