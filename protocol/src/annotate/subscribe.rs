//! SUBSCRIBE, SUBACK, UNSUBSCRIBE and the extended UNSUBACK.

use super::fault::{self, Fault};
use super::field::{self, Field};
use super::sheet::{Sheet, Stop};
use super::{offer, walk};
use crate::codec::error::Malformed;
use crate::packet::kind::Kind;
use crate::packet::reason::Reason;
use crate::packet::topic::{InvalidTopic, TopicFilter};

pub(super) fn subscribe(sheet: &mut Sheet<'_>) -> Result<(), Stop> {
    walk::packet_id(sheet)?;
    walk::own_dictionary(sheet, Kind::Subscribe)?;
    at_least_one_filter(sheet);
    let mut index = 0;
    while !sheet.is_at_end() {
        filter(sheet, &field::SUBSCRIBE_FILTER, index)?;
        sheet.begin_named(field::REQUESTED_QOS.numbered(index), field::REQUESTED_QOS.source);
        let byte = sheet.u8()?;
        sheet.done(super::publish::qos_words(byte & 0x03));
        // The bits are shown where they matter; a good byte is the QoS and nothing else.
        if byte > 2 {
            sheet.bits(&field::RESERVED, 0xFC, format!("{:06b}", byte >> 2));
            sheet.bits(&field::REQUESTED_QOS, 0x03, super::publish::qos_words(byte & 0x03));
            sheet.malformed(Malformed::RequestedQosBits);
        }
        index += 1;
    }
    Ok(())
}

pub(super) fn unsubscribe(sheet: &mut Sheet<'_>) -> Result<(), Stop> {
    let id = walk::packet_id(sheet)?;
    walk::own_dictionary(sheet, Kind::Unsubscribe)?;
    at_least_one_filter(sheet);
    if !sheet.dialect.is_extended() && offer::offer(sheet, id)? {
        return Ok(());
    }
    let mut index = 0;
    while !sheet.is_at_end() {
        filter(sheet, &field::UNSUBSCRIBE_FILTER, index)?;
        index += 1;
    }
    Ok(())
}

fn at_least_one_filter(sheet: &mut Sheet<'_>) {
    if sheet.is_at_end() {
        let end = sheet.shifted(sheet.at()..sheet.at());
        sheet.malformed(Malformed::NoTopicFilter).range = end;
    }
}

/// A topic filter. A bad one is malformed in the plain dialect and refused for itself in the extended one; the form
/// `$share/...` is not known to 3.1.1, so that it is refused in every dialect.
fn filter(sheet: &mut Sheet<'_>, field: &Field, index: usize) -> Result<(), Stop> {
    sheet.begin_named(field.numbered(index), field.source);
    let Some(text) = walk::named_text(sheet, field)? else { return Ok(()) };
    match TopicFilter::new(text) {
        Ok(filter) => {
            if let (Some(group), Some(row)) = (filter.group(), sheet.annotations.last_mut()) {
                row.meaning(format!("Shared by the group {group:?}."));
            }
        }
        Err(error) if sheet.dialect.is_extended() || error == InvalidTopic::BadShare => {
            let what = format!("the topic filter is not valid: {error}");
            let rule = fault::rule(sheet.kind, Malformed::Topic(error));
            sheet.fault(Fault::Refused(Reason::TOPIC_FILTER_INVALID), what, fault::expected_topic(error), rule);
        }
        Err(error) => {
            sheet.malformed(error.into());
        }
    }
    Ok(())
}

pub(super) fn suback(sheet: &mut Sheet<'_>) -> Result<(), Stop> {
    walk::packet_id(sheet)?;
    walk::own_dictionary(sheet, Kind::SubAck)?;
    let mut index = 0;
    while !sheet.is_at_end() {
        if sheet.dialect.is_extended() {
            walk::reason(sheet, Kind::SubAck, field::REASON.numbered(index))?;
        } else {
            return_code(sheet, index)?;
        }
        index += 1;
    }
    Ok(())
}

fn return_code(sheet: &mut Sheet<'_>, index: usize) -> Result<(), Stop> {
    sheet.begin_named(field::RETURN_CODE.numbered(index), field::RETURN_CODE.source);
    let code = sheet.u8()?;
    match field::SUBACK_RETURN_CODES.iter().find(|(number, _)| *number == code) {
        Some((_, words)) => {
            sheet.done(format!("0x{code:02x} ({words})"));
        }
        None => {
            sheet.done(format!("0x{code:02x} (reserved)"));
            sheet.malformed(Malformed::ReturnCode(code)).meaning = "0x00, 0x01, 0x02 or 0x80".into();
        }
    }
    Ok(())
}

pub(super) fn unsuback(sheet: &mut Sheet<'_>) -> Result<(), Stop> {
    walk::packet_id(sheet)?;
    walk::own_dictionary(sheet, Kind::UnsubAck)?;
    let mut index = 0;
    while !sheet.is_at_end() {
        walk::reason(sheet, Kind::UnsubAck, field::REASON.numbered(index))?;
        index += 1;
    }
    Ok(())
}
