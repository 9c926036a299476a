//! Growing pauses between tries.

use std::time::Duration;

use crate::control::random::Random;

/// Pauses that double from a first to a last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The pause after the first failure.
    pub first: Duration,
    /// No pause is longer, but for the spread.
    pub last: Duration,
}

impl Backoff {
    /// Pauses between tries to send an update.
    pub const UPDATE: Self = Self {
        first: Duration::from_secs(1),
        last: Duration::from_secs(120),
    };

    /// Pauses between tries to fetch a script.
    pub const SCRIPT: Self = Self {
        first: Duration::from_secs(1),
        last: Duration::from_secs(60),
    };

    /// Returns the pause after `failures` failures in a row, at least 1, spread by up to a
    /// quarter, so that many pilots do not come back together.
    #[must_use]
    pub fn pause(&self, failures: u32, random: &mut Random) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let pause = self.first.saturating_mul(1 << doublings).min(self.last);
        pause + random.up_to(pause / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_last_and_are_spread_by_a_quarter() {
        let mut random = Random::new([7; 16]);
        for (failures, seconds) in [(1, 1), (2, 2), (3, 4), (7, 64), (8, 120), (99, 120)] {
            let pause = Backoff::UPDATE.pause(failures, &mut random);
            let base = Duration::from_secs(seconds);
            assert!(
                pause >= base && pause <= base + base / 4,
                "{failures}: {pause:?}"
            );
        }
    }
}
