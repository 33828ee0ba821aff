//! Delivery reports: what became of one message with all who were to get it, and the JSON that a publisher is told it in.

use super::reason::Reason;
use serde_json::{Value, json};

/// The topic that reports come on.
pub const TOPIC: &str = "$feedback/report";

/// How many reasons a report tells apart; others are counted under 0x80.
pub const REASONS_MAX: usize = 8;

/// What became of a message with those who were to get it, each session counted once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeliveryReport {
    /// Sessions that were to get it; 0: no subscription wanted it.
    pub matched: u64,
    pub accepted: u64,
    /// By reason, in the order in which they came.
    pub rejected: Vec<(Reason, u64)>,
    /// It was too old when their turn came.
    pub expired: u64,
    /// Their queues were full, or they are gone.
    pub dropped: u64,
    /// They got it at QoS 0, which nobody acknowledges.
    pub unconfirmed: u64,
    /// They have not answered within the time that the server waits.
    pub pending: u64,
}

/// What a publisher that asks is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reported {
    Told(DeliveryReport),
    /// There is none, and why: the server makes none for this topic, the connection is plain, or the client has ended.
    NotMade(String),
}

impl DeliveryReport {
    /// Counts one more session that rejected the message.
    pub fn reject(&mut self, reason: Reason) {
        let is_known = self.rejected.iter().any(|(other, _)| *other == reason);
        let reason = if is_known || self.rejected.len() < REASONS_MAX { reason } else { Reason::UNSPECIFIED_ERROR };
        match self.rejected.iter_mut().find(|(other, _)| *other == reason) {
            Some((_, count)) => *count += 1,
            // One more than the maximum, for all others together.
            None => self.rejected.push((reason, 1)),
        }
    }

    /// The sessions of which nothing has been heard.
    pub fn rest(&self) -> u64 {
        let rejected: u64 = self.rejected.iter().map(|(_, count)| count).sum();
        self.matched.saturating_sub(self.accepted + rejected + self.expired + self.dropped + self.unconfirmed)
    }

    /// The report as a JSON object, to which the server adds which message it is about.
    pub fn to_json(&self) -> Value {
        let Self { matched, accepted, rejected, expired, dropped, unconfirmed, pending } = self;
        let rejected = rejected.iter();
        let rejected: Vec<Value> =
            rejected.map(|(reason, count)| json!({ "reason": { "code": reason.0, "name": reason.name() }, "count": count })).collect();
        let title = if *matched == 0 { "no subscription wanted it" } else { "what became of a message" };
        json!({
            "title": title, "matched": matched, "accepted": accepted, "rejected": rejected, "expired": expired, "dropped": dropped,
            "unconfirmed": unconfirmed, "pending": pending,
        })
    }
}

impl Reported {
    /// What the payload of a message on [`TOPIC`] says; what a report leaves out is 0, and what has no count of sessions tells why
    /// there is no report. `None`: it is no report.
    pub fn of_json(payload: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(payload).ok()?;
        let number = |name: &str| value.get(name).and_then(Value::as_u64);
        let Some(matched) = number("matched") else {
            return Some(Self::NotMade(value.get("title")?.as_str()?.to_owned()));
        };
        let rejected = value.get("rejected").and_then(Value::as_array).into_iter().flatten().filter_map(|part| {
            let code = part.get("reason")?.get("code")?.as_u64()?;
            Some((Reason(u8::try_from(code).ok()?), part.get("count")?.as_u64()?))
        });
        let or_0 = |name| number(name).unwrap_or(0);
        Some(Self::Told(DeliveryReport {
            matched,
            accepted: or_0("accepted"),
            rejected: rejected.collect(),
            expired: or_0("expired"),
            dropped: or_0("dropped"),
            unconfirmed: or_0("unconfirmed"),
            pending: or_0("pending"),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let reports = [
            DeliveryReport::default(),
            DeliveryReport { matched: 9, accepted: 1, expired: 2, dropped: 3, unconfirmed: 4, pending: 5, ..DeliveryReport::default() },
            DeliveryReport { matched: 3, rejected: vec![(Reason::REJECTED, 2), (Reason(0xfe), 1)], ..DeliveryReport::default() },
        ];
        for report in reports {
            let written = report.to_json().to_string();
            assert_eq!(Reported::of_json(written.as_bytes()), Some(Reported::Told(report)), "{written}");
        }
    }

    #[test]
    fn a_title_without_numbers_says_why_there_is_no_report_and_what_has_neither_is_none() {
        let read = |text: &str| Reported::of_json(text.as_bytes());
        assert_eq!(read(r#"{"title":"off","reports":"off"}"#), Some(Reported::NotMade("off".into())));
        assert_eq!(read(r#"{"matched":1}"#), Some(Reported::Told(DeliveryReport { matched: 1, ..DeliveryReport::default() })));
        for text in ["", "{", "{}", "7", r#"{"title":7}"#, r#"{"matched":-1}"#] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn the_reasons_of_a_report_are_bounded() {
        let mut report = DeliveryReport { matched: 1000, ..DeliveryReport::default() };
        (0..200u8).for_each(|n| report.reject(Reason(0x80 + n % 100)));
        assert!(report.rejected.len() <= REASONS_MAX + 1);
        assert_eq!((report.rejected.iter().map(|(_, count)| count).sum::<u64>(), report.rest()), (200, 800));
    }
}
