//! How fast Adler-32 is, against the speed of memory.

use std::{hint::black_box, time::Instant};

use ailurus_transfer::checksum::adler32;

use crate::figure::{Better, Figure};

/// Bytes that are summed up or copied at once: far more than any cache holds.
const BYTES: usize = 256 << 20;
/// Runs, all within a second or two.
const RUNS: usize = 9;
/// The goal, unless memory itself is slower.
const GOAL_GB_S: f64 = 8.0;
/// The share of memory's speed that is enough.
const MEMORY_SHARE: f64 = 0.8;

/// Measures both on one core, in turns.
pub(super) fn measure() -> Vec<Figure> {
    let source = vec![0x5A_u8; BYTES];
    let mut target = vec![0_u8; BYTES];
    let (mut sums, mut copies) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let begin = Instant::now();
        target.copy_from_slice(black_box(&source));
        black_box(&mut target);
        copies.push(gigabytes_per_second(begin));
        let begin = Instant::now();
        black_box(adler32(black_box(&source)));
        sums.push(gigabytes_per_second(begin));
    }
    let memory = Figure::without_goal("transfer.memcpy_gb_s", "GB/s", copies);
    let goal = GOAL_GB_S.min(MEMORY_SHARE * memory.value());
    let adler = Figure::new("transfer.adler32_gb_s", "GB/s", Better::Larger, goal, sums);
    vec![adler, memory]
}

fn gigabytes_per_second(begin: Instant) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
    let bytes = BYTES as f64;
    bytes / 1e9 / begin.elapsed().as_secs_f64()
}
