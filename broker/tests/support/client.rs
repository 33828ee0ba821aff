//! A client that does what it is told and nothing else, over a real socket, by every way into a dialect.

use super::{DEADLINE, QUIET};
use bytes::BytesMut;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::codec::frame::Frame;
use candor_protocol::dialect::write::PublishFrame;
use candor_protocol::packet::{Message, Notice, Publish, Qos, Reason, SubscribeItem, TopicFilter, Will, property};
use candor_protocol::session::{Answer, Cause, ClientSettings, Delivered, Delivery, Opened, Outcome, Output, Parked, Session, Ticket};
use candor_protocol::sim::Way;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub fn stored(way: Way, id: &str) -> ClientSettings {
    let mut settings = way.settings(id);
    settings.connect.clean_session = false;
    if settings.connect.dialect.is_extended() {
        settings.connect.dictionary = Dictionary::with(property::SESSION_EXPIRY_INTERVAL, &3600);
    }
    settings
}

pub fn with_will(mut settings: ClientSettings, topic: &str, retain: bool) -> ClientSettings {
    let message = Message::publish(topic, "gone").unwrap();
    settings.connect.will = Some(Will { message, qos: Qos::AtLeastOnce, retain, dictionary: Dictionary::EMPTY });
    settings
}

/// As [`stored`], where an offer asks for the same.
pub fn stored_everywhere(way: Way, id: &str) -> ClientSettings {
    let mut settings = stored(way, id);
    if let Some(offer) = &mut settings.offer {
        offer.dictionary = Dictionary::with(property::SESSION_EXPIRY_INTERVAL, &3600);
    }
    settings
}

/// A client that proves who it is.
pub fn named(mut settings: ClientSettings, name: &str) -> ClientSettings {
    settings.connect.user_name = Some(name.to_owned());
    settings
}

/// A client that does nothing by itself but acknowledge.
pub struct Client {
    stream: TcpStream,
    pub session: Session,
    arrived: BytesMut,
    start: Instant,
    /// What is answered to each message; `None`: the test answers.
    pub settles: Option<Outcome>,
    pub tickets: Vec<Ticket>,
    pub messages: Vec<Publish>,
    pub settled: Vec<(u64, Outcome)>,
    pub answers: Vec<(u64, Answer)>,
    pub notices: Vec<Notice>,
    pub pongs: Vec<Dictionary>,
    pub opened: Option<Opened>,
    pub closed: Option<Cause>,
    /// Bytes that came.
    pub heard: usize,
    next_token: u64,
}

impl Client {
    pub fn resume(address: &str, settings: ClientSettings, parked: Parked) -> Self {
        Self::open(address, settings, parked)
    }

    pub(super) fn open(address: &str, settings: ClientSettings, parked: Parked) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Self {
            stream,
            session: Session::client(Arc::new(settings), parked, 0),
            arrived: BytesMut::new(),
            start: Instant::now(),
            settles: Some(Outcome::accepted()),
            tickets: Vec::new(),
            messages: Vec::new(),
            settled: Vec::new(),
            answers: Vec::new(),
            notices: Vec::new(),
            pongs: Vec::new(),
            opened: None,
            closed: None,
            heard: 0,
            next_token: 0,
        };
        client.drain();
        client.until(|client| client.opened.is_some() || client.closed.is_some());
        client
    }

    fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    fn drain(&mut self) {
        let mut out = BytesMut::new();
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send(packet) => drop(self.session.lower(&packet, &mut out)),
                Output::Publish(sending) => self.encode(&sending.delivery, sending.id, sending.dup, &mut out),
                Output::Message { ticket, publish } => {
                    self.messages.push(publish);
                    match (ticket, self.settles.clone()) {
                        (Some(ticket), Some(outcome)) => self.session.settle(ticket, outcome),
                        (Some(ticket), None) => self.tickets.push(ticket),
                        _ => {}
                    }
                }
                Output::Record(record) => self.session.recorded(record),
                Output::Settled { token, outcome, .. } => self.settled.push((token, outcome)),
                Output::Answered { token, answer } => self.answers.push((token, answer)),
                Output::Notice(notice) => self.notices.push(notice),
                Output::Pong(dictionary) => self.pongs.push(dictionary),
                Output::Opened(opened) => self.opened = Some(*opened),
                Output::Closed { cause, .. } => self.closed = Some(cause),
                _ => {}
            }
        }
        if !out.is_empty() && self.stream.write_all(&out).is_err() {
            self.session.lost();
        }
    }

    fn encode(&self, delivery: &Delivery, id: Option<candor_protocol::packet::PacketId>, dup: bool, out: &mut BytesMut) {
        let dialect = self.session.terms().dialect;
        PublishFrame::new(dialect, delivery.qos, delivery.retain, &delivery.message, &delivery.hop).write(id, dup, out);
    }

    /// Reads once, for at most `wait`; tells whether something came.
    fn step(&mut self, wait: Duration) -> bool {
        self.stream.set_read_timeout(Some(wait.max(Duration::from_millis(1)))).unwrap();
        let mut buffer = vec![0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.session.lost(),
            Ok(len) => {
                self.heard += len;
                self.arrived.extend_from_slice(&buffer[..len]);
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => return false,
            Err(_) => self.session.lost(),
        }
        let now_ms = self.now_ms();
        while let Some(frame) = Frame::split_mut(&mut self.arrived, u32::MAX).unwrap() {
            self.session.receive(&frame, now_ms);
            self.drain();
        }
        self.drain();
        true
    }

    /// Runs until `done`, or fails.
    pub fn until(&mut self, done: impl Fn(&Self) -> bool) {
        let until = Instant::now() + DEADLINE;
        while !done(self) {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the event did not come: {} messages, {:?}", self.messages.len(), self.closed);
            assert!(self.closed.is_none() || done(self), "the connection ended: {:?}", self.closed);
            self.step(left);
        }
    }

    /// Takes what comes until nothing has come for a while: of what another shard has under way no answer to this client would tell.
    pub fn settle_down(&mut self) {
        while self.closed.is_none() && self.step(QUIET) {}
    }

    pub fn send(&mut self, delivery: Delivery) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        let mut out = BytesMut::new();
        match self.session.deliver(delivery.clone(), token) {
            Delivered::Now(id) => self.encode(&delivery, id, false, &mut out),
            other => panic!("{other:?}"),
        }
        self.stream.write_all(&out).unwrap();
        token
    }

    pub fn start_publish(&mut self, topic: &str, payload: &str, qos: Qos, retain: bool) -> u64 {
        let message = Message::publish(topic, payload).unwrap();
        self.send(Delivery { message, qos, retain, hop: Dictionary::EMPTY })
    }

    /// Publishes and waits for the outcome, if there is one.
    pub fn publish(&mut self, topic: &str, payload: &str, qos: Qos) -> Option<Outcome> {
        let token = self.start_publish(topic, payload, qos, false);
        (qos != Qos::AtMostOnce).then(|| self.outcome(token))
    }

    pub fn retain(&mut self, topic: &str, payload: &str) {
        let token = self.start_publish(topic, payload, Qos::AtLeastOnce, true);
        self.outcome(token);
    }

    pub fn outcome(&mut self, token: u64) -> Outcome {
        self.until(|client| client.settled.iter().any(|(other, _)| *other == token));
        self.settled.iter().find(|(other, _)| *other == token).unwrap().1.clone()
    }

    pub fn subscribe(&mut self, filter: &str, qos: Qos) -> Reason {
        self.subscribe_with(filter, qos, Dictionary::EMPTY)
    }

    pub fn subscribe_with(&mut self, filter: &str, qos: Qos, dictionary: Dictionary) -> Reason {
        let token = self.next_token;
        self.next_token += 1;
        let filter = Ok(TopicFilter::new(filter).unwrap());
        self.session.subscribe(vec![SubscribeItem { filter, qos }], dictionary, token).unwrap();
        self.drain();
        self.until(|client| client.answers.iter().any(|(other, _)| *other == token));
        match &self.answers.iter().find(|(other, _)| *other == token).unwrap().1 {
            Answer::Subscribed(suback) => suback.reasons[0],
            other => panic!("{other:?}"),
        }
    }

    /// Subscribes to several filters with one packet; the answer.
    pub fn subscribe_all(&mut self, filters: &[TopicFilter], qos: Qos, dictionary: Dictionary) -> Answer {
        let token = self.next_token;
        self.next_token += 1;
        let items = filters.iter().map(|filter| SubscribeItem { filter: Ok(filter.clone()), qos }).collect();
        self.session.subscribe(items, dictionary, token).unwrap();
        self.drain();
        self.until(|client| client.answers.iter().any(|(other, _)| *other == token));
        self.answers.iter().find(|(other, _)| *other == token).unwrap().1.clone()
    }

    pub fn start_unsubscribe(&mut self, filter: &str) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        self.session.unsubscribe(vec![TopicFilter::new(filter).unwrap()], Dictionary::EMPTY, token).unwrap();
        self.drain();
        token
    }

    pub fn unsubscribe(&mut self, filter: &str) {
        let token = self.start_unsubscribe(filter);
        self.until(|client| client.answers.iter().any(|(other, _)| *other == token));
    }

    /// Sends PINGREQ, and waits for its PINGRESP.
    pub fn ping(&mut self, dictionary: Dictionary) -> Dictionary {
        self.pongs.clear();
        self.session.ask(dictionary);
        self.drain();
        self.until(|client| !client.pongs.is_empty());
        self.pongs.remove(0)
    }

    /// Waits for `count` messages and takes them: `TOPIC PAYLOAD`.
    pub fn expect(&mut self, count: usize) -> Vec<String> {
        self.until(|client| client.messages.len() >= count);
        let text = |publish: Publish| format!("{} {}", publish.message.topic_str(), String::from_utf8_lossy(publish.message.payload()));
        self.messages.drain(..count).map(text).collect()
    }

    /// Sends bytes as they are.
    pub fn write_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// A message with keys for this hop, and its outcome if it has one.
    pub fn publish_with(&mut self, message: Message, qos: Qos, retain: bool, hop: Dictionary) -> Option<Outcome> {
        let token = self.send(Delivery { message, qos, retain, hop });
        (qos != Qos::AtMostOnce).then(|| self.outcome(token))
    }

    /// Finds that nothing has come, after everything had time to.
    pub fn expect_nothing(&mut self) {
        self.settle_down();
        assert!(self.messages.is_empty(), "{:?}", self.messages);
    }

    pub fn expect_close(&mut self) -> Cause {
        self.until(|client| client.closed.is_some());
        self.closed.clone().unwrap()
    }

    /// Leaves, and waits until the broker has heard of it: it closes the connection behind everything else.
    pub fn leave(mut self) {
        self.session.leave(false);
        self.drain();
        self.read_to_the_end();
    }

    fn read_to_the_end(&mut self) {
        self.stream.set_read_timeout(Some(DEADLINE)).unwrap();
        while self.stream.read(&mut [0; 4096]).is_ok_and(|len| len > 0) {}
    }

    /// As [`Client::drop_connection`], and waits until the broker has heard of it.
    pub fn lose_connection(mut self) -> Parked {
        self.stream.shutdown(std::net::Shutdown::Write).ok();
        self.read_to_the_end();
        self.session.lost();
        self.session.park()
    }

    /// Drops the connection without a word and gives the session's state back.
    pub fn drop_connection(mut self) -> Parked {
        self.stream.shutdown(std::net::Shutdown::Both).ok();
        self.session.lost();
        self.session.park()
    }

    pub fn settle(&mut self, ticket: Ticket, outcome: Outcome) {
        self.session.settle(ticket, outcome);
        self.drain();
    }
}
