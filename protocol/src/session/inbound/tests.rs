use super::*;

fn id(n: u16) -> PacketId {
    PacketId::new(n).unwrap()
}

fn settle(inbound: &mut Inbound, ticket: Ticket, in_order: bool) -> Vec<u16> {
    let mut answered = vec![];
    inbound.settle(ticket, Outcome::accepted(), in_order, |pending, _| answered.push(pending.id.value()));
    answered
}

#[test]
fn acknowledgements_keep_the_order_where_it_is_demanded() {
    let mut inbound = Inbound::default();
    for n in 1..=3 {
        assert_eq!(inbound.arrive(id(n), Qos::AtLeastOnce, false, Asked::default()), Arrival::New(u64::from(n) - 1));
    }
    assert_eq!(settle(&mut inbound, 1, true), [0u16; 0]);
    assert_eq!(settle(&mut inbound, 2, true), [0u16; 0]);
    assert_eq!(settle(&mut inbound, 0, true), [1, 2, 3]);
    assert_eq!(inbound.open(), 0);
}

#[test]
fn acknowledgements_go_at_once_where_order_is_free() {
    let mut inbound = Inbound::default();
    for n in 1..=3 {
        inbound.arrive(id(n), Qos::AtLeastOnce, false, Asked::default());
    }
    assert_eq!(settle(&mut inbound, 1, false), [2]);
    assert_eq!(settle(&mut inbound, 1, false), [0u16; 0]);
    assert_eq!(settle(&mut inbound, 0, false), [1]);
    assert_eq!(settle(&mut inbound, 2, false), [3]);
}

#[test]
fn a_qos_2_identifier_is_taken_until_it_is_released() {
    let mut inbound = Inbound::default();
    assert_eq!(inbound.arrive(id(7), Qos::ExactlyOnce, false, Asked::default()), Arrival::New(0));
    assert_eq!(inbound.arrive(id(7), Qos::ExactlyOnce, false, Asked::default()), Arrival::InProgress);
    assert!(!inbound.release(id(7)));
    settle(&mut inbound, 0, true);
    assert_eq!(inbound.arrive(id(7), Qos::ExactlyOnce, false, Asked::default()), Arrival::Repeated(Reason::SUCCESS));
    assert!(inbound.release(id(7)) && inbound.released(id(7)));
    assert_eq!(inbound.arrive(id(7), Qos::ExactlyOnce, false, Asked::default()), Arrival::New(1));
}

#[test]
fn a_refused_qos_2_message_frees_its_identifier() {
    let mut inbound = Inbound::default();
    inbound.arrive(id(7), Qos::ExactlyOnce, false, Asked::default());
    let refused = Outcome::refused(crate::packet::Refusal::bare(crate::packet::Reason::NOT_AUTHORIZED));
    inbound.settle(0, refused, true, |_, _| {});
    assert_eq!(inbound.arrive(id(7), Qos::ExactlyOnce, false, Asked::default()), Arrival::New(1));
}

#[test]
fn an_unsettled_qos_2_message_survives_the_connection() {
    let mut inbound = Inbound::default();
    inbound.arrive(id(1), Qos::AtLeastOnce, false, Asked::default());
    inbound.arrive(id(2), Qos::ExactlyOnce, false, Asked::default());
    inbound.disconnect();
    assert_eq!(inbound.open(), 1);
    assert_eq!(inbound.arrive(id(2), Qos::ExactlyOnce, false, Asked::default()), Arrival::InProgress);
    assert_eq!(settle(&mut inbound, 1, true), [2]);
    assert_eq!(inbound.arrive(id(2), Qos::ExactlyOnce, false, Asked::default()), Arrival::Repeated(Reason::SUCCESS));
}
