//! The wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use ailurus_model::Timestamp;

/// Returns the time, UTC.
pub(crate) fn wall_clock() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
