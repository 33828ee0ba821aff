//! The conversations that the draft shows. Each is held by two sessions, checked, and recorded.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails in a test fails the test")]

use candor_protocol::codec::dictionary::{Dictionary, MapBuilder, write_text};
use candor_protocol::packet::{
    Durability, Message, Notice, Packet, Problem, Profile, Qos, Reason, Refusal, Requirement, Retry, SubscribeItem, TopicFilter, TopicName,
    property,
};
use candor_protocol::session::inbound::tag_of;
use candor_protocol::session::{Cause, ClientSettings, Delivery, Extended, Outcome, Output, ServerPolicy};
use candor_protocol::sim::{Fault, Pair, Way};
use candor_rfc::exchange::Side;
use candor_rfc::recorder::Recorder;
use candor_rfc::test_path;

/// Settings of a session that outlives its connection.
fn stored() -> ClientSettings {
    let mut settings = Way::Extended.settings("sensor-7");
    settings.connect.clean_session = false;
    settings.connect.dictionary = Dictionary::with(property::SESSION_EXPIRY_INTERVAL, &3600);
    settings
}

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/exchanges");

/// A server that keeps messages in memory, as the figures show it.
fn policy() -> ServerPolicy {
    let profile = Profile { durability: Durability::Memory, queue_len_max: 1000, queue_bytes_max: 1_000_000, ..Profile::default() };
    ServerPolicy { profile, ..ServerPolicy::default() }
}

/// A pair that is open; what was said on the way is not part of the figure.
fn open(way: Way) -> Pair {
    let mut pair = Pair::new(way.settings("sensor-7"), policy());
    pair.drive();
    assert!(pair.client.session.is_ready() && pair.server.session.is_ready());
    pair.exchange.steps.clear();
    pair
}

fn reading() -> Message {
    Message::publish("hall/3/temperature", "21.5").unwrap()
}

fn refusal() -> Refusal {
    Refusal::new(Reason::NOT_AUTHORIZED, Problem::titled("no rule allows it").rule("rules.toml:3").retry(Retry::Changed))
}

#[test]
fn a_client_and_a_server_that_know_the_extension_find_each_other_on_a_plain_connection() {
    let mut pair = Pair::new(Way::Offer.settings("sensor-7"), policy());
    pair.drive();
    pair.client.publish(reading(), Qos::AtLeastOnce, 1);
    pair.drive();
    assert_eq!(pair.client.take_outcomes(), [(1, Reason::SUCCESS)]);
    assert!(pair.server.session.terms().dialect.is_extended());
    let mut recorder = Recorder::of_pair(FOLDER, test_path!(), "An Offer That Is Accepted", &pair.exchange);
    recorder.step_at(1).unwrap().note("this and the next two packets in one write");
    recorder.step_at(6).unwrap().note("everything behind this packet is extended");
    recorder.record("offer-accepted").unwrap();
}

#[test]
fn a_server_that_does_not_know_the_extension_leaves_the_connection_plain() {
    let mut pair = Pair::new(Way::Offer.settings("sensor-7"), ServerPolicy { extended: Extended::Off, ..policy() });
    pair.drive();
    pair.client.publish(reading(), Qos::AtLeastOnce, 1);
    pair.drive();
    assert_eq!(pair.client.take_outcomes(), [(1, Reason::SUCCESS)]);
    assert!(!pair.client.session.terms().dialect.is_extended());
    let recorder = Recorder::of_pair(FOLDER, test_path!(), "An Offer That Is Not Understood", &pair.exchange);
    recorder.record("offer-declined").unwrap();
}

#[test]
fn an_extended_connect_is_answered_with_what_the_server_keeps() {
    let mut settings = Way::Extended.settings("sensor-7");
    settings.connect.dictionary = Dictionary::with(property::SESSION_EXPIRY_INTERVAL, &3600);
    let mut pair = Pair::new(settings, policy());
    pair.drive();
    assert_eq!(pair.client.session.terms().profile.durability, Durability::Memory);
    let recorder = Recorder::of_pair(FOLDER, test_path!(), "An Extended CONNECT", &pair.exchange);
    recorder.record("extended-connect").unwrap();
}

#[test]
fn a_profile_that_cannot_be_kept_is_refused_with_the_nearest_there_is() {
    let mut settings = Way::Extended.settings("ledger-1");
    let requirement = Requirement { durability: Some(Durability::Disk), ..Requirement::default() };
    settings.connect.dictionary = Dictionary::with(property::REQUIRE, &requirement.to_dictionary());
    let mut pair = Pair::new(settings, policy());
    pair.drive();
    assert!(matches!(&pair.client.closed, Some(Cause::ConnectRefused { connack }) if connack.reason == Reason::PROFILE_NOT_AVAILABLE));
    let mut recorder = Recorder::of_pair(FOLDER, test_path!(), "A Profile That Is Not Available", &pair.exchange);
    recorder.closed(Side::Server, pair.server.session.terms().dialect);
    recorder.record("profile-refused").unwrap();
}

#[test]
fn a_message_map_travels_with_its_message() {
    let mut pair = open(Way::Extended);
    let mut map = MapBuilder::new();
    map.set(property::CONTENT_TYPE, &"text/plain".to_owned()).put_text("unit", |out| write_text(out, "Cel"));
    let message = Message::new(&TopicName::new("hall/3/temperature").unwrap(), &map.finish(), b"21.5");
    pair.server.settles = Some(Outcome::kept(Durability::Memory));
    let hop = Dictionary::with(property::RECEIPT_REQUEST, &true);
    pair.client.send(Delivery { message, qos: Qos::AtLeastOnce, retain: false, hop }, 1);
    pair.drive();
    assert_eq!(pair.client.take_settled()[0].1.receipt, Some(Durability::Memory));
    let recorder = Recorder::of_pair(FOLDER, test_path!(), "A Message Map and a Receipt", &pair.exchange);
    recorder.record("message-map").unwrap();
}

#[test]
fn a_refused_publish_names_its_rule_and_the_connection_goes_on() {
    let mut pair = open(Way::Extended);
    pair.server.settles = Some(Outcome::refused(refusal()));
    pair.client.publish(reading(), Qos::AtLeastOnce, 1);
    pair.drive();
    pair.server.settles = Some(Outcome::accepted());
    pair.client.publish(reading(), Qos::AtLeastOnce, 2);
    pair.drive();
    let settled = pair.client.take_settled();
    assert_eq!((settled[0].1.refusal(), settled[1].1.reason), (Some(refusal()), Reason::SUCCESS));
    let recorder = Recorder::of_pair(FOLDER, test_path!(), "A Refused PUBLISH", &pair.exchange);
    recorder.record("refused-publish").unwrap();
}

#[test]
fn a_plain_publisher_is_closed_on_rather_than_lied_to() {
    let mut pair = open(Way::Plain);
    pair.server.settles = Some(Outcome::refused(refusal()));
    pair.client.publish(reading(), Qos::AtLeastOnce, 1);
    pair.drive();
    assert_eq!(pair.server.closed, Some(Cause::Refused(refusal())));
    assert_eq!(pair.client.take_outcomes(), []);
    let mut recorder = Recorder::of_pair(FOLDER, test_path!(), "A Refused PUBLISH on a Plain Connection", &pair.exchange);
    recorder.closed(Side::Server, pair.server.session.terms().dialect).note("not authorized");
    recorder.record("refused-publish-plain").unwrap();
}

#[test]
fn a_subscriber_puts_a_message_off() {
    let mut pair = open(Way::Extended);
    pair.client.settles = Some(Outcome::modified(250));
    pair.server.publish(reading(), Qos::AtLeastOnce, 1);
    pair.drive();
    assert_eq!(pair.server.take_settled(), [(1, Outcome::modified(250))]);
    let recorder = Recorder::of_pair(FOLDER, test_path!(), "A Message That Is Put Off", &pair.exchange);
    recorder.record("put-off").unwrap();
}

#[test]
fn a_filter_is_refused_for_itself() {
    let mut pair = open(Way::Extended);
    let item = |filter: &str| SubscribeItem {
        filter: TopicFilter::new(filter).map_err(|error| (filter.to_owned(), error)),
        qos: Qos::AtLeastOnce,
    };
    pair.client.session.subscribe(vec![item("hall/+/temperature"), item("hall/#/temperature")], Dictionary::EMPTY, 1).unwrap();
    pair.drive();
    assert!(!pair.client.session.is_closed());
    let mut recorder = Recorder::of_pair(FOLDER, test_path!(), "A SUBSCRIBE That Is Granted in Part", &pair.exchange);
    recorder.step_at(1).unwrap().note("nothing may follow a # in a topic filter");
    recorder.record("granted-in-part").unwrap();
}

#[test]
fn a_critical_key_that_is_not_known_is_named() {
    let mut pair = open(Way::Extended);
    let mut hop = MapBuilder::new();
    hop.put(1001, |out| out.push(0xF5));
    pair.client.send(Delivery { message: reading(), qos: Qos::AtLeastOnce, retain: false, hop: hop.finish() }, 1);
    pair.drive();
    let settled = pair.client.take_settled();
    assert_eq!(settled[0].1.reason, Reason::CRITICAL_KEY_UNKNOWN);
    assert!(!pair.client.session.is_closed());
    let recorder = Recorder::of_pair(FOLDER, test_path!(), "A Critical Key That Is Not Known", &pair.exchange);
    recorder.record("critical-key").unwrap();
}

/// A pair with a stored session whose connection is cut when the server's next packet is on its way.
fn cut_with_an_answer_lost(qos: Qos) -> Pair {
    let mut pair = Pair::new(stored(), policy());
    pair.drive();
    pair.exchange.steps.clear();
    pair.down.set_fault(Fault::CutAfter(1));
    pair.client.publish(reading(), qos, 1);
    pair.drive();
    pair
}

#[test]
fn a_qos_1_message_whose_puback_was_lost_is_sent_again() {
    let pair = cut_with_an_answer_lost(Qos::AtLeastOnce);
    let mut recorder = Recorder::of_pair(FOLDER, test_path!(), "A PUBACK That Is Lost", &pair.exchange);
    recorder.step_at(2).unwrap().note("lost with the connection");
    recorder.closed(Side::Server, pair.server.session.terms().dialect);
    let mut pair = pair.reconnect(stored(), policy());
    assert_eq!(pair.client.take_outcomes(), [(1, Reason::SUCCESS)]);
    recorder.and_pair(&pair.exchange);
    recorder.step_at(6).unwrap().note("with DUP; at QoS 1 the server cannot tell whether it has it");
    recorder.record("resume-qos-1").unwrap();
}

#[test]
fn a_qos_2_message_whose_pubrec_was_lost_is_delivered_once() {
    let mut pair = cut_with_an_answer_lost(Qos::ExactlyOnce);
    assert_eq!(pair.server.take_messages().len(), 1);
    let mut recorder = Recorder::of_pair(FOLDER, test_path!(), "A PUBREC That Is Lost", &pair.exchange);
    recorder.step_at(2).unwrap().note("lost with the connection");
    recorder.closed(Side::Server, pair.server.session.terms().dialect);
    let mut pair = pair.reconnect(stored(), policy());
    assert_eq!((pair.client.take_outcomes(), pair.server.take_messages()), (vec![(1, Reason::SUCCESS)], vec![]));
    recorder.and_pair(&pair.exchange);
    recorder.step_at(7).unwrap().note("the identifier is taken: the message is not delivered again");
    recorder.record("resume-qos-2").unwrap();
}

#[test]
fn both_ends_say_what_they_hold() {
    let mut pair = Pair::new(stored(), policy());
    pair.server.count_mark = Some(candor_protocol::session::Mark([0xC0, 1, 2, 3, 4, 5, 6, 7]));
    pair.drive();
    pair.exchange.steps.clear();
    // The first message is received and stays open; the second never arrives.
    pair.server.settles = None;
    pair.client.publish(Message::publish("hall/3/door", "open").unwrap(), Qos::AtLeastOnce, 1);
    pair.drive();
    pair.up.set_fault(Fault::Stall);
    pair.client.publish(reading(), Qos::AtLeastOnce, 2);
    pair.drive();
    pair.sever();
    let mut recorder = Recorder::of_pair(FOLDER, test_path!(), "A Resumption With an Open and a Lost Message", &pair.exchange);
    recorder.step_at(1).unwrap().note("received; it is not settled yet");
    recorder.step_at(2).unwrap().note("lost with the connection");
    recorder.closed(Side::Client, pair.client.session.terms().dialect);
    let mut pair = Pair::resumed(stored(), policy(), pair.client.session.park(), Some(pair.server.session.park()));
    pair.server.count_mark = Some(candor_protocol::session::Mark([0xC1, 1, 2, 3, 4, 5, 6, 7]));
    pair.drive();
    assert_eq!(pair.server.take_messages(), ["hall/3/door open", "hall/3/temperature 21.5"]);
    assert_eq!(pair.client.take_outcomes(), [(1, Reason::SUCCESS), (2, Reason::SUCCESS)]);
    recorder.and_pair(&pair.exchange);
    recorder.step_at(4).unwrap().note("the client has received nothing of this count");
    recorder.step_at(5).unwrap().note("one message was received, and it is open");
    recorder.step_at(6).unwrap().note("open: with DUP and its packet identifier");
    recorder.step_at(7).unwrap().note("not received: as new, with another packet identifier");
    recorder.record("resume-held").unwrap();
}

#[test]
fn a_subscriber_is_told_what_it_missed() {
    let mut pair = open(Way::Extended);
    let mut map = MapBuilder::new();
    map.set(property::COUNT, &15).set(property::REASON, &u64::from(Reason::QUEUE_OVERFLOW.0));
    pair.server.session.answer(Packet::Notice(Notice { reason: Reason::GAP, dictionary: map.finish() }));
    pair.drive();
    assert!(pair.client.session.is_open());
    Recorder::of_pair(FOLDER, test_path!(), "A Gap", &pair.exchange).record("gap").unwrap();
}

#[test]
fn the_loser_of_a_takeover_learns_it() {
    let mut pair = open(Way::Extended);
    let problem = Problem::titled("another connection with this client identifier took the session")
        .retry(Retry::After { after_ms: 5000, jitter_ms: 5000 });
    pair.server.session.refuse_connection(Refusal::new(Reason::SESSION_TAKEN_OVER, problem));
    pair.drive();
    assert!(matches!(pair.client.closed, Some(Cause::PeerLeft { reason: Reason::SESSION_TAKEN_OVER, .. })));
    let mut recorder = Recorder::of_pair(FOLDER, test_path!(), "A Session That Was Taken Over", &pair.exchange);
    recorder.closed(Side::Server, pair.server.session.terms().dialect);
    recorder.record("takeover").unwrap();
}

#[test]
fn a_refused_qos_0_message_is_told_by_notice() {
    let mut pair = open(Way::Extended);
    let mut hop = MapBuilder::new();
    hop.set(property::TAG, &bytes::Bytes::from_static(b"job 7")).put(1001, |out| out.push(0xF5));
    pair.client.send(Delivery { message: reading(), qos: Qos::AtMostOnce, retain: false, hop: hop.finish() }, 1);
    pair.drive();
    // It is the owner of a server who tells.
    let refused = pair.server.events.iter().find_map(|output| match output {
        Output::Refused { refusal, publish: Some(publish), .. } => Some((refusal.clone(), publish.clone())),
        _ => None,
    });
    let (refusal, publish) = refused.unwrap();
    let mut map = MapBuilder::new();
    map.set(property::PROBLEM, &refusal.problem.to_dictionary()).set(property::TOPIC, &publish.message.topic_str().to_owned());
    map.set_some(property::TAG, tag_of(&publish.dictionary).as_ref());
    pair.server.session.answer(Packet::Notice(Notice { reason: refusal.reason, dictionary: map.finish() }));
    pair.drive();
    assert!(pair.client.session.is_open() && pair.server.take_messages().is_empty());
    Recorder::of_pair(FOLDER, test_path!(), "A Refused PUBLISH of QoS 0", &pair.exchange).record("refused-qos-0").unwrap();
}
