//! The few facts that the broker reads from a certificate (RFC 5280) that the TLS library has verified or sent: whose it
//! is, and until when it holds. Everything else about certificates is the TLS library's.

/// Object identifiers in DER: commonName (2.5.4.3) and subjectAltName (2.5.29.17).
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1D, 0x11];

/// DER tags.
const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0C;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const EXPLICIT_VERSION: u8 = 0xA0;
const EXPLICIT_EXTENSIONS: u8 = 0xA3;
/// GeneralName's choices that are texts: rfc822Name, dNSName, uniformResourceIdentifier.
const TEXT_NAMES: [u8; 3] = [0x81, 0x82, 0x86];

/// A name for the certificate's subject: its common name; without one the first alternative name that is a text (DNS
/// name, mail address or URI). `None` if it has neither, or several common names, of which none would be the right one.
pub(super) fn subject_name(certificate: &[u8]) -> Option<String> {
    let parts = Parts::of(certificate)?;
    let mut common_names = common_names(parts.subject);
    match (common_names.next(), common_names.next()) {
        (Some(name), None) => text(name.0, name.1),
        (Some(_), Some(_)) => None,
        (None, _) => alternative_name(parts.extensions?),
    }
}

/// The certificate's last second, in seconds since 1970 (UTC). `None` if it cannot be read.
pub(super) fn not_after_s(certificate: &[u8]) -> Option<i64> {
    let mut validity = Der(Parts::of(certificate)?.validity);
    let _not_before = validity.next()?;
    let (tag, value) = validity.next()?;
    time_s(tag, value)
}

/// The parts of a certificate that are looked into (RFC 5280, section 4.1).
struct Parts<'a> {
    validity: &'a [u8],
    subject: &'a [u8],
    extensions: Option<&'a [u8]>,
}

impl<'a> Parts<'a> {
    fn of(certificate: &'a [u8]) -> Option<Self> {
        let mut body = Der(Der(Der(certificate).expect(SEQUENCE)?).expect(SEQUENCE)?);
        let (first, _) = body.next()?;
        if first == EXPLICIT_VERSION {
            let _serial = body.next()?;
        }
        let _signature_algorithm = body.expect(SEQUENCE)?;
        let _issuer = body.expect(SEQUENCE)?;
        let validity = body.expect(SEQUENCE)?;
        let subject = body.expect(SEQUENCE)?;
        let extensions = body.find(|(tag, _)| *tag == EXPLICIT_EXTENSIONS).and_then(|(_, value)| Der(value).expect(SEQUENCE));
        Some(Self { validity, subject, extensions })
    }
}

/// The values of all common names of a Name: a sequence of sets of (type, value).
fn common_names(name: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let sets = Der(name).filter(|(tag, _)| *tag == SET);
    sets.flat_map(|(_, set)| Der(set)).filter_map(|(_, pair)| {
        let mut pair = Der(pair);
        let kind = pair.expect(OBJECT_IDENTIFIER)?;
        let value = pair.next()?;
        (kind == COMMON_NAME).then_some(value)
    })
}

fn alternative_name(extensions: &[u8]) -> Option<String> {
    let names = Der(extensions).find_map(|(_, extension)| {
        let mut extension = Der(extension);
        let kind = extension.expect(OBJECT_IDENTIFIER)?;
        let (tag, mut value) = extension.next()?;
        if tag == BOOLEAN {
            value = extension.expect(OCTET_STRING)?;
        }
        (kind == ALTERNATIVE_NAME).then_some(value)
    })?;
    let (_, name) = Der(Der(names).expect(SEQUENCE)?).find(|(tag, _)| TEXT_NAMES.contains(tag))?;
    text(IA5_STRING, name)
}

/// A string that can serve as a name: readable in full, and without control characters, which could forge a log line or
/// end a name early.
fn text(tag: u8, value: &[u8]) -> Option<String> {
    let readable = match tag {
        UTF8_STRING => true,
        PRINTABLE_STRING | IA5_STRING => value.is_ascii(),
        _ => false,
    };
    let text = std::str::from_utf8(value).ok().filter(|text| readable && !text.is_empty())?;
    (!text.chars().any(char::is_control)).then(|| text.to_owned())
}

/// UTCTime `YYMMDDhhmmssZ` or GeneralizedTime `YYYYMMDDhhmmssZ`, the only forms that RFC 5280 allows.
fn time_s(tag: u8, value: &[u8]) -> Option<i64> {
    let digits = value.strip_suffix(b"Z")?;
    let number = |at: usize, len: usize| -> Option<i64> {
        let part = digits.get(at..at + len)?;
        part.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
    };
    let (year, at) = match (tag, digits.len()) {
        (UTC_TIME, 12) => match number(0, 2)? {
            year if year >= 50 => (1900 + year, 2),
            year => (2000 + year, 2),
        },
        (GENERALIZED_TIME, 14) => (number(0, 4)?, 4),
        _ => return None,
    };
    let [month, day, hour, minute, second] = [0, 2, 4, 6, 8].map(|offset| number(at + offset, 2));
    Some(days_from_1970(year, month?, day?) * 86_400 + hour? * 3600 + minute? * 60 + second?)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, counted in years that begin in March, so that the leap day
/// is the last one.
fn days_from_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    const DAYS_FROM_MARCH_OF_YEAR_0_TO_1970: i64 = 719_468;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - DAYS_FROM_MARCH_OF_YEAR_0_TO_1970
}

/// A run of DER values. Ends at the first thing that is not one.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value, if it has this tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, value)| value)
    }
}

impl<'a> Iterator for Der<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (tag, len, rest) = match *self.0 {
            // Tags of several bytes do not occur in certificates.
            [tag, ..] if tag & 0x1F == 0x1F => return None,
            [tag, len, ref rest @ ..] if len < 0x80 => (tag, usize::from(len), rest),
            [tag, 0x81, len, ref rest @ ..] => (tag, usize::from(len), rest),
            [tag, 0x82, high, low, ref rest @ ..] => (tag, usize::from(u16::from_be_bytes([high, low])), rest),
            [tag, 0x83, a, b, c, ref rest @ ..] => (tag, u32::from_be_bytes([0, a, b, c]) as usize, rest),
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, SanType, date_time_ymd};

    fn certificate(names: &[(DnType, DnValue)], alternatives: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in names {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        params.subject_alt_names = alternatives;
        params.not_after = date_time_ymd(2031, 2, 28);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn utf8(text: &str) -> DnValue {
        DnValue::Utf8String(text.into())
    }

    #[test]
    fn the_common_name_is_the_subjects_name() {
        let der = certificate(&[(DnType::OrganizationName, utf8("Works")), (DnType::CommonName, utf8("pump-7 ü"))], vec![]);
        assert_eq!(subject_name(&der).as_deref(), Some("pump-7 ü"));
        let printable = DnValue::PrintableString("pump-8".try_into().unwrap());
        let der = certificate(&[(DnType::CommonName, printable)], vec![SanType::DnsName("other".try_into().unwrap())]);
        assert_eq!(subject_name(&der).as_deref(), Some("pump-8"));
    }

    #[test]
    fn without_a_common_name_the_first_alternative_name_that_is_a_text_counts() {
        let alternatives = vec![
            SanType::IpAddress([10, 0, 0, 1].into()),
            SanType::URI("urn:pump:7".try_into().unwrap()),
            SanType::DnsName("pump-7.example".try_into().unwrap()),
        ];
        assert_eq!(subject_name(&certificate(&[], alternatives)).as_deref(), Some("urn:pump:7"));
        assert_eq!(subject_name(&certificate(&[(DnType::OrganizationName, utf8("Works"))], vec![])), None);
    }

    #[test]
    fn a_name_that_could_mislead_is_none() {
        for name in ["", "pump\0-7", "pump\n7"] {
            assert_eq!(subject_name(&certificate(&[(DnType::CommonName, utf8(name))], vec![])), None, "{name:?}");
        }
        let twice = [(DnType::CommonName, utf8("ann")), (DnType::CustomDnType(vec![2, 5, 4, 3]), utf8("bob"))];
        assert_eq!(subject_name(&certificate(&twice, vec![])), None);
    }

    #[test]
    fn the_last_second_is_read() {
        // 2031-02-28T00:00:00Z, as `date -u -d 2031-02-28 +%s` says.
        assert_eq!(not_after_s(&certificate(&[], vec![])), Some(1_930_003_200));
        for (tag, text, seconds) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "691231235959Z", Some(-1)),
            (UTC_TIME, "000229120000Z", Some(951_825_600)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (UTC_TIME, "7001010000Z", None),
            (UTC_TIME, "70010100000xZ", None),
            (GENERALIZED_TIME, "20500101000000+01", None),
        ] {
            assert_eq!(time_s(tag, text.as_bytes()), seconds, "{text}");
        }
    }

    #[test]
    fn damaged_certificates_have_no_name_and_no_end() {
        let der = certificate(&[(DnType::CommonName, utf8("pump-7"))], vec![]);
        for len in 0..der.len() {
            let _ = (subject_name(&der[..len]), not_after_s(&der[..len]));
        }
        for at in 0..der.len().min(300) {
            for value in [0x00, 0x30, 0x80, 0x83, 0xFF] {
                let mut damaged = der.clone();
                damaged[at] = value;
                let _ = (subject_name(&damaged), not_after_s(&damaged));
            }
        }
        assert_eq!(subject_name(&der[..der.len() / 4]), None);
    }
}
