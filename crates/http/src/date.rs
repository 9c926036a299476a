//! Times in HTTP headers.
//!
//! Source: RFC 9110, sections 5.6.7 (only its preferred form is read) and 10.2.3.

use std::time::Duration;

use crate::validity::days_since_1970;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Longest pause that a server may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// Reads a `Retry-After`: seconds, or a time, from which `now` is taken away. Both times are
/// counted from 1970. More than a day is a day.
#[must_use]
pub fn retry_after(value: &str, now: Duration) -> Option<Duration> {
    let value = value.trim();
    let pause = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => http_date(value)?.saturating_sub(now),
    };
    Some(pause.min(RETRY_AFTER_MAX))
}

/// Reads a time like `Sun, 06 Nov 1994 08:49:37 GMT`, as time since 1970.
#[must_use]
pub fn http_date(text: &str) -> Option<Duration> {
    let (_, rest) = text.trim().split_once(", ")?;
    let mut words = rest.split(' ');
    let day: u64 = words.next()?.parse().ok()?;
    let month_name = words.next()?;
    let month = MONTHS.iter().position(|it| *it == month_name)?;
    let year: u64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(str::parse::<u64>);
    let mut next = || clock.next()?.ok();
    let (hour, minute, second) = (next()?, next()?, next()?);
    let is_time = (1..=31).contains(&day)
        && (1970..10_000).contains(&year)
        && hour < 24
        && minute < 60
        && second <= 60
        && words.next() == Some("GMT");
    let month = u64::try_from(month + 1).ok()?;
    let days = is_time.then(|| days_since_1970(year, month, day))?;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_seconds_or_a_time() {
        let now = Duration::from_secs(784_111_777);
        let pause = |text| retry_after(text, now).map(|it| it.as_secs());
        assert_eq!(pause("120"), Some(120));
        assert_eq!(pause(" 0 "), Some(0));
        assert_eq!(pause("Sun, 06 Nov 1994 08:49:37 GMT"), Some(0));
        assert_eq!(pause("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(pause("Sat, 05 Nov 1994 08:49:37 GMT"), Some(0));
        assert_eq!(pause("99999999999"), Some(86_400));
        for text in [
            "",
            "-1",
            "soon",
            "Sun, 06 Nov 1994",
            "Sun, 06 Xyz 1994 08:49:37 GMT",
        ] {
            assert_eq!(pause(text), None, "{text}");
        }
    }
}
