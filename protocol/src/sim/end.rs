//! One end of a pair: a session with an owner that does the obvious, unless a test says otherwise.

use super::{Exchange, Pipe};
use crate::codec::dictionary::Dictionary;
use crate::dialect::write::PublishFrame;
use crate::packet::legality::Role;
use crate::packet::{Message, Packet, Ping, Publish, Qos, Reason, Refusal, SubAck, UnsubAck};
use crate::session::{Acceptance, Cause, Delivered, Delivery, Mark, Outcome, Output, Parked, Record, Session, SessionState, Ticket, Token};
use bytes::BytesMut;
use std::collections::VecDeque;

/// A session and what its owner does.
#[derive(Debug)]
pub struct End {
    pub session: Session,
    /// Bytes that came and are not whole frames yet.
    pub arrived: BytesMut,
    /// Settle each message as it comes; else a test does, with the tickets of [`End::take_tickets`].
    pub settles: Option<Outcome>,
    /// Keep each record as it comes; else a test does.
    pub records: bool,
    /// Refuse each CONNECT.
    pub refuses: Option<Refusal>,
    /// The stored session that a CONNECT without clean start resumes.
    pub parked: Option<Parked>,
    /// The name of a count of messages, if the server begins one.
    pub count_mark: Option<Mark>,
    /// Messages that did not fit the window, in order.
    pub queue: VecDeque<(Delivery, Token)>,
    /// Everything else the session said, in order.
    pub events: Vec<Output>,
    messages: Vec<Publish>,
    tickets: Vec<Ticket>,
    pub kept: Vec<Record>,
    outcomes: Vec<(Token, Outcome)>,
    pub closed: Option<Cause>,
    pub will: Option<Box<crate::packet::Will>>,
}

impl End {
    pub fn new(session: Session) -> Self {
        Self {
            session,
            arrived: BytesMut::new(),
            settles: Some(Outcome::accepted()),
            records: true,
            refuses: None,
            parked: None,
            count_mark: None,
            queue: VecDeque::new(),
            events: Vec::new(),
            messages: Vec::new(),
            tickets: Vec::new(),
            kept: Vec::new(),
            outcomes: Vec::new(),
            closed: None,
            will: None,
        }
    }

    /// Sends a message to the peer, or queues it.
    pub fn publish(&mut self, message: Message, qos: Qos, token: Token) {
        self.send(Delivery { message, qos, retain: false, hop: Dictionary::EMPTY }, token);
    }

    pub fn send(&mut self, delivery: Delivery, token: Token) {
        self.queue.push_back((delivery, token));
    }

    /// `TOPIC PAYLOAD` of each message that came since the last call.
    pub fn take_messages(&mut self) -> Vec<String> {
        let text = |publish: Publish| format!("{} {}", publish.message.topic_str(), String::from_utf8_lossy(publish.message.payload()));
        std::mem::take(&mut self.messages).into_iter().map(text).collect()
    }

    /// Each message that came since the last call, as it came.
    pub fn take_publishes(&mut self) -> Vec<Publish> {
        std::mem::take(&mut self.messages)
    }

    /// Tickets of messages that nobody has settled.
    pub fn take_tickets(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.tickets)
    }

    /// Token and reason of each delivery that the peer settled since the last call.
    pub fn take_outcomes(&mut self) -> Vec<(Token, Reason)> {
        std::mem::take(&mut self.outcomes).into_iter().map(|(token, outcome)| (token, outcome.reason)).collect()
    }

    /// As [`End::take_outcomes`], with all that was said.
    pub fn take_settled(&mut self) -> Vec<(Token, Outcome)> {
        std::mem::take(&mut self.outcomes)
    }

    /// Takes every output of the session; tells whether there was one.
    pub(super) fn drain(&mut self, now_ms: u64, role: Role, pipe: &mut Pipe, exchange: &mut Exchange) -> bool {
        let mut moved = false;
        // The drain law: what the session says already goes before anything new.
        while let Some(output) = self.session.poll() {
            moved = true;
            self.act(output, now_ms, role, pipe, exchange);
        }
        moved | self.flush_queue(now_ms, role, pipe, exchange)
    }

    fn flush_queue(&mut self, now_ms: u64, role: Role, pipe: &mut Pipe, exchange: &mut Exchange) -> bool {
        let mut moved = false;
        while let Some((delivery, token)) = self.queue.pop_front() {
            match self.session.deliver(delivery.clone(), token) {
                Delivered::Now(id) => {
                    moved = true;
                    self.write_publish(&delivery, id, false, now_ms, role, pipe, exchange);
                }
                Delivered::Later(delivery) => {
                    self.queue.push_front((delivery, token));
                    break;
                }
                Delivered::TooLarge(_) => self.outcomes.push((token, Outcome::refused(Refusal::bare(Reason::PACKET_TOO_LARGE)))),
            }
        }
        moved
    }

    #[allow(clippy::too_many_arguments)]
    fn write_publish(
        &mut self,
        delivery: &Delivery,
        id: Option<crate::packet::PacketId>,
        dup: bool,
        now_ms: u64,
        role: Role,
        pipe: &mut Pipe,
        exchange: &mut Exchange,
    ) {
        let dialect = self.session.terms().dialect;
        let mut bytes = BytesMut::new();
        PublishFrame::new(dialect, delivery.qos, delivery.retain, &delivery.message, &delivery.hop).write(id, dup, &mut bytes);
        exchange.record(role, dialect, now_ms, &bytes);
        pipe.send(&bytes);
        self.session.sent(now_ms);
    }

    fn act(&mut self, output: Output, now_ms: u64, role: Role, pipe: &mut Pipe, exchange: &mut Exchange) {
        match output {
            Output::Send(packet) => {
                let mut bytes = BytesMut::new();
                let dialect = self.session.terms().dialect;
                assert_eq!(self.session.lower(&packet, &mut bytes), crate::dialect::Lowered::Frame, "{packet:?}");
                exchange.record(role, dialect, now_ms, &bytes);
                pipe.send(&bytes);
                self.session.sent(now_ms);
            }
            Output::Publish(sending) => self.write_publish(&sending.delivery, sending.id, sending.dup, now_ms, role, pipe, exchange),
            Output::Connect(connect) => self.decide(connect.clean_session, now_ms),
            Output::Message { ticket, publish } => {
                self.messages.push(publish);
                match (ticket, self.settles.clone()) {
                    (Some(ticket), Some(outcome)) => self.session.settle(ticket, outcome),
                    (Some(ticket), None) => self.tickets.push(ticket),
                    (None, _) => {}
                }
            }
            Output::Record(record) if self.records => self.session.recorded(record),
            Output::Record(record) => self.kept.push(record),
            Output::Settled { token, outcome, .. } => self.outcomes.push((token, outcome)),
            Output::Subscribe(packet) => {
                let grant = |item: &crate::packet::SubscribeItem| {
                    if item.filter.is_ok() { Reason(item.qos as u8) } else { Reason::TOPIC_FILTER_INVALID }
                };
                let reasons = packet.items.iter().map(grant).collect();
                self.session.answer(Packet::SubAck(Box::new(SubAck { id: packet.id, reasons, dictionary: Dictionary::EMPTY })));
                self.events.push(Output::Subscribe(packet));
            }
            Output::Unsubscribe(packet) => {
                let reasons = vec![Reason::SUCCESS; packet.filters.len()];
                let answer = UnsubAck { id: packet.id, reasons, dictionary: Dictionary::EMPTY, accept: Default::default() };
                self.session.answer(Packet::UnsubAck(Box::new(answer)));
                self.events.push(Output::Unsubscribe(packet));
            }
            Output::Ping(_) => self.session.answer(Packet::PingResp(Ping::default())),
            Output::Closed { cause, will } => {
                self.closed = Some(cause);
                self.will = will;
                pipe.cut();
            }
            other => self.events.push(other),
        }
    }

    fn decide(&mut self, clean_session: bool, now_ms: u64) {
        if let Some(refusal) = self.refuses.clone() {
            return self.session.refuse(refusal);
        }
        let parked = self.parked.take().filter(|_| !clean_session);
        let state = if parked.is_some() { SessionState::Resumed } else { SessionState::New };
        let acceptance = Acceptance { state, count_mark: self.count_mark, ..Acceptance::default() };
        self.session.accept(acceptance, parked, now_ms);
    }
}
