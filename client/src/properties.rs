//! What a message says beside its payload: the keys that travel to the subscribers, and those that concern the next
//! server alone. Names, types and meanings are the registries' (`candor_protocol::packet::property`).

use crate::error::Misuse;
use bytes::Bytes;
use candor_protocol::codec::dictionary::{Dictionary, Item, KeyRef, MapBuilder, write_text};
use candor_protocol::extension::Registry;
use candor_protocol::packet::Durability;
use candor_protocol::packet::kind::Kind;
use candor_protocol::packet::property::{self, Key, KeyInfo, KeyValue, MESSAGE_KEYS, PACKET_KEYS, ValueType, Writer};

/// The properties of a message that is to be published.
///
/// ```
/// use candor_client::Properties;
/// let properties = Properties::default().content_type("text/plain").expiry_s(60).text("unit", "°C");
/// assert!(!properties.is_empty());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Properties {
    /// For the subscribers: the message map.
    message: MapBuilder,
    /// For the next server.
    hop: MapBuilder,
}

impl Properties {
    pub fn is_empty(&self) -> bool {
        self.message.is_empty() && self.hop.is_empty()
    }

    /// The media type of the payload.
    pub fn content_type(self, media_type: impl Into<String>) -> Self {
        self.message_key(property::CONTENT_TYPE, &media_type.into())
    }

    /// Where an answer is expected.
    pub fn response_topic(self, topic: impl Into<String>) -> Self {
        self.message_key(property::RESPONSE_TOPIC, &topic.into())
    }

    /// What the answer shall repeat.
    pub fn correlation_data(self, data: impl Into<Bytes>) -> Self {
        self.message_key(property::CORRELATION_DATA, &data.into())
    }

    /// A key of the application's own, with text as its value.
    pub fn text(mut self, name: &str, value: &str) -> Self {
        self.message.put_text(name, |out| write_text(out, value));
        self
    }

    /// Any registered key of the message map.
    pub fn message_key<T: KeyValue>(mut self, key: Key<T>, value: &T) -> Self {
        self.message.set(key, value);
        self
    }

    /// Seconds, at least 1, after which the message is of no use.
    pub fn expiry_s(self, seconds: u32) -> Self {
        self.hop_key(property::MESSAGE_EXPIRY_INTERVAL, &u64::from(seconds.max(1)))
    }

    /// The least durability at which the server may acknowledge; it refuses if it cannot.
    pub fn minimum_durability(self, durability: Durability) -> Self {
        self.hop_key(property::MINIMUM_DURABILITY, &(durability as u64))
    }

    /// Asks which durability was reached: [`Receipt::durability`](crate::Receipt::durability).
    pub fn receipt(self) -> Self {
        self.hop_key(property::RECEIPT_REQUEST, &true)
    }

    /// At most 32 bytes that refusals and reports about this message repeat; more are cut off.
    pub fn tag(self, tag: impl AsRef<[u8]>) -> Self {
        let tag = tag.as_ref();
        self.hop_key(property::TAG, &Bytes::copy_from_slice(&tag[..tag.len().min(property::TAG_LEN_MAX)]))
    }

    /// Any registered key for the next server, or one of an experiment.
    pub fn hop_key<T: KeyValue>(mut self, key: Key<T>, value: &T) -> Self {
        self.hop.set(key, value);
        self
    }

    /// Sets a property by its registered name, or by that of a key of an experiment in `registry`, from text. A key of the application's own
    /// is [`Properties::text`].
    ///
    /// # Errors
    /// The name is registered nowhere, or may not be written here, or the value does not fit: the sentence says what is allowed.
    pub fn set(&mut self, name: &str, value: &str, registry: &Registry) -> Result<(), Misuse> {
        if let Some(row) = MESSAGE_KEYS.iter().find(|row| row.name == name) {
            return put(&mut self.message, row, value);
        }
        let experiments = registry.iter().flat_map(|extension| extension.keys());
        match PACKET_KEYS.iter().chain(experiments).find(|row| row.name == name) {
            Some(row) if is_settable(row) => put(&mut self.hop, row, value),
            Some(_) => {
                let allowed: Vec<_> = settable_names().collect();
                Err(Misuse::Property(format!("`{name}` is not for a client to write on a message; allowed: {}", allowed.join(", "))))
            }
            None => Err(Misuse::UnknownProperty(name.to_owned())),
        }
    }

    pub(crate) fn message_map(&self) -> Dictionary {
        self.message.finish()
    }

    pub(crate) fn hop_map(&self) -> Dictionary {
        self.hop.finish()
    }
}

/// The registered names that a client may set on a message.
pub fn settable_names() -> impl Iterator<Item = &'static str> {
    MESSAGE_KEYS.iter().chain(PACKET_KEYS.iter().filter(|row| is_settable(row))).map(|row| row.name)
}

fn is_settable(row: &KeyInfo) -> bool {
    row.packets.contains(Kind::Publish) && row.writer != Writer::Server && row.number != property::MESSAGE.number
}

fn put(map: &mut MapBuilder, row: &KeyInfo, text: &str) -> Result<(), Misuse> {
    let wrong = |allowed: &str| Misuse::Property(format!("`{}` takes {allowed}, not `{text}`", row.name));
    let durability = row.number == property::MINIMUM_DURABILITY.number && row.name == property::MINIMUM_DURABILITY.name;
    match row.value {
        ValueType::Unsigned if durability => {
            let durability: Durability = text.parse().map_err(|_| wrong("none, memory, disk or quorum"))?;
            map.set(property::MINIMUM_DURABILITY, &(durability as u64));
        }
        ValueType::Unsigned => {
            let number: u64 = text.parse().map_err(|_| wrong("a whole number"))?;
            row.range.check(Item::Unsigned(number)).map_err(|_| wrong(&row.range.to_string()))?;
            map.put(row.number, |out| number.write(out));
        }
        ValueType::Bool => {
            let value: bool = text.parse().map_err(|_| wrong("true or false"))?;
            map.put(row.number, |out| value.write(out));
        }
        ValueType::Text => {
            map.put(row.number, |out| write_text(out, text));
        }
        ValueType::Bytes => {
            row.range.check(Item::Bytes(text.as_bytes())).map_err(|_| wrong(&row.range.to_string()))?;
            map.put(row.number, |out| Bytes::copy_from_slice(text.as_bytes()).write(out));
        }
        ValueType::TextArray | ValueType::Map => return Err(wrong("a value that text cannot express")),
    }
    Ok(())
}

/// The properties of a message map or of a hop with their names, for people and programs that read text: unknown numbers
/// keep their number as a name.
pub(crate) fn named<'a>(map: &Dictionary, table: impl Iterator<Item = &'a KeyInfo> + Clone) -> Vec<(String, String)> {
    let name = |key: KeyRef<'_>| match key {
        KeyRef::Text(text) => text.to_owned(),
        KeyRef::Number(number) => {
            table.clone().find(|row| row.number == number).map_or_else(|| number.to_string(), |row| row.name.to_owned())
        }
    };
    map.entries().map(|(key, value)| (name(key), plain_text(value))).collect()
}

fn plain_text(value: Item<'_>) -> String {
    match value {
        Item::Text(text) => text.to_owned(),
        Item::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains(char::is_control) => text.to_owned(),
            _ => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        },
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pairs: &[(&str, &str)]) -> Result<Properties, String> {
        let mut properties = Properties::default();
        for (name, value) in pairs {
            properties.set(name, value, &Registry::default()).map_err(|misuse| misuse.to_string())?;
        }
        Ok(properties)
    }

    #[test]
    fn a_registered_name_becomes_its_key() {
        let by_name = set(&[
            ("content-type", "text/plain"),
            ("message-expiry-interval", "60"),
            ("minimum-durability", "disk"),
            ("receipt-request", "true"),
            ("tag", "t1"),
        ])
        .map(|properties| properties.text("unit", "C"));
        let by_call = Properties::default().content_type("text/plain").expiry_s(60).minimum_durability(Durability::Disk).receipt();
        assert_eq!(by_name, Ok(by_call.tag("t1").text("unit", "C")));
    }

    #[test]
    fn a_name_or_value_that_does_not_fit_is_answered_with_what_is_allowed() {
        let error = |name, value| set(&[(name, value)]).unwrap_err();
        let stamps = error("node", "n1");
        assert!(stamps.starts_with("`node` is not for a client to write") && stamps.contains("message-expiry-interval"), "{stamps}");
        assert!(!stamps.contains("received-at"), "{stamps}");
        assert_eq!(error("unit", "C"), "no property is called `unit`");
        assert_eq!(error("message-expiry-interval", "0"), "`message-expiry-interval` takes 1 to 4294967295, not `0`");
        assert_eq!(error("message-expiry-interval", "soon"), "`message-expiry-interval` takes a whole number, not `soon`");
        assert_eq!(error("receipt-request", "yes"), "`receipt-request` takes true or false, not `yes`");
        assert_eq!(error("minimum-durability", "2"), "`minimum-durability` takes none, memory, disk or quorum, not `2`");
        assert!(error("tag", &"x".repeat(33)).contains("at most 32 bytes"));
    }

    #[test]
    fn properties_are_read_back_by_name() {
        let properties = set(&[("content-type", "text/plain"), ("correlation-data", "c1")]).unwrap().text("unit", "C");
        let pairs = named(&properties.message_map(), MESSAGE_KEYS.iter());
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(pairs, [pair("content-type", "text/plain"), pair("correlation-data", "c1"), pair("unit", "C")]);
    }
}
