//! Does a payload lose memory? A straight line through memory against time.
//!
//! The server shows the slope as `leak` and how well the line fits as `chi2`. Both come out as
//! those of Pilot 3, from the same points, with its rules for what is left out at both ends: what a
//! payload takes at its start and gives back at its end is no leak.
//!
//! Source: Pilot 3, `pilot/api/analytics.py`, `get_fitted_data`.

use std::time::Duration;

use ailurus_model::{ByteCount, Timestamp};

/// Least time between two points, that of prmon under Pilot 3.
const SPACING: Duration = Duration::from_secs(60);
/// Most points that are kept. Beyond it every second one is dropped and the spacing doubled.
const POINTS_MAX: usize = 4096;
/// Fewer points or as many are not fitted.
const POINTS_MIN: usize = 7;
/// From so many points on, the ends are found by how the line fits.
const MANY_POINTS: usize = 100;
/// Points that are left out at the beginning and at the end of fewer, once the payload is over.
const TAILS: (usize, usize) = (5, 2);
/// Points by which such an end grows.
const STEP: usize = 5;
/// Part by which leaving out one more step must better the fit.
const CHANGE_MIN: f64 = 0.25;

/// Proportional and swapped memory over time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryCurve {
    /// Milliseconds since the first point, and KiB.
    points: Vec<(u64, u64)>,
    spacing: Duration,
    first: Timestamp,
}

/// A line through the points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Leak {
    /// KiB a second.
    pub slope: f64,
    /// Sum of the squares of the relative deviations.
    pub chi2: f64,
    /// KiB at the beginning of 1970: the line is one of the time since then.
    pub intersect: f64,
}

/// Whether the payload still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tails {
    /// It does: all points count.
    Kept,
    /// It does not: the first and the last points are left out.
    LeftOut,
}

impl Default for MemoryCurve {
    fn default() -> Self {
        Self {
            points: Vec::new(),
            spacing: SPACING,
            first: Timestamp::from_millis(0),
        }
    }
}

impl MemoryCurve {
    /// Takes a point, unless the last one is too near.
    pub fn add(&mut self, time: Timestamp, memory: ByteCount) {
        if self.points.is_empty() {
            self.first = time;
        }
        let since = time.since(self.first);
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let spacing = u64::try_from(self.spacing.as_millis()).unwrap_or(u64::MAX);
        let last = self.points.last();
        if last.is_some_and(|(last, _)| millis < last.saturating_add(spacing)) {
            return;
        }
        if self.points.len() >= POINTS_MAX {
            let mut index = 0;
            self.points.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.spacing *= 2;
        }
        self.points.push((millis, memory.as_kib()));
    }

    /// Fits a line; none if there are too few points, or memory does not change at all.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "sizes and times are far below 2^53"
    )]
    pub fn leak(&self, tails: Tails) -> Option<Leak> {
        let points: Vec<(f64, f64)> = self
            .points
            .iter()
            .map(|(millis, kib)| (*millis as f64 / 1000.0, *kib as f64))
            .collect();
        let range = fitted_range(&points, tails)?;
        let line = Line::through(points.get(range)?)?;
        let begin = self.first.as_millis() as f64 / 1000.0;
        let leak = Leak {
            slope: line.slope,
            chi2: line.chi2,
            intersect: line.at(-begin),
        };
        (leak.slope != 0.0).then_some(leak)
    }
}

/// Chooses the points that are fitted.
fn fitted_range(points: &[(f64, f64)], tails: Tails) -> Option<std::ops::Range<usize>> {
    let count = points.len();
    if count >= MANY_POINTS {
        let whole = Line::through(points)?.chi2;
        let end = without_end(points, whole);
        let begin = without_begin(points, whole);
        return Some(begin..end);
    }
    let range = match tails {
        Tails::LeftOut if count > POINTS_MIN => TAILS.0..count - TAILS.1,
        Tails::Kept | Tails::LeftOut => 0..count,
    };
    (range.len() > POINTS_MIN).then_some(range)
}

/// Leaves out steps at the end for as long as that betters the fit much.
fn without_end(points: &[(f64, f64)], whole: f64) -> usize {
    let steps = steps_that_help(points, whole, |kept, dropped| &kept[..kept.len() - dropped]);
    let kept = |steps| points.len() - steps * STEP;
    steps.map_or(points.len() - 1, |steps| kept(steps) - 1)
}

/// The same at the beginning. Each step there leaves out twice as many points, as in Pilot 3.
fn without_begin(points: &[(f64, f64)], whole: f64) -> usize {
    let steps = steps_that_help(points, whole, |kept, dropped| &kept[dropped..]);
    steps.map_or(0, |steps| steps * STEP * 2)
}

/// Counts the steps until one does not help; none if all do until a third of the points is gone.
fn steps_that_help(
    points: &[(f64, f64)],
    whole: f64,
    cut: impl Fn(&[(f64, f64)], usize) -> &[(f64, f64)],
) -> Option<usize> {
    let mut before = whole;
    let mut steps = 0;
    while 3 * (points.len() - steps * STEP) > 2 * points.len() {
        steps += 1;
        let chi2 = Line::through(cut(points, steps * STEP))?.chi2;
        let change = (before - chi2) / before;
        // A perfect fit cannot get better either.
        if change.is_nan() || change < CHANGE_MIN {
            return Some(steps);
        }
        before = chi2;
    }
    None
}

/// A line by least squares.
struct Line {
    slope: f64,
    mean: (f64, f64),
    chi2: f64,
}

impl Line {
    /// Returns none if there is no slope: all points lie at one time, or on one height.
    #[expect(clippy::cast_precision_loss, reason = "a few thousand points")]
    fn through(points: &[(f64, f64)]) -> Option<Self> {
        let count = points.len() as f64;
        let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
        let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
        let square = points
            .iter()
            .map(|(x, _)| (x - mean_x).powi(2))
            .sum::<f64>();
        let product = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y));
        let product = product.sum::<f64>();
        let slope = product / square;
        if !slope.is_finite() || product == 0.0 {
            return None;
        }
        let mut line = Self {
            slope,
            mean: (mean_x, mean_y),
            chi2: 0.0,
        };
        let expected: Vec<f64> = points.iter().map(|(x, _)| line.at(*x)).collect();
        if expected.iter().all(|it| *it != 0.0) {
            let pairs = points.iter().zip(&expected);
            line.chi2 = pairs.map(|((_, y), at)| ((y - at) / at).powi(2)).sum();
        }
        Some(line)
    }

    fn at(&self, x: f64) -> f64 {
        self.mean.1 + self.slope * (x - self.mean.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: i64 = 1_700_000_000;

    fn curve(kib: impl IntoIterator<Item = u64>) -> MemoryCurve {
        let mut curve = MemoryCurve::default();
        for (index, kib) in (0..).zip(kib) {
            let time = Timestamp::from_millis((BEGIN + index * 60) * 1000);
            curve.add(time, ByteCount::from_kib(kib));
        }
        curve
    }

    fn near(one: f64, two: f64) -> bool {
        (one - two).abs() <= 1e-6 * two.abs().max(1.0)
    }

    #[test]
    fn a_steady_leak_is_the_slope() {
        let leak = curve((0..10).map(|it| 1000 + 120 * it)).leak(Tails::Kept);
        let leak = leak.expect("ten points");
        assert!(near(leak.slope, 2.0) && near(leak.chi2, 0.0), "{leak:?}");
        assert!(near(leak.intersect, 1000.0 - 2.0 * 1.7e9), "{leak:?}");
    }

    #[test]
    fn what_is_taken_and_given_back_at_the_ends_is_no_leak() {
        let ends = [
            1, 2, 3, 4, 5, 1000, 1060, 1120, 1180, 1240, 1300, 1360, 1420, 9, 1,
        ];
        let leak = curve(ends).leak(Tails::LeftOut).expect("eight points");
        assert!(near(leak.slope, 1.0), "{leak:?}");
        assert!(
            curve(ends)
                .leak(Tails::Kept)
                .is_some_and(|it| !near(it.slope, 1.0))
        );
    }

    #[test]
    fn too_few_points_and_constant_memory_give_no_leak() {
        assert_eq!(curve(0..7).leak(Tails::Kept), None);
        assert_eq!(curve(0..14).leak(Tails::LeftOut), None);
        assert_eq!(curve([5; 50]).leak(Tails::Kept), None);
        assert_eq!(MemoryCurve::default().leak(Tails::Kept), None);
    }

    #[test]
    fn of_many_points_those_at_the_ends_that_do_not_fit_are_left_out() {
        let steady = (0..110).map(|it| 100_000 + 60 * it);
        let end = [10, 10, 10, 10, 10];
        let leak = curve(steady.chain(end))
            .leak(Tails::LeftOut)
            .expect("many points");
        assert!(near(leak.slope, 1.0), "{leak:?}");
    }

    #[test]
    fn points_that_come_too_often_are_left_out_and_many_are_thinned() {
        let mut often = MemoryCurve::default();
        for second in 0..600 {
            often.add(
                Timestamp::from_millis(second * 1000),
                ByteCount::from_kib(1),
            );
        }
        assert_eq!(often.points.len(), 10);
        let many = curve((0..20_000).map(|it| 1000 + 6 * it));
        assert!(many.points.len() <= POINTS_MAX && many.points.len() > POINTS_MAX / 4);
        assert!(many.leak(Tails::Kept).is_some_and(|it| near(it.slope, 0.1)));
    }
}
