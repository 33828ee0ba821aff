//! Which packet carries which parts and which keys: decode, encode, the error for an illegal key and the draft's tables
//! all read it here.

use super::kind::Kind;
use super::problem::{Problem, Refusal, Retry};
use super::property::{ITEMS, KeyInfo, WILL, Writer, message_key, packet_key};
use super::reason::Reason;
use crate::codec::dictionary::{Dictionary, Item, KeyRef};

/// Where a packet's reason stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasonPart {
    None,
    /// One byte behind the variable header.
    Byte,
    /// The return code of CONNACK.
    ReturnCode,
    /// One byte a filter, in the payload.
    PerFilter,
}

/// The parts an extended packet has beyond 3.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    pub kind: Kind,
    pub reason: ReasonPart,
    /// Whether the packet may end before its dictionary's length (and, with both absent, before a reason of 0x00).
    pub may_end_early: bool,
}

const fn parts(kind: Kind, reason: ReasonPart, may_end_early: bool) -> Parts {
    Parts { kind, reason, may_end_early }
}

/// The parts of every packet, ascending by type. Every extended packet has a dictionary.
pub const PARTS: [Parts; 15] = [
    parts(Kind::Connect, ReasonPart::None, false),
    parts(Kind::ConnAck, ReasonPart::ReturnCode, false),
    parts(Kind::Publish, ReasonPart::None, false),
    parts(Kind::PubAck, ReasonPart::Byte, true),
    parts(Kind::PubRec, ReasonPart::Byte, true),
    parts(Kind::PubRel, ReasonPart::Byte, true),
    parts(Kind::PubComp, ReasonPart::Byte, true),
    parts(Kind::Subscribe, ReasonPart::None, false),
    parts(Kind::SubAck, ReasonPart::PerFilter, false),
    parts(Kind::Unsubscribe, ReasonPart::None, false),
    parts(Kind::UnsubAck, ReasonPart::PerFilter, false),
    parts(Kind::PingReq, ReasonPart::None, true),
    parts(Kind::PingResp, ReasonPart::None, true),
    parts(Kind::Disconnect, ReasonPart::Byte, true),
    parts(Kind::Notice, ReasonPart::Byte, false),
];

impl Kind {
    /// The parts of this packet in the extended dialect.
    pub const fn parts(self) -> Parts {
        PARTS[self as usize - 1]
    }
}

/// The sender of a packet, as its receiver knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    Client,
    Server,
}

impl Role {
    pub const fn other(self) -> Role {
        match self {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        }
    }

    const fn may_write(self, writer: Writer) -> bool {
        matches!((self, writer), (_, Writer::Both) | (Role::Client, Writer::Client) | (Role::Server, Writer::Server))
    }
}

/// Checks the keys of a packet that `sender` sent. `experiment` knows the keys of the experiments in force.
///
/// # Errors
/// The refusal for the first key that offends, which names it: not known and critical, not allowed in this packet or
/// from this sender, of the wrong type, or out of its range. Keys that are not known and not critical are passed over.
pub fn check_keys(kind: Kind, sender: Role, dictionary: &Dictionary, experiment: &dyn Fn(i64) -> Option<KeyInfo>) -> Result<(), Refusal> {
    for (key, value) in dictionary.entries() {
        let KeyRef::Number(number) = key else { continue };
        check_key(kind, sender, number, value, known(number, experiment))?;
        match number {
            n if n == ITEMS.number => check_items(kind, sender, value, experiment)?,
            // The will becomes a PUBLISH of the client, so its keys are judged as those of one.
            n if n == WILL.number => check_inner(Kind::Publish, sender, value, experiment, "of the will")?,
            _ => {}
        }
    }
    Ok(())
}

fn known(number: i64, experiment: &dyn Fn(i64) -> Option<KeyInfo>) -> Option<KeyInfo> {
    packet_key(number).copied().or_else(|| experiment(number))
}

/// Key `items` maps the index of a filter to a map of packet keys that concern that filter.
fn check_items(kind: Kind, sender: Role, items: Item<'_>, experiment: &dyn Fn(i64) -> Option<KeyInfo>) -> Result<(), Refusal> {
    for (index, item) in items.entries() {
        let is_index = matches!(index, KeyRef::Number(0..));
        if !is_index || !matches!(item, Item::Map(_)) || item.entries().any(|(key, _)| key == KeyRef::Number(ITEMS.number)) {
            let problem = Problem::titled("key items maps the index of a filter to a map of keys other than items");
            let problem = problem.field(format!("entry {index:?} of key {} ({})", ITEMS.number, ITEMS.name));
            return Err(Refusal::new(Reason::KEY_NOT_ALLOWED, problem.retry(Retry::Never)));
        }
        check_inner(kind, sender, item, experiment, &format!("of item {index:?}"))?;
    }
    Ok(())
}

/// Checks the packet keys of a map inside the dictionary; `place` says which in the refusal.
fn check_inner(kind: Kind, sender: Role, map: Item<'_>, experiment: &dyn Fn(i64) -> Option<KeyInfo>, place: &str) -> Result<(), Refusal> {
    for (key, value) in map.entries() {
        let KeyRef::Number(number) = key else { continue };
        check_key(kind, sender, number, value, known(number, experiment)).map_err(|mut refusal| {
            let field = &mut refusal.problem_mut().field;
            *field = field.take().map(|field| format!("{field} {place}"));
            refusal
        })?;
    }
    Ok(())
}

/// Checks a message map at its recipient: unknown critical keys bind it.
///
/// # Errors
/// As [`check_keys`].
pub fn check_message_keys(map: &Dictionary) -> Result<(), Refusal> {
    for (key, value) in map.entries() {
        let KeyRef::Number(number) = key else { continue };
        check_key(Kind::Publish, Role::Client, number, value, message_key(number).copied())?;
    }
    Ok(())
}

fn check_key(kind: Kind, sender: Role, number: i64, value: Item<'_>, known: Option<KeyInfo>) -> Result<(), Refusal> {
    let Some(info) = known else {
        if KeyRef::Number(number).is_critical() {
            let problem = Problem::titled("a critical key is not known").field(format!("key {number}"));
            return Err(Refusal::new(Reason::CRITICAL_KEY_UNKNOWN, problem.retry(Retry::Never)));
        }
        return Ok(());
    };
    let title = if !info.packets.contains(kind) {
        format!("{kind} may not carry this key")
    } else if !sender.may_write(info.writer) {
        format!("only the {} may write this key", info.writer.name())
    } else if !info.value.fits(value) {
        format!("the value is not of type {}", info.value.name())
    } else {
        let Err((bound, seen)) = info.range.check(value) else { return Ok(()) };
        let title = format!("the value is out of its range, {}", info.range);
        return Err(not_allowed(Problem::titled(title).limit(bound, seen), &info));
    };
    Err(not_allowed(Problem::titled(title), &info))
}

fn not_allowed(problem: Problem, key: &KeyInfo) -> Refusal {
    let problem = problem.field(format!("key {} ({})", key.number, key.name));
    Refusal::new(Reason::KEY_NOT_ALLOWED, problem.retry(Retry::Never))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::dictionary::MapBuilder;
    use crate::packet::property::{KeyValue, NODE, RECEIPT_REQUEST, SUBSCRIPTION_OPTIONS, TAG};

    #[test]
    fn a_key_is_judged_by_packet_sender_type_and_critical_bit() {
        let none = |_| None;
        let check = |kind, sender, map: &mut MapBuilder| {
            check_keys(kind, sender, &map.finish(), &none).map_err(|refusal| (refusal.reason, refusal.problem.field.clone().unwrap()))
        };
        let mut good = MapBuilder::new();
        good.set(RECEIPT_REQUEST, &true).put(1000, |out| out.push(0)).put(-1, |out| out.push(0)).put_text("mine", |out| out.push(0));
        assert_eq!(check(Kind::Publish, Role::Client, &mut good), Ok(()));
        assert_eq!(check(Kind::PingReq, Role::Client, &mut good), Err((Reason::KEY_NOT_ALLOWED, "key 10 (receipt-request)".into())));
        let mut stamp = MapBuilder::new();
        stamp.set(NODE, &"n1".to_owned());
        assert_eq!(check(Kind::Publish, Role::Server, &mut stamp), Ok(()));
        assert_eq!(check(Kind::Publish, Role::Client, &mut stamp), Err((Reason::KEY_NOT_ALLOWED, "key 34 (node)".into())));
        let mut wrong = MapBuilder::new();
        wrong.put(TAG.number, |out| out.push(0));
        assert_eq!(check(Kind::Publish, Role::Client, &mut wrong), Err((Reason::KEY_NOT_ALLOWED, "key 28 (tag)".into())));
        for number in [1001, -2] {
            let mut critical = MapBuilder::new();
            critical.put(number, |out| out.push(0));
            assert_eq!(check(Kind::Publish, Role::Client, &mut critical), Err((Reason::CRITICAL_KEY_UNKNOWN, format!("key {number}"))));
        }
    }

    #[test]
    fn the_keys_of_a_will_and_of_items_are_judged_where_they_stand() {
        let with = |number: i64| MapBuilder::new().put(number, |out| out.push(1)).finish();
        let items = |(index, item): (i64, Dictionary)| {
            let items = Dictionary::with(ITEMS, &MapBuilder::new().put(index, |out| item.write(out)).finish());
            check_keys(Kind::Subscribe, Role::Client, &items, &|_| None).map_err(|refusal| refusal.problem.field.clone().unwrap())
        };
        assert_eq!(items((0, with(SUBSCRIPTION_OPTIONS.number))), Ok(()));
        assert_eq!(items((1, with(1001))), Err("key 1001 of item 1".into()));
        assert_eq!(items((-1, with(SUBSCRIPTION_OPTIONS.number))), Err("entry -1 of key 2 (items)".into()));
        assert_eq!(items((0, with(ITEMS.number))), Err("entry 0 of key 2 (items)".into()));
        let number_as_item = Dictionary::with(ITEMS, &with(0));
        assert!(check_keys(Kind::Subscribe, Role::Client, &number_as_item, &|_| None).is_err());

        let will = |number| check_keys(Kind::Connect, Role::Client, &Dictionary::with(WILL, &with(number)), &|_| None);
        let field = |number| will(number).map_err(|refusal| refusal.problem.field.clone().unwrap());
        assert_eq!(field(14), Ok(()));
        assert_eq!(field(TAG.number), Err("key 28 (tag) of the will".into()));
        assert_eq!(field(1001), Err("key 1001 of the will".into()));
        assert_eq!(field(NODE.number), Err("key 34 (node) of the will".into()));
    }
}
