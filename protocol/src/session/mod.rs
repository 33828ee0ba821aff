//! The session: one end of the protocol without a socket, a clock or a thread; the same code in server and client.
//!
//! ```text
//!   frames ----> receive ---.                    .---> Send, Publish ---> lower ---> bytes
//!   deliveries -> deliver ---+--> Session ------+----> Message ---> the owner ---> settle
//!   answers ----> answer ----+    (one owner)    +---> Settled, Answered
//!   time -------> tick ------'                    '--> Closed
//! ```
//!
//! **The drain law:** after every call that changes it, take outputs with [`Session::poll`] until there is none, before
//! anything else goes in. A negotiation changes the dialect between two packets, and the law is what makes "between"
//! well defined. Then ask [`Session::deadline`] when to call [`Session::tick`].
//!
//! Time is a number of milliseconds that never runs back; where it starts does not matter. The state is `Clone + Eq +
//! Hash`, so a model checker can hold it.
//!
//! | concern | where |
//! | --- | --- |
//! | from the first byte to an open connection, server and client | [`opening`] |
//! | packets of an open connection | [`open`] |
//! | the shortest way of the packets that almost all traffic is made of | `direct` |
//! | messages from the peer: tickets, QoS 2 identifiers | [`inbound`] |
//! | messages to the peer: identifiers, window, retransmission | [`outbound`] |
//! | keep alive and other deadlines | [`clock`] |
//! | what a server grants | [`policy`] |
//! | refusals that a session makes by itself | `judged` |
//! | what both ends hold when an extended session is resumed | [`resume`], [`held`], [`reconcile`] |
//! | how a connection ends | `ending` |
//! | what outlives a connection | [`Parked`] |

mod by_id;
pub mod clock;
mod direct;
mod ending;
pub mod held;
pub mod inbound;
mod judged;
pub mod open;
pub mod opening;
pub mod outbound;
pub mod output;
mod parked;
pub mod policy;
pub mod reconcile;
pub mod resume;

pub use direct::{ACK_LEN, Direct};
pub use held::{Held, Mark};
pub use opening::{ClientSettings, OfferSettings};
pub use outbound::{Delivery, Restored};
pub use output::{Answer, Cause, Opened, Outcome, Output, Record, Sending, Ticket, Token};
pub use parked::Parked;
pub use policy::{Acceptance, Extended, ServerPolicy, SessionState, check_requirement};

use crate::codec::dictionary::{Dictionary, Limits, MapBuilder};
use crate::codec::error::Malformed;
use crate::codec::frame::Frame;
use crate::dialect::terms::PACKET_SIZE_MAX;
use crate::dialect::{Dialect, Lowered, Terms, read, write};
use crate::extension::{Context, Registry};
use crate::packet::connect::Will;
use crate::packet::id::Qos;
use crate::packet::kind::Kind;
use crate::packet::legality::Role;
use crate::packet::property;
use crate::packet::{Message, Packet, Reason, Refusal};
use bytes::BytesMut;
use clock::Clock;
use inbound::Inbound;
use opening::{Awaited, Opening, Trial};
use outbound::Outbound;
use std::collections::VecDeque;
use std::sync::Arc;

/// Where a connection stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Phase {
    Opening(Box<Opening>),
    /// Open and plain, but for what is left of a negotiation.
    Trial(Box<Trial>),
    Open,
    Closed,
}

/// What both ends' policies come down to for packets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Side {
    Server(Arc<ServerPolicy>),
    Client(Arc<ClientSettings>),
}

/// One end of one connection, with the session that it serves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Session {
    side: Side,
    phase: Phase,
    terms: Terms,
    inbound: Inbound,
    outbound: Outbound,
    clock: Clock,
    /// The count of messages above QoS 0 that both ends keep.
    mark: Option<Mark>,
    /// Client: whether this connection's CONNECT or confirm said what is held.
    has_said_held: bool,
    will: Option<Box<Will>>,
    /// The number of the next trace id; 0: there are none.
    next_trace: u64,
    outputs: VecDeque<Output>,
}

/// What became of a delivery that was offered to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivered {
    /// Encode it and send it; the identifier is there exactly when the QoS is above 0.
    Now(Option<crate::packet::PacketId>),
    /// Not now: the window is full, or the connection is not ready. It is given back.
    Later(Delivery),
    /// Never: it is larger than the peer takes.
    TooLarge(Delivery),
}

/// As [`Delivered`], where nothing has to be given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admitted {
    Now(Option<crate::packet::PacketId>),
    Later,
    TooLarge,
}

impl Session {
    /// The server's end of a connection that was just accepted.
    pub fn server(policy: Arc<ServerPolicy>, now_ms: u64) -> Self {
        let mut terms = Terms::plain(Dialect::V311, 0, 0);
        terms.receive_size_max = policy.packet_size_max;
        let until_ms = now_ms.saturating_add(policy.connect_timeout_ms);
        let phase = Phase::Opening(Box::new(Opening { until_ms, awaited: Awaited::Connect }));
        Self::new(Side::Server(policy), phase, terms, Parked::default(), Clock::new(now_ms))
    }

    /// The client's end of a connection that was just made; its first output is CONNECT.
    pub fn client(settings: Arc<ClientSettings>, parked: Parked, now_ms: u64) -> Self {
        let terms = Terms::plain(settings.connect.dialect, settings.connect.keep_alive_s, 0);
        let until_ms = now_ms.saturating_add(settings.connect_timeout_ms);
        let phase = Phase::Opening(Box::new(Opening { until_ms, awaited: Awaited::ConnAck }));
        let mut session = Self::new(Side::Client(settings), phase, terms, parked, Clock::new(now_ms));
        session.start_client();
        session
    }

    fn new(side: Side, phase: Phase, terms: Terms, parked: Parked, clock: Clock) -> Self {
        let Parked { inbound, outbound, mark, .. } = parked;
        Self {
            side,
            phase,
            terms,
            inbound,
            outbound,
            clock,
            mark,
            has_said_held: false,
            will: None,
            next_trace: 0,
            outputs: VecDeque::new(),
        }
    }

    pub fn role(&self) -> Role {
        match self.side {
            Side::Server(_) => Role::Server,
            Side::Client(_) => Role::Client,
        }
    }

    /// Server: what is granted on this connection.
    pub fn policy(&self) -> Option<&Arc<ServerPolicy>> {
        match &self.side {
            Side::Server(policy) => Some(policy),
            Side::Client(_) => None,
        }
    }

    /// What was agreed so far.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Trial(_))
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Whether frames may go in now: not while the owner decides about a CONNECT, and not while as many messages wait
    /// for their outcome as were agreed. A driver that stops reading then holds the peer back by its transport.
    pub fn wants_frames(&self) -> bool {
        match &self.phase {
            Phase::Opening(opening) => !matches!(opening.awaited, Awaited::Decision { .. }),
            Phase::Open | Phase::Trial(_) => self.inbound.open() <= usize::from(self.terms.receive_window),
            Phase::Closed => false,
        }
    }

    /// The most bytes of a packet from the peer.
    pub fn receive_size_max(&self) -> u32 {
        self.terms.receive_size_max
    }

    fn limits(&self) -> Limits {
        match &self.side {
            Side::Server(policy) => policy.limits,
            Side::Client(settings) => settings.limits,
        }
    }

    fn registry(&self) -> &Registry {
        match &self.side {
            Side::Server(policy) => &policy.registry,
            Side::Client(settings) => &settings.registry,
        }
    }

    /// A frame came from the peer.
    pub fn receive(&mut self, frame: &Frame, now_ms: u64) {
        self.clock.heard(now_ms);
        match &self.phase {
            Phase::Closed => {}
            Phase::Opening(_) => self.receive_opening(frame, now_ms),
            Phase::Open | Phase::Trial(_) => match self.raise(frame) {
                Ok(packet) => self.receive_open(packet, frame),
                Err(error) => self.malformed(error),
            },
        }
    }

    fn raise(&mut self, frame: &Frame) -> Result<Packet, Malformed> {
        // Until a confirm has come everything is plain, but for the confirm itself.
        let dialect = if self.awaits_confirm(frame) { Dialect::Extended } else { self.terms.dialect };
        read::raise(dialect, frame, self.limits())
    }

    /// Bytes came that are no frame, or a frame that is no packet.
    pub fn malformed(&mut self, error: Malformed) {
        let mut problem = crate::packet::Problem::titled(error.to_string()).retry(crate::packet::Retry::Never);
        if let Malformed::TooLarge { limit, seen } = error {
            problem = problem.limit(u64::from(limit), u64::from(seen));
        }
        self.end_for(Refusal::new(error.reason(), problem), |_| Cause::Malformed(error));
    }

    /// Whether [`Session::poll`] would give nothing, and nothing is to be tidied up behind what it gave.
    #[inline]
    pub fn is_silent(&self) -> bool {
        self.outputs.capacity() == 0
    }

    /// The next thing the session wants; `None`: nothing until something goes in.
    pub fn poll(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() && self.outputs.capacity() > 0 && matches!(self.side, Side::Server(_)) && !self.is_busy() {
            // A connection that does nothing holds no memory for what it might say.
            self.outputs = VecDeque::new();
        }
        output
    }

    /// Whether ordinary packets go by way of the outputs: where an experiment has to see them.
    fn is_busy(&self) -> bool {
        self.is_open() && self.terms.experiments != 0
    }

    /// Encodes a packet that [`Session::poll`] gave.
    pub fn lower(&self, packet: &Packet, out: &mut BytesMut) -> Lowered {
        write::lower(self.terms.dialect, self.role(), packet, out)
    }

    /// Offers a message for the peer. QoS 0 goes whenever the connection is ready; above it the window decides.
    pub fn deliver(&mut self, delivery: Delivery, token: Token) -> Delivered {
        match self.admit(&delivery.message, delivery.qos, delivery.retain, &delivery.hop, token) {
            Admitted::Now(id) => Delivered::Now(id),
            Admitted::Later => Delivered::Later(delivery),
            Admitted::TooLarge => Delivered::TooLarge(delivery),
        }
    }

    /// As [`Session::deliver`], for an owner that keeps the message: nothing is cloned at QoS 0 or when it cannot go.
    pub fn admit(&mut self, message: &Message, qos: Qos, retain: bool, hop: &Dictionary, token: Token) -> Admitted {
        self.admit_as(message, qos, retain, hop, token, || message.clone())
    }

    /// As [`Session::admit`]; `own` gives the message as the session keeps it, and is called only if it does.
    #[inline]
    pub fn admit_as(
        &mut self,
        message: &Message,
        qos: Qos,
        retain: bool,
        hop: &Dictionary,
        token: Token,
        own: impl FnOnce() -> Message,
    ) -> Admitted {
        if !self.is_ready() {
            return Admitted::Later;
        }
        let may_be_too_large = self.terms.send_size_max < PACKET_SIZE_MAX || message.len() > PACKET_SIZE_MAX as usize / 2;
        if may_be_too_large && self.packet_len(message, hop) > self.terms.send_size_max as usize {
            return Admitted::TooLarge;
        }
        if qos == Qos::AtMostOnce {
            return Admitted::Now(None);
        }
        self.take_up(qos, retain, hop, token, own)
    }

    /// A message above QoS 0 gets an identifier, if there is one for it.
    fn take_up(&mut self, qos: Qos, retain: bool, hop: &Dictionary, token: Token, own: impl FnOnce() -> Message) -> Admitted {
        if self.outbound.credit() == 0 || self.outbound.has_waiting() {
            return Admitted::Later;
        }
        self.uncounted_if_plain();
        let delivery = Delivery { message: own(), qos, retain, hop: hop.clone() };
        Admitted::Now(Some(self.outbound.start(delivery, token)))
    }

    /// Upper bound of the bytes of the PUBLISH that a message becomes.
    fn packet_len(&self, message: &Message, hop: &Dictionary) -> usize {
        let dictionary = if self.terms.dialect.is_extended() { hop.as_bytes().len() + message.map().len() + 8 } else { 0 };
        message.topic().len() + message.payload().len() + dictionary + 9
    }

    /// Whether messages and requests may be sent: open, and not waiting for the end of a negotiation.
    pub fn is_ready(&self) -> bool {
        match &self.phase {
            Phase::Open => true,
            Phase::Trial(trial) => !trial.holds(),
            Phase::Opening(_) | Phase::Closed => false,
        }
    }

    /// How many messages above QoS 0 the peer takes now.
    pub fn credit(&self) -> usize {
        if self.is_ready() && !self.outbound.has_waiting() { self.outbound.credit() } else { 0 }
    }

    /// Messages above QoS 0 that the peer has not settled.
    pub fn in_flight(&self) -> &Outbound {
        &self.outbound
    }

    /// Messages from the peer that are not settled or released.
    pub fn received(&self) -> &Inbound {
        &self.inbound
    }

    /// The PUBLISH of a delivery above QoS 0 that was admitted, or that is to be sent again as new, does not leave at once: its owner
    /// keeps a record first. When that is kept, [`Session::leaves`] tells whether it still goes.
    #[inline]
    pub fn waits_to_leave(&mut self, id: crate::packet::PacketId) {
        self.outbound.waits_to_leave(id);
    }

    /// A PUBLISH that waited to leave is written now, in the dialect in force; `None`: it is not. A server that accepts an offer says
    /// nothing more in the dialect before, and counts from there on: what had not left by then is sent as new behind the confirm.
    #[inline]
    pub fn leaves(&mut self, id: crate::packet::PacketId) -> Option<&Delivery> {
        self.outbound.leaves(id).map(|message| &message.delivery)
    }

    /// Gives up a delivery that would be sent again, because the peer may no longer get it; its identifier is free.
    pub fn withdraw(&mut self, id: crate::packet::PacketId) -> Option<Delivery> {
        let message = self.outbound.finish(id)?;
        // The peer may hold it, and would be told that it cannot.
        self.end_count();
        self.send_again();
        Some(message.delivery)
    }

    /// Settles a message that was handed on.
    pub fn settle(&mut self, ticket: Ticket, outcome: Outcome) {
        self.answer_messages(|inbound, in_order, answer| inbound.settle(ticket, outcome, in_order, answer));
    }

    /// Sends the acknowledgements that `settle` says may leave.
    fn answer_messages(&mut self, settle: impl FnOnce(&mut Inbound, bool, &mut dyn FnMut(&inbound::Pending, Outcome))) {
        let (is_ordinary, dialect, role) = (self.is_ordinary(), self.terms.dialect, self.role());
        let outputs = &mut self.outputs;
        let mut others: Vec<Packet> = Vec::new();
        settle(&mut self.inbound, self.terms.acks_in_order, &mut |pending, outcome| {
            let ack = outcome.to_ack(pending.id, &pending.asked);
            let packet = if pending.qos == Qos::AtLeastOnce { Packet::PubAck(ack) } else { Packet::PubRec(ack) };
            // What `send` would come to.
            let is_short = packet.dictionary().is_empty();
            if is_ordinary && is_short && others.is_empty() && write::fate(dialect, role, &packet) == Lowered::Frame {
                outputs.push_back(Output::Send(packet));
            } else {
                others.push(packet);
            }
        });
        if self.is_open() {
            others.into_iter().for_each(|packet| self.send(packet));
        }
    }

    /// A record was kept: the packet that waited for it leaves.
    pub fn recorded(&mut self, record: Record) {
        match record {
            Record::Released(id) => {
                if self.inbound.released(id) && self.is_open() {
                    self.send(Packet::PubComp(crate::packet::Ack::success(id)));
                }
            }
            Record::Received(id) => {
                if self.outbound.recorded(id) && self.is_open() {
                    self.send(Packet::PubRel(crate::packet::Ack::success(id)));
                }
            }
        }
    }

    /// Hands a packet to the driver, or closes where the dialect can say it only so.
    fn send(&mut self, packet: Packet) {
        if self.is_closed() {
            return;
        }
        let Some(mut packet) = self.hold_back(packet) else { return };
        if self.terms.experiments != 0 {
            let registry = self.registry().clone();
            let context = Context { role: self.role(), terms: &self.terms };
            registry.in_force(self.terms.experiments).for_each(|extension| extension.outbound(&context, &mut packet));
        }
        match write::fate(self.terms.dialect, self.role(), &packet) {
            Lowered::Frame => {
                self.shorten(&mut packet);
                self.outputs.push_back(Output::Send(packet));
            }
            Lowered::Nothing => {}
            Lowered::Close => {
                let refusal = refusal_in(&packet);
                self.close(Cause::Refused(refusal));
            }
        }
    }

    /// Leaves out what only explains where the packet would be longer with it than its receiver takes: the reason stands without.
    /// What a packet asks for is never left out.
    fn shorten(&self, packet: &mut Packet) {
        const HEAD: usize = 16;
        let asks = matches!(packet.kind(), Kind::Connect | Kind::Publish | Kind::Subscribe | Kind::Unsubscribe);
        if asks || packet.dictionary().is_empty() {
            return;
        }
        let len_max = (self.limits().len_max as usize).min((self.terms.send_size_max as usize).saturating_sub(HEAD));
        for key in [property::TOPIC.number, property::ITEMS.number, property::PROBLEM.number] {
            let dictionary = packet.dictionary();
            if dictionary.as_bytes().len() <= len_max {
                return;
            }
            *packet.dictionary_mut() = MapBuilder::new().merge(dictionary).remove(key).finish();
        }
    }
}

/// The refusal that a packet says.
fn refusal_in(packet: &Packet) -> Refusal {
    let (reason, dictionary) = match packet {
        Packet::ConnAck(packet) => (packet.reason, &packet.dictionary),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => (ack.reason, &ack.dictionary),
        Packet::Disconnect(packet) => (packet.reason, &packet.dictionary),
        Packet::SubAck(packet) => {
            let reason = packet.reasons.iter().find(|reason| reason.is_error()).copied();
            (reason.unwrap_or(Reason::UNSPECIFIED_ERROR), &packet.dictionary)
        }
        other => (Reason::UNSPECIFIED_ERROR, other.dictionary()),
    };
    let problem = dictionary.value(property::PROBLEM).map(|map| crate::packet::Problem::of_dictionary(&map)).unwrap_or_default();
    Refusal::new(reason, problem)
}
