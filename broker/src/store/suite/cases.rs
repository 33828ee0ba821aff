//! The cases of the suite: sessions and queues here, what hangs on topics and clients beside.

mod clients;
mod topics;

use super::*;
use candor_protocol::packet::{PacketId, Reason, TopicFilter};
use candor_protocol::session::SessionState;

type Case = (&'static str, fn(&mut Desk));

pub(super) const CASES: &[Case] = &[
    ("a session is kept with its subscriptions", sessions),
    ("a session that ended takes everything with it", ended),
    ("what is owed keeps its order", order),
    ("a message that comes back goes before what waits", returned),
    ("a message is one for all sessions that are owed it", one_copy),
    ("a message that nothing refers to is not kept", unreferred),
    ("a message may change hands within a batch", handed_over),
    ("what was dropped is counted until it is told", gaps),
    ("QoS 2 identifiers are taken and released", taken),
    ("what is not there cannot be changed", unknown),
    ("numbers are never given out again", numbers),
    ("batches of several shards are kept in one call", groups),
    ("messages of all shapes come back as they were", shapes),
    ("the retained message is that of the highest version", topics::retained),
    ("a message that is owed twice is owed under two numbers", topics::owed_twice),
    ("a cleared topic stays cleared for who comes late", topics::cleared),
    ("a will that was kept may become retained", topics::will_retained),
    ("a will stands until it is disarmed", clients::wills),
    ("why a session ended is remembered until it is told", clients::ends),
    ("verdicts are kept, the last ones of each client", clients::verdicts),
];

fn id(id: u16) -> PacketId {
    PacketId::new(id).expect("not 0")
}

fn sent(session: u64, message: u64, packet: u16) -> Record {
    Record::Sent { session: SessionNumber(session), message: MessageNumber(message), id: id(packet) }
}

fn sessions(desk: &mut Desk) {
    let session = SessionNumber(1);
    let filter = TopicFilter::new("a/+").unwrap();
    let subscription = crate::router::Subscription { qos: Qos::ExactlyOnce, no_local: true, retain_as_published: false, unordered: true };
    desk.keep([begun(1, "c"), Record::SessionAttached { session, expiry_s: 60 }]);
    desk.keep([Record::Subscribed { session, filter: filter.clone(), subscription }]);
    let kept = desk.session(1);
    assert_eq!((&*kept.client_id, &*kept.principal, kept.incarnation, kept.expiry_s, kept.is_attached), ("c", "somebody", 101, 60, true));
    assert_eq!(kept.subscriptions.get(&filter), Some(&subscription));
    desk.keep([Record::SessionParked { session, expires_at_ms: Some(5), was_extended: true }]);
    desk.keep([Record::Unsubscribed { session, filter }]);
    let kept = desk.session(1);
    assert_eq!((kept.is_attached, kept.expires_at_ms, kept.was_extended, kept.subscriptions.len()), (false, Some(5), true, 0));
    desk.keep([Record::SessionAttached { session, expiry_s: u32::MAX }]);
    assert_eq!((desk.session(1).is_attached, desk.session(1).expires_at_ms, desk.session(1).expiry_s), (true, None, u32::MAX));
}

fn ended(desk: &mut Desk) {
    desk.keep([begun(1, "c"), begun(2, "d"), message(1, "t", &[1, 2]), message(2, "t", &[1])]);
    desk.keep([Record::SessionEnded { session: SessionNumber(1), why: SessionState::New, unix_ms: 7 }]);
    assert!(!desk.state().sessions.contains_key(&SessionNumber(1)));
    assert!(desk.state().ended.is_empty(), "the client wanted it so");
    assert_eq!(desk.owed(2), [(1, Progress::Waiting)]);
    assert_eq!((desk.read(1).is_some(), desk.read(2)), (true, None));
    desk.keep([message(3, "t", &[1])]);
    assert_eq!(desk.read(3), None, "a message for a session that is gone");
}

fn order(desk: &mut Desk) {
    desk.keep([begun(1, "c")]);
    desk.keep((1..=5).map(|number| message(number, "t", &[1])));
    desk.keep([sent(1, 1, 10), sent(1, 3, 11)]);
    desk.keep([Record::Received { session: SessionNumber(1), message: MessageNumber(3) }, sent(1, 2, 12)]);
    let expected = [
        (1, Progress::Sent(id(10))),
        (3, Progress::Received(id(11))),
        (2, Progress::Sent(id(12))),
        (4, Progress::Waiting),
        (5, Progress::Waiting),
    ];
    assert_eq!(desk.owed(1), expected);
    desk.keep([settled(1, 3), settled(1, 4)]);
    assert_eq!(desk.owed(1), [(1, Progress::Sent(id(10))), (2, Progress::Sent(id(12))), (5, Progress::Waiting)]);
    assert_eq!(desk.read(3), None);
}

fn returned(desk: &mut Desk) {
    desk.keep([begun(1, "c"), message(1, "t", &[1]), message(2, "t", &[1]), message(3, "t", &[1]), sent(1, 1, 1), sent(1, 2, 2)]);
    desk.keep([Record::Returned { session: SessionNumber(1), message: MessageNumber(1), redelivery_count: 4 }]);
    assert_eq!(desk.owed(1), [(2, Progress::Sent(id(2))), (1, Progress::Waiting), (3, Progress::Waiting)]);
    assert_eq!(desk.session(1).owed[1].redelivery_count, 4);
    desk.keep([settled(1, 2), sent(1, 1, 2)]);
    assert_eq!(desk.owed(1), [(1, Progress::Sent(id(2))), (3, Progress::Waiting)]);
}

fn one_copy(desk: &mut Desk) {
    let sessions: Vec<u64> = (1..=50).collect();
    desk.keep(sessions.iter().map(|session| begun(*session, &format!("c{session}"))));
    let before = desk.engine.usage();
    let mut large = message(1, "t", &sessions);
    if let Record::Message { envelope: kept, .. } = &mut large {
        *kept = envelope("t", &"x".repeat(10_000));
    }
    desk.keep([large]);
    let usage = desk.engine.usage();
    assert_eq!((usage.messages, usage.sessions, desk.state().references[&MessageNumber(1)]), (1, 50, 50));
    assert!(usage.bytes - before.bytes < 20_000, "{}: {} bytes for one message", desk.name, usage.bytes - before.bytes);
    for session in 1..50 {
        desk.keep([settled(session, 1)]);
        assert!(desk.read(1).is_some());
    }
    desk.keep([settled(50, 1)]);
    assert_eq!((desk.read(1), desk.engine.usage().messages), (None, 0));
}

fn unreferred(desk: &mut Desk) {
    desk.keep([begun(1, "c"), message(1, "t", &[]), message(2, "t", &[1])]);
    assert_eq!((desk.read(1), desk.read(2).map(|kept| kept.message)), (None, Some(envelope("t", "payload 2").message)));
    desk.keep([Record::OwedToo { message: MessageNumber(1), under: MessageNumber(1), owed: owed(1) }]);
    assert_eq!(desk.owed(1), [(2, Progress::Waiting)], "{}: it was not kept", desk.name);
}

fn handed_over(desk: &mut Desk) {
    desk.keep([begun(1, "c"), begun(2, "d"), message(1, "t", &[1])]);
    desk.keep([settled(1, 1), Record::OwedToo { message: MessageNumber(1), under: MessageNumber(1), owed: owed(2) }]);
    assert_eq!((desk.owed(1), desk.owed(2)), (vec![], vec![(1, Progress::Waiting)]));
    assert!(desk.read(1).is_some());
}

fn gaps(desk: &mut Desk) {
    let session = SessionNumber(1);
    let dropped = |message, reason| Record::Dropped { session, message: MessageNumber(message), reason };
    desk.keep([begun(1, "c"), message(1, "t", &[1]), message(2, "t", &[1]), message(3, "t", &[1])]);
    desk.keep([dropped(1, Reason::QUEUE_OVERFLOW), dropped(2, Reason::QUEUE_OVERFLOW), dropped(3, Reason::MESSAGE_EXPIRED)]);
    let gap = &desk.session(1).gap;
    assert_eq!((gap.get(&Reason::QUEUE_OVERFLOW.0), gap.get(&Reason::MESSAGE_EXPIRED.0)), (Some(&2), Some(&1)));
    assert_eq!((desk.owed(1), desk.read(1)), (vec![], None));
    desk.keep([dropped(1, Reason::QUEUE_OVERFLOW)]);
    assert_eq!(desk.session(1).gap[&Reason::QUEUE_OVERFLOW.0], 2, "{}: it was not owed any more", desk.name);
    desk.keep([Record::GapTold { session }]);
    assert!(desk.session(1).gap.is_empty());
}

fn taken(desk: &mut Desk) {
    let session = SessionNumber(1);
    desk.keep([
        begun(1, "c"),
        Record::Taken { session, id: id(7) },
        Record::Taken { session, id: id(8) },
        Record::Taken { session, id: id(7) },
    ]);
    assert_eq!(desk.session(1).taken, [id(7), id(8)].into());
    desk.keep([Record::Released { session, id: id(7) }, Record::Released { session, id: id(7) }]);
    assert_eq!(desk.session(1).taken, [id(8)].into());
}

fn unknown(desk: &mut Desk) {
    desk.keep([begun(1, "c"), message(1, "t", &[1])]);
    let before = desk.state().clone();
    let (nobody, nothing) = (SessionNumber(77), MessageNumber(77));
    let session = SessionNumber(1);
    for session in [nobody, session] {
        desk.keep([sent(session.0, 77, 1)]);
        desk.keep([Record::Received { session, message: nothing }]);
        desk.keep([Record::Returned { session, message: nothing, redelivery_count: 1 }]);
        desk.keep([Record::Settled { session, message: nothing }]);
        desk.keep([Record::Dropped { session, message: nothing, reason: Reason::QUEUE_OVERFLOW }]);
        desk.keep([Record::OwedToo { message: nothing, under: MessageNumber(1), owed: owed(session.0) }]);
    }
    desk.keep([Record::OwedToo { message: MessageNumber(1), under: MessageNumber(1), owed: owed(77) }, settled(77, 1), sent(77, 1, 1)]);
    desk.keep([Record::SessionAttached { session: nobody, expiry_s: 1 }, Record::GapTold { session: nobody }]);
    desk.keep([Record::SessionEnded { session: nobody, why: SessionState::Expired, unix_ms: 1 }]);
    desk.keep([Record::Taken { session: nobody, id: id(1) }, Record::Released { session: nobody, id: id(1) }]);
    desk.keep([
        Record::WillArmed { whose: whose("c"), message: nothing },
        Record::WillDisarmed { client_id: "x".into(), message: nothing },
    ]);
    desk.keep([Record::EndTold { client_id: "x".into() }]);
    assert_eq!(desk.state(), &before, "{}", desk.name);
}

fn numbers(desk: &mut Desk) {
    desk.keep([begun(5, "c"), message(9, "t", &[5]), Record::RetainedCleared { topic: Arc::from(*b"t"), version: 4 }]);
    desk.keep([settled(5, 9), Record::SessionEnded { session: SessionNumber(5), why: SessionState::New, unix_ms: 1 }]);
    assert_eq!(desk.state().numbers(), [5, 9, 4]);
}

fn groups(desk: &mut Desk) {
    let batch = |shard, turn, records| Batch { shard, turn, records, ..Batch::default() };
    let reached = desk.engine.keep(&[
        batch(0, 1, vec![begun(1, "c")]),
        batch(1, 1, vec![begun(2, "d")]),
        batch(0, 2, vec![message(1, "t", &[1, 2])]),
        batch(1, 2, vec![]),
        batch(1, 3, vec![settled(2, 1)]),
    ]);
    assert_eq!(reached, Ok(desk.engine.durability()));
    assert_eq!((desk.owed(1), desk.owed(2)), (vec![(1, Progress::Waiting)], vec![]));
    assert_eq!(desk.engine.keep(&[]), Ok(desk.engine.durability()), "nothing is kept at once");
}

fn shapes(desk: &mut Desk) {
    desk.keep([begun(1, "c")]);
    let mut dictionary = candor_protocol::codec::dictionary::MapBuilder::new();
    dictionary.set(candor_protocol::packet::property::RECEIVED_AT, &5);
    let dictionary = dictionary.finish();
    let topic = candor_protocol::packet::TopicName::new("a/ä").unwrap();
    let with_map = Message::new(&topic, &dictionary, b"\0\xff");
    let bare = Envelope { expires_at_ms: None, stamps: None, ..envelope("t", "") };
    let shapes = [
        Envelope { qos: Qos::ExactlyOnce, retain: true, hop: dictionary.clone(), message: with_map, ..bare.clone() },
        bare.clone(),
        Envelope { qos: Qos::AtMostOnce, expires_at_ms: Some(u64::MAX), ..envelope("t", &"z".repeat(100_000)) },
        Envelope { stamps: Some(Arc::default()), ..bare },
    ];
    let record = |(number, envelope): (usize, &Envelope)| Record::Message {
        message: MessageNumber(number as u64),
        envelope: envelope.clone(),
        owed: vec![owed(1)],
    };
    desk.keep(shapes.iter().enumerate().map(record));
    for (number, envelope) in shapes.iter().enumerate() {
        assert_eq!(desk.read(number as u64).as_ref(), Some(envelope));
    }
}
