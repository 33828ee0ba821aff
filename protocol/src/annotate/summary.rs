//! One line for one packet: what it is, which exchange it belongs to, and what it says.

use super::offer::Offer;
use super::registry::{Below, Registry};
use super::text::{count, payload, quoted, quoted_or_hex};
use super::words::words;
use super::{Annotated, Annotation, Fault, packet_at};
use crate::codec::dictionary::{Dictionary, Item, Limits};
use crate::codec::frame::Frame;
use crate::dialect::offer::Accept;
use crate::dialect::terms::PACKET_SIZE_MAX;
use crate::dialect::{Dialect, read};
use crate::packet::Packet;
use crate::packet::ack::Ack;
use crate::packet::connect::{ConnAck, Connect};
use crate::packet::id::Qos;
use crate::packet::kind::Kind;
use crate::packet::legality::Role;
use crate::packet::property::KeyValue;
use crate::packet::publish::Publish;
use crate::packet::reason::Reason;
use crate::packet::subscribe::{RequestedFilter, SubAck, Subscribe, UnsubAck, Unsubscribe};
use bytes::Bytes;

/// The packet at the start of `bytes` in one line without control characters. A password is never shown.
///
/// ```
/// use candor_protocol::annotate::summary;
/// use candor_protocol::dialect::Dialect;
/// use candor_protocol::packet::legality::Role;
/// let puback = [&[0x40, 0x15, 0x00, 0x09, 0x87, 0x11, 0xA1, 0x04, 0xA1, 0x00, 0x6C][..], b"sensors only"].concat();
/// assert_eq!(summary(Dialect::Extended, Role::Server, &puback), r#"PUBACK id 9: not authorized (0x87), rule "sensors only""#);
/// assert_eq!(summary(Dialect::V311, Role::Server, &[0x40, 2, 0, 9]), "PUBACK id 9");
/// assert_eq!(summary(Dialect::V311, None, &[0x40, 2, 0, 0]), "PUBACK malformed at byte 2: the packet identifier is 0 [MQTT-2.3.1-1]");
/// ```
pub fn summary(dialect: Dialect, sender: impl Into<Option<Role>>, bytes: &[u8]) -> String {
    let sender = sender.into();
    summary_of(&packet_at(dialect, sender, bytes, 0), sender, bytes)
}

/// As [`summary`], of a packet that is annotated already; `bytes` are those of its range. Places are told as offsets in
/// the input that was annotated.
pub fn summary_of(annotated: &Annotated, sender: impl Into<Option<Role>>, bytes: &[u8]) -> String {
    let sender = sender.into();
    if let Some((fault, row)) = annotated.faults().find(|(fault, _)| !matches!(fault, Fault::Refused(_))) {
        return faulty(annotated, fault, row);
    }
    let mut whole = Bytes::copy_from_slice(bytes);
    let packet = match Frame::split(&mut whole, PACKET_SIZE_MAX) {
        Ok(Some(frame)) => read::raise(annotated.dialect, &frame, Limits::default()),
        Ok(None) => return "nothing".to_owned(),
        Err(error) => Err(error),
    };
    let said = match packet {
        Ok(packet) => said(annotated.dialect, sender, &packet),
        // The annotations find what the reader finds; this line says so rather than relying on it.
        Err(error) => format!("{} malformed: {error}", kind_name(annotated)),
    };
    match annotated.faults().next() {
        Some((_, row)) => format!("{said}; to be refused: {}", row.value),
        None => said,
    }
}

fn kind_name(annotated: &Annotated) -> &'static str {
    annotated.kind.map_or("packet", Kind::name)
}

fn faulty(annotated: &Annotated, fault: Fault, row: &Annotation) -> String {
    let kind = kind_name(annotated);
    match (fault, row.source) {
        (Fault::Incomplete { .. }, _) => format!("{kind} incomplete: {}", row.value),
        (_, Some(source)) => format!("{kind} {} at byte {}: {} {}", fault.name(), row.range.start, row.value, bracketed(&source.short())),
        (_, None) => format!("{kind} {} at byte {}: {}", fault.name(), row.range.start, row.value),
    }
}

fn bracketed(source: &str) -> String {
    if source.starts_with('[') { source.to_owned() } else { format!("[{source}]") }
}

fn said(dialect: Dialect, sender: Option<Role>, packet: &Packet) -> String {
    let kind = packet.kind();
    let (subject, mut parts) = match packet {
        Packet::Connect(packet) => connect(packet),
        Packet::ConnAck(packet) => connack(dialect, packet),
        Packet::Publish(packet) => publish(packet),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => acknowledgement(ack),
        Packet::Subscribe(packet) => subscribe(packet),
        Packet::SubAck(packet) => suback(dialect, packet),
        Packet::Unsubscribe(packet) => unsubscribe(dialect, packet),
        Packet::UnsubAck(packet) => unsuback(packet),
        Packet::PingReq(_) | Packet::PingResp(_) => (String::new(), Vec::new()),
        Packet::Disconnect(packet) => (String::new(), reason_unless_success(packet.reason, packet.dictionary.is_empty())),
        Packet::Notice(packet) => (String::new(), vec![packet.reason.to_string()]),
    };
    let registry = Registry::Packet { kind, sender, message_map: true, in_items: false };
    parts.extend(entries(registry, packet.dictionary()));
    let separator = if parts.is_empty() { "" } else { ": " };
    format!("{kind}{subject}{separator}{}", parts.join(", "))
}

/// What stands between the packet's name and the colon, and the parts behind it.
type Said = (String, Vec<String>);

fn connect(packet: &Connect) -> Said {
    let mut parts = vec![packet.dialect.to_string()];
    parts.push(if packet.clean_session { "clean session" } else { "stored session" }.to_owned());
    parts.push(if packet.keep_alive_s == 0 { "no keep alive".to_owned() } else { format!("keep alive {} s", packet.keep_alive_s) });
    if let Some(will) = &packet.will {
        parts.push(format!("will {} {}{}", quoted_or_hex(will.message.topic()), will.qos, if will.retain { " retained" } else { "" }));
    }
    if let Some(user_name) = &packet.user_name {
        parts.push(format!("user {}", quoted(user_name)));
    }
    if packet.password.is_some() {
        parts.push("a password".to_owned());
    }
    (format!(" {}", quoted(&packet.client_id)), parts)
}

fn connack(dialect: Dialect, packet: &ConnAck) -> Said {
    let mut parts = vec![match (dialect.is_extended(), packet.reason) {
        (true, reason) => reason.to_string(),
        (false, Reason::SUCCESS) => "accepted".to_owned(),
        // The number would be that of the reason; what travelled is the return code.
        (false, reason) => match reason.info().and_then(|row| row.connack_v311) {
            Some(code) => format!("{} (return code {code})", reason.name()),
            None => reason.name().to_owned(),
        },
    }];
    if packet.session_present {
        parts.push("session present".to_owned());
    }
    (String::new(), parts)
}

fn publish(packet: &Publish) -> Said {
    let id = packet.id.map(|id| format!(" id {id}")).unwrap_or_default();
    let subject = format!("{id} {}", quoted_or_hex(packet.message.topic()));
    let mut parts = vec![packet.qos.to_string()];
    if packet.dup {
        parts.push("sent again".to_owned());
    }
    if packet.retain {
        parts.push("retained".to_owned());
    }
    parts.push(payload(packet.message.payload()));
    (subject, parts)
}

fn acknowledgement(packet: &Ack) -> Said {
    (format!(" id {}", packet.id), reason_unless_success(packet.reason, packet.dictionary.is_empty()))
}

fn reason_unless_success(reason: Reason, bare: bool) -> Vec<String> {
    if reason == Reason::SUCCESS && bare { Vec::new() } else { vec![reason.to_string()] }
}

/// At most 16 filters or reasons; a line does not grow with the packet.
fn listed(all: impl ExactSizeIterator<Item = String>) -> Vec<String> {
    const LISTED_MAX: usize = 16;
    let len = all.len();
    let more = (len > LISTED_MAX).then(|| format!("and {} more", len - LISTED_MAX));
    all.take(LISTED_MAX).chain(more).collect()
}

fn filter_text(filter: &RequestedFilter) -> String {
    match filter {
        Ok(filter) => quoted(filter.as_str()),
        Err((text, _)) => quoted(text),
    }
}

fn subscribe(packet: &Subscribe) -> Said {
    let filters = packet.items.iter().map(|item| format!("{} {}", filter_text(&item.filter), item.qos));
    (format!(" id {}", packet.id), listed(filters))
}

fn suback(dialect: Dialect, packet: &SubAck) -> Said {
    let said = |reason: &Reason| match Qos::new(reason.0) {
        Some(qos) => format!("granted {qos}"),
        None if dialect.is_extended() => reason.to_string(),
        None => format!("failure (0x{:02X})", reason.0),
    };
    (format!(" id {}", packet.id), listed(packet.reasons.iter().map(said)))
}

fn unsubscribe(dialect: Dialect, packet: &Unsubscribe) -> Said {
    if let ([Ok(filter)], false) = (packet.filters.as_slice(), dialect.is_extended())
        && let Some(offer) = Offer::of_filter(packet.id.value(), filter.as_str())
    {
        let parts = std::iter::once("an offer of the extended dialect".to_owned()).chain(offer.said());
        return (format!(" id {}", packet.id), parts.collect());
    }
    (format!(" id {}", packet.id), listed(packet.filters.iter().map(filter_text)))
}

fn unsuback(packet: &UnsubAck) -> Said {
    let mut parts = listed(packet.reasons.iter().map(Reason::to_string));
    if let Some(accept) = Accept::read(&packet.accept, Limits::default()) {
        parts.push("accept of an offer".to_owned());
        parts.extend(accept.session_present.then(|| "session present".to_owned()));
        let registry = Registry::Packet { kind: Kind::ConnAck, sender: Some(Role::Server), message_map: false, in_items: false };
        parts.extend(entries(registry, &accept.dictionary));
    } else if !packet.accept.is_empty() {
        parts.push(format!("{} that 3.1.1 does not have", count(packet.accept.len(), "byte")));
    }
    (format!(" id {}", packet.id), parts)
}

/// The entries of a map as `name value`; what a problem or the message map holds stands beside the other keys.
pub(super) fn entries(registry: Registry, map: &Dictionary) -> Vec<String> {
    let mut said = Vec::new();
    for (key, value) in map.entries() {
        let row = registry.row(key);
        let name = match &*row.name {
            // What no table names is told apart by its key.
            "key" | "unknown key" | "unknown clause" | "experiment key" | "application key" => format!("{} {}", row.name, row.entry.key),
            name => name.to_owned(),
        };
        let below = match (row.below, value) {
            (Below::MessageMap, Item::Bytes(raw)) => {
                let map = Dictionary::parse(Bytes::copy_from_slice(raw), Limits::default()).unwrap_or_default();
                said.extend(entries(Registry::Message, &map));
                continue;
            }
            (Below::Keys(Registry::Problem), Item::Map(_)) => {
                said.extend(entries(Registry::Problem, &Dictionary::read(value).unwrap_or_default()));
                continue;
            }
            (Below::Keys(registry), Item::Map(_)) => entries(registry, &Dictionary::read(value).unwrap_or_default()),
            (_, Item::Array(_)) => {
                let elements: Vec<_> = value.elements().map(|element| words("", element)).collect();
                said.push(format!("{name} [{}]", elements.join(", ")));
                continue;
            }
            _ => {
                said.push(format!("{name} {}", words(&row.name, value)));
                continue;
            }
        };
        said.push(format!("{name} {{{}}}", below.join(", ")));
    }
    said
}
