//! How long the certificates of a PEM file are valid.
//!
//! Only the validity is read; whether a certificate is to be believed is the peer's question.
//!
//! Source: RFC 5280, section 4.1.2.5.

use std::{io, path::Path, time::Duration};

use crate::trust::{certificates_in, read_bounded};

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The tag of the version, which is only there if it is not 1.
const VERSION: u8 = 0xA0;

const SECS_PER_DAY: u64 = 86_400;

/// Returns the time since 1970 at which the first of a file's certificates ends: a proxy is of no
/// use once one of its chain has ended.
///
/// # Errors
///
/// The operating system's if the file cannot be read, invalid data if it has no certificate.
pub fn certificates_end(path: &Path) -> io::Result<Duration> {
    let pem = read_bounded(path).map_err(io::Error::other)?;
    certificates_in(&pem)
        .iter()
        .filter_map(|certificate| end_of(certificate.der()))
        .min()
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Reads the end of validity out of a certificate in DER form.
fn end_of(der: &[u8]) -> Option<Duration> {
    let (SEQUENCE, certificate, _) = element(der)? else {
        return None;
    };
    let (SEQUENCE, mut to_be_signed, _) = element(certificate)? else {
        return None;
    };
    let (tag, _, after) = element(to_be_signed)?;
    if tag == VERSION {
        to_be_signed = after;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        to_be_signed = element(to_be_signed)?.2;
    }
    let (SEQUENCE, validity, _) = element(to_be_signed)? else {
        return None;
    };
    let (_, _, end) = element(validity)?;
    let (tag, text, _) = element(end)?;
    time_of(tag, std::str::from_utf8(text).ok()?)
}

/// Splits off the first element: tag, content, what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let n_bytes = usize::from(first & 0x7F);
        if n_bytes == 0 || n_bytes > 4 {
            return None;
        }
        let (bytes, rest) = rest.split_at_checked(n_bytes)?;
        let length = bytes
            .iter()
            .fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte));
        (length, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// Reads `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn time_of(tag: u8, text: &str) -> Option<Duration> {
    let number = |from: usize| -> Option<u64> { text.get(from..from + 2)?.parse().ok() };
    let (year, rest) = match tag {
        UTC_TIME => {
            let year = number(0)?;
            (year + if year < 50 { 2000 } else { 1900 }, 2)
        }
        GENERALIZED_TIME => (number(0)? * 100 + number(2)?, 4),
        _ => return None,
    };
    let (month, day) = (number(rest)?, number(rest + 2)?);
    let (hour, minute, second) = (number(rest + 4)?, number(rest + 6)?, number(rest + 8)?);
    let is_time = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60
        && year >= 1970;
    let days = is_time.then(|| days_since_1970(year, month, day))?;
    Some(Duration::from_secs(
        days * SECS_PER_DAY + hour * 3600 + minute * 60 + second,
    ))
}

/// Counts days in the Gregorian calendar; the year begins in March, so that February comes last.
pub(crate) fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let days_before_month = (153 * month_from_march + 2) / 5;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + days_before_month + day - 1;
    // Days from March of the year 0 to 1970.
    days.saturating_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(text: &str) -> Option<u64> {
        let tag = if text.len() == 13 {
            UTC_TIME
        } else {
            GENERALIZED_TIME
        };
        time_of(tag, text).map(|time| time.as_secs())
    }

    #[test]
    fn times_are_read_in_both_forms() {
        assert_eq!(end("700101000000Z"), Some(0));
        assert_eq!(end("20000229120000Z"), Some(951_825_600));
        assert_eq!(end("261122194841Z"), Some(1_795_376_921));
        assert_eq!(end("20991231235959Z"), Some(4_102_444_799));
        for text in ["261322194841Z", "26112219484", "", "20261122x94841Z"] {
            assert_eq!(end(text), None, "{text}");
        }
    }

    #[test]
    fn the_end_of_a_real_certificate_is_found() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/client.pem");
        let end = certificates_end(&path).expect("a certificate");
        // It is valid for a hundred years from 2026 on.
        assert!(end.as_secs() > days_since_1970(2100, 1, 1) * SECS_PER_DAY);
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        for der in [
            &[][..],
            &[0x30],
            &[0x30, 0x84, 0xFF, 0xFF, 0xFF, 0xFF],
            &[0x30, 0x03, 0x30, 0x01, 0x00],
            &[0x30, 0x80],
        ] {
            assert_eq!(end_of(der), None);
        }
        let empty = tempfile::NamedTempFile::new().expect("space");
        assert!(certificates_end(empty.path()).is_err());
        assert!(certificates_end(Path::new("/no/such/file")).is_err());
    }
}
