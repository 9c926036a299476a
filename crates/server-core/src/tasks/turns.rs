//! Whose turn it is to get jobs, and who gets none for now.
//!
//! The rules are those of `throttle`; this file gathers what they must know.

use ailurus_model::{JobStatus, TaskId};

use crate::{
    broker::QueueFacts,
    ledger::{Generation, Ledger, LedgerError},
    operation::Operation,
    tasks::record::PandaTask,
    throttle::{TaskInLine, Throttled, round_robin},
};

impl<L: Ledger> Operation<'_, L> {
    /// Puts tasks with a step that is due in an order in which users take turns.
    pub(super) fn in_turn(&self, due: Vec<TaskId>) -> Result<Vec<TaskId>, LedgerError> {
        let mut line = Vec::with_capacity(due.len());
        for id in due {
            let Some(task) = self.load_task(id)? else {
                continue;
            };
            line.push(TaskInLine {
                id,
                user: task.record.spec.user.clone(),
                priority: task.progress.priority,
                is_merging: task.progress.generation != Generation::Open
                    && task.progress.n_merges > 0,
            });
        }
        let seed = self.ctx.now.as_millis().unsigned_abs();
        Ok(round_robin(line, seed))
    }

    /// Says why no further jobs of a task are to be made for now, none if some may.
    ///
    /// Jobs of other tasks count that wait at queues; of this one those, too, that no queue takes.
    pub(super) fn throttled(&mut self, task: &PandaTask) -> Result<Option<Throttled>, LedgerError> {
        let scheduling = self.ctx.scheduling;
        if scheduling.throttle.caps.is_empty() {
            return Ok(None);
        }
        let wishes = self.wishes(task.id())?;
        let spec = &task.record.spec;
        let needs = &spec.resources;
        let class = scheduling
            .resource_types
            .class_of(needs.cores, needs.memory);
        let label = spec.source_label.as_str();
        let share = wishes.share(&scheduling.shares, spec, label, class);
        let facts = match self.facts.take() {
            Some(facts) => facts,
            None => QueueFacts::read(self.ledger)?,
        };
        let mut load = facts.load_of_share(share, class);
        self.facts = Some(facts);
        let counts = self.ledger.task_counts(task.id())?;
        let homeless = counts.get(&JobStatus::Defined).copied().unwrap_or(0);
        load.queued = load.queued.saturating_add(homeless);
        let priority = task.progress.priority;
        Ok(scheduling.throttle.throttled(share, class, priority, load))
    }
}
