//! What a shard says before, and what after, the receipt of what it keeps. Driven by hand, turn by turn.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use bytes::BytesMut;
use candor_broker::shard::{Admission, Answer, Authenticate, ConnectionKey, ListenerSettings, Now, Peer, Settings, Shard, Shared, Storage};
use candor_protocol::codec::frame::Frame;
use candor_protocol::dialect::Dialect;
use candor_protocol::dialect::read::raise;
use candor_protocol::dialect::write::to_bytes;
use candor_protocol::packet::legality::Role;
use candor_protocol::packet::{Ack, Connect, Kind, Message, Packet, PacketId, Publish, Qos, Subscribe, SubscribeItem, TopicFilter};
use candor_protocol::session::{Outcome, Output, Parked, Session};
use candor_protocol::sim::Way;
use std::collections::HashMap;
use std::sync::Arc;
use support::TestRights;

/// Turns from a batch to its receipt.
const LATE: u64 = 3;

#[derive(Debug)]
struct Nobody;

impl Authenticate for Nobody {
    fn authenticate(&self, _: &Connect, _: &Arc<str>, _: &Peer) -> Answer {
        Answer::Now(Ok(admission()))
    }
}

fn admission() -> Admission {
    Admission { principal: "".into(), rights: Arc::new(TestRights) }
}

/// A shard without a driver.
struct Bench {
    shard: Shard,
    now: Now,
    listener: Arc<ListenerSettings>,
    /// What the kernel took.
    wire: HashMap<ConnectionKey, BytesMut>,
}

impl Bench {
    fn new() -> Self {
        let settings = Arc::new(Settings { storage: Storage::Late { turns: LATE }, ..Settings::default() });
        let shard = Shard::new(0, settings, Arc::new(Shared::new(1)), 7);
        let listener = ListenerSettings {
            name: "test".into(),
            policy: Arc::new(support::policy()),
            acknowledges_refused: false,
            authenticate: Arc::new(Nobody),
        };
        Self { shard, now: Now { ms: 1_000_000, unix_ms: 1 }, listener: Arc::new(listener), wire: HashMap::new() }
    }

    fn turn(&mut self) {
        self.now.ms += 1;
        self.shard.begin_turn(self.now);
        self.shard.begin_slice();
        while self.shard.take_up().is_some() {}
        self.shard.end_turn();
        let mut touched = Vec::new();
        self.shard.take_touched(&mut touched);
        for key in touched {
            self.take(key);
            self.shard.flushed(key);
        }
        assert_eq!(self.shard.take_batch(), None, "nothing is for an engine");
    }

    fn send(&mut self, key: ConnectionKey, packet: &Packet) {
        let bytes = to_bytes(Dialect::V311, Role::Client, packet).unwrap();
        self.shard.receive(key, &mut BytesMut::from(&bytes[..]));
    }

    fn take(&mut self, key: ConnectionKey) {
        if let Some(out) = self.shard.out(key) {
            out.take_into(self.wire.entry(key).or_default());
        }
    }

    /// What was written to a connection since this was last asked.
    fn taken(&mut self, key: ConnectionKey) -> BytesMut {
        self.take(key);
        self.wire.remove(&key).unwrap_or_default()
    }

    fn written(&mut self, key: ConnectionKey) -> Vec<Packet> {
        let mut bytes = self.taken(key);
        let mut packets = Vec::new();
        while let Some(frame) = Frame::split_mut(&mut bytes, u32::MAX).unwrap() {
            packets.push(raise(Dialect::V311, &frame, Default::default()).unwrap());
        }
        packets
    }

    fn connect(&mut self, id: &str, clean_session: bool) -> ConnectionKey {
        self.shard.begin_turn(self.now);
        let address = "127.0.0.1:1".parse().unwrap();
        let key = self.shard.accepted(address, Arc::clone(&self.listener));
        self.wire.remove(&key);
        let connect = Connect { clean_session, ..Way::Plain.settings(id).connect };
        self.send(key, &Packet::Connect(Box::new(connect)));
        assert_eq!(self.shard.take_authenticate(), [key]);
        let of = self.shard.asks(key).unwrap();
        self.shard.authenticated(key, of, Ok(admission()));
        key
    }

    /// Finds that nothing is said in the turns before the receipt, and what is said with it.
    fn after_the_receipt(&mut self, key: ConnectionKey) -> Vec<Packet> {
        assert_eq!(self.written(key), [], "before the turn has ended");
        for turn in 0..LATE + 1 {
            assert_eq!(self.written(key), [], "turn {turn}");
            self.turn();
        }
        self.written(key)
    }

    fn subscribe(&mut self, key: ConnectionKey, filter: &str, qos: Qos) {
        let items = vec![SubscribeItem { filter: Ok(TopicFilter::new(filter).unwrap()), qos }];
        self.send(key, &Packet::Subscribe(Box::new(Subscribe { id: id(9), items, dictionary: Default::default() })));
    }

    /// Connects and subscribes a session that is kept.
    fn kept(&mut self, id: &str, qos: Qos) -> ConnectionKey {
        let key = self.connect(id, false);
        assert_eq!(kinds(&self.after_the_receipt(key)), [Kind::ConnAck]);
        self.subscribe(key, "kept/#", qos);
        assert_eq!(kinds(&self.after_the_receipt(key)), [Kind::SubAck]);
        key
    }

    /// Connects and subscribes a session that ends with its connection.
    fn transient(&mut self, id: &str, qos: Qos) -> ConnectionKey {
        let key = self.connect(id, true);
        assert_eq!(kinds(&self.written(key)), [Kind::ConnAck], "nothing of it is kept");
        self.subscribe(key, "#", qos);
        assert_eq!(kinds(&self.written(key)), [Kind::SubAck]);
        key
    }

    fn publish(&mut self, key: ConnectionKey, topic: &str, qos: Qos, n: u16) {
        self.publish_or_retain(key, topic, qos, n, false);
    }

    fn publish_or_retain(&mut self, key: ConnectionKey, topic: &str, qos: Qos, n: u16, retain: bool) {
        let id = (qos != Qos::AtMostOnce).then(|| id(n));
        let message = Message::publish(topic, n.to_string()).unwrap();
        self.send(key, &Packet::Publish(Publish { dup: false, qos, retain, id, message, dictionary: Default::default() }));
    }
}

fn id(n: u16) -> PacketId {
    PacketId::new(n).unwrap()
}

fn kinds(packets: &[Packet]) -> Vec<Kind> {
    packets.iter().map(Packet::kind).collect()
}

fn payloads(packets: &[Packet]) -> Vec<&str> {
    fn payload(packet: &Packet) -> &str {
        match packet {
            Packet::Publish(publish) => std::str::from_utf8(publish.message.payload()).unwrap(),
            other => panic!("{other:?}"),
        }
    }
    packets.iter().map(payload).collect()
}

#[test]
fn an_acknowledgement_waits_only_where_somebody_is_owed_the_message() {
    let mut bench = Bench::new();
    let publisher = bench.transient("publisher", Qos::AtMostOnce);
    let kept = bench.kept("kept", Qos::AtLeastOnce);
    bench.publish(publisher, "free", Qos::AtLeastOnce, 1);
    assert_eq!(kinds(&bench.written(publisher)), [Kind::Publish, Kind::PubAck]);
    bench.publish(publisher, "kept/a", Qos::AtLeastOnce, 2);
    assert_eq!(payloads(&bench.written(kept)), ["2"], "QoS 1 is delivered at once");
    assert_eq!(payloads(&bench.written(publisher)), ["2"]);
    assert_eq!(bench.after_the_receipt(publisher), [Packet::PubAck(Ack::success(id(2)))]);
}

#[test]
fn a_clean_start_is_told_when_the_end_of_the_session_before_it_is_kept() {
    let mut bench = Bench::new();
    bench.kept("same", Qos::AtLeastOnce);
    let clean = bench.connect("same", true);
    assert_eq!(kinds(&bench.after_the_receipt(clean)), [Kind::ConnAck], "or a crash would bring the old session back");
    // Without one before it there is nothing to wait for.
    let other = bench.connect("other", true);
    assert_eq!(kinds(&bench.written(other)), [Kind::ConnAck]);
}

#[test]
fn a_peer_that_reads_no_answers_is_not_read_until_it_does() {
    let mut bench = Bench::new();
    let key = bench.transient("asks", Qos::AtMostOnce);
    let wants = |bench: &Bench| bench.shard.connection(key).unwrap().wants_bytes();
    let questions = [0xC0, 0].repeat(32 * 1024);
    let mut asked = 0;
    while wants(&bench) {
        bench.shard.receive(key, &mut BytesMut::from(&questions[..]));
        asked += questions.len();
        assert!(asked < 2 << 20, "it is read on, and nobody reads the answers");
    }
    let mut answers = BytesMut::new();
    while answers.len() < asked {
        let before = answers.len();
        answers.extend_from_slice(&bench.taken(key));
        assert!(answers.len() > before, "{before} of {asked} bytes are answered, and no more come");
        bench.shard.flushed(key);
        bench.turn();
    }
    assert!(wants(&bench), "it has read them");
}

#[test]
fn a_message_of_qos_2_is_delivered_when_it_is_kept_and_nothing_overtakes_it() {
    let mut bench = Bench::new();
    let publisher = bench.connect("publisher", true);
    bench.written(publisher);
    let kept = bench.kept("kept", Qos::ExactlyOnce);
    let transient = bench.transient("transient", Qos::ExactlyOnce);
    for (n, qos) in [(1, Qos::ExactlyOnce), (2, Qos::AtMostOnce), (3, Qos::AtLeastOnce), (4, Qos::ExactlyOnce)] {
        bench.publish(publisher, "kept/a", qos, n);
    }
    assert_eq!(bench.written(kept), []);
    assert_eq!(payloads(&bench.after_the_receipt(transient)), ["1", "2", "3", "4"]);
    assert_eq!(kinds(&bench.written(publisher)), [Kind::PubRec, Kind::PubAck, Kind::PubRec]);
    // What is sent at QoS 2 is itself kept before it leaves, and what is behind it waits.
    let mut turns = Vec::new();
    for _ in 0..3 * LATE {
        turns.push(payloads(&bench.written(kept)).join(" "));
        bench.turn();
    }
    turns.retain(|payloads| !payloads.is_empty());
    assert_eq!(turns, ["1 2 3", "4"]);
}

#[test]
fn a_retained_message_of_qos_2_is_shown_to_nobody_before_it_is_kept() {
    let mut bench = Bench::new();
    let publisher = bench.connect("publisher", true);
    bench.written(publisher);
    for (topic, qos, n) in [("r/a", Qos::AtLeastOnce, 1), ("r/b", Qos::ExactlyOnce, 2), ("r/c", Qos::AtLeastOnce, 3)] {
        bench.publish_or_retain(publisher, topic, qos, n, true);
    }
    // It was not there when they were published: they are retained messages to it.
    let subscribers = [Qos::AtMostOnce, Qos::ExactlyOnce].map(|qos| bench.transient(&format!("{qos:?}"), qos));
    let mut turns = vec![Vec::new(); 2];
    for _ in 0..4 * LATE {
        for (key, turns) in subscribers.iter().zip(&mut turns) {
            turns.push(payloads(&bench.written(*key)).join(" "));
        }
        bench.turn();
    }
    for mut turns in turns {
        let at = turns.iter().position(|payloads| payloads.contains('2'));
        assert!(at.is_some_and(|at| at >= LATE as usize), "{turns:?}");
        turns.retain(|payloads| !payloads.is_empty());
        assert_eq!(turns, ["1", "2 3"]);
    }
}

#[test]
fn the_steps_of_qos_2_are_kept_before_their_answers_leave() {
    let mut bench = Bench::new();
    let publisher = bench.kept("publisher", Qos::ExactlyOnce);
    bench.publish(publisher, "nobody", Qos::ExactlyOnce, 5);
    assert_eq!(kinds(&bench.after_the_receipt(publisher)), [Kind::PubRec], "its identifier is taken");
    bench.send(publisher, &Packet::PubRel(Ack::success(id(5))));
    assert_eq!(kinds(&bench.after_the_receipt(publisher)), [Kind::PubComp]);
    bench.publish(publisher, "kept/a", Qos::ExactlyOnce, 6);
    for _ in 0..2 * LATE + 2 {
        bench.turn();
    }
    let mut written = bench.written(publisher);
    written.retain(|packet| packet.kind() == Kind::Publish);
    let [Packet::Publish(Publish { id: Some(delivery), .. })] = &written[..] else { panic!("{written:?}") };
    bench.send(publisher, &Packet::PubRec(Ack::success(*delivery)));
    assert_eq!(bench.after_the_receipt(publisher), [Packet::PubRel(Ack::success(*delivery))]);
}

#[test]
fn a_session_whose_connection_has_gone_is_settled_all_the_same() {
    let mut bench = Bench::new();
    let kept = bench.kept("kept", Qos::ExactlyOnce);
    bench.publish(kept, "kept/a", Qos::ExactlyOnce, 5);
    bench.shard.lost(kept);
    for _ in 0..LATE + 1 {
        bench.turn();
    }
    let again = bench.connect("kept", false);
    assert_eq!(kinds(&bench.after_the_receipt(again)), [Kind::ConnAck]);
    // The message was taken: its repetition is answered, and not taken again.
    bench.publish(again, "kept/a", Qos::ExactlyOnce, 5);
    let mut written = bench.written(again);
    for _ in 0..2 * LATE + 2 {
        bench.turn();
        written.append(&mut bench.written(again));
    }
    written.sort_by_key(|packet| packet.kind() == Kind::Publish);
    assert_eq!(kinds(&written), [Kind::PubRec, Kind::Publish], "{written:?}");
}

#[test]
fn a_connection_that_goes_before_its_connack_leaves_the_session_as_it_was() {
    let mut bench = Bench::new();
    let key = bench.connect("new", false);
    bench.shard.lost(key);
    assert_eq!(bench.shard.counts(), (0, 0), "nobody was told of the session");
    let key = bench.kept("kept", Qos::AtLeastOnce);
    bench.shard.lost(key);
    let key = bench.connect("kept", false);
    bench.shard.lost(key);
    for _ in 0..LATE + 1 {
        bench.turn();
    }
    let key = bench.connect("kept", false);
    let written = bench.after_the_receipt(key);
    let [Packet::ConnAck(connack)] = &written[..] else { panic!("{written:?}") };
    assert!(connack.session_present);
}

/// A client that offers the extension, and its connection.
struct Talker {
    key: ConnectionKey,
    session: Session,
    messages: Vec<String>,
}

impl Talker {
    /// What its session wants to send; it takes every message.
    fn says(&mut self) -> BytesMut {
        let mut out = BytesMut::new();
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send(packet) => drop(self.session.lower(&packet, &mut out)),
                Output::Message { ticket, publish } => {
                    self.messages.push(String::from_utf8_lossy(publish.message.payload()).into_owned());
                    ticket.into_iter().for_each(|ticket| self.session.settle(ticket, Outcome::accepted()));
                }
                Output::Record(record) => self.session.recorded(record),
                Output::Closed { cause, .. } => panic!("{cause:?}"),
                _ => {}
            }
        }
        out
    }
}

impl Bench {
    /// Connects, and makes the offer after so many turns.
    fn offers(&mut self, parked: Parked, turns: u64) -> Talker {
        let settings = support::stored_everywhere(Way::Offer, "kept");
        self.shard.begin_turn(self.now);
        let address = "127.0.0.1:1".parse().unwrap();
        let key = self.shard.accepted(address, Arc::clone(&self.listener));
        self.wire.remove(&key);
        let mut talker = Talker { key, session: Session::client(Arc::new(settings), parked, 0), messages: Vec::new() };
        let mut offer = talker.says();
        let connect = Frame::split(&mut offer.clone().freeze(), u32::MAX).unwrap().unwrap().total();
        self.shard.receive(key, &mut offer.split_to(connect));
        assert_eq!(self.shard.take_authenticate(), [key]);
        let of = self.shard.asks(key).unwrap();
        self.shard.authenticated(key, of, Ok(admission()));
        (0..turns).for_each(|_| self.turn());
        self.shard.receive(key, &mut offer);
        talker
    }

    /// Both say what they have to, until neither has, and everything that waits has its receipt.
    fn talk(&mut self, talker: &mut Talker) {
        for _ in 0..10 * LATE {
            let mut bytes = self.taken(talker.key);
            while let Some(frame) = Frame::split_mut(&mut bytes, u32::MAX).unwrap() {
                talker.session.receive(&frame, 1);
                let mut said = talker.says();
                self.shard.receive(talker.key, &mut said);
            }
            self.turn();
        }
    }
}

/// A delivery waits for its record when an offer comes: it leaves neither in a dialect that is over nor uncounted by one end.
#[test]
fn what_waits_to_be_kept_when_a_connection_becomes_extended_is_counted_by_both_ends() {
    for (turns, qos) in (0..3 * LATE).flat_map(|turns| [Qos::AtLeastOnce, Qos::ExactlyOnce].map(|qos| (turns, qos))) {
        let mut bench = Bench::new();
        let publisher = bench.connect("publisher", true);
        bench.written(publisher);
        let kept = bench.kept("kept", Qos::ExactlyOnce);
        bench.shard.lost(kept);
        for n in 1..=2 {
            bench.publish(publisher, "kept/a", Qos::ExactlyOnce, n);
        }
        (0..2 * LATE).for_each(|_| bench.turn());
        let mut talker = bench.offers(Parked::default(), turns);
        bench.talk(&mut talker);
        assert_eq!(talker.messages, ["1", "2"], "offer after {turns} turns");
        assert!(talker.session.terms().dialect.is_extended() && talker.session.is_ready());
        // The next one is lost with its connection. If the ends disagreed, the exchange would take it for received.
        bench.publish(publisher, "kept/a", qos, 3);
        (0..3 * LATE).for_each(|_| bench.turn());
        bench.shard.lost(talker.key);
        talker.session.lost();
        while talker.session.poll().is_some() {}
        let mut next = bench.offers(talker.session.park(), 0);
        bench.talk(&mut next);
        assert_eq!(next.messages, ["3"], "{qos:?}, offer after {turns} turns");
    }
}
