//! PUBLISH.

use super::field::{self, QOS_WORDS};
use super::sheet::{Sheet, Stop};
use super::text::{count, payload};
use super::walk;
use crate::codec::error::Malformed;
use crate::packet::kind::Kind;
use crate::packet::legality::Role;
use crate::packet::topic::check_name;

const DUP: u8 = 0x08;
const RETAIN: u8 = 0x01;

pub(super) fn first_byte_words(flags: u8) -> String {
    let dup = if flags & DUP != 0 { ", sent again" } else { "" };
    let retain = if flags & RETAIN != 0 { ", retained" } else { "" };
    format!("QoS {}{dup}{retain}", flags >> 1 & 0x03)
}

/// The flags of the first byte.
pub(super) fn flags(sheet: &mut Sheet<'_>, flags: u8) {
    let (qos, dup, retain) = (flags >> 1 & 0x03, flags & DUP != 0, flags & RETAIN != 0);
    sheet.bits(&field::DUP, DUP, dup_words(dup));
    sheet.bits(&field::QOS_LEVEL, 0x06, qos_words(qos));
    sheet.bits(&field::RETAIN, RETAIN, retain_words(retain, sheet.sender));
    if qos == 3 {
        sheet.malformed(Malformed::QosThree);
    }
    if dup && qos == 0 {
        sheet.malformed(Malformed::DupOnQosZero);
    }
}

pub(super) fn dup_words(dup: bool) -> &'static str {
    if dup { "1 (sent again)" } else { "0 (a first sending)" }
}

pub(super) fn qos_words(qos: u8) -> String {
    match QOS_WORDS.get(usize::from(qos)) {
        Some(words) => format!("{qos} ({words})"),
        None => format!("{qos} (reserved)"),
    }
}

/// RETAIN asks a server to keep the message, and tells a client that it was kept.
fn retain_words(retain: bool, sender: Option<Role>) -> &'static str {
    match (retain, sender) {
        (false, _) => "0",
        (true, Some(Role::Client)) => "1 (to be kept for later subscribers)",
        (true, Some(Role::Server)) => "1 (kept from before the subscription)",
        (true, None) => "1 (a retained message)",
    }
}

pub(super) fn publish(sheet: &mut Sheet<'_>) -> Result<(), Stop> {
    let flags = sheet.read(0..1).first().copied().unwrap_or_default() & 0x0F;
    if let Some(topic) = walk::text(sheet, &field::TOPIC_NAME)?
        && let Err(error) = check_name(topic.as_bytes())
    {
        sheet.malformed(error.into());
    }
    match flags >> 1 & 0x03 {
        0 => {}
        // Whether a packet identifier follows depends on the QoS.
        3 => return Err(Stop::Lost),
        _ => {
            walk::packet_id(sheet)?;
        }
    }
    walk::own_dictionary(sheet, Kind::Publish)?;
    sheet.begin(&field::PAYLOAD);
    let (len, ahead) = (sheet.left(), sheet.ahead());
    if ahead.len() < len {
        sheet.take(ahead.len())?;
        sheet.done(format!("{}, {} of {} so far", payload(ahead), ahead.len(), count(len, "byte")));
        return Err(Stop::Incomplete);
    }
    let raw = sheet.take(len)?;
    let row = sheet.done(payload(raw));
    if raw.is_empty() && flags & RETAIN != 0 {
        row.meaning("Empty and retained: it removes the retained message of this topic.");
    }
    Ok(())
}
