//! Nothing is without a vector: causes, reasons, keys and packets are counted against the sources and tables they come from.

use crate::case::{Case, Failure, cases, files};
use crate::replay::for_every_case;
use crate::view;
use candor_protocol::codec::error::Malformed;
use candor_protocol::dialect::Dialect;
use candor_protocol::packet::legality::{ReasonPart, Role};
use candor_protocol::packet::property::{MESSAGE_KEYS, PACKET_KEYS, Writer};
use candor_protocol::packet::reason::REASONS;
use candor_protocol::packet::{Kind, Packet};
use std::collections::BTreeSet;

/// The variants of an enum, read from its source, so that a new one cannot be forgotten here.
fn variants(source: &str, name: &str) -> Vec<String> {
    let start = source.find(&format!("pub enum {name} {{")).expect(name);
    let body = &source[start..start + source[start..].find("\n}").expect(name)];
    let names = body.lines().skip(1).filter_map(|line| {
        let line = line.strip_prefix("    ")?;
        let end = line.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(line.len());
        line.starts_with(|c: char| c.is_ascii_uppercase()).then(|| line[..end].to_owned())
    });
    names.collect()
}

/// Every cause, under the names that vectors use.
fn causes() -> Vec<String> {
    let malformed = variants(include_str!("../../src/codec/error.rs"), "Malformed");
    let bad = variants(include_str!("../../src/codec/dictionary/check.rs"), "BadDictionary");
    let topic = variants(include_str!("../../src/packet/topic.rs"), "InvalidTopic");
    let mut causes: Vec<_> = malformed.into_iter().filter(|name| name != "Topic" && name != "Dictionary").collect();
    causes.extend(bad.iter().map(|name| format!("Dictionary.{name}")));
    causes.extend(topic.iter().map(|name| format!("Topic.{name}")));
    causes.push("UnsupportedLevel".to_owned());
    causes
}

/// Whether a packet can fail with this cause in this dialect; else why not.
fn possible(cause: &str, dialect: Dialect) -> Result<(), &'static str> {
    let extended = dialect.is_extended();
    match cause {
        "Topic.TooLong" => Err("a length of two bytes cannot express it"),
        "Topic.Nul" | "Topic.NotUtf8" => Err("reported as Nul and NotUtf8, as in any text"),
        "Topic.BadShare" => Err("refused in SUBACK, not malformed: 3.1.1 knows no shared subscriptions"),
        "Topic.MisplacedHash" | "Topic.MisplacedPlus" if extended => Err("refused in SUBACK, not malformed"),
        "ReturnCode" if extended => Err("CONNACK and SUBACK hold reasons"),
        "ReasonNotAllowed" if !extended => Err("there are no reasons"),
        _ if cause.starts_with("Dictionary.") && !extended => Err("there are no dictionaries"),
        "ConnAckFlags" if dialect == Dialect::V31 => Err("the byte is reserved and not used"),
        "ProtocolName" if dialect != Dialect::V311 => Err("an unknown name has no dialect; its vectors stand under 3.1.1"),
        "TooManyFilters" => Err("it would be a vector of 260 KiB"),
        "RemainingLength" | "TooLarge" => Err("framing is the same in every dialect; its vectors are streams"),
        _ => Ok(()),
    }
}

#[test]
fn every_cause_has_a_vector_in_every_dialect_where_it_can_occur() {
    let causes = causes();
    assert!(causes.len() > 40 && causes.iter().any(|cause| cause == "Dictionary.Tag"), "{causes:?}");
    let cases = cases();
    let seen: BTreeSet<_> = cases.iter().filter_map(|(_, case)| Some((case.must_fail.as_deref()?, case.dialect))).collect();
    for (cause, dialect) in &seen {
        assert!(causes.iter().any(|known| known == cause), "{cause} is no cause");
        assert_eq!(possible(cause, *dialect), Ok(()), "{cause} in {dialect}");
    }
    let possible_pairs = causes.iter().flat_map(|cause| Dialect::ALL.map(|dialect| (cause.as_str(), dialect)));
    let missing: Vec<_> =
        possible_pairs.filter(|(cause, dialect)| possible(cause, *dialect).is_ok() && !seen.contains(&(*cause, *dialect))).collect();
    assert!(missing.is_empty(), "no vector for {missing:?}");
    let streams: Vec<_> = files().into_iter().flat_map(|file| file.streams).filter_map(|stream| stream.must_fail).collect();
    for cause in ["PacketType", "RemainingLength", "TooLarge"] {
        assert!(streams.iter().any(|seen| seen == cause), "no stream for {cause}");
    }
}

/// The statements of 3.1.1 that a failure can stand for: its own, and others of the same rule about other fields.
fn statements_of(error: Malformed) -> Vec<&'static str> {
    let mut statements = vec![error.statement()];
    statements.extend(match error {
        Malformed::Flags => &["MQTT-2.2.2-1", "MQTT-3.6.1-1", "MQTT-3.8.1-1", "MQTT-3.10.1-1", "MQTT-3.14.1-1"][..],
        Malformed::NoTopicFilter => &["MQTT-3.10.3-2"],
        Malformed::WillFlags => &["MQTT-3.1.2-11", "MQTT-3.1.2-14", "MQTT-3.1.2-15"],
        Malformed::NotUtf8 => &["MQTT-3.1.3-4", "MQTT-3.1.3-10", "MQTT-3.1.3-11", "MQTT-3.3.2-1", "MQTT-3.8.3-1", "MQTT-3.10.3-1"],
        Malformed::Nul => &["MQTT-4.7.3-2"],
        Malformed::Topic(_) => &["MQTT-3.3.2-2"],
        Malformed::TrailingBytes => &["MQTT-3.1.2-11", "MQTT-3.1.2-18", "MQTT-3.1.2-20"],
        Malformed::Truncated => {
            &["MQTT-2.3.1-1", "MQTT-3.1.2-9", "MQTT-3.1.2-19", "MQTT-3.1.2-21", "MQTT-3.1.3-3", "MQTT-3.8.3-3", "MQTT-3.10.3-1"]
        }
        Malformed::PacketType(_) => &["MQTT-3.1.0-1"],
        Malformed::PacketIdentifierZero => &["MQTT-2.3.1-6", "MQTT-2.3.1-7"],
        Malformed::ReturnCode(_) => &["MQTT-3.9.3-2"],
        _ => &[],
    });
    statements.retain(|statement| !statement.is_empty());
    statements
}

/// Whether the error itself cites a statement.
fn cites(failure: Failure) -> bool {
    matches!(failure, Failure::Malformed(error) if !error.statement().is_empty())
}

#[test]
fn a_failure_in_3_1_1_names_the_statement_that_is_broken() {
    for_every_case(|case| {
        let Err(failure) = case.read() else { return Ok(()) };
        let known = match failure {
            Failure::Malformed(error) => statements_of(error),
            Failure::UnsupportedLevel => vec!["MQTT-3.1.2-2"],
        };
        let foreign = case.statements.iter().find(|statement| !known.contains(&statement.as_str()));
        // Truncated and TrailingBytes are errors of framing wherever no rule about the field is broken.
        let general = matches!(failure, Failure::Malformed(Malformed::Truncated | Malformed::TrailingBytes));
        match foreign {
            Some(statement) => Err(format!("{statement} is not about {}", failure.name())),
            None if case.dialect == Dialect::V311 && case.statements.is_empty() && !general && cites(failure) => {
                Err(format!("no statement for {}, one of {known:?}", failure.name()))
            }
            None => Ok(()),
        }
    });
}

#[test]
fn statements_are_those_of_3_1_1_and_belong_to_its_dialect() {
    let mut count = BTreeSet::new();
    let streams = files().into_iter().flat_map(|file| file.streams).flat_map(|stream| stream.statements);
    let of_cases = cases().into_iter().flat_map(|(title, case)| {
        assert!(case.statements.is_empty() || case.dialect == Dialect::V311, "{title}: a statement outside 3.1.1");
        case.statements
    });
    for statement in of_cases.chain(streams) {
        let numbers = statement.strip_prefix("MQTT-").expect(&statement);
        assert!(numbers.split(['.', '-']).all(|part| part.parse::<u8>().is_ok()), "{statement}");
        count.insert(statement);
    }
    assert!(count.len() >= 45, "only {} statements are proved: {count:?}", count.len());
}

fn packets(filter: impl Fn(&Case) -> bool) -> Vec<(Case, Packet)> {
    let cases = cases().into_iter().filter(|(_, case)| filter(case));
    cases.filter_map(|(_, case)| case.read().ok().map(|packet| (case, packet))).collect()
}

#[test]
fn every_packet_has_a_vector_in_every_dialect() {
    let seen: BTreeSet<_> = packets(|_| true).into_iter().map(|(case, packet)| (case.dialect, packet.kind())).collect();
    for dialect in Dialect::ALL {
        for kind in Kind::ALL {
            let exists = kind != Kind::Notice || dialect.is_extended();
            assert_eq!(seen.contains(&(dialect, kind)), exists, "{kind} in {dialect}");
        }
    }
}

/// The reasons of a packet, as its view says them.
fn reasons(packet: &Packet) -> Vec<u8> {
    let view = view::packet(packet);
    let code = |value: &serde_json::Value| u8::from_str_radix(&value.as_str().unwrap()[2..], 16).unwrap();
    match packet.kind().parts().reason {
        ReasonPart::None => vec![],
        ReasonPart::PerFilter => view["reasons"].as_array().into_iter().flatten().map(code).collect(),
        ReasonPart::Byte | ReasonPart::ReturnCode => vec![code(&view["reason"])],
    }
}

#[test]
fn every_reason_has_a_vector_in_every_packet_that_may_carry_it() {
    let extended = packets(|case| case.dialect.is_extended());
    let seen: BTreeSet<_> = extended.iter().flat_map(|(_, packet)| reasons(packet).into_iter().map(|code| (packet.kind(), code))).collect();
    for row in REASONS {
        for kind in row.packets.iter() {
            assert!(seen.contains(&(kind, row.reason.0)), "{kind} with {}", row.reason);
        }
    }
}

#[test]
fn every_registered_key_has_a_vector_in_every_packet_it_may_stand_in() {
    let extended = packets(|case| case.dialect.is_extended() && case.refused.is_none());
    let holds = |(case, packet): &(Case, Packet), kind: Kind, writer: Writer, number: i64| {
        let sender = matches!((writer, case.sender), (Writer::Both, _) | (Writer::Client, Role::Client) | (Writer::Server, Role::Server));
        let items = || (0..4).any(|index| packet.dictionary().item(index).get(number).is_some());
        packet.kind() == kind && sender && (packet.dictionary().get(number).is_some() || items())
    };
    for row in PACKET_KEYS {
        for kind in row.packets.iter() {
            assert!(extended.iter().any(|vector| holds(vector, kind, row.writer, row.number)), "{} in {kind}", row.name);
        }
    }
    for row in MESSAGE_KEYS {
        let in_message =
            |packet: &Packet| matches!(packet, Packet::Publish(publish) if publish.message.dictionary().get(row.number).is_some());
        assert!(extended.iter().any(|(_, packet)| in_message(packet)), "{} in a message map", row.name);
    }
}
