//! One packet from its first byte to its last: the fixed header, the fields that packets share, and the packets that
//! have no others.

use super::fault::Fault;
use super::field::{self, Field};
use super::registry::Registry;
use super::sheet::{Sheet, Stop};
use super::source::Source;
use super::text::{count, payload, quoted, quoted_or_hex};
use super::{Annotated, connect, dictionary, offer, publish, sender_of, subscribe};
use crate::codec::dictionary::Limits;
use crate::codec::error::Malformed;
use crate::codec::frame::Frame;
use crate::dialect::terms::PACKET_SIZE_MAX;
use crate::dialect::{Dialect, read};
use crate::packet::kind::Kind;
use crate::packet::legality::Role;
use crate::packet::reason::Reason;
use bytes::Bytes;

/// Annotates the packet at the start of `bytes`, which stand at `base` in the input.
pub(super) fn packet(dialect: Dialect, sender: Option<Role>, bytes: &[u8], base: usize) -> Annotated {
    let mut sheet = Sheet::new(dialect, sender, bytes, base);
    let header = fixed_header(&mut sheet);
    let body = header.and_then(|_| body(&mut sheet));
    if body == Err(Stop::Full) {
        unlisted(&mut sheet, bytes);
    } else {
        sheet.rest("not read");
    }
    match header {
        Ok(end) if end > bytes.len() => incomplete(&mut sheet, Some(end - bytes.len())),
        Err(Stop::Incomplete) => incomplete(&mut sheet, None),
        _ => {}
    }
    Annotated { range: base..base + sheet.at(), kind: sheet.kind, dialect: sheet.dialect, annotations: sheet.annotations }
}

/// The fields that are too many to be listed; the reader of a connection says whether they are well formed.
fn unlisted(sheet: &mut Sheet<'_>, bytes: &[u8]) {
    sheet.rest("more fields, not listed");
    let mut whole = Bytes::copy_from_slice(bytes);
    if let Ok(Some(frame)) = Frame::split(&mut whole, PACKET_SIZE_MAX)
        && let Err(error) = read::raise(sheet.dialect, &frame, Limits::default())
    {
        sheet.malformed(error);
    }
}

fn incomplete(sheet: &mut Sheet<'_>, missing: Option<usize>) {
    let (what, expected) = match missing {
        Some(missing) => (format!("the bytes end before the packet does: {} missing", count(missing, "byte")), "the rest of the packet"),
        None => ("the bytes end inside the fixed header".to_owned(), "the rest of Remaining Length, and as many bytes as it says"),
    };
    let end = sheet.shifted(sheet.at()..sheet.at());
    sheet.fault(Fault::Incomplete { missing }, what, expected, field::REMAINING_LENGTH.source).range = end;
}

/// The fixed header (section 2.2); tells where the packet ends.
fn fixed_header(sheet: &mut Sheet<'_>) -> Result<usize, Stop> {
    sheet.begin(&field::PACKET_TYPE);
    let first = sheet.u8()?;
    let Some(kind) = Kind::of_first_byte(first) else {
        sheet.done("0 (reserved)");
        return Err(sheet.lost(Malformed::PacketType(0)));
    };
    sheet.kind = Some(kind);
    first_byte(sheet, kind, first);
    sheet.begin(&field::REMAINING_LENGTH);
    let remaining = sheet.varint()? as usize;
    sheet.done(count(remaining, "byte"));
    let end = sheet.at() + remaining;
    sheet.set_end(end);
    Ok(end)
}

fn first_byte(sheet: &mut Sheet<'_>, kind: Kind, first: u8) {
    sheet.begin_named(kind.name(), field::sections(kind).0);
    let flags = first & 0x0F;
    if kind == Kind::Publish {
        sheet.done(publish::first_byte_words(flags));
    } else {
        sheet.done("");
    }
    sheet.bits(&field::PACKET_TYPE, 0xF0, format!("{} ({kind})", kind as u8));
    match kind.fixed_flags() {
        None => publish::flags(sheet, flags),
        Some(fixed) => reserved_flags(sheet, kind, flags, fixed),
    }
    if kind == Kind::Notice && !sheet.dialect.is_extended() {
        sheet.malformed(Malformed::PacketType(15));
    }
    if let (Some(sender), Some(only)) = (sheet.sender, sender_of(sheet.dialect, kind))
        && sender != only
    {
        let (what, expected) = (format!("a {} does not send {kind}", end_name(sender)), format!("{kind} from the {}", end_name(only)));
        sheet.fault(Fault::Refused(Reason::PROTOCOL_ERROR), what, expected, Source::Mqtt("2.2.1"));
    }
}

/// The lower four bits of every packet but PUBLISH. MQTT 3.1 has DUP where 3.1.1 reserves the bit; a CONNECT is read
/// before its dialect is known.
fn reserved_flags(sheet: &mut Sheet<'_>, kind: Kind, flags: u8, fixed: u8) {
    let v31 = sheet.dialect == Dialect::V31 && kind != Kind::Connect;
    let mask = if v31 { 0x07 } else { 0x0F };
    if v31 {
        sheet.bits(&field::DUP_31, 0x08, publish::dup_words(flags & 0x08 != 0));
    }
    sheet.bits(&field::RESERVED, mask, format!("{:0width$b}", flags & mask, width = mask.count_ones() as usize));
    if flags & mask != fixed {
        let row = sheet.malformed(Malformed::Flags);
        row.value = format!("the lower four bits are {flags:04b}");
        row.meaning = format!("{fixed:04b}").into();
    }
}

pub(super) const fn end_name(role: Role) -> &'static str {
    match role {
        Role::Client => "client",
        Role::Server => "server",
    }
}

/// Everything behind the fixed header.
fn body(sheet: &mut Sheet<'_>) -> Result<(), Stop> {
    let Some(kind) = sheet.kind else { return Ok(()) };
    match kind {
        Kind::Connect => connect::connect(sheet)?,
        Kind::ConnAck => connect::connack(sheet)?,
        Kind::Publish => publish::publish(sheet)?,
        Kind::PubAck | Kind::PubRec | Kind::PubRel | Kind::PubComp => {
            packet_id(sheet)?;
            reason_and_dictionary(sheet, kind)?;
        }
        Kind::Subscribe => subscribe::subscribe(sheet)?,
        Kind::SubAck => subscribe::suback(sheet)?,
        Kind::Unsubscribe => subscribe::unsubscribe(sheet)?,
        Kind::UnsubAck if sheet.dialect.is_extended() => subscribe::unsuback(sheet)?,
        Kind::UnsubAck => {
            packet_id(sheet)?;
            offer::accept(sheet)?;
        }
        Kind::PingReq | Kind::PingResp => own_dictionary(sheet, kind)?,
        Kind::Disconnect | Kind::Notice if sheet.dialect.is_extended() => reason_and_dictionary(sheet, kind)?,
        // A plain DISCONNECT has no field, and a plain NOTICE does not exist.
        Kind::Disconnect => {}
        Kind::Notice => return Err(Stop::Lost),
    }
    if !sheet.is_at_end() {
        sheet.rest("bytes behind the last field");
        sheet.malformed(Malformed::TrailingBytes);
    }
    Ok(())
}

pub(super) fn packet_id(sheet: &mut Sheet<'_>) -> Result<u16, Stop> {
    let source = sheet.kind.map_or(Source::Mqtt("2.3.1"), |kind| field::sections(kind).1);
    sheet.begin_named("Packet Identifier", source);
    let id = sheet.u16()?;
    sheet.done(id.to_string());
    if id == 0 {
        sheet.malformed(Malformed::PacketIdentifierZero);
    }
    Ok(id)
}

/// The dictionary of an extended packet; nothing in the plain dialect or where the packet ends early.
pub(super) fn own_dictionary(sheet: &mut Sheet<'_>, kind: Kind) -> Result<(), Stop> {
    if !sheet.dialect.is_extended() || kind.parts().may_end_early && sheet.is_at_end() {
        return Ok(());
    }
    let message_map = kind == Kind::Publish;
    dictionary::dictionary(sheet, Registry::Packet { kind, sender: sheet.sender, message_map, in_items: false })
}

fn reason_and_dictionary(sheet: &mut Sheet<'_>, kind: Kind) -> Result<(), Stop> {
    if !sheet.dialect.is_extended() || kind.parts().may_end_early && sheet.is_at_end() {
        return Ok(());
    }
    reason(sheet, kind, field::REASON.name.to_owned())?;
    own_dictionary(sheet, kind)
}

/// One byte of reason, with its name and meaning from the reason table.
pub(super) fn reason(sheet: &mut Sheet<'_>, kind: Kind, name: String) -> Result<Reason, Stop> {
    sheet.begin_named(name, field::REASON.source);
    let reason = Reason(sheet.u8()?);
    let row = sheet.done(reason.to_string());
    match reason.info() {
        Some(info) => row.meaning(info.meaning),
        None => row.meaning(format!("The table has no such reason: it counts as {}.", reason.known_or_class())),
    };
    if !reason.allowed_in(kind) {
        sheet.malformed(Malformed::ReasonNotAllowed(reason.0)).value = format!("{kind} may not carry the reason {reason}");
    }
    Ok(reason)
}

/// Two bytes of length and text. `None`: it is not text, or holds U+0000.
pub(super) fn text<'a>(sheet: &mut Sheet<'a>, field: &Field) -> Result<Option<&'a str>, Stop> {
    sheet.begin(field);
    named_text(sheet, field)
}

/// As [`text`], where the leaf has its name already.
pub(super) fn named_text<'a>(sheet: &mut Sheet<'a>, field: &Field) -> Result<Option<&'a str>, Stop> {
    let len = usize::from(sheet.u16()?);
    let at = sheet.at();
    let raw = sheet.take(len)?;
    let text = match std::str::from_utf8(raw) {
        Ok(text) => text,
        Err(error) => {
            sheet.done(quoted_or_hex(raw));
            let bad = at + error.valid_up_to();
            let range = sheet.shifted(bad..bad + error.error_len().unwrap_or(at + len - bad));
            let row = sheet.malformed(Malformed::NotUtf8);
            row.range = range;
            row.value = format!("0x{:02x} is no start or no continuation of a UTF-8 character here", raw[error.valid_up_to()]);
            if !field.text_rule.is_empty() {
                row.source = Some(Source::Statement(field.text_rule));
            }
            return Ok(None);
        }
    };
    sheet.done(quoted(text));
    if let Some(nul) = raw.iter().position(|&byte| byte == 0) {
        let range = sheet.shifted(at + nul..at + nul + 1);
        sheet.malformed(Malformed::Nul).range = range;
        return Ok(None);
    }
    Ok(Some(text))
}

/// Two bytes of length and bytes that may be anything.
pub(super) fn binary(sheet: &mut Sheet<'_>, field: &Field) -> Result<(), Stop> {
    sheet.begin(field);
    let len = usize::from(sheet.u16()?);
    let raw = sheet.take(len)?;
    sheet.done(payload(raw));
    Ok(())
}
