//! Since when the server has been there to hear pilots.
//!
//! Silence means nothing while nobody listened: after an outage the pilots' updates of that time
//! are still on their way, and after the clock was set every job looks silent. The main type is
//! [`Listening`].

use std::time::{Duration, Instant};

use ailurus_model::Timestamp;

/// By how much the clock may drift between two looks before it counts as set.
const DRIFT_MAX: Duration = Duration::from_secs(30);

/// The server's ear.
#[derive(Debug)]
pub(crate) struct Listening {
    /// Since when it listens by one and the same clock.
    since: Instant,
    /// The last look, by the clock that only runs forward and by the one that can be set.
    last: (Instant, Timestamp),
}

/// What a look says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    Runs,
    /// It was set, or the machine slept.
    WasSet,
}

impl Listening {
    /// Begins to listen.
    pub(crate) const fn new(now: Instant, clock: Timestamp) -> Self {
        Self {
            since: now,
            last: (now, clock),
        }
    }

    /// Compares the clocks. If one was set, listening begins anew.
    pub(crate) fn look(&mut self, now: Instant, clock: Timestamp) -> Clock {
        let (then, clock_then) = self.last;
        let expected = clock_then.after(now.saturating_duration_since(then));
        self.last = (now, clock);
        let drift = clock.since(expected).max(expected.since(clock));
        if drift <= DRIFT_MAX {
            return Clock::Runs;
        }
        self.since = now;
        Clock::WasSet
    }

    /// Says whether silence means something by now. Where jobs may be silent for less than the
    /// grace, so may the server.
    pub(crate) fn is_long_enough(&self, grace: Duration, heartbeat_timeout: Duration) -> bool {
        let listened = self.last.0.saturating_duration_since(self.since);
        listened >= grace.min(heartbeat_timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const GRACE: Duration = Duration::from_secs(40 * 60);
    const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(2 * 3600);

    /// Looks every minute, with a clock that goes right.
    fn listen(listening: &mut Listening, minutes: u32) {
        for _ in 0..minutes {
            let (now, clock) = listening.last;
            let look = listening.look(now + MINUTE, clock.after(MINUTE));
            assert_eq!(look, Clock::Runs);
        }
    }

    fn begin() -> Listening {
        let clock = Timestamp::from_millis(1_800_000_000_000);
        Listening::new(Instant::now(), clock)
    }

    #[test]
    fn silence_means_nothing_until_pilots_had_time_to_be_heard() {
        let mut listening = begin();
        listen(&mut listening, 39);
        assert!(!listening.is_long_enough(GRACE, HEARTBEAT_TIMEOUT));
        listen(&mut listening, 1);
        assert!(listening.is_long_enough(GRACE, HEARTBEAT_TIMEOUT));
    }

    #[test]
    fn a_shorter_time_out_needs_no_more_than_itself() {
        let mut listening = begin();
        listen(&mut listening, 2);
        assert!(listening.is_long_enough(GRACE, 2 * MINUTE));
    }

    #[test]
    fn a_clock_that_was_set_forward_or_back_begins_the_grace_anew() {
        let hours = Duration::from_secs(5 * 3600);
        for set in [Timestamp::after, Timestamp::before] {
            let mut listening = begin();
            listen(&mut listening, 100);
            let (now, clock) = listening.last;
            let look = listening.look(now + MINUTE, set(clock, hours));
            assert_eq!(look, Clock::WasSet);
            assert!(!listening.is_long_enough(GRACE, HEARTBEAT_TIMEOUT));
            listen(&mut listening, 40);
            assert!(listening.is_long_enough(GRACE, HEARTBEAT_TIMEOUT));
        }
    }
}
