//! How long a transfer may go on: as long as it moves, however large it is.
//!
//! [`Patience`] holds the limits, [`Pace`] judges them from times and bytes that it is told. No
//! limit ends a transfer that is slow but alive: the core sets [`Patience::least_bytes`] low, and
//! [`Patience::blind`] from the size and the speed that the storage has shown.

use std::time::Duration;

/// Limits of one transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Longest time until the first byte, with connecting and waiting for a tape or a redirect.
    pub begin: Duration,
    /// Length of the window in which something must move.
    pub stall: Duration,
    /// Fewest bytes that must move in a window, at least 1. One byte a minute is no transfer.
    pub least_bytes: u64,
    /// Longest time of the whole transfer for a tool that does not show what it has moved.
    pub blind: Duration,
}

impl Default for Patience {
    /// Returns limits for a file of unknown size from a storage of unknown speed.
    fn default() -> Self {
        Self {
            begin: Duration::from_secs(120),
            stall: Duration::from_secs(60),
            least_bytes: 64 << 10,
            blind: Duration::from_secs(10_800),
        }
    }
}

/// Longest wait for a storage's word after the last byte of a small file.
const SETTLE_LIMIT: Duration = Duration::from_secs(120);

/// Slowest speed at which a storage may settle a file after its last byte, in bytes a second.
const SETTLE_BYTES_PER_SEC: u64 = 20 << 20;

/// Returns how long a storage may take to settle so many bytes: to bring them to where they belong
/// and sum them up.
pub(crate) const fn settle_limit(bytes: u64) -> Duration {
    let secs = SETTLE_LIMIT
        .as_secs()
        .saturating_add(bytes / SETTLE_BYTES_PER_SEC);
    Duration::from_secs(secs)
}

/// Why a transfer is ended for its slowness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Impatience {
    /// Nothing came at all.
    #[error("no byte came within {} s", limit.as_secs())]
    NotBegun {
        /// The limit.
        limit: Duration,
    },
    /// It began, and stopped.
    #[error("only {moved} bytes moved in the last {} s", window.as_secs())]
    Stalled {
        /// What moved in the window, in bytes.
        moved: u64,
        /// The window.
        window: Duration,
    },
    /// A tool that does not show its progress has not ended.
    #[error("it did not end within {} s", limit.as_secs())]
    NotEnded {
        /// The limit.
        limit: Duration,
    },
}

/// The pace of one transfer, judged window by window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    patience: Patience,
    /// When the transfer began, by the clock of `elapsed`.
    begin: Duration,
    /// Bytes that had moved by then, in tries before.
    moved_at_begin: u64,
    /// When the window began, by the same clock.
    window_begin: Duration,
    /// Bytes that had moved by then.
    moved_before: u64,
}

impl Pace {
    /// Begins with no bytes.
    #[must_use]
    pub const fn new(patience: Patience) -> Self {
        Self {
            patience,
            begin: Duration::ZERO,
            moved_at_begin: 0,
            window_begin: Duration::ZERO,
            moved_before: 0,
        }
    }

    /// Begins anew at `elapsed`: what was before, a wait for another pilot for example, does not
    /// count.
    #[must_use]
    pub const fn begun_again(self, elapsed: Duration, moved: u64) -> Self {
        Self {
            patience: self.patience,
            begin: elapsed,
            moved_at_begin: moved,
            window_begin: elapsed,
            moved_before: moved,
        }
    }

    /// Judges a transfer that has moved `moved` bytes in `elapsed`.
    ///
    /// # Errors
    ///
    /// [`Impatience`] once it has to end.
    pub fn judge(&mut self, elapsed: Duration, moved: u64) -> Result<(), Impatience> {
        if moved <= self.moved_at_begin {
            let limit = self.patience.begin;
            self.window_begin = elapsed;
            return if elapsed.saturating_sub(self.begin) > limit {
                Err(Impatience::NotBegun { limit })
            } else {
                Ok(())
            };
        }
        let in_window = moved.saturating_sub(self.moved_before);
        if in_window >= self.patience.least_bytes.max(1) {
            self.window_begin = elapsed;
            self.moved_before = moved;
            return Ok(());
        }
        let window = self.patience.stall;
        if elapsed.saturating_sub(self.window_begin) > window {
            return Err(Impatience::Stalled {
                moved: in_window,
                window,
            });
        }
        Ok(())
    }

    /// Returns the time until which nothing needs to be judged, counted like `elapsed`.
    #[must_use]
    pub fn next_judgement(&self, moved: u64) -> Duration {
        if moved <= self.moved_at_begin {
            return self.begin.saturating_add(self.patience.begin);
        }
        self.window_begin.saturating_add(self.patience.stall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        begin: Duration::from_secs(10),
        stall: Duration::from_secs(5),
        least_bytes: 100,
        blind: Duration::from_secs(1000),
    };

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_transfer_that_moves_is_never_ended() {
        let mut pace = Pace::new(PATIENCE);
        for step in 1..100_000 {
            assert_eq!(pace.judge(secs(step * 4), step * 100), Ok(()));
        }
    }

    #[test]
    fn one_that_never_begins_is_ended() {
        let mut pace = Pace::new(PATIENCE);
        assert_eq!(pace.judge(secs(10), 0), Ok(()));
        let limit = secs(10);
        assert_eq!(pace.judge(secs(11), 0), Err(Impatience::NotBegun { limit }));
    }

    #[test]
    fn what_was_before_a_new_begin_does_not_count() {
        let mut pace = Pace::new(PATIENCE);
        assert_eq!(pace.judge(secs(9), 500), Ok(()));
        let mut pace = pace.begun_again(secs(1000), 500);
        assert_eq!(pace.next_judgement(500), secs(1010));
        assert_eq!(pace.judge(secs(1010), 500), Ok(()));
        let limit = secs(10);
        assert_eq!(
            pace.judge(secs(1011), 500),
            Err(Impatience::NotBegun { limit })
        );
    }

    #[test]
    fn single_bytes_now_and_then_are_no_transfer() {
        let mut pace = Pace::new(PATIENCE);
        assert_eq!(pace.judge(secs(9), 0), Ok(()));
        assert_eq!(pace.judge(secs(10), 1), Ok(()));
        assert_eq!(pace.judge(secs(14), 2), Ok(()));
        let window = secs(5);
        assert_eq!(
            pace.judge(secs(15), 3),
            Err(Impatience::Stalled { moved: 3, window })
        );
    }
}
