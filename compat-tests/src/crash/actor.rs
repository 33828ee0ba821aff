//! One client of a crash run: a session of the protocol without a socket, which writes into the ledger what it is told. It outlives
//! its connections and never crashes itself, so that what it holds is what a careful client would hold.

use super::ledger::Ledger;
use bytes::BytesMut;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::codec::frame::Frame;
use candor_protocol::dialect::Dialect;
use candor_protocol::dialect::write::PublishFrame;
use candor_protocol::packet::{Connect, Durability, Message, PacketId, Profile, Qos, Reason, SubscribeItem, TopicFilter, Will, property};
use candor_protocol::session::outbound::Stage;
use candor_protocol::session::{Answer, ClientSettings, Delivered, Delivery, OfferSettings, Outcome, Output, Parked, Record, Session};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    Plain,
    Extended,
    /// MQTT 3.1.1 that offers the extension.
    Offer,
}

impl Speech {
    pub const ALL: [Self; 3] = [Self::Plain, Self::Extended, Self::Offer];

    /// Settings of a client whose session is kept, or of one whose is not.
    fn settings(self, client_id: &str, is_kept: bool) -> ClientSettings {
        let expiry = if is_kept { Dictionary::with(property::SESSION_EXPIRY_INTERVAL, &3600) } else { Dictionary::EMPTY };
        let is_extended = self == Self::Extended;
        let connect = Connect {
            dialect: if is_extended { Dialect::Extended } else { Dialect::V311 },
            clean_session: !is_kept,
            keep_alive_s: 0,
            client_id: client_id.to_owned(),
            will: None,
            user_name: None,
            password: None,
            dictionary: if is_extended { expiry.clone() } else { Dictionary::EMPTY },
        };
        let mut settings = ClientSettings::new(connect);
        if self == Self::Offer {
            settings.offer = Some(OfferSettings { nonce: [0x5A; 16], dictionary: expiry });
        }
        settings
    }
}

/// The tokens of requests; those of messages are their numbers.
const REQUEST: u64 = 1 << 62;

/// Packet types, as they stand in the first four bits: what a kill may be aimed at.
pub mod kind {
    pub const PUBLISH: u8 = 3;
    pub const PUBACK: u8 = 4;
    pub const PUBREC: u8 = 5;
    pub const PUBREL: u8 = 6;
    pub const PUBCOMP: u8 = 7;
}

pub struct Actor {
    pub name: String,
    pub speech: Speech,
    settings: ClientSettings,
    is_kept: bool,
    session: Option<Session>,
    parked: Parked,
    arrived: BytesMut,
    /// What is to be sent.
    pub out: BytesMut,
    pub is_open: bool,
    pub has_subscribed: bool,
    /// The broker has told of its session before.
    is_known: bool,
    last: u64,
    /// Types of the packets that came since this was last taken.
    pub came: Vec<u8>,
    /// Messages that came because they were retained, by topic.
    pub retained: BTreeMap<String, String>,
    /// What the broker promises it now, if it tells such things: in CONNACK, and in a notice when that changes.
    pub promised: Option<Durability>,
    /// How many messages were settled.
    pub settled: u64,
}

impl std::fmt::Debug for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Actor").field("name", &self.name).field("is_open", &self.is_open).finish_non_exhaustive()
    }
}

impl Actor {
    pub fn new(name: &str, speech: Speech, is_kept: bool) -> Self {
        Self {
            name: name.to_owned(),
            speech,
            settings: speech.settings(name, is_kept),
            is_kept,
            session: None,
            parked: Parked::default(),
            arrived: BytesMut::new(),
            out: BytesMut::new(),
            is_open: false,
            has_subscribed: false,
            is_known: false,
            last: 0,
            came: Vec::new(),
            retained: BTreeMap::new(),
            promised: None,
            settled: 0,
        }
    }

    /// Gives it a will, whose payload names it and its number 0.
    pub fn with_will(mut self, topic: &str, ledger: &mut Ledger) -> Self {
        ledger.sent(&self.name, 0, topic, 2, false);
        if let Ok(message) = Message::publish(topic, format!("{} 0", self.name)) {
            self.settings.connect.will = Some(Will { message, qos: Qos::ExactlyOnce, retain: false, dictionary: Dictionary::EMPTY });
        }
        self
    }

    pub fn is_connected(&self) -> bool {
        self.session.is_some()
    }

    /// Begins a connection.
    pub fn connect(&mut self, now_ms: u64, ledger: &mut Ledger) {
        self.lost(ledger);
        let parked = if self.is_kept { std::mem::take(&mut self.parked) } else { Parked::default() };
        self.session = Some(Session::client(Arc::new(self.settings.clone()), parked, now_ms));
        self.drain(ledger);
    }

    /// The connection is gone.
    pub fn lost(&mut self, ledger: &mut Ledger) {
        if let Some(session) = &mut self.session {
            ledger.note(|| format!("{} loses its connection", self.name));
            session.lost();
            self.drain(ledger);
        }
        if let Some(session) = self.session.take() {
            self.parked = session.park();
        }
        self.arrived.clear();
        self.out.clear();
        self.is_open = false;
    }

    /// Bytes came; whether the connection still stands.
    pub fn receive(&mut self, bytes: &[u8], now_ms: u64, ledger: &mut Ledger) -> bool {
        self.arrived.extend_from_slice(bytes);
        loop {
            let Ok(Some(frame)) = Frame::split_mut(&mut self.arrived, u32::MAX) else { break };
            let Some(session) = &mut self.session else { return false };
            self.came.push(frame.first >> 4);
            session.receive(&frame, now_ms);
            self.drain(ledger);
        }
        self.session.as_ref().is_some_and(|session| !session.is_closed())
    }

    fn drain(&mut self, ledger: &mut Ledger) {
        while let Some(output) = self.session.as_mut().and_then(Session::poll) {
            self.act(output, ledger);
        }
    }

    fn act(&mut self, output: Output, ledger: &mut Ledger) {
        let Some(session) = &mut self.session else { return };
        match output {
            Output::Send(packet) => drop(session.lower(&packet, &mut self.out)),
            Output::Publish(sending) => encode(session, &sending.delivery, sending.id, sending.dup, &mut self.out),
            Output::Message { ticket, publish } => {
                let payload = String::from_utf8_lossy(publish.message.payload()).into_owned();
                let topic = publish.message.topic_str().to_owned();
                if let Some(ticket) = ticket {
                    session.settle(ticket, Outcome::accepted());
                }
                ledger.note(|| {
                    let id = publish.id.map_or_else(|| "-".to_owned(), |id| id.value().to_string());
                    format!("{} at {id} dup {}: {topic} {payload}", self.name, publish.dup)
                });
                if publish.retain {
                    self.retained.insert(topic, payload);
                } else {
                    ledger.arrived(&self.name, &topic, &payload);
                }
            }
            Output::Record(record) => {
                if let Record::Released(id) = record {
                    ledger.note(|| format!("{} at {} released", self.name, id.value()));
                }
                session.recorded(record);
            }
            Output::Settled { token, outcome, .. } => {
                self.settled += 1;
                match outcome.refusal() {
                    None => ledger.acknowledged(&self.name, token),
                    Some(_) => ledger.refused(&self.name, token),
                }
            }
            Output::Answered { answer: Answer::Subscribed(suback), .. } => {
                self.has_subscribed |= suback.reasons.iter().all(|reason| !reason.is_error());
            }
            Output::Notice(notice) if notice.reason == Reason::PROFILE_CHANGED => {
                let profile = notice.dictionary.value::<Dictionary>(property::PROFILE);
                self.promised = profile.map(|profile| Profile::of_dictionary(&profile).durability);
                ledger.note(|| format!("{} is promised {:?}", self.name, self.promised));
            }
            Output::Closed { cause, .. } => ledger.note(|| format!("{} is closed: {cause:?}", self.name)),
            Output::Opened(opened) => {
                self.is_open = true;
                self.promised = (self.speech != Speech::Plain).then_some(opened.terms.profile.durability);
                ledger.note(|| format!("{} is open, session present: {}", self.name, opened.session_present));
                if self.is_known && self.is_kept {
                    ledger.session(&self.name, opened.session_present);
                }
                self.is_known = true;
            }
            _ => {}
        }
    }

    pub fn subscribe(&mut self, filters: &[&str], ledger: &mut Ledger) {
        let filters = filters.iter().filter_map(|filter| TopicFilter::new(*filter).ok());
        let items = filters.map(|filter| SubscribeItem { filter: Ok(filter), qos: Qos::ExactlyOnce }).collect();
        if let Some(session) = &mut self.session {
            // Without an answer it asks again when it is connected anew.
            let _ = session.subscribe(items, Dictionary::EMPTY, REQUEST);
        }
        self.drain(ledger);
    }

    /// Publishes its next message if its window has room; whether it did.
    pub fn publish(&mut self, topic: &str, qos: Qos, is_retained: bool, pad: usize, ledger: &mut Ledger) -> bool {
        let n = self.last + 1;
        let Some(session) = self.session.as_mut().filter(|session| self.is_open && session.is_ready()) else { return false };
        let payload = format!("{} {n:0pad$}", self.name);
        let Ok(message) = Message::publish(topic, payload) else { return false };
        let delivery = Delivery { message, qos, retain: is_retained, hop: Dictionary::EMPTY };
        let Delivered::Now(id) = session.deliver(delivery.clone(), n) else { return false };
        self.last = n;
        ledger.sent(&self.name, n, topic, qos as u8, is_retained);
        encode(session, &delivery, id, false, &mut self.out);
        self.drain(ledger);
        true
    }

    /// Says goodbye: its will is not published.
    pub fn leave(&mut self, ledger: &mut Ledger) {
        if let Some(session) = &mut self.session {
            session.leave(false);
        }
        self.drain(ledger);
    }

    /// How many messages are not settled.
    pub fn in_flight(&self) -> usize {
        self.outbound().len()
    }

    /// Whether a message of it has had PUBREC and not PUBCOMP.
    pub fn is_in_exchange(&self) -> bool {
        let is_released = |stage: &Stage| {
            matches!(stage, Stage::Received | Stage::Recording | Stage::Waiting(candor_protocol::session::outbound::Again::Release))
        };
        self.outbound().messages().any(|(_, message)| is_released(&message.stage))
    }

    fn outbound(&self) -> &candor_protocol::session::outbound::Outbound {
        self.session.as_ref().map_or(&self.parked.outbound, Session::in_flight)
    }
}

fn encode(session: &Session, delivery: &Delivery, id: Option<PacketId>, dup: bool, out: &mut BytesMut) {
    let dialect = session.terms().dialect;
    PublishFrame::new(dialect, delivery.qos, delivery.retain, &delivery.message, &delivery.hop).write(id, dup, out);
}
