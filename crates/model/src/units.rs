//! Sizes and durations with their units, in files (`"20 GiB"`, `"30m"`) and inside.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteCount(u64);

/// A text was not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a size: write a number and a unit, for example `512 MiB` or `20 GiB`")]
pub struct ParseByteCountError {
    /// The text as it was given.
    pub value: String,
}

/// A text was not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{value}` is not a duration: write numbers and units, for example `30s`, `45m` or `2h 30m`"
)]
pub struct ParseDurationError {
    /// The text as it was given.
    pub value: String,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

impl ByteCount {
    /// No bytes.
    pub const ZERO: Self = Self(0);

    /// Makes a size from bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Makes a size from KiB (1024 bytes).
    #[must_use]
    pub const fn from_kib(kib: u64) -> Self {
        Self(kib.saturating_mul(KIB))
    }

    /// Makes a size from MiB (1024² bytes), the unit that PanDA calls MB.
    #[must_use]
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib.saturating_mul(MIB))
    }

    /// Makes a size from GiB (1024³ bytes).
    #[must_use]
    pub const fn from_gib(gib: u64) -> Self {
        Self(gib.saturating_mul(GIB))
    }

    /// Returns the bytes.
    #[must_use]
    pub const fn as_bytes(self) -> u64 {
        self.0
    }

    /// Returns whole KiB, rounded down.
    #[must_use]
    pub const fn as_kib(self) -> u64 {
        self.0 / KIB
    }

    /// Returns whole MiB, rounded down.
    #[must_use]
    pub const fn as_mib(self) -> u64 {
        self.0 / MIB
    }

    /// Adds two sizes, staying at the largest one on overflow.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Subtracts; zero instead of less.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, name) in [(TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")] {
            if self.0 >= unit {
                let tenths = self.0 / (unit / 10);
                return if self.0.is_multiple_of(unit) {
                    write!(f, "{} {name}", self.0 / unit)
                } else {
                    write!(f, "{}.{} {name}", tenths / 10, tenths % 10)
                };
            }
        }
        write!(f, "{} B", self.0)
    }
}

impl FromStr for ByteCount {
    type Err = ParseByteCountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseByteCountError {
            value: text.to_owned(),
        };
        let trimmed = text.trim();
        let digits = trimmed
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(trimmed.len());
        let number: u64 = trimmed[..digits].parse().map_err(|_| bad())?;
        let unit = match trimmed[digits..].trim() {
            "B" => 1,
            "KiB" => KIB,
            "MiB" => MIB,
            "GiB" => GIB,
            "TiB" => TIB,
            "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            _ => return Err(bad()),
        };
        number.checked_mul(unit).map(Self).ok_or_else(bad)
    }
}

/// Sizes are numbers of bytes in JSON and text with a unit in files that people write.
impl Serialize for ByteCount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for ByteCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = ByteCount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size with a unit, for example \"20 GiB\", or a number of bytes")
            }

            fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<ByteCount, E> {
                Ok(ByteCount(bytes))
            }

            fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<ByteCount, E> {
                u64::try_from(bytes)
                    .map(ByteCount)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(bytes), &self))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ByteCount, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Reads a duration as people write it: `90s`, `30m`, `2h 30m`, `1d`.
///
/// # Errors
///
/// [`ParseDurationError`] if the text is no duration, or a negative one.
pub fn parse_duration(text: &str) -> Result<Duration, ParseDurationError> {
    let bad = || ParseDurationError {
        value: text.to_owned(),
    };
    // Jiff takes no calendar days here, because they may have 23 hours; ours have 24.
    let (days, rest) = match text.trim().split_once('d') {
        Some((days, rest)) if !days.is_empty() && days.bytes().all(|b| b.is_ascii_digit()) => {
            (days.parse::<u64>().map_err(|_| bad())?, rest.trim())
        }
        _ => (0, text.trim()),
    };
    let within_day = if rest.is_empty() && days > 0 {
        Duration::ZERO
    } else {
        let signed: jiff::SignedDuration = rest.parse().map_err(|_| bad())?;
        Duration::try_from(signed).map_err(|_| bad())?
    };
    days.checked_mul(24 * 3600)
        .and_then(|seconds| within_day.checked_add(Duration::from_secs(seconds)))
        .ok_or_else(bad)
}

/// Writes a duration as people read it: `0.25s`, `45s`, `30m`, `2h 30m`, `3d 4h`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 if duration.subsec_millis() > 0 => {
            let text = format!("{}.{:03}", seconds, duration.subsec_millis());
            format!("{}s", text.trim_end_matches('0'))
        }
        0..60 => format!("{seconds}s"),
        60..3600 => two_units(seconds, 60, "m", "s"),
        3600..86_400 => two_units(seconds / 60, 60, "h", "m"),
        _ => two_units(seconds / 3600, 24, "d", "h"),
    }
}

fn two_units(small: u64, ratio: u64, large_name: &str, small_name: &str) -> String {
    match small % ratio {
        0 => format!("{}{large_name}", small / ratio),
        rest => format!("{}{large_name} {rest}{small_name}", small / ratio),
    }
}

/// Serde form of a duration in files that people write: text with a unit.
pub mod duration_text {
    use super::{Deserialize, Deserializer, Duration, Serializer, format_duration, parse_duration};
    use serde::de::Error as _;

    /// Writes the duration as text.
    ///
    /// # Errors
    ///
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(*value))
    }

    /// Reads the duration from text.
    ///
    /// # Errors
    ///
    /// A text that is no duration, with the text in the message.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map_err(D::Error::custom)
    }
}

/// As [`duration_text`], for a duration that may be absent.
pub mod optional_duration_text {
    use super::{Deserialize, Deserializer, Duration, Serializer, format_duration, parse_duration};
    use serde::de::Error as _;

    /// Writes the duration as text, or nothing.
    ///
    /// # Errors
    ///
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(duration) => serializer.serialize_some(&format_duration(*duration)),
            None => serializer.serialize_none(),
        }
    }

    /// Reads the duration from text, if there is any.
    ///
    /// # Errors
    ///
    /// A text that is no duration, with the text in the message.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Option::<String>::deserialize(deserializer)?
            .map(|text| parse_duration(&text).map_err(D::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_with_binary_and_decimal_units() {
        assert_eq!("20 GiB".parse(), Ok(ByteCount::from_gib(20)));
        assert_eq!("3MB".parse(), Ok(ByteCount::from_bytes(3_000_000)));
    }

    #[test]
    fn a_size_without_a_unit_is_refused_with_an_example() {
        let error = "20".parse::<ByteCount>().expect_err("no unit");
        assert!(error.to_string().contains("`20` is not a size"), "{error}");
    }

    #[test]
    fn sizes_print_the_largest_fitting_unit() {
        assert_eq!(ByteCount::from_mib(1536).to_string(), "1.5 GiB");
        assert_eq!(ByteCount::from_bytes(12).to_string(), "12 B");
    }

    #[test]
    fn durations_are_read_with_units() {
        assert_eq!(parse_duration("2h 30m"), Ok(Duration::from_secs(9000)));
        assert_eq!(parse_duration("1d 1h"), Ok(Duration::from_secs(90_000)));
        assert_eq!(parse_duration("3d"), Ok(Duration::from_secs(259_200)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
    }

    #[test]
    fn a_bare_number_and_a_negative_duration_are_refused() {
        assert!(parse_duration("30").is_err());
        assert!(parse_duration("-3s").is_err());
        assert!(parse_duration("").is_err());
    }

    proptest! {
        #[test]
        fn reading_any_text_never_panics(text in ".*") {
            let _ = text.parse::<ByteCount>();
            let _ = parse_duration(&text);
        }

        #[test]
        fn whole_seconds_below_a_minute_survive_printing(seconds in 0_u64..60) {
            let duration = Duration::from_secs(seconds);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
    }
}
