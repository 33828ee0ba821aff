//! Records: one arm out, one arm in.

use super::cursor::{Bad, Cursor, put_bytes, put_id, put_number};
use super::session::{filter, owed, plain_filter, put_filter, put_owed};
use super::{CHECKSUM_LEN, Stored, open_stored};
use crate::store::record::{MessageNumber, Record, SessionNumber, Whose};
use candor_protocol::packet::Reason;
use candor_protocol::session::SessionState;

const MESSAGE: u8 = 8;

pub(super) fn encode(record: &Record, out: &mut Vec<u8>) -> Option<Stored> {
    let (tag, numbers) = head(record);
    out.push(tag);
    numbers.into_iter().flatten().for_each(|number| put_number(out, number));
    match record {
        Record::SessionBegun { client_id, principal, .. } => {
            put_bytes(out, client_id.as_bytes());
            put_bytes(out, principal.as_bytes());
        }
        Record::SessionParked { expires_at_ms, was_extended, .. } => {
            out.push(u8::from(*was_extended) | u8::from(expires_at_ms.is_some()) << 1);
            expires_at_ms.iter().for_each(|at| put_number(out, *at));
        }
        Record::SessionEnded { why, .. } => out.push(*why as u8),
        Record::EndTold { client_id } | Record::WillDisarmed { client_id, .. } | Record::WillPublished { client_id, .. } => {
            put_bytes(out, client_id.as_bytes());
        }
        Record::Subscribed { filter, subscription, .. } => put_filter(out, filter, *subscription),
        Record::Unsubscribed { filter, .. } | Record::Replayed { filter, .. } => put_bytes(out, filter.as_str().as_bytes()),
        Record::Replaying { filter, after, .. } => {
            put_bytes(out, filter.as_str().as_bytes());
            put_bytes(out, after);
        }
        Record::Message { envelope, owed, .. } => {
            put_number(out, owed.len() as u64);
            owed.iter().for_each(|owed| put_owed(out, owed));
            return Some(put_stored(out, |out| {
                let at = out.len();
                out.extend_from_slice(&[0; CHECKSUM_LEN]);
                super::encode_envelope(envelope, out);
                let checksum = crc32fast::hash(&out[at + CHECKSUM_LEN..]);
                out[at..at + CHECKSUM_LEN].copy_from_slice(&checksum.to_le_bytes());
            }));
        }
        Record::OwedToo { owed, .. } => put_owed(out, owed),
        Record::Sent { id, .. } | Record::Taken { id, .. } | Record::Released { id, .. } => put_id(out, *id),
        Record::Dropped { reason, .. } => out.push(reason.0),
        Record::RetainedCleared { topic, .. } => put_bytes(out, topic),
        Record::WillArmed { whose, .. } => put_whose(out, whose),
        Record::Verdict { whose, number, replaces, verdict } => {
            put_whose(out, whose);
            put_number(out, *number);
            put_number(out, replaces.len() as u64);
            replaces.iter().for_each(|replaces| put_number(out, *replaces));
            put_bytes(out, verdict);
        }
        _ => {}
    }
    None
}

/// The tag of a record, and the numbers it begins with.
fn head(record: &Record) -> (u8, [Option<u64>; 3]) {
    let pair = |session: &SessionNumber, message: &MessageNumber| [Some(session.0), Some(message.0), None];
    match record {
        Record::SessionBegun { session, incarnation, .. } => (1, [Some(session.0), Some(*incarnation), None]),
        Record::SessionAttached { session, expiry_s } => (2, [Some(session.0), Some(u64::from(*expiry_s)), None]),
        Record::SessionParked { session, .. } => (3, [Some(session.0), None, None]),
        Record::SessionEnded { session, unix_ms, .. } => (4, [Some(session.0), Some(*unix_ms), None]),
        Record::EndTold { .. } => (5, [None; 3]),
        Record::Subscribed { session, .. } => (6, [Some(session.0), None, None]),
        Record::Unsubscribed { session, .. } => (7, [Some(session.0), None, None]),
        Record::Message { message, .. } => (MESSAGE, [Some(message.0), None, None]),
        Record::OwedToo { message, under, .. } => (9, [Some(message.0), Some(under.0), None]),
        Record::Sent { session, message, .. } => (10, pair(session, message)),
        Record::Received { session, message } => (11, pair(session, message)),
        Record::Returned { session, message, redelivery_count } => {
            (12, [Some(session.0), Some(message.0), Some(u64::from(*redelivery_count))])
        }
        Record::Settled { session, message } => (13, pair(session, message)),
        Record::Dropped { session, message, .. } => (14, pair(session, message)),
        Record::GapTold { session } => (15, [Some(session.0), None, None]),
        Record::Taken { session, .. } => (16, [Some(session.0), None, None]),
        Record::Released { session, .. } => (17, [Some(session.0), None, None]),
        Record::Retained { message, version } => (18, [Some(message.0), Some(*version), None]),
        Record::RetainedCleared { version, .. } => (19, [Some(*version), None, None]),
        Record::WillArmed { message, .. } => (20, [Some(message.0), None, None]),
        Record::WillDisarmed { message, .. } => (21, [Some(message.0), None, None]),
        Record::Verdict { .. } => (22, [None; 3]),
        Record::WillPublished { message, .. } => (24, [Some(message.0), None, None]),
        Record::Replaying { session, .. } => (25, [Some(session.0), None, None]),
        Record::Replayed { session, .. } => (26, [Some(session.0), None, None]),
    }
}

pub(super) fn decode(tag: u8, cursor: &mut Cursor<'_>) -> Result<(Record, Option<Stored>), Bad> {
    if tag == MESSAGE {
        return message(cursor);
    }
    let record = match tag {
        1..=7 | 15..=17 | 25 | 26 => on_session(tag, cursor)?,
        9 => {
            let (message, under) = (MessageNumber(cursor.number()?), MessageNumber(cursor.number()?));
            Record::OwedToo { message, under, owed: owed(cursor)? }
        }
        10..=14 => on_owed(tag, cursor)?,
        18 => Record::Retained { message: MessageNumber(cursor.number()?), version: cursor.number()? },
        19 => Record::RetainedCleared { version: cursor.number()?, topic: cursor.bytes()?.into() },
        20 => Record::WillArmed { message: MessageNumber(cursor.number()?), whose: whose(cursor)? },
        21 => Record::WillDisarmed { message: MessageNumber(cursor.number()?), client_id: cursor.text()? },
        22 => {
            let (whose, number) = (whose(cursor)?, cursor.number()?);
            let replaces = (0..cursor.count()?).map(|_| cursor.number()).collect::<Result<_, _>>()?;
            Record::Verdict { whose, number, replaces, verdict: cursor.bytes()?.into() }
        }
        24 => Record::WillPublished { message: MessageNumber(cursor.number()?), client_id: cursor.text()? },
        _ => return Err(Bad("a record of an unknown kind")),
    };
    Ok((record, None))
}

fn on_session(tag: u8, cursor: &mut Cursor<'_>) -> Result<Record, Bad> {
    if tag == 5 {
        return Ok(Record::EndTold { client_id: cursor.text()? });
    }
    let session = SessionNumber(cursor.number()?);
    Ok(match tag {
        1 => Record::SessionBegun { session, incarnation: cursor.number()?, client_id: cursor.text()?, principal: cursor.text()? },
        2 => Record::SessionAttached { session, expiry_s: cursor.u32()? },
        3 => {
            let flags = cursor.u8()?;
            let expires_at_ms = if flags & 2 != 0 { Some(cursor.number()?) } else { None };
            Record::SessionParked { session, expires_at_ms, was_extended: flags & 1 != 0 }
        }
        4 => Record::SessionEnded { session, unix_ms: cursor.number()?, why: why(cursor)? },
        6 => {
            let (filter, subscription) = filter(cursor)?;
            Record::Subscribed { session, filter, subscription }
        }
        7 => Record::Unsubscribed { session, filter: plain_filter(cursor)? },
        15 => Record::GapTold { session },
        16 => Record::Taken { session, id: cursor.packet_id()? },
        25 => Record::Replaying { session, filter: plain_filter(cursor)?, after: cursor.bytes()?.into() },
        26 => Record::Replayed { session, filter: plain_filter(cursor)? },
        _ => Record::Released { session, id: cursor.packet_id()? },
    })
}

fn on_owed(tag: u8, cursor: &mut Cursor<'_>) -> Result<Record, Bad> {
    let (session, message) = (SessionNumber(cursor.number()?), MessageNumber(cursor.number()?));
    Ok(match tag {
        10 => Record::Sent { session, message, id: cursor.packet_id()? },
        11 => Record::Received { session, message },
        12 => Record::Returned { session, message, redelivery_count: cursor.u32()? },
        13 => Record::Settled { session, message },
        _ => Record::Dropped { session, message, reason: Reason(cursor.u8()?) },
    })
}

fn message(cursor: &mut Cursor<'_>) -> Result<(Record, Option<Stored>), Bad> {
    let message = MessageNumber(cursor.number()?);
    let owed = (0..cursor.count()?).map(|_| owed(cursor)).collect::<Result<_, _>>()?;
    let len = cursor.count()?;
    let at = cursor.offset();
    let envelope = open_stored(cursor.raw(len)?)?;
    Ok((Record::Message { message, envelope, owed }, Some(at..at + len)))
}

pub(super) fn encode_moved(message: MessageNumber, stored: &[u8], out: &mut Vec<u8>) -> Stored {
    out.push(MESSAGE);
    put_number(out, message.0);
    put_number(out, 0);
    put_stored(out, |out| out.extend_from_slice(stored))
}

/// The length is as long as the length of the largest message, so that it can be written after the message.
fn put_stored(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Stored {
    const LEN: usize = 5;
    let at = out.len();
    out.extend_from_slice(&[0; LEN]);
    write(out);
    let mut len = out.len() - at - LEN;
    let stored = at + LEN..out.len();
    for byte in &mut out[at..at + LEN] {
        *byte = len as u8 & 0x7F | 0x80;
        len >>= 7;
    }
    out[at + LEN - 1] &= 0x7F;
    stored
}

pub(super) fn put_whose(out: &mut Vec<u8>, whose: &Whose) {
    put_bytes(out, whose.principal.as_bytes());
    put_bytes(out, whose.client_id.as_bytes());
}

pub(super) fn whose(cursor: &mut Cursor<'_>) -> Result<Whose, Bad> {
    Ok(Whose { principal: cursor.text()?, client_id: cursor.text()? })
}

pub(super) fn why(cursor: &mut Cursor<'_>) -> Result<SessionState, Bad> {
    SessionState::of_number(u64::from(cursor.u8()?)).ok_or(Bad("a session ended for an unknown reason"))
}
