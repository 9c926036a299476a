//! Waiting for a condition, never for luck.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;

/// How often a condition is looked at where the other side cannot tell us.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Waits until `condition` gives a value, and looks often.
///
/// # Errors
///
/// The condition fails, or gives nothing within `limit`; the message names `what`.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    condition: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    look_every(LOOK_INTERVAL, what, limit, condition)
}

/// As [`wait_for`], with a look every `interval`, for conditions that cost something.
///
/// # Errors
///
/// As [`wait_for`].
pub fn look_every<T>(
    interval: Duration,
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if start.elapsed() > limit {
            bail!("{what} did not happen within {} s", limit.as_secs());
        }
        thread::sleep(interval);
    }
}
