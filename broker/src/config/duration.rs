//! Times in seconds, as people write them.

const UNITS: &[(&str, u64)] = &[("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60), ("min", 60), ("s", 1)];

/// What [`parse`] takes, in words.
pub const FORM: &str = "a whole number of seconds, or one with a unit: 30s, 5m, 12h, 7d, 2w, 1h30m";

/// What stands for a time without end where an option allows one.
pub const FOREVER: &str = "forever";

/// Reads a time as seconds: `90`, `90s`, `1m30s`.
///
/// # Errors
/// What is wrong with the text, as the end of a sentence about it.
pub fn parse(text: &str) -> Result<u64, String> {
    let too_long = || "is more than any machine can count".to_owned();
    let (mut rest, mut total, mut parts) = (text, 0u64, 0);
    while !rest.is_empty() || parts == 0 {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, behind) = rest.split_at(digits);
        if number.is_empty() {
            return Err(if parts == 0 { "does not begin with a whole number" } else { "has a unit without a number" }.into());
        }
        let behind = behind.trim_start_matches(' ');
        let unit_len = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit_len);
        let factor = match (UNITS.iter().find(|(name, _)| *name == unit.trim_end()), unit) {
            (Some((_, factor)), _) => *factor,
            (None, "") if parts == 0 => 1,
            (None, "") => return Err("has a number without a unit".into()),
            (None, "ms") => return Err("is in milliseconds; only whole seconds count here".into()),
            (None, _) if unit.starts_with(['.', ',']) => return Err("is not a whole number of its unit".into()),
            (None, _) => return Err(format!("has the unit `{unit}`, which is not one of s, m, h, d, w")),
        };
        let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(too_long)?;
        total = total.checked_add(seconds).ok_or_else(too_long)?;
        (rest, parts) = (behind, parts + 1);
    }
    Ok(total)
}

/// The time with the largest unit that divides it.
pub fn format(seconds: u64) -> String {
    match UNITS.iter().find(|(_, factor)| seconds != 0 && seconds.is_multiple_of(*factor)) {
        Some((name, factor)) => format!("{}{name}", seconds / factor),
        None => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_with_and_without_units() {
        let cases = [
            ("0", 0),
            ("90", 90),
            ("30s", 30),
            ("5m", 300),
            ("5 min", 300),
            ("12h", 43_200),
            ("7d", 604_800),
            ("1h30m", 5400),
            ("2w", 1_209_600),
        ];
        for (text, seconds) in cases {
            assert_eq!(parse(text), Ok(seconds), "{text}");
        }
    }

    #[test]
    fn a_wrong_time_is_told_what_is_wrong_with_it() {
        let cases = [
            ("", "does not begin with a whole number"),
            ("soon", "does not begin with a whole number"),
            ("-5s", "does not begin with a whole number"),
            ("1.5h", "is not a whole number of its unit"),
            ("500ms", "is in milliseconds; only whole seconds count here"),
            ("5y", "has the unit `y`, which is not one of s, m, h, d, w"),
            ("1h30", "has a number without a unit"),
            ("99999999999999999999s", "is more than any machine can count"),
            ("18446744073709551615s1s", "is more than any machine can count"),
        ];
        for (text, error) in cases {
            assert_eq!(parse(text), Err(error.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_printed_is_read_back() {
        for seconds in [0, 1, 59, 60, 90, 3600, 86_400, 604_800, u64::from(u32::MAX)] {
            assert_eq!(parse(&format(seconds)), Ok(seconds));
        }
        assert_eq!(format(604_800), "1w");
    }
}
