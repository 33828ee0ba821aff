//! A session as a whole, and the entries of its queue.

use super::cursor::{Bad, Cursor, bits, put_bytes, put_id, put_number, qos};
use crate::router::Subscription;
use crate::store::record::{MessageNumber, Owed, SessionNumber};
use crate::store::state::{KeptSession, OwedMessage, Progress};
use candor_protocol::packet::{Qos, TopicFilter};

pub(super) fn encode(kept: &KeptSession, out: &mut Vec<u8>) {
    put_bytes(out, kept.client_id.as_bytes());
    put_bytes(out, kept.principal.as_bytes());
    put_number(out, kept.incarnation);
    put_number(out, u64::from(kept.expiry_s));
    out.push(bits(&[kept.is_attached, kept.was_extended, kept.expires_at_ms.is_some()]));
    kept.expires_at_ms.into_iter().for_each(|at| put_number(out, at));
    put_number(out, kept.subscriptions.len() as u64);
    for (filter, subscription) in &kept.subscriptions {
        put_filter(out, filter, *subscription);
    }
    put_number(out, kept.replays.len() as u64);
    for (filter, after) in &kept.replays {
        put_bytes(out, filter.as_str().as_bytes());
        put_bytes(out, after);
    }
    put_number(out, kept.owed.len() as u64);
    kept.owed.iter().for_each(|owed| put_owed_message(out, owed));
    put_number(out, kept.taken.len() as u64);
    kept.taken.iter().for_each(|id| put_id(out, *id));
    put_number(out, kept.gap.len() as u64);
    for (reason, count) in &kept.gap {
        out.push(*reason);
        put_number(out, *count);
    }
}

pub(super) fn decode(cursor: &mut Cursor<'_>) -> Result<KeptSession, Bad> {
    let (client_id, principal) = (cursor.text()?, cursor.text()?);
    let (incarnation, expiry_s, flags) = (cursor.number()?, cursor.u32()?, cursor.u8()?);
    Ok(KeptSession {
        client_id,
        principal,
        incarnation,
        expiry_s,
        is_attached: flags & 1 != 0,
        was_extended: flags & 2 != 0,
        expires_at_ms: if flags & 4 != 0 { Some(cursor.number()?) } else { None },
        subscriptions: (0..cursor.count()?).map(|_| filter(cursor)).collect::<Result<_, _>>()?,
        replays: (0..cursor.count()?).map(|_| Ok((plain_filter(cursor)?, cursor.bytes()?.into()))).collect::<Result<_, _>>()?,
        owed: (0..cursor.count()?).map(|_| owed_message(cursor)).collect::<Result<_, _>>()?,
        taken: (0..cursor.count()?).map(|_| cursor.packet_id()).collect::<Result<_, _>>()?,
        gap: (0..cursor.count()?).map(|_| Ok((cursor.u8()?, cursor.number()?))).collect::<Result<_, _>>()?,
    })
}

pub(super) fn put_filter(out: &mut Vec<u8>, filter: &TopicFilter, subscription: Subscription) {
    put_bytes(out, filter.as_str().as_bytes());
    let Subscription { qos, no_local, retain_as_published, unordered } = subscription;
    out.push(bits(&[false, false, no_local, retain_as_published, unordered]) | qos as u8);
}

pub(super) fn filter(cursor: &mut Cursor<'_>) -> Result<(TopicFilter, Subscription), Bad> {
    let filter = plain_filter(cursor)?;
    let flags = cursor.u8()?;
    let (no_local, retain_as_published, unordered) = (flags & 4 != 0, flags & 8 != 0, flags & 16 != 0);
    let subscription = Subscription { qos: qos(flags)?, no_local, retain_as_published, unordered };
    Ok((filter, subscription))
}

pub(super) fn plain_filter(cursor: &mut Cursor<'_>) -> Result<TopicFilter, Bad> {
    TopicFilter::new(cursor.str()?).map_err(|_| Bad("a filter is no topic filter"))
}

pub(super) fn put_owed(out: &mut Vec<u8>, owed: &Owed) {
    put_number(out, owed.session.0);
    out.push(flags(owed.qos, owed.retain));
}

pub(super) fn owed(cursor: &mut Cursor<'_>) -> Result<Owed, Bad> {
    let session = SessionNumber(cursor.number()?);
    let flags = cursor.u8()?;
    Ok(Owed { session, qos: qos(flags)?, retain: flags & 4 != 0 })
}

fn flags(qos: Qos, retain: bool) -> u8 {
    bits(&[false, false, retain]) | qos as u8
}

fn put_owed_message(out: &mut Vec<u8>, owed: &OwedMessage) {
    put_number(out, owed.message.0);
    put_number(out, owed.body.0);
    let (progress, id) = match owed.progress {
        Progress::Waiting => (0, None),
        Progress::Sent(id) => (1, Some(id)),
        Progress::Received(id) => (2, Some(id)),
    };
    out.push(flags(owed.qos, owed.retain) | progress << 3);
    id.into_iter().for_each(|id| put_id(out, id));
    put_number(out, u64::from(owed.redelivery_count));
}

fn owed_message(cursor: &mut Cursor<'_>) -> Result<OwedMessage, Bad> {
    let (message, body) = (MessageNumber(cursor.number()?), MessageNumber(cursor.number()?));
    let flags = cursor.u8()?;
    let progress = match flags >> 3 {
        0 => Progress::Waiting,
        1 => Progress::Sent(cursor.packet_id()?),
        2 => Progress::Received(cursor.packet_id()?),
        _ => return Err(Bad("a message has come no known way")),
    };
    Ok(OwedMessage { message, body, qos: qos(flags)?, retain: flags & 4 != 0, progress, redelivery_count: cursor.u32()? })
}
