//! Sessions as clients of a broker see them: their lives, their expiry, who they belong to.

// A helper's panic is the test's: clippy knows it only inside test functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use bytes::Bytes;
use candor_broker::shard::Settings;
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::{Durability, Qos, Reason, property};
use candor_protocol::session::{Cause, ClientSettings, Parked, SessionState};
use candor_protocol::sim::Way;
use std::io::{Read, Write};
use support::store::TestStore;
use support::{Client, DEADLINE, TestBroker, everywhere, named, policy, stored, stored_everywhere, time_passes};

const EXTENDED: [Way; 2] = [Way::Extended, Way::Offer];

fn state(client: &Client) -> Option<SessionState> {
    client.opened.as_ref().unwrap().dictionary.value(property::SESSION_STATE).and_then(SessionState::of_number)
}

fn incarnation(client: &Client) -> Vec<u8> {
    client.opened.as_ref().unwrap().dictionary.value(property::SESSION_INCARNATION).unwrap().to_vec()
}

fn keeping(way: Way, seconds: u64, clean: bool) -> ClientSettings {
    let mut settings = way.settings("lives");
    settings.connect.clean_session = clean;
    let expiry = Dictionary::with(property::SESSION_EXPIRY_INTERVAL, &seconds);
    match &mut settings.offer {
        Some(offer) => offer.dictionary = expiry,
        None => settings.connect.dictionary = expiry,
    }
    settings
}

/// clause sessions.incarnation MUST
/// A server MUST send the same `session-incarnation` as before with a session that it resumed, and another with every other.
#[test]
fn an_incarnation_names_one_life_of_a_session() {
    for shards in [1, 3] {
        let broker = TestBroker::start(shards);
        for way in EXTENDED {
            let first = broker.connect_with(keeping(way, 3600, true));
            let life = incarnation(&first);
            assert_eq!((life.len(), state(&first)), (8, Some(SessionState::New)));
            first.drop_connection();
            for next in EXTENDED {
                let second = broker.connect_with(keeping(next, 3600, false));
                assert_eq!((incarnation(&second), state(&second)), (life.clone(), Some(SessionState::Resumed)), "{way:?} {next:?}");
                second.drop_connection();
            }
            let third = broker.connect_with(keeping(way, 3600, true));
            assert_ne!(incarnation(&third), life);
            assert_eq!(state(&third), Some(SessionState::New));
            third.leave();
        }
    }
}

/// clause sessions.expired MUST
/// A server that ended a session because its `session-expiry-interval` was over MUST say so in `session-state` of the next CONNACK
/// without clean start, as long as it remembers.
#[test]
fn a_session_that_expired_is_told_from_one_that_never_was() {
    let broker = TestBroker::start(1);
    for way in EXTENDED {
        let first = broker.connect_with(keeping(way, 1, true));
        let life = incarnation(&first);
        first.drop_connection();
        let until = std::time::Instant::now() + DEADLINE;
        loop {
            // The session lasts a second.
            time_passes(1100);
            let next = broker.connect_with(keeping(way, 1, false));
            if state(&next) == Some(SessionState::Expired) {
                assert_ne!(incarnation(&next), life, "{way:?}");
                break;
            }
            assert!(std::time::Instant::now() < until);
            next.drop_connection();
        }
    }
}

/// Ends a connection when the server has read everything of it: behind an offer, that it was confirmed.
fn gone(mut client: Client) {
    client.subscribe("gone", Qos::AtMostOnce);
    client.drop_connection();
}

/// A client that comes back and names the life of the session that it knows.
fn naming(way: Way, seconds: u64, life: &[u8]) -> ClientSettings {
    let mut settings = keeping(way, seconds, false);
    let dictionary = settings.offer.as_mut().map_or(&mut settings.connect.dictionary, |offer| &mut offer.dictionary);
    let life = Dictionary::with(property::SESSION_INCARNATION, &Bytes::copy_from_slice(life));
    *dictionary = MapBuilder::new().merge(dictionary).merge(&life).finish();
    settings
}

/// clause sessions.restart MUST
/// A server that does not have the session whose `session-incarnation` a client names, without clean start, in CONNECT or in an
/// offer that it accepts, MUST say in `session-state` that it was lost with a restart, unless it knows that it ended in another way.
#[test]
fn a_session_that_a_restart_lost_is_told_from_one_that_ended() {
    for shards in [1, 3] {
        for way in EXTENDED {
            let broker = TestBroker::start(shards);
            let first = broker.connect_with(keeping(way, 3600, true));
            let life = incarnation(&first);
            gone(first);
            broker.stop();
            let broker = TestBroker::start(shards);
            let lost = broker.connect_with(naming(way, 3600, &life));
            assert_eq!(
                (state(&lost), lost.opened.as_ref().unwrap().session_present),
                (Some(SessionState::LostWithRestart), false),
                "{way:?}"
            );
            let life = incarnation(&lost);
            gone(lost);
            // Begun here, it ends here as asked: with its connection.
            gone(broker.connect_with(naming(way, 0, &life)));
            let ended = broker.connect_with(naming(way, 0, &life));
            assert_eq!(state(&ended), Some(SessionState::New), "{way:?}");
            gone(ended);
            let unasked = broker.connect_with(keeping(way, 0, false));
            assert_eq!(state(&unasked), Some(SessionState::New), "{way:?}: who names none has lost none");
            unasked.leave();
        }
    }
}

#[test]
fn a_session_that_outlives_a_restart_is_lost_only_with_its_store() {
    for shards in [1, 3] {
        for way in EXTENDED {
            let start = |store: &TestStore| {
                let mut policy = policy();
                (policy.profile.durability, policy.profile.session_durability) = (Durability::Disk, Durability::Disk);
                TestBroker::with(Settings { shards, storage: store.storage(), ..Settings::default() }, policy, false)
            };
            let store = TestStore::default();
            let broker = start(&store);
            let first = broker.connect_with(keeping(way, 3600, true));
            let life = incarnation(&first);
            gone(first);
            broker.stop();
            let broker = start(&store);
            let kept = broker.connect_with(naming(way, 3600, &life));
            assert_eq!((state(&kept), incarnation(&kept)), (Some(SessionState::Resumed), life.clone()), "{way:?}");
            gone(kept);
            broker.stop();
            let elsewhere = start(&TestStore::default());
            let lost = elsewhere.connect_with(naming(way, 3600, &life));
            assert_eq!(state(&lost), Some(SessionState::LostWithRestart), "{way:?}");
            lost.leave();
            elsewhere.stop();
            // Another client with this identifier starts clean: the session ended as that one asked, whatever its name says.
            let broker = start(&store);
            gone(broker.connect_with(keeping(way, 0, true)));
            let ended = broker.connect_with(naming(way, 0, &life));
            assert_eq!(state(&ended), Some(SessionState::New), "{way:?}");
            ended.leave();
        }
    }
}

/// clause sessions.expiry MUST
/// A server MUST keep a session for the `session-expiry-interval` of an extended CONNECT, or of an offer that it accepted, whatever
/// Clean Session says; without one in an extended CONNECT, the session ends with its connection.
#[test]
fn the_key_alone_decides_the_end_of_an_extended_session() {
    for shards in [1, 3] {
        let broker = TestBroker::start(shards);
        for way in EXTENDED {
            for clean in [true, false] {
                broker.connect_with(keeping(way, 3600, clean)).leave();
                let resumed = broker.connect_with(keeping(way, 0, false));
                assert!(resumed.opened.as_ref().unwrap().session_present, "{way:?}, clean session {clean}");
                resumed.drop_connection();
                let next = broker.connect_with(keeping(way, 0, false));
                assert!(!next.opened.as_ref().unwrap().session_present, "{way:?}, clean session {clean}");
                next.leave();
            }
        }
        let mut unsaid = Way::Extended.settings("lives");
        unsaid.connect.clean_session = false;
        broker.connect_with(unsaid.clone()).drop_connection();
        assert!(!broker.connect_with(unsaid).opened.as_ref().unwrap().session_present);
    }
}

/// clause sessions.takeover MUST
/// A server that hands a session to another connection MUST end the earlier one, on an extended connection with reason 0x8E.
#[test]
fn the_loser_of_a_takeover_is_told() {
    everywhere(|broker, way| {
        for other in Way::ALL {
            let mut first = broker.connect_with(stored_everywhere(way, "twin"));
            first.subscribe("twin/#", Qos::AtLeastOnce);
            let mut second = broker.connect_with(stored_everywhere(other, "twin"));
            match first.expect_close() {
                Cause::PeerLeft { reason, .. } => assert!(way.is_extended() && reason == Reason::SESSION_TAKEN_OVER),
                cause => assert!(!way.is_extended(), "{way:?} to {other:?}: {cause:?}"),
            }
            broker.connect(Way::Plain, "publisher").publish("twin/a", "x", Qos::AtLeastOnce);
            assert_eq!(second.expect(1), ["twin/a x"], "{way:?} to {other:?}");
            second.leave();
            broker.connect(Way::Plain, "twin").leave();
        }
    });
}

/// clause security.principal MUST NOT
/// A server MUST NOT let another principal resume, discard, or take over a session, nor one that it did not authenticate that of
/// one that it did.
#[test]
fn a_session_belongs_to_its_principal() {
    everywhere(|broker, way| {
        for other in Way::ALL {
            for clean in [true, false] {
                let mut owner = broker.connect_with(named(stored_everywhere(way, "owned"), "alice"));
                owner.subscribe("owned", Qos::AtLeastOnce);
                for name in [Some("mallory"), None] {
                    let mut settings = stored_everywhere(other, "owned");
                    settings.connect.user_name = name.map(str::to_owned);
                    settings.connect.clean_session = clean;
                    let mut thief = broker.connect_with(settings);
                    let Cause::ConnectRefused { connack } = thief.expect_close() else { panic!("{:?}", thief.closed) };
                    assert_eq!(connack.reason, Reason::NOT_AUTHORIZED, "{way:?} {other:?}");
                }
                broker.connect(Way::Plain, "publisher").publish("owned", "x", Qos::AtLeastOnce);
                assert_eq!(owner.expect(1), ["owned x"]);
                owner.leave();
                broker.connect_with(named(Way::Plain.settings("owned"), "alice")).leave();
            }
        }
    });
}

/// clause sessions.not-kept MUST
/// A server that keeps no session beyond its connection MUST refuse a plain CONNECT without Clean Session with return code 3, and
/// grant an extended one 0 seconds.
#[test]
fn a_session_that_would_not_be_kept_is_not_promised() {
    let mut ephemeral = policy();
    ephemeral.profile.session_expiry_s_max = 0;
    let broker = TestBroker::with(Default::default(), ephemeral, false);
    let connect = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 0, 0, 0, 0, 1, b'h'];
    let mut stream = broker.raw();
    stream.write_all(&connect).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, [0x20, 2, 0, 3]);
    let client = broker.connect_with(keeping(Way::Extended, 3600, false));
    assert_eq!(client.opened.as_ref().unwrap().dictionary.value(property::SESSION_EXPIRY_INTERVAL), Some(0));
    client.leave();
}

/// clause sessions.order MUST
/// A server MUST send the messages that were in flight when the connection ended before those that came afterwards, also when the
/// new connection becomes extended only by an offer.
#[test]
fn what_was_in_flight_comes_before_what_waited() {
    everywhere(|broker, way| {
        for next in Way::ALL {
            let mut sleeper = broker.connect_with(stored_everywhere(way, "sleeper"));
            sleeper.subscribe("order", Qos::AtLeastOnce);
            sleeper.settles = None;
            let mut publisher = broker.connect(Way::Plain, "publisher");
            for n in 0..3 {
                publisher.publish("order", &n.to_string(), Qos::AtLeastOnce);
            }
            sleeper.until(|client| client.messages.len() == 3);
            let parked = sleeper.drop_connection();
            for n in 3..6 {
                publisher.publish("order", &n.to_string(), Qos::AtLeastOnce);
            }
            let mut sleeper = Client::resume(&broker.address, stored_everywhere(next, "sleeper"), parked);
            sleeper.until(|client| client.messages.len() == 6);
            // What was published before the broker saw the end of the connection was in flight too.
            assert!(sleeper.messages[..3].iter().all(|publish| publish.dup), "{way:?} to {next:?}");
            assert_eq!(sleeper.expect(6), (0..6).map(|n| format!("order {n}")).collect::<Vec<_>>(), "{way:?} to {next:?}");
            sleeper.leave();
            broker.connect(Way::Plain, "sleeper").leave();
        }
    });
}

/// clause disconnect.arrives MUST
/// A server that closes an extended connection MUST read on after its DISCONNECT, for a bounded time and amount, so that the reason
/// is not lost when bytes of the client are still on their way.
#[test]
fn a_reason_is_not_erased_by_what_the_client_still_sends() {
    let broker = TestBroker::start(1);
    for _ in 0..5 {
        let mut client = broker.connect(Way::Extended, "hasty");
        // A packet that is none, and more than any buffer on the way holds unread behind it.
        let mut bytes = vec![0x00, 0x00];
        bytes.extend(std::iter::repeat_n(0x55, 700 * 1024));
        client.write_raw(&bytes);
        match client.expect_close() {
            Cause::PeerLeft { reason, .. } => assert_eq!(reason, Reason::MALFORMED_PACKET),
            cause => panic!("{cause:?}"),
        }
    }
}

/// clause sessions.plain-present MUST
/// A server MUST set Session Present for a resumed session in the CONNACK of MQTT 3.1.1 and in an accept alike.
#[test]
fn session_present_is_told_by_every_way_that_can() {
    everywhere(|broker, way| {
        if way == Way::V31 {
            return;
        }
        let present = |client: &Client| client.opened.as_ref().unwrap().session_present;
        let first = broker.connect_stored(way, "present", Parked::default());
        assert!(!present(&first));
        first.drop_connection();
        let second = broker.connect_with(stored(way, "present"));
        assert!(present(&second), "{way:?}");
        second.leave();
        broker.connect(Way::Plain, "present").leave();
    });
}
