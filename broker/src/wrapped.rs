//! `$envelope/FILTER`: the messages that FILTER matches, each with all that is said of it in its payload, for subscribers that get no
//! dictionaries. Whoever gets a message wrapped gets another message: it is made once for all of them, and is queued, kept and
//! sent again as any other.

use crate::message::Envelope;
use candor_protocol::codec::dictionary::{Dictionary, Item, Limits, MapBuilder, write_bytes, write_head, write_text};
use candor_protocol::packet::property::KeyValue;
use candor_protocol::packet::reserved::{ENVELOPE, FEEDBACK, SHARE, is_of};
use candor_protocol::packet::{Message, Problem, Reason, Refusal, Retry, TopicFilter, TopicName};

/// The major type of a CBOR array.
const ARRAY: u8 = 4;
const EMPTY_MAP: u8 = 0xA0;

/// The filter whose messages are to be wrapped, its group with it; `None`: it asks for messages as they are.
pub fn inner(filter: &TopicFilter) -> Option<TopicFilter> {
    let pattern = filter.pattern().strip_prefix(ENVELOPE)?;
    let text = match filter.group() {
        None => pattern.to_owned(),
        Some(group) => format!("{SHARE}{group}/{pattern}"),
    };
    TopicFilter::new(text).ok()
}

/// The topic that a message was published to; of one in an envelope, the topic of the message in it.
pub fn inner_topic(topic: &str) -> &str {
    topic.strip_prefix(ENVELOPE).unwrap_or(topic)
}

/// Whether a filter that begins with `$envelope` can be served.
///
/// # Errors
/// It names no filter, or one that cannot be wrapped.
pub fn check(filter: &TopicFilter) -> Result<(), Refusal> {
    let pattern = filter.pattern();
    let Some(wanted) = pattern.strip_prefix(ENVELOPE) else {
        return if is_of(pattern.as_bytes(), ENVELOPE) { Err(malformed("no filter stands behind it")) } else { Ok(()) };
    };
    let begins = |prefix| is_of(wanted.as_bytes(), prefix);
    if wanted.is_empty() {
        Err(malformed("no filter stands behind it"))
    } else if begins(ENVELOPE) || begins(SHARE) {
        Err(malformed("it stands in front of a plain filter; a group stands in front of it"))
    } else if begins(FEEDBACK) {
        Err(malformed("feedback is private and has no dictionary"))
    } else {
        Ok(())
    }
}

fn malformed(detail: &str) -> Refusal {
    let problem = Problem::titled("$envelope/ has the form $envelope/FILTER or $share/GROUP/$envelope/FILTER").detail(detail);
    Refusal::new(Reason::TOPIC_FILTER_INVALID, problem.field("topic filter").retry(Retry::Never))
}

/// The message that carries another one: a CBOR array of topic, stamps, message map and payload. Its topic is that of the other behind
/// the prefix; one that would be too long so is left to the array alone.
pub fn wrap(envelope: &Envelope) -> Envelope {
    let message = &envelope.message;
    let mut payload = Vec::with_capacity(message.len() + 128);
    write_head(&mut payload, ARRAY, 4);
    write_text(&mut payload, message.topic_str());
    let mut stamps = MapBuilder::new();
    if let Some(known) = &envelope.stamps {
        known.put(&mut stamps);
    }
    stamps.write(&mut payload);
    match message.map() {
        [] => payload.push(EMPTY_MAP),
        map => payload.extend_from_slice(map),
    }
    write_bytes(&mut payload, message.payload());
    let topic = TopicName::new([ENVELOPE, message.topic_str()].concat()).or_else(|_| TopicName::new(ENVELOPE));
    // Both of them obey section 4.7, so the message is never passed on as it was.
    let wrapped = topic.map_or_else(|_| message.clone(), |topic| Message::new(&topic, &Dictionary::EMPTY, &payload));
    Envelope { message: wrapped, ..envelope.clone() }
}

/// The message that another one carries; `None`: it carries none.
pub fn unwrap(envelope: &Envelope) -> Option<Envelope> {
    if !envelope.message.topic().starts_with(ENVELOPE.as_bytes()) {
        return None;
    }
    // The array as the value of a map, which is what there is a reader for. It was made here, so nothing limits it.
    let map = [&[0xA1, 0x00], envelope.message.payload()].concat();
    let map = Dictionary::parse(map.into(), Limits { len_max: u32::MAX, depth_max: u8::MAX }).ok()?;
    let mut parts = map.get(0)?.elements();
    let (Item::Text(topic), _, map, Item::Bytes(payload)) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?) else {
        return None;
    };
    let message = Message::new(&TopicName::new(topic).ok()?, &Dictionary::read(map)?, payload);
    Some(Envelope { message, ..envelope.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Stamps;
    use candor_protocol::packet::{Qos, property};
    use ciborium::Value;
    use std::sync::Arc;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::new(text).unwrap()
    }

    #[test]
    fn a_filter_is_wrapped_once_and_its_group_stands_in_front() {
        for (text, wanted) in [("$envelope/a/#", "a/#"), ("$share/g/$envelope/+", "$share/g/+"), ("$envelope/$SYS/#", "$SYS/#")] {
            assert_eq!((inner(&filter(text)), check(&filter(text))), (Some(filter(wanted)), Ok(())), "{text}");
        }
        for text in ["a/$envelope/b", "$envelopes/a", "+/a"] {
            assert_eq!((inner(&filter(text)), check(&filter(text))), (None, Ok(())), "{text}");
        }
        let bad =
            ["$envelope", "$envelope/", "$envelope/$share/g/a", "$envelope/$envelope/a", "$envelope/$feedback/#", "$share/g/$envelope"];
        for text in bad {
            assert_eq!(check(&filter(text)).map_err(|refusal| refusal.reason), Err(Reason::TOPIC_FILTER_INVALID), "{text}");
        }
    }

    #[test]
    fn what_is_wrapped_is_all_that_is_known() {
        let map = MapBuilder::new().set(property::CONTENT_TYPE, &"text/plain".to_owned()).finish();
        let message = Message::new(&TopicName::new("a/b").unwrap(), &map, b"x");
        let stamps = Stamps { publisher: Some("somebody".into()), node: None, received_at_ms: 7, message_id: None, report: None };
        let hop = Dictionary::EMPTY;
        let envelope =
            Envelope { message, qos: Qos::AtLeastOnce, retain: true, expires_at_ms: Some(1), stamps: Some(Arc::new(stamps)), hop };
        let wrapped = wrap(&envelope);
        assert_eq!((wrapped.message.topic_str(), wrapped.message.map()), ("$envelope/a/b", &[][..]));
        assert_eq!((wrapped.qos, wrapped.retain, wrapped.expires_at_ms), (envelope.qos, true, Some(1)));
        let read: Value = ciborium::from_reader(wrapped.message.payload()).unwrap();
        let (text, number) = (|text: &str| Value::Text(text.to_owned()), |number: u64| Value::Integer(number.into()));
        let stamps = vec![(number(32), text("somebody")), (number(36), number(7))];
        let map = vec![(number(2), text("text/plain"))];
        assert_eq!(read, Value::Array(vec![text("a/b"), Value::Map(stamps), Value::Map(map), Value::Bytes(b"x".to_vec())]));
        assert_eq!(unwrap(&wrapped), Some(envelope.clone()));
        assert_eq!(unwrap(&envelope), None);
    }

    #[test]
    fn a_topic_that_leaves_no_room_for_the_prefix_stands_in_the_array() {
        let topic = "x".repeat(65_530);
        let message = Message::publish(&topic, "y").unwrap();
        let envelope = Envelope { message, qos: Qos::AtMostOnce, retain: false, expires_at_ms: None, stamps: None, hop: Dictionary::EMPTY };
        let wrapped = wrap(&envelope);
        assert_eq!(wrapped.message.topic_str(), "$envelope/");
        assert_eq!(unwrap(&wrapped), Some(envelope));
        let Value::Array(read) = ciborium::from_reader(wrapped.message.payload()).unwrap() else { panic!("no array") };
        assert_eq!(read.first(), Some(&Value::Text(topic)));
    }
}
