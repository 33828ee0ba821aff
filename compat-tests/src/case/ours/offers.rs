//! The offer byte for byte: what our broker takes for one, and what it sends until the client has committed itself.

use crate::case::Target;
use crate::ensure;
use crate::outcome::{Checked, Stop};
use crate::wire::packet::{self, Connect};
use crate::wire::{Wire, together};
use candor_client::protocol::codec::dictionary::Dictionary;
use candor_client::protocol::dialect::offer::Offer;
use std::time::Duration;

const UNSUBACK: u8 = 0xB0;

/// The packet identifier of an offer.
const OFFER_ID: u16 = 0xFFFF;

/// How long a server is watched that is to send nothing.
const SILENT_FOR: Duration = Duration::from_millis(200);

/// The filter that offers the extension for a client identifier.
fn filter(client_id: &str) -> Checked<String> {
    let offer = Offer { nonce: [7; 16], dictionary: Dictionary::EMPTY };
    let packet = offer.to_packet(client_id).ok_or_else(|| Stop::failed("an empty offer does not fit a filter"))?;
    let filter = packet.filters.into_iter().next().and_then(Result::ok);
    filter.map(|filter| filter.to_string()).ok_or_else(|| Stop::failed("an offer without a filter"))
}

/// Connects with `packets` behind CONNECT in one write, and returns the first UNSUBACK.
fn answer(on: &Target, name: &str, packets: &[&[u8]]) -> Checked<(Wire, Vec<u8>)> {
    let mut wire = on.open(name)?;
    let connect = Connect::clean(on.id(name)).bytes();
    wire.send(together(&[&[connect.as_slice()], packets].concat()))?;
    wire.expect(packet::connack(false, 0))?;
    let answer = wire.skip_to(UNSUBACK >> 4)?;
    Ok((wire, answer))
}

pub(super) fn what_is_not_exactly_an_offer_gets_an_ordinary_unsuback(on: &Target) -> Checked {
    let (id, name) = (OFFER_ID, "almost");
    let offer = filter(&on.id(name))?;
    let cases: [(&str, u16, Vec<u8>); 7] = [
        ("of another client identifier", id, packet::unsubscribe(id, &[filter(&on.id("another"))?])),
        ("with another packet identifier", 7, packet::unsubscribe(7, &[&offer])),
        ("with a second filter", id, packet::unsubscribe(id, &[offer.as_str(), "b"])),
        ("with a level more", id, packet::unsubscribe(id, &[format!("{offer}/")])),
        ("of another version", id, packet::unsubscribe(id, &[offer.replacen("/1/", "/2/", 1)])),
        ("without its last byte but one", id, packet::unsubscribe(id, &[offer.replacen("/1/B", "/1/", 1)])),
        ("of nothing", id, packet::unsubscribe(id, &["x-candor"])),
    ];
    for (what, id, unsubscribe) in &cases {
        let (mut wire, seen) = answer(on, name, &[unsubscribe])?;
        ensure!(seen == packet::ack(UNSUBACK, *id), "an offer {what} is answered with {seen:02x?}");
        wire.ping()?;
    }
    // Behind another packet it is none either.
    let (mut wire, seen) = answer(on, name, &[&packet::PINGREQ, &packet::unsubscribe(id, &[&offer])])?;
    ensure!(seen == packet::ack(UNSUBACK, id), "an offer behind PINGREQ is answered with {seen:02x?}");
    wire.expect(packet::PINGRESP)?;
    // And the offer itself is taken, so that the others differ in what they say.
    let (_, seen) = answer(on, name, &[&packet::unsubscribe(id, &[&offer])])?;
    ensure!(seen.len() > 4, "the offer itself is answered with {seen:02x?}");
    Ok(())
}

pub(super) fn an_offer_that_is_not_confirmed_leaves_the_connection_plain(on: &Target) -> Checked {
    let offer = packet::unsubscribe(OFFER_ID, &[filter(&on.id("silent"))?]);
    let (mut wire, seen) = answer(on, "silent", &[&offer, &packet::PINGREQ])?;
    ensure!(seen.len() > 4, "the offer is answered with {seen:02x?}");
    wire.expect(packet::PINGRESP)?;
    ensure!(wire.look(SILENT_FOR)? == crate::wire::Seen::Silence, "the server sends something before the confirm");
    // A plain packet first: everything is plain from here on.
    wire.send(packet::subscribe(1, &[(on.topic("t"), 1)]))?;
    wire.expect(packet::suback(1, &[1]))?;
    wire.send(packet::publish(on.topic("t"), "m", 1, 2))?;
    let (first, second) = (wire.next()?, wire.next()?);
    let delivered = packet::publish(on.topic("t"), "m", 1, 1);
    let acknowledged = packet::ack(packet::PUBACK, 2);
    ensure!([&first, &second].contains(&&acknowledged) && [&first, &second].contains(&&delivered), "got {first:02x?} and {second:02x?}");
    Ok(())
}

pub(super) fn a_refused_connect_gets_its_plain_connack_and_nothing_more(on: &Target) -> Checked {
    let mut wire = on.open("refused")?;
    // An empty client identifier with a stored session is refused by code 2.
    let offer = packet::unsubscribe(OFFER_ID, &[filter("")?]);
    wire.send(together(&[&Connect::stored("").bytes(), &offer, &packet::PINGREQ]))?;
    wire.expect(packet::connack(false, 2))?;
    wire.expect_close()
}
