//! A node that fails one job after the other, fast, must not swallow a whole queue.
//!
//! It counts failures in a row that come soon after the job was taken and whose cause lies with the
//! node, or is unknown. Unknown causes count once for each task: one broken task proves nothing.

use std::{collections::BTreeSet, time::Duration};

use ailurus_experiment::Limits;
use ailurus_model::{Blame, ErrorCode, TaskId};

/// Counts failures in a row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlackHole {
    /// Failures of which the cause is known, and is the node.
    of_node: u32,
    /// Tasks with failures whose cause is unknown.
    unexplained: BTreeSet<TaskId>,
}

/// How a job ended, as far as it tells something of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobEnd {
    /// Its task.
    pub task: TaskId,
    /// Time from its acceptance to its end.
    pub lasted: Duration,
    /// What it failed with; none if it did not.
    pub failure: Option<Cause>,
}

/// Why a job failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Somebody can do something about it.
    Known(Blame),
    /// The payload failed, and nothing says why.
    Unexplained,
}

impl Cause {
    /// Returns the cause of a failure, from its code and what was found in the payload's output.
    #[must_use]
    pub fn of(code: ErrorCode, found: Option<Blame>) -> Self {
        match (found, code) {
            (Some(blame), _) => Self::Known(blame),
            (
                None,
                ErrorCode::PayloadExecutionFailure
                | ErrorCode::UnknownPayloadFailure
                | ErrorCode::UnknownTrfFailure
                | ErrorCode::PayloadExecutionException,
            ) => Self::Unexplained,
            (None, code) => Self::Known(code.blame()),
        }
    }
}

impl BlackHole {
    /// Takes a job's end. Returns what is to be said if this node shall get no further job.
    pub fn on_job_end(&mut self, end: JobEnd, limits: &Limits) -> Option<String> {
        let Some(cause) = end
            .failure
            .filter(|_| end.lasted < limits.black_hole_within)
        else {
            // The node can run jobs.
            *self = Self::default();
            return None;
        };
        match cause {
            Cause::Unexplained => {
                self.unexplained.insert(end.task);
            }
            Cause::Known(Blame::Site | Blame::Network | Blame::Credentials | Blame::Pilot) => {
                self.of_node += 1;
            }
            // These say nothing of the node, neither good nor bad.
            Cause::Known(
                Blame::Payload | Blame::Storage | Blame::Server | Blame::User | Blame::Batch,
            ) => return None,
        }
        let unexplained = u32::try_from(self.unexplained.len()).unwrap_or(u32::MAX);
        let failures = self.of_node.saturating_add(unexplained);
        let is_full = limits.black_hole_failures > 0 && failures >= limits.black_hole_failures;
        is_full.then(|| {
            format!(
                "{failures} jobs in a row failed on this node within {} s each, for causes that lie \
                with it or are unknown: the pilot takes no further job",
                limits.black_hole_within.as_secs()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(task: u64, seconds: u64, failure: Option<Cause>) -> JobEnd {
        JobEnd {
            task: TaskId::new(task),
            lasted: Duration::from_secs(seconds),
            failure,
        }
    }

    /// Says at which of these ends the node counts as a black hole.
    fn found_at(ends: &[JobEnd]) -> Option<usize> {
        let mut black_hole = BlackHole::default();
        let limits = Limits::default();
        ends.iter()
            .position(|end| black_hole.on_job_end(*end, &limits).is_some())
    }

    const SITE: Option<Cause> = Some(Cause::Known(Blame::Site));
    const USER: Option<Cause> = Some(Cause::Known(Blame::User));
    const UNEXPLAINED: Option<Cause> = Some(Cause::Unexplained);

    #[test]
    fn three_fast_failures_of_the_node_in_a_row_are_enough() {
        assert_eq!(found_at(&[end(1, 5, SITE); 3]), Some(2));
    }

    #[test]
    fn a_job_that_ran_well_or_long_begins_the_row_anew() {
        for between in [end(1, 5, None), end(1, 3600, SITE)] {
            let ends = [end(1, 5, SITE), end(1, 5, SITE), between, end(1, 5, SITE)];
            assert_eq!(found_at(&ends), None);
        }
    }

    #[test]
    fn known_errors_of_users_do_not_count_and_hide_nothing() {
        assert_eq!(found_at(&[end(1, 5, USER); 9]), None);
        let ends = [
            end(1, 5, SITE),
            end(2, 5, USER),
            end(1, 5, SITE),
            end(1, 5, SITE),
        ];
        assert_eq!(found_at(&ends), Some(3));
    }

    #[test]
    fn one_broken_task_is_no_broken_node_but_three_are() {
        assert_eq!(found_at(&[end(1, 5, UNEXPLAINED); 9]), None);
        let ends = [1, 2, 3].map(|task| end(task, 5, UNEXPLAINED));
        assert_eq!(found_at(&ends), Some(2));
    }

    #[test]
    fn a_payload_failure_is_explained_by_what_was_found() {
        let code = ErrorCode::PayloadExecutionFailure;
        assert_eq!(Cause::of(code, None), Cause::Unexplained);
        assert_eq!(
            Cause::of(code, Some(Blame::Payload)),
            Cause::Known(Blame::Payload)
        );
        assert_eq!(Cause::of(ErrorCode::Mkdir, None), SITE.expect("some"));
    }

    #[test]
    fn zero_failures_switch_it_off() {
        let mut black_hole = BlackHole::default();
        let limits = Limits {
            black_hole_failures: 0,
            ..Limits::default()
        };
        for _ in 0..9 {
            assert_eq!(black_hole.on_job_end(end(1, 5, SITE), &limits), None);
        }
    }
}
