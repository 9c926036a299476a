//! The archive: jobs that ended long ago, out of the way of those that are at work.
//!
//! An archived job is read as any other, through the same methods of the ledger, and counts in its
//! task. What changes one, which only a person's retry or a text that comes late does, takes it
//! back out first.

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

/// Moves jobs to the archive, and shortens the history.
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
