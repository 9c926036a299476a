//! The end of a payload: reason, polite signal, grace, kill.
//!
//! ```text
//! (runs) ─ begin ─► asked ─ grace over, or hurried ─► killed ─ wait over ─► given up
//!                     └──────────── all processes gone ─┴─► (ended)
//! ```

use std::time::Duration;

use ailurus_model::{ErrorCode, Moment};

use crate::Problem;

/// Time after SIGKILL after which a payload that is still there is given up: it hangs in the
/// kernel, for example in a dead network file system.
const KILL_WAIT: Duration = Duration::from_secs(10);

/// Time after a signal within which a further one says the same thing: a batch system signals the
/// whole process group, and the wrapper in it passes on to the pilot what it got.
const ECHO_WINDOW: Duration = Duration::from_secs(2);

/// Why a payload is ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndReason {
    /// The pilot got this signal.
    Stop(i32),
    /// The server said so.
    ServerKill,
    /// The server said so, gently.
    SoftKill,
    /// A limit was passed.
    Limit(Problem),
    /// No heartbeat was answered for too long.
    ServerLost(Duration),
    /// A program on the node asked for it by a file. What the payload did is kept.
    KillFile,
    /// The server has given the job to somebody else, or has its final state.
    Superseded,
}

impl EndReason {
    /// Returns what the job fails with; none if it does not fail for that, or nobody is told.
    #[must_use]
    pub fn problem(&self) -> Option<Problem> {
        match self {
            Self::Stop(signal) => Some(stop_problem(*signal)),
            Self::ServerKill => Some(Problem::new(ErrorCode::PandaKill, "")),
            Self::SoftKill => Some(Problem::new(ErrorCode::PandaKill, "soft kill")),
            Self::Limit(problem) => Some(problem.clone()),
            Self::ServerLost(since) => {
                let minutes = since.as_secs() / 60;
                let detail = format!("no heartbeat was answered for {minutes} minutes");
                Some(Problem::new(ErrorCode::ExceededMaxWaitTime, detail))
            }
            Self::KillFile | Self::Superseded => None,
        }
    }
}

/// Returns what a job fails with when its pilot got a signal.
#[must_use]
pub fn stop_problem(signal: i32) -> Problem {
    Problem::new(
        ErrorCode::of_signal(signal),
        format!("the pilot got signal {signal}"),
    )
}

/// A signal for all processes of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadSignal {
    /// SIGTERM: it may save what it has.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// A payload that is being ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The first reason; later ones change nothing.
    reason: EndReason,
    stage: Stage,
    /// From when on a second request hurries.
    hurry_from: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Asked { kill_at: Moment },
    Killed { give_up_at: Moment },
    GivenUp,
}

/// What a step of the ending asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing is due.
    Wait,
    /// Send this signal.
    Signal(PayloadSignal),
    /// Go on without the payload: nothing can end it.
    GiveUp,
}

impl Ending {
    /// Begins: SIGTERM is to be sent at once.
    #[must_use]
    pub fn begin(now: Moment, reason: EndReason, grace: Duration) -> Self {
        let hurry_from = match reason {
            EndReason::Stop(_) => now.after(ECHO_WINDOW),
            EndReason::ServerKill
            | EndReason::SoftKill
            | EndReason::Limit(_)
            | EndReason::ServerLost(_)
            | EndReason::KillFile
            | EndReason::Superseded => now,
        };
        Self {
            reason,
            hurry_from,
            stage: Stage::Asked {
                kill_at: now.after(grace),
            },
        }
    }

    /// Returns why the payload is ended.
    #[must_use]
    pub const fn reason(&self) -> &EndReason {
        &self.reason
    }

    /// Takes a second request during the grace period: SIGKILL at once, unless it is the echo of
    /// the first signal.
    pub fn hurry(&mut self, now: Moment) -> Step {
        match self.stage {
            Stage::Asked { .. } if now < self.hurry_from => Step::Wait,
            Stage::Asked { .. } => self.kill(now),
            Stage::Killed { .. } | Stage::GivenUp => Step::Wait,
        }
    }

    /// Does what is due at `now`.
    pub fn on_timeout(&mut self, now: Moment) -> Step {
        match self.stage {
            Stage::Asked { kill_at } if kill_at <= now => self.kill(now),
            Stage::Killed { give_up_at } if give_up_at <= now => {
                self.stage = Stage::GivenUp;
                Step::GiveUp
            }
            Stage::Asked { .. } | Stage::Killed { .. } | Stage::GivenUp => Step::Wait,
        }
    }

    /// Returns when `on_timeout` is due.
    #[must_use]
    pub const fn next_deadline(&self) -> Option<Moment> {
        match self.stage {
            Stage::Asked { kill_at } => Some(kill_at),
            Stage::Killed { give_up_at } => Some(give_up_at),
            Stage::GivenUp => None,
        }
    }

    fn kill(&mut self, now: Moment) -> Step {
        self.stage = Stage::Killed {
            give_up_at: now.after(KILL_WAIT),
        };
        Step::Signal(PayloadSignal::Kill)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1000)
    }

    #[test]
    fn grace_then_kill_then_giving_up() {
        let mut ending = Ending::begin(at(1), EndReason::ServerKill, GRACE);
        assert_eq!(ending.on_timeout(at(10)), Step::Wait);
        assert_eq!(ending.on_timeout(at(11)), Step::Signal(PayloadSignal::Kill));
        assert_eq!(ending.on_timeout(at(12)), Step::Wait);
        assert_eq!(ending.on_timeout(at(21)), Step::GiveUp);
        assert_eq!(
            (ending.on_timeout(at(99)), ending.next_deadline()),
            (Step::Wait, None)
        );
    }

    #[test]
    fn second_request_skips_the_grace_period_once() {
        let mut ending = Ending::begin(at(1), EndReason::Stop(15), GRACE);
        assert_eq!(ending.hurry(at(3)), Step::Signal(PayloadSignal::Kill));
        assert_eq!(ending.hurry(at(4)), Step::Wait);
        assert_eq!(ending.next_deadline(), Some(at(13)));
    }

    #[test]
    fn the_echo_of_a_signal_hurries_nobody() {
        let mut ending = Ending::begin(at(1), EndReason::Stop(15), GRACE);
        assert_eq!(ending.hurry(at(2)), Step::Wait);
        assert_eq!(ending.next_deadline(), Some(at(11)));
        let mut ending = Ending::begin(at(1), EndReason::ServerKill, GRACE);
        assert_eq!(ending.hurry(at(1)), Step::Signal(PayloadSignal::Kill));
    }

    #[test]
    fn every_reason_but_a_superseded_attempt_has_a_code() {
        assert_eq!(EndReason::Superseded.problem(), None);
        let code = |reason: EndReason| reason.problem().map(|problem| problem.code);
        assert_eq!(code(EndReason::Stop(15)), Some(ErrorCode::Sigterm));
        assert_eq!(code(EndReason::Stop(1)), Some(ErrorCode::KillSignal));
        assert_eq!(code(EndReason::SoftKill), Some(ErrorCode::PandaKill));
        let lost = EndReason::ServerLost(Duration::from_secs(10_800));
        assert_eq!(code(lost), Some(ErrorCode::ExceededMaxWaitTime));
    }
}
