//! A man in the middle of clear TCP, who tampers with the answer to an offer. He can strip it, and that is told; whatever else he
//! does ends in a typed error, and never in less than the client believes to have.

use super::app::{App, downgrade, options_to};
use super::doors::{is_extended, plain_because};
use crate::case::Target;
use crate::ensure;
use crate::outcome::{Checked, Stop};
use crate::proxy::{Fault, Proxy, Side};
use crate::wire::packet;
use candor_client::protocol::dialect::offer::BadAccept;
use candor_client::{Because, Door, Error, InProcess, Memory, Misbehaved, Qos};
use std::sync::Arc;

const CONNECT: u8 = 1;
const UNSUBSCRIBE: u8 = 10;
const UNSUBACK: u8 = 11;
const NOTICE: u8 = 15;

/// Where the parts of the accept begin: magic, nonce, hash, flags.
const NONCE: usize = 5;
const HASH: usize = 21;
const FLAGS: usize = 53;

fn between(on: &Target, faults: Vec<Fault>) -> Checked<Proxy> {
    Proxy::start(on.broker.address()?, faults)
}

/// A proxy that has seen one accept without a fault, and what stood behind the packet identifier.
fn sample(on: &Target) -> Checked<Vec<u8>> {
    let proxy = between(on, vec![])?;
    App::connect(options_to(on, proxy.address(), "sample")?)?.leave()?;
    let accept = proxy.saw(0, Side::Server, UNSUBACK)?;
    Ok(packet::body(&accept)[2..].to_vec())
}

/// The connection with this fault is plain, alone, and usable; why is told.
fn lives_plain(on: &Target, fault: Fault) -> Checked {
    let proxy = between(on, vec![fault])?;
    let because = plain_because(on, App::connect(options_to(on, proxy.address(), "middle")?)?)?;
    ensure!(because == Because::Declined, "the downgrade is told as {because:?}");
    ensure!(proxy.connections() == 1, "there were {} connections", proxy.connections());
    crate::case::mixed::plain_bytes(&proxy, 0).map(|_| ())
}

/// The connection with this fault does not come to be, and there is no other.
fn fails(on: &Target, proxy: &Proxy, expected: &[Error]) -> Checked {
    let before = proxy.connections();
    let error = App::refused(options_to(on, proxy.address(), "middle")?)?;
    ensure!(expected.contains(&error), "expected one of {expected:?}, got {error:?}");
    ensure!(proxy.connections() == before + 1, "there was another try with less");
    Ok(())
}

fn bad(accept: BadAccept) -> Error {
    Error::Misbehaved(Misbehaved::BadAccept(accept))
}

pub(super) fn an_accept_that_is_dropped_leaves_a_plain_connection_and_that_is_told(on: &Target) -> Checked {
    let proxy = between(on, vec![Fault::DropUnsubAck])?;
    let because = plain_because(on, App::connect(options_to(on, proxy.address(), "middle")?)?)?;
    ensure!(because == Because::Declined && proxy.connections() == 1, "told as {because:?} after {} connections", proxy.connections());
    Ok(())
}

pub(super) fn an_accept_that_is_stripped_leaves_a_plain_connection_and_that_is_told(on: &Target) -> Checked {
    let proxy = between(on, vec![Fault::ShortenUnsubAck { keep: 0 }])?;
    let because = plain_because(on, App::connect(options_to(on, proxy.address(), "middle")?)?)?;
    ensure!(because == Because::Declined && proxy.connections() == 1, "told as {because:?} after {} connections", proxy.connections());
    Ok(())
}

pub(super) fn a_server_that_spoke_before_and_seems_to_decline_is_told_as_such(on: &Target) -> Checked {
    let proxy = between(on, vec![Fault::Pass, Fault::DropUnsubAck])?;
    let memory: Arc<dyn Memory> = Arc::new(InProcess::default());
    let options = || Ok::<_, Stop>(options_to(on, proxy.address(), "middle")?.memory(Arc::clone(&memory)));
    App::connect(options()?)?.leave()?;
    let because = plain_because(on, App::connect(options()?)?)?;
    ensure!(because == Because::SpokeBefore, "the downgrade is told as {because:?}");
    Ok(())
}

pub(super) fn an_accept_that_is_shortened_is_a_typed_error(on: &Target) -> Checked {
    let lengths: Vec<usize> = (1..sample(on)?.len()).collect();
    let proxy = between(on, lengths.iter().map(|keep| Fault::ShortenUnsubAck { keep: *keep }).collect())?;
    lengths.iter().try_for_each(|keep| {
        fails(on, &proxy, &[bad(BadAccept::NotAnAccept)]).map_err(|stop| stop.within(format!("{keep} bytes of the accept")))
    })
}

pub(super) fn an_accept_that_is_forged_is_a_typed_error(on: &Target) -> Checked {
    let genuine = sample(on)?;
    let other_nonce = [&genuine[..NONCE], &[0xAA; HASH - NONCE], &genuine[HASH..]].concat();
    let forged = [(vec![0], BadAccept::NotAnAccept), (vec![0x5A; 200], BadAccept::NotAnAccept), (other_nonce, BadAccept::WrongNonce)];
    let proxy = between(on, forged.iter().map(|(behind, _)| Fault::ForgeUnsubAck { behind: behind.clone() }).collect())?;
    forged.into_iter().try_for_each(|(_, error)| fails(on, &proxy, &[bad(error)]))
}

pub(super) fn an_accept_that_is_replayed_is_a_typed_error(on: &Target) -> Checked {
    let proxy = between(on, vec![Fault::Pass, Fault::ReplayUnsubAck { of_connection: 0 }])?;
    App::connect(options_to(on, proxy.address(), "middle")?)?.leave()?;
    fails(on, &proxy, &[bad(BadAccept::WrongNonce)])
}

/// What the client is told about a bit of the accept that was flipped: by its own check, or by the server, whose confirm would
/// answer another accept than it sent.
fn flipped(on: &Target, proxy: &Proxy, at: usize) -> Checked {
    let opened = App::try_connect(options_to(on, proxy.address(), "middle")?)?;
    let expected = match at {
        0..NONCE => Some(BadAccept::NotAnAccept),
        NONCE..HASH => Some(BadAccept::WrongNonce),
        HASH..FLAGS => Some(BadAccept::WrongHash),
        _ => None,
    };
    match (opened, expected) {
        (Err(error), Some(expected)) => ensure!(error == bad(expected), "expected {expected:?}, got {error:?}"),
        (Err(Error::Misbehaved(_)), None) => {}
        (Err(error), None) => return Err(Stop::failed(format!("expected the server to be at fault, got {error:?}"))),
        (Ok(_), Some(expected)) => return Err(Stop::failed(format!("expected {expected:?}, and the client was let in"))),
        (Ok(app), None) => {
            let granted = app.try_subscribe(&[on.topic("t")], Qos::AtMostOnce)?;
            ensure!(granted.is_err(), "a request was answered behind a changed accept: {granted:?}");
            // For the server the connection is plain still, so that it can say no more than a close does.
            let error = app.ended()?;
            ensure!(matches!(error, Error::Transport(_) | Error::Misbehaved(_)), "the error is {error:?}");
            let events = app.leave()?;
            ensure!(downgrade(&events).is_none(), "a downgrade is told for an error: {events:?}");
        }
    }
    Ok(())
}

pub(super) fn a_flipped_bit_anywhere_in_the_accept_is_never_lived_with(on: &Target) -> Checked {
    let len = sample(on)?.len();
    // Behind the packet identifier.
    let proxy = between(on, (0..len).map(|at| Fault::Flip { from: Side::Server, kind: UNSUBACK, at: 2 + at }).collect())?;
    for at in 0..len {
        flipped(on, &proxy, at).map_err(|stop| stop.within(format!("byte {at} of {len}")))?;
        ensure!(proxy.connections() == at + 1, "byte {at} of {len}: there was another try with less");
    }
    Ok(())
}

pub(super) fn an_accept_that_comes_after_the_no_is_a_typed_error(on: &Target) -> Checked {
    let proxy = between(on, vec![Fault::LateUnsubAck])?;
    let late = bad(BadAccept::TooLate);
    match App::try_connect(options_to(on, proxy.address(), "middle")?)? {
        Err(error) => ensure!(error == late, "expected {late:?}, got {error:?}"),
        Ok(app) => {
            let error = app.ended()?;
            ensure!(error == late, "expected {late:?}, got {error:?}");
        }
    }
    ensure!(proxy.connections() == 1, "there was another try with less");
    Ok(())
}

pub(super) fn an_accept_that_is_delayed_is_waited_for(on: &Target) -> Checked {
    let proxy = between(on, vec![Fault::Delay { from: Side::Server, by_ms: 150 }])?;
    let app = App::connect(options_to(on, proxy.address(), "middle")?)?;
    is_extended(&app, Door::Offer)?;
    let events = app.leave()?;
    ensure!(downgrade(&events).is_none(), "a downgrade is told: {events:?}");
    Ok(())
}

pub(super) fn pings_answered_in_between_never_make_an_accept_a_silent_no(on: &Target) -> Checked {
    // Before CONNACK the answer is out of place; between CONNACK and the accept it is a no, which the accept then belies.
    let early = Fault::Several(vec![Fault::AnswerPings, Fault::Delay { from: Side::Server, by_ms: 50 }]);
    for fault in [early, Fault::AnswerPings] {
        let proxy = between(on, vec![fault])?;
        let error = match App::try_connect(options_to(on, proxy.address(), "middle")?)? {
            Err(error) => error,
            Ok(app) => app.ended()?,
        };
        let is_typed = matches!(error, Error::Misbehaved(Misbehaved::BadAccept(BadAccept::TooLate) | Misbehaved::Protocol(_)));
        ensure!(is_typed, "the error is {error:?}");
        ensure!(proxy.connections() == 1, "there was another try with less");
    }
    Ok(())
}

pub(super) fn an_offer_that_is_swallowed_leaves_a_plain_connection_and_that_is_told(on: &Target) -> Checked {
    lives_plain(on, Fault::Drop { from: Side::Client, kind: UNSUBSCRIBE })
}

pub(super) fn a_connect_that_is_changed_on_the_way_is_a_typed_error(on: &Target) -> Checked {
    // The low byte of Keep Alive: the server sees an ordinary CONNECT.
    let proxy = between(on, vec![Fault::Flip { from: Side::Client, kind: CONNECT, at: 9 }])?;
    fails(on, &proxy, &[bad(BadAccept::WrongHash)])
}

pub(super) fn an_offer_that_is_changed_on_the_way_is_never_a_silent_yes(on: &Target) -> Checked {
    // Identifier and length, `x-candor/1/`, then 22 characters of nonce: the accept answers another offer.
    let nonce = 4 + "x-candor/1/".len();
    let proxy = between(on, vec![Fault::Flip { from: Side::Client, kind: UNSUBSCRIBE, at: nonce + 3 }])?;
    match App::try_connect(options_to(on, proxy.address(), "middle")?)? {
        Err(error) => ensure!(error == bad(BadAccept::WrongNonce), "the error is {error:?}"),
        // Half of the characters become one that base64 does not have: then it is no offer.
        Ok(app) => drop(plain_because(on, app)?),
    }
    ensure!(proxy.connections() == 1, "there was another try with less");
    // The prefix: it is an offer no more, and an ordinary no.
    lives_plain(on, Fault::Flip { from: Side::Client, kind: UNSUBSCRIBE, at: 4 })
}

pub(super) fn a_confirm_that_is_changed_on_the_way_ends_the_connection(on: &Target) -> Checked {
    let accept = sample(on)?;
    ensure!(accept.starts_with(b"CNDR"), "the accept is {accept:02x?}");
    let proxy = between(on, vec![])?;
    let app = App::connect(options_to(on, proxy.address(), "sample")?)?;
    let confirm = proxy.saw(0, Side::Client, NOTICE)?;
    app.leave()?;
    // The last byte is of the hash.
    let at = packet::body(&confirm).len() - 1;
    let proxy = between(on, vec![Fault::Flip { from: Side::Client, kind: NOTICE, at }])?;
    let app = App::connect(options_to(on, proxy.address(), "middle")?)?;
    // For the server the connection is plain still, so that it can say no more than a close does.
    let error = app.ended()?;
    ensure!(matches!(error, Error::Transport(_)), "expected the server to close, got {error:?}");
    ensure!(proxy.connections() == 1, "there was another try with less");
    Ok(())
}
