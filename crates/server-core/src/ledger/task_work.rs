//! What is to be done about all jobs of a task, and what they have done, without reading them all.

use ailurus_jedi::command::ReassignMode;
use ailurus_model::{JobStatus, PandaId, TaskId};
use serde::{Deserialize, Serialize};

use crate::ledger::{InputNeed, LedgerError};

/// What is to be done about the jobs of a task, a bounded piece at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chore {
    /// What.
    pub what: ChoreKind,
    /// Who wants it.
    pub who: String,
    /// The last job for which it was done; those before it are done as well.
    pub after: PandaId,
}

/// What is to be done about each job of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChoreKind {
    /// Failed jobs are tried again.
    Retry,
    /// Jobs that have not ended get so many attempts more.
    Attempts(u32),
    /// They get this priority.
    Priority(i64),
    /// They go elsewhere.
    Move(ReassignMode),
    /// They count for this global share.
    Share(String, ShareReach),
}

/// Which jobs change their global share with their task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShareReach {
    /// Those that wait.
    Waiting,
    /// Also those that pilots have.
    All,
}

/// A build job of a task, and whose library it makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryBuild {
    /// The group of queues that share its storage.
    pub group: String,
    /// The build job.
    pub panda_id: PandaId,
    /// Which of the task's build jobs it is, from 0.
    pub part: u32,
    /// Jobs that were sent to its group.
    pub n_jobs: u64,
}

/// What the attempts of a task's jobs have used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WorkDone {
    /// Jobs that finished.
    pub jobs_finished: u64,
    /// Jobs that failed.
    pub jobs_failed: u64,
    /// Core-milliseconds of attempts that finished.
    pub finished_core_ms: u64,
    /// Core-milliseconds of attempts that failed.
    pub failed_core_ms: u64,
    /// CPU seconds of attempts that finished and reported some.
    pub finished_cpu_s: u64,
    /// Most attempts that a job may have.
    pub attempts_max: u32,
}

/// Reads and changes the jobs of tasks piece by piece.
#[expect(
    clippy::missing_errors_doc,
    reason = "every method fails only if the rows are out of reach"
)]
pub trait TaskWorkRows {
    /// Lists jobs of a task in one of these statuses whose number is larger than `after`, by
    /// rising number, `limit` at most.
    fn jobs_of_task_after(
        &self,
        task: TaskId,
        statuses: &[JobStatus],
        after: PandaId,
        limit: usize,
    ) -> Result<Vec<PandaId>, LedgerError>;
    /// Adds up what the attempts of a task's jobs have used.
    fn work_of(&self, task: TaskId) -> Result<WorkDone, LedgerError>;
    /// Counts the jobs of a task that have not ended, and their failed attempts together.
    fn failed_attempts_of_live(&self, task: TaskId) -> Result<(u64, u64), LedgerError>;
    /// Lists tasks that have not ended and read a dataset which the catalogue said is open, by rising
    /// number.
    fn tasks_with_open_inputs(&self) -> Result<Vec<TaskId>, LedgerError>;
    /// Writes what a job reads as this part of this input, in place of what it read so.
    fn put_need(&mut self, need: &InputNeed) -> Result<(), LedgerError>;
}
