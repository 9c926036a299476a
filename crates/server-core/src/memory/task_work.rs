//! The jobs of tasks piece by piece, in memory.

use std::collections::BTreeSet;

use ailurus_model::{JobKind, JobStatus, PandaId, TaskId};

use crate::{
    MemoryLedger,
    ledger::{CatalogueView, InputNeed, InputProgress, LedgerError, TaskWorkRows, WorkDone},
};

impl TaskWorkRows for MemoryLedger {
    fn jobs_of_task_after(
        &self,
        task: TaskId,
        statuses: &[JobStatus],
        after: PandaId,
        limit: usize,
    ) -> Result<Vec<PandaId>, LedgerError> {
        let ids: BTreeSet<PandaId> = statuses
            .iter()
            .filter_map(|status| self.by_task.get(&(task, *status)))
            .flatten()
            .copied()
            .filter(|id| *id > after)
            .collect();
        Ok(ids.into_iter().take(limit).collect())
    }

    fn work_of(&self, task: TaskId) -> Result<WorkDone, LedgerError> {
        let mut work = WorkDone::default();
        for job in self.jobs.values().filter(|job| job.task_id == task) {
            if job.kind == JobKind::Build {
                continue;
            }
            work.attempts_max = work.attempts_max.max(job.max_attempts);
            work.jobs_finished += u64::from(job.status == JobStatus::Finished);
            work.jobs_failed += u64::from(job.status == JobStatus::Failed);
            let attempts = self.attempts.values();
            for attempt in attempts.filter(|attempt| attempt.panda_id == job.panda_id) {
                let Some((started, ended)) = attempt.started.zip(attempt.ended) else {
                    continue;
                };
                let span = u64::try_from(ended.since(started).as_millis()).unwrap_or(u64::MAX);
                let core_ms = span.saturating_mul(u64::from(job.cores));
                if attempt.status == JobStatus::Finished {
                    work.finished_core_ms += core_ms;
                    work.finished_cpu_s += attempt.cpu_secs.unwrap_or(0);
                } else if attempt.status == JobStatus::Failed {
                    work.failed_core_ms += core_ms;
                }
            }
        }
        Ok(work)
    }

    fn failed_attempts_of_live(&self, task: TaskId) -> Result<(u64, u64), LedgerError> {
        let jobs = self.jobs.values();
        let live = jobs.filter(|job| job.task_id == task && !job.status.is_terminal());
        Ok(live.fold((0, 0), |(jobs, failed), job| {
            (jobs + 1, failed + u64::from(job.attempt_nr.value()) - 1)
        }))
    }

    fn tasks_with_open_inputs(&self) -> Result<Vec<TaskId>, LedgerError> {
        let is_open = |input: &InputProgress| matches!(input.catalogue, CatalogueView::Open(_));
        let live = self.progress.values().filter(|progress| {
            let task = self.tasks.get(&progress.id);
            task.is_some_and(|task| !task.status.is_terminal())
        });
        let open = live.filter(|progress| progress.inputs.iter().any(is_open));
        Ok(open.map(|progress| progress.id).collect())
    }

    fn put_need(&mut self, need: &InputNeed) -> Result<(), LedgerError> {
        let part = (need.dataset.clone(), need.part);
        self.by_part.entry(part).or_default().insert(need.panda_id);
        let needs = self.needs.entry(need.panda_id).or_default();
        needs.retain(|known| (known.input, known.part) != (need.input, need.part));
        needs.push(need.clone());
        needs.sort_by_key(|need| (need.input, need.part));
        Ok(())
    }
}
