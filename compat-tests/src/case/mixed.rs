//! Mixed fleets on our broker: other people's clients, which are plain, beside our client, which is extended. Nothing of the one
//! dialect leaks into the other: what a plain client is sent is looked at byte for byte by a proxy on its way.

use super::ours::App;
use super::ours::app::options;
use super::{Case, Stage};
use crate::client::{Actor, Options};
use crate::ensure;
use crate::outcome::{Checked, Stop};
use crate::peer::Feature;
use crate::proxy::{Proxy, Side};
use crate::wire::hex;
use crate::wire::packet::{self, Delivery};
use candor_client::protocol::session::SessionState;
use candor_client::{Client, Error, Policy, Properties, Publish, Qos, Reason, WillOptions};

/// Hands the whole list to a macro: `mixed::function,` for each case.
#[macro_export]
macro_rules! for_each_mixed_case {
    ($callback:ident) => {
        $callback! {
            mixed::an_extended_publisher_reaches_a_plain_subscriber_in_plain_bytes,
            mixed::a_plain_publisher_reaches_an_extended_subscriber,
            mixed::a_retained_message_of_an_extended_client_reaches_a_plain_one_in_plain_bytes,
            mixed::a_retained_message_of_a_plain_client_reaches_an_extended_one,
            mixed::a_will_of_an_extended_client_reaches_a_plain_one_in_plain_bytes,
            mixed::a_will_of_a_plain_client_reaches_an_extended_one,
            mixed::a_plain_session_gets_its_queue_from_an_extended_publisher_in_plain_bytes,
            mixed::an_extended_session_gets_its_queue_from_a_plain_publisher,
            mixed::a_plain_subscriber_is_sent_the_same_bytes_whoever_published,
            mixed::a_shared_subscription_has_members_of_both_dialects,
            mixed::a_plain_client_takes_over_an_extended_one_that_is_told_so,
            mixed::an_extended_client_takes_over_a_plain_one_that_sees_no_extended_byte,
        }
    };
}

macro_rules! table {
    ($($module:ident::$name:ident,)*) => {
        /// Every case of a plain client beside extended ones.
        pub static MIXED: &[Case] = &[$(Case { name: stringify!($name), run: $name }),*];
    };
}
for_each_mixed_case!(table);

/// Sees that everything the server sent on a connection is MQTT 3.1.1 to the byte, and returns its PUBLISH packets.
///
/// # Errors
/// A packet is longer, has other flags, or is of another type than a plain server's.
pub fn plain_bytes(proxy: &Proxy, connection: usize) -> Checked<Vec<Delivery>> {
    let mut messages = vec![];
    for seen in proxy.packets(connection, Side::Server) {
        let body = packet::body(&seen);
        let is_plain = match seen[0] {
            0x20 => matches!(body, [0 | 1, 0..=5]),
            packet::PUBACK | packet::PUBREC | packet::PUBREL | packet::PUBCOMP | 0xB0 => seen.len() == 4,
            0x90 => body.len() > 2 && body[2..].iter().all(|code| matches!(code, 0..=2 | 0x80)),
            0xD0 => body.is_empty(),
            first if first >> 4 == 3 => {
                let message = Delivery::read(&seen)?;
                let flags = first & 0x0F;
                let id = (message.qos > 0).then_some(message.id);
                let same = packet::publish_with(flags, &message.topic, &message.payload, id) == seen;
                messages.push(message);
                same
            }
            _ => false,
        };
        ensure!(is_plain, "a plain client was sent {}", hex::show(&seen));
    }
    Ok(messages)
}

/// As [`plain_bytes`], of every connection so far. The payloads are exactly those that were published.
fn plain_payloads(proxy: &Proxy, expected: &[&str]) -> Checked {
    let mut payloads = vec![];
    for connection in 0..proxy.connections() {
        payloads.extend(plain_bytes(proxy, connection)?.iter().map(Delivery::payload_text));
    }
    ensure!(payloads == expected, "expected the payloads {expected:?} on the wire, got {payloads:?}");
    Ok(())
}

/// A proxy on the way of the plain client.
fn recorder(stage: &Stage) -> Checked<Proxy> {
    Proxy::start(stage.target.broker.address()?, vec![])
}

fn through(stage: &Stage, proxy: &Proxy, name: &str) -> Checked<Options> {
    Ok(Options { address: proxy.address(), ..stage.options(name)? })
}

/// The plain client, connected through the recorder and subscribed.
fn plain_subscriber(stage: &Stage, proxy: &Proxy, topics: &[&str], qos: u8) -> Checked<Actor> {
    let mut actor = stage.actor("plain")?;
    actor.connect(&through(stage, proxy, "plain")?)?;
    actor.subscribe(&topics.iter().map(|topic| (stage.topic(topic), qos)).collect::<Vec<_>>())?;
    Ok(actor)
}

fn extended(stage: &Stage, name: &str) -> Checked<App> {
    App::connect(options(&stage.target, name)?.policy(Policy::Require))
}

/// Everything that an extended publisher can say about a message.
fn adorned() -> Properties {
    let said = Properties::default().content_type("text/plain").response_topic("answers").correlation_data("c1");
    said.text("colour", "blue").expiry_s(3600).receipt().tag("tag")
}

fn adorned_message<'a>(client: &'a Client, topic: &str, payload: &str, qos: Qos) -> Publish<'a> {
    client.publish(topic, payload.to_owned()).qos(qos).properties(adorned())
}

fn an_extended_publisher_reaches_a_plain_subscriber_in_plain_bytes(stage: &Stage) -> Checked {
    let proxy = recorder(stage)?;
    let mut plain = plain_subscriber(stage, &proxy, &["t"], 2)?;
    let publisher = extended(stage, "extended")?;
    let payloads = ["at 0", "at 1", "at 2"];
    for (qos, payload) in Qos::ALL.into_iter().zip(payloads) {
        let receipt = publisher.publish(|client| adorned_message(client, &stage.topic("t"), payload, qos))?;
        ensure!(!receipt.stripped, "the publisher's connection is plain");
        let seen = plain.expect(&stage.topic("t"), payload)?;
        ensure!(seen.qos == qos as u8 && !seen.retain, "published at {qos:?}, seen {seen:?}");
    }
    plain_payloads(&proxy, &payloads)
}

fn a_plain_publisher_reaches_an_extended_subscriber(stage: &Stage) -> Checked {
    let proxy = recorder(stage)?;
    let mut subscriber = extended(stage, "extended")?;
    subscriber.subscribe(&[stage.topic("t")], Qos::ExactlyOnce)?;
    let mut plain = stage.actor("plain")?;
    plain.connect(&through(stage, &proxy, "plain")?)?;
    for (qos, payload) in ["at 0", "at 1", "at 2"].into_iter().enumerate() {
        plain.publish(&stage.message("t", payload), qos as u8)?;
        let seen = subscriber.expect(&stage.topic("t"), payload)?;
        ensure!(seen.qos() as usize == qos, "published at {qos}, seen at {:?}", seen.qos());
        ensure!(seen.properties().is_empty(), "a plain publisher said nothing, and {:?} came", seen.named_properties());
    }
    plain_payloads(&proxy, &[])
}

fn a_retained_message_of_an_extended_client_reaches_a_plain_one_in_plain_bytes(stage: &Stage) -> Checked {
    let proxy = recorder(stage)?;
    let publisher = extended(stage, "extended")?;
    publisher.publish(|client| adorned_message(client, &stage.topic("r"), "kept", Qos::AtLeastOnce).retain(true))?;
    let mut plain = plain_subscriber(stage, &proxy, &["r", "fence"], 1)?;
    let seen = plain.expect(&stage.topic("r"), "kept")?;
    ensure!(seen.retain, "a stored message came without RETAIN");
    plain_payloads(&proxy, &["kept"])?;
    // And a plain client clears it for everybody.
    stage.client("clearer")?.publish(&stage.message("r", "").retained(), 1)?;
    let mut late = extended(stage, "late")?;
    late.subscribe(&[stage.topic("r"), stage.topic("fence")], Qos::AtLeastOnce)?;
    publisher.publish(|client| client.publish(stage.topic("fence"), "fence").qos(Qos::AtLeastOnce))?;
    late.expect(&stage.topic("fence"), "fence").map(|_| ())
}

fn a_retained_message_of_a_plain_client_reaches_an_extended_one(stage: &Stage) -> Checked {
    stage.client("plain")?.publish(&stage.message("r", "kept").retained(), 1)?;
    let mut late = extended(stage, "late")?;
    late.subscribe(&[stage.topic("r")], Qos::AtLeastOnce)?;
    let seen = late.expect(&stage.topic("r"), "kept")?;
    ensure!(seen.retain() && seen.properties().is_empty(), "seen with RETAIN {} and {:?}", seen.retain(), seen.named_properties());
    Ok(())
}

fn a_will_of_an_extended_client_reaches_a_plain_one_in_plain_bytes(stage: &Stage) -> Checked {
    let proxy = recorder(stage)?;
    let mut plain = plain_subscriber(stage, &proxy, &["will"], 1)?;
    let will = WillOptions::new(&stage.topic("will"), "gone").map_err(|error| Stop::failed(error.to_string()))?;
    let will = will.qos(Qos::AtLeastOnce).properties(Properties::default().content_type("text/plain").text("colour", "blue"));
    let mortal = App::connect(options(&stage.target, "mortal")?.policy(Policy::Require).will(will))?;
    mortal.crash();
    plain.expect(&stage.topic("will"), "gone")?;
    plain_payloads(&proxy, &["gone"])
}

fn a_will_of_a_plain_client_reaches_an_extended_one(stage: &Stage) -> Checked {
    let mut witness = extended(stage, "witness")?;
    witness.subscribe(&[stage.topic("will")], Qos::AtLeastOnce)?;
    let mut lost = stage.actor("lost")?;
    lost.connect(&stage.options("lost")?.will(stage.message("will", "gone"), 1))?;
    lost.drop_connection()?;
    let seen = witness.expect(&stage.topic("will"), "gone")?;
    ensure!(seen.qos() == Qos::AtLeastOnce && seen.properties().is_empty(), "seen at {:?}", seen.qos());
    Ok(())
}

const QUEUED: [&str; 5] = ["0", "1", "2", "3", "4"];

fn a_plain_session_gets_its_queue_from_an_extended_publisher_in_plain_bytes(stage: &Stage) -> Checked {
    let (mut sleeper, _) = stage.session("sleeper")?;
    sleeper.subscribe(&[(stage.topic("q"), 1)])?;
    sleeper.disconnect()?;
    let publisher = extended(stage, "extended")?;
    for payload in QUEUED {
        publisher.publish(|client| adorned_message(client, &stage.topic("q"), payload, Qos::AtLeastOnce))?;
    }
    let proxy = recorder(stage)?;
    let mut awake = stage.actor("sleeper")?;
    awake.connect(&through(stage, &proxy, "sleeper")?.stored())?;
    QUEUED.iter().try_for_each(|payload| awake.expect(&stage.topic("q"), payload).map(|_| ()))?;
    plain_payloads(&proxy, &QUEUED)
}

fn an_extended_session_gets_its_queue_from_a_plain_publisher(stage: &Stage) -> Checked {
    let stored = || Ok::<_, Stop>(options(&stage.target, "sleeper")?.policy(Policy::Require).clean_start(false).session_expiry_s(3600));
    let sleeper = App::connect(stored()?)?;
    sleeper.subscribe(&[stage.topic("q")], Qos::AtLeastOnce)?;
    sleeper.leave()?;
    let mut publisher = stage.client("plain")?;
    QUEUED.iter().try_for_each(|payload| publisher.publish(&stage.message("q", payload), 1))?;
    let mut awake = App::connect(stored()?)?;
    ensure!(awake.agreement()?.session_state == Some(SessionState::Resumed), "the session is {}", awake.agreement()?.session());
    QUEUED.iter().try_for_each(|payload| awake.expect(&stage.topic("q"), payload).map(|_| ()))
}

/// What a new plain subscriber is sent for a retained message and a live one at each QoS, by an extended publisher or a plain one.
fn sent_to_a_plain_subscriber(stage: &Stage, policy: Policy) -> Checked<Vec<Vec<u8>>> {
    let proxy = recorder(stage)?;
    let publisher = App::connect(options(&stage.target, "publisher")?.policy(policy))?;
    let make = |client, payload, qos| adorned_message(client, &stage.topic("same"), payload, qos);
    publisher.publish(|client| make(client, "kept", Qos::AtLeastOnce).retain(true))?;
    let mut plain = plain_subscriber(stage, &proxy, &["same"], 2)?;
    plain.expect(&stage.topic("same"), "kept")?;
    for qos in Qos::ALL {
        publisher.publish(|client| make(client, "live", qos))?;
        plain.expect(&stage.topic("same"), "live")?;
    }
    plain.disconnect()?;
    publisher.leave()?;
    (0..proxy.connections()).try_for_each(|connection| plain_bytes(&proxy, connection).map(|_| ()))?;
    let sent = (0..proxy.connections()).flat_map(|connection| proxy.packets(connection, Side::Server));
    // The others answer what the client sends, with an identifier of its choice, and when it sends it.
    Ok(sent.filter(|packet| matches!(packet[0] >> 4, 2 | 3)).collect())
}

fn a_plain_subscriber_is_sent_the_same_bytes_whoever_published(stage: &Stage) -> Checked {
    let of_extended = sent_to_a_plain_subscriber(stage, Policy::Require)?;
    let of_plain = sent_to_a_plain_subscriber(stage, Policy::Plain)?;
    ensure!(of_extended == of_plain, "an extended publisher makes it {of_extended:02x?}, a plain one {of_plain:02x?}");
    ensure!(of_extended.iter().filter(|packet| packet[0] >> 4 == 3).count() == 4, "not every message is recorded: {of_extended:02x?}");
    Ok(())
}

fn a_shared_subscription_has_members_of_both_dialects(stage: &Stage) -> Checked {
    let shared = format!("$share/group/{}", stage.topic("s"));
    let mut plain = stage.client("plain")?;
    plain.subscribe(&[(&shared, 1), (&stage.topic("end"), 1)])?;
    let mut member = extended(stage, "extended")?;
    member.subscribe(&[shared, stage.topic("end")], Qos::AtLeastOnce)?;
    let publisher = extended(stage, "publisher")?;
    let sent: Vec<String> = (0..20).map(|at| format!("{at:02}")).collect();
    for payload in &sent {
        publisher.publish(|client| adorned_message(client, &stage.topic("s"), payload, Qos::AtLeastOnce))?;
    }
    publisher.publish(|client| client.publish(stage.topic("end"), "end").qos(Qos::AtLeastOnce))?;
    let mut of_plain = vec![];
    while of_plain.last().is_none_or(|payload| payload != "end") {
        of_plain.push(plain.message()?.text());
    }
    let mut of_extended = vec![];
    while of_extended.last().is_none_or(|payload| payload != "end") {
        of_extended.push(String::from_utf8_lossy(member.message()?.payload()).into_owned());
    }
    ensure!(of_plain.len() > 1 && of_extended.len() > 1, "one member got everything: {of_plain:?}, {of_extended:?}");
    let mut seen: Vec<String> = of_plain.into_iter().chain(of_extended).filter(|payload| payload != "end").collect();
    seen.sort();
    ensure!(seen == sent, "the members together got {seen:?}");
    Ok(())
}

fn a_plain_client_takes_over_an_extended_one_that_is_told_so(stage: &Stage) -> Checked {
    let earlier = extended(stage, "same")?;
    let proxy = recorder(stage)?;
    let mut plain = stage.actor("same")?;
    plain.connect(&through(stage, &proxy, "same")?)?;
    match earlier.ended()? {
        Error::Ended(refused) if refused.refusal.reason == Reason::SESSION_TAKEN_OVER => {}
        error => return Err(Stop::failed(format!("the earlier client is told {error:?}"))),
    }
    plain.publish(&stage.message("t", "m"), 1)?;
    plain_payloads(&proxy, &[])
}

fn an_extended_client_takes_over_a_plain_one_that_sees_no_extended_byte(stage: &Stage) -> Checked {
    stage.needs(Feature::SeesClose)?;
    let proxy = recorder(stage)?;
    let mut earlier = stage.actor("same")?;
    earlier.connect(&through(stage, &proxy, "same")?)?;
    let later = extended(stage, "same")?;
    earlier.closed()?;
    proxy.ended(0)?;
    plain_payloads(&proxy, &[])?;
    later.publish(|client| client.publish(stage.topic("t"), "m").qos(Qos::AtLeastOnce)).map(|_| ())
}
