//! The archive, in memory: a mark on jobs, and a note of those that were dropped.

use std::collections::BTreeMap;

use ailurus_model::{ChangeId, JobStatus, PandaId, TaskId, Timestamp};

use crate::{
    MemoryLedger,
    ledger::{ArchiveRows, EndedJob, EndedPlace, EndedTask, LedgerError},
    memory::as_count,
};

/// Jobs of a task that are no more.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Dropped {
    /// What they were.
    jobs: BTreeMap<PandaId, JobStatus>,
    /// There are no more of them.
    is_over: bool,
}

impl Dropped {
    /// Counts those of a status.
    pub(super) fn count(&self, status: JobStatus) -> u64 {
        let of_status = self.jobs.values().filter(|one| **one == status);
        as_count(of_status.count())
    }
}

impl MemoryLedger {
    /// Says whether a job was dropped from the archive.
    pub(crate) fn is_dropped(&self, job: PandaId) -> bool {
        let mut tasks = self.dropped.values();
        tasks.any(|dropped| dropped.jobs.contains_key(&job))
    }

    /// Says whether jobs of a task were dropped from the archive.
    pub(crate) fn has_dropped(&self, task: TaskId) -> bool {
        self.dropped.contains_key(&task)
    }

    /// Removes all of a job but what its task counts.
    fn forget_job(&mut self, job: PandaId, status: JobStatus, task: TaskId) {
        self.unindex(job, task, status);
        self.jobs.remove(&job);
        self.archived.remove(&job);
        self.attempts.retain(|(of, _), _| *of != job);
        self.job_texts.retain(|(of, _, _), _| *of != job);
        for need in self.needs.remove(&job).unwrap_or_default() {
            if let Some(readers) = self.by_part.get_mut(&(need.dataset, need.part)) {
                readers.remove(&job);
            }
        }
        self.events.forget(job);
        self.dropped
            .entry(task)
            .or_default()
            .jobs
            .insert(job, status);
    }

    /// Says whether rows of the history are no more.
    pub(crate) fn has_forgotten_changes(&self) -> bool {
        self.history.len() < usize::try_from(self.last_change).unwrap_or(usize::MAX)
    }
}

impl ArchiveRows for MemoryLedger {
    fn ended_before(
        &self,
        before: Timestamp,
        after: EndedPlace,
        limit: usize,
    ) -> Result<Vec<EndedJob>, LedgerError> {
        let mut found: Vec<EndedJob> = self
            .jobs
            .values()
            .filter(|job| job.status.is_terminal() && job.state_changed < before)
            .filter(|job| !self.archived.contains(&job.panda_id))
            .map(|job| EndedJob {
                place: EndedPlace {
                    ended: job.state_changed,
                    panda_id: job.panda_id,
                },
                task_id: job.task_id,
            })
            .filter(|job| job.place > after)
            .collect();
        found.sort_unstable_by_key(|job| job.place);
        found.truncate(limit);
        Ok(found)
    }

    fn archive_jobs(&mut self, jobs: &[PandaId]) -> Result<(), LedgerError> {
        let known = jobs.iter().filter(|id| self.jobs.contains_key(id));
        self.archived.extend(known);
        Ok(())
    }

    fn is_archived(&self, job: PandaId) -> Result<bool, LedgerError> {
        Ok(self.archived.contains(&job))
    }

    fn tasks_to_drop(
        &self,
        before: Timestamp,
        after: EndedTask,
        limit: usize,
    ) -> Result<Vec<EndedTask>, LedgerError> {
        let is_over = |task: TaskId| self.dropped.get(&task).is_some_and(|one| one.is_over);
        let mut found: Vec<EndedTask> = self
            .tasks
            .values()
            .filter(|task| task.status.is_terminal() && task.state_changed < before)
            .filter(|task| !is_over(task.id))
            .map(|task| EndedTask {
                ended: task.state_changed,
                id: task.id,
            })
            .filter(|task| *task > after)
            .collect();
        found.sort_unstable();
        found.truncate(limit);
        Ok(found)
    }

    fn has_jobs_at_work(&self, task: TaskId) -> Result<bool, LedgerError> {
        let mut jobs = self.jobs.values().filter(|job| job.task_id == task);
        Ok(jobs.any(|job| !self.archived.contains(&job.panda_id)))
    }

    fn drop_jobs(&mut self, task: TaskId, limit: usize) -> Result<u64, LedgerError> {
        let jobs: Vec<(PandaId, JobStatus)> = self
            .jobs
            .values()
            .filter(|job| job.task_id == task && self.archived.contains(&job.panda_id))
            .map(|job| (job.panda_id, job.status))
            .take(limit)
            .collect();
        for (job, status) in &jobs {
            self.forget_job(*job, *status, task);
        }
        self.dropped.entry(task).or_default().is_over = jobs.len() < limit;
        Ok(as_count(jobs.len()))
    }

    fn are_jobs_dropped(&self, task: TaskId) -> Result<bool, LedgerError> {
        Ok(self.has_dropped(task))
    }

    fn least_cursor(&self) -> Result<Option<ChangeId>, LedgerError> {
        Ok(self.cursors.values().map(|cursor| cursor.last).min())
    }

    fn forget_changes(
        &mut self,
        before: Timestamp,
        up_to: ChangeId,
        limit: usize,
    ) -> Result<u64, LedgerError> {
        let old: Vec<u64> = self
            .history
            .range(..=up_to.value())
            .take(limit)
            .filter(|(_, change)| change.time < before)
            .map(|(id, _)| *id)
            .collect();
        for id in &old {
            self.history.remove(id);
        }
        Ok(as_count(old.len()))
    }
}
