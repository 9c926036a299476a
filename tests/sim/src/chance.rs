//! The only source of chance: everything that is drawn comes from the run's seed.

use std::time::Duration;

/// A source of chance. The same seed draws the same.
#[derive(Debug)]
pub(crate) struct Chance(fastrand::Rng);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Draws a number from `from` up to and including `to`.
    pub(crate) fn number(&mut self, from: u64, to: u64) -> u64 {
        self.0.u64(from..=to)
    }

    /// As [`Self::number`], for smaller ones.
    pub(crate) fn count(&mut self, from: u32, to: u32) -> u32 {
        self.0.u32(from..=to)
    }

    /// Draws a duration of whole milliseconds between two durations in seconds.
    pub(crate) fn seconds(&mut self, from: u64, to: u64) -> Duration {
        self.millis(from * 1000, to * 1000)
    }

    /// Draws a duration of whole milliseconds.
    pub(crate) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.number(from, to))
    }

    /// Says yes in `per_mille` of a thousand cases.
    pub(crate) fn says_yes(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.0.u32(0..1000) < per_mille
    }

    /// Draws one of several things.
    pub(crate) fn one_of<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        &things[self.0.usize(0..things.len())]
    }

    /// Draws 16 bytes.
    pub(crate) fn bytes(&mut self) -> [u8; 16] {
        self.0.u128(..).to_le_bytes()
    }
}
