//! PUBLISH (section 3.3).

use super::id::{PacketId, Qos};
use super::message::Message;
use super::property::MESSAGE;
use crate::codec::dictionary::{Dictionary, MapBuilder, write_bytes};

/// One sending of a message over one hop.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Publish {
    pub dup: bool,
    pub qos: Qos,
    pub retain: bool,
    /// There exactly when the QoS is above 0 ([MQTT-2.3.1-1], [MQTT-2.3.1-5]).
    pub id: Option<PacketId>,
    pub message: Message,
    /// The whole dictionary of the packet, `message` included.
    pub dictionary: Dictionary,
}

impl Publish {
    /// A first sending with the keys of `hop` beside the message map.
    pub fn new(message: Message, qos: Qos, retain: bool, id: Option<PacketId>, hop: &Dictionary) -> Self {
        let dictionary = dictionary_of(&message, hop);
        Self { dup: false, qos, retain, id, message, dictionary }
    }
}

/// The dictionary of a PUBLISH: the keys of this hop, and the message map under `message`.
pub fn dictionary_of(message: &Message, hop: &Dictionary) -> Dictionary {
    if message.map().is_empty() && hop.get(MESSAGE.number).is_none() {
        return hop.clone();
    }
    let mut map = MapBuilder::new();
    map.merge(hop).remove(MESSAGE.number);
    if !message.map().is_empty() {
        map.put(MESSAGE.number, |out| write_bytes(out, message.map()));
    }
    map.finish()
}
