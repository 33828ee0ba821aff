//! The heads of CBOR items, and floats of half precision.

use super::BadDictionary;

/// The head of a CBOR item.
pub(crate) struct Head {
    pub(crate) major: u8,
    /// The low five bits of the first byte.
    pub(super) info: u8,
    pub(crate) argument: u64,
    /// How many bytes the head has.
    pub(crate) len: usize,
}

pub(crate) fn head(bytes: &[u8]) -> Result<Head, BadDictionary> {
    let &first = bytes.first().ok_or(BadDictionary::Truncated)?;
    let (major, info) = (first >> 5, first & 0x1F);
    let (argument, len) = match info {
        0..=23 => (u64::from(info), 1),
        // Almost every length that does not stand in the first byte.
        24 => (u64::from(*bytes.get(1).ok_or(BadDictionary::Truncated)?), 2),
        25..=27 => {
            let len = 1usize << (info - 24);
            let raw = bytes.get(1..=len).ok_or(BadDictionary::Truncated)?;
            (raw.iter().fold(0, |n, &b| n << 8 | u64::from(b)), 1 + len)
        }
        31 => return Err(BadDictionary::IndefiniteLength),
        _ => return Err(BadDictionary::BadSimple),
    };
    Ok(Head { major, info, argument, len })
}

/// The least argument that needs the length of head that `info` stands for.
const fn least(info: u8) -> u64 {
    match info {
        24 => 24,
        25 => 1 << 8,
        26 => 1 << 16,
        27 => 1 << 32,
        _ => 0,
    }
}

/// The head of an item, in its shortest form; that of a float or simple value is judged by its value.
pub(crate) fn shortest_head(bytes: &[u8]) -> Result<Head, BadDictionary> {
    let head = head(bytes)?;
    if head.major != 7 && head.argument < least(head.info) { Err(BadDictionary::NotShortest) } else { Ok(head) }
}

/// The most bytes of a head.
pub(crate) const HEAD_LEN_MAX: usize = 9;

/// How many bytes the head of an item has in its shortest form.
pub(crate) const fn head_len(argument: u64) -> usize {
    match argument {
        0..=23 => 1,
        24..=0xFF => 2,
        0x100..=0xFFFF => 3,
        0x1_0000..=0xFFFF_FFFF => 5,
        _ => 9,
    }
}

/// The head of an item in its shortest form, and how many bytes that has.
pub(crate) fn head_bytes(major: u8, argument: u64) -> ([u8; HEAD_LEN_MAX], usize) {
    let mut bytes = [0; HEAD_LEN_MAX];
    let len = head_len(argument);
    let info = match len {
        1 => argument as u8,
        2 => 24,
        3 => 25,
        5 => 26,
        _ => 27,
    };
    bytes[0] = major << 5 | info;
    bytes[1..len].copy_from_slice(&argument.to_be_bytes()[9 - len..]);
    (bytes, len)
}

/// A half-precision float as a double (RFC 8949, appendix D).
pub(super) fn half(bits: u16) -> f64 {
    let exponent = (bits >> 10) & 0x1F;
    let mantissa = f64::from(bits & 0x3FF);
    let value = match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (mantissa + 1024.0) * 2f64.powi(i32::from(exponent) - 25),
    };
    if bits & 0x8000 == 0 { value } else { -value }
}

/// The half-precision float that has exactly this value.
pub(super) fn to_half(value: f32) -> Option<u16> {
    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
    let magnitude = f64::from(value.abs());
    if magnitude == 0.0 {
        return Some(sign);
    }
    if magnitude.is_infinite() {
        return Some(sign | 0x7C00);
    }
    if magnitude > 65_504.0 {
        return None;
    }
    // Below 2^-14 the spacing is that of the subnormals, above it grows with the exponent.
    let exponent = (magnitude.log2().floor() as i32).clamp(-14, 15);
    let mantissa = magnitude / 2f64.powi(exponent - 10);
    if mantissa.fract() != 0.0 || mantissa == 0.0 {
        return None;
    }
    let mantissa = mantissa as u16;
    let bits = if mantissa < 1024 { mantissa } else { ((exponent + 15) as u16) << 10 | (mantissa - 1024) };
    Some(sign | bits)
}
