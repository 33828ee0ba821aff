//! CONNECT and CONNACK.

use super::fault::Fault;
use super::field;
use super::registry::Registry;
use super::sheet::{Sheet, Stop};
use super::source::Source;
use super::text::count;
use super::{dictionary, walk};
use crate::codec::error::Malformed;
use crate::dialect::{Dialect, level};
use crate::packet::kind::Kind;
use crate::packet::legality::Role;
use crate::packet::reason::Reason;
use crate::packet::topic::check_name;

pub(super) fn connect(sheet: &mut Sheet<'_>) -> Result<(), Stop> {
    protocol(sheet)?;
    let flags = connect_flags(sheet)?;
    sheet.begin(&field::KEEP_ALIVE);
    match sheet.u16()? {
        0 => sheet.done("0 (no keep alive)"),
        seconds => sheet.done(format!("{seconds} s")),
    };
    client_identifier(sheet, flags)?;
    if flags & WILL != 0 {
        if let Some(topic) = walk::text(sheet, &field::WILL_TOPIC)?
            && let Err(error) = check_name(topic.as_bytes())
        {
            sheet.malformed(error.into());
        }
        walk::binary(sheet, &field::WILL_MESSAGE)?;
    }
    // A CONNECT of MQTT 3.1 may end before a field that its flags announce.
    let is_there = |sheet: &Sheet<'_>, flag: u8| flags & flag != 0 && !(sheet.dialect == Dialect::V31 && sheet.left() == 0);
    if is_there(sheet, USER_NAME) {
        walk::text(sheet, &field::USER_NAME)?;
    }
    if is_there(sheet, PASSWORD) {
        sheet.begin(&field::PASSWORD);
        let len = usize::from(sheet.u16()?);
        sheet.take(len)?;
        sheet.done(count(len, "byte")).secret = true;
    }
    if sheet.dialect.is_extended() {
        dictionary::dictionary(
            sheet,
            Registry::Packet { kind: Kind::Connect, sender: Some(Role::Client), message_map: flags & WILL != 0, in_items: false },
        )?;
    }
    Ok(())
}

const USER_NAME: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const WILL_RETAIN: u8 = 0x20;
const WILL_QOS: u8 = 0x18;
const WILL: u8 = 0x04;
const CLEAN_SESSION: u8 = 0x02;

/// Protocol name and level, which say the dialect.
fn protocol(sheet: &mut Sheet<'_>) -> Result<(), Stop> {
    let name = walk::text(sheet, &field::PROTOCOL_NAME)?.ok_or(Stop::Lost)?;
    let Some(dialect) = Dialect::ALL.into_iter().find(|dialect| level::name_and_level(*dialect).0 == name) else {
        let names: Vec<_> = Dialect::ALL.into_iter().map(|dialect| format!("{:?}", level::name_and_level(dialect).0)).collect();
        sheet.malformed(Malformed::ProtocolName).meaning = format!("one of {}", names.join(", ")).into();
        return Err(Stop::Lost);
    };
    sheet.begin(&field::PROTOCOL_LEVEL);
    let asked = sheet.u8()?;
    let served = level::name_and_level(dialect).1;
    if asked == served {
        sheet.dialect = dialect;
        sheet.done(format!("{asked} ({})", dialect_words(dialect)));
        return Ok(());
    }
    let version = if (name, asked) == ("MQTT", 5) { " (MQTT 5.0)" } else { "" };
    sheet.done(format!("{asked}{version}"));
    let (what, expected) = (format!("level {asked} of {name} is not served"), format!("level {served} ({})", dialect_words(dialect)));
    sheet.fault(Fault::UnsupportedLevel(asked), what, expected, Source::Statement("MQTT-3.1.2-2"));
    Err(Stop::Lost)
}

fn dialect_words(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::V31 => "MQTT 3.1",
        Dialect::V311 => "MQTT 3.1.1",
        Dialect::Extended => "the extended dialect",
    }
}

fn connect_flags(sheet: &mut Sheet<'_>) -> Result<u8, Stop> {
    sheet.begin(&field::CONNECT_FLAGS);
    let flags = sheet.u8()?;
    sheet.done(flags_in_words(flags));
    let bit = |mask: u8| u8::from(flags & mask != 0).to_string();
    let will_qos = flags >> 3 & 0x03;
    sheet.bits(&field::USER_NAME_FLAG, USER_NAME, bit(USER_NAME));
    sheet.bits(&field::PASSWORD_FLAG, PASSWORD, bit(PASSWORD));
    sheet.bits(&field::WILL_RETAIN, WILL_RETAIN, bit(WILL_RETAIN));
    sheet.bits(&field::WILL_QOS, WILL_QOS, super::publish::qos_words(will_qos));
    sheet.bits(&field::WILL_FLAG, WILL, bit(WILL));
    sheet.bits(&field::CLEAN_SESSION, CLEAN_SESSION, bit(CLEAN_SESSION));
    sheet.bits(&field::RESERVED, 0x01, bit(0x01));
    if flags & 0x01 != 0 {
        sheet.malformed(Malformed::ConnectReservedFlag);
    }
    let will_fault = match (flags & WILL != 0, will_qos) {
        (_, 3) => Some(("the Will QoS is 3", "0, 1 or 2", "MQTT-3.1.2-14")),
        (false, 1..) => Some(("a Will QoS without the Will Flag", "Will QoS 0", "MQTT-3.1.2-13")),
        (false, _) if flags & WILL_RETAIN != 0 => Some(("Will Retain without the Will Flag", "Will Retain 0", "MQTT-3.1.2-15")),
        _ => None,
    };
    if let Some((what, expected, statement)) = will_fault {
        let row = sheet.malformed(Malformed::WillFlags);
        (row.value, row.meaning, row.source) = (what.to_owned(), expected.into(), Some(Source::Statement(statement)));
    }
    if flags & PASSWORD != 0 && flags & USER_NAME == 0 {
        sheet.malformed(Malformed::PasswordWithoutUserName);
    }
    Ok(flags)
}

fn flags_in_words(flags: u8) -> String {
    let names = [(CLEAN_SESSION, "clean session"), (WILL, "will"), (USER_NAME, "user name"), (PASSWORD, "password")];
    let set: Vec<_> = names.into_iter().filter(|(mask, _)| flags & mask != 0).map(|(_, name)| name).collect();
    if set.is_empty() { "none".to_owned() } else { set.join(", ") }
}

fn client_identifier(sheet: &mut Sheet<'_>, flags: u8) -> Result<(), Stop> {
    if walk::text(sheet, &field::CLIENT_IDENTIFIER)? != Some("") {
        return Ok(());
    }
    if let Some(row) = sheet.annotations.last_mut() {
        row.meaning("Empty: the server chooses one.");
    }
    // In the extended dialect the server tells the identifier that it chose, so such a session can be found again.
    if !sheet.dialect.is_extended() && flags & CLEAN_SESSION == 0 {
        sheet.fault(
            Fault::Refused(Reason::CLIENT_IDENTIFIER_NOT_VALID),
            "an empty client identifier with Clean Session 0",
            "Clean Session 1, or a client identifier",
            Source::Statement("MQTT-3.1.3-7"),
        );
    }
    Ok(())
}

pub(super) fn connack(sheet: &mut Sheet<'_>) -> Result<(), Stop> {
    sheet.begin(&field::CONNACK_FLAGS);
    let flags = sheet.u8()?;
    let tells = sheet.dialect.tells_session_present();
    let present = tells && flags & 0x01 != 0;
    if tells {
        session_present(sheet, flags);
    } else {
        sheet.done("reserved in MQTT 3.1");
    }
    if tells && flags & 0xFE != 0 {
        sheet.malformed(Malformed::ConnAckFlags);
    }
    let code = if sheet.dialect.is_extended() {
        walk::reason(sheet, Kind::ConnAck, field::REASON.name.to_owned())?.0
    } else {
        return_code(sheet)?
    };
    if code != 0 && present {
        let what = "session present with a refusal";
        sheet.fault(Fault::Refused(Reason::PROTOCOL_ERROR), what, "Session Present 0", Source::Statement("MQTT-3.2.2-4"));
    }
    walk::own_dictionary(sheet, Kind::ConnAck)
}

/// Ends the leaf of flags that hold Session Present alone.
pub(super) fn session_present(sheet: &mut Sheet<'_>, flags: u8) {
    let present = flags & 0x01 != 0;
    sheet.done(if present { "session present" } else { "none" });
    sheet.bits(&field::RESERVED, 0xFE, format!("{:07b}", flags >> 1));
    sheet.bits(&field::SESSION_PRESENT, 0x01, if present { "1 (the session was kept)" } else { "0 (a new session)" });
}

fn return_code(sheet: &mut Sheet<'_>) -> Result<u8, Stop> {
    sheet.begin(&field::CONNECT_RETURN_CODE);
    let code = sheet.u8()?;
    match field::CONNECT_RETURN_CODES.get(usize::from(code)) {
        Some(words) => {
            let row = sheet.done(format!("{code} ({words})"));
            if let Some(info) = level::reason_of_return_code(code).and_then(Reason::info) {
                row.meaning(info.meaning);
            }
        }
        None => {
            sheet.done(format!("0x{code:02x} (reserved)"));
            sheet.malformed(Malformed::ReturnCode(code)).meaning = "0x00 to 0x05".into();
        }
    }
    Ok(code)
}
