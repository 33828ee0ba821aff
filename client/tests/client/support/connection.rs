//! One connection of the scripted server.

use super::{Seen, Sessions};
use bytes::{Bytes, BytesMut};
use candor_client::protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_client::protocol::codec::frame::Frame;
use candor_client::protocol::dialect::write::PublishFrame;
use candor_client::protocol::packet::{Message, Notice, Packet, PacketId, Ping, Publish, SubAck, SubscribeItem, UnsubAck, property};
use candor_client::protocol::session::{
    Acceptance, Cause, Delivered, Delivery, Extended, Outcome, Output, ServerPolicy, Session, SessionState, Token,
};
use candor_client::{Qos, Reason, Refusal};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// Changes, holds or drops a frame to the client; what it returns goes out in its place.
pub type Tamper = Arc<dyn Fn(Bytes) -> Vec<Bytes> + Send + Sync>;
type Judge = Arc<dyn Fn(&Publish) -> Option<Outcome> + Send + Sync>;
type Grant = Arc<dyn Fn(usize, &SubscribeItem) -> Reason + Send + Sync>;

/// What a server does on one connection. The default serves everything.
#[derive(Clone)]
pub struct Script {
    pub policy: ServerPolicy,
    /// Refuses CONNECT.
    pub refuse: Option<Refusal>,
    /// Says of a session that it does not have.
    pub state: SessionState,
    /// What it calls the life of each session. All that were begun since it runs have its first four bytes.
    pub incarnation: [u8; 8],
    /// How a message is settled; `None`: not at all.
    pub judge: Judge,
    pub grant: Grant,
    /// Dictionary of each SUBACK.
    pub suback: Dictionary,
    /// Knows MQTT 3.1.1 alone: closes without a byte at any other protocol name.
    pub old: bool,
    /// Closes after so many bytes to the client.
    pub cut_after: Option<usize>,
    /// Closes when the first packet behind CONNECT comes.
    pub dies_of_second_packet: bool,
    pub tamper: Option<Tamper>,
    /// Answers no PINGREQ.
    pub mute: bool,
    /// The next connection is served when this one has ended, so that what a killed client left in its socket comes first.
    pub alone: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            policy: ServerPolicy { node: "test".to_owned(), ..ServerPolicy::default() },
            refuse: None,
            state: SessionState::New,
            incarnation: *b"12345678",
            judge: Arc::new(|_| Some(Outcome::accepted())),
            grant: Arc::new(|_, item| Reason(item.qos as u8)),
            suback: Dictionary::EMPTY,
            old: false,
            cut_after: None,
            dies_of_second_packet: false,
            tamper: None,
            mute: false,
            alone: false,
        }
    }
}

impl Script {
    /// A server that knows nothing but MQTT 3.1.1.
    pub fn old() -> Self {
        let policy = ServerPolicy { extended: Extended::Off, ..ServerPolicy::default() };
        Self { policy, old: true, ..Self::default() }
    }

    pub fn refusing(refusal: Refusal) -> Self {
        Self { refuse: Some(refusal), ..Self::default() }
    }

    pub fn judging(judge: impl Fn(&Publish) -> Option<Outcome> + Send + Sync + 'static) -> Self {
        Self { judge: Arc::new(judge), ..Self::default() }
    }

    pub fn tampering(tamper: impl Fn(Bytes) -> Vec<Bytes> + Send + Sync + 'static) -> Self {
        Self { tamper: Some(Arc::new(tamper)), ..Self::default() }
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("policy", &self.policy).field("old", &self.old).finish_non_exhaustive()
    }
}

/// What a test has a connection do.
#[derive(Debug)]
pub enum Act {
    Deliver(Delivery, Token),
    /// An answer or notice.
    Say(Packet),
    /// DISCONNECT with a reason.
    End(Refusal),
    /// Bytes that no server of ours would send.
    Raw(Vec<u8>),
    /// The transport breaks.
    Cut,
}

impl Act {
    pub fn deliver(topic: &str, payload: &str, qos: Qos, token: Token) -> Self {
        let message = Message::publish(topic, payload).unwrap();
        Act::Deliver(Delivery { message, qos, retain: false, hop: Dictionary::EMPTY }, token)
    }
}

struct Connection {
    session: Session,
    script: Script,
    sessions: Sessions,
    seen: mpsc::UnboundedSender<Seen>,
    client_id: String,
    queue: VecDeque<(Delivery, Token)>,
    out: BytesMut,
    sent: usize,
    since: Instant,
    frames: usize,
    broken: bool,
}

pub async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    script: Script,
    sessions: Sessions,
    seen: mpsc::UnboundedSender<Seen>,
    mut acts: mpsc::UnboundedReceiver<Act>,
) {
    let session = Session::server(Arc::new(script.policy.clone()), 0);
    let mut connection = Connection {
        session,
        script,
        sessions,
        seen,
        client_id: String::new(),
        queue: VecDeque::new(),
        out: BytesMut::new(),
        sent: 0,
        since: Instant::now(),
        frames: 0,
        broken: false,
    };
    let mut inbox = BytesMut::new();
    let mut acting = true;
    while !connection.broken {
        connection.drain();
        connection.write(&mut stream).await;
        if connection.session.is_closed() || connection.broken {
            break;
        }
        if connection.session.wants_frames()
            && let Some(frame) = Frame::split_mut(&mut inbox, connection.session.receive_size_max()).unwrap()
        {
            connection.receive(&frame);
            continue;
        }
        tokio::select! {
            read = stream.read_buf(&mut inbox) => if !matches!(read, Ok(1..)) {
                connection.session.lost();
            },
            act = acts.recv(), if acting && connection.session.is_ready() => match act {
                Some(act) => connection.act(act),
                None => acting = false,
            },
        }
    }
    connection.session.lost();
    connection.drain();
    connection.park();
    let _ = stream.shutdown().await;
}

impl Connection {
    fn now_ms(&self) -> u64 {
        self.since.elapsed().as_millis() as u64
    }

    fn see(&self, seen: Seen) {
        let _ = self.seen.send(seen);
    }

    fn receive(&mut self, frame: &Frame) {
        self.frames += 1;
        let foreign = self.frames == 1 && !frame.body.starts_with(b"\x00\x04MQTT\x04") && !frame.body.starts_with(b"\x00\x06MQIsdp");
        if (self.script.old && foreign) || (self.script.dies_of_second_packet && self.frames == 2) {
            self.broken = true;
            return self.see(Seen::Closed(Cause::Lost));
        }
        self.session.receive(frame, self.now_ms());
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Deliver(delivery, token) => self.queue.push_back((delivery, token)),
            Act::Say(packet) => self.session.answer(packet),
            Act::End(refusal) => self.session.refuse_connection(refusal),
            Act::Raw(bytes) => self.put(bytes.into()),
            Act::Cut => self.broken = true,
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll() {
            self.output(output);
        }
        while let Some((delivery, token)) = self.queue.pop_front() {
            match self.session.deliver(delivery.clone(), token) {
                Delivered::Now(id) => {
                    self.put_publish(&delivery, id, false);
                    self.see(Seen::Sent(token));
                }
                Delivered::Later(delivery) => return self.queue.push_front((delivery, token)),
                Delivered::TooLarge(_) => panic!("the test's message is too large for the client"),
            }
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Send(Packet::PingResp(_)) if self.script.mute => {}
            Output::Send(packet) => {
                let mut bytes = BytesMut::new();
                assert_eq!(self.session.lower(&packet, &mut bytes), candor_client::protocol::dialect::Lowered::Frame);
                self.put(bytes.freeze());
            }
            Output::Publish(sending) => self.put_publish(&sending.delivery, sending.id, sending.dup),
            Output::Connect(connect) => {
                self.client_id.clone_from(&connect.client_id);
                let clean = connect.clean_session;
                self.see(Seen::Connect(Box::new(Arc::unwrap_or_clone(connect))));
                self.decide(clean);
            }
            Output::Message { ticket, publish } => {
                let outcome = (self.script.judge)(&publish);
                self.see(Seen::Publish(publish));
                if let (Some(ticket), Some(outcome)) = (ticket, outcome) {
                    self.session.settle(ticket, outcome);
                }
            }
            Output::Record(record) => self.session.recorded(record),
            Output::Settled { token, outcome, .. } => self.see(Seen::Settled { token, outcome }),
            Output::Subscribe(packet) => {
                let reasons = packet.items.iter().enumerate().map(|(at, item)| (self.script.grant)(at, item)).collect();
                let dictionary = self.script.suback.clone();
                let answer = SubAck { id: packet.id, reasons, dictionary };
                self.see(Seen::Subscribe(packet));
                self.session.answer(Packet::SubAck(Box::new(answer)));
            }
            Output::Unsubscribe(packet) => {
                let reasons = vec![Reason::SUCCESS; packet.filters.len()];
                let answer = UnsubAck { id: packet.id, reasons, dictionary: Dictionary::EMPTY, accept: Bytes::new() };
                self.see(Seen::Unsubscribe);
                self.session.answer(Packet::UnsubAck(Box::new(answer)));
            }
            Output::Ping(_) => {
                self.see(Seen::Ping);
                self.session.answer(Packet::PingResp(Ping::default()));
            }
            Output::Notice(_) => self.see(Seen::Notice),
            Output::Opened(_) => self.see(Seen::Confirmed),
            Output::Closed { cause, .. } => self.see(Seen::Closed(cause)),
            Output::Refused { refusal, publish: Some(publish), .. } if publish.qos == Qos::AtMostOnce => {
                let mut map = MapBuilder::new();
                map.set(property::PROBLEM, &refusal.problem.to_dictionary()).set(property::TOPIC, &publish.message.topic_str().to_owned());
                self.session.answer(Packet::Notice(Notice { reason: refusal.reason, dictionary: map.finish() }));
            }
            Output::Refused { .. } | Output::Answered { .. } | Output::Pong(_) => {}
        }
    }

    fn decide(&mut self, clean: bool) {
        if let Some(refusal) = self.script.refuse.clone() {
            return self.session.refuse(refusal);
        }
        let stored = self.sessions.lock().unwrap().remove(&self.client_id).filter(|_| !clean);
        let state = if stored.is_some() { SessionState::Resumed } else { self.script.state };
        let incarnation = Some(self.script.incarnation);
        let kept_since = self.script.incarnation.first_chunk().copied();
        let acceptance = Acceptance { state, incarnation, kept_since, ..Acceptance::default() };
        let now_ms = self.now_ms();
        self.session.accept(acceptance, stored, now_ms);
    }

    fn park(self) {
        let keeps = self.session.terms().session_expiry_s > 0 && !self.client_id.is_empty();
        if keeps {
            self.sessions.lock().unwrap().insert(self.client_id.clone(), self.session.park());
        }
    }

    fn put_publish(&mut self, delivery: &Delivery, id: Option<PacketId>, dup: bool) {
        let mut bytes = BytesMut::new();
        let dialect = self.session.terms().dialect;
        PublishFrame::new(dialect, delivery.qos, delivery.retain, &delivery.message, &delivery.hop).write(id, dup, &mut bytes);
        self.put(bytes.freeze());
    }

    fn put(&mut self, frame: Bytes) {
        match &self.script.tamper {
            None => self.out.extend_from_slice(&frame),
            Some(tamper) => tamper(frame).iter().for_each(|frame| self.out.extend_from_slice(frame)),
        }
    }

    async fn write(&mut self, stream: &mut (impl AsyncWrite + Unpin)) {
        if let Some(limit) = self.script.cut_after
            && self.sent + self.out.len() >= limit
        {
            self.out.truncate(limit - self.sent);
            self.broken = true;
        }
        self.sent += self.out.len();
        let _ = stream.write_all(&self.out.split()).await;
        let _ = stream.flush().await;
    }
}
