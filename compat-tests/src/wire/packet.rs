//! MQTT 3.1.1 packets as bytes, built and read without the protocol crate: a test that shares code with what it tests
//! cannot see that code's mistakes. The builders check nothing, so malformed packets are as easy as good ones.

use crate::ensure;
use crate::outcome::{Checked, Stop};
use crate::wire::hex;

pub const PINGREQ: [u8; 2] = [0xC0, 0];
pub const PINGRESP: [u8; 2] = [0xD0, 0];
pub const DISCONNECT: [u8; 2] = [0xE0, 0];

pub const PUBACK: u8 = 0x40;
pub const PUBREC: u8 = 0x50;
pub const PUBREL: u8 = 0x62;
pub const PUBCOMP: u8 = 0x70;

/// A whole packet: first byte, Remaining Length, body.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut remaining = body.len();
    loop {
        let low = (remaining & 0x7F) as u8;
        remaining >>= 7;
        out.push(if remaining > 0 { low | 0x80 } else { low });
        if remaining == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
    out
}

/// Two bytes of length and the bytes, which need not be UTF-8.
pub fn string(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    let mut out = (text.len() as u16).to_be_bytes().to_vec();
    out.extend_from_slice(text);
    out
}

/// A CONNECT, field by field.
#[derive(Debug, Clone)]
pub struct Connect {
    pub protocol_name: Vec<u8>,
    pub level: u8,
    /// Flags beside those that follow from the fields.
    pub flags: u8,
    pub keep_alive_s: u16,
    pub client_id: Vec<u8>,
    /// Topic and message; QoS and retain are in `flags`.
    pub will: Option<(Vec<u8>, Vec<u8>)>,
    pub user_name: Option<Vec<u8>>,
    pub password: Option<Vec<u8>>,
}

impl Connect {
    pub const CLEAN_SESSION: u8 = 0x02;
    pub const WILL: u8 = 0x04;
    pub const WILL_QOS_1: u8 = 0x08;
    pub const WILL_QOS_2: u8 = 0x10;
    pub const WILL_RETAIN: u8 = 0x20;
    pub const PASSWORD: u8 = 0x40;
    pub const USER_NAME: u8 = 0x80;

    /// A clean session with a keep alive of a minute (rumqttd takes none of 0).
    pub fn clean(client_id: impl AsRef<[u8]>) -> Self {
        Self {
            protocol_name: b"MQTT".to_vec(),
            level: 4,
            flags: Self::CLEAN_SESSION,
            keep_alive_s: 60,
            client_id: client_id.as_ref().to_vec(),
            will: None,
            user_name: None,
            password: None,
        }
    }

    /// A stored session; else as [`Connect::clean`].
    pub fn stored(client_id: impl AsRef<[u8]>) -> Self {
        Self { flags: 0, ..Self::clean(client_id) }
    }

    #[must_use]
    pub fn keep_alive_s(self, keep_alive_s: u16) -> Self {
        Self { keep_alive_s, ..self }
    }

    /// More flags; the will's QoS and retain, or wrong ones.
    #[must_use]
    pub fn flags(self, flags: u8) -> Self {
        Self { flags: self.flags | flags, ..self }
    }

    #[must_use]
    pub fn will(self, topic: impl AsRef<[u8]>, message: impl AsRef<[u8]>) -> Self {
        Self { will: Some((topic.as_ref().to_vec(), message.as_ref().to_vec())), ..self }
    }

    #[must_use]
    pub fn user_name(self, name: impl AsRef<[u8]>) -> Self {
        Self { user_name: Some(name.as_ref().to_vec()), ..self }
    }

    #[must_use]
    pub fn password(self, password: impl AsRef<[u8]>) -> Self {
        Self { password: Some(password.as_ref().to_vec()), ..self }
    }

    /// Everything behind the fixed header.
    pub fn body(&self) -> Vec<u8> {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let mut out = string(&self.protocol_name);
        out.push(self.level);
        let fields = flag(self.will.is_some(), Self::WILL)
            | flag(self.user_name.is_some(), Self::USER_NAME)
            | flag(self.password.is_some(), Self::PASSWORD);
        out.push(self.flags | fields);
        out.extend(self.keep_alive_s.to_be_bytes());
        out.extend(string(&self.client_id));
        if let Some((topic, message)) = &self.will {
            out.extend(string(topic));
            out.extend(string(message));
        }
        for field in [&self.user_name, &self.password].into_iter().flatten() {
            out.extend(string(field));
        }
        out
    }

    pub fn bytes(&self) -> Vec<u8> {
        packet(0x10, &self.body())
    }
}

/// A first sending of a PUBLISH; the identifier goes in where `qos` is above 0.
pub fn publish(topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>, qos: u8, id: u16) -> Vec<u8> {
    publish_with(qos << 1, topic, payload, (qos > 0).then_some(id))
}

pub fn publish_retained(topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>, qos: u8, id: u16) -> Vec<u8> {
    publish_with(qos << 1 | 1, topic, payload, (qos > 0).then_some(id))
}

/// A PUBLISH with any flags: DUP 0x08, QoS 0x06, RETAIN 0x01.
pub fn publish_with(flags: u8, topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>, id: Option<u16>) -> Vec<u8> {
    let mut body = string(topic);
    body.extend(id.iter().flat_map(|id| id.to_be_bytes()));
    body.extend_from_slice(payload.as_ref());
    packet(0x30 | flags, &body)
}

pub fn subscribe<T: AsRef<[u8]>>(id: u16, filters: &[(T, u8)]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    for (filter, qos) in filters {
        body.extend(string(filter));
        body.push(*qos);
    }
    packet(0x82, &body)
}

pub fn unsubscribe<T: AsRef<[u8]>>(id: u16, filters: &[T]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    filters.iter().for_each(|filter| body.extend(string(filter)));
    packet(0xA2, &body)
}

/// PUBACK, PUBREC, PUBREL, PUBCOMP or UNSUBACK.
pub fn ack(first: u8, id: u16) -> Vec<u8> {
    packet(first, &id.to_be_bytes())
}

pub fn connack(session_present: bool, code: u8) -> Vec<u8> {
    packet(0x20, &[u8::from(session_present), code])
}

pub fn suback(id: u16, codes: &[u8]) -> Vec<u8> {
    packet(0x90, &[&id.to_be_bytes(), codes].concat())
}

/// The body of a whole packet.
pub fn body(packet: &[u8]) -> &[u8] {
    let header = 1 + packet.iter().skip(1).take_while(|byte| **byte & 0x80 != 0).count() + 1;
    packet.get(header..).unwrap_or_default()
}

/// The packet identifier at the front of an acknowledgement, SUBSCRIBE, SUBACK, UNSUBSCRIBE or UNSUBACK.
///
/// # Errors
/// The packet is too short for one.
pub fn id_of(packet: &[u8]) -> Checked<u16> {
    match body(packet) {
        [high, low, ..] => Ok(u16::from_be_bytes([*high, *low])),
        _ => Err(Stop::failed(format!("{} has no packet identifier", hex::show(packet)))),
    }
}

/// The name of a packet's type.
pub fn name(packet: &[u8]) -> &'static str {
    let kind = packet.first().copied().and_then(candor_protocol::packet::Kind::of_first_byte);
    kind.map_or("type 0", candor_protocol::packet::Kind::name)
}

/// A PUBLISH as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub dup: bool,
    pub qos: u8,
    pub retain: bool,
    /// Above QoS 0.
    pub id: u16,
    pub topic: Vec<u8>,
    pub payload: Vec<u8>,
}

impl Delivery {
    /// # Errors
    /// The packet is not a PUBLISH, or a field ends behind its end.
    pub fn read(packet: &[u8]) -> Checked<Self> {
        let first = packet.first().copied().unwrap_or_default();
        ensure!(first >> 4 == 3, "expected PUBLISH, got {} {}", name(packet), hex::show(packet));
        let short = || Stop::failed(format!("a field of PUBLISH ends behind its end: {}", hex::show(packet)));
        let body = body(packet);
        let topic_len = usize::from(u16::from_be_bytes([*body.first().ok_or_else(short)?, *body.get(1).ok_or_else(short)?]));
        let topic = body.get(2..2 + topic_len).ok_or_else(short)?;
        let rest = &body[2 + topic_len..];
        let qos = first >> 1 & 3;
        let (id, payload) = match (qos, rest) {
            (0, payload) => (0, payload),
            (_, [high, low, payload @ ..]) => (u16::from_be_bytes([*high, *low]), payload),
            _ => return Err(short()),
        };
        Ok(Self { dup: first & 8 != 0, qos, retain: first & 1 != 0, id, topic: topic.to_vec(), payload: payload.to_vec() })
    }

    pub fn topic_text(&self) -> String {
        String::from_utf8_lossy(&self.topic).into_owned()
    }

    pub fn payload_text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builders_make_the_bytes_of_the_standard() {
        assert_eq!(Connect::clean("a").bytes(), hex::parse("10 0d 00 04 4d 51 54 54 04 02 00 3c 00 01 61").unwrap());
        assert_eq!(publish("a", "x", 1, 7), hex::parse("32 06 00 01 61 00 07 78").unwrap());
        assert_eq!(subscribe(1, &[("a", 2)]), hex::parse("82 06 00 01 00 01 61 02").unwrap());
        assert_eq!(packet(0x30, &[0; 321])[..3], [0x30, 0xC1, 0x02]);
        let with_all = Connect::stored("c").will("w", "m").user_name("u").password("p").flags(Connect::WILL_QOS_1);
        assert_eq!(
            with_all.bytes(),
            hex::parse("10 19 00 04 4d 51 54 54 04 cc 00 3c 00 01 63 00 01 77 00 01 6d 00 01 75 00 01 70").unwrap()
        );
    }

    #[test]
    fn a_delivery_is_read_as_it_was_built() {
        let seen = Delivery::read(&publish_with(0x0D, "t", "payload", Some(3))).unwrap();
        assert_eq!((seen.dup, seen.qos, seen.retain, seen.id), (true, 2, true, 3));
        assert_eq!((seen.topic_text().as_str(), seen.payload_text().as_str()), ("t", "payload"));
        assert!(Delivery::read(&PINGRESP).is_err());
        assert!(Delivery::read(&[0x32, 3, 0, 1, b'a']).is_err());
    }
}
