//! Both doors before brokers that do not know the extension.

use super::app::{App, downgrade, options, options_by, options_to};
use crate::case::Target;
use crate::ensure;
use crate::outcome::Checked;
use crate::peer::Feature;
use crate::peer::recipe::Transport;
use crate::proxy::{Proxy, Side};
use crate::wire::packet::{self, Connect};
use candor_client::protocol::dialect::{ALPN, OFFER_PREFIX};
use candor_client::{Because, Dialect, Door, Durability, Error, Event, Loss, NotAvailable, Options, Policy, Qos, Requirement, WillOptions};

/// A message to itself and back at every QoS.
fn serves(on: &Target, app: &mut App) -> Checked {
    app.subscribe(&[on.topic("self")], Qos::ExactlyOnce)?;
    for qos in Qos::ALL {
        let payload = format!("at {}", qos as u8);
        app.publish(|client| client.publish(on.topic("self"), payload.clone()).qos(qos))?;
        app.expect(&on.topic("self"), &payload)?;
    }
    Ok(())
}

fn is_plain(app: &App, door: Door) -> Checked {
    let agreement = app.agreement()?;
    let seen = (agreement.dialect, agreement.door);
    ensure!(seen == (Dialect::V311, door), "expected plain MQTT by {door}, got {seen:?}");
    ensure!(agreement.profile.is_none(), "a broker that declares nothing is said to declare {:?}", agreement.profile);
    Ok(())
}

pub(super) fn an_offer_is_declined_and_the_connection_serves_on(on: &Target) -> Checked {
    let proxy = Proxy::start(on.broker.address()?, vec![])?;
    let mut app = App::connect(options_to(on, proxy.address(), "prefer")?)?;
    is_plain(&app, Door::Offer)?;
    serves(on, &mut app)?;
    let kinds: Vec<u8> = proxy.packets(0, Side::Client).iter().take(3).map(|packet| packet[0] >> 4).collect();
    ensure!(kinds == [1, 10, 12], "expected CONNECT, UNSUBSCRIBE and PINGREQ first, got the types {kinds:?}");
    ensure!(proxy.connections() == 1, "a declined offer costs a connection: there were {}", proxy.connections());
    app.leave().map(|_| ())
}

pub(super) fn a_declined_offer_is_told_with_what_is_missing(on: &Target) -> Checked {
    let events = App::connect(options(on, "prefer")?)?.leave()?;
    let told = events.iter().any(|event| matches!(event, Event::Downgraded { because: Because::Declined, losses } if *losses == Loss::ALL));
    ensure!(told, "the downgrade is not among the events: {events:?}");
    Ok(())
}

pub(super) fn an_offer_is_seen_by_nobody_else(on: &Target) -> Checked {
    let mut witness = on.client("witness")?;
    witness.subscribed(&[("#".to_owned(), 0), (on.fence_topic(), 0)])?;
    App::connect(options(on, "prefer")?)?.leave()?;
    let mut publisher = on.client("pub")?;
    let seen = on.before_fence(&mut publisher, &mut witness)?;
    let topics: Vec<String> = seen.iter().map(|seen| seen.topic_text()).collect();
    ensure!(!topics.iter().any(|topic| topic.contains(OFFER_PREFIX)), "the offer was delivered as a message: {topics:?}");
    Ok(())
}

fn stored(on: &Target, name: &str) -> Checked<Options> {
    Ok(options(on, name)?.clean_start(false).session_expiry_s(u32::MAX))
}

pub(super) fn an_offer_leaves_a_stored_session_and_its_queue_alone(on: &Target) -> Checked {
    let app = App::connect(stored(on, "sleeper")?)?;
    app.subscribe(&[on.topic("q")], Qos::AtLeastOnce)?;
    app.leave()?;
    let mut publisher = on.client("pub")?;
    for payload in ["one", "two", "three"] {
        publisher.published(on.topic("q"), payload, 1)?;
    }
    // They may come before the answer to the offer, and behind it.
    let mut app = App::connect(stored(on, "sleeper")?)?;
    ensure!(app.agreement()?.session_present, "the session is gone");
    for payload in ["one", "two", "three"] {
        app.expect(&on.topic("q"), payload)?;
    }
    app.leave().map(|_| ())
}

pub(super) fn an_offer_does_not_cost_a_will(on: &Target) -> Checked {
    let mut witness = on.subscriber("witness", &[("will", 1)])?;
    let app = App::connect(options(on, "mortal")?.will(will(on)?))?;
    is_plain(&app, Door::Offer)?;
    app.crash();
    witness.received_message(&on.topic("will"), "gone").map(|_| ())
}

fn will(on: &Target) -> Checked<WillOptions> {
    let made = WillOptions::new(&on.topic("will"), "gone").map_err(|error| crate::outcome::Stop::failed(error.to_string()))?;
    Ok(made.qos(Qos::AtLeastOnce))
}

pub(super) fn a_client_that_never_asks_sends_plain_bytes_alone(on: &Target) -> Checked {
    let proxy = Proxy::start(on.broker.address()?, vec![])?;
    let mut app = App::connect(options_to(on, proxy.address(), "plain")?.policy(Policy::Plain))?;
    is_plain(&app, Door::Plain(Dialect::V311))?;
    serves(on, &mut app)?;
    let events = app.leave()?;
    ensure!(downgrade(&events).is_none(), "what was not asked for is told as missing: {events:?}");
    proxy.ended(0)?;
    let sent = proxy.packets(0, Side::Client);
    let connect = Connect::clean(on.id("plain")).bytes();
    ensure!(sent.first() == Some(&connect), "CONNECT is {:02x?}, expected {connect:02x?}", sent.first());
    ensure!(sent.last().is_some_and(|last| *last == packet::DISCONNECT), "the last packet is {:02x?}", sent.last());
    ensure!(!sent.iter().any(|packet| packet[0] >> 4 == 10 || packet[0] >> 4 == 15), "an offer or a NOTICE was sent");
    Ok(())
}

/// Is refused, and with the error that says that there is no extension.
fn fails_for_want_of_the_extension(options: Options) -> Checked {
    let error = App::refused(options)?;
    ensure!(matches!(error, Error::NotAvailable(NotAvailable::Extension { .. })), "the error is {error:?}");
    Ok(())
}

pub(super) fn a_client_that_requires_the_extension_fails_with_a_typed_error(on: &Target) -> Checked {
    let proxy = Proxy::start(on.broker.address()?, vec![])?;
    fails_for_want_of_the_extension(options_to(on, proxy.address(), "require")?.policy(Policy::Require))?;
    ensure!(proxy.connections() == 1, "there was a second try with less: {} connections", proxy.connections());
    on.client("ordinary")?.ping()
}

pub(super) fn a_client_that_requires_a_profile_fails_with_a_typed_error(on: &Target) -> Checked {
    let requirement = Requirement { durability: Some(Durability::Memory), ..Requirement::default() };
    fails_for_want_of_the_extension(options(on, "require")?.require(requirement))
}

pub(super) fn a_failed_requirement_takes_nobody_over(on: &Target) -> Checked {
    let mut holder = on.client("same")?;
    fails_for_want_of_the_extension(options(on, "same")?.policy(Policy::Require))?;
    holder.ping()
}

pub(super) fn a_failed_requirement_arms_no_will(on: &Target) -> Checked {
    let mut witness = on.subscriber("witness", &[("will", 1)])?;
    fails_for_want_of_the_extension(options(on, "mortal")?.will(will(on)?).policy(Policy::Require))?;
    let mut publisher = on.client("pub")?;
    on.fence(&mut publisher, &mut witness)
}

pub(super) fn a_failed_requirement_wipes_no_stored_session(on: &Target) -> Checked {
    let (mut sleeper, _) = on.session("sleeper")?;
    sleeper.subscribed(&[(on.topic("q"), 1)])?;
    sleeper.disconnect()?;
    on.client("pub")?.published(on.topic("q"), "kept", 1)?;
    // With a clean start, which wipes where it is let in.
    fails_for_want_of_the_extension(options(on, "sleeper")?.policy(Policy::Require))?;
    let (mut awake, present) = on.session("sleeper")?;
    ensure!(present, "the session is gone");
    awake.received_message(&on.topic("q"), "kept").map(|_| ())
}

/// Connects by a transport that names the extension first and plain MQTT behind it.
fn ends_in_plain_mqtt(on: &Target, transport: Transport, feature: Feature) -> Checked {
    on.needs(feature)?;
    let mut app = App::connect(options_by(on, transport, on.broker.endpoint(transport)?, "named")?)?;
    is_plain(&app, Door::Offer)?;
    let selected = app.agreement()?.transport_selected.clone();
    ensure!(selected.as_deref() != Some(ALPN), "a broker without the extension selected it");
    serves(on, &mut app)?;
    let events = app.leave()?;
    ensure!(downgrade(&events) == Some(Because::Declined), "expected a declined offer, got {events:?}");
    Ok(())
}

pub(super) fn tls_with_two_alpn_ids_ends_in_plain_mqtt(on: &Target) -> Checked {
    ends_in_plain_mqtt(on, Transport::Tls, Feature::Tls)
}

pub(super) fn a_websocket_with_two_subprotocols_ends_in_plain_mqtt(on: &Target) -> Checked {
    ends_in_plain_mqtt(on, Transport::WebSocket, Feature::WebSocket)
}
