//! Does what is due for PanDA's tasks, a bounded piece at a time.

use ailurus_jedi::Rule;
use ailurus_model::{JobKind, JobStatus, TaskId, TaskStatus};

use crate::{
    Context,
    ledger::{Generation, InputState, Ledger, LedgerError, ScoutPhase, TaskRecord},
    operation::Operation,
    tasks::record::PandaTask,
};

/// What one round of steps did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepReport {
    /// Tasks that had a step.
    pub tasks: u64,
    /// Jobs that were made.
    pub jobs: u64,
    /// Whether more is due at once.
    pub backlog: Backlog,
}

/// Whether more steps are due at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backlog {
    /// No.
    #[default]
    None,
    /// Yes: the round reached its bounds.
    More,
}

/// Does the steps that have been due longest; users take turns. A round makes at most `limits.tasks.jobs_per_step`
/// jobs, so that others are served in between; call it again while it reports a backlog.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn step_tasks(ctx: &Context<'_>, ledger: &mut impl Ledger) -> Result<StepReport, LedgerError> {
    let limits = &ctx.limits.tasks;
    let most = usize::try_from(limits.tasks_per_round).unwrap_or(usize::MAX);
    let mut report = StepReport::default();
    let mut left = limits.jobs_per_step.max(1);
    let mut op = Operation::new(ctx, ledger);
    let due = op.ledger.tasks_due(ctx.now, most)?;
    for id in op.in_turn(due)? {
        let work = op.step_task(id, left)?;
        report.tasks += 1;
        report.jobs += u64::from(work);
        left = left.saturating_sub(work);
        if left == 0 {
            break;
        }
    }
    let is_more = !op.ledger.tasks_due(ctx.now, 1)?.is_empty();
    if is_more {
        report.backlog = Backlog::More;
    }
    op.finish()?;
    Ok(report)
}

impl<L: Ledger> Operation<'_, L> {
    /// Does the next step of a task, and returns how many jobs it made or changed.
    fn step_task(&mut self, id: TaskId, most: u32) -> Result<u32, LedgerError> {
        let Some(mut task) = self.load_task(id)? else {
            return Ok(0);
        };
        task.progress.due = None;
        let work = if task.progress.chores.is_empty() {
            self.step(&mut task, most)?
        } else {
            // What is due besides is done next.
            let done = self.do_chores(&mut task, most)?;
            task.progress.due = Some(self.ctx.now);
            done.max(1)
        };
        self.save_task(&mut task)?;
        Ok(work)
    }

    fn step(&mut self, task: &mut PandaTask, most: u32) -> Result<u32, LedgerError> {
        use TaskStatus as T;
        if self.is_out_of_time(task)? {
            return Ok(0);
        }
        let status = match (task.status(), task.progress.resume_to) {
            (T::Pending, Some(before)) => before,
            (T::Pending, None) => T::Defined,
            (status, _) => status,
        };
        match status {
            T::Waiting | T::Registered | T::Rerefine => self.begin(task).map(|()| 0),
            T::Defined | T::Staging | T::Assigning | T::ToPreprocess | T::Preprocessing => {
                self.feed_task(task).map(|()| 0)
            }
            T::Ready | T::Scouting | T::Scouted | T::Running | T::Merging | T::Prepared => {
                self.advance(task, most)
            }
            T::Throttled => self.release_throttled(task).map(|()| 0),
            T::ToRetry | T::ToIncexec | T::ToReassign | T::Reassigning => {
                self.go_on_with_order(task, most)
            }
            T::Aborting | T::ToAbort | T::Finishing | T::Passed => {
                let work = self.end_jobs(task, most)?;
                if work == 0 {
                    self.end_if_over(task)?;
                }
                Ok(work)
            }
            T::Exhausted
            | T::Paused
            | T::Pending
            | T::ToBroken
            | T::Done
            | T::Finished
            | T::Failed
            | T::Aborted
            | T::Broken => Ok(0),
        }
    }

    /// Ends a task that has waited for too long, and says whether it did.
    fn is_out_of_time(&mut self, task: &mut PandaTask) -> Result<bool, LedgerError> {
        let limits = &self.ctx.limits.tasks;
        let now = self.ctx.now;
        if task.status() == TaskStatus::Pending {
            let is_late = task
                .progress
                .frozen
                .is_some_and(|since| now.since(since) > limits.pending_timeout);
            if !is_late {
                return Ok(false);
            }
            let why = format!("timeout while pending: {}", task.progress.message);
            if task.record.n_jobs == 0 {
                self.break_task(task, &why)?;
            } else {
                self.stop_task(task, TaskStatus::Finishing, &why)?;
            }
            return Ok(true);
        }
        if task.status() == TaskStatus::Exhausted {
            let deadline = task.record.state_changed.after(limits.exhausted_timeout);
            if now < deadline {
                task.progress.due = Some(deadline);
                return Ok(true);
            }
            let why = "nobody decided how it goes on";
            self.stop_task(task, TaskStatus::Finishing, why)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Ends a task that cannot be understood or fed.
    pub(super) fn break_task(
        &mut self,
        task: &mut PandaTask,
        why: &str,
    ) -> Result<(), LedgerError> {
        self.move_task(task, TaskStatus::Broken, why)?;
        task.progress.generation = Generation::Stopped;
        task.progress.ended = Some(self.ctx.now);
        task.progress.due = None;
        self.tell_children(task)
    }

    /// Makes no more jobs of a task, and ends those that are there as its order says.
    pub(super) fn stop_task(
        &mut self,
        task: &mut PandaTask,
        status: TaskStatus,
        why: &str,
    ) -> Result<(), LedgerError> {
        self.move_task(task, status, why)?;
        if task.progress.generation == Generation::Open {
            task.progress.generation = Generation::Stopped;
        }
        task.progress.due = Some(self.ctx.now);
        Ok(())
    }

    /// Lets a task begin, once the task before it has ended where it must.
    fn begin(&mut self, task: &mut PandaTask) -> Result<(), LedgerError> {
        let waits = !task.refined()?.rules.is_set(Rule::NoWaitParent);
        if let Some(parent) = task.progress.parent.filter(|_| waits)
            && let Some(before) = self.ledger.task(parent)?
        {
            let status = before.status;
            if !status.is_terminal() {
                let why = format!("waits for parent task {parent}, which is {status}");
                return self.have_task_wait(task, &why);
            }
            if !matches!(status, TaskStatus::Done | TaskStatus::Finished) {
                let why = format!("parent task {parent} is {status}");
                return self.break_task(task, &why);
            }
        }
        self.move_task(task, TaskStatus::Defined, "")?;
        self.feed_task(task)
    }

    /// Makes jobs of a task whose inputs are known, and looks at those that have ended.
    fn advance(&mut self, task: &mut PandaTask, most: u32) -> Result<u32, LedgerError> {
        let is_open = |task: &PandaTask| {
            let mut inputs = task.progress.inputs.iter();
            inputs.any(|input| input.state != InputState::Closed)
        };
        if is_open(task) && task.progress.generation == Generation::Open {
            self.list_inputs(task)?;
        }
        if task.progress.scouts == ScoutPhase::Made {
            self.judge_scouts(task)?;
        }
        if task.status() == TaskStatus::Exhausted || self.throttle_failing(task)? {
            return Ok(0);
        }
        let mut made = self.generate(task, most)?;
        if task.status().is_terminal() {
            return Ok(made);
        }
        made += self.make_merges(task)?;
        // Its jobs may have come back to life before any new one was made.
        if task.status() == TaskStatus::Ready && task.record.n_jobs > 0 {
            self.move_task(task, TaskStatus::Running, "")?;
        }
        if made == 0 {
            self.end_if_over(task)?;
        }
        if is_open(task) && task.progress.due.is_none() && !task.status().is_terminal() {
            let later = self.ctx.now.after(self.ctx.limits.tasks.retry_interval);
            task.progress.due = Some(later);
        }
        Ok(made)
    }

    /// Has a task of PanDA looked at if something follows from what its jobs are now. Called at
    /// each job's end, so it must not take long.
    pub(crate) fn note_jobs_changed(&mut self, task: &TaskRecord) -> Result<(), LedgerError> {
        let counts = self.ledger.task_counts(task.id)?;
        let of = |is_it: fn(JobStatus) -> bool| -> u64 {
            let some = counts.iter().filter(|(status, _)| is_it(**status));
            some.map(|(_, n)| n).sum()
        };
        let merging = of(|status| status == JobStatus::Merging);
        let live = of(|status| !status.is_terminal() && status != JobStatus::Merging);
        if task.status.is_terminal() {
            if live + merging > 0 {
                self.revive_task(task.id)?;
            }
            return Ok(());
        }
        if live == 0 {
            return self.wake_task(task.id);
        }
        if merging > 0 {
            let later = self.ctx.now.after(self.ctx.limits.tasks.merge_interval);
            let Some(mut progress) = self.ledger.task_progress(task.id)? else {
                return Ok(());
            };
            if progress.due.is_none_or(|due| due > later) {
                progress.due = Some(later);
                self.ledger.put_task_progress(&progress)?;
            }
        }
        Ok(())
    }

    /// Has a task live again whose jobs do, because the task before it is tried again.
    fn revive_task(&mut self, id: TaskId) -> Result<(), LedgerError> {
        let Some(mut task) = self.load_task(id)? else {
            return Ok(());
        };
        let why = "its input is tried again";
        self.move_task(&mut task, TaskStatus::Running, why)?;
        task.progress.ended = None;
        self.save_task(&mut task)
    }

    /// Says whether the outputs of a task's jobs are merged by other jobs of it.
    pub(crate) fn merges_outputs(&self, id: TaskId) -> Result<bool, LedgerError> {
        let Some(task) = self.ledger.task(id)? else {
            return Ok(false);
        };
        if task.revision == 0 {
            return Ok(false);
        }
        let definition = self.ledger.panda_task(id, task.revision)?;
        let refined = definition.as_ref().and_then(|one| one.refined.as_ref());
        Ok(refined.is_some_and(|refined| refined.merge.is_some()))
    }

    /// Returns what a job becomes that has written its outputs.
    pub(crate) fn status_of_success(
        &mut self,
        task: TaskId,
        kind: JobKind,
    ) -> Result<JobStatus, LedgerError> {
        let is_worker = matches!(kind, JobKind::Run | JobKind::Scout);
        let definition = self.panda_task(task)?;
        let refined = definition.as_ref().and_then(|one| one.refined.as_ref());
        let merges = refined.is_some_and(|refined| {
            refined.merge.is_some() && refined.outputs.iter().any(|one| one.unmerged.is_some())
        });
        Ok(if is_worker && merges {
            JobStatus::Merging
        } else {
            JobStatus::Finished
        })
    }
}
