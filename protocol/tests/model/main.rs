//! The sessions of a publisher, a broker and a subscriber, run through every order of events: frames that arrive, records that
//! are kept, connections that are cut with what is on its way, and crashes after which only what was kept is left.
//!
//! The sessions are those of the crate; around them is a broker of a few lines that keeps a record before it releases what
//! depends on it. `cargo test` explores small worlds; `just model` the large ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails in a test fails the test")]

mod mutant;
mod party;
mod world;

use candor_protocol::packet::Qos;
use candor_protocol::sim::Way;
use mutant::Mutant;
use stateright::{Checker, HasDiscoveries, Model, Property};
use world::{At, SIDES, Side, World};

/// Which world is explored.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    qos: Qos,
    /// How clients may connect: every connection takes one of them.
    ways: Vec<Way>,
    messages: u8,
    window: u16,
    /// How many connections of the publisher, and of the subscriber, are cut.
    cuts: [u8; 2],
    /// How often the publisher, the broker and the subscriber crash.
    crashes: [u8; 3],
    /// Whether a client's file holds the count as well.
    clients_keep_count: bool,
    /// Whether the application publishes at any time, and not as soon as it can.
    publishes_late: bool,
    /// Which clients connect at all.
    sides: &'static [Side],
    mutant: Option<Mutant>,
}

impl Scenario {
    fn new(qos: Qos, ways: &[Way], cuts: [u8; 2], crashes: [u8; 3]) -> Self {
        Self {
            qos,
            ways: ways.to_vec(),
            messages: 2,
            window: 2,
            cuts,
            crashes,
            clients_keep_count: true,
            publishes_late: false,
            sides: &SIDES,
            mutant: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Connect(Side, Way2),
    Carry(Side, At),
    Keep,
    Publish,
    /// A server has waited long enough for an offer.
    HoldEnds(Side),
    Cut(Side),
    CrashClient(Side),
    CrashBroker,
}

/// An index into the ways of the scenario.
pub(crate) type Way2 = usize;

impl Scenario {
    /// What happens by itself when nothing goes wrong.
    fn kind(&self, world: &World, actions: &mut Vec<Action>) {
        for side in self.sides.iter().copied() {
            let client = world.client(side);
            if client.end.session.is_none() {
                actions.extend((0..self.ways.len()).map(|way| Action::Connect(side, way)));
            }
            if !client.link.up.is_empty() {
                actions.push(Action::Carry(side, At::Broker));
            }
            if !client.link.down.is_empty() {
                actions.push(Action::Carry(side, At::Client));
            }
            if client.served.is_holding() {
                actions.push(Action::HoldEnds(side));
            }
        }
        if !world.keeping.is_empty() {
            actions.push(Action::Keep);
        }
        if self.publishes_late && world.may_publish(self) {
            actions.push(Action::Publish);
        }
    }

    fn is_quiet(&self, world: &World) -> bool {
        let mut actions = Vec::new();
        self.kind(world, &mut actions);
        actions.is_empty()
    }
}

impl Model for Scenario {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World { cuts: self.cuts, crashes: self.crashes, ..World::default() }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.quarrel.is_some() {
            return;
        }
        self.kind(world, actions);
        for side in self.sides.iter().copied() {
            let is_connected = world.client(side).end.session.is_some();
            if is_connected && world.cuts[side as usize] > 0 {
                actions.push(Action::Cut(side));
            }
            if world.crashes[2 * (side as usize)] > 0 {
                actions.push(Action::CrashClient(side));
            }
        }
        if world.crashes[1] > 0 {
            actions.push(Action::CrashBroker);
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        match action {
            Action::Connect(side, way) => world.connect(self, side, *self.ways.get(way)?),
            Action::Carry(side, to) => world.carry(self, side, to),
            Action::Keep => world.keep(self),
            Action::Publish => world.publish_now(self),
            Action::HoldEnds(side) => world.end_hold(self, side),
            Action::Cut(side) => {
                world.cuts[side as usize] -= 1;
                world.cut(side);
            }
            Action::CrashClient(side) => {
                world.crashes[2 * (side as usize)] -= 1;
                world.crash_client(self, side);
            }
            Action::CrashBroker => {
                world.crashes[1] -= 1;
                world.crash_broker(self);
            }
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(DOUBLED, |model: &Self, world| {
                model.qos != Qos::ExactlyOnce || (0..model.messages).all(|message| count(world, message) <= 1)
            }),
            Property::always(LOST, |model, world| {
                !model.is_quiet(world) || world.quarrel.is_some() || (0..model.messages).all(|message| count(world, message) >= 1)
            }),
            Property::always(LIED_TO, |_, world: &World| {
                world.acknowledged.iter().all(|token| world.kept.iter().any(|kept| u64::from(kept.payload) == *token))
            }),
            Property::always(ORDER, |_, world: &World| {
                let mut first = Vec::new();
                world.delivered.iter().for_each(|message| {
                    if !first.contains(message) {
                        first.push(*message)
                    }
                });
                first.is_sorted()
            }),
            Property::always(CLASH, |_, world: &World| !world.has_clash),
            Property::always(QUARREL, |_, world: &World| world.quarrel.is_none()),
            Property::always(UNSETTLED, |model, world| !model.is_quiet(world) || world.quarrel.is_some() || is_settled(model, world)),
            Property::sometimes(DONE, is_settled),
        ]
    }
}

const DOUBLED: &str = "a QoS 2 message is delivered at most once";
const LOST: &str = "a message is delivered at least once";
const LIED_TO: &str = "what is acknowledged is kept";
const ORDER: &str = "messages arrive first in their order";
const CLASH: &str = "no identifier stands for two open messages";
const QUARREL: &str = "honest ends do not refuse each other";
const UNSETTLED: &str = "everything is settled when nothing more goes wrong";
const DONE: &str = "it is possible to be done";

fn count(world: &World, message: u8) -> usize {
    world.delivered.iter().filter(|delivered| **delivered == message).count()
}

fn is_settled(model: &Scenario, world: &World) -> bool {
    let publisher = world.client(Side::Publisher);
    world.published == model.messages
        && world.acknowledged.len() == usize::from(model.messages)
        && publisher.end.outbound().is_empty()
        && publisher.served.inbound().in_window() == 0
        && world.client(Side::Subscriber).served.outbound().is_empty()
        && world.client(Side::Subscriber).end.inbound().in_window() == 0
        && world.kept.iter().all(|kept| kept.is_settled)
}

/// Explores a world to its end.
fn explore(name: &str, scenario: Scenario) -> usize {
    let checker = scenario.checker().threads(2).spawn_dfs().join();
    let states = checker.unique_state_count();
    println!("{name}: {states} states, {} generated, depth {}", checker.state_count(), checker.max_depth());
    if let Some((property, path)) = checker.discoveries().into_iter().find(|(property, _)| *property != DONE) {
        panic!("{name}: it is not so that {property}: {:?}\n{:#?}", path.clone().into_actions(), path.last_state());
    }
    assert!(checker.discovery(DONE).is_some() && checker.is_done());
    states
}

const EXTENDED: &[Way] = &[Way::Extended];
const BOTH: &[Way] = &[Way::Plain, Way::Extended];
const QOS: [Qos; 2] = [Qos::AtLeastOnce, Qos::ExactlyOnce];

#[test]
fn cut_connections_lose_and_double_nothing() {
    for qos in QOS {
        explore(&format!("{qos:?}, extended, cut at the publisher"), Scenario::new(qos, EXTENDED, [1, 0], [0, 0, 0]));
        explore(&format!("{qos:?}, plain, cut at the publisher"), Scenario::new(qos, &[Way::Plain], [1, 0], [0, 0, 0]));
    }
    explore("AtLeastOnce, extended, cut at the subscriber", Scenario::new(Qos::AtLeastOnce, EXTENDED, [0, 1], [0, 0, 0]));
}

/// The first invariant that a mutant is seen to break, with what led to it.
fn broken_by(mutant: Mutant, cuts: [u8; 2], crashes: [u8; 3], properties: &[&'static str]) {
    let publishes_late = matches!(mutant, Mutant::IdentifiersExchanged | Mutant::InFlightForgotten);
    let sides: &[Side] = if mutant == Mutant::IdentifiersExchanged { &[Side::Publisher] } else { &SIDES };
    let scenario =
        Scenario { mutant: Some(mutant), publishes_late, sides, ..Scenario::new(mutant::qos_of(mutant), EXTENDED, cuts, crashes) };
    let wanted = HasDiscoveries::AllOf(properties.iter().copied().collect());
    let checker = scenario.checker().threads(2).finish_when(wanted).spawn_bfs().join();
    let discoveries = checker.discoveries();
    let broken: Vec<_> = discoveries.keys().filter(|property| **property != DONE).collect();
    println!("{mutant:?} breaks {broken:?} ({} states)", checker.unique_state_count());
    for property in properties {
        assert!(discoveries.contains_key(property), "{mutant:?} does not break: {property}");
    }
}

#[test]
fn a_subscriber_that_forgets_what_is_taken_doubles_a_message() {
    broken_by(Mutant::DedupeForgotten, [0, 0], [0, 0, 1], &[DOUBLED]);
}

#[test]
fn a_pubrel_before_its_record_doubles_a_message() {
    broken_by(Mutant::ReleasedBeforeRecorded, [0, 0], [0, 1, 0], &[DOUBLED]);
}

#[test]
fn an_acknowledgement_before_the_message_is_kept_is_a_lie() {
    broken_by(Mutant::AcknowledgedBeforeKept, [0, 0], [0, 1, 0], &[LIED_TO, LOST]);
}

#[test]
fn identifiers_in_the_place_of_counts_lose_a_message() {
    // The crash has the ring of identifiers begin again, which a long life does as well.
    broken_by(Mutant::IdentifiersExchanged, [1, 0], [1, 0, 0], &[LIED_TO]);
}

#[test]
fn a_mark_without_its_count_ends_in_a_quarrel() {
    broken_by(Mutant::MarkWithoutCount, [0, 0], [0, 1, 0], &[QUARREL]);
}

#[test]
fn a_publisher_that_forgets_its_identifiers_uses_one_twice() {
    broken_by(Mutant::InFlightForgotten, [0, 0], [1, 0, 0], &[CLASH]);
}

#[test]
fn what_was_sent_before_a_crash_comes_before_what_waited() {
    broken_by(Mutant::SentBehindWaiting, [0, 1], [0, 1, 0], &[ORDER]);
}

#[test]
fn a_record_that_is_never_announced_settles_nothing() {
    broken_by(Mutant::RecordsNotAnnounced, [0, 0], [0, 0, 0], &[UNSETTLED]);
}

/// Every world that is too large for every day. The figures are printed.
fn large_worlds(qos: Qos) -> usize {
    let mut states = 0;
    let mut world =
        |name: &str, ways, cuts, crashes| states += explore(&format!("{qos:?}, {name}"), Scenario::new(qos, ways, cuts, crashes));
    world("extended, two cuts at the publisher", EXTENDED, [2, 0], [0, 0, 0]);
    world("both ways, a cut at the publisher", BOTH, [1, 0], [0, 0, 0]);
    world("both ways, a cut at the subscriber", BOTH, [0, 1], [0, 0, 0]);
    world("by an offer, a cut at the publisher", &[Way::Offer], [1, 0], [0, 0, 0]);
    world("extended, a cut at each", EXTENDED, [1, 1], [0, 0, 0]);
    world("extended, the publisher's crash", EXTENDED, [0, 0], [1, 0, 0]);
    world("extended, the broker's crash", EXTENDED, [0, 0], [0, 1, 0]);
    world("extended, the subscriber's crash", EXTENDED, [0, 0], [0, 0, 1]);
    world("plain, the broker's crash", &[Way::Plain], [0, 0], [0, 1, 0]);
    // At QoS 2, with twice the packets, three crashes in one life are too many states even for a long mode.
    if qos == Qos::AtLeastOnce {
        world("plain, a crash of each", &[Way::Plain], [0, 0], [1, 1, 1]);
        world("extended, a crash of each", EXTENDED, [0, 0], [1, 1, 1]);
    }
    println!("{qos:?}: {states} states in all");
    states
}

#[test]
#[ignore = "a minute or more: just model"]
fn the_large_worlds_of_qos_1() {
    large_worlds(Qos::AtLeastOnce);
}

#[test]
#[ignore = "minutes: just model"]
fn the_large_worlds_of_qos_2() {
    assert!(large_worlds(Qos::ExactlyOnce) >= 1_000_000);
}
