//! Checksums that grow with the bytes that pass.

use ailurus_model::Checksum;
use md5::{Digest, Md5};
use simd_adler32::Adler32;

/// The modulus of Adler-32: the largest prime below 2^16.
const ADLER_MODULUS: u64 = 65_521;

/// Which checksum is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChecksumKind {
    /// Adler-32: PanDA's usual one, and far faster than any disk.
    #[default]
    Adler32,
    /// MD5.
    Md5,
}

impl ChecksumKind {
    /// Returns the kind that a checksum is of.
    #[must_use]
    pub const fn of(checksum: &Checksum) -> Self {
        match checksum {
            Checksum::Adler32(_) => Self::Adler32,
            Checksum::Md5(_) => Self::Md5,
        }
    }
}

/// A checksum in the making.
#[derive(Clone)]
pub enum RunningChecksum {
    /// Adler-32.
    Adler32(Adler32),
    /// MD5.
    Md5(Box<Md5>),
}

impl RunningChecksum {
    /// Begins with no bytes.
    #[must_use]
    pub fn new(kind: ChecksumKind) -> Self {
        match kind {
            ChecksumKind::Adler32 => Self::Adler32(Adler32::new()),
            ChecksumKind::Md5 => Self::Md5(Box::default()),
        }
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Adler32(running) => running.write(bytes),
            Self::Md5(running) => Digest::update(running.as_mut(), bytes),
        }
    }

    /// Returns the checksum of all bytes so far.
    #[must_use]
    pub fn finish(self) -> Checksum {
        match self {
            Self::Adler32(running) => Checksum::Adler32(running.finish()),
            Self::Md5(running) => Checksum::Md5(hex(&running.finalize())),
        }
    }
}

/// Returns the Adler-32 of two parts that follow each other, from the Adler-32 of each and the
/// length of the second in bytes.
#[must_use]
pub fn adler32_combine(first: u32, second: u32, second_bytes: u64) -> u32 {
    let halves = |sum: u32| (u64::from(sum & 0xFFFF), u64::from(sum >> 16));
    let ((low, high), (low_2, high_2)) = (halves(first), halves(second));
    let length = second_bytes % ADLER_MODULUS;
    // Both low halves count the start value 1; the second's high half counts it `length` times.
    let low_sum = (low + low_2 + ADLER_MODULUS - 1) % ADLER_MODULUS;
    let shifted = (length * (low + ADLER_MODULUS - 1)) % ADLER_MODULUS;
    let high_sum = (high + high_2 + shifted) % ADLER_MODULUS;
    u32::try_from((high_sum << 16) | low_sum).expect("both halves are below 2^16")
}

/// Returns the MD5 of a text as 32 hexadecimal digits.
#[must_use]
pub(crate) fn md5_hex(text: &str) -> String {
    hex(&Md5::digest(text.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn adler32(bytes: &[u8]) -> u32 {
        let mut running = Adler32::new();
        running.write(bytes);
        running.finish()
    }

    #[test]
    fn known_values_are_met() {
        for (kind, text, expected) in [
            (ChecksumKind::Adler32, "", "ad:00000001"),
            (ChecksumKind::Adler32, "Wikipedia", "ad:11e60398"),
            (ChecksumKind::Md5, "", "md:d41d8cd98f00b204e9800998ecf8427e"),
            (
                ChecksumKind::Md5,
                "abc",
                "md:900150983cd24fb0d6963f7d28e17f72",
            ),
        ] {
            let mut running = RunningChecksum::new(kind);
            running.update(text.as_bytes());
            assert_eq!(running.finish().to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn parts_give_the_checksum_of_the_whole(
            bytes in proptest::collection::vec(any::<u8>(), 0..5000),
            cut in any::<prop::sample::Index>(),
        ) {
            let cut = cut.index(bytes.len() + 1);
            let (first, second) = bytes.split_at(cut);
            let mut running = RunningChecksum::new(ChecksumKind::Adler32);
            running.update(first);
            running.update(second);
            prop_assert_eq!(running.finish(), Checksum::Adler32(adler32(&bytes)));
            let length = u64::try_from(second.len()).expect("small");
            prop_assert_eq!(
                adler32_combine(adler32(first), adler32(second), length),
                adler32(&bytes)
            );
        }

        #[test]
        fn combining_any_numbers_never_panics(a: u32, b: u32, length: u64) {
            let _ = adler32_combine(a, b, length);
        }
    }

    #[test]
    fn long_second_parts_combine_too() {
        let second = vec![0xAB; 200_003];
        let whole = [b"head".as_slice(), &second].concat();
        assert_eq!(
            adler32_combine(adler32(b"head"), adler32(&second), 200_003),
            adler32(&whole)
        );
    }
}
