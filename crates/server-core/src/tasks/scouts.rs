//! Lets the first few jobs of a task measure what the others need.
//!
//! What follows from their measures is the business of `measure`.

use ailurus_model::{JobKind, JobStatus, TaskStatus};

use crate::{
    ledger::{Generation, Ledger, LedgerError, ScoutPhase},
    operation::Operation,
    tasks::record::PandaTask,
};

impl<L: Ledger> Operation<'_, L> {
    /// Looks at a task's first jobs: once enough of them are done, the others may be made.
    pub(super) fn judge_scouts(&mut self, task: &mut PandaTask) -> Result<(), LedgerError> {
        let mut counts = Counts::default();
        for ((kind, status), n) in self.ledger.kind_counts(task.id())? {
            if kind != JobKind::Scout {
                continue;
            }
            counts.all += n;
            match status {
                JobStatus::Finished | JobStatus::Merging => counts.good += n,
                JobStatus::Failed | JobStatus::Cancelled | JobStatus::Closed => counts.bad += n,
                JobStatus::Pending
                | JobStatus::Defined
                | JobStatus::Assigned
                | JobStatus::Activated
                | JobStatus::Sent
                | JobStatus::Starting
                | JobStatus::Running
                | JobStatus::Holding
                | JobStatus::Transferring => {}
            }
        }
        let has_ended = counts.good + counts.bad == counts.all;
        let is_enough = counts.good > 0 && (has_ended || counts.good * 2 >= counts.all);
        if is_enough {
            return self.end_scouting(task);
        }
        if has_ended {
            // None of them did it: the others would not either.
            if task.progress.generation == Generation::Open {
                task.progress.generation = Generation::Stopped;
            }
        } else {
            let later = self.ctx.now.after(self.ctx.limits.tasks.scouts_interval);
            task.progress.due = Some(later);
        }
        Ok(())
    }

    fn end_scouting(&mut self, task: &mut PandaTask) -> Result<(), LedgerError> {
        task.progress.scouts = ScoutPhase::Over;
        let why = self.apply_measures(task)?;
        self.move_task(task, TaskStatus::Scouted, "")?;
        if let Some(why) = why {
            self.move_task(task, TaskStatus::Exhausted, &why)?;
            let deadline = self.ctx.now.after(self.ctx.limits.tasks.exhausted_timeout);
            task.progress.due = Some(deadline);
            return Ok(());
        }
        self.move_task(task, TaskStatus::Running, "")?;
        task.progress.due = Some(self.ctx.now);
        Ok(())
    }
}

/// How many scouts there are.
#[derive(Debug, Default)]
struct Counts {
    all: u64,
    good: u64,
    bad: u64,
}
