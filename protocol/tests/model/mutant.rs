//! Mistakes that an implementation could make. Each is caught by one of the invariants, so an invariant that catches nothing is
//! not among them.

use super::world::{Side, World};
use candor_protocol::packet::Qos;
use candor_protocol::session::Parked;
use candor_protocol::session::inbound::Taken;
use candor_protocol::session::outbound::Outbound;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A subscriber forgets in a crash which QoS 2 identifiers are taken.
    DedupeForgotten,
    /// PUBREL, and PUBCOMP, leave before the record is kept that they depend on.
    ReleasedBeforeRecorded,
    /// The ends tell each other which identifiers they have seen, in the place of counts.
    IdentifiersExchanged,
    /// The broker acknowledges a message before its store has it.
    AcknowledgedBeforeKept,
    /// The broker goes on with a count that its store did not keep.
    MarkWithoutCount,
    /// A publisher forgets in a crash what is in flight, and with it which identifiers are in use.
    InFlightForgotten,
    /// After a crash the broker sends what waits before what it had sent already.
    SentBehindWaiting,
    /// The broker's store keeps a record and tells nobody.
    RecordsNotAnnounced,
}

/// What resuming by identifiers comes to: a message whose identifier the peer has seen, and not open, is taken for finished.
pub(crate) fn exchange_identifiers(world: &mut World, side: Side) {
    let client = world.client_mut(side);
    client.end.parked.mark = None;
    let (sender, receiver) = match side {
        Side::Publisher => (&mut client.end.parked, &client.served.parked),
        Side::Subscriber => (&mut client.served.parked, &client.end.parked),
    };
    sender.mark = None;
    let is_open = |id| receiver.inbound.taken().any(|(taken, state)| taken == id && matches!(state, Taken::Pending(_) | Taken::Committed));
    let finished = sender.outbound.messages().filter(|(id, _)| client.under.contains_key(id) && !is_open(*id));
    let finished: Vec<_> = finished.map(|(id, message)| (id, message.token)).collect();
    finished.iter().for_each(|(id, _)| drop(sender.outbound.finish(*id)));
    for (_, token) in finished {
        match side {
            Side::Publisher => drop(world.acknowledged.insert(token)),
            Side::Subscriber => world.kept[token as usize].is_settled = true,
        }
    }
}

/// Counts that begin at nothing under a mark that does not.
pub(crate) fn count_from_nothing(parked: &mut Parked) {
    parked.inbound.restore_count(0);
    if parked.outbound.is_empty() {
        parked.outbound = Outbound::restore([], Some(0)).expect("nothing is in order");
    }
}

/// What a QoS demands of a mutant is not the same at both.
pub(crate) const fn qos_of(mutant: Mutant) -> Qos {
    match mutant {
        Mutant::AcknowledgedBeforeKept | Mutant::MarkWithoutCount | Mutant::SentBehindWaiting => Qos::AtLeastOnce,
        _ => Qos::ExactlyOnce,
    }
}
