//! The status of a task follows from the statuses of its jobs.

use ailurus_model::{JobStatus, TaskId, TaskStatus};

use crate::{
    ledger::{JobCounts, Ledger, LedgerError},
    operation::Operation,
};

impl<L: Ledger> Operation<'_, L> {
    /// Brings a task's status up to date with its jobs.
    pub(crate) fn refresh_task(&mut self, id: TaskId) -> Result<(), LedgerError> {
        let mut task = self.task(id)?;
        if task.revision > 0 {
            return self.note_jobs_changed(&task);
        }
        let status = derived(task.status, &self.ledger.task_counts(id)?);
        if status == task.status {
            return Ok(());
        }
        self.set_task_status(&mut task, status, "")?;
        self.ledger.put_task(&task)
    }
}

/// Returns what a task is, from what it was and its jobs.
pub(crate) fn derived(current: TaskStatus, counts: &JobCounts) -> TaskStatus {
    let jobs = |is_counted: fn(JobStatus) -> bool| -> u64 {
        counts
            .iter()
            .filter(|(status, _)| is_counted(**status))
            .map(|(_, n)| n)
            .sum()
    };
    let all = jobs(|_| true);
    let ended = jobs(JobStatus::is_terminal);
    let finished = jobs(|status| status == JobStatus::Finished);
    let untouched = jobs(is_before_dispatch);
    let was_aborted = matches!(current, TaskStatus::Aborting | TaskStatus::Aborted);
    let was_fresh = matches!(current, TaskStatus::Defined | TaskStatus::Ready);
    if ended < all {
        // A retried job waits again, but its task has run.
        return match (was_aborted, was_fresh && untouched == all) {
            (true, _) => TaskStatus::Aborting,
            (false, true) => TaskStatus::Ready,
            (false, false) => TaskStatus::Running,
        };
    }
    if was_aborted {
        TaskStatus::Aborted
    } else if finished == all {
        TaskStatus::Done
    } else if finished > 0 {
        TaskStatus::Finished
    } else {
        TaskStatus::Failed
    }
}

fn is_before_dispatch(status: JobStatus) -> bool {
    matches!(
        status,
        JobStatus::Pending | JobStatus::Defined | JobStatus::Assigned | JobStatus::Activated
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jobs_say_what_the_task_is() {
        use JobStatus::{Activated, Cancelled, Closed, Failed, Finished, Running};
        use TaskStatus as T;
        let table: &[(T, &[JobStatus], T)] = &[
            (T::Ready, &[Activated, Activated], T::Ready),
            (T::Ready, &[Activated, Running], T::Running),
            (T::Ready, &[Activated, Finished], T::Running),
            (T::Running, &[Activated, Activated], T::Running),
            (T::Failed, &[Activated], T::Running),
            (T::Running, &[Finished, Finished], T::Done),
            (T::Running, &[Finished, Failed], T::Finished),
            (T::Running, &[Cancelled, Closed], T::Failed),
            (T::Aborting, &[Running, Cancelled], T::Aborting),
            (T::Aborting, &[Finished, Cancelled], T::Aborted),
        ];
        for (current, jobs, expected) in table {
            let mut counts = JobCounts::new();
            for job in *jobs {
                *counts.entry(*job).or_default() += 1;
            }
            assert_eq!(derived(*current, &counts), *expected, "{current} {jobs:?}");
        }
    }
}
