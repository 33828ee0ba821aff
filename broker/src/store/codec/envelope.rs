//! A message with what the broker knows about it.

use super::cursor::{Bad, Cursor, bits, put_bytes, put_number, qos};
use crate::message::{Envelope, Stamps};
use bytes::Bytes;
use candor_protocol::codec::dictionary::{Dictionary, Limits};
use candor_protocol::packet::{Message, TopicName};
use std::sync::Arc;

const RETAIN: u8 = 1 << 2;
const EXPIRES: u8 = 1 << 3;
const STAMPS: u8 = 1 << 4;
const PUBLISHER: u8 = 1 << 5;
const NODE: u8 = 1 << 6;
const MESSAGE_ID: u8 = 1 << 7;

/// The receiver's limits held when the message came.
const LIMITS: Limits = Limits { len_max: u32::MAX, depth_max: u8::MAX };

pub fn encode_envelope(envelope: &Envelope, out: &mut Vec<u8>) {
    let stamps = envelope.stamps.as_deref();
    let (publisher, node) = (stamps.and_then(|stamps| stamps.publisher.as_deref()), stamps.and_then(|stamps| stamps.node.as_deref()));
    let message_id = stamps.and_then(|stamps| stamps.message_id);
    let has = [stamps.is_some(), publisher.is_some(), node.is_some(), message_id.is_some()];
    let flags = bits(&[false, false, envelope.retain, envelope.expires_at_ms.is_some()]) | bits(&has) << 4;
    out.push(flags | envelope.qos as u8);
    envelope.expires_at_ms.into_iter().for_each(|at| put_number(out, at));
    stamps.into_iter().for_each(|stamps| put_number(out, stamps.received_at_ms));
    [publisher, node].into_iter().flatten().for_each(|text| put_bytes(out, text.as_bytes()));
    message_id.into_iter().for_each(|id| out.extend_from_slice(&id));
    put_bytes(out, envelope.hop.as_bytes());
    put_bytes(out, envelope.message.topic());
    put_bytes(out, envelope.message.map());
    out.extend_from_slice(envelope.message.payload());
}

/// # Errors
/// The bytes are no message.
pub fn decode_envelope(bytes: &[u8]) -> Result<Envelope, Bad> {
    let mut cursor = Cursor::new(bytes);
    let flags = cursor.u8()?;
    let has = |flag| flags & flag != 0;
    let expires_at_ms = if has(EXPIRES) { Some(cursor.number()?) } else { None };
    let received_at_ms = if has(STAMPS) { Some(cursor.number()?) } else { None };
    let publisher = if has(PUBLISHER) { Some(cursor.text()?) } else { None };
    let node = if has(NODE) { Some(cursor.text()?) } else { None };
    let message_id = if has(MESSAGE_ID) { <[u8; 16]>::try_from(cursor.raw(16)?).ok() } else { None };
    let hop = dictionary(cursor.bytes()?)?;
    let topic = TopicName::new(cursor.str()?).map_err(|_| Bad("a topic is no topic name"))?;
    let map = dictionary(cursor.bytes()?)?;
    Ok(Envelope {
        message: Message::new(&topic, &map, cursor.rest()),
        qos: qos(flags)?,
        retain: has(RETAIN),
        expires_at_ms,
        stamps: received_at_ms.map(|received_at_ms| Arc::new(Stamps { publisher, node, received_at_ms, message_id, report: None })),
        hop,
    })
}

fn dictionary(bytes: &[u8]) -> Result<Dictionary, Bad> {
    if bytes.is_empty() {
        return Ok(Dictionary::EMPTY);
    }
    Dictionary::parse(Bytes::copy_from_slice(bytes), LIMITS).map_err(|_| Bad("a dictionary is not well formed"))
}
