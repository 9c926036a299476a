//! Checksums that grow with the bytes that pass.
//!
//! [`RunningChecksum`] is one, [`RunningChecksums`] are several of the same bytes, and
//! [`adler32_combine`] joins the sums of parts that moved side by side.

use ailurus_model::Checksum;
use md5::{Digest, Md5};
use sha2::Sha256;
use simd_adler32::Adler32;

/// The modulus of Adler-32: the largest prime below 2^16.
const ADLER_MODULUS: u64 = 65_521;

/// Bytes that several checksums take in one after the other.
const PIECE_BYTES: usize = 16 << 10;

/// Which checksum is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum ChecksumKind {
    /// Adler-32: PanDA's usual one, and far faster than any disk.
    #[default]
    Adler32,
    /// MD5.
    Md5,
    /// SHA-256.
    Sha256,
}

impl ChecksumKind {
    /// Returns the kind that a checksum is of.
    #[must_use]
    pub const fn of(checksum: &Checksum) -> Self {
        match checksum {
            Checksum::Adler32(_) => Self::Adler32,
            Checksum::Md5(_) => Self::Md5,
            Checksum::Sha256(_) => Self::Sha256,
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
    /// SHA-256.
    Sha256(Box<Sha256>),
}

impl RunningChecksum {
    /// Begins with no bytes.
    #[must_use]
    pub fn new(kind: ChecksumKind) -> Self {
        match kind {
            ChecksumKind::Adler32 => Self::Adler32(Adler32::new()),
            ChecksumKind::Md5 => Self::Md5(Box::default()),
            ChecksumKind::Sha256 => Self::Sha256(Box::default()),
        }
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Adler32(running) => running.write(bytes),
            Self::Md5(running) => Digest::update(running.as_mut(), bytes),
            Self::Sha256(running) => Digest::update(running.as_mut(), bytes),
        }
    }

    /// Returns the checksum of all bytes so far.
    #[must_use]
    pub fn finish(self) -> Checksum {
        match self {
            Self::Adler32(running) => Checksum::Adler32(running.finish()),
            Self::Md5(running) => Checksum::Md5(hex(&running.finalize())),
            Self::Sha256(running) => Checksum::Sha256(hex(&running.finalize())),
        }
    }
}

/// Several checksums of the same bytes, in one pass.
#[derive(Clone)]
pub struct RunningChecksums(Vec<RunningChecksum>);

impl RunningChecksums {
    /// Begins with no bytes. A kind that is named twice is computed once.
    #[must_use]
    pub fn new(kinds: impl IntoIterator<Item = ChecksumKind>) -> Self {
        let mut different = Vec::new();
        for kind in kinds {
            if !different.contains(&kind) {
                different.push(kind);
            }
        }
        Self(different.into_iter().map(RunningChecksum::new).collect())
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        // Piece by piece, so that all but the first sum find the bytes in the nearest cache.
        for piece in bytes.chunks(PIECE_BYTES) {
            for running in &mut self.0 {
                running.update(piece);
            }
        }
    }

    /// Returns the checksums of all bytes so far, in the order of the kinds.
    #[must_use]
    pub fn finish(self) -> Vec<Checksum> {
        self.0.into_iter().map(RunningChecksum::finish).collect()
    }
}

/// Returns the Adler-32 of bytes.
#[must_use]
pub fn adler32(bytes: &[u8]) -> u32 {
    let mut running = Adler32::new();
    running.write(bytes);
    running.finish()
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
            (
                ChecksumKind::Sha256,
                "abc",
                "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
        ] {
            let mut running = RunningChecksum::new(kind);
            running.update(text.as_bytes());
            assert_eq!(running.finish().to_string(), expected);
        }
    }

    #[test]
    fn several_checksums_are_those_of_one_each_in_their_order() {
        use ChecksumKind::{Adler32, Md5, Sha256};
        let bytes = b"0123456789".repeat(5000);
        let mut all = RunningChecksums::new([Md5, Adler32, Md5, Sha256]);
        bytes.chunks(7777).for_each(|part| all.update(part));
        let each = [Md5, Adler32, Sha256].map(|kind| {
            let mut one = RunningChecksum::new(kind);
            one.update(&bytes);
            one.finish()
        });
        assert_eq!(all.finish(), each);
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
