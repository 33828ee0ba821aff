//! Two sessions on a virtual clock, with a transport between them that behaves as TCP does: bytes arrive in order, in any
//! pieces, late, or not at all after a cut. Everything is decided by a seed, and every packet is recorded.
//!
//! A test is a conversation: make a pair, act, [`Pair::drive`], expect.
//!
//! ```
//! use candor_protocol::sim::{Pair, Way};
//! use candor_protocol::packet::{Message, Qos};
//!
//! let mut pair = Pair::open(Way::Offer);
//! pair.client.publish(Message::publish("a/b", "hello").unwrap(), Qos::AtLeastOnce, 1);
//! pair.drive();
//! assert_eq!(pair.server.take_messages(), ["a/b hello"]);
//! assert_eq!(pair.client.take_outcomes(), [(1, candor_protocol::packet::Reason::SUCCESS)]);
//! ```

pub mod end;
pub mod exchange;
pub mod pipe;

pub use end::End;
pub use exchange::{Exchange, Step};
pub use pipe::{Fault, Pipe};

use crate::codec::dictionary::Dictionary;
use crate::codec::frame::Frame;
use crate::dialect::Dialect;
use crate::packet::Connect;
use crate::packet::legality::Role;
use crate::session::{ClientSettings, OfferSettings, Parked, ServerPolicy, Session};
use std::sync::Arc;

/// How a client comes to its dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// MQTT 3.1, no offer.
    V31,
    /// MQTT 3.1.1, no offer.
    Plain,
    /// The extended CONNECT.
    Extended,
    /// MQTT 3.1.1 with an offer.
    Offer,
}

impl Way {
    pub const ALL: [Way; 4] = [Way::V31, Way::Plain, Way::Extended, Way::Offer];

    /// Whether the connection is extended in the end.
    pub fn is_extended(self) -> bool {
        matches!(self, Way::Extended | Way::Offer)
    }

    /// A client's settings for this way.
    pub fn settings(self, client_id: &str) -> ClientSettings {
        let dialect = match self {
            Way::V31 => Dialect::V31,
            Way::Plain | Way::Offer => Dialect::V311,
            Way::Extended => Dialect::Extended,
        };
        let connect = Connect {
            dialect,
            clean_session: true,
            keep_alive_s: 60,
            client_id: client_id.to_owned(),
            will: None,
            user_name: None,
            password: None,
            dictionary: Dictionary::EMPTY,
        };
        let mut settings = ClientSettings::new(connect);
        if self == Way::Offer {
            settings.offer = Some(OfferSettings { nonce: [0x5A; 16], dictionary: Dictionary::EMPTY });
        }
        settings
    }
}

/// A client and a server with a transport between them.
#[derive(Debug)]
pub struct Pair {
    pub client: End,
    pub server: End,
    /// From the client to the server.
    pub up: Pipe,
    /// From the server to the client.
    pub down: Pipe,
    /// Milliseconds.
    pub now_ms: u64,
    pub exchange: Exchange,
}

impl Pair {
    /// A pair whose CONNECT has not been sent yet.
    pub fn new(settings: ClientSettings, policy: ServerPolicy) -> Self {
        Self::resumed(settings, policy, Parked::default(), None)
    }

    /// A new connection of two ends that may hold a session: the client's, and the server's if it has one.
    pub fn resumed(settings: ClientSettings, policy: ServerPolicy, client: Parked, server: Option<Parked>) -> Self {
        let client = End::new(Session::client(Arc::new(settings), client, 0));
        let mut server_end = End::new(Session::server(Arc::new(policy), 0));
        server_end.parked = server;
        Self { client, server: server_end, up: Pipe::default(), down: Pipe::default(), now_ms: 0, exchange: Exchange::default() }
    }

    /// A pair that has been opened in this way, with default policies.
    pub fn open(way: Way) -> Self {
        let mut pair = Self::new(way.settings("device-1"), ServerPolicy::default());
        pair.drive();
        assert!(pair.client.session.is_ready() && pair.server.session.is_ready(), "{:?}", pair.exchange);
        pair
    }

    /// Carries bytes and answers until nothing moves.
    pub fn drive(&mut self) {
        loop {
            let mut moved = self.client.drain(self.now_ms, Role::Client, &mut self.up, &mut self.exchange);
            moved |= self.server.drain(self.now_ms, Role::Server, &mut self.down, &mut self.exchange);
            moved |= Self::carry(&mut self.up, &mut self.server, self.now_ms);
            moved |= Self::carry(&mut self.down, &mut self.client, self.now_ms);
            if !moved {
                return;
            }
        }
    }

    /// Hands the next piece of bytes to `end`, frame by frame.
    fn carry(pipe: &mut Pipe, end: &mut End, now_ms: u64) -> bool {
        if pipe.is_cut() && pipe.is_empty() {
            let was_closed = end.session.is_closed();
            end.session.lost();
            return !was_closed;
        }
        if !end.session.wants_frames() {
            return false;
        }
        let arrived = pipe.deliver(&mut end.arrived);
        match Frame::split_mut(&mut end.arrived, end.session.receive_size_max()) {
            Ok(Some(frame)) => {
                end.session.receive(&frame, now_ms);
                true
            }
            Ok(None) => arrived,
            Err(error) => {
                end.arrived.clear();
                end.session.malformed(error);
                true
            }
        }
    }

    /// Lets time pass: deadlines that fall due are met in their order.
    pub fn pass(&mut self, ms: u64) {
        let until_ms = self.now_ms + ms;
        loop {
            let next = [self.client.session.deadline(), self.server.session.deadline()].into_iter().flatten().min();
            match next {
                Some(due_ms) if due_ms <= until_ms => self.now_ms = self.now_ms.max(due_ms),
                _ => break,
            }
            self.client.session.tick(self.now_ms);
            self.server.session.tick(self.now_ms);
            self.drive();
        }
        self.now_ms = until_ms;
    }

    /// Cuts the connection both ways at once and tells both ends.
    pub fn cut(&mut self) {
        self.up.cut();
        self.down.cut();
        self.drive();
    }

    /// As [`Pair::cut`], where what is under way both ways is lost.
    pub fn sever(&mut self) {
        self.up.sever();
        self.down.sever();
        self.drive();
    }

    /// Ends this connection and makes the next one between the same two sessions.
    pub fn reconnect(mut self, settings: ClientSettings, policy: ServerPolicy) -> Self {
        self.cut();
        let mut next = Self::resumed(settings, policy, self.client.session.park(), Some(self.server.session.park()));
        next.drive();
        next
    }
}
