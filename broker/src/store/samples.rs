//! Records for tests, drawn so that they meet: few sessions, messages, topics and clients.

use super::Batch;
use super::record::{MessageNumber, Owed, Record, SessionNumber, Whose};
use crate::message::{Envelope, Stamps};
use crate::router::Subscription;
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::{Message, PacketId, Qos, Reason, TopicFilter, TopicName, property};
use candor_protocol::session::SessionState;
use proptest::prelude::*;
use std::sync::Arc;

/// A step as it is drawn; numbers of new things are given out by [`histories`].
fn step() -> impl Strategy<Value = Record> {
    prop_oneof![
        3 => (client(), any::<u64>()).prop_map(|(client_id, incarnation)| Record::SessionBegun {
            session: SessionNumber(0), client_id, principal: "p".into(), incarnation }),
        10 => (envelope(), prop::collection::vec(owed(), 0..4)).prop_map(|(envelope, owed)| Record::Message {
            message: MessageNumber(0), envelope, owed }),
        30 => on_sessions(),
        8 => on_topics(),
        4 => on_clients(),
    ]
}

fn on_sessions() -> impl Strategy<Value = Record> {
    let pair = || (session(), message());
    prop_oneof![
        1 => (session(), any::<u32>()).prop_map(|(session, expiry_s)| Record::SessionAttached { session, expiry_s }),
        1 => (session(), any::<Option<u64>>(), any::<bool>()).prop_map(|(session, expires_at_ms, was_extended)| Record::SessionParked {
            session, expires_at_ms, was_extended }),
        1 => (session(), 0..5u64, any::<u64>()).prop_map(|(session, why, unix_ms)| Record::SessionEnded {
            session, why: SessionState::of_number(why).unwrap(), unix_ms }),
        1 => (session(), filter(), 0..3u8, any::<[bool; 3]>()).prop_map(|(session, filter, qos, [no_local, retain_as_published, unordered])| {
            let subscription = Subscription { qos: Qos::new(qos).unwrap(), no_local, retain_as_published, unordered };
            Record::Subscribed { session, filter, subscription }
        }),
        1 => (session(), filter()).prop_map(|(session, filter)| Record::Unsubscribed { session, filter }),
        1 => (session(), filter(), topic()).prop_map(|(session, filter, after)| {
            Record::Replaying { session, filter, after: after.as_bytes().into() }
        }),
        1 => (session(), filter()).prop_map(|(session, filter)| Record::Replayed { session, filter }),
        3 => (message(), owed()).prop_map(|(message, owed)| Record::OwedToo { message, under: message, owed }),
        3 => (pair(), id()).prop_map(|((session, message), id)| Record::Sent { session, message, id }),
        2 => pair().prop_map(|(session, message)| Record::Received { session, message }),
        1 => (pair(), any::<u32>()).prop_map(|((session, message), redelivery_count)| Record::Returned { session, message, redelivery_count }),
        6 => pair().prop_map(|(session, message)| Record::Settled { session, message }),
        2 => (pair(), any::<u8>()).prop_map(|((session, message), reason)| Record::Dropped { session, message, reason: Reason(reason) }),
        1 => session().prop_map(|session| Record::GapTold { session }),
        1 => (session(), id()).prop_map(|(session, id)| Record::Taken { session, id }),
        1 => (session(), id()).prop_map(|(session, id)| Record::Released { session, id }),
    ]
}

fn on_topics() -> impl Strategy<Value = Record> {
    prop_oneof![
        3 => (message(), 1..40u64).prop_map(|(message, version)| Record::Retained { message, version }),
        1 => (topic(), 1..40u64).prop_map(|(topic, version)| Record::RetainedCleared { topic: topic.as_bytes().into(), version }),
    ]
}

fn on_clients() -> impl Strategy<Value = Record> {
    let whose = || client().prop_map(|client_id| Whose { principal: "p".into(), client_id });
    prop_oneof![
        1 => client().prop_map(|client_id| Record::EndTold { client_id }),
        1 => (whose(), message()).prop_map(|(whose, message)| Record::WillArmed { whose, message }),
        1 => (client(), message()).prop_map(|(client_id, message)| Record::WillDisarmed { client_id, message }),
        1 => (client(), message()).prop_map(|(client_id, message)| Record::WillPublished { client_id, message }),
        1 => (whose(), any::<[u8; 3]>(), any::<bool>()).prop_map(|(whose, verdict, replaces)| {
            let [number, other, _] = verdict.map(|byte| u64::from(byte % 8));
            let replaces = if replaces { vec![other] } else { Vec::new() };
            Record::Verdict { whose, number, replaces, verdict: Arc::new(verdict) }
        }),
    ]
}

fn session() -> impl Strategy<Value = SessionNumber> {
    (1..8u64).prop_map(SessionNumber)
}

fn message() -> impl Strategy<Value = MessageNumber> {
    (1..30u64).prop_map(MessageNumber)
}

fn id() -> impl Strategy<Value = PacketId> {
    (1..6u16).prop_map(|id| PacketId::new(id).unwrap())
}

fn client() -> impl Strategy<Value = Arc<str>> {
    prop::sample::select(vec!["c", "d", "ö"]).prop_map(Arc::from)
}

fn topic() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["t", "a/b", "ä"])
}

fn filter() -> impl Strategy<Value = TopicFilter> {
    prop::sample::select(vec!["t", "a/+", "#", "$share/g/a"]).prop_map(|filter| TopicFilter::new(filter).unwrap())
}

fn owed() -> impl Strategy<Value = Owed> {
    (session(), 0..3u8, any::<bool>()).prop_map(|(session, qos, retain)| Owed { session, qos: Qos::new(qos).unwrap(), retain })
}

fn dictionary() -> impl Strategy<Value = Dictionary> {
    any::<Option<u64>>().prop_map(|value| {
        let mut map = MapBuilder::new();
        map.set_some(property::RECEIVED_AT, value.as_ref());
        map.finish()
    })
}

pub(super) fn envelope() -> impl Strategy<Value = Envelope> {
    let stamps = prop::option::of((prop::option::of(client()), prop::option::of(client()), any::<u64>(), any::<Option<[u8; 16]>>()));
    let message = (topic(), dictionary(), prop::collection::vec(any::<u8>(), 0..40));
    (message, 0..3u8, any::<bool>(), any::<Option<u64>>(), stamps, dictionary()).prop_map(
        |((topic, map, payload), qos, retain, expires_at_ms, stamps, hop)| Envelope {
            message: Message::new(&TopicName::new(topic).unwrap(), &map, &payload),
            qos: Qos::new(qos).unwrap(),
            retain,
            expires_at_ms,
            stamps: stamps.map(|(publisher, node, received_at_ms, message_id)| {
                Arc::new(Stamps { publisher, node, received_at_ms, message_id, report: None })
            }),
            hop,
        },
    )
}

/// Groups of records, with numbers for sessions and messages that are given out once, and versions that rise.
pub(super) fn histories(len_max: usize) -> impl Strategy<Value = Vec<Vec<Record>>> {
    prop::collection::vec(prop::collection::vec(step(), 1..8), 0..len_max).prop_map(|mut groups| {
        let (mut session_next, mut message_next) = (0, 0);
        for (at, record) in groups.iter_mut().enumerate().flat_map(|(at, group)| group.iter_mut().map(move |record| (at, record))) {
            match record {
                // Shards race for versions within a turn; over a restart they only rise.
                Record::Retained { version, .. } | Record::RetainedCleared { version, .. } => *version += 40 * at as u64,
                Record::SessionBegun { session, .. } => {
                    session_next += 1;
                    *session = SessionNumber(session_next);
                }
                Record::Message { message, .. } | Record::OwedToo { under: message, .. } => {
                    message_next += 1;
                    *message = MessageNumber(message_next);
                }
                _ => {}
            }
        }
        groups
    })
}

/// Lets a record refer to what is among the last, when so many sessions and messages were named: so that a long history goes on
/// with what it has, and not with its first sessions and messages alone.
fn refer_to_the_last(record: &mut Record, sessions: u64, messages: u64) {
    // One that is yet to come is among them.
    let of = |session: &mut SessionNumber| session.0 = (sessions + 2).saturating_sub(session.0).max(1);
    let named = |message: &mut MessageNumber| message.0 = (messages + 2).saturating_sub(message.0).max(1);
    match record {
        Record::SessionBegun { .. } | Record::EndTold { .. } | Record::RetainedCleared { .. } | Record::Verdict { .. } => {}
        Record::Message { owed, .. } => owed.iter_mut().for_each(|owed| of(&mut owed.session)),
        Record::OwedToo { message, owed, .. } => {
            of(&mut owed.session);
            named(message);
        }
        Record::SessionAttached { session, .. }
        | Record::SessionParked { session, .. }
        | Record::SessionEnded { session, .. }
        | Record::Subscribed { session, .. }
        | Record::Unsubscribed { session, .. }
        | Record::Replaying { session, .. }
        | Record::Replayed { session, .. }
        | Record::GapTold { session }
        | Record::Taken { session, .. }
        | Record::Released { session, .. } => of(session),
        Record::Sent { session, message, .. }
        | Record::Received { session, message }
        | Record::Returned { session, message, .. }
        | Record::Settled { session, message }
        | Record::Dropped { session, message, .. } => {
            of(session);
            named(message);
        }
        Record::Retained { message, .. }
        | Record::WillArmed { message, .. }
        | Record::WillDisarmed { message, .. }
        | Record::WillPublished { message, .. } => named(message),
    }
}

/// How many sessions of a long history live at a time.
const LIVE_MAX: u64 = 4;

/// As [`history_of`], but every record refers to what was named last, and sessions end as others begin: much is dead soon, and the
/// log turns over again and again.
pub(super) fn long_history_of(seed: u64, len_max: usize) -> Vec<Vec<Batch>> {
    let mut history = history_of(seed, len_max);
    let (mut sessions, mut messages) = (0, 0);
    for batch in history.iter_mut().flatten() {
        let before = sessions;
        for record in &mut batch.records {
            refer_to_the_last(record, sessions, messages);
            match record {
                Record::SessionBegun { session, .. } => sessions = session.0,
                Record::Message { message, .. } | Record::OwedToo { under: message, .. } => messages = message.0,
                _ => {}
            }
        }
        let ends = (before + 1..=sessions).filter_map(|begun| begun.checked_sub(LIVE_MAX)).filter(|session| *session > 0);
        let why = SessionState::Expired;
        batch.records.extend(ends.map(|session| Record::SessionEnded { session: SessionNumber(session), why, unix_ms: session }));
    }
    history
}

/// What [`histories`] draws for a seed, each group cut into batches of one or two records.
pub(super) fn history_of(seed: u64, len_max: usize) -> Vec<Vec<Batch>> {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let groups = histories(len_max).new_tree(&mut runner).unwrap().current();
    let mut turn = 0;
    let mut batch = |records: &[Record]| {
        turn += 1;
        Batch { shard: 0, turn, records: records.to_vec(), unix_ms: 1_700_000_000_000 + turn, ..Batch::default() }
    };
    groups.iter().map(|group| group.chunks(1 + turn_len(seed)).map(&mut batch).collect()).collect()
}

fn turn_len(seed: u64) -> usize {
    (seed % 3) as usize
}
