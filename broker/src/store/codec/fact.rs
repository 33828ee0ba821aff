//! Facts: one arm out, one arm in.

use super::cursor::{Bad, Cursor, put_bytes, put_number};
use super::record::{put_whose, whose, why};
use super::session;
use crate::store::record::{MessageNumber, SessionNumber};
use crate::store::state::Fact;

/// Tags below are those of records.
pub(super) const TAG_MIN: u8 = 64;

pub(super) fn encode(fact: &Fact, out: &mut Vec<u8>) {
    match fact {
        Fact::Session { session, kept } => {
            out.push(TAG_MIN);
            put_number(out, session.0);
            session::encode(kept, out);
        }
        Fact::Retained { topic, message, version } => {
            out.push(TAG_MIN + 1 + u8::from(message.is_none()));
            message.iter().for_each(|message| put_number(out, message.0));
            put_number(out, *version);
            put_bytes(out, topic);
        }
        Fact::Will { whose, message } => {
            out.push(TAG_MIN + 3);
            put_number(out, message.0);
            put_whose(out, whose);
        }
        Fact::Ended { client_id, why, unix_ms } => {
            out.extend_from_slice(&[TAG_MIN + 4, *why as u8]);
            put_number(out, *unix_ms);
            put_bytes(out, client_id.as_bytes());
        }
        Fact::Verdicts { whose, verdicts } => {
            out.push(TAG_MIN + 5);
            put_whose(out, whose);
            put_number(out, verdicts.len() as u64);
            for (number, verdict) in verdicts {
                put_number(out, *number);
                put_bytes(out, verdict);
            }
        }
        Fact::Numbers(numbers) => {
            out.push(TAG_MIN + 6);
            numbers.iter().for_each(|number| put_number(out, *number));
        }
        Fact::Time(unix_ms) => {
            out.push(TAG_MIN + 7);
            put_number(out, *unix_ms);
        }
    }
}

pub(super) fn decode(tag: u8, cursor: &mut Cursor<'_>) -> Result<Fact, Bad> {
    Ok(match tag - TAG_MIN {
        0 => Fact::Session { session: SessionNumber(cursor.number()?), kept: Box::new(session::decode(cursor)?) },
        kind @ (1 | 2) => {
            let message = if kind == 1 { Some(MessageNumber(cursor.number()?)) } else { None };
            Fact::Retained { message, version: cursor.number()?, topic: cursor.bytes()?.into() }
        }
        3 => Fact::Will { message: MessageNumber(cursor.number()?), whose: whose(cursor)? },
        4 => Fact::Ended { why: why(cursor)?, unix_ms: cursor.number()?, client_id: cursor.text()? },
        5 => {
            let whose = whose(cursor)?;
            let verdicts = (0..cursor.count()?).map(|_| Ok((cursor.number()?, cursor.bytes()?.into()))).collect::<Result<_, _>>()?;
            Fact::Verdicts { whose, verdicts }
        }
        6 => Fact::Numbers([cursor.number()?, cursor.number()?, cursor.number()?]),
        7 => Fact::Time(cursor.number()?),
        _ => return Err(Bad("a fact of an unknown kind")),
    })
}
