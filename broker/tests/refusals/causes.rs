//! How each cause is brought about, through the public interface.

use crate::stage::{REFUSED, Row, Stage, WHO, refusal_of, words};
use crate::support::{Client, named, stored_everywhere, time_passes};
use candor_broker::feedback::{Cause, QuarantineLimits, RateLimits};
use candor_broker::queue::QueueLimits;
use candor_broker::shard::Settings;
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::{Message, Overflow, Problem, Qos, Reason, Refusal, property};
use candor_protocol::session::{Cause as End, Delivery, Outcome, ServerPolicy};
use candor_protocol::sim::Way;

pub struct Scenario {
    pub what: &'static str,
    /// At which QoS it can happen; one `None`: QoS has no part in it.
    pub qos: &'static [Option<Qos>],
    pub prepare: fn(&mut Settings, &mut ServerPolicy),
    pub act: fn(&mut Stage) -> Option<Row>,
    /// It waits for time to pass: played on one engine.
    pub is_slow: bool,
    /// Its store will fail.
    pub fails: bool,
}

const ANY_QOS: &[Option<Qos>] = &[Some(Qos::AtMostOnce), Some(Qos::AtLeastOnce), Some(Qos::ExactlyOnce)];
const KEPT: &[Option<Qos>] = &[Some(Qos::AtLeastOnce), Some(Qos::ExactlyOnce)];
const ONCE: &[Option<Qos>] = &[None];

const fn scenario(
    what: &'static str,
    qos: &'static [Option<Qos>],
    prepare: fn(&mut Settings, &mut ServerPolicy),
    act: fn(&mut Stage) -> Option<Row>,
) -> Scenario {
    Scenario { what, qos, prepare, act, is_slow: false, fails: false }
}

const fn slow(scenario: Scenario) -> Scenario {
    Scenario { is_slow: true, ..scenario }
}

const fn failing(scenario: Scenario) -> Scenario {
    Scenario { fails: true, ..scenario }
}

/// Every cause has its scenarios here: a new one does not compile without.
pub fn scenarios(cause: Cause) -> &'static [Scenario] {
    match cause {
        Cause::Rights => {
            &const { [scenario("a publish without a right", ANY_QOS, |_, _| {}, |s| publish(s, "deny/a", false, Dictionary::EMPTY))] }
        }
        Cause::Credentials => &const { [scenario("a wrong password", ONCE, |_, _| {}, wrong_password)] },
        Cause::Topic => {
            &const { [scenario("a publish to a topic of the server", ANY_QOS, |_, _| {}, |s| publish(s, "$SYS/x", false, Dictionary::EMPTY))] }
        }
        Cause::Key => {
            &const {
                [
                    scenario("a publish with an unknown critical key", ANY_QOS, |_, _| {}, unknown_key),
                    scenario("a message that a plain subscriber may not get stripped", ANY_QOS, |_, _| {}, withheld),
                ]
            }
        }
        Cause::Profile => {
            &const {
                [scenario(
                    "a publish to be retained, where nothing is",
                    ANY_QOS,
                    |_, p| p.profile.retain = false,
                    |s| publish(s, "a", true, Dictionary::EMPTY),
                )]
            }
        }
        Cause::Size => &const { [scenario("a packet that is too large", ANY_QOS, |_, p| p.packet_size_max = 1024, too_large)] },
        Cause::Rate => {
            &const { [scenario("messages that come too fast", ANY_QOS, |s, _| s.rate = RateLimits { messages: 2, bytes: 0 }, too_fast)] }
        }
        Cause::Quota => {
            &const {
                [scenario(
                    "one retained message too many",
                    ANY_QOS,
                    |s, _| s.retained_max = 0,
                    |s| publish(s, "a", true, Dictionary::EMPTY),
                )]
            }
        }
        Cause::Busy => &const { [scenario("one connection too many", ONCE, |s, _| s.connections_max = 1, one_too_many)] },
        Cause::Overflow => {
            &const {
                [
                    scenario(
                        "a full queue of a server that refuses publishers",
                        KEPT,
                        |s, p| full(s, p, Overflow::RefusePublisher),
                        queue_refuses,
                    ),
                    scenario("a full queue that drops the oldest message", KEPT, |s, p| full(s, p, Overflow::DropOldest), queue_drops),
                ]
            }
        }
        Cause::Expiry => &const { [slow(scenario("a message that waited too long", KEPT, |s, _| s.message_expiry_max_s = 1, too_old))] },
        Cause::Storage => &const { [failing(scenario("a message that the store does not take", KEPT, |_, _| {}, not_kept))] },
        Cause::Protocol => &const { [scenario("bytes that are no packet", ONCE, |_, _| {}, nonsense)] },
        Cause::Silence => &const { [slow(scenario("a client that is not heard any more", ONCE, |_, _| {}, silent))] },
        Cause::Takeover => &const { [scenario("another connection takes the session", ONCE, |_, _| {}, taken_over)] },
        Cause::Repetition => &const { [scenario("the same refused publish for the third time", ANY_QOS, again_and_again, repeated)] },
        Cause::Shutdown => &const { [scenario("the server ends", ONCE, |_, _| {}, shut_down)] },
        Cause::Subscriber => &const { [scenario("a subscriber rejects a message", KEPT, |_, _| {}, rejected)] },
        // Only where a verification of a password panics: that a broker does so cannot be brought about from outside.
        Cause::Unspecified => &[],
    }
}

fn full(settings: &mut Settings, policy: &mut ServerPolicy, overflow: Overflow) {
    settings.queue = QueueLimits { len_max: 1, overflow, ..settings.queue };
    policy.profile.overflow = overflow;
}

fn again_and_again(settings: &mut Settings, _: &mut ServerPolicy) {
    settings.quarantine = QuarantineLimits { refusals: 3, window_ms: 3_600_000, first_ms: 3_600_000, max_ms: 3_600_000 };
}

/// A client publishes something that is refused.
fn publish(stage: &mut Stage, topic: &str, retain: bool, hop: Dictionary) -> Option<Row> {
    let mut client = stage.client();
    refused(stage, &mut client, topic, retain, hop)
}

/// Publishes something that is refused, and finds how the client learns of it.
fn refused(stage: &Stage, client: &mut Client, topic: &str, retain: bool, hop: Dictionary) -> Option<Row> {
    let (before, settled, noticed) = (client.heard, client.settled.len(), client.notices.len());
    let message = Message::publish(topic, REFUSED).unwrap();
    let delivery = Delivery { message, qos: stage.qos(), retain, hop };
    let token = client.send(delivery);
    let extended = stage.way.is_extended();
    match (stage.qos(), extended) {
        (Qos::AtMostOnce, true) => {
            client.until(|client| client.notices.len() > noticed);
            let notice = &client.notices[noticed];
            assert_eq!(notice.dictionary.value(property::TOPIC).as_deref(), Some(topic));
            let refusal = refusal_of(notice.reason, &notice.dictionary);
            Some(stage.row(refusal.reason, client.heard - before, format!("NOTICE {}", words(&refusal)), ""))
        }
        (_, true) => {
            let refusal = client.outcome(token).refusal().expect("no success for what is refused");
            let name = if stage.qos() == Qos::AtLeastOnce { "PUBACK" } else { "PUBREC" };
            Some(stage.row(refusal.reason, client.heard - before, format!("{name} {}", words(&refusal)), ""))
        }
        (Qos::AtMostOnce, false) => {
            // A round trip, of 5 bytes: nothing else came.
            client.subscribe("round/trip", Qos::AtMostOnce);
            let bytes = client.heard - before - 5;
            Some(plain_row(stage, bytes, "nothing"))
        }
        (_, false) => {
            client.expect_close();
            assert_eq!(client.settled.len(), settled, "no success for what is refused");
            Some(plain_row(stage, client.heard - before, "the connection is closed"))
        }
    }
}

/// The reason that stands for each cause where a publish is refused.
fn reason_of(cause: Cause) -> Reason {
    match cause {
        Cause::Rights => Reason::NOT_AUTHORIZED,
        Cause::Topic => Reason::TOPIC_NAME_INVALID,
        Cause::Key => Reason::CRITICAL_KEY_UNKNOWN,
        Cause::Profile => Reason::RETAIN_NOT_SUPPORTED,
        Cause::Size => Reason::PACKET_TOO_LARGE,
        Cause::Rate => Reason::MESSAGE_RATE_TOO_HIGH,
        Cause::Quota => Reason::QUOTA_EXCEEDED,
        Cause::Busy => Reason::SERVER_BUSY,
        Cause::Overflow => Reason::QUEUE_OVERFLOW,
        Cause::Expiry => Reason::MESSAGE_EXPIRED,
        Cause::Storage => Reason::STORAGE_FAILED,
        Cause::Protocol => Reason::MALFORMED_PACKET,
        Cause::Silence => Reason::KEEP_ALIVE_TIMEOUT,
        Cause::Takeover => Reason::SESSION_TAKEN_OVER,
        Cause::Repetition => Reason::BANNED,
        Cause::Shutdown => Reason::SERVER_SHUTTING_DOWN,
        Cause::Subscriber => Reason::REJECTED,
        Cause::Credentials => Reason::BAD_USER_NAME_OR_PASSWORD,
        Cause::Unspecified => Reason::UNSPECIFIED_ERROR,
    }
}

/// A plain client sees nothing or a close, and reads the rest.
fn plain_row(stage: &Stage, bytes: usize, seen: &str) -> Row {
    let reason = reason_of(stage.cause);
    let feedback = stage.feedback(reason);
    stage.row(reason, bytes, format!("{seen}; {feedback} tells it all"), "")
}

/// A connection that is ended: what its client sees.
fn ended(stage: &Stage, client: &mut Client, before: usize, publisher: &str) -> Row {
    let end = client.expect_close();
    let bytes = client.heard - before;
    match end {
        End::PeerLeft { reason, problem, .. } => {
            let refusal = Refusal::new(reason, problem.as_deref().cloned().unwrap_or_default());
            stage.row(refusal.reason, bytes, format!("DISCONNECT {}", words(&refusal)), publisher)
        }
        End::Lost if !stage.way.is_extended() => {
            let reason = reason_of(stage.cause);
            let told = if stage.cause == Cause::Shutdown { "the ledger".to_owned() } else { stage.feedback(reason) };
            stage.row(reason, bytes, format!("the connection is closed; {told} tells it all"), publisher)
        }
        other => panic!("{:?} {:?}: {other:?}", stage.cause, stage.way),
    }
}

/// A CONNECT that is refused.
fn connect_refused(stage: &Stage, client: &Client) -> Row {
    let reason = reason_of(stage.cause);
    match &client.closed {
        Some(End::ConnectRefused { connack })
            if stage.way.is_extended() && connack.dictionary.value::<Dictionary>(property::PROBLEM).is_some() =>
        {
            let refusal = refusal_of(connack.reason, &connack.dictionary);
            stage.row(refusal.reason, client.heard, format!("CONNACK {}", words(&refusal)), "")
        }
        Some(End::ConnectRefused { connack }) => {
            stage.row(reason, client.heard, format!("CONNACK as plain MQTT has it: {}", connack.reason.name()), "")
        }
        other => panic!("{other:?}"),
    }
}

fn wrong_password(stage: &mut Stage) -> Option<Row> {
    // An offer is made behind CONNACK: it comes to the plain answer.
    let mut settings = stage.settings();
    settings.connect.password = Some(b"wrong".to_vec().into());
    let client = stage.broker().connect_with(settings);
    (stage.way != Way::Offer).then(|| connect_refused(stage, &client))
}

fn one_too_many(stage: &mut Stage) -> Option<Row> {
    let holder = stage.broker().connect(Way::Plain, "holder");
    let client = stage.client();
    let row = (stage.way != Way::Offer).then(|| connect_refused(stage, &client));
    holder.leave();
    row
}

fn unknown_key(stage: &mut Stage) -> Option<Row> {
    if !stage.way.is_extended() {
        return None;
    }
    let hop = MapBuilder::new().set(property::Key::<u64>::new("unknown", 9999), &1).finish();
    publish(stage, "a", false, hop)
}

fn withheld(stage: &mut Stage) -> Option<Row> {
    if stage.way.is_extended() {
        return None;
    }
    let mut client = stage.client();
    client.subscribe("critical/message", Qos::ExactlyOnce);
    let before = client.heard;
    let mut publisher = stage.broker().connect(Way::Extended, "publisher");
    let map = MapBuilder::new().set(property::Key::<u64>::new("binding", 9999), &1).finish();
    let name = candor_protocol::packet::TopicName::new("critical/message").unwrap();
    let delivery =
        Delivery { message: Message::new(&name, &map, b"kept from it"), qos: stage.qos(), retain: false, hop: Dictionary::EMPTY };
    let token = publisher.send(delivery);
    if stage.qos() != Qos::AtMostOnce {
        assert_eq!(publisher.outcome(token).reason, Reason::SUCCESS, "others got it");
    }
    publisher.leave();
    client.subscribe("round/trip", Qos::AtMostOnce);
    assert!(client.messages.is_empty());
    let bytes = client.heard - before - 5;
    client.leave();
    let feedback = stage.feedback(Reason::CRITICAL_KEY_UNKNOWN);
    Some(stage.row(Reason::CRITICAL_KEY_UNKNOWN, bytes, format!("nothing; {feedback} tells it all"), "success: others got it"))
}

fn too_large(stage: &mut Stage) -> Option<Row> {
    let mut client = stage.client();
    let before = client.heard;
    // A client that keeps to what it was told would not send it.
    let len = 2000u16;
    let qos = stage.qos() as u8;
    let mut bytes = vec![0x30 | qos << 1];
    bytes.extend([(len & 0x7F) as u8 | 0x80, (len >> 7) as u8]);
    bytes.extend(vec![b'x'; usize::from(len)]);
    client.write_raw(&bytes);
    Some(ended(stage, &mut client, before, ""))
}

fn too_fast(stage: &mut Stage) -> Option<Row> {
    let mut client = stage.client();
    // A second may end between two of them; then the next ones are counted anew.
    for n in 0..2 {
        client.publish("a", &n.to_string(), Qos::AtMostOnce);
    }
    refused(stage, &mut client, "a", false, Dictionary::EMPTY)
}

/// Somebody is away, and as much waits as may.
fn away(stage: &Stage, way: Way, id: &str) {
    let mut subscriber = stage.broker().connect_with(named(stored_everywhere(way, id), "ann"));
    subscriber.subscribe("queue", Qos::ExactlyOnce);
    subscriber.lose_connection();
    let mut publisher = stage.broker().connect(Way::Plain, "publisher");
    publisher.publish("queue", "first", Qos::AtLeastOnce);
    publisher.leave();
}

fn queue_refuses(stage: &mut Stage) -> Option<Row> {
    away(stage, Way::Plain, "away");
    publish(stage, "queue", false, Dictionary::EMPTY)
}

/// The subscriber comes back and is told of what it has lost.
fn back(stage: &Stage, publisher: &str) -> Row {
    let reason = reason_of(stage.cause);
    if !stage.way.is_extended() {
        // What was lost is told to the session that takes the queue up.
        let mut client = stage.stored_client(stage.way);
        client.until(|client| !client.messages.is_empty() || stage.cause == Cause::Expiry);
        client.settle_down();
        client.leave();
        let feedback = stage.feedback(reason);
        return stage.row(reason, 0, format!("nothing; {feedback} tells it all"), publisher);
    }
    let mut client = stage.stored_client(stage.way);
    let gap = |client: &Client| client.notices.iter().position(|notice| notice.reason == Reason::GAP);
    client.until(|client| gap(client).is_some());
    let notice = &client.notices[gap(&client).unwrap()];
    assert_eq!(notice.dictionary.value(property::REASON), Some(u64::from(reason.0)));
    let count = notice.dictionary.value(property::COUNT).unwrap();
    let bytes = 3 + notice.dictionary.as_bytes().len() + 1 - usize::from(notice.dictionary.is_empty());
    client.leave();
    stage.row(reason, bytes, format!("NOTICE 0x41 gap: {count} for 0x{:02X} {}", reason.0, reason.name()), publisher)
}

fn queue_drops(stage: &mut Stage) -> Option<Row> {
    away(stage, stage.way, WHO);
    let mut publisher = stage.broker().connect(Way::Plain, "publisher");
    assert_eq!(publisher.publish("queue", "second", stage.qos()).unwrap().reason, Reason::SUCCESS);
    publisher.leave();
    Some(back(stage, "success: it was taken; the loss is the subscriber's"))
}

fn too_old(stage: &mut Stage) -> Option<Row> {
    if stage.qos() == Qos::ExactlyOnce {
        return None;
    }
    away(stage, stage.way, WHO);
    time_passes(1200);
    Some(back(stage, "success: it was taken; the loss is the subscriber's"))
}

fn not_kept(stage: &mut Stage) -> Option<Row> {
    away(stage, Way::Plain, "away");
    let mut client = stage.client();
    stage.store.fail(true);
    let row = refused(stage, &mut client, "queue", false, Dictionary::EMPTY);
    stage.store.fail(false);
    row
}

fn nonsense(stage: &mut Stage) -> Option<Row> {
    let mut client = stage.client();
    let before = client.heard;
    client.write_raw(&[0x00, 0x00]);
    Some(ended(stage, &mut client, before, ""))
}

fn silent(stage: &mut Stage) -> Option<Row> {
    let mut settings = stage.settings();
    settings.connect.keep_alive_s = 1;
    let mut client = stage.broker().connect_with(settings);
    let before = client.heard;
    Some(ended(stage, &mut client, before, ""))
}

fn taken_over(stage: &mut Stage) -> Option<Row> {
    let mut client = stage.client();
    let before = client.heard;
    let mut other = stage.client();
    let row = ended(stage, &mut client, before, "");
    if stage.way.is_extended() {
        other.until(|other| other.notices.iter().any(|notice| notice.reason == Reason::SESSION_TAKEN_OVER));
        let notice = other.notices.iter().find(|notice| notice.reason == Reason::SESSION_TAKEN_OVER).unwrap();
        assert!(Problem::of_dictionary(&notice.dictionary.value(property::PROBLEM).unwrap()).detail.is_some());
    }
    Some(row)
}

fn repeated(stage: &mut Stage) -> Option<Row> {
    if stage.way.is_extended() {
        let mut client = stage.client();
        for _ in 0..2 {
            if stage.qos() == Qos::AtMostOnce {
                client.publish("deny/a", REFUSED, Qos::AtMostOnce);
            } else {
                assert_eq!(client.publish("deny/a", REFUSED, stage.qos()).unwrap().reason, Reason::NOT_AUTHORIZED);
            }
        }
        if stage.qos() == Qos::AtMostOnce {
            // Refusals of another kind are told with the next notices.
            client.publish("deny/a", REFUSED, Qos::AtMostOnce);
            client.until(|client| client.notices.iter().any(|notice| notice.reason == Reason::DO_NOT_RETRY));
            let notice = client.notices.iter().find(|notice| notice.reason == Reason::DO_NOT_RETRY).unwrap();
            let refusal = refusal_of(notice.reason, &notice.dictionary);
            let bytes = 4 + notice.dictionary.as_bytes().len();
            return Some(stage.row(refusal.reason, bytes, format!("NOTICE {}", words(&refusal)), ""));
        }
        return refused(stage, &mut client, "deny/a", false, Dictionary::EMPTY);
    }
    if stage.qos() == Qos::AtMostOnce {
        return None;
    }
    for _ in 0..3 {
        let mut client = stage.client();
        client.start_publish("deny/a", REFUSED, stage.qos(), false);
        client.expect_close();
    }
    let client = stage.client();
    Some(connect_refused(stage, &client))
}

fn shut_down(stage: &mut Stage) -> Option<Row> {
    let mut client = stage.client();
    let before = client.heard;
    stage.stop();
    Some(ended(stage, &mut client, before, ""))
}

fn rejected(stage: &mut Stage) -> Option<Row> {
    if !stage.way.is_extended() {
        return None;
    }
    let mut client = stage.client();
    client.subscribe("reject", stage.qos());
    client.settles = Some(Outcome::refused(Refusal::new(Reason::REJECTED, Problem::titled("the application does not read this"))));
    let before = client.heard;
    let mut publisher = stage.broker().connect(Way::Plain, "publisher");
    assert_eq!(publisher.publish("reject", "x", stage.qos()).unwrap().reason, Reason::SUCCESS);
    assert_eq!(client.expect(1), ["reject x"]);
    client.settle_down();
    let bytes = client.heard - before;
    client.leave();
    let feedback = stage.feedback(Reason::REJECTED);
    Some(stage.row(Reason::REJECTED, bytes, format!("the message, which it rejected; {feedback} confirms it"), "success: it was taken"))
}
