//! Sizes in bytes, as people write them.

/// The units, the exact ones of IEC 80000-13 and the decimal ones.
const UNITS: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// What [`parse`] takes, in words.
pub const FORM: &str = "a whole number of bytes, or one with a unit: 512KiB, 10MiB, 1GiB (or kB, MB, GB for powers of 1000)";

/// Reads a size. Upper and lower case are the same, and a space may stand before the unit.
///
/// # Errors
/// What is wrong with the text, as the end of a sentence about it.
pub fn parse(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = (&text[..digits], text[digits..].trim_start_matches(' '));
    if number.is_empty() {
        return Err("does not begin with a whole number".into());
    }
    if unit.starts_with(['.', ',']) {
        return Err("is not a whole number of its unit".into());
    }
    let factor = match UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) {
        Some((_, factor)) => *factor,
        None if unit.is_empty() => 1,
        None => return Err(unknown_unit(number, unit)),
    };
    let number: Option<u64> = number.parse().ok();
    number.and_then(|number| number.checked_mul(factor)).ok_or_else(|| "is more than any machine can count".into())
}

/// `10M` is refused rather than guessed: people mean either.
fn unknown_unit(number: &str, unit: &str) -> String {
    let twins = UNITS.iter().filter(|(name, _)| name.len() >= 2 && name[..1].eq_ignore_ascii_case(unit));
    let meant: Vec<String> = twins.map(|(name, factor)| format!("{number}{name} ({number} x {factor})")).collect();
    match meant.as_slice() {
        [binary, decimal] => format!("could mean two things: write {binary} or {decimal}"),
        _ => format!("has the unit `{unit}`, which is not one of B, KiB, MiB, GiB, TiB, kB, MB, GB, TB"),
    }
}

/// The size with the largest binary unit that divides it.
pub fn format(bytes: u64) -> String {
    let exact = UNITS.iter().filter(|(name, _)| name.ends_with("iB"));
    match exact.into_iter().find(|(_, factor)| bytes != 0 && bytes.is_multiple_of(*factor)) {
        Some((name, factor)) => format!("{}{name}", bytes / factor),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_with_and_without_a_unit() {
        let cases = [
            ("0", 0),
            ("1048576", 1 << 20),
            ("10MiB", 10 << 20),
            ("10 mib", 10 << 20),
            ("2GiB", 2 << 30),
            ("1kB", 1000),
            ("5MB", 5_000_000),
            ("7B", 7),
            ("16777215TiB", 16_777_215 << 40),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn a_wrong_size_is_told_what_is_wrong_with_it() {
        let cases = [
            ("", "does not begin with a whole number"),
            ("MiB", "does not begin with a whole number"),
            ("-1", "does not begin with a whole number"),
            ("1.5GiB", "is not a whole number of its unit"),
            ("10M", "could mean two things: write 10MiB (10 x 1048576) or 10MB (10 x 1000000)"),
            ("10k", "could mean two things: write 10KiB (10 x 1024) or 10kB (10 x 1000)"),
            ("10 furlongs", "has the unit `furlongs`, which is not one of B, KiB, MiB, GiB, TiB, kB, MB, GB, TB"),
            ("10λ", "has the unit `λ`, which is not one of B, KiB, MiB, GiB, TiB, kB, MB, GB, TB"),
            ("16777216TiB", "is more than any machine can count"),
            ("99999999999999999999", "is more than any machine can count"),
        ];
        for (text, error) in cases {
            assert_eq!(parse(text), Err(error.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_printed_is_read_back() {
        for bytes in [0, 1, 1000, 1024, 10 << 20, 268_435_460, 3 << 30, u64::MAX] {
            assert_eq!(parse(&format(bytes)), Ok(bytes));
        }
        assert_eq!(format(10 << 20), "10MiB");
    }
}
