//! The functions whose instructions are counted: each takes what it needs ready-made, and gives it back so that ending it is
//! not counted.

// A sample that is no packet must end the run.
#![allow(clippy::unwrap_used)]

use candor_broker::router::{Picks, Router, Targets};
use candor_counts::fleet::{Fleet, Plan, Refused, RefusedPlan};
use candor_counts::samples;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::codec::frame::Frame;
use candor_protocol::dialect::write::PublishFrame;
use candor_protocol::dialect::{Dialect, read};
use candor_protocol::packet::{Message, Packet, PacketId, Qos};
use candor_protocol::session::{Outcome, Output, ServerPolicy, Session};
use gungraun::{library_benchmark, library_benchmark_group, main};
use std::hint::black_box;
use std::sync::Arc;

const PLAIN: Dialect = Dialect::V311;
const EXTENDED: Dialect = Dialect::Extended;

fn frame(dialect: Dialect, with_map: bool) -> (Dialect, Frame) {
    (dialect, samples::frame(dialect, Qos::AtLeastOnce, with_map).unwrap())
}

// One PUBLISH from its frame.
#[library_benchmark]
#[bench::plain(frame(PLAIN, false))]
#[bench::extended(frame(EXTENDED, false))]
#[bench::extended_with_map(frame(EXTENDED, true))]
fn decode((dialect, frame): (Dialect, Frame)) -> (Frame, Packet) {
    let packet = read::raise(black_box(dialect), black_box(&frame), samples::limits()).unwrap();
    (frame, packet)
}

// The check of one dictionary.
#[library_benchmark]
#[bench::message_map(samples::dictionary_bytes())]
fn dictionary(bytes: bytes::Bytes) -> Dictionary {
    Dictionary::parse(black_box(bytes), samples::limits()).unwrap()
}

fn session(dialect: Dialect) -> (Session, Frame) {
    let mut session = Session::server(Arc::new(ServerPolicy::default()), 0);
    let mut settings = candor_protocol::sim::Way::Plain.settings("c");
    settings.connect.dialect = dialect;
    let connect = candor_protocol::dialect::write::to_bytes(
        dialect,
        candor_protocol::packet::legality::Role::Client,
        &Packet::Connect(Box::new(settings.connect)),
    );
    let mut bytes = connect.unwrap();
    let connect = Frame::split(&mut bytes, u32::MAX).unwrap().unwrap();
    session.receive(&connect, 0);
    while session.poll().is_some() {}
    session.accept(Default::default(), None, 0);
    while session.poll().is_some() {}
    let frame = samples::frame(dialect, Qos::AtLeastOnce, false).unwrap();
    // The first message warms what the second is counted with.
    let warmed = step((session, frame));
    (warmed.0, samples::frame(dialect, Qos::AtLeastOnce, false).unwrap())
}

fn step((mut session, frame): (Session, Frame)) -> (Session, Frame, Vec<Output>) {
    session.receive(black_box(&frame), 1);
    let mut outputs = Vec::with_capacity(4);
    while let Some(output) = session.poll() {
        if let Output::Message { ticket: Some(ticket), .. } = &output {
            session.settle(*ticket, Outcome::accepted());
        }
        outputs.push(output);
    }
    (session, frame, outputs)
}

// A QoS 1 PUBLISH into a session, and its acknowledgement out of it.
#[library_benchmark]
#[bench::plain(session(PLAIN))]
#[bench::extended(session(EXTENDED))]
fn session_step(given: (Session, Frame)) -> (Session, Frame, Vec<Output>) {
    step(given)
}

fn route(filters: u32) -> (Router, Targets, Picks) {
    let (router, mut targets, mut picks) = (samples::router(filters), Targets::new(), Picks::new());
    for topic in samples::topics() {
        router.matching(topic.as_bytes(), &mut targets, &mut picks);
    }
    (router, targets, picks)
}

// Who gets each of a hundred messages.
#[library_benchmark]
#[bench::filters_10(route(10))]
#[bench::filters_10_000(route(10_000))]
#[bench::filters_1_000_000(route(1_000_000))]
fn matching((router, mut targets, mut picks): (Router, Targets, Picks)) -> (Router, Targets, Picks) {
    // Hashes differ from run to run: over a hundred topics that evens out.
    for topic in samples::topics() {
        router.matching(black_box(topic.as_bytes()), &mut targets, &mut picks);
    }
    (router, targets, picks)
}

fn unsent(with_map: bool) -> (Message, bytes::BytesMut) {
    (samples::message(with_map), bytes::BytesMut::with_capacity(4096))
}

// One PUBLISH to its bytes.
#[library_benchmark]
#[bench::plain(PLAIN, unsent(false))]
#[bench::extended(EXTENDED, unsent(false))]
#[bench::extended_with_map(EXTENDED, unsent(true))]
fn encode(dialect: Dialect, (message, mut out): (Message, bytes::BytesMut)) -> (Message, bytes::BytesMut) {
    let frame = PublishFrame::new(dialect, Qos::AtLeastOnce, false, &message, &Dictionary::EMPTY);
    frame.write(Some(PacketId::MIN), false, &mut out);
    (message, out)
}

fn fleet(dialect: Dialect, qos: Qos, with_map: bool, subscribers: usize, messages: u16) -> Fleet {
    Fleet::new(Plan { publisher: dialect, subscriber: dialect, qos, with_map, expires: false, subscribers, messages })
}

fn mixed(publisher: Dialect, subscriber: Dialect) -> Fleet {
    Fleet::new(Plan { publisher, subscriber, qos: Qos::AtMostOnce, with_map: false, expires: false, subscribers: 1, messages: 100 })
}

fn expiring(qos: Qos) -> Fleet {
    Fleet::new(Plan { publisher: EXTENDED, subscriber: EXTENDED, qos, with_map: false, expires: true, subscribers: 1, messages: 100 })
}

// A hundred messages through a whole shard, bytes to bytes, with all acknowledgements.
#[library_benchmark]
#[bench::qos_0_plain(fleet(PLAIN, Qos::AtMostOnce, false, 1, 100))]
#[bench::qos_0_extended(fleet(EXTENDED, Qos::AtMostOnce, false, 1, 100))]
#[bench::qos_0_extended_with_map(fleet(EXTENDED, Qos::AtMostOnce, true, 1, 100))]
#[bench::qos_1_plain(fleet(PLAIN, Qos::AtLeastOnce, false, 1, 100))]
#[bench::qos_1_extended(fleet(EXTENDED, Qos::AtLeastOnce, false, 1, 100))]
#[bench::qos_1_extended_with_map(fleet(EXTENDED, Qos::AtLeastOnce, true, 1, 100))]
#[bench::qos_2_plain(fleet(PLAIN, Qos::ExactlyOnce, false, 1, 100))]
#[bench::qos_2_extended(fleet(EXTENDED, Qos::ExactlyOnce, false, 1, 100))]
#[bench::qos_0_plain_to_extended(mixed(PLAIN, EXTENDED))]
#[bench::qos_0_extended_to_plain(mixed(EXTENDED, PLAIN))]
#[bench::qos_0_extended_expiring(expiring(Qos::AtMostOnce))]
#[bench::qos_1_extended_expiring(expiring(Qos::AtLeastOnce))]
fn hundred_messages(mut fleet: Fleet) -> Fleet {
    black_box(fleet.round());
    fleet
}

// One message to a hundred subscribers.
#[library_benchmark]
#[bench::qos_0_plain(fleet(PLAIN, Qos::AtMostOnce, false, 100, 1))]
#[bench::qos_0_extended_with_map(fleet(EXTENDED, Qos::AtMostOnce, true, 100, 1))]
#[bench::qos_1_plain(fleet(PLAIN, Qos::AtLeastOnce, false, 100, 1))]
fn fan_out(mut fleet: Fleet) -> Fleet {
    black_box(fleet.round());
    fleet
}

fn refused(dialect: Dialect, qos: Qos, listens: bool, is_ever_new: bool) -> Refused {
    Refused::new(RefusedPlan { dialect, qos, listens, is_ever_new })
}

// A hundred messages that a rule denies: to one topic, and each to another one; what a client hears of them is written.
#[library_benchmark]
#[bench::qos_0_plain(refused(PLAIN, Qos::AtMostOnce, false, false))]
#[bench::qos_0_plain_told(refused(PLAIN, Qos::AtMostOnce, true, false))]
#[bench::qos_0_plain_told_ever_new(refused(PLAIN, Qos::AtMostOnce, true, true))]
#[bench::qos_0_extended(refused(EXTENDED, Qos::AtMostOnce, false, false))]
#[bench::qos_0_extended_ever_new(refused(EXTENDED, Qos::AtMostOnce, false, true))]
#[bench::qos_1_plain_acknowledged(refused(PLAIN, Qos::AtLeastOnce, false, false))]
#[bench::qos_1_extended(refused(EXTENDED, Qos::AtLeastOnce, false, false))]
#[bench::qos_1_extended_ever_new(refused(EXTENDED, Qos::AtLeastOnce, false, true))]
fn hundred_refusals(mut refused: Refused) -> Refused {
    black_box(refused.run());
    refused
}

library_benchmark_group!(name = parts; benchmarks = decode, dictionary, session_step, matching, encode);
library_benchmark_group!(name = whole; benchmarks = hundred_messages, fan_out, hundred_refusals);
main!(library_benchmark_groups = parts, whole);
