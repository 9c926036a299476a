//! Back-pressure: what a batch system's refusals and wasted workers do to submission.
//!
//! Each refusal pauses the queue's submission for longer than the one before. Workers that end
//! at once without work halve the number of new ones, down to one, and then pause submission too:
//! a broken node must not eat workers as fast as they are made.

use std::time::Duration;

use ailurus_model::Timestamp;

/// The pause is doubled this often at most, before its own limit ends the growth.
const MAX_DOUBLINGS: u32 = 16;
/// Longest reason that is kept, in characters.
const MAX_REASON_CHARS: usize = 500;

/// Shortest and longest pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PauseRange {
    /// The first pause.
    pub min: Duration,
    /// The longest pause.
    pub max: Duration,
}

/// The back-pressure of one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pressure {
    failures: u32,
    fruitless: u32,
    pause: Option<Pause>,
}

impl Default for Pressure {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pause {
    since: Timestamp,
    until: Timestamp,
    reason: String,
}

impl Pressure {
    /// Makes the state of a queue that nothing speaks against.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            failures: 0,
            fruitless: 0,
            pause: None,
        }
    }

    /// Takes a refusal or a failure of the batch system. While the queue pauses, further ones
    /// change nothing: they belong to the same trouble.
    pub fn on_failure(&mut self, now: Timestamp, reason: &str, range: PauseRange) {
        if self.pause(now).is_none() {
            self.failures = self.failures.saturating_add(1);
            self.begin(now, reason, range, self.failures - 1);
        }
    }

    /// The batch system took a worker.
    pub const fn on_success(&mut self) {
        self.failures = 0;
    }

    /// Workers ended at once without having had work. `new_per_cycle` is what the queue may get
    /// without pressure.
    pub fn on_fruitless(&mut self, now: Timestamp, new_per_cycle: u32, range: PauseRange) {
        if self.pause(now).is_some() {
            return;
        }
        self.fruitless = self.fruitless.saturating_add(1);
        let halvings = u32::BITS - new_per_cycle.leading_zeros();
        if let Some(excess) = self.fruitless.checked_sub(halvings.max(1)) {
            let reason = "workers end at once without work: see their output";
            self.begin(now, reason, range, excess);
        }
    }

    /// A worker was of use.
    pub const fn on_fruitful(&mut self) {
        self.fruitless = 0;
    }

    /// Returns how many new workers a cycle may bring.
    #[must_use]
    pub fn allowance(&self, new_per_cycle: u32) -> u32 {
        let halved = new_per_cycle.checked_shr(self.fruitless).unwrap_or(0);
        halved.max(1).min(new_per_cycle)
    }

    /// Returns the end and the reason of the pause, if there is one.
    #[must_use]
    pub fn pause(&self, now: Timestamp) -> Option<(Timestamp, &str)> {
        let pause = self.pause.as_ref()?;
        // A clock that was set back must not turn a pause of seconds into one of days.
        let is_on = pause.since <= now && now < pause.until;
        is_on.then_some((pause.until, pause.reason.as_str()))
    }

    fn begin(&mut self, now: Timestamp, reason: &str, range: PauseRange, doublings: u32) {
        let factor = 1_u32 << doublings.min(MAX_DOUBLINGS);
        let length = range.min.saturating_mul(factor).min(range.max);
        self.pause = Some(Pause {
            since: now,
            until: now.after(length),
            reason: reason.chars().take(MAX_REASON_CHARS).collect(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: PauseRange = PauseRange {
        min: Duration::from_secs(10),
        max: Duration::from_secs(60),
    };

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    #[test]
    fn pauses_grow_up_to_their_limit_and_keep_the_reason() {
        let mut pressure = Pressure::new();
        let mut now = at(0);
        for expected in [10, 20, 40, 60, 60] {
            pressure.on_failure(now, "queue full", RANGE);
            let (until, reason) = pressure.pause(now).expect("paused");
            assert_eq!(
                (until.since(now).as_secs(), reason),
                (expected, "queue full")
            );
            now = until;
            assert_eq!(pressure.pause(now), None);
        }
    }

    #[test]
    fn refusals_within_a_pause_do_not_lengthen_it() {
        let mut pressure = Pressure::new();
        pressure.on_failure(at(0), "queue full", RANGE);
        pressure.on_failure(at(9), "queue full", RANGE);
        assert_eq!(pressure.pause(at(9)).map(|(until, _)| until), Some(at(10)));
    }

    #[test]
    fn a_taken_worker_makes_the_next_pause_short_again() {
        let mut pressure = Pressure::new();
        pressure.on_failure(at(0), "a", RANGE);
        pressure.on_failure(at(10), "b", RANGE);
        pressure.on_success();
        pressure.on_failure(at(100), "c", RANGE);
        assert_eq!(
            pressure.pause(at(100)).map(|(until, _)| until),
            Some(at(110))
        );
    }

    #[test]
    fn wasted_workers_halve_the_new_ones_and_then_pause() {
        let mut pressure = Pressure::new();
        let mut allowances = Vec::new();
        for second in 0..4 {
            allowances.push(pressure.allowance(8));
            pressure.on_fruitless(at(second), 8, RANGE);
        }
        assert_eq!(allowances, [8, 4, 2, 1]);
        assert!(pressure.pause(at(3)).is_some());
        pressure.on_fruitful();
        assert_eq!(pressure.allowance(8), 8);
    }

    #[test]
    fn a_clock_that_is_set_back_ends_the_pause() {
        let mut pressure = Pressure::new();
        pressure.on_failure(at(1_000_000), "queue full", RANGE);
        assert_eq!(pressure.pause(at(5)), None);
    }
}
