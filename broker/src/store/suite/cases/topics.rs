//! Retained messages.

use super::super::*;
use super::{id, sent};

fn is_retained(message: u64, version: u64) -> Record {
    Record::Retained { message: MessageNumber(message), version }
}

fn clear(version: u64) -> Record {
    Record::RetainedCleared { topic: Arc::from(*b"t"), version }
}

fn retained_now(desk: &Desk) -> Option<u64> {
    desk.state().retained.get(b"t".as_slice()).and_then(|(message, _)| *message).map(|message| message.0)
}

pub(super) fn retained(desk: &mut Desk) {
    desk.keep([message(1, "t", &[]), is_retained(1, 1)]);
    assert_eq!((retained_now(desk), desk.read(1).is_some()), (Some(1), true));
    desk.keep([begun(1, "c"), Record::OwedToo { message: MessageNumber(1), under: MessageNumber(1), owed: owed(1) }]);
    // Two shards race: what is kept last was first under the lock.
    desk.keep([message(3, "t", &[]), is_retained(3, 3)]);
    desk.keep([message(2, "t", &[1]), is_retained(2, 2)]);
    assert_eq!(retained_now(desk), Some(3));
    assert_eq!(desk.owed(1), [(1, Progress::Waiting), (2, Progress::Waiting)]);
    desk.keep([settled(1, 1), settled(1, 2)]);
    assert_eq!((desk.read(1), desk.read(2), desk.read(3).is_some()), (None, None, true));
}

/// As it was published and because it is retained: each has a name of its own, and one copy is enough for both.
pub(super) fn owed_twice(desk: &mut Desk) {
    desk.keep([begun(1, "c"), message(1, "t", &[1]), is_retained(1, 1)]);
    desk.keep([Record::OwedToo { message: MessageNumber(1), under: MessageNumber(2), owed: owed(1) }]);
    assert_eq!((desk.owed(1), desk.engine.usage().messages), (vec![(1, Progress::Waiting), (2, Progress::Waiting)], 1));
    assert_eq!((desk.read(2), desk.state().numbers()[1]), (desk.read(1), 2));
    desk.keep([sent(1, 2, 7), clear(2)]);
    desk.keep([settled(1, 1)]);
    assert_eq!(desk.owed(1), [(2, Progress::Sent(id(7)))], "{}: the one says nothing of the other", desk.name);
    assert!(desk.read(2).is_some_and(|kept| kept.message == envelope("t", "payload 1").message));
    desk.keep([settled(1, 2)]);
    assert_eq!((desk.owed(1), desk.read(2), desk.engine.usage().messages), (vec![], None, 0));
}

pub(super) fn cleared(desk: &mut Desk) {
    desk.keep([message(1, "t", &[]), is_retained(1, 1)]);
    desk.keep([clear(3)]);
    assert_eq!((retained_now(desk), desk.read(1)), (None, None));
    desk.keep([message(2, "t", &[]), is_retained(2, 2)]);
    assert_eq!((retained_now(desk), desk.read(2)), (None, None), "{}: it was cleared after that", desk.name);
    desk.keep([clear(1)]);
    desk.keep([message(4, "t", &[]), is_retained(4, 4)]);
    assert_eq!((retained_now(desk), desk.state().last_version), (Some(4), 4));
}

pub(super) fn will_retained(desk: &mut Desk) {
    desk.keep([begun(1, "c"), message(1, "t", &[]), Record::WillArmed { whose: whose("c"), message: MessageNumber(1) }]);
    desk.keep([
        Record::WillPublished { client_id: "c".into(), message: MessageNumber(1) },
        is_retained(1, 1),
        Record::OwedToo { message: MessageNumber(1), under: MessageNumber(1), owed: owed(1) },
    ]);
    assert_eq!((retained_now(desk), desk.state().wills.len()), (Some(1), 0));
    assert_eq!(desk.state().references[&MessageNumber(1)], 2);
    assert_eq!(desk.read(1).map(|kept| kept.message), Some(envelope("t", "payload 1").message));
}
