//! What hangs on clients: wills, ends, verdicts.

use super::super::*;
use crate::store::state::VERDICTS_MAX;
use candor_protocol::session::SessionState;

pub(super) fn wills(desk: &mut Desk) {
    let armed = |message| Record::WillArmed { whose: whose("c"), message: MessageNumber(message) };
    desk.keep([message(1, "w", &[]), armed(1)]);
    assert_eq!(desk.state().wills["c"], (whose("c"), MessageNumber(1)));
    assert!(desk.read(1).is_some());
    desk.keep([message(2, "w", &[]), armed(2)]);
    assert_eq!((desk.read(1), desk.read(2).is_some()), (None, true), "{}: one will a client", desk.name);
    let client_id = || "c".into();
    // Neither word is about a will that stands in the place of the one that it names.
    let named = MessageNumber;
    desk.keep([Record::WillDisarmed { client_id: client_id(), message: named(1) }]);
    desk.keep([Record::WillPublished { client_id: client_id(), message: named(1) }]);
    assert_eq!(desk.state().wills["c"].1, named(2));
    desk.keep([Record::WillDisarmed { client_id: client_id(), message: named(2) }]);
    assert_eq!((desk.state().wills.len(), desk.read(2)), (0, None));
    desk.keep([message(3, "w", &[]), armed(3)]);
    assert!(desk.read(3).is_some());
}

pub(super) fn ends(desk: &mut Desk) {
    let ended = |number, why, unix_ms| Record::SessionEnded { session: SessionNumber(number), why, unix_ms };
    desk.keep([begun(1, "c"), begun(2, "d"), begun(3, "e")]);
    desk.keep([ended(1, SessionState::Expired, 10), ended(2, SessionState::Evicted, 20), ended(3, SessionState::New, 30)]);
    let told = &desk.state().ended;
    assert_eq!(
        (told.get("c"), told.get("d"), told.get("e")),
        (Some(&(SessionState::Expired, 10)), Some(&(SessionState::Evicted, 20)), None)
    );
    desk.keep([Record::EndTold { client_id: "c".into() }]);
    assert_eq!(desk.state().ended.len(), 1);
}

pub(super) fn verdicts(desk: &mut Desk) {
    let verdict = |client_id, n: usize, replaces| {
        let verdict = Arc::from(format!("verdict {n}").as_bytes());
        Record::Verdict { whose: whose(client_id), number: n as u64, replaces, verdict }
    };
    desk.keep([verdict("d", 0, vec![]), verdict("d", 1, vec![]), verdict("d", 2, vec![])]);
    desk.keep([verdict("d", 3, vec![1, 9]), verdict("d", 4, vec![0])]);
    for n in 0..VERDICTS_MAX + 3 {
        desk.keep([verdict("c", n, vec![])]);
    }
    let page = &desk.state().verdicts[&whose("c")];
    assert_eq!((page.len(), &*page[0].1), (VERDICTS_MAX, b"verdict 3".as_slice()));
    let page = &desk.state().verdicts[&whose("d")];
    let numbers: Vec<u64> = page.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [2, 3, 4], "what stands for another takes its place, and goes to the end");
}
