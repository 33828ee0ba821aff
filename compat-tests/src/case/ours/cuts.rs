//! Connections that are cut in the opening, between each two packets of it.

use super::app::{App, downgrade, options_to};
use super::doors::{is_extended, plain_because};
use crate::case::Target;
use crate::ensure;
use crate::outcome::{Checked, Stop};
use crate::proxy::{Fault, Proxy, Side};
use candor_client::{Because, Door, Error, Event, InProcess, Memory, Misbehaved, Options, Qos, Reconnect};
use std::sync::Arc;
use std::time::Duration;

const CONNECT: u8 = 1;
const CONNACK: u8 = 2;
const UNSUBACK: u8 = 11;
const NOTICE: u8 = 15;

const BACK_AFTER: Duration = Duration::from_millis(20);

pub(super) fn a_cut_after_connect_is_no_reason_to_ask_for_less(on: &Target) -> Checked {
    let proxy = Proxy::start(on.broker.address()?, vec![Fault::CutBefore { from: Side::Server, kind: CONNACK }])?;
    let error = App::refused(options_to(on, proxy.address(), "cut")?)?;
    ensure!(matches!(error, Error::Transport(_)), "the error is {error:?}");
    ensure!(proxy.connections() == 1, "there was another try with less");
    let app = App::connect(options_to(on, proxy.address(), "cut")?)?;
    is_extended(&app, Door::Offer)?;
    app.leave().map(|_| ())
}

/// A cut that an old server could make which dies of an offer: once without it, told, remembered for the next connection.
fn taken_plain_once(on: &Target, fault: Fault) -> Checked {
    let proxy = Proxy::start(on.broker.address()?, vec![fault])?;
    let memory: Arc<dyn Memory> = Arc::new(InProcess::default());
    for because in [Because::OfferKilledConnection, Because::OfferKilledConnectionBefore] {
        let options = options_to(on, proxy.address(), "cut")?.memory(Arc::clone(&memory));
        let told = plain_because(on, App::connect(options)?)?;
        ensure!(told == because, "expected {because:?}, told is {told:?}");
    }
    ensure!(proxy.connections() == 3, "expected one try more and one connection, there were {}", proxy.connections());
    let sent: Vec<u8> = proxy.packets(1, Side::Client).iter().map(|packet| packet[0] >> 4).collect();
    ensure!(sent.first() == Some(&CONNECT) && !sent.contains(&10), "the second try has an offer: {sent:?}");
    Ok(())
}

pub(super) fn a_cut_after_connack_is_tried_once_without_an_offer_and_told_and_remembered(on: &Target) -> Checked {
    taken_plain_once(on, Fault::CutAfter { from: Side::Server, kind: CONNACK })
}

pub(super) fn a_cut_before_the_accept_is_tried_once_without_an_offer_and_told_and_remembered(on: &Target) -> Checked {
    taken_plain_once(on, Fault::CutBefore { from: Side::Server, kind: UNSUBACK })
}

fn stored(on: &Target, proxy: &Proxy, name: &str) -> Checked<Options> {
    let back = Reconnect::default().delays(BACK_AFTER, BACK_AFTER).also_first(true);
    Ok(options_to(on, proxy.address(), name)?.clean_start(false).session_expiry_s(u32::MAX).reconnect(back))
}

/// A cut behind the server's yes: the client comes back and asks for no less.
fn comes_back_extended(on: &Target, fault: Fault) -> Checked {
    let proxy = Proxy::start(on.broker.address()?, vec![fault])?;
    let mut app = App::connect(stored(on, &proxy, "cut")?)?;
    proxy.ended(0)?;
    app.subscribe_until_granted(&[on.topic("t")], Qos::AtLeastOnce)?;
    app.publish(|client| client.publish(on.topic("t"), "m").qos(Qos::AtLeastOnce))?;
    app.expect(&on.topic("t"), "m")?;
    is_extended(&app, Door::Offer)?;
    ensure!(proxy.connections() == 2, "there were {} connections", proxy.connections());
    let events = app.leave()?;
    ensure!(downgrade(&events).is_none(), "a downgrade is told: {events:?}");
    let ends = events.iter().filter(|event| matches!(event, Event::Disconnected { .. })).count();
    ensure!(ends == 2, "expected the cut and the farewell, there are {ends} ends: {events:?}");
    Ok(())
}

pub(super) fn a_cut_after_the_accept_comes_back_extended(on: &Target) -> Checked {
    comes_back_extended(on, Fault::CutAfter { from: Side::Server, kind: UNSUBACK })
}

pub(super) fn a_cut_before_the_confirm_comes_back_extended(on: &Target) -> Checked {
    comes_back_extended(on, Fault::CutBefore { from: Side::Client, kind: NOTICE })
}

pub(super) fn a_cut_after_the_confirm_comes_back_extended(on: &Target) -> Checked {
    comes_back_extended(on, Fault::CutAfter { from: Side::Client, kind: NOTICE })
}

pub(super) fn a_cut_at_any_packet_of_the_opening_loses_and_doubles_no_queued_message(on: &Target) -> Checked {
    let from_client = |kind| [Fault::CutBefore { from: Side::Client, kind }, Fault::CutAfter { from: Side::Client, kind }];
    let from_server = |kind| [Fault::CutBefore { from: Side::Server, kind }, Fault::CutAfter { from: Side::Server, kind }];
    let cuts = [from_client(CONNECT), from_server(CONNACK), from_client(10), from_server(UNSUBACK), from_client(12), from_client(NOTICE)];
    for fault in cuts.into_iter().flatten() {
        kept_over(on, fault.clone()).map_err(|stop| stop.within(format!("{fault:?}")))?;
    }
    Ok(())
}

/// A queue at QoS 2 for a stored session, whose client comes back over a cut. The session was extended before, and is plain or
/// extended afterwards, as the cut lets it be.
fn kept_over(on: &Target, fault: Fault) -> Checked {
    let proxy = Proxy::start(on.broker.address()?, vec![Fault::Pass, fault])?;
    let app = App::connect(stored(on, &proxy, "sleeper")?)?;
    app.subscribe(&[on.topic("q"), on.topic("end")], Qos::ExactlyOnce)?;
    app.leave()?;
    let mut publisher = on.client("pub")?;
    for payload in ["one", "two", "three"] {
        publisher.published(on.topic("q"), payload, 2)?;
    }
    let mut app = App::connect(stored(on, &proxy, "sleeper")?)?;
    for payload in ["one", "two", "three"] {
        app.expect(&on.topic("q"), payload)?;
    }
    publisher.published(on.topic("end"), "end", 2)?;
    app.expect(&on.topic("end"), "end")?;
    app.unsubscribe(&[on.topic("q"), on.topic("end")])?;
    app.leave().map(|_| ())
}

pub(super) fn a_server_that_falls_silent_in_the_opening_is_given_up_and_not_taken_plain(on: &Target) -> Checked {
    for kind in [CONNACK, UNSUBACK] {
        let proxy = Proxy::start(on.broker.address()?, vec![Fault::Stall { from: Side::Server, kind }])?;
        let options = options_to(on, proxy.address(), "patient")?.connect_timeout(Duration::from_millis(300));
        let error = App::refused(options)?;
        let silent = Error::Misbehaved(Misbehaved::Silent);
        if error != silent || proxy.connections() != 1 {
            return Err(Stop::failed(format!("after {} connections the error is {error:?}", proxy.connections())));
        }
    }
    Ok(())
}
