//! Tasks whose jobs fail again and again wait, each time longer: something is wrong that further
//! attempts will not mend at once.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/db_proxy_mods/task_standalone_module.py`
//! (`throttleTasks_JEDI`, `releaseThrottledTasks_JEDI`).

use ailurus_model::{TaskStatus, Timestamp};

use crate::{
    ledger::{JobRecord, Ledger, LedgerError},
    operation::Operation,
    tasks::record::PandaTask,
};

impl<L: Ledger> Operation<'_, L> {
    /// Has a task looked at one of whose jobs has failed very often.
    pub(crate) fn note_failing_job(&mut self, job: &JobRecord) -> Result<(), LedgerError> {
        let most = self.ctx.limits.tasks.throttled_attempts;
        if most > 0 && job.serial > 0 && job.attempt_nr.value() > most {
            self.wake_task(job.task_id)?;
        }
        Ok(())
    }

    /// Throttles a running task whose jobs have failed too often, and says whether it did.
    pub(super) fn throttle_failing(&mut self, task: &mut PandaTask) -> Result<bool, LedgerError> {
        let most = u64::from(self.ctx.limits.tasks.throttled_attempts);
        let threshold = most.saturating_mul(u64::from(task.progress.n_throttled) + 1);
        // Jobs do not have so many attempts unless their task, or a person, says so.
        let is_bounded = u64::from(task.record.spec.max_attempts) <= threshold;
        if most == 0 || task.status() != TaskStatus::Running || is_bounded {
            return Ok(false);
        }
        let (jobs, failed) = self.ledger.failed_attempts_of_live(task.id())?;
        if jobs == 0 || failed < jobs.saturating_mul(threshold) {
            return Ok(false);
        }
        task.progress.n_throttled += 1;
        let why = format!(
            "jobs that have not ended failed {} times in the mean, more than {threshold}",
            failed / jobs
        );
        self.move_task(task, TaskStatus::Throttled, &why)?;
        task.progress.resume_to = Some(TaskStatus::Running);
        task.progress.due = Some(self.throttled_until(task));
        Ok(true)
    }

    /// Lets a throttled task go on once its time is over.
    pub(super) fn release_throttled(&mut self, task: &mut PandaTask) -> Result<(), LedgerError> {
        let until = self.throttled_until(task);
        if self.ctx.now < until {
            task.progress.due = Some(until);
            return Ok(());
        }
        let to = task.progress.resume_to.unwrap_or(TaskStatus::Running);
        self.move_task(task, to, "")?;
        task.progress.due = Some(self.ctx.now);
        Ok(())
    }

    fn throttled_until(&self, task: &PandaTask) -> Timestamp {
        let times = task.progress.n_throttled.max(1);
        let wait = self.ctx.limits.tasks.throttled_timeout;
        let wait = wait.saturating_mul(times.saturating_mul(times));
        task.record.state_changed.after(wait)
    }
}
