//! Both doors of our own broker, by every transport and behind fronts.

use super::app::{App, downgrade, options, options_by, options_to};
use crate::case::Target;
use crate::ensure;
use crate::outcome::Checked;
use crate::peer::identity::client_config;
use crate::peer::recipe::Transport;
use crate::proxy::{Back, Fault, Front, Proxy, Side};
use crate::wire::packet;
use candor_client::protocol::dialect::{ALPN, NAME};
use candor_client::{
    Because, Dialect, Door, Durability, Error, InProcess, Memory, NotAvailable, Options, Policy, Properties, Qos, Requirement,
};
use std::sync::Arc;

const CONNECT: u8 = 1;
const NOTICE: u8 = 15;

/// A message to itself and back with a property, which only the extension carries.
fn serves_in_full(on: &Target, app: &mut App) -> Checked {
    app.subscribe(&[on.topic("self")], Qos::ExactlyOnce)?;
    let text = Properties::default().content_type("text/plain").receipt();
    let receipt = app.publish(|client| client.publish(on.topic("self"), "m").qos(Qos::ExactlyOnce).properties(text))?;
    ensure!(receipt.durability.is_some() && !receipt.stripped, "the receipt is {receipt:?}");
    let seen = app.expect(&on.topic("self"), "m")?;
    ensure!(seen.content_type().as_deref() == Some("text/plain"), "the property is lost: {:?}", seen.named_properties());
    Ok(())
}

pub(super) fn is_extended(app: &App, door: Door) -> Checked {
    let agreement = app.agreement()?;
    let seen = (agreement.dialect, agreement.door);
    ensure!(seen == (Dialect::Extended, door), "expected the extension by {door}, got {seen:?}");
    ensure!(agreement.profile.is_some(), "the server declares nothing");
    Ok(())
}

/// Leaves, and was told of no downgrade.
fn leaves_content(app: App) -> Checked {
    let events = app.leave()?;
    ensure!(downgrade(&events).is_none(), "a downgrade is told: {events:?}");
    Ok(())
}

pub(super) fn an_offer_over_clear_tcp_is_accepted_without_another_round_trip(on: &Target) -> Checked {
    let proxy = Proxy::start(on.broker.address()?, vec![])?;
    let mut app = App::connect(options_to(on, proxy.address(), "prefer")?)?;
    is_extended(&app, Door::Offer)?;
    serves_in_full(on, &mut app)?;
    let kinds = |side| proxy.packets(0, side).iter().map(|packet| packet[0] >> 4).collect::<Vec<u8>>();
    let (client, server) = (kinds(Side::Client), kinds(Side::Server));
    ensure!(client[..4] == [CONNECT, 10, 12, NOTICE], "the client's first packets are of the types {client:?}");
    ensure!(server[..3] == [2, 11, 13], "the server's first packets are of the types {server:?}");
    ensure!(proxy.connections() == 1, "there were {} connections", proxy.connections());
    leaves_content(app)
}

pub(super) fn a_client_that_requires_the_extension_begins_with_it(on: &Target) -> Checked {
    let proxy = Proxy::start(on.broker.address()?, vec![])?;
    let mut app = App::connect(options_to(on, proxy.address(), "require")?.policy(Policy::Require))?;
    is_extended(&app, Door::Extended)?;
    serves_in_full(on, &mut app)?;
    let connect = proxy.saw(0, Side::Client, CONNECT)?;
    let name = packet::string(NAME);
    ensure!(packet::body(&connect).starts_with(&name), "CONNECT is {connect:02x?}");
    leaves_content(app)
}

pub(super) fn a_client_that_never_asks_gets_plain_bytes_alone(on: &Target) -> Checked {
    let proxy = Proxy::start(on.broker.address()?, vec![])?;
    let mut app = App::connect(options_to(on, proxy.address(), "plain")?.policy(Policy::Plain))?;
    app.subscribe(&[on.topic("self")], Qos::AtLeastOnce)?;
    app.publish(|client| client.publish(on.topic("self"), "m").qos(Qos::AtLeastOnce))?;
    app.expect(&on.topic("self"), "m")?;
    leaves_content(app)?;
    proxy.ended(0)?;
    crate::case::mixed::plain_bytes(&proxy, 0).map(|_| ())
}

/// Connects to the broker itself by a transport that selects the extension.
fn selected(on: &Target, transport: Transport) -> Checked {
    let mut app = App::connect(options_by(on, transport, on.broker.endpoint(transport)?, "selected")?)?;
    is_extended(&app, Door::Extended)?;
    let selected = app.agreement()?.transport_selected.clone();
    ensure!(selected.as_deref() == Some(ALPN), "the transport selected {selected:?}");
    serves_in_full(on, &mut app)?;
    leaves_content(app)
}

pub(super) fn tls_selects_the_extension_by_alpn(on: &Target) -> Checked {
    selected(on, Transport::Tls)
}

pub(super) fn a_websocket_selects_the_extension_by_its_subprotocol(on: &Target) -> Checked {
    selected(on, Transport::WebSocket)?;
    selected(on, Transport::SecureWebSocket)
}

/// A TLS front that knows no ALPN, with the broker's certificate.
fn blind_front(on: &Target, faults: Vec<Fault>) -> Checked<Proxy> {
    let front = Front::Tls(on.broker.identity.server_config(&[])?);
    let back = Back::Tls(client_config(&on.broker.identity.authority, &[])?);
    Proxy::between(front, back, on.broker.endpoint(Transport::Tls)?, faults)
}

fn through_front(on: &Target, proxy: &Proxy, memory: &Arc<dyn Memory>) -> Checked<Options> {
    Ok(options_by(on, Transport::Tls, proxy.address(), "fronted")?.memory(Arc::clone(memory)))
}

pub(super) fn behind_a_front_that_strips_alpn_the_offer_is_accepted(on: &Target) -> Checked {
    let proxy = blind_front(on, vec![])?;
    let mut app = App::connect(options_by(on, Transport::Tls, proxy.address(), "fronted")?)?;
    is_extended(&app, Door::Offer)?;
    ensure!(app.agreement()?.transport_selected.is_none(), "the front has selected something");
    serves_in_full(on, &mut app)?;
    leaves_content(app)
}

pub(super) fn a_server_that_proved_itself_is_spoken_to_in_the_extension_behind_a_front_that_strips_alpn(on: &Target) -> Checked {
    let proxy = blind_front(on, vec![Fault::Pass, Fault::DropUnsubAck])?;
    let memory: Arc<dyn Memory> = Arc::new(InProcess::default());
    leaves_content(App::connect(through_front(on, &proxy, &memory)?)?)?;
    // Whoever drops the accept has nothing to drop any more.
    let app = App::connect(through_front(on, &proxy, &memory)?)?;
    is_extended(&app, Door::Extended)?;
    leaves_content(app)
}

pub(super) fn a_server_that_proved_itself_and_now_hangs_up_is_never_taken_plain(on: &Target) -> Checked {
    let hangs_up = Fault::CutBefore { from: Side::Client, kind: CONNECT };
    let proxy = blind_front(on, vec![Fault::Pass, hangs_up])?;
    let memory: Arc<dyn Memory> = Arc::new(InProcess::default());
    leaves_content(App::connect(through_front(on, &proxy, &memory)?)?)?;
    let error = App::refused(through_front(on, &proxy, &memory)?)?;
    ensure!(matches!(error, Error::NotAvailable(NotAvailable::SpokeBefore { .. })), "the error is {error:?}");
    ensure!(proxy.connections() == 2, "there was another try with less: {} connections", proxy.connections());
    Ok(())
}

pub(super) fn a_requirement_that_cannot_be_kept_is_refused_with_the_clause_and_wipes_nothing(on: &Target) -> Checked {
    let (mut sleeper, _) = on.session("sleeper")?;
    sleeper.subscribed(&[(on.topic("q"), 1)])?;
    sleeper.disconnect()?;
    let requirement = Requirement { durability: Some(Durability::Quorum), ..Requirement::default() };
    let error = App::refused(options(on, "sleeper")?.require(requirement))?;
    let Error::NotAvailable(NotAvailable::Profile(refused)) = &error else {
        return Err(crate::outcome::Stop::failed(format!("the error is {error:?}")));
    };
    ensure!(refused.refusal.problem.field.as_deref() == Some("require: durability"), "the clause is {:?}", refused.refusal.problem.field);
    ensure!(refused.nearest.is_some(), "the nearest profile is not told");
    let (mut awake, present) = on.session("sleeper")?;
    ensure!(present, "the stored session is gone");
    on.client("pub")?.published(on.topic("q"), "live", 1)?;
    awake.received_message(&on.topic("q"), "live").map(|_| ())
}

/// Why the connection of an application is plain; it is one that serves.
pub(super) fn plain_because(on: &Target, mut app: App) -> Checked<Because> {
    let agreement = app.agreement()?;
    ensure!(agreement.dialect == Dialect::V311, "expected a plain connection, got {:?}", agreement.dialect);
    app.subscribe(&[on.topic("self")], Qos::AtLeastOnce)?;
    app.publish(|client| client.publish(on.topic("self"), "m").qos(Qos::AtLeastOnce))?;
    app.expect(&on.topic("self"), "m")?;
    let events = app.leave()?;
    downgrade(&events).ok_or_else(|| crate::outcome::Stop::failed(format!("the downgrade is not told: {events:?}")))
}
