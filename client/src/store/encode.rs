//! Records as bytes: one for the kind, then its fields; numbers are little endian, and what varies has its length in front.

use super::Record;
use bytes::Bytes;
use candor_protocol::codec::dictionary::{Dictionary, Limits};
use candor_protocol::packet::topic::TopicName;
use candor_protocol::packet::{Message, PacketId, Qos, TopicFilter};
use candor_protocol::session::Delivery;

const BEGUN: u8 = 1;
const LOST: u8 = 2;
const ACCEPTED: u8 = 3;
const SENT: u8 = 4;
const RECEIVED: u8 = 5;
const SETTLED: u8 = 6;
const TAKEN: u8 = 7;
const RELEASED: u8 = 8;
const MARKED: u8 = 9;
const SUBSCRIBED: u8 = 10;
const UNSUBSCRIBED: u8 = 11;
const NUMBERED: u8 = 12;

/// What was checked when it was made is checked for its form only.
const LIMITS: Limits = Limits { len_max: u32::MAX, depth_max: u8::MAX };

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_some(out: &mut Vec<u8>, bytes: Option<&Bytes>) {
    out.push(u8::from(bytes.is_some()));
    if let Some(bytes) = bytes {
        put_bytes(out, bytes);
    }
}

fn put_delivery(out: &mut Vec<u8>, delivery: &Delivery) {
    let Delivery { message, qos, retain, hop } = delivery;
    out.extend_from_slice(&[*qos as u8, u8::from(*retain)]);
    put_bytes(out, hop.as_bytes());
    put_bytes(out, message.topic());
    put_bytes(out, message.map());
    put_bytes(out, message.payload());
}

/// Appends a record.
pub(super) fn put(record: &Record, out: &mut Vec<u8>) {
    let number = |out: &mut Vec<u8>, kind, number: u64| {
        out.push(kind);
        out.extend_from_slice(&number.to_le_bytes());
    };
    let id = |out: &mut Vec<u8>, kind, id: &PacketId| {
        out.push(kind);
        out.extend_from_slice(&id.value().to_le_bytes());
    };
    match record {
        Record::Begun { client_id, incarnation } => {
            out.push(BEGUN);
            put_bytes(out, client_id.as_bytes());
            put_bytes(out, incarnation);
        }
        Record::Lost => out.push(LOST),
        Record::Accepted { number: n, delivery, mark } => {
            number(out, ACCEPTED, *n);
            put_delivery(out, delivery);
            put_some(out, mark.as_ref());
        }
        Record::Numbered { number: n } => number(out, NUMBERED, *n),
        Record::Sent { number: n, id } => {
            number(out, SENT, *n);
            out.extend_from_slice(&id.value().to_le_bytes());
        }
        Record::Received { id: it } => id(out, RECEIVED, it),
        Record::Settled { number: n } => number(out, SETTLED, *n),
        Record::Taken { id: it, mark } => {
            id(out, TAKEN, it);
            put_some(out, mark.as_ref());
        }
        Record::Released { id: it } => id(out, RELEASED, it),
        Record::Marked { mark } => {
            out.push(MARKED);
            put_bytes(out, mark);
        }
        Record::Subscribed { filter, qos, item } => {
            out.extend_from_slice(&[SUBSCRIBED, *qos as u8]);
            put_bytes(out, filter.as_str().as_bytes());
            put_bytes(out, item.as_bytes());
        }
        Record::Unsubscribed { filter } => {
            out.push(UNSUBSCRIBED);
            put_bytes(out, filter.as_str().as_bytes());
        }
    }
}

/// Reads fields one behind the other; `None`: what stands there is not one.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn flag(&mut self) -> Option<bool> {
        self.byte().and_then(|byte| (byte < 2).then_some(byte == 1))
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn id(&mut self) -> Option<PacketId> {
        PacketId::new(u16::from_le_bytes(self.array()?))
    }

    fn qos(&mut self) -> Option<Qos> {
        Qos::new(self.byte()?)
    }

    fn bytes(&mut self) -> Option<Bytes> {
        let len = u32::from_le_bytes(self.array()?) as usize;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(Bytes::copy_from_slice(bytes))
    }

    fn some(&mut self) -> Option<Option<Bytes>> {
        if self.flag()? { self.bytes().map(Some) } else { Some(None) }
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    fn filter(&mut self) -> Option<TopicFilter> {
        TopicFilter::new(self.text()?).ok()
    }

    fn dictionary(&mut self) -> Option<Dictionary> {
        Dictionary::parse(self.bytes()?, LIMITS).ok()
    }

    fn delivery(&mut self) -> Option<Delivery> {
        let (qos, retain, hop) = (self.qos()?, self.flag()?, self.dictionary()?);
        let (topic, map, payload) = (TopicName::new(self.text()?).ok()?, self.dictionary()?, self.bytes()?);
        Some(Delivery { message: Message::new(&topic, &map, &payload), qos, retain, hop })
    }

    fn record(&mut self) -> Option<Record> {
        Some(match self.byte()? {
            BEGUN => Record::Begun { client_id: self.text()?, incarnation: self.bytes()? },
            LOST => Record::Lost,
            ACCEPTED => Record::Accepted { number: self.number()?, delivery: self.delivery()?, mark: self.some()? },
            NUMBERED => Record::Numbered { number: self.number()? },
            SENT => Record::Sent { number: self.number()?, id: self.id()? },
            RECEIVED => Record::Received { id: self.id()? },
            SETTLED => Record::Settled { number: self.number()? },
            TAKEN => Record::Taken { id: self.id()?, mark: self.some()? },
            RELEASED => Record::Released { id: self.id()? },
            MARKED => Record::Marked { mark: self.bytes()? },
            SUBSCRIBED => {
                let qos = self.qos()?;
                Record::Subscribed { filter: self.filter()?, qos, item: self.dictionary()? }
            }
            UNSUBSCRIBED => Record::Unsubscribed { filter: self.filter()? },
            _ => return None,
        })
    }
}

/// Reads the records of one frame.
///
/// # Errors
/// Where in it something stands that is no record.
pub(super) fn read_all(payload: &[u8]) -> Result<Vec<Record>, usize> {
    let (mut fields, mut records) = (Fields(payload), Vec::new());
    while !fields.0.is_empty() {
        let at = payload.len() - fields.0.len();
        records.push(fields.record().ok_or(at)?);
    }
    Ok(records)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use candor_protocol::codec::dictionary::MapBuilder;
    use candor_protocol::packet::property;

    /// One record of every kind.
    pub(in crate::store) fn every() -> Vec<Record> {
        let id = PacketId::new(513).unwrap();
        let map = MapBuilder::new().set(property::CONTENT_TYPE, &"text/plain".to_owned()).finish();
        let hop = MapBuilder::new().set(property::RECEIPT_REQUEST, &true).finish();
        let message = Message::new(&TopicName::new("a/b").unwrap(), &map, b"payload");
        let delivery = Delivery { message, qos: Qos::ExactlyOnce, retain: true, hop: hop.clone() };
        let filter = TopicFilter::new("$share/g/a/#").unwrap();
        let mark = Bytes::from_static(b"line 7");
        vec![
            Record::Begun { client_id: "me".to_owned(), incarnation: Bytes::from_static(b"12345678") },
            Record::Subscribed { filter: filter.clone(), qos: Qos::AtLeastOnce, item: hop },
            Record::Accepted { number: u64::MAX, delivery: delivery.clone(), mark: Some(mark.clone()) },
            Record::Numbered { number: 7 },
            Record::Sent { number: u64::MAX, id },
            Record::Received { id },
            Record::Taken { id, mark: None },
            Record::Released { id },
            Record::Marked { mark },
            Record::Settled { number: u64::MAX },
            Record::Unsubscribed { filter },
            Record::Lost,
        ]
    }

    #[test]
    fn every_record_is_read_as_it_was_written() {
        let mut bytes = Vec::new();
        every().iter().for_each(|record| put(record, &mut bytes));
        assert_eq!(read_all(&bytes).unwrap(), every());
    }

    #[test]
    fn what_is_no_record_is_placed_and_harms_nothing() {
        for record in every() {
            let mut bytes = Vec::new();
            put(&Record::Lost, &mut bytes);
            put(&record, &mut bytes);
            for len in 2..bytes.len() {
                assert_eq!(read_all(&bytes[..len]), Err(1), "{record:?} cut at {len}");
            }
        }
        assert_eq!(read_all(&[LOST, 200]), Err(1));
        assert_eq!(read_all(&[RECEIVED, 0, 0]), Err(0), "0 is no identifier");
    }
}
