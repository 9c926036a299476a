//! Which file an entry of the cache is: [`Key`], and the names that an entry has on the disk.

use std::fmt;

use ailurus_model::{ByteCount, Checksum, Lfn, Scope};
use md5::{Digest, Md5};

/// What identifies a file in the cache: its data identifier, checksum and size.
///
/// An Adler-32 alone is the same for many files; with name and size, equal keys mean equal files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    did: String,
    checksum: Checksum,
    size: ByteCount,
}

impl Key {
    /// Makes the key of a file whose size and checksum the catalogue knows.
    #[must_use]
    pub fn new(scope: &Scope, lfn: &Lfn, checksum: Checksum, size: ByteCount) -> Self {
        Self {
            did: format!("{scope}:{lfn}"),
            checksum,
            size,
        }
    }

    /// Returns the checksum that the file must have.
    #[must_use]
    pub const fn checksum(&self) -> &Checksum {
        &self.checksum
    }

    /// Returns the size that the file must have.
    #[must_use]
    pub const fn size(&self) -> ByteCount {
        self.size
    }

    pub(super) fn stem(&self) -> Stem {
        Stem {
            digest: Md5::digest(self.to_string()).into(),
            size: self.size.as_bytes(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, checksum) = (self.size.as_bytes(), &self.checksum);
        write!(f, "{checksum}:{bytes} {}", self.did)
    }
}

/// What the names of all files of one entry begin with: a digest of the key, and the size, so that
/// the sizes of all entries are known from their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stem {
    digest: [u8; 16],
    /// In bytes.
    pub(super) size: u64,
}

impl fmt::Display for Stem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.digest {
            write!(f, "{byte:02x}")?;
        }
        write!(f, "-{}", self.size)
    }
}

/// The files that an entry may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The file itself, whole.
    Data,
    /// Locked shared by who uses the data, exclusively by who removes them. Its modification time
    /// is that of the last use, its content the key, for people.
    Use,
    /// Locked exclusively by who fetches the data.
    Lock,
    /// The directory into which they are fetched. It exists only while room is promised for them.
    Part,
}

impl Role {
    const ALL: [Self; 4] = [Self::Data, Self::Use, Self::Lock, Self::Part];

    const fn suffix(self) -> &'static str {
        match self {
            Self::Data => "",
            Self::Use => ".use",
            Self::Lock => ".lock",
            Self::Part => ".part",
        }
    }
}

impl Stem {
    /// Returns the name of one of the entry's files.
    pub(super) fn name(self, role: Role) -> String {
        format!("{self}{}", role.suffix())
    }

    /// Reads a name; none if it is not one of ours.
    pub(super) fn read(name: &str) -> Option<(Self, Role)> {
        let (stem, suffix) = match name.find('.') {
            Some(dot) => name.split_at(dot),
            None => (name, ""),
        };
        let role = Role::ALL.into_iter().find(|it| it.suffix() == suffix)?;
        let (digest, size) = stem.split_once('-')?;
        let stem = Self {
            digest: read_digest(digest)?,
            size: size.parse().ok()?,
        };
        // Other spellings of the same, as `+1` or `01`, are not ours.
        (stem.name(role) == name).then_some((stem, role))
    }
}

fn read_digest(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    let mut digest = [0; 16];
    for (byte, at) in digest.iter_mut().zip((0..32).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::cache) fn any_stem(size: std::ops::Range<u64>) -> impl Strategy<Value = Stem> {
        (any::<[u8; 16]>(), size).prop_map(|(digest, size)| Stem { digest, size })
    }

    fn key(name: &str, adler32: u32, bytes: u64) -> Key {
        let checksum = Checksum::Adler32(adler32);
        let size = ByteCount::from_bytes(bytes);
        Key::new(&Scope::new("spd"), &Lfn::new(name), checksum, size)
    }

    #[test]
    fn each_part_of_the_key_makes_another_entry() {
        let one = key("a", 1, 1).stem();
        for other in [key("b", 1, 1), key("a", 2, 1), key("a", 1, 2)] {
            assert_ne!(one, other.stem());
        }
        assert_eq!(one, key("a", 1, 1).stem());
    }

    #[test]
    fn a_key_is_told_in_words() {
        assert_eq!(key("a b", 255, 7).to_string(), "ad:000000ff:7 spd:a b");
    }

    proptest! {
        #[test]
        fn names_are_read_as_they_were_written(digest: [u8; 16], size: u64) {
            let stem = Stem { digest, size };
            for role in Role::ALL {
                prop_assert_eq!(Stem::read(&stem.name(role)), Some((stem, role)));
            }
        }

        #[test]
        fn any_other_name_is_left_alone(name in "\\PC{0,60}") {
            if let Some((stem, role)) = Stem::read(&name) {
                prop_assert_eq!(stem.name(role), name);
            }
        }
    }

    #[test]
    fn names_that_are_nearly_ours_are_not() {
        let good = format!("{}-5", "0".repeat(32));
        assert!(Stem::read(&good).is_some());
        for bad in [
            format!("{}-05", "0".repeat(32)),
            format!("{}-+5", "0".repeat(32)),
            format!("{}-5", "A".repeat(32)),
            format!("{}-5", "+0".repeat(16)),
            format!("{}-5.x", "0".repeat(32)),
            format!("{}-5.use.use", "0".repeat(32)),
            "room.lock".to_owned(),
        ] {
            assert_eq!(Stem::read(&bad), None, "{bad}");
        }
    }
}
