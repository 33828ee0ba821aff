//! From the first byte to an open connection.
//!
//! ```text
//! server  Connect --CONNECT--> Decision --accept--> Open        client  ConnAck --CONNACK 0--> Open
//!                                       --refuse--> Closed                      --CONNACK n--> Closed
//! ```
//! On a plain connection a *trial* may still be running when it is open: see `Trial`.

mod trial;

pub(super) use trial::Trial;

use super::outbound::{Again, Stage};
use super::policy::{Acceptance, ServerPolicy, SessionState, check_requirement, terms_of_connack};
use super::{Cause, Opened, Output, Parked, Phase, Sending, Session, Side};
use crate::codec::dictionary::{Dictionary, Limits, MapBuilder};
use crate::codec::error::Malformed;
use crate::codec::frame::Frame;
use crate::dialect::offer::{Nonce, Offer};
use crate::dialect::read::{self, BadConnect};
use crate::dialect::terms::PACKET_SIZE_MAX;
use crate::dialect::{Dialect, Terms};
use crate::extension::Registry;
use crate::packet::connect::{ConnAck, Connect};
use crate::packet::kind::Kind;
use crate::packet::legality::{Role, check_keys};
use crate::packet::property;
use crate::packet::subscribe::Unsubscribe;
use crate::packet::{Ack, Packet, Problem, Reason, Refusal, Retry};
use std::num::NonZeroU64;
use std::sync::Arc;

/// How long a server holds deliveries to a session whose last connection was extended, while the new one is plain and
/// its first packet has not come.
const HOLD_MS: u64 = 1000;

/// What a client brings to a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientSettings {
    /// CONNECT as it is sent; its dialect is the door.
    pub connect: Connect,
    /// An offer behind a plain CONNECT.
    pub offer: Option<OfferSettings>,
    /// How many messages above QoS 0 are taken at once, at least 1.
    pub receive_window: u16,
    /// The most bytes of a packet that is taken.
    pub packet_size_max: u32,
    /// Milliseconds until the connection must be open.
    pub connect_timeout_ms: u64,
    pub limits: Limits,
    pub registry: Registry,
}

impl ClientSettings {
    pub fn new(connect: Connect) -> Self {
        Self {
            connect,
            offer: None,
            receive_window: u16::MAX,
            packet_size_max: PACKET_SIZE_MAX,
            connect_timeout_ms: 10_000,
            limits: Limits::default(),
            registry: Registry::default(),
        }
    }
}

/// An offer: the random part is the driver's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OfferSettings {
    pub nonce: Nonce,
    pub dictionary: Dictionary,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Opening {
    /// Until when the connection must be open.
    pub(super) until_ms: u64,
    pub(super) awaited: Awaited,
}

/// What an opening waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Awaited {
    /// Server: the first frame must be CONNECT ([MQTT-3.1.0-1]).
    Connect,
    /// Server: the owner decides.
    Decision { connect: Arc<Connect>, frame: Frame },
    /// Client: the first frame must be CONNACK ([MQTT-3.2.0-1]).
    ConnAck,
}

impl Session {
    /// Sends CONNECT, and behind it the offer and a PINGREQ, all for one write.
    pub(super) fn start_client(&mut self) {
        let Side::Client(settings) = &self.side else { return };
        let settings = Arc::clone(settings);
        self.terms.receive_size_max = settings.packet_size_max;
        let mut connect = settings.connect.clone();
        if connect.dialect.is_extended() && !connect.clean_session {
            let held = self.held_of_client();
            self.has_said_held = !held.is_empty();
            connect.dictionary = MapBuilder::new().merge(&connect.dictionary).merge(&held).finish();
        }
        self.outputs.push_back(Output::Send(Packet::Connect(Box::new(connect))));
        if let Some(packet) = offer_packet(&settings) {
            self.outputs.push_back(Output::Send(Packet::Unsubscribe(Box::new(packet))));
            self.outputs.push_back(Output::Send(Packet::PingReq(Default::default())));
        }
    }

    pub(super) fn receive_opening(&mut self, frame: &Frame, now_ms: u64) {
        let Phase::Opening(opening) = &self.phase else { return };
        match opening.awaited {
            Awaited::Connect => {
                if let Some(connect) = self.take_connect(frame) {
                    self.outputs.push_back(Output::Connect(connect));
                }
            }
            // Nothing is read while the owner decides; a driver that hands a frame in all the same breaks the contract.
            Awaited::Decision { .. } => {}
            Awaited::ConnAck => self.receive_connack(frame, now_ms),
        }
    }

    /// Server: whether the first frame has not come yet.
    pub(super) fn awaits_connect(&self) -> bool {
        matches!(&self.phase, Phase::Opening(opening) if opening.awaited == Awaited::Connect)
    }

    /// Server: the first frame; `None`: it is not for the owner to decide about.
    pub(super) fn take_connect(&mut self, frame: &Frame) -> Option<Arc<Connect>> {
        let connect = match read::raise_connect(frame, self.limits()) {
            Ok(connect) => Arc::new(connect),
            Err(BadConnect::Malformed(error)) => {
                self.malformed(error);
                return None;
            }
            Err(BadConnect::UnsupportedLevel(level)) => {
                let problem = Problem::titled(format!("protocol level {level} is not served")).retry(Retry::Never);
                self.refuse_unknown(Refusal::new(Reason::UNSUPPORTED_PROTOCOL_VERSION, problem));
                return None;
            }
        };
        self.terms.dialect = connect.dialect;
        let Side::Server(policy) = &self.side else { return None };
        let checked = check_keys(Kind::Connect, Role::Client, &connect.dictionary, &|_| None).and_then(|()| policy.check(&connect));
        if let Phase::Opening(opening) = &mut self.phase {
            opening.awaited = Awaited::Decision { connect: Arc::clone(&connect), frame: frame.compact() };
        }
        match checked {
            Ok(()) => Some(connect),
            Err(refusal) => {
                self.refuse_unknown(refusal);
                None
            }
        }
    }

    /// Refuses somebody of whom it is not known who it is.
    fn refuse_unknown(&mut self, refusal: Refusal) {
        let refusal = self.judged(Kind::Connect, None, refusal);
        let Side::Server(policy) = &self.side else { return };
        // What is wrong with the client's own demands and keys is said all the same: it tells nothing of anybody else.
        let disclosure = match refusal.reason {
            Reason::PROFILE_NOT_AVAILABLE | Reason::CRITICAL_KEY_UNKNOWN | Reason::KEY_NOT_ALLOWED => policy.disclosure,
            _ => policy.disclosure.before_authentication(),
        };
        let disclosed = disclosure.of(&refusal);
        self.refuse(disclosed);
    }

    /// Server: refuses the CONNECT that was handed on. A problem says why; with [`Reason::PROFILE_NOT_AVAILABLE`] the
    /// profile that is available goes with it.
    pub fn refuse(&mut self, refusal: Refusal) {
        if matches!(self.phase, Phase::Opening(_)) {
            self.refuse_connect(refusal);
        }
    }

    fn refuse_connect(&mut self, refusal: Refusal) {
        let mut map = MapBuilder::new();
        if !refusal.problem.is_empty() {
            map.set(property::PROBLEM, &refusal.problem.to_dictionary());
        }
        if let Some(Retry::After { after_ms, .. }) = refusal.problem.retry {
            map.set(property::RETRY_AFTER, &after_ms);
        }
        if let (Side::Server(policy), Reason::PROFILE_NOT_AVAILABLE) = (&self.side, refusal.reason) {
            map.set(property::PROFILE, &policy.profile.to_dictionary());
        }
        self.send(Packet::ConnAck(Box::new(ConnAck::refused(refusal.reason, map.finish()))));
        self.close(Cause::Refused(refusal));
    }

    /// Server: the CONNECT that was handed on is served under this policy, where its session was granted another one than its listener
    /// grants ([`ServerPolicy::carrying_on`]).
    pub fn serve_under(&mut self, policy: Arc<ServerPolicy>) {
        if let (Phase::Opening(_), Side::Server(granted)) = (&self.phase, &mut self.side) {
            *granted = policy;
        }
    }

    /// Server: whether the session that the client gets is what it requires. [`Session::accept`] asks it too; an owner asks it before
    /// anything is done for the client.
    ///
    /// # Errors
    /// It is not; the CONNECT is to be refused so.
    pub fn check_session(&self) -> Result<(), Refusal> {
        match (&self.phase, &self.side) {
            (Phase::Opening(opening), Side::Server(policy)) => match &opening.awaited {
                Awaited::Decision { connect, .. } => check_requirement(&connect.dictionary, &policy.profile),
                Awaited::Connect | Awaited::ConnAck => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Server: accepts the CONNECT that was handed on. `parked` is the stored session that is carried on.
    pub fn accept(&mut self, acceptance: Acceptance, parked: Option<Parked>, now_ms: u64) {
        if let Err(refusal) = self.check_session() {
            if let Some(Parked { inbound, outbound, mark, .. }) = parked {
                (self.inbound, self.outbound, self.mark) = (inbound, outbound, mark);
            }
            let refusal = self.judged(Kind::Connect, None, refusal);
            return self.refuse(self.disclosed(&refusal));
        }
        let Phase::Opening(opening) = std::mem::replace(&mut self.phase, Phase::Open) else { return };
        let (Awaited::Decision { connect, frame }, Side::Server(policy)) = (opening.awaited, &self.side) else {
            self.phase = Phase::Closed;
            return;
        };
        let policy = Arc::clone(policy);
        let session_present = acceptance.state == SessionState::Resumed && parked.is_some();
        let was_extended = parked.as_ref().is_some_and(|parked| parked.was_extended);
        if let Some(parked) = parked {
            (self.inbound, self.outbound, self.mark) = (parked.inbound, parked.outbound, parked.mark);
        }
        self.adopt(policy.terms(connect.dialect, &connect, &connect.dictionary));
        let extended = connect.dialect.is_extended();
        let wishes = &connect.dictionary;
        let mut dictionary =
            if extended { policy.connack(&self.terms, connect.keep_alive_s, &acceptance, wishes) } else { Dictionary::EMPTY };
        let mut outputs = Vec::new();
        if extended {
            match self.resume_by_connect(&connect.dictionary, acceptance.count_mark) {
                Ok((said, followed)) => (dictionary, outputs) = (MapBuilder::new().merge(&dictionary).merge(&said).finish(), followed),
                Err(refusal) => {
                    let refusal = self.judged(Kind::Connect, None, refusal);
                    return self.refuse_connect(self.disclosed(&refusal));
                }
            }
        }
        self.will = connect.will.clone().map(Box::new);
        self.send(Packet::ConnAck(Box::new(ConnAck { session_present, reason: Reason::SUCCESS, dictionary })));
        self.outputs.extend(outputs);
        if connect.dialect == Dialect::V311 && policy.extended == super::Extended::On {
            let hold_until_ms = NonZeroU64::new(now_ms + HOLD_MS).filter(|_| was_extended);
            self.begin_trial(Trial::MayOffer { frame, acceptance, session_present, hold_until_ms });
        }
        self.send_again();
    }

    fn adopt(&mut self, terms: Terms) {
        self.outbound.set_window(terms.send_window);
        self.inbound.set_window(terms.receive_window);
        self.terms = terms;
    }

    fn receive_connack(&mut self, frame: &Frame, now_ms: u64) {
        let Side::Client(settings) = &self.side else { return };
        let settings = Arc::clone(settings);
        let connack = match read::raise(self.terms.dialect, frame, settings.limits) {
            Ok(Packet::ConnAck(connack)) => connack,
            // A server that knows only MQTT 3.1.1 refuses an extended CONNECT in its own form.
            Ok(_) => return self.unexpected(frame),
            Err(error) => match read::raise(Dialect::V311, frame, settings.limits) {
                Ok(Packet::ConnAck(connack)) if connack.reason.is_error() => connack,
                _ => return self.malformed(error),
            },
        };
        if connack.reason.is_error() {
            self.forget_refused_count(&connack.dictionary);
            return self.close(Cause::ConnectRefused { connack });
        }
        let Phase::Opening(opening) = std::mem::replace(&mut self.phase, Phase::Open) else { return };
        self.sent(now_ms);
        let terms = terms_of_connack(
            settings.connect.dialect,
            &settings.connect,
            &settings.registry,
            settings.receive_window,
            settings.packet_size_max,
            &connack.dictionary,
        );
        self.adopt(terms);
        if let Err(refusal) = self.check_dictionary(Kind::ConnAck, &connack.dictionary) {
            return self.refuse_connection(refusal);
        }
        // Where the dialect cannot say it, a client that asked for its stored session has to believe that it is there.
        let believed = !settings.connect.dialect.tells_session_present() && !settings.connect.clean_session;
        let session_present = connack.session_present || believed;
        if settings.offer.is_some() && !settings.connect.dialect.is_extended() {
            self.begin_trial(Trial::AwaitAnswer { until_ms: opening.until_ms, session_present, held_back: Vec::new() });
        } else {
            self.opened(session_present, connack.dictionary, false);
        }
    }

    /// The client knows what was agreed: the connection is its application's.
    fn opened(&mut self, session_present: bool, dictionary: Dictionary, declined: bool) {
        let mut lost = Vec::new();
        if !session_present {
            self.mark = None;
            self.inbound.clear();
            lost.extend(self.outbound.clear().into_iter().map(|message| {
                let taken = matches!(message.stage, Stage::Recording | Stage::Received | Stage::Waiting(Again::Release));
                (message.token, message.delivery, taken)
            }));
        }
        let resumed = if self.terms.dialect.is_extended() {
            let said = std::mem::take(&mut self.has_said_held) && session_present;
            self.resume_as_client(&dictionary, said)
        } else {
            Ok(Vec::new())
        };
        match resumed {
            Ok(outputs) => {
                let opened = Opened { terms: self.terms.clone(), session_present, dictionary, lost, declined };
                self.outputs.push_back(Output::Opened(Box::new(opened)));
                self.outputs.extend(outputs);
                self.send_again();
            }
            Err(refusal) => self.refuse_held(refusal),
        }
    }

    /// The peer cannot hold what it says: neither end's count is worth anything any more.
    fn refuse_held(&mut self, refusal: Refusal) {
        self.end_count();
        self.end_for(refusal, Cause::Refused);
    }

    /// Sends what an earlier connection left open, as far as the window allows.
    pub(super) fn send_again(&mut self) {
        if !self.is_ready() {
            return;
        }
        if self.outbound.has_waiting() {
            self.uncounted_if_plain();
        }
        while let Some((id, dup, message)) = self.outbound.resend() {
            let packet = match message.stage {
                Stage::Received => Some(Packet::PubRel(Ack::success(id))),
                _ => {
                    let sending = Sending { id: Some(id), dup, delivery: message.delivery.clone() };
                    self.outputs.push_back(Output::Publish(sending));
                    None
                }
            };
            packet.into_iter().for_each(|packet| self.send(packet));
        }
    }

    /// Bytes of the peer's that are held for this connection: its CONNECT while somebody decides about it or an offer may follow, and
    /// the messages to it that are not settled.
    #[inline]
    pub fn held_bytes(&self) -> usize {
        // Almost always there is nothing else.
        let opening = if matches!(self.phase, Phase::Open) { 0 } else { self.opening_bytes() };
        opening + self.outbound.bytes()
    }

    fn opening_bytes(&self) -> usize {
        match &self.phase {
            // As it came, raised, and for whoever verifies the password.
            Phase::Opening(opening) => match &opening.awaited {
                Awaited::Decision { frame, .. } => 3 * frame.total(),
                Awaited::Connect | Awaited::ConnAck => 0,
            },
            Phase::Trial(trial) => match &**trial {
                Trial::MayOffer { frame, .. } => frame.total(),
                _ => 0,
            },
            Phase::Open | Phase::Closed => 0,
        }
    }

    /// A packet that is well formed and not allowed here.
    pub(super) fn unexpected(&mut self, frame: &Frame) {
        let kind = Kind::of_first_byte(frame.first);
        let name = kind.map_or_else(|| Malformed::PacketType(frame.first >> 4).to_string(), |kind| format!("{kind} is not allowed here"));
        let refusal = Refusal::new(Reason::PROTOCOL_ERROR, Problem::titled(name).retry(Retry::Never));
        self.end_for(refusal, Cause::Refused);
    }
}

fn offer_packet(settings: &ClientSettings) -> Option<Unsubscribe> {
    let offer = settings.offer.as_ref()?;
    Offer { nonce: offer.nonce, dictionary: offer.dictionary.clone() }.to_packet(&settings.connect.client_id)
}
