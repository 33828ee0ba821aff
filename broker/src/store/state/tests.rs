use super::*;
use crate::message::Envelope;
use crate::store::record::{Owed, Record, Whose};
use crate::store::samples::histories;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::{Message, PacketId, Qos};
use candor_protocol::session::SessionState;
use proptest::prelude::*;

fn state_of(groups: &[Vec<Record>]) -> State {
    let mut state = State::default();
    for group in groups {
        group.iter().for_each(|record| state.apply(record));
        state.end_group();
    }
    state
}

/// The references, counted anew.
fn references(state: &State) -> HashMap<MessageNumber, u32> {
    let mut references = HashMap::new();
    let owed = state.sessions.values().flat_map(|kept| kept.owed.iter().map(|owed| owed.body));
    let retained = state.retained.values().filter_map(|(message, _)| *message);
    for message in owed.chain(retained).chain(state.wills.values().map(|(_, message)| *message)) {
        *references.entry(message).or_insert(0) += 1;
    }
    references
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn references_and_weight_are_exact(groups in histories(40)) {
        let state = state_of(&groups);
        prop_assert_eq!(&state.references, &references(&state));
        prop_assert_eq!(state.weight(), state.weigh());
    }

    #[test]
    fn what_was_sent_stands_before_what_waits(groups in histories(40)) {
        for kept in state_of(&groups).sessions.values() {
            let waits: Vec<bool> = kept.owed.iter().map(|owed| owed.progress == Progress::Waiting).collect();
            prop_assert!(waits.is_sorted(), "{:?}", kept.owed);
        }
    }

    #[test]
    fn the_facts_of_a_state_are_the_state(groups in histories(40)) {
        let state = state_of(&groups);
        let mut again = State::default();
        state.snapshot().for_each(|fact| again.assume(fact));
        prop_assert_eq!(&again, &state);
        prop_assert_eq!(again.weight(), state.weight());
        // Nothing is there twice.
        let things = state.sessions.len() + state.retained.len() + state.wills.len() + state.ended.len() + state.verdicts.len();
        prop_assert_eq!(state.snapshot().count(), 1 + things);
        // Facts hold whatever was before.
        state.snapshot().for_each(|fact| again.assume(fact));
        prop_assert_eq!(&again, &state);
    }
}

#[test]
fn what_clients_leave_behind_is_bounded() {
    let mut state = State::default();
    for n in 0..PAGES_MAX as u64 + 50 {
        let client_id: Arc<str> = format!("client-{n}").into();
        let whose = Whose { principal: "p".into(), client_id };
        state.apply(&Record::Verdict { whose, number: 1, replaces: Vec::new(), verdict: Arc::from(*b"v") });
    }
    for version in 1..=CLEARED_MAX as u64 + 50 {
        state.apply(&Record::RetainedCleared { topic: format!("topic/{version}").as_bytes().into(), version });
    }
    for n in 0..ENDED_MAX as u64 + 50 {
        let session = SessionNumber(n);
        state.apply(&Record::SessionBegun { session, client_id: format!("c{n}").into(), principal: "p".into(), incarnation: 0 });
        state.apply(&Record::SessionEnded { session, why: SessionState::Expired, unix_ms: n });
    }
    assert_eq!((state.verdicts.len(), state.retained.len()), (PAGES_MAX, CLEARED_MAX));
    assert!((ENDED_MAX * 9 / 10..=ENDED_MAX).contains(&state.ended.len()), "{}", state.ended.len());
    assert_eq!(state.ended.get("c0"), None, "the oldest is forgotten first");
    assert_eq!(state.weight(), state.weigh());
    state.forget_all_cleared();
    assert!(state.retained.is_empty());
    assert_eq!(state.weight(), state.weigh());
}

#[test]
fn identifiers_stand_in_the_order_in_which_they_were_given_out() {
    let session = SessionNumber(1);
    let begun = Record::SessionBegun { session, client_id: "c".into(), principal: "p".into(), incarnation: 1 };
    let mut state = State::default();
    state.apply(&begun);
    let owed = || vec![Owed { session, qos: Qos::ExactlyOnce, retain: false }];
    for n in 1..=3 {
        let message = Message::publish("a", "x").unwrap();
        let (qos, hop) = (Qos::ExactlyOnce, Dictionary::EMPTY);
        let envelope = Envelope { message, qos, retain: false, expires_at_ms: None, stamps: None, hop };
        state.apply(&Record::Message { message: MessageNumber(n), envelope, owed: owed() });
    }
    for (message, id) in [(1, 1), (2, 2), (1, 3), (3, 4)] {
        state.apply(&Record::Sent { session, message: MessageNumber(message), id: PacketId::new(id).unwrap() });
    }
    let stands: Vec<(u64, Progress)> = state.sessions[&session].owed.iter().map(|owed| (owed.message.0, owed.progress)).collect();
    let sent = |id| Progress::Sent(PacketId::new(id).unwrap());
    assert_eq!(stands, [(2, sent(2)), (1, sent(3)), (3, sent(4))]);
}
