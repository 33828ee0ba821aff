//! Listeners of one broker that promise different things: what a client is told, what its session survives, and what it costs the store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use bytes::Bytes;
use candor_broker::shard::Settings;
use candor_broker::store::Record;
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::{Durability, Message, Problem, Profile, Qos, Reason, Requirement, property};
use candor_protocol::session::{Cause, ClientSettings, Parked, ServerPolicy, SessionState};
use candor_protocol::sim::Way;
use support::store::TestStore;
use support::{Client, TestBroker, durable, policy, stored_everywhere, with_will};

/// The listeners, by their places.
const DISK: usize = 0;
const MEMORY: usize = 1;
const NONE: usize = 2;

/// Promises nothing, and says so.
fn ephemeral() -> ServerPolicy {
    let mut policy = ServerPolicy::default();
    (policy.profile.qos_max, policy.profile.retain, policy.profile.session_expiry_s_max) = (1, false, 0);
    policy
}

fn start(store: &TestStore, shards: u16) -> TestBroker {
    let settings = Settings { shards, storage: store.storage(), ..Settings::default() };
    TestBroker::listening(settings, vec![durable(), policy(), ephemeral()])
}

fn everywhere(test: impl Fn(&TestStore, Way, u16)) {
    for shards in [1, 3] {
        for way in Way::ALL {
            test(&TestStore::default(), way, shards);
        }
    }
}

fn at(broker: &TestBroker, listener: usize, settings: ClientSettings) -> Client {
    Client::resume(&broker.addresses[listener], settings, Parked::default())
}

/// A session that began at a listener and is away, with this subscription; and the name of its life, where that is told.
fn absent(broker: &TestBroker, listener: usize, way: Way, id: &str, filter: &str) -> (Parked, Option<Bytes>) {
    let mut client = at(broker, listener, stored_everywhere(way, id));
    client.subscribe(filter, Qos::ExactlyOnce);
    let life = client.opened.as_ref().unwrap().dictionary.value(property::SESSION_INCARNATION);
    (client.lose_connection(), life)
}

fn awake(broker: &TestBroker, listener: usize, way: Way, id: &str, parked: Parked) -> Client {
    Client::resume(&broker.addresses[listener], stored_everywhere(way, id), parked)
}

fn with_key(mut settings: ClientSettings, dictionary: &Dictionary) -> ClientSettings {
    let said = settings.offer.as_mut().map_or(&mut settings.connect.dictionary, |offer| &mut offer.dictionary);
    *said = MapBuilder::new().merge(said).merge(dictionary).finish();
    settings
}

/// What was declared: of messages, and of the session.
fn declared(client: &Client) -> (Durability, Durability) {
    let profile = &client.opened.as_ref().unwrap().dictionary.value(property::PROFILE).unwrap();
    let Profile { durability, session_durability, .. } = Profile::of_dictionary(profile);
    (durability, session_durability)
}

fn state(client: &Client) -> Option<SessionState> {
    client.opened.as_ref().unwrap().dictionary.value(property::SESSION_STATE).and_then(SessionState::of_number)
}

/// clause profiles.listener MUST
/// A server that does not promise the same wherever it is reached MUST declare in CONNACK, or in its accept, what holds where the
/// client connected.
#[test]
fn each_listener_declares_what_it_promises() {
    let broker = start(&TestStore::default(), 1);
    for way in [Way::Extended, Way::Offer] {
        for (listener, durability) in [(DISK, Durability::Disk), (MEMORY, Durability::Memory), (NONE, Durability::None)] {
            let client = at(&broker, listener, way.settings("asker"));
            assert_eq!(declared(&client), (durability, durability), "{way:?}");
            client.leave();
        }
    }
}

#[test]
fn what_a_listener_does_not_promise_is_refused_to_those_who_require_it() {
    let broker = start(&TestStore::default(), 1);
    for clean in [true, false] {
        for clause in ["durability", "session-durability"] {
            let mut requirement = Requirement::default();
            requirement.set(clause, "disk").unwrap();
            let settings = || {
                let mut settings = Way::Extended.settings("asker");
                settings.connect.clean_session = clean;
                with_key(settings, &Dictionary::with(property::REQUIRE, &requirement.to_dictionary()))
            };
            at(&broker, DISK, settings()).leave();
            let refused = at(&broker, MEMORY, settings());
            let Some(Cause::ConnectRefused { connack }) = &refused.closed else { panic!("{:?}", refused.closed) };
            let problem = Problem::of_dictionary(&connack.dictionary.value(property::PROBLEM).unwrap());
            assert_eq!((connack.reason, problem.field), (Reason::PROFILE_NOT_AVAILABLE, Some(format!("require: {clause}"))));
            let nearest = Profile::of_dictionary(&connack.dictionary.value(property::PROFILE).unwrap());
            assert_eq!((nearest.durability, nearest.session_durability), (Durability::Memory, Durability::Memory));
        }
    }
}

/// clause custody.session MUST
/// A server MUST keep what it owes to a session as durably as that session is declared, whatever it declares to the publisher.
#[test]
fn a_session_is_owed_as_durably_as_it_began_wherever_its_messages_come_from() {
    everywhere(|store, way, shards| {
        let broker = start(store, shards);
        let (disk, disk_life) = absent(&broker, DISK, way, "on disk", "t");
        let (memory, memory_life) = absent(&broker, MEMORY, way, "in memory", "t");
        for listener in [DISK, MEMORY] {
            for (payload, qos) in [("a", Qos::AtLeastOnce), ("b", Qos::ExactlyOnce)] {
                let outcome = at(&broker, listener, way.settings("publisher")).publish("t", payload, qos).unwrap();
                assert!(!outcome.reason.is_error(), "{way:?}: {outcome:?}");
            }
        }
        // The process dies here; its successor knows what was kept.
        let left_behind = store.snapshot();
        let expected = ["t a", "t b", "t a", "t b"];
        // Alive, it owes the same to both.
        for (listener, id, parked) in [(DISK, "on disk", &disk), (MEMORY, "in memory", &memory)] {
            let mut client = awake(&broker, listener, way, id, parked.clone());
            assert_eq!(client.expect(4), expected, "{way:?}: {id}");
            client.leave();
        }
        broker.stop();
        let broker = start(&left_behind, shards);
        let came_back = |listener: usize, id: &str, parked: Parked, life: &Option<Bytes>| {
            let named = life.iter().fold(stored_everywhere(way, id), |settings, life| {
                with_key(settings, &Dictionary::with(property::SESSION_INCARNATION, life))
            });
            Client::resume(&broker.addresses[listener], named, parked)
        };
        let mut client = came_back(DISK, "on disk", disk, &disk_life);
        assert_eq!(client.expect(4), expected, "{way:?}");
        let mut forgotten = came_back(MEMORY, "in memory", memory, &memory_life);
        if way.is_extended() {
            assert_eq!((state(&client), state(&forgotten)), (Some(SessionState::Resumed), Some(SessionState::LostWithRestart)));
        }
        at(&broker, DISK, way.settings("publisher")).publish("t", "new", Qos::AtLeastOnce);
        assert_eq!(client.expect(1), ["t new"], "{way:?}");
        forgotten.expect_nothing();
        client.leave();
        forgotten.leave();
    });
}

#[test]
fn what_need_not_outlive_the_broker_costs_the_store_nothing() {
    everywhere(|store, way, shards| {
        let broker = start(store, shards);
        let before = store.since(0).len();
        for listener in [MEMORY, NONE] {
            // With a will, a subscription, messages both ways and, where there may be one, a session that is parked and resumed.
            let settings = if listener == MEMORY { stored_everywhere(way, "cheap") } else { way.settings("cheaper") };
            let id = settings.connect.client_id.clone();
            let mut client = at(&broker, listener, with_will(settings, "cheap/will", false));
            client.subscribe("cheap/#", Qos::ExactlyOnce);
            let mut publisher = at(&broker, listener, way.settings("publisher"));
            let qos_of = [Qos::AtLeastOnce, if listener == MEMORY { Qos::ExactlyOnce } else { Qos::AtMostOnce }];
            for qos in qos_of {
                publisher.publish("cheap/t", "at once", qos);
            }
            client.expect(2);
            client.settle_down();
            let parked = client.lose_connection();
            if listener == MEMORY {
                publisher.publish("cheap/t", "later", Qos::ExactlyOnce);
                let mut client = awake(&broker, listener, way, &id, parked);
                client.expect(2);
                client.unsubscribe("cheap/#");
                client.leave();
                let clean = at(&broker, MEMORY, way.settings(&id));
                clean.leave();
            }
            publisher.leave();
        }
        // Behind everything that may be on its way to the store.
        at(&broker, DISK, way.settings("fence")).retain("fence", "x");
        let kept = store.since(before);
        let of_the_fence = |record: &Record| match record {
            Record::Message { envelope, .. } => envelope.message.topic() == b"fence",
            Record::Retained { .. } => true,
            _ => false,
        };
        assert!(kept.len() == 2 && kept.iter().all(of_the_fence), "{way:?}: {kept:?}");
        broker.stop();
    });
}

/// clause profiles.session-own MUST
/// A server MUST declare as `session-durability` what the session survives that the client got, also where a session that begins
/// would survive something else.
#[test]
fn a_session_keeps_its_durability_wherever_it_is_resumed() {
    everywhere(|store, way, shards| {
        let broker = start(store, shards);
        let pairs = [(DISK, MEMORY, "down"), (MEMORY, DISK, "up"), (DISK, NONE, "to nothing"), (MEMORY, NONE, "down to nothing")];
        let durabilities = [Durability::Disk, Durability::Memory, Durability::None];
        let mut parked = Vec::new();
        for (first, then, id) in pairs {
            let (absent, _) = absent(&broker, first, way, id, "t");
            let mut client = awake(&broker, then, way, id, absent);
            if way.is_extended() {
                assert_eq!(state(&client), Some(SessionState::Resumed), "{way:?} {id}");
                assert_eq!(declared(&client), (durabilities[then], durabilities[first]), "{way:?} {id}");
                let terms = client.session.terms();
                assert_eq!(terms.session_expiry_s, 3600, "{way:?} {id}");
            }
            // Its subscriptions change there, too.
            client.subscribe("u", Qos::AtLeastOnce);
            parked.push(client.lose_connection());
        }
        let mut publisher = at(&broker, MEMORY, way.settings("publisher"));
        publisher.publish("t", "1", Qos::ExactlyOnce);
        publisher.publish("u", "2", Qos::AtLeastOnce);
        let left_behind = store.snapshot();
        let successor = start(&left_behind, shards);
        for ((first, then, id), parked) in pairs.into_iter().zip(parked) {
            let mut client = awake(&broker, then, way, id, parked.clone());
            assert_eq!(client.expect(2), ["t 1", "u 2"], "{way:?} {id}");
            client.leave();
            // Over a restart, by either listener, if it began on disk.
            if then == NONE && first == MEMORY {
                continue;
            }
            let mut client = awake(&successor, then, way, id, parked);
            match first {
                DISK => assert_eq!(client.expect(2), ["t 1", "u 2"], "{way:?} {id}"),
                _ => client.expect_nothing(),
            }
            client.leave();
        }
    });
}

#[test]
fn where_nothing_outlives_its_connection_no_session_begins() {
    everywhere(|store, way, shards| {
        let broker = start(store, shards);
        let client = at(&broker, NONE, stored_everywhere(way, "new"));
        if way != Way::Extended {
            // 3.1.1 has no word for less: an offer comes behind a plain CONNECT.
            assert!(matches!(client.closed, Some(Cause::ConnectRefused { .. })), "{way:?}: {:?}", client.closed);
            return;
        }
        assert_eq!(client.session.terms().session_expiry_s, 0);
        client.lose_connection();
        let again = at(&broker, NONE, stored_everywhere(way, "new"));
        assert_eq!(state(&again), Some(SessionState::New));
        again.leave();
    });
}

/// A plain client can neither ask nor know: connecting once where sessions end with their connections must not cost it the one it has.
#[test]
fn where_sessions_end_with_the_connection_one_that_began_elsewhere_does_not() {
    for way in [Way::V31, Way::Plain] {
        let accepting = ServerPolicy { session_expiry_plain_s: 0, ..ephemeral() };
        let settings = Settings { storage: TestStore::default().storage(), ..Settings::default() };
        let broker = TestBroker::listening(settings, vec![durable(), accepting]);
        let (parked, _) = absent(&broker, DISK, way, "device", "t");
        awake(&broker, 1, way, "new", Parked::default()).subscribe("t", Qos::AtLeastOnce);
        let parked = awake(&broker, 1, way, "device", parked).lose_connection();
        at(&broker, DISK, way.settings("publisher")).publish("t", "x", Qos::AtLeastOnce);
        let mut device = awake(&broker, DISK, way, "device", parked);
        assert_eq!(device.expect(1), ["t x"], "{way:?}");
        device.leave();
        let mut new = awake(&broker, 1, way, "new", Parked::default());
        new.expect_nothing();
        new.leave();
    }
}

/// clause profiles.session-required MUST
/// A server MUST refuse a CONNECT without clean start that requires more of its session than the session has which it would resume,
/// with reason 0xC3, the clause, and the profile that it would get, and leave the session to its owner as it is.
#[test]
fn who_requires_more_of_a_session_than_it_has_is_refused_and_can_begin_anew() {
    for shards in [1, 3] {
        let broker = start(&TestStore::default(), shards);
        let (_, life) = absent(&broker, MEMORY, Way::Extended, "device", "t");
        let mut holder = at(&broker, MEMORY, stored_everywhere(Way::Extended, "device"));
        let mut requirement = Requirement::default();
        requirement.set("session-durability", "disk").unwrap();
        let requiring = |clean: bool| {
            let mut settings = stored_everywhere(Way::Extended, "device");
            settings.connect.clean_session = clean;
            with_key(settings, &Dictionary::with(property::REQUIRE, &requirement.to_dictionary()))
        };
        let refused = at(&broker, DISK, requiring(false));
        let Some(Cause::ConnectRefused { connack }) = &refused.closed else { panic!("{:?}", refused.closed) };
        let problem = Problem::of_dictionary(&connack.dictionary.value(property::PROBLEM).unwrap());
        assert_eq!((connack.reason, problem.field.as_deref()), (Reason::PROFILE_NOT_AVAILABLE, Some("require: session-durability")));
        let detail = problem.detail.unwrap_or_default();
        assert!(detail.contains("required disk, available memory") && detail.contains("clean start"), "{detail}");
        let nearest = Profile::of_dictionary(&connack.dictionary.value(property::PROFILE).unwrap());
        assert_eq!((nearest.durability, nearest.session_durability), (Durability::Disk, Durability::Memory));
        // Whoever holds the session has not heard of it.
        at(&broker, DISK, Way::Plain.settings("publisher")).publish("t", "x", Qos::AtLeastOnce);
        assert_eq!(holder.expect(1), ["t x"]);
        holder.lose_connection();
        let anew = at(&broker, DISK, requiring(true));
        assert_eq!((declared(&anew), state(&anew)), ((Durability::Disk, Durability::Disk), Some(SessionState::New)));
        assert_ne!(anew.opened.as_ref().unwrap().dictionary.value(property::SESSION_INCARNATION), life);
        anew.lose_connection();
        // The session has what is required, although one that begins here would not.
        let resumed = at(&broker, MEMORY, requiring(false));
        assert_eq!((declared(&resumed), state(&resumed)), ((Durability::Memory, Durability::Disk), Some(SessionState::Resumed)));
        resumed.leave();
    }
}

/// clause profiles.subscriptions MUST
/// A server MUST hold the `durability` that a subscription requires against what the session survives that it belongs to.
#[test]
fn a_subscription_has_the_durability_of_its_session() {
    for way in [Way::Extended, Way::Offer] {
        let broker = start(&TestStore::default(), 1);
        let (disk, _) = absent(&broker, DISK, way, "on disk", "t");
        let (memory, _) = absent(&broker, MEMORY, way, "in memory", "t");
        let mut requirement = Requirement::default();
        requirement.set("durability", "disk").unwrap();
        let require = Dictionary::with(property::REQUIRE, &requirement.to_dictionary());
        let mut on_disk = awake(&broker, MEMORY, way, "on disk", disk);
        assert_eq!(on_disk.subscribe_with("a", Qos::AtLeastOnce, require.clone()), Reason::GRANTED_QOS_1, "{way:?}");
        let mut in_memory = awake(&broker, DISK, way, "in memory", memory);
        assert_eq!(in_memory.subscribe_with("a", Qos::AtLeastOnce, require), Reason::PROFILE_NOT_AVAILABLE, "{way:?}");
        on_disk.leave();
        in_memory.leave();
    }
}

/// clause custody.receipt-promised MUST NOT
/// A server MUST NOT name in a receipt a durability beyond the one that it declared where the message came in.
#[test]
fn a_receipt_says_no_more_than_was_promised_where_the_message_came_in() {
    for shards in [1, 3] {
        for way in [Way::Extended, Way::Offer] {
            let broker = start(&TestStore::default(), shards);
            absent(&broker, DISK, way, "on disk", "both");
            absent(&broker, MEMORY, way, "in memory", "both");
            absent(&broker, MEMORY, way, "in memory too", "memory");
            for (listener, durability) in [(DISK, Durability::Disk), (MEMORY, Durability::Memory), (NONE, Durability::None)] {
                let mut publisher = at(&broker, listener, way.settings("publisher"));
                // A session that was promised less than the profile in force does not count.
                for topic in ["both", "memory"] {
                    let ask = Dictionary::with(property::RECEIPT_REQUEST, &true);
                    let outcome = publisher.publish_with(Message::publish(topic, "x").unwrap(), Qos::AtLeastOnce, false, ask).unwrap();
                    assert_eq!(outcome.receipt, Some(durability), "{way:?} {topic}: {outcome:?}");
                }
                let minimum = Dictionary::with(property::MINIMUM_DURABILITY, &(Durability::Disk as u64));
                let outcome = publisher.publish_with(Message::publish("both", "x").unwrap(), Qos::AtLeastOnce, false, minimum).unwrap();
                assert_eq!(outcome.refusal().is_none(), listener == DISK, "{way:?}: {outcome:?}");
                publisher.leave();
            }
        }
    }
}

#[test]
fn what_is_retained_is_kept_as_the_store_keeps_it_whatever_the_listener() {
    everywhere(|store, way, shards| {
        let broker = start(store, shards);
        at(&broker, MEMORY, way.settings("publisher")).retain("kept", "x");
        let left_behind = store.snapshot();
        broker.stop();
        let broker = start(&left_behind, shards);
        let mut late = at(&broker, MEMORY, way.settings("late"));
        late.subscribe("kept", Qos::AtLeastOnce);
        assert_eq!(late.expect(1), ["kept x"], "{way:?}");
        late.leave();
    });
}

/// clause profile-changes.concerned MUST NOT
/// A server MUST NOT tell a client that a guarantee was lost which it has not declared to it.
#[test]
fn a_lost_guarantee_is_told_to_those_who_had_it() {
    for shards in [1, 3] {
        for way in [Way::Extended, Way::Offer] {
            let store = TestStore::default();
            let broker = start(&store, shards);
            absent(&broker, DISK, way, "sleeper", "kept");
            let (disk, _) = absent(&broker, DISK, way, "on disk", "t");
            let mut on_disk = awake(&broker, MEMORY, way, "on disk", disk);
            let mut promised = at(&broker, DISK, way.settings("promised"));
            let mut unpromised = at(&broker, MEMORY, way.settings("unpromised"));
            unpromised.subscribe("free", Qos::AtLeastOnce);
            store.fail(true);
            assert_eq!(promised.publish("kept", "x", Qos::AtLeastOnce).unwrap().reason, Reason::STORAGE_FAILED);
            let lost = |client: &Client| {
                assert_eq!(client.notices[0].reason, Reason::PROFILE_CHANGED);
                let profile = Profile::of_dictionary(&client.notices[0].dictionary.value(property::PROFILE).unwrap());
                (profile.durability, profile.session_durability)
            };
            promised.until(|client| !client.notices.is_empty());
            assert_eq!(lost(&promised), (Durability::None, Durability::None), "{way:?}");
            // Its messages are promised what they were, its session is not.
            let mut prober = at(&broker, MEMORY, way.settings("prober"));
            while prober.publish("kept", "x", Qos::AtLeastOnce).unwrap().reason != Reason::STORAGE_FAILED {}
            on_disk.until(|client| !client.notices.is_empty());
            assert_eq!(lost(&on_disk), (Durability::Memory, Durability::None), "{way:?}");
            // The other one's work goes on, for the minimum that it was promised.
            let minimum = Dictionary::with(property::MINIMUM_DURABILITY, &(Durability::Memory as u64));
            let outcome = unpromised.publish_with(Message::publish("free", "x").unwrap(), Qos::AtLeastOnce, false, minimum).unwrap();
            assert!(outcome.refusal().is_none(), "{way:?}: {outcome:?}");
            assert_eq!(unpromised.ping(Dictionary::EMPTY).value(property::PROFILE), None, "{way:?}");
            assert_eq!(unpromised.expect(1), ["free x"]);
            assert!(unpromised.notices.is_empty() && prober.notices.is_empty(), "{way:?}: {:?}", unpromised.notices);
            store.fail(false);
            on_disk.until(|client| client.notices.len() == 2);
            broker.stop();
        }
    }
}
