//! Two kinds of time: [`Moment`] inside a core, [`Timestamp`] on wires, in tables and for people.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// A point on a core's own clock: milliseconds since the core was made.
///
/// It can be written to a trace, compared and made up in a test, which `std::time::Instant`
/// cannot. It never goes back.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Moment(u64);

impl Moment {
    /// The moment at which the core was made.
    pub const START: Self = Self(0);

    /// Makes the moment that lies `millis` milliseconds after the start.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Returns the milliseconds since the start.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Returns the moment `duration` later. It stays at the end of time on overflow.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(saturating_millis(duration)))
    }

    /// Returns the moment `duration` earlier, at least [`Moment::START`].
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(saturating_millis(duration)))
    }

    /// Returns how long `earlier` is ago, zero if it lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// A point in time that people and peers read: milliseconds since 1970, always UTC.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// A text was not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a time: it must read like `2026-01-31 23:59:59`")]
pub struct ParseTimestampError {
    /// The text as it was given.
    pub value: String,
}

impl Timestamp {
    /// Makes a time from milliseconds since 1970 (UTC).
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Returns the milliseconds since 1970 (UTC).
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Returns the whole seconds since 1970 (UTC).
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Returns the time `duration` later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// Returns the time `duration` earlier.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(millis))
    }

    /// Returns how long `earlier` is ago, zero if it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Writes the time as PanDA does: `2026-01-31 23:59:59`, UTC.
    #[must_use]
    pub fn to_panda_text(self) -> String {
        self.civil().strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// Writes the time as Pilot 3 logs it: `2026-01-31 23:59:59,123`, UTC.
    #[must_use]
    pub fn to_log_text(self) -> String {
        format!("{},{:03}", self.to_panda_text(), self.0.rem_euclid(1000))
    }

    /// Writes the time as ISO 8601 with milliseconds and `Z`.
    #[must_use]
    pub fn to_iso_text(self) -> String {
        format!(
            "{}.{:03}Z",
            self.civil().strftime("%Y-%m-%dT%H:%M:%S"),
            self.0.rem_euclid(1000)
        )
    }

    /// Reads a time as PanDA writes it, with or without a fraction of a second.
    ///
    /// # Errors
    ///
    /// [`ParseTimestampError`] if the text is no such time.
    pub fn from_panda_text(text: &str) -> Result<Self, ParseTimestampError> {
        let civil: jiff::civil::DateTime =
            text.trim().parse().map_err(|_| ParseTimestampError {
                value: text.to_owned(),
            })?;
        let zoned = civil
            .to_zoned(jiff::tz::TimeZone::UTC)
            .map_err(|_| ParseTimestampError {
                value: text.to_owned(),
            })?;
        Ok(Self(zoned.timestamp().as_millisecond()))
    }

    fn civil(self) -> jiff::civil::DateTime {
        let stamp = jiff::Timestamp::from_millisecond(self.0).unwrap_or_default();
        jiff::tz::TimeZone::UTC.to_datetime(stamp)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_panda_text())
    }
}

/// Whole milliseconds of a duration, as many as fit.
fn saturating_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_reads_what_it_prints() {
        let stamp = Timestamp::from_millis(1_795_376_921_000);
        assert_eq!(
            Timestamp::from_panda_text(&stamp.to_panda_text()),
            Ok(stamp)
        );
    }

    #[test]
    fn the_log_text_has_milliseconds_after_a_comma() {
        assert_eq!(
            Timestamp::from_millis(7).to_log_text(),
            "1970-01-01 00:00:00,007"
        );
    }

    #[test]
    fn a_time_before_1970_is_printed_too() {
        assert_eq!(
            Timestamp::from_millis(-1).to_log_text(),
            "1969-12-31 23:59:59,999"
        );
    }

    #[test]
    fn a_bad_time_is_refused_with_its_text() {
        let error = Timestamp::from_panda_text("soon").expect_err("no time");
        assert!(error.to_string().contains("`soon`"));
    }

    #[test]
    fn since_never_goes_below_zero() {
        assert_eq!(
            Moment::from_millis(1).since(Moment::from_millis(5)),
            Duration::ZERO
        );
    }
}
