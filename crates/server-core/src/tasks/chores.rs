//! What people want of all jobs of a task, done a bounded piece at a time.
//!
//! A task may have 100,000 jobs: each step changes as many as one step may, notes the last, and is
//! done again at once, before anything else of the task.

use ailurus_jedi::command::ReassignMode;
use ailurus_model::{JobStatus, PandaId};

use crate::{
    kill::{KillCode, Rights},
    ledger::{Chore, ChoreKind, Ledger, LedgerError, ShareReach},
    operation::Operation,
    tasks::{merges::is_only_unmerged, record::PandaTask},
};

impl<L: Ledger> Operation<'_, L> {
    /// Notes what is to be done about a task's jobs, and begins with it.
    pub(super) fn begin_chore(
        &mut self,
        task: &mut PandaTask,
        what: ChoreKind,
        who: &str,
    ) -> Result<(), LedgerError> {
        task.progress.chores.push(Chore {
            what,
            who: who.to_owned(),
            after: PandaId::default(),
        });
        self.do_chores(task, self.ctx.limits.tasks.jobs_per_step.max(1))
            .map(drop)
    }

    /// Does a piece of what is to be done about a task's jobs, and returns how many it changed.
    pub(super) fn do_chores(
        &mut self,
        task: &mut PandaTask,
        most: u32,
    ) -> Result<u32, LedgerError> {
        let mut changed = 0;
        while let Some(mut chore) = task.progress.chores.first().cloned() {
            let left = usize::try_from(most.saturating_sub(changed)).unwrap_or(usize::MAX);
            let statuses = statuses_of(&chore.what);
            let ids =
                (self.ledger).jobs_of_task_after(task.id(), &statuses, chore.after, left.max(1))?;
            if ids.is_empty() {
                task.progress.chores.remove(0);
                continue;
            }
            if left == 0 {
                break;
            }
            chore.after = ids.last().copied().unwrap_or_default();
            changed = changed.saturating_add(u32::try_from(ids.len()).unwrap_or(u32::MAX));
            if let Some(first) = task.progress.chores.first_mut() {
                first.after = chore.after;
            }
            // Jobs that come back to life take serial numbers from the row.
            self.save_task(task)?;
            for id in ids {
                self.do_chore(id, &chore)?;
            }
            self.reload_progress(task)?;
        }
        if !task.progress.chores.is_empty() {
            task.progress.due = Some(self.ctx.now);
        }
        Ok(changed)
    }

    fn do_chore(&mut self, id: PandaId, chore: &Chore) -> Result<(), LedgerError> {
        let mut job = self.job(id)?;
        match &chore.what {
            ChoreKind::Retry => return self.revive_one(id, &chore.who),
            ChoreKind::Attempts(more) => {
                job.max_attempts = job.max_attempts.saturating_add(*more);
            }
            ChoreKind::Priority(priority) => job.priority = *priority,
            ChoreKind::Share(share, reach) => {
                if *reach == ShareReach::Waiting && job.status.is_with_pilot() {
                    return Ok(());
                }
                job.global_share.clone_from(share);
            }
            ChoreKind::Move(mode) => {
                let is_moved = match mode {
                    ReassignMode::EndAll => true,
                    ReassignMode::EndWaiting => !job.status.is_with_pilot(),
                    ReassignMode::EndNone => false,
                };
                if is_moved && job.status != JobStatus::Pending {
                    let code = KillCode::Reassigned;
                    self.kill_by(job, code, &chore.who, Rights::Common, None)?;
                }
                return Ok(());
            }
        }
        self.ledger.put_job(&job)
    }

    /// Tries a job again, or only its merge if it has done its own work.
    pub(super) fn revive_one(&mut self, id: PandaId, who: &str) -> Result<(), LedgerError> {
        let mut job = self.job(id)?;
        let why = format!("tried again by `{who}`");
        if is_only_unmerged(&job) || self.merge_again(&mut job, &why)? {
            return Ok(());
        }
        self.revive(job, who)
    }
}

/// Which jobs something is done about.
fn statuses_of(what: &ChoreKind) -> Vec<JobStatus> {
    let is_meant = |status: &JobStatus| match what {
        ChoreKind::Retry => *status == JobStatus::Failed,
        ChoreKind::Attempts(_)
        | ChoreKind::Priority(_)
        | ChoreKind::Move(_)
        | ChoreKind::Share(..) => !status.is_terminal(),
    };
    JobStatus::ALL.iter().copied().filter(is_meant).collect()
}
