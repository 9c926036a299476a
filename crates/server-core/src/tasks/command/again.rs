//! Starts tasks anew: what failed is tried again, and inputs may be read again.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/db_proxy_mods/task_complex_module.py`
//! (`retryTask_JEDI`).

use ailurus_jedi::command::{RetryQualifiers, TaskCommand};
use ailurus_model::{JobStatus, PandaId, TaskId, TaskStatus};
use serde_json::{Map, Value};

use crate::{
    ActionError,
    ledger::{CatalogueView, Generation, InputState, Ledger, LedgerError, ScoutPhase, TaskOrder},
    operation::Operation,
    tasks::{
        command::retry_limits::{RetryLimit, limit_of},
        record::PandaTask,
    },
};

impl<L: Ledger> Operation<'_, L> {
    /// Tries a task that has ended again; its jobs follow step by step. Returns why it does not,
    /// if a limit of retries is reached or its jobs are no longer kept.
    pub(super) fn retry_from(
        &mut self,
        task: &mut PandaTask,
        order: TaskOrder,
    ) -> Result<Option<String>, LedgerError> {
        if self.ledger.are_jobs_dropped(task.id())? {
            let why = ActionError::JobsDropped { id: task.id() };
            return Ok(Some(why.to_string()));
        }
        let words = RetryQualifiers::of_comment(&order.comment);
        if !words.ignores_limits
            && let Some(why) = self.hold_retry(task, &order.command)?
        {
            return Ok(Some(why));
        }
        let reads_again = order.command == "incexec";
        let status = if reads_again {
            TaskStatus::ToIncexec
        } else {
            TaskStatus::ToRetry
        };
        let why = format!("{} by {}", order.command, order.who);
        self.move_task(task, status, &why)?;
        task.progress.attempt_nr = task.progress.attempt_nr.saturating_add(1);
        task.progress.ended = None;
        if !words.keeps_priority {
            task.progress.priority = task.record.spec.priority;
        }
        if task.progress.generation == Generation::Stopped {
            task.progress.generation = Generation::Open;
        }
        if task.progress.scouts == ScoutPhase::Made {
            task.progress.scouts = ScoutPhase::Over;
        }
        if reads_again {
            task.progress.generation = Generation::Open;
            for input in &mut task.progress.inputs {
                let dataset = self.ledger.dataset(&input.dataset)?;
                if dataset.is_some_and(|dataset| dataset.producer.is_none()) {
                    input.state = InputState::Unlisted;
                    input.catalogue = CatalogueView::Stale;
                } else if input.state == InputState::Closed {
                    input.state = InputState::Open;
                }
            }
        }
        task.progress.order = Some(order);
        task.progress.due = Some(self.ctx.now);
        Ok(None)
    }

    /// Keeps a task from being tried again that has reached a limit, and says why.
    fn hold_retry(
        &mut self,
        task: &mut PandaTask,
        command: &str,
    ) -> Result<Option<String>, LedgerError> {
        let limits = &self.ctx.limits.tasks;
        let label = task.record.spec.source_label.as_str();
        let Some(limits) = limits.retry_limits_of(label) else {
            return Ok(None);
        };
        let work = self.ledger.work_of(task.id())?;
        let limit = limit_of(limits, command, task.progress.attempt_nr, &work);
        Ok(match limit {
            None => None,
            Some(RetryLimit::Rejected(why)) => {
                task.progress.message.clone_from(&why);
                Some(why)
            }
            Some(RetryLimit::Exhausted(why)) => {
                self.move_task(task, TaskStatus::Exhausted, &why)?;
                task.progress.ended = None;
                let deadline = self.ctx.now.after(self.ctx.limits.tasks.exhausted_timeout);
                task.progress.due = Some(deadline);
                Some(why)
            }
        })
    }

    /// Starts a task that has ended anew, because it was submitted once more.
    pub(in crate::tasks) fn start_anew(
        &mut self,
        id: TaskId,
        order: &TaskOrder,
    ) -> Result<Result<(), String>, LedgerError> {
        let Some(mut task) = self.load_task(id)? else {
            return Ok(Ok(()));
        };
        let changes: Map<String, Value> = serde_json::from_str(&order.comment).unwrap_or_default();
        if let Err(error) = self.revise(&mut task, &changes)? {
            return Ok(Err(error));
        }
        let order = TaskOrder {
            comment: String::new(),
            ..order.clone()
        };
        let held = self.retry_from(&mut task, order)?;
        self.save_task(&mut task)?;
        Ok(held.map_or(Ok(()), Err))
    }

    /// Does a piece of what a person wants of a task's jobs, and returns how many it changed.
    pub(in crate::tasks) fn go_on_with_order(
        &mut self,
        task: &mut PandaTask,
        most: u32,
    ) -> Result<u32, LedgerError> {
        let Some(mut order) = task.progress.order.clone() else {
            self.move_task(task, TaskStatus::Ready, "")?;
            task.progress.due = Some(self.ctx.now);
            return Ok(0);
        };
        // Serial numbers are taken from the row while jobs come back to life.
        self.save_task(task)?;
        if order.after == 0 {
            // Other jobs need to know that their library will come.
            self.build_again(task, &order.who)?;
        }
        let ended = [JobStatus::Failed, JobStatus::Cancelled, JobStatus::Closed];
        let done_to = PandaId::new(order.after);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let ids = (self.ledger).jobs_of_task_after(task.id(), &ended, done_to, most)?;
        let mut changed = 0;
        for id in ids {
            order.after = id.value();
            changed += 1;
            self.revive_one(id, &order.who)?;
        }
        self.reload_progress(task)?;
        if changed > 0 {
            task.progress.order = Some(order);
            task.progress.due = Some(self.ctx.now);
            return Ok(changed);
        }
        let words = RetryQualifiers::of_comment(&order.comment);
        if !words.is_alone {
            self.retry_children(task, &order)?;
        }
        task.progress.order = None;
        let next = if order.command == "incexec" {
            TaskStatus::Rerefine
        } else if task.record.n_jobs == 0 {
            TaskStatus::Registered
        } else {
            TaskStatus::Running
        };
        self.move_task(task, next, "")?;
        if next == TaskStatus::Rerefine {
            self.move_task(task, TaskStatus::Defined, "")?;
        }
        task.progress.due = Some(self.ctx.now);
        Ok(0)
    }

    /// Reads the progress of a task again, after others have changed it.
    pub(in crate::tasks) fn reload_progress(
        &self,
        task: &mut PandaTask,
    ) -> Result<(), LedgerError> {
        if let Some(progress) = self.ledger.task_progress(task.id())? {
            task.progress = progress;
        }
        if let Some(record) = self.ledger.task(task.id())? {
            task.record = record;
        }
        Ok(())
    }

    fn retry_children(&mut self, task: &PandaTask, order: &TaskOrder) -> Result<(), LedgerError> {
        for child in self.ledger.tasks_after(task.id())? {
            let Some(mut after) = self.load_task(child)? else {
                continue;
            };
            let takes = TaskCommand::Retry.is_accepted_in(after.status())
                || (after.status() == TaskStatus::Broken && after.record.n_jobs == 0);
            if takes && after.definition.refined.is_some() {
                let order = TaskOrder {
                    after: 0,
                    ..order.clone()
                };
                self.retry_from(&mut after, order)?;
                self.save_task(&mut after)?;
            }
        }
        Ok(())
    }
}
