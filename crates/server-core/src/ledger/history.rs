//! The history of statuses: one row for each change of a job's or a task's, in the order of commits.
//!
//! It is written by [`crate`]'s operations alone, at the one place where a status changes. People
//! read it to see what became of a job; messages and events are read from it by a cursor.

use ailurus_model::{
    AttemptNr, ChangeId, JobStatus, PandaId, QueueName, SourceLabel, TaskId, TaskStatus, Timestamp,
};

use crate::ledger::LedgerError;

/// What changed its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// A job.
    Job {
        /// Its number.
        panda_id: PandaId,
        /// The attempt that is current after the change.
        attempt_nr: AttemptNr,
        /// What it was; none when it was made.
        old: Option<JobStatus>,
        /// What it is.
        new: JobStatus,
    },
    /// The task itself.
    Task {
        /// What it was; none when it was submitted.
        old: Option<TaskStatus>,
        /// What it is.
        new: TaskStatus,
    },
}

/// One change of a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusChange {
    /// When.
    pub time: Timestamp,
    /// The task, or the job's task.
    pub task_id: TaskId,
    /// What changed, from what, to what.
    pub changed: Changed,
    /// The job's queue, if it has one.
    pub queue: Option<QueueName>,
    /// Why, for people; empty where the new status says it all.
    pub reason: String,
    /// Production, analysis, test.
    pub source_label: SourceLabel,
}

/// One row of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRow {
    /// Its number. A reader that has seen it and asks for what comes after misses nothing.
    pub id: ChangeId,
    /// What happened.
    pub change: StatusChange,
}

/// Keeps the history of statuses. Rows are only ever added, and removed when they are old, see
/// [`crate::ledger::ArchiveRows`].
#[expect(
    clippy::missing_errors_doc,
    reason = "every method fails only if the rows are out of reach"
)]
pub trait HistoryRows {
    /// Adds a row under the next number.
    fn add_change(&mut self, change: &StatusChange) -> Result<(), LedgerError>;
    /// Returns the number of the last row, zero if there is none.
    fn last_change(&self) -> Result<ChangeId, LedgerError>;
    /// Lists the rows with a larger number than `after`, by rising number, `limit` at most.
    fn changes_after(&self, after: ChangeId, limit: usize) -> Result<Vec<HistoryRow>, LedgerError>;
    /// Lists the first `limit` rows of a job, by rising number.
    fn changes_of_job(&self, id: PandaId, limit: usize) -> Result<Vec<HistoryRow>, LedgerError>;
    /// Lists the first `limit` rows of a task itself, without those of its jobs, by rising number.
    fn changes_of_task(&self, id: TaskId, limit: usize) -> Result<Vec<HistoryRow>, LedgerError>;
}
