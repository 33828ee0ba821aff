//! The doors, which of them is taken, and what is said there.

use crate::memory::Recollection;
use crate::options::{Options, Policy};
use crate::transport::TransportFacts;
use bytes::Bytes;
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::dialect::Dialect;
use candor_protocol::dialect::terms::PACKET_SIZE_MAX;
use candor_protocol::packet::connect::{Connect, Will};
use candor_protocol::packet::property;
use candor_protocol::session::{ClientSettings, OfferSettings};
use std::fmt;

/// How a client asks for its dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Door {
    /// The extended CONNECT.
    Extended,
    /// A plain CONNECT with an offer behind it.
    Offer,
    /// A plain CONNECT, in this dialect.
    Plain(Dialect),
}

impl Door {
    /// The dialect that CONNECT is in.
    pub(crate) const fn dialect(self) -> Dialect {
        match self {
            Door::Extended => Dialect::Extended,
            Door::Offer => Dialect::V311,
            Door::Plain(dialect) => dialect,
        }
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Door::Extended => f.write_str("extended CONNECT"),
            Door::Offer => f.write_str("offer"),
            Door::Plain(dialect) => write!(f, "plain CONNECT ({dialect})"),
        }
    }
}

/// The door for a connection whose handshakes ended in `facts`.
pub(crate) fn choose(options: &Options, facts: &TransportFacts, known: &Recollection, now_s: u64) -> Door {
    match options.policy {
        Policy::Plain => Door::Plain(Dialect::V311),
        Policy::Plain31 => Door::Plain(Dialect::V31),
        Policy::Require => Door::Extended,
        Policy::Prefer if options.needs_extension() || facts.selected_extension() => Door::Extended,
        Policy::Prefer if facts.is_verified() && known.binds(now_s) => Door::Extended,
        Policy::Prefer if known.forbids_offer(now_s) => Door::Plain(Dialect::V311),
        Policy::Prefer => Door::Offer,
    }
}

/// What a client says at a door.
pub(crate) fn settings(options: &Options, door: Door, clean_start: bool, incarnation: &Bytes, until_ms: u64) -> ClientSettings {
    // In MQTT 3.1.1 the flag also decides whether the session ends with the connection; in the extended dialect its expiry does.
    let clean_session = clean_start || (door != Door::Extended && options.session_expiry_s == 0);
    let will = options.will.as_ref().map(|will| Will {
        message: will.message(),
        qos: will.qos,
        retain: will.retain,
        dictionary: will.properties.hop_map(),
    });
    let mut wishes = wishes(options);
    // So that a server that has lost it can say so. One that was to end with its connection is not asked for.
    if !clean_start && options.session_expiry_s != 0 && !incarnation.is_empty() {
        wishes.set(property::SESSION_INCARNATION, incarnation);
    }
    let dictionary = match door {
        Door::Extended if options.requirement.is_empty() => wishes.finish(),
        Door::Extended => wishes.clone().set(property::REQUIRE, &options.requirement.to_dictionary()).finish(),
        // A plain CONNECT has no place for it.
        Door::Offer | Door::Plain(_) => Dictionary::EMPTY,
    };
    let mut settings = ClientSettings::new(Connect {
        dialect: door.dialect(),
        clean_session,
        keep_alive_s: options.keep_alive_s,
        client_id: options.client_id.clone(),
        will,
        user_name: options.user_name.clone(),
        password: options.password.clone(),
        dictionary,
    });
    // An offer carries neither credentials nor requirements: it must be possible to say no to it without harm.
    settings.offer = (door == Door::Offer).then(|| OfferSettings { nonce: crate::random::bytes(), dictionary: wishes.finish() });
    settings.receive_window = options.receive_maximum;
    settings.packet_size_max = options.packet_size_max;
    settings.connect_timeout_ms = until_ms;
    settings.registry = options.registry.clone();
    settings
}

fn wishes(options: &Options) -> MapBuilder {
    let mut map = MapBuilder::new();
    if options.session_expiry_s != 0 {
        map.set(property::SESSION_EXPIRY_INTERVAL, &u64::from(options.session_expiry_s));
    }
    if options.receive_maximum != u16::MAX {
        map.set(property::RECEIVE_MAXIMUM, &u64::from(options.receive_maximum));
    }
    if options.packet_size_max < PACKET_SIZE_MAX {
        map.set(property::MAXIMUM_PACKET_SIZE, &u64::from(options.packet_size_max));
    }
    let names = options.registry.names();
    if !names.is_empty() {
        map.set(property::EXTENSIONS, &names);
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::TlsFacts;
    use candor_protocol::packet::Requirement;

    fn facts(selected: Option<&str>, verified: bool) -> TransportFacts {
        let tls = verified.then(|| TlsFacts { version: "1.3", cipher_suite: String::new(), alpn: None, resumed: false, verified });
        TransportFacts { tls, selected: selected.map(str::to_owned) }
    }

    #[test]
    fn the_door_follows_from_what_is_known() {
        let options = || Options::new("mqtt://localhost").unwrap();
        let spoke = Recollection { spoke_until_s: 100, verified: true, no_offer_until_s: 0 };
        let harmed = Recollection { no_offer_until_s: 100, ..Recollection::default() };
        let nothing = Recollection::default();
        let extended = candor_protocol::dialect::ALPN;
        let requirement = Requirement { qos_max: Some(2), ..Requirement::default() };
        let cases = [
            (options(), facts(None, false), nothing, Door::Offer),
            (options(), facts(Some("mqtt"), true), nothing, Door::Offer),
            (options(), facts(Some(extended), false), nothing, Door::Extended),
            (options(), facts(None, true), spoke, Door::Extended),
            // What was said over a transport that proves nothing binds nobody, now or then.
            (options(), facts(None, false), spoke, Door::Offer),
            (options(), facts(None, true), Recollection { verified: false, ..spoke }, Door::Offer),
            (options(), facts(None, false), harmed, Door::Plain(Dialect::V311)),
            (options(), facts(Some(extended), false), harmed, Door::Extended),
            (options().require(requirement), facts(None, false), harmed, Door::Extended),
            (options().policy(Policy::Require), facts(None, false), harmed, Door::Extended),
            (options().policy(Policy::Plain), facts(Some(extended), true), spoke, Door::Plain(Dialect::V311)),
            (options().policy(Policy::Plain31), facts(None, true), spoke, Door::Plain(Dialect::V31)),
        ];
        for (at, (options, facts, known, expected)) in cases.into_iter().enumerate() {
            assert_eq!(choose(&options, &facts, &known, 99), expected, "case {at}");
        }
        assert_eq!(choose(&options(), &facts(None, true), &spoke, 100), Door::Offer, "its time has passed");
        assert_eq!(choose(&options(), &facts(None, false), &harmed, 100), Door::Offer, "its time has passed");
    }

    #[test]
    fn an_offer_carries_wishes_and_neither_credentials_nor_requirements() {
        let requirement = Requirement { qos_max: Some(2), ..Requirement::default() };
        let options = Options::new("mqtt://me:secret@localhost").unwrap().require(requirement).session_expiry_s(60).receive_maximum(7);
        let offer = settings(&options, Door::Offer, true, &Bytes::new(), 1000);
        assert!(offer.connect.dictionary.is_empty());
        let offered = offer.offer.unwrap().dictionary;
        let extended = settings(&options, Door::Extended, true, &Bytes::new(), 1000).connect.dictionary;
        for dictionary in [&offered, &extended] {
            assert_eq!(dictionary.value(property::RECEIVE_MAXIMUM), Some(7));
            assert_eq!(dictionary.value(property::SESSION_EXPIRY_INTERVAL), Some(60));
        }
        assert_eq!(offered.value(property::REQUIRE), None);
        assert!(extended.value(property::REQUIRE).is_some());
        assert!(!offered.as_bytes().windows(6).any(|bytes| bytes == b"secret"));
    }

    #[test]
    fn the_life_of_the_session_is_named_where_it_is_asked_for() {
        let life = Bytes::from_static(b"12345678");
        let said = |door, clean_start, expiry_s| {
            let options = Options::new("mqtt://localhost").unwrap().session_expiry_s(expiry_s);
            let settings = settings(&options, door, clean_start, &life, 1000);
            settings.offer.map_or(settings.connect.dictionary, |offer| offer.dictionary).value(property::SESSION_INCARNATION)
        };
        for door in [Door::Extended, Door::Offer] {
            assert_eq!(said(door, false, 60), Some(life.clone()));
            assert_eq!(said(door, true, 60), None, "what is to be wiped is not asked for");
            assert_eq!(said(door, false, 0), None, "it has ended with its connection");
        }
        assert_eq!(said(Door::Plain(Dialect::V311), false, 60), None);
    }
}
