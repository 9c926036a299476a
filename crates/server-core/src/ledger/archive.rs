//! The archive: jobs that ended long ago, out of the way of those that are at work.
//!
//! An archived job is read as any other, through the same methods of the ledger, and counts in its
//! task. What changes one, which only a person's retry or a text that comes late does, takes it
//! back out first. The jobs of a task may be dropped from the archive, all of them or none.

use ailurus_model::{ChangeId, PandaId, TaskId, Timestamp};

use crate::ledger::LedgerError;

/// A job that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedJob {
    /// Its place among those that have ended.
    pub place: EndedPlace,
    /// Its task.
    pub task_id: TaskId,
}

/// A place in the list of ended jobs: by time, then number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndedPlace {
    /// When the job ended.
    pub ended: Timestamp,
    /// The job.
    pub panda_id: PandaId,
}

impl EndedPlace {
    /// Before all jobs.
    pub const START: Self = Self {
        ended: Timestamp::from_millis(i64::MIN),
        panda_id: PandaId::new(0),
    };
}

/// A place in the list of ended tasks: by time, then number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndedTask {
    /// When the task ended.
    pub ended: Timestamp,
    /// The task.
    pub id: TaskId,
}

impl EndedTask {
    /// Before all tasks.
    pub const START: Self = Self {
        ended: Timestamp::from_millis(i64::MIN),
        id: TaskId::new(0),
    };
}

/// Moves jobs to the archive, drops them from there, and shortens the history.
#[expect(
    clippy::missing_errors_doc,
    reason = "every method fails only if the rows are out of reach"
)]
pub trait ArchiveRows {
    /// Lists jobs outside of the archive that ended before a time and come after a place, in the
    /// order of places, `limit` at most.
    fn ended_before(
        &self,
        before: Timestamp,
        after: EndedPlace,
        limit: usize,
    ) -> Result<Vec<EndedJob>, LedgerError>;
    /// Moves jobs to the archive, with their attempts, needs and texts.
    fn archive_jobs(&mut self, jobs: &[PandaId]) -> Result<(), LedgerError>;
    /// Says whether a job is in the archive.
    fn is_archived(&self, job: PandaId) -> Result<bool, LedgerError>;
    /// Lists tasks that ended before a time, come after a place, and may have jobs that are to be
    /// dropped, in the order of places, `limit` at most.
    fn tasks_to_drop(
        &self,
        before: Timestamp,
        after: EndedTask,
        limit: usize,
    ) -> Result<Vec<EndedTask>, LedgerError>;
    /// Says whether a task has a job outside of the archive.
    fn has_jobs_at_work(&self, task: TaskId) -> Result<bool, LedgerError>;
    /// Removes jobs of a task from the archive, `limit` at most, each with its attempts, needs,
    /// texts and ranges of events, and says how many. The counts of the task's jobs stay. From the
    /// first call on the task's jobs count as dropped; once a call removes fewer than `limit`,
    /// [`ArchiveRows::tasks_to_drop`] lists the task no more.
    fn drop_jobs(&mut self, task: TaskId, limit: usize) -> Result<u64, LedgerError>;
    /// Says whether jobs of a task were dropped.
    fn are_jobs_dropped(&self, task: TaskId) -> Result<bool, LedgerError>;
    /// Returns the least place of all cursors over the history; none if there is no cursor.
    fn least_cursor(&self) -> Result<Option<ChangeId>, LedgerError>;
    /// Removes those of the `limit` oldest rows of the history that are older than a time and not
    /// beyond a row, and says how many.
    fn forget_changes(
        &mut self,
        before: Timestamp,
        up_to: ChangeId,
        limit: usize,
    ) -> Result<u64, LedgerError>;
}
