//! By which table the keys of a map are read: what they are called, what they mean, what their values hold, and who may
//! write them where.

use super::source::{Section, Source};
use super::text::quoted;
use super::{Entry, walk};
use crate::codec::dictionary::{Dictionary, KeyRef, Limits};
use crate::packet::kind::Kind;
use crate::packet::legality::{Role, check_keys, check_message_keys};
use crate::packet::problem::PROBLEM_KEYS;
use crate::packet::profile::{PROFILE_CLAUSES, Requirement};
use crate::packet::property::{self, ITEMS, KeyInfo, Range, Writer};
use crate::packet::reason::Reason;
use crate::packet::subscribe::items_of;
use crate::session::held::HELD_KEYS;
use bytes::Bytes;
use std::borrow::Cow;

/// The table that the keys of a map are looked up in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Registry {
    /// `packet::property::PACKET_KEYS`, as a packet of this type may carry them.
    Packet {
        kind: Kind,
        /// Without one, a key is allowed that either end may write.
        sender: Option<Role>,
        /// Whether the receiver reads `message` (in CONNECT, that of the will) as a map; else it is a byte string.
        message_map: bool,
        /// Whether the map concerns one topic filter.
        in_items: bool,
    },
    /// From the index of a topic filter to the packet keys that concern it.
    Items { kind: Kind, sender: Option<Role> },
    /// `packet::property::MESSAGE_KEYS`.
    Message,
    /// `packet::problem::PROBLEM_KEYS`.
    Problem,
    /// `packet::profile::PROFILE_CLAUSES`, as a server declares them.
    Profile,
    /// The same, as a client requires them.
    Require,
    /// `session::held::HELD_KEYS`.
    Held,
    /// None: the map belongs to an application, an experiment, or a key that is not known.
    Free,
}

/// What stands in the value of a key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Below {
    /// Maps in it are read by this table.
    Keys(Registry),
    /// The byte string is a message map.
    MessageMap,
}

/// What a table says of a key.
pub(super) struct Row {
    pub(super) name: Cow<'static, str>,
    pub(super) meaning: Cow<'static, str>,
    pub(super) entry: Entry,
    pub(super) source: Source,
    pub(super) below: Below,
}

impl Registry {
    pub(super) fn row(self, key: KeyRef<'_>) -> Row {
        let KeyRef::Number(number) = key else { return application_key(key) };
        match self {
            Registry::Packet { .. } => {
                property::packet_key(number).map_or_else(|| unknown_key(number), |info| self.known(info, Section::PacketKeys))
            }
            Registry::Message => {
                property::message_key(number).map_or_else(|| unknown_key(number), |info| self.known(info, Section::MessageKeys))
            }
            Registry::Items { kind, sender } => Row {
                name: format!("filter {number}").into(),
                meaning: "".into(),
                entry: entry(number, None),
                source: Source::Draft(Section::PacketKeys),
                below: Below::Keys(Registry::Packet { kind, sender, message_map: false, in_items: true }),
            },
            Registry::Problem => match PROBLEM_KEYS.iter().find(|row| row.number == number) {
                Some(row) => {
                    let mut known = simple_row(number, row.name, row.meaning, Section::Problem);
                    if number < 0 {
                        known.source = Source::Rfc(9290, "2");
                    }
                    known
                }
                None => simple_row(number, "unknown key", "No table has it; a reader of problems passes over it.", Section::Problem),
            },
            Registry::Profile | Registry::Require => match PROFILE_CLAUSES.iter().find(|row| row.number == number) {
                Some(row) => simple_row(number, row.name, row.meaning, Section::Profile),
                None => simple_row(number, "unknown clause", "No table has it.", Section::Profile),
            },
            Registry::Held => match HELD_KEYS.iter().find(|row| row.number == number) {
                Some(row) => simple_row(number, row.name, row.meaning, Section::Sessions),
                None => simple_row(number, "unknown key", "No table has it; a reader passes over it.", Section::Sessions),
            },
            Registry::Free => simple_row(number, "key", "", Section::Dictionary),
        }
    }

    fn known(self, info: &KeyInfo, section: Section) -> Row {
        let mut known = entry(info.number, Some(info.is_critical()));
        known.value_type = info.value.name();
        Row {
            name: info.name.into(),
            meaning: info.meaning.into(),
            entry: known,
            source: Source::Draft(section),
            below: self.below(info.number),
        }
    }

    /// What stands in the value of a registered packet key.
    fn below(self, number: i64) -> Below {
        let Registry::Packet { kind, sender, message_map, in_items } = self else { return Below::Keys(Registry::Free) };
        Below::Keys(match number {
            n if n == property::MESSAGE.number && kind == Kind::Publish && message_map => return Below::MessageMap,
            n if n == ITEMS.number && !in_items => Registry::Items { kind, sender },
            n if n == property::WILL.number => Registry::Packet {
                kind: Kind::Publish,
                sender: Some(Role::Client),
                message_map: kind == Kind::Connect && message_map,
                in_items,
            },
            n if n == property::PROBLEM.number => Registry::Problem,
            n if n == property::PROFILE.number => Registry::Profile,
            n if n == property::REQUIRE.number => Registry::Require,
            n if n == property::HELD.number => Registry::Held,
            _ => Registry::Free,
        })
    }

    /// Why the receiver refuses an entry of a well-formed dictionary: the reason, what is wrong, what was expected, and
    /// where that is written. `value` is one encoded item; a map may stand for any other.
    pub(super) fn refusal(self, key: &[u8], value: &[u8]) -> Option<(Reason, String, Cow<'static, str>, Source)> {
        let single = single_entry(key, value)?;
        let number = single.entries().find_map(|(key, _)| if let KeyRef::Number(number) = key { Some(number) } else { None });
        let (refusal, info, section) = match self {
            Registry::Packet { kind, sender, .. } | Registry::Items { kind, sender } => {
                let in_place = self.in_items_key(number, &single);
                let judged = |sender| check_keys(kind, sender, in_place.as_ref().unwrap_or(&single), &|_| None).err();
                let refusal = match sender {
                    Some(sender) => judged(sender),
                    None => judged(Role::Client).and_then(|refusal| judged(Role::Server).map(|_| refusal)),
                };
                (refusal?, number.and_then(property::packet_key), Section::PacketKeys)
            }
            Registry::Message => (check_message_keys(&single).err()?, number.and_then(property::message_key), Section::MessageKeys),
            Registry::Require => {
                let clause = Requirement::of_dictionary(&single).err()?;
                let what = format!("the clause {clause} cannot be required in this form");
                return Some((
                    Reason::PROFILE_NOT_AVAILABLE,
                    what,
                    "a clause that is known, with a value of its type".into(),
                    Source::Draft(Section::Profile),
                ));
            }
            _ => return None,
        };
        let what = refusal.problem.title.clone().unwrap_or_else(|| refusal.reason.to_string());
        let expected = match info {
            _ if matches!(self, Registry::Items { .. }) => "the index of a filter, 0 or more, and a map".into(),
            Some(info) => allowed(info).into(),
            None => "a key that the receiver knows, or an even one".into(),
        };
        Some((refusal.reason, what, expected, Source::Draft(section)))
    }

    /// The entry as part of the packet's `items`, where it is judged by its place there: an entry of the map itself, and
    /// `items` within one. A packet that may not carry `items` at all is refused for that alone.
    fn in_items_key(self, number: Option<i64>, single: &Dictionary) -> Option<Dictionary> {
        match self {
            Registry::Items { kind, .. } if property::packet_key(ITEMS.number)?.packets.contains(kind) => {
                Some(Dictionary::with(ITEMS, single))
            }
            Registry::Items { .. } => Some(Dictionary::default()),
            Registry::Packet { in_items: true, .. } if number == Some(ITEMS.number) => {
                Some(Dictionary::with(ITEMS, &items_of([single.clone()])))
            }
            _ => None,
        }
    }
}

/// A key's type, range, packets and writer in words.
fn allowed(info: &KeyInfo) -> String {
    let packets: Vec<_> = info.packets.iter().map(Kind::name).collect();
    let writer = match info.writer {
        Writer::Both => "",
        Writer::Client => walk::end_name(Role::Client),
        Writer::Server => walk::end_name(Role::Server),
    };
    let from = if writer.is_empty() { String::new() } else { format!(" from the {writer}") };
    let range = if info.range == Range::Any { String::new() } else { format!(", {},", info.range) };
    format!("{}{range} in {}{from}", info.value.name(), packets.join(", "))
}

/// A dictionary with one entry. A map is judged as a value and not for what it holds, so an empty one stands for it.
fn single_entry(key: &[u8], value: &[u8]) -> Option<Dictionary> {
    let value = if value.first()? >> 5 == 5 { &[0xA0] } else { value };
    let bytes = [&[0xA1], key, value].concat();
    Dictionary::parse(Bytes::from(bytes), Limits { len_max: u32::MAX, depth_max: u8::MAX }).ok()
}

fn entry(number: i64, critical: Option<bool>) -> Entry {
    Entry { key: number.to_string(), critical, value_type: "" }
}

fn simple_row(number: i64, name: &'static str, meaning: &'static str, section: Section) -> Row {
    Row {
        name: name.into(),
        meaning: meaning.into(),
        entry: entry(number, None),
        source: Source::Draft(section),
        below: Below::Keys(Registry::Free),
    }
}

fn application_key(key: KeyRef<'_>) -> Row {
    let name = if let KeyRef::Text(text) = key { quoted(text) } else { String::new() };
    Row {
        name: "application key".into(),
        meaning: "Text keys belong to applications.".into(),
        entry: Entry { key: name, critical: Some(false), value_type: "" },
        source: Source::Draft(Section::Dictionary),
        below: Below::Keys(Registry::Free),
    }
}

/// A key of the draft that this version does not know, or of an experiment.
fn unknown_key(number: i64) -> Row {
    let critical = KeyRef::Number(number).is_critical();
    let name = if number < 0 { "experiment key" } else { "unknown key" };
    let meaning = match (number < 0, critical) {
        (false, false) => "No table has it. It is even: a receiver that does not know it passes over it.",
        (false, true) => "No table has it. It is odd: a receiver that does not know it refuses the packet.",
        (true, false) => "A receiver without the experiment passes over it.",
        (true, true) => "A receiver without the experiment refuses the packet.",
    };
    Row {
        name: name.into(),
        meaning: meaning.into(),
        entry: entry(number, Some(critical)),
        source: Source::Draft(Section::Dictionary),
        below: Below::Keys(Registry::Free),
    }
}
