//! Values of dictionaries in words: the number and what it stands for.

use super::text::{count, hex, payload, quoted};
use crate::codec::dictionary::Item;
use crate::packet::profile::{Durability, Overflow};
use crate::packet::reason::Reason;

/// What the value of a key is, beyond its CBOR type.
#[derive(Clone, Copy)]
enum Form {
    Durability,
    Overflow,
    /// One of these, by number.
    Choice(&'static [&'static str]),
    /// Bits, each with its name.
    Bits(&'static [(u64, &'static str)]),
    Reason,
    Seconds,
    /// Seconds, of which the most there can be stands for no end.
    Expiry,
    Milliseconds,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    Instant,
    /// Bytes without a meaning to people, though some happen to be text.
    Opaque,
}

/// The keys whose values need more than their type to be read. The words are short forms of the meanings in the tables.
const FORMS: &[(&str, Form)] = &[
    ("minimum-durability", Form::Durability),
    ("receipt", Form::Durability),
    ("durability", Form::Durability),
    ("session-durability", Form::Durability),
    ("overflow", Form::Overflow),
    (
        "session-state",
        Form::Choice(&["resumed", "never existed or ended as asked", "expired", "evicted at a limit", "lost with a restart"]),
    ),
    ("payload-format-indicator", Form::Choice(&["bytes", "UTF-8 text"])),
    ("retry", Form::Choice(&["never in this form", "unchanged after a time", "after something else has changed"])),
    (
        "options",
        Form::Bits(&[
            (1, "no local"),
            (2, "retain as published"),
            (4, "no retained messages on subscribing"),
            (8, "retained messages only if the subscription is new"),
            (16, "a message that was put off lets others pass"),
        ]),
    ),
    ("reason", Form::Reason),
    ("session-expiry-interval", Form::Expiry),
    ("session-expiry", Form::Expiry),
    ("message-expiry", Form::Expiry),
    ("message-expiry-interval", Form::Seconds),
    ("server-keep-alive", Form::Seconds),
    ("delay", Form::Milliseconds),
    ("retry-after", Form::Milliseconds),
    ("retry-jitter", Form::Milliseconds),
    ("loss-window", Form::Milliseconds),
    ("received-at", Form::Instant),
    ("server-time", Form::Instant),
    ("session-incarnation", Form::Opaque),
    ("message-id", Form::Opaque),
    ("confirm", Form::Opaque),
];

/// The value of the key called `name`.
pub(super) fn words(name: &str, item: Item<'_>) -> String {
    let form = FORMS.iter().find(|(key, _)| *key == name).map(|(_, form)| *form);
    match (form, item) {
        (Some(Form::Opaque), Item::Bytes(bytes)) => hex(bytes),
        (Some(form), Item::Unsigned(number)) => number_in_words(form, number),
        (_, Item::Text(text)) => quoted(text),
        (_, Item::Bytes(bytes)) => payload(bytes),
        (_, Item::Array(_)) => format!("array of {}", count(item.elements().count(), "item")),
        (_, Item::Map(_)) => format!("map of {}", count(item.entries().count(), "entry")),
        (_, other) => format!("{other:?}"),
    }
}

pub(super) const fn type_name(item: Item<'_>) -> &'static str {
    match item {
        Item::Unsigned(_) => "unsigned integer",
        Item::Negative(_) => "negative integer",
        Item::Bytes(_) => "byte string",
        Item::Text(_) => "text",
        Item::Array(_) => "array",
        Item::Map(_) => "map",
        Item::Bool(_) => "boolean",
        Item::Null => "null",
        Item::Float(_) => "float",
    }
}

fn number_in_words(form: Form, number: u64) -> String {
    let chosen = |name: Option<&str>| match name {
        Some(name) => format!("{number} ({name})"),
        None => format!("{number} (not in the table)"),
    };
    let index = usize::try_from(number).unwrap_or(usize::MAX);
    match form {
        Form::Durability => chosen(Durability::of_number(number).map(Durability::name)),
        Form::Overflow => chosen(Overflow::ALL.get(index).map(|overflow| overflow.name())),
        Form::Choice(names) => chosen(names.get(index).copied()),
        Form::Bits(names) => {
            let set: Vec<_> = names.iter().filter(|(bit, _)| number & bit != 0).map(|(_, name)| *name).collect();
            chosen((!set.is_empty()).then(|| set.join(", ")).as_deref().or((number == 0).then_some("none")))
        }
        Form::Reason => u8::try_from(number).map_or_else(|_| chosen(None), |code| Reason(code).to_string()),
        Form::Seconds => duration(number.saturating_mul(1000), format!("{number} s")),
        Form::Expiry if number == u64::from(u32::MAX) => format!("{number} (without end)"),
        Form::Expiry if number == 0 => "0 (ends with the connection)".to_owned(),
        Form::Expiry => duration(number.saturating_mul(1000), format!("{number} s")),
        Form::Milliseconds => duration(number, format!("{number} ms")),
        Form::Instant => format!("{number} ({})", instant(number)),
        Form::Opaque => number.to_string(),
    }
}

/// Adds the two largest units of a time to what it is in its own unit, where that is easier to read.
fn duration(ms: u64, own: String) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s")];
    if ms < 60_000 {
        return own;
    }
    let mut left = ms;
    let mut parts = Vec::new();
    for (unit, name) in UNITS {
        if left >= unit {
            parts.push(format!("{} {name}", left / unit));
            left %= unit;
        }
    }
    parts.truncate(2);
    format!("{own} ({})", parts.join(" "))
}

/// Milliseconds since 1970 as a date and time of UTC (RFC 3339), by the rule of the Gregorian calendar.
pub fn instant(ms: u64) -> String {
    let (mut days, ms_of_day) = (ms / 86_400_000, ms % 86_400_000);
    // Whole cycles of 400 years have 146,097 days each and can be set aside.
    let mut year = 1970 + days / 146_097 * 400;
    days %= 146_097;
    let leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (ms_of_day / 3_600_000, ms_of_day / 60_000 % 60, ms_of_day / 1000 % 60);
    format!("{year:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", month + 1, days + 1, ms_of_day % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::problem::PROBLEM_KEYS;
    use crate::packet::profile::PROFILE_CLAUSES;
    use crate::packet::property::{MESSAGE_KEYS, PACKET_KEYS};

    #[test]
    fn every_form_belongs_to_a_key_of_the_tables() {
        let keys = PACKET_KEYS.iter().chain(MESSAGE_KEYS).map(|row| (row.name, row.meaning));
        let keys = keys.chain(PROBLEM_KEYS.iter().map(|row| (row.name, row.meaning)));
        let keys: Vec<_> = keys.chain(PROFILE_CLAUSES.iter().map(|row| (row.name, row.meaning))).collect();
        for (name, form) in FORMS {
            let meanings: Vec<_> = keys.iter().filter(|(key, _)| key == name).map(|(_, meaning)| *meaning).collect();
            assert!(!meanings.is_empty(), "no table has the key {name}");
            let said = |words: &str| meanings.iter().any(|meaning| meaning.contains(words));
            match form {
                Form::Choice(names) => names.iter().for_each(|words| assert!(said(words), "{name}: {words}")),
                Form::Bits(names) => names.iter().for_each(|(_, words)| assert!(said(words), "{name}: {words}")),
                Form::Milliseconds | Form::Instant => assert!(said("illiseconds"), "{name}"),
                Form::Seconds | Form::Expiry => assert!(said("econds"), "{name}"),
                _ => {}
            }
        }
    }

    #[test]
    fn numbers_are_said_with_what_they_stand_for() {
        let said = |name, number| words(name, Item::Unsigned(number));
        assert_eq!(said("receipt", 2), "2 (disk)");
        assert_eq!(said("receipt", 9), "9 (not in the table)");
        assert_eq!(said("options", 5), "5 (no local, no retained messages on subscribing)");
        assert_eq!(said("options", 0), "0 (none)");
        assert_eq!(said("reason", 0x87), "not authorized (0x87)");
        assert_eq!(said("session-expiry-interval", 5400), "5400 s (1 h 30 min)");
        assert_eq!(said("session-expiry-interval", 0xFFFF_FFFF), "4294967295 (without end)");
        assert_eq!(said("retry-after", 1500), "1500 ms");
        assert_eq!(said("retry-after", u64::MAX), "18446744073709551615 ms (213503982334 d 14 h)");
        assert_eq!(words("tag", Item::Bytes(b"job 7")), "\"job 7\"");
        assert_eq!(words("message-id", Item::Bytes(b"abc")), "h'616263'");
    }

    #[test]
    fn an_instant_is_a_date_of_utc() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(instant(ms), text);
        }
        // The largest number is a date too, and takes no time to find.
        assert!(instant(u64::MAX).starts_with("584556019-"));
    }
}
