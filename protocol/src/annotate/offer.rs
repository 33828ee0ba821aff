//! The offer and its accept, which travel inside a plain UNSUBSCRIBE and the UNSUBACK to it (`dialect::offer`).

use super::fault::Fault;
use super::field;
use super::registry::Registry;
use super::sheet::{Sheet, Stop};
use super::source::Source;
use super::summary::entries;
use super::text::{count, hex};
use super::{connect, dictionary};
use crate::codec::dictionary::{Dictionary, Limits};
use crate::dialect::OFFER_PREFIX;
use crate::dialect::offer::{Accept, BadAccept, OFFER_ID};
use crate::packet::kind::Kind;
use crate::packet::legality::Role;
use crate::packet::reason::Reason;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use bytes::Bytes;

/// The only version of the offer there is.
const VERSION: &str = "1";

/// An offer without the client identifier that it must fit, which stands in CONNECT.
pub(super) struct Offer<'a> {
    /// The three last levels of the filter, as they travel.
    levels: [&'a str; 3],
    nonce: Vec<u8>,
    client: Vec<u8>,
    dictionary: Dictionary,
}

impl<'a> Offer<'a> {
    /// Reads the only topic filter of a plain UNSUBSCRIBE; `None`: it is an ordinary one.
    pub(super) fn of_filter(id: u16, filter: &'a str) -> Option<Self> {
        let levels: Vec<&str> = filter.split('/').collect();
        let [OFFER_PREFIX, VERSION, nonce, client, map] = levels[..] else { return None };
        let [nonce_raw, client_raw, map_raw] = [nonce, client, map].map(|level| BASE64.decode(level).ok());
        let (nonce_raw, client_raw) = (nonce_raw?, client_raw?);
        if id != OFFER_ID.value() || (nonce_raw.len(), client_raw.len()) != (16, 16) {
            return None;
        }
        let dictionary = Dictionary::parse(map_raw?.into(), Limits::default()).ok()?;
        Some(Self { levels: [nonce, client, map], nonce: nonce_raw, client: client_raw, dictionary })
    }

    /// What it offers, key by key.
    pub(super) fn said(&self) -> Vec<String> {
        let registry = Registry::Packet { kind: Kind::Connect, sender: Some(Role::Client), message_map: false, in_items: false };
        entries(registry, &self.dictionary)
    }
}

/// Annotates the rest of a plain UNSUBSCRIBE if it is an offer, part by part; `false`: it is not, and nothing was read.
pub(super) fn offer(sheet: &mut Sheet<'_>, id: u16) -> Result<bool, Stop> {
    let rest = sheet.ahead();
    let filter = rest.get(2..).and_then(|text| std::str::from_utf8(text).ok());
    let Some(offer) = filter.and_then(|filter| Offer::of_filter(id, filter)) else { return Ok(false) };
    if usize::from(u16::from_be_bytes([rest[0], rest[1]])) != rest.len() - 2 {
        return Ok(false);
    }
    let [nonce, client, map] = offer.levels.map(str::len);
    sheet.begin_named(field::UNSUBSCRIBE_FILTER.numbered(0), field::OFFER.source);
    sheet.take(rest.len() - nonce - client - map - 2)?;
    sheet.done(format!("an offer of the extended dialect, version {VERSION}"));
    sheet.depth += 1;
    for (field, len, value) in [(&field::NONCE, nonce + 1, hex(&offer.nonce)), (&field::CLIENT_HASH, client + 1, hex(&offer.client))] {
        sheet.begin(field);
        sheet.take(len)?;
        sheet.done(value);
    }
    sheet.begin(&field::OFFERED);
    sheet.take(map)?;
    let said = offer.said();
    sheet.done(if said.is_empty() { "empty".to_owned() } else { said.join(", ") });
    sheet.depth -= 1;
    Ok(true)
}

/// What stands behind the packet identifier of a plain UNSUBACK: nothing in 3.1.1, else the accept of an offer. Whether
/// it answers the offer that was made, only the client that made it can tell.
pub(super) fn accept(sheet: &mut Sheet<'_>) -> Result<(), Stop> {
    if sheet.is_at_end() {
        return Ok(());
    }
    let raw = sheet.ahead();
    sheet.begin(&field::ACCEPT);
    if raw.len() < sheet.left() || Accept::read(&Bytes::copy_from_slice(raw), Limits::default()).is_none() {
        sheet.take(sheet.left())?;
        sheet.done(format!("{} ({})", hex(raw), count(raw.len(), "byte")));
        let (what, expected) = (BadAccept::NotAnAccept.to_string(), "the end of the packet, or the accept of an offer");
        sheet.fault(Fault::Refused(Reason::PROTOCOL_ERROR), what, expected, Source::Mqtt("3.11.3"));
        return Ok(());
    }
    let magic = sheet.take(5)?;
    sheet.done(format!("{}, version {}", String::from_utf8_lossy(&magic[..4]), magic[4]));
    for (field, len) in [(&field::NONCE, 16), (&field::TRANSCRIPT_HASH, 32)] {
        sheet.begin(field);
        let raw = sheet.take(len)?;
        sheet.done(hex(raw));
    }
    sheet.begin(&field::ACCEPT_FLAGS);
    let flags = sheet.u8()?;
    connect::session_present(sheet, flags);
    dictionary::dictionary(sheet, Registry::Packet { kind: Kind::ConnAck, sender: Some(Role::Server), message_map: false, in_items: false })
}
