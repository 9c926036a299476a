//! Files that jobs read and write, and their checksums.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{ByteCount, DatasetName, EndpointName, Guid, Lfn, Scope};

/// The checksum of a whole file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Checksum {
    /// Adler-32, PanDA's `ad:` form.
    Adler32(u32),
    /// MD5, 32 hexadecimal digits in lower case, PanDA's `md:` form.
    Md5(String),
    /// SHA-256, 64 hexadecimal digits in lower case. PanDA has no form for it: it stays between the
    /// pilot and storages that know it.
    Sha256(String),
}

/// A text was not a checksum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{value}` is not a checksum: it must be `ad:` and 8, `md:` and 32 or `sha256:` and 64 \
     hexadecimal digits"
)]
pub struct ParseChecksumError {
    /// The text as it was given.
    pub value: String,
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adler32(value) => write!(f, "ad:{value:08x}"),
            Self::Md5(digits) => write!(f, "md:{digits}"),
            Self::Sha256(digits) => write!(f, "sha256:{digits}"),
        }
    }
}

impl FromStr for Checksum {
    type Err = ParseChecksumError;

    /// Reads `ad:<hex>`, `md:<hex>`, `md5:<hex>`, `sha256:<hex>`; digits without a prefix are Adler-32.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseChecksumError {
            value: text.to_owned(),
        };
        let text = text.trim();
        if let Some(digits) = text
            .strip_prefix("md5:")
            .or_else(|| text.strip_prefix("md:"))
        {
            let digits = hex_digits(digits, 32).ok_or_else(bad)?;
            return Ok(Self::Md5(digits));
        }
        if let Some(digits) = text.strip_prefix("sha256:") {
            let digits = hex_digits(digits, 64).ok_or_else(bad)?;
            return Ok(Self::Sha256(digits));
        }
        let digits = text.strip_prefix("ad:").unwrap_or(text);
        if digits.is_empty() || digits.len() > 8 || digits.starts_with('+') {
            return Err(bad());
        }
        u32::from_str_radix(digits, 16)
            .map(Self::Adler32)
            .map_err(|_| bad())
    }
}

/// Returns hexadecimal digits in lower case, if they are that and so many.
fn hex_digits(text: &str, count: usize) -> Option<String> {
    let is_hex = text.len() == count && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| text.to_ascii_lowercase())
}

impl Serialize for Checksum {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Checksum {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A file that a job reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// Logical name; also the name under which the payload finds it.
    pub lfn: Lfn,
    /// Its Rucio scope.
    pub scope: Scope,
    /// Its globally unique id, if one is known.
    pub guid: Option<Guid>,
    /// The dataset it belongs to.
    pub dataset: DatasetName,
    /// Its size, if known.
    pub size: Option<ByteCount>,
    /// Its checksum, if known.
    pub checksum: Option<Checksum>,
    /// The storage endpoint that holds it.
    pub endpoint: EndpointName,
}

/// A file that a job is to write, or its log archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFile {
    /// Logical name; also the name under which the payload writes it.
    pub lfn: Lfn,
    /// Its Rucio scope.
    pub scope: Scope,
    /// Its globally unique id, if the server chose one.
    pub guid: Option<Guid>,
    /// The dataset it will belong to.
    pub dataset: DatasetName,
    /// The storage endpoint that is to hold it.
    pub endpoint: EndpointName,
}

/// An output as it lies in storage after stage-out, reported once with the final update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileReport {
    /// Logical name.
    pub lfn: Lfn,
    /// Its globally unique id.
    pub guid: Guid,
    /// Its size.
    pub size: ByteCount,
    /// Its checksum.
    pub checksum: Checksum,
    /// Where it is: the full URL, for example `file:///eos/spd/…` or `root://…`.
    pub surl: String,
    /// The storage endpoint that holds it.
    pub endpoint: EndpointName,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_read_in_all_of_pandas_forms() {
        assert_eq!("ad:0000001f".parse(), Ok(Checksum::Adler32(31)));
        assert_eq!("1f".parse(), Ok(Checksum::Adler32(31)));
        let md5 = "D41D8CD98F00B204E9800998ECF8427E";
        assert_eq!(
            format!("md5:{md5}").parse(),
            Ok(Checksum::Md5(md5.to_ascii_lowercase()))
        );
    }

    #[test]
    fn sha256_is_printed_as_it_is_read() {
        let text = format!("sha256:{}", "0123456789abcdef".repeat(4));
        let checksum: Checksum = text.to_uppercase().replace("SHA", "sha").parse().unwrap();
        assert!(matches!(checksum, Checksum::Sha256(_)));
        assert_eq!(checksum.to_string(), text);
    }

    #[test]
    fn checksums_print_with_prefix_and_all_digits() {
        assert_eq!(Checksum::Adler32(31).to_string(), "ad:0000001f");
    }

    #[test]
    fn a_bad_checksum_is_refused_with_its_text() {
        for text in [
            "",
            "ad:",
            "ad:xyz",
            "ad:123456789",
            "md:12",
            "sha256:12",
            "+1",
        ] {
            assert!(text.parse::<Checksum>().is_err(), "{text}");
        }
    }
}
