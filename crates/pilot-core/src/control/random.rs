//! A small random source, so that the same seed gives the same pilot.

use std::time::Duration;

/// `SplitMix64` over two states, for GUIDs and the spread of pauses; not for secrets.
///
/// Source: G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", 2014.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Random {
    states: [u64; 2],
}

impl Random {
    /// Makes a source from random bytes.
    #[must_use]
    pub fn new(seed: [u8; 16]) -> Self {
        let half = |from: usize| -> u64 {
            let bytes = &seed[from..from + 8];
            bytes
                .iter()
                .rev()
                .fold(0, |value, byte| (value << 8) | u64::from(*byte))
        };
        Self {
            states: [half(0), half(8)],
        }
    }

    /// Returns 16 random bytes.
    pub fn bytes(&mut self) -> [u8; 16] {
        let low = step(&mut self.states[0]);
        let high = step(&mut self.states[1]);
        (u128::from(low) | (u128::from(high) << 64)).to_le_bytes()
    }

    /// Returns a duration from zero up to and including `longest`, in whole milliseconds.
    pub fn up_to(&mut self, longest: Duration) -> Duration {
        let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        let drawn = step(&mut self.states[0]);
        Duration::from_millis(drawn % millis.saturating_add(1).max(1))
    }
}

fn step(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_they_differ_from_draw_to_draw() {
        let (mut one, mut two) = (Random::new([3; 16]), Random::new([3; 16]));
        let first = one.bytes();
        assert_eq!(first, two.bytes());
        assert_ne!(first, one.bytes());
    }

    #[test]
    fn a_drawn_duration_is_never_longer_than_asked() {
        let mut random = Random::new([9; 16]);
        let longest = Duration::from_millis(3);
        assert!((0..100).all(|_| random.up_to(longest) <= longest));
        assert_eq!(random.up_to(Duration::ZERO), Duration::ZERO);
    }
}
