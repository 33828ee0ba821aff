//! The place of the offer and its accept, which travel inside a plain UNSUBSCRIBE and the UNSUBACK to it. Here they are
//! recognised and covered; their own parts are annotated from here on.

use super::field;
use super::sheet::{Sheet, Stop};
use super::text::{count, hex};
use crate::dialect::OFFER_PREFIX;

/// The packet identifier that an offer has.
const OFFER_ID: u16 = u16::MAX;

/// Marks the leaf of the only topic filter of an UNSUBSCRIBE as an offer, if it is one.
pub(super) fn offer(sheet: &mut Sheet<'_>, id: u16, filter: Option<&str>) {
    let levels = filter.and_then(|text| text.strip_prefix(OFFER_PREFIX));
    if sheet.dialect.is_extended() || id != OFFER_ID || !levels.is_some_and(|rest| rest.starts_with('/')) {
        return;
    }
    if let Some(row) = sheet.annotations.last_mut() {
        row.source = Some(field::OFFER.source);
        row.meaning("An offer of the extended dialect: a server that does not know it finds no such subscription.");
    }
}

/// What stands behind the packet identifier of a plain UNSUBACK: nothing in 3.1.1, else the accept of an offer. Only
/// the end that made the offer can tell whether it is one.
pub(super) fn accept(sheet: &mut Sheet<'_>) -> Result<(), Stop> {
    if sheet.is_at_end() {
        return Ok(());
    }
    sheet.begin(&field::ACCEPT);
    let raw = sheet.take(sheet.left())?;
    sheet.done(format!("{} ({})", hex(raw), count(raw.len(), "byte"))).meaning("Nothing in 3.1.1 stands here.");
    Ok(())
}
